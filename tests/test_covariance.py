"""Full covariances: derivatives, densities, samples, entropy, and the rotation that makes two mixtures diagonal."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from tolerances import assert_exact, assert_rounding, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.models import exact_divergence
from thermokern.ops.checks import NotFusable
from thermokern.processes import step_table
from thermokern.targets import quadrature, rotate

F64 = torch.float64


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def spd(count: int, dim: int, seed: int) -> Tensor:
    """Covariances (count, dim, dim) of condition number up to about 1e4."""
    root = randn(count, dim, dim, seed=seed)
    return root @ root.mT / dim + 0.01 * torch.eye(dim, dtype=F64)


def mixture(count: int, dim: int, seed: int) -> tk.GaussianMixture:
    weights = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=F64) + 0.05
    return tk.GaussianMixture(
        randn(count, dim, seed=seed + 1), covariances=spd(count, dim, seed + 2), weights=weights / weights.sum()
    )


def density(law: tk.GaussianMixture, x: Tensor, m: float, v: float) -> Tensor:
    """Log p_t by torch.distributions: a witness that shares no formula with the law."""
    covariances = m * m * law.covariances + v * torch.eye(law.dim, dtype=F64)
    parts = torch.distributions.MultivariateNormal(m * law.means, covariances)
    mixing = torch.distributions.Categorical(probs=law.weights)
    return torch.distributions.MixtureSameFamily(mixing, parts).log_prob(x)


@given(
    dim=st.integers(1, 7),
    count=st.integers(1, 5),
    t=st.one_of(st.just(0.0), st.floats(1e-3, 1.0)),
    seed=st.integers(0, 2**31),
    explode=st.booleans(),
)
def test_score_and_divergence_are_derivatives_of_the_density(
    dim: int, count: int, t: float, seed: int, explode: bool
) -> None:
    """Float64 autograd; the density against that of torch.distributions."""
    process = tk.VE(5.0) if explode else tk.VP()
    law, x = mixture(count, dim, seed), 2.0 * randn(5, dim, seed=seed + 3)
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(law.log_prob(leaf, t, process).sum(), leaf)
    score, trace = exact_divergence(lambda y: law.score(y, t, process), x)
    scale = 1.0 + gradient.abs().max().item() ** 2 + trace.abs().max().item()
    assert (score - gradient).abs().max().item() < 1e-12 * scale
    assert (law.divergence(x, t, process) - trace).abs().max().item() < 1e-12 * scale
    m, v = (process.mean_scale(t), process.variance(t)) if t else (1.0, 0.0)
    log_density = law.log_prob(x, t, process)
    assert (log_density - density(law, x, m, v)).abs().max().item() < 1e-10 * (1.0 + log_density.abs().max().item())


def test_density_integrates_to_one() -> None:
    law, process = mixture(3, 2, 11), tk.VP()
    axis = torch.linspace(-9.0, 9.0, 901, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    mass = law.log_prob(grid, 0.3, process).exp().sum().item() * (axis[1] - axis[0]).item() ** 2
    assert abs(mass - 1.0) < 1e-12


def test_samples_have_the_law_s_moments(seed: int) -> None:
    """Sampling: z-scores of every mean and covariance of each component, at most 4.5."""
    law, n = mixture(2, 3, 5), 200_000
    x, component = law.sample(n, seed=seed), law.component(n, seed=seed)
    for c in (0, 1):
        own = x[component == c] - law.means[c]
        covariance = law.covariances[c]
        variances = covariance.diagonal()
        assert_z((own.mean(0) / (variances / len(own)).sqrt()).tolist(), 4.5, "means")
        spread = ((variances[:, None] * variances + covariance.square()) / len(own)).sqrt()
        assert_z(((own.T @ own / len(own) - covariance) / spread).flatten().tolist(), 4.5, "covariances")
    assert_exact(law.sample(100, seed=seed, path_offset=1000), x[1000:1100])


@pytest.mark.parametrize("part", ["score", "divergence", "log_density"])
def test_float32_rounds_as_plain_pytorch_does(part: str) -> None:
    """Rounding: against inverse matrices and log determinants, in float32."""
    law, process, t = mixture(4, 3, 8), tk.VP(), 0.2
    m, v = process.mean_scale(t), process.variance(t)
    x = 2.0 * randn(500, 3, seed=9).float()
    covariances = (m * m * law.covariances + v * torch.eye(3, dtype=F64)).float()
    precision = covariances.inverse()
    pull = torch.einsum("kde,nke->nkd", precision, (m * law.means).float() - x[:, None])
    log_components = law.weights.float().log() - 0.5 * (2.0 * math.pi * covariances).logdet()
    log_components = log_components - 0.5 * ((m * law.means).float() - x[:, None]).mul(pull).sum(2)
    share = log_components.softmax(1)
    score = (share[:, :, None] * pull).sum(1)
    curvature = pull.square().sum(2) - precision.diagonal(dim1=1, dim2=2).sum(1)
    plain = {
        "score": score,
        "divergence": (share * curvature).sum(1) - score.square().sum(1),
        "log_density": log_components.logsumexp(1),
    }
    fast, exact = (getattr(law.evaluate(points, t, process), part) for points in (x, x.double()))
    assert_rounding(fast, plain[part], exact, what=part)


def test_diagonal_matrices_are_recognised() -> None:
    by_matrix = tk.GaussianMixture([[0.0, 1.0]], covariances=[[[2.0, 0.0], [0.0, 0.5]]])
    by_variance = tk.GaussianMixture([[0.0, 1.0]], variances=[[2.0, 0.5]])
    assert by_matrix.eigenvectors is None
    assert by_matrix.settings() == by_variance.settings()
    full = tk.Gaussian([0.0, 1.0], [[2.0, 0.3], [0.3, 0.5]])
    assert json.loads(json.dumps(full.settings()))["covariances"][0][0] == pytest.approx([2.0, 0.3], abs=1e-15)
    with pytest.raises(ValueError, match="^variances: these covariances are not diagonal"):
        _ = full.variances
    with pytest.raises(NotFusable, match="diagonal covariances alone"):
        full.source(step_table(tk.VP(), tk.VP().grid(3), "ito"))
    askew = tk.Gaussian([0.0, 0.0], [[1.0, -0.2], [-0.2, 0.8]])
    ran = tk.taep(full, askew, tk.VP(), n_paths=20, n_steps=5)
    assert (ran.backend, ran.backend_reason) == ("reference", "model: the kernels take diagonal covariances alone")


def test_lists_of_numbers_are_not_rounded_through_float32() -> None:
    """0.3 is 0.3, not the 0.30000001 of float32, whose weights would not add up to one."""
    law = tk.GaussianMixture([[0.1], [0.7]], std=0.3, weights=[0.3, 0.7])
    assert law.means.tolist() == [[0.1], [0.7]]
    assert law.eigenvalues.tolist() == [[0.3 * 0.3]] * 2
    assert law.weights.tolist() == [0.3, 0.7]
    rounded = tk.GaussianMixture([[0.1], [0.7], [2.0]], std=0.3, weights=torch.tensor([0.5, 0.2, 0.3]))
    assert abs(rounded.weights.sum().item() - 1.0) < 1e-15


def test_many_points_and_components_are_taken_in_blocks() -> None:
    """Exact: a block of points is as good as all of them."""
    law, x = mixture(50, 3, 1), randn(6000, 3, seed=2)
    whole = law.evaluate(x, 0.1, tk.VP())
    ends = law.evaluate(torch.cat([x[:3], x[-3:]]), 0.1, tk.VP())
    for one, other in zip(whole, ends, strict=True):
        assert (torch.cat([one[:3], one[-3:]]) - other).abs().max().item() < 1e-12 * (1.0 + other.abs().max().item())
    assert law.evaluate(x[:0], 0.1, tk.VP()).score.shape == (0, 3)


# ---- entropy


def test_entropy_of_one_gaussian() -> None:
    covariance = spd(1, 4, 3)[0]
    expected = 0.5 * (2.0 * math.pi * math.e * covariance).logdet().item()
    assert abs(tk.Gaussian(torch.zeros(4), covariance).entropy() - expected) < 1e-12
    alone = tk.GaussianMixture(torch.zeros(2, 4), covariances=torch.stack([covariance] * 2), weights=[0.0, 1.0])
    assert abs(alone.entropy() - expected) < 1e-12


def test_entropy_of_mixtures_by_other_means(seed: int) -> None:
    """Scipy's quad on a line; rotation invariance and the mean of −log p (sampling, |z| at most 4) in the plane."""
    line = tk.GaussianMixture([[-1.0], [0.4], [3.0]], std=[0.5, 0.01, 2.0], weights=[0.2, 0.3, 0.5])

    def integrand(x: float) -> float:
        log_p = line.log_prob(torch.tensor([[x]], dtype=F64), 0.0, tk.VP()).item()
        return -math.exp(log_p) * log_p

    edges = [-25.0, -3.0, 0.3, 0.35, 0.37, 0.4, 0.43, 0.45, 0.5, 3.0, 10.0, 30.0]
    expected = sum(quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in itertools.pairwise(edges))
    assert abs(line.entropy() - expected) < quadrature.TOLERANCE
    plane = mixture(3, 2, 4)
    turn, _ = torch.linalg.qr(randn(2, 2, seed=6))
    turned = tk.GaussianMixture(
        plane.means @ turn, covariances=turn.mT @ plane.covariances @ turn, weights=plane.weights
    )
    assert abs(plane.entropy() - turned.entropy()) < 2.0 * quadrature.TOLERANCE
    surprise = -plane.log_prob(plane.sample(100_000, seed=seed), 0.0, tk.VP())
    assert_z((surprise.mean().item() - plane.entropy()) / (surprise.std().item() / 100_000**0.5), 4.0, "entropy")


def test_entropy_of_far_modes_is_that_of_the_parts() -> None:
    """Bumps 10^4 times smaller than the gap between them are not passed over."""
    std = torch.tensor([[0.01, 0.03], [0.05, 0.02]], dtype=F64)
    law = tk.GaussianMixture([[0.0, 0.0], [100.0, 30.0]], std=std, weights=[0.25, 0.75])
    parts = (2.0 * math.pi * math.e * std.prod(1)).log().tolist()
    expected = sum(w * (part - math.log(w)) for w, part in zip((0.25, 0.75), parts, strict=True))
    assert abs(law.entropy() - expected) < quadrature.TOLERANCE


def test_entropy_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="^entropy: .* in one and two dimensions by quadrature, not for 2"):
        mixture(2, 3, 0).entropy()
    monkeypatch.setattr(quadrature, "MAX_POINTS", 10_000)
    with pytest.raises(ValueError, match="^entropy: the quadrature needs more than 10000 points"):
        mixture(3, 2, 4).entropy()
    monkeypatch.undo()
    standard, origin = tk.Gaussian([0.0]), torch.zeros(1, 1, dtype=F64)

    def doubled(x: Tensor) -> Tensor:
        return standard.log_prob(x, 0.0, tk.VP()) + math.log(2.0)

    with pytest.raises(ValueError, match="^entropy: the quadrature found a mass of 2"):
        quadrature.entropy_by_quadrature(doubled, origin, torch.ones(1, 2, dtype=F64))


# ---- rotation


@given(dim=st.integers(2, 6), count=st.integers(1, 3), t=st.floats(1e-3, 1.0), seed=st.integers(0, 2**31))
def test_laws_of_one_eigenbasis_turn_into_diagonal_ones(dim: int, count: int, t: float, seed: int) -> None:
    """Score, divergence and density of the turned laws are those of the laws, at every time."""
    basis, _ = torch.linalg.qr(randn(dim, dim, seed=seed))
    variances = 0.1 + torch.rand(count + 1, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)
    covariances = (basis * variances[:, None, :]) @ basis.T
    model = tk.Gaussian(randn(dim, seed=seed + 1), covariances[0])
    reference = tk.GaussianMixture(randn(count, dim, seed=seed + 2), covariances=covariances[1:])
    turned = rotate(model, reference)
    assert turned is not None
    matrix = turned.matrix
    assert (matrix.T @ matrix - torch.eye(dim, dtype=F64)).abs().max().item() < 1e-13
    assert torch.linalg.det(matrix).item() > 0.0
    assert isinstance(turned.model, tk.Gaussian)
    x = randn(4, dim, seed=seed + 3)
    for law, diagonal in ((model, turned.model), (reference, turned.reference)):
        assert diagonal.eigenvectors is None
        ours, theirs = law.evaluate(x, t, tk.VP()), diagonal.evaluate(x @ matrix, t, tk.VP())
        scale = 1.0 + theirs.divergence.abs().max().item()
        assert (ours.score - theirs.score @ matrix.T).abs().max().item() < 1e-11 * scale
        assert (ours.divergence - theirs.divergence).abs().max().item() < 1e-11 * scale
        assert (ours.log_density - theirs.log_density).abs().max().item() < 1e-11 * scale


def test_an_isotropic_mixture_turns_by_its_means() -> None:
    full, ring = (
        tk.Gaussian([0.3, -1.0], [[2.0, 0.7], [0.7, 0.9]]),
        tk.GaussianMixture.ring(std=0.3, weights=[0.3, *[0.1] * 7]),
    )
    for turned in (rotate(full, ring), rotate(ring, full)):
        assert turned is not None
        laws = (turned.model, turned.reference)
        mixed = next(law for law in laws if not isinstance(law, tk.Gaussian))
        assert (mixed.eigenvalues - ring.eigenvalues).abs().max().item() < 1e-15
        assert_exact(mixed.means, ring.means @ turned.matrix)
        assert_exact(mixed.weights, ring.weights)


def test_no_rotation_for_covariances_that_do_not_commute() -> None:
    """The tolerance is a correlation: an angle of 1e-5 between the axes is told, one of 1e-9 is not."""

    def tilted(angle: float) -> tk.Gaussian:
        c, s = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[c, -s], [s, c]], dtype=F64)
        return tk.Gaussian([0.0, 0.0], turn @ torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=F64) @ turn.T)

    assert rotate(tilted(0.3), tilted(0.3 + 1e-5)) is None
    assert rotate(tilted(0.3), tilted(1.3)) is None
    assert rotate(tilted(0.3), tilted(0.3 + 1e-9)) is not None
    assert rotate(tilted(0.3), tk.Gaussian([0.0, 0.0], [1.0, 2.0])) is None
    # Their plain sum is a multiple of the identity, whose eigenvectors say nothing.
    assert rotate(tilted(0.3), tilted(0.3 + 0.5 * math.pi)) is not None


def test_diagonal_laws_stay_where_they_are() -> None:
    model, reference = tk.Gaussian([1.0, 2.0], [0.5, 3.0]), tk.GaussianMixture.ring()
    turned = rotate(model, reference)
    assert turned is not None
    assert_exact(turned.matrix, torch.eye(2, dtype=F64))
    assert turned.model is model
    assert turned.reference is reference


def test_rotated_paths_are_the_paths_on_rotated_noise() -> None:
    """Fused in the eigenbasis against the laws in their own axes, path by path, where z = R z'."""
    process = tk.VP()
    full, ring = tk.Gaussian([0.3, -1.0], [[2.0, 0.7], [0.7, 0.9]]), tk.GaussianMixture.ring(4, 2.0, 0.6)
    turned = rotate(full, ring)
    assert turned is not None
    matrix = turned.matrix

    def own_axes(law: tk.GaussianMixture):
        return lambda y, t: law.score(y @ matrix.T.to(y), t, process) @ matrix.to(y)

    y0 = ring.sample(200, seed=1) @ matrix
    options = {"x0": y0, "n_steps": 50, "seed": 3}
    fused = tk.taep(turned.model, turned.reference, process, **options)
    plain = tk.taep(own_axes(full), own_axes(ring), process, dtype=F64, **options)
    assert fused.backend == "fused"
    assert (fused.values - plain.values).abs().max().item() < 1e-4 * (1.0 + plain.values.abs().max().item())


FULL = tk.Gaussian([0.3, -1.0], [[2.0, 0.7], [0.7, 0.9]])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("scheme", ["stratonovich", "sampler"])
def test_full_covariances_that_share_their_axes_are_fused(scheme: str, direction: str) -> None:
    """Path by path as the reference backend in float64, whichever of the two is full; points come back unrotated."""
    ring = tk.GaussianMixture.ring(4, 2.0, 0.6)
    options = {"n_paths": 400, "n_steps": 400, "seed": 3, "scheme": scheme, "direction": direction}
    for model, reference in ((FULL, ring), (ring, FULL)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tk.FewPathsWarning)
            fused = tk.taep(model, reference, tk.VP(), **options)
            exact = tk.taep(model, reference, tk.VP(), backend="reference", dtype=F64, **options)
        assert (fused.backend, exact.backend) == ("fused", "reference")
        assert (fused.values - exact.values).abs().max().item() < 2e-4 * exact.values.std().item()
        for name in ("x_start", "x_end"):
            near, far = getattr(fused, name), getattr(exact, name)
            assert (near - far).abs().max().item() < 1e-4 * far.std().item(), name
        assert fused.settings["model"] == model.settings()


def test_the_start_of_a_fused_full_covariance_is_its_law() -> None:
    """Covariance of where paths start, against m² Σ + v I, and the end-point ratio in the caller's own axes."""
    process = tk.VP()
    model = tk.Gaussian([0.0, 0.0], [[1.5, 0.7], [0.7, 0.8]])
    result = tk.taep(model, FULL, process, n_paths=20_000, n_steps=1000, seed=5)
    m, v = process.mean_scale(1e-3), process.variance(1e-3)
    expected = m * m * FULL.covariances[0] + v * torch.eye(2, dtype=F64)
    centred = result.x_start.double() - m * FULL.means
    products = centred[:, :, None] * centred[:, None, :]
    z = (products.mean(0) - expected) / (products.std(0) / len(products) ** 0.5)
    assert_z(z.flatten().tolist(), 4.0, "covariance of the start")
    assert result.backend == "reference"  # these two share no axes
    common = tk.Gaussian([1.0, 0.5], torch.linalg.inv(FULL.covariances[0]))
    fused = tk.taep(common, FULL, process, n_paths=2000, n_steps=1000, seed=5)
    assert fused.backend == "fused"
    assert fused.endpoint_log_ratio is not None
    error = (fused.values - fused.endpoint_log_ratio).square().mean().sqrt().item()
    assert error < 0.02 * fused.values.std().item(), error


def test_paths_of_a_full_mixture_are_told_apart() -> None:
    """Which component a reverse path ends in, where the components differ in their axes alone."""
    tilt = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
    law = tk.GaussianMixture([[0.0, 0.0], [0.0, 0.0]], covariances=torch.stack([tilt, 2 * torch.eye(2) - tilt]))
    x = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-1.0, -1.5], [-1.0, 1.0]])
    assert law.most_probable_component(x, 0.0, tk.VP()).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tk.Gaussian([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), "covariance: expected symmetric"),
        (lambda: tk.Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "covariance: expected positive definite"),
        (lambda: tk.Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]), "covariance: expected positive definite"),
        (lambda: tk.Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, -1.0]]), "covariance: expected positive variances"),
        (lambda: tk.Gaussian([0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]), "covariance: expected positive variances"),
        (lambda: tk.Gaussian([0.0, 0.0], -1.0), "covariance: expected positive variances"),
        (lambda: tk.Gaussian([0.0, 0.0], torch.eye(3)), "covariance: expected a number"),
        (lambda: tk.GaussianMixture([[0.0, 0.0]], covariances=torch.eye(2)), "covariances: expected \\(1, 2, 2\\)"),
        (lambda: tk.GaussianMixture([[0.0]], std=1.0, covariances=[[[1.0]]]), "std, variances, covariances"),
        (lambda: rotate(tk.Gaussian([0.0]), tk.Gaussian([0.0, 0.0])), "reference: expected dimension 1"),
        (lambda: rotate(tk.VP(), tk.Gaussian([0.0])), "model: expected a Gaussian"),
    ],
)
def test_bad_arguments_are_named(make, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()


@pytest.mark.parametrize("dim", [3, 7, 16])
def test_a_turned_path_does_not_depend_on_its_company(dim: int) -> None:
    """Bit for bit, at its ends too: a matrix product may round a row differently in another batch."""
    generator = torch.Generator().manual_seed(dim)
    axes, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    low, high = torch.linspace(0.3, 2.0, dim, dtype=torch.float64), torch.linspace(1.5, 0.4, dim, dtype=torch.float64)
    reference = tk.Gaussian([0.0] * dim, axes @ low.diag() @ axes.T)
    model = tk.Gaussian([0.2] * dim, axes @ high.diag() @ axes.T)
    whole = tk.taep(model, reference, tk.VP(), n_paths=300, n_steps=20, seed=2)
    for first, n in ((0, 1), (7, 2), (100, 57), (299, 1)):
        part = tk.taep(model, reference, tk.VP(), n_paths=n, n_steps=20, seed=2, path_offset=first)
        for name in ("values", "x_start", "x_end"):
            assert_exact(getattr(part, name), getattr(whole, name)[first : first + n], name)
