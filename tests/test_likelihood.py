"""Exact log-likelihood: closed forms over the tolerance, SciPy's RK45, the law that densities integrate to one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rate_cases import checkpoint
from scipy.integrate import solve_ivp
from tolerances import assert_exact, assert_z, rms
from torch import Tensor, nn

import thermokern as tk
from thermokern import ops

LAWS = [
    tk.Gaussian([0.4], 0.3),
    tk.GaussianMixture([[1.0, 0.0], [-1.0, 0.5]], variances=[[0.1, 0.4], [0.3, 0.2]], weights=[0.7, 0.3]),
    tk.Gaussian(torch.linspace(-1.0, 1.0, 16), torch.linspace(0.2, 2.0, 16)),
    tk.UniformBox([-1.0, 0.0], [1.0, 0.5]),
]
PROCESSES = [
    tk.VP(),
    tk.VE(10.0),
    tk.SubVP(),
    tk.CosineVP(),
    tk.EDM(),
    tk.DiscreteVP((1.0 - torch.linspace(1e-3, 0.1, 100, dtype=torch.float64)).cumprod(0)),
]


BACKENDS = ("fused", "reference")


def exact(law: tk.Gaussian, result: tk.LogLikelihood, x: Tensor, process: tk.VP) -> Tensor:
    """Log density of the law at t_eps, on the data's scale."""
    t_eps = result.settings["t_eps"]
    m = process.mean_scale(t_eps)
    return law.log_prob(m * x, t_eps, process) + law.dim * math.log(m)


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{type(law).__name__}{law.dim}")
def test_the_tolerance_is_met(law: tk.Gaussian, process: tk.VP) -> None:
    """The largest error follows the tolerance over six decades, at no more than 40 of it."""
    x = law.sample(12, seed=1)
    tolerances = (1e-3, 1e-5, 1e-7) if isinstance(law, tk.UniformBox) else (1e-3, 1e-5, 1e-7, 1e-9)
    t_eps = 1e-3 if isinstance(law, tk.UniformBox) and process.t_end < 50 else None
    errors = []
    for tolerance in tolerances:
        out = tk.log_likelihood(law, x, process, rtol=tolerance, atol=tolerance, prior=law, t_eps=t_eps)
        errors.append(float((out.values - exact(law, out, x, process)).abs().max()))
        assert errors[-1] < 40.0 * tolerance * (law.dim + float(out.values.abs().max())), f"at {tolerance:g}"
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.6 < slope < 1.4, f"errors {errors}"


@pytest.mark.parametrize("law", LAWS[:3], ids=lambda law: f"{type(law).__name__}{law.dim}")
def test_the_boundary_terms_close_the_account(law: tk.Gaussian) -> None:
    """With the prior mismatch the value is log p at t_eps; with the term of t_eps, that of the data to order v²."""
    process = tk.VP.from_sigma(3.0)  # whose p_T is far from the prior
    x = law.sample(50, seed=2)
    left_out = []
    for t_eps in (4e-3, 2e-3):
        out = tk.log_likelihood(law, x, process, rtol=1e-9, atol=1e-9, t_eps=t_eps)
        assert out.prior_mismatch is not None
        assert rms(out.prior_mismatch) > 0.05
        whole = out.values + out.prior_mismatch
        assert float((whole - exact(law, out, x, process)).abs().max()) < 1e-6
        parts = out.prior_term + out.divergence_term + out.start_term
        assert float((out.values - parts).abs().max()) < 1e-12
        left_out.append(
            (rms(whole - law.log_prob(x, 0.0, process)), rms(whole + out.t_eps_term - law.log_prob(x, 0.0, process)))
        )
    (before, after), (before_half, after_half) = left_out
    assert after < 0.2 * before
    assert 1.7 < before / before_half < 2.3
    assert 3.4 < after / after_half < 4.6, "the term should leave an error of second order"


def askew() -> tk.GaussianMixture:
    """Two components whose covariances share no axes."""
    return tk.GaussianMixture(torch.zeros(2, 2), covariances=[[[1.0, 0.5], [0.5, 1.0]], [[2.0, 0.0], [0.0, 1.0]]])


def test_a_full_covariance_runs_fused_in_its_axes() -> None:
    """Against the same score as a function, which nobody rotates: values, terms and ends, with an askew prior too."""
    full = tk.Gaussian([0.7, -0.4, 1.1], [[1.0, 0.6, 0.0], [0.6, 1.5, -0.3], [0.0, -0.3, 0.5]])
    process = tk.VP.from_sigma(3.0)  # whose p_T is far from the prior
    x = full.sample(30, seed=2)
    options = dict(rtol=1e-9, atol=1e-9, t_eps=1e-2)
    for prior in (None, tk.Gaussian([2.0, 0.0, -1.0], [[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])):
        fused, slow = (tk.log_likelihood(full, x, process, prior=prior, backend=b, **options) for b in BACKENDS)
        assert (fused.backend, slow.backend) == BACKENDS
        assert_exact(fused.nfe, slow.nfe)
        plain = tk.log_likelihood(lambda y, t: full.score(y, t, process), x, process, prior=prior, **options)
        assert plain.backend == "reference"
        for name in ("values", "prior_term", "divergence_term", "t_eps_term", "x_end"):
            assert float((getattr(fused, name) - getattr(plain, name)).abs().max()) < 1e-7, name
            assert float((getattr(fused, name) - getattr(slow, name)).abs().max()) < 1e-10, name
        assert fused.prior_mismatch is not None
        assert float((fused.values + fused.prior_mismatch - exact(full, fused, x, process)).abs().max()) < 1e-6
        part = tk.log_likelihood(full, x[7:8], process, prior=prior, **options)
        assert_exact(part.values, fused.values[7:8].contiguous())
    assert tk.log_likelihood(askew(), x[:2, :2], process).backend == "reference"


# --- against SciPy, in process time ---------------------------------------------------------------------------------


def by_rk45(model: tk.ScoreModel, x: Tensor, process: tk.VP, t_eps: float) -> Tensor:
    """The same number by SciPy's RK45 in t, one point at a time, and autograd's Jacobian; float64."""
    out = []
    for point in x:

        def slope(t: float, state: np.ndarray) -> np.ndarray:
            y = torch.tensor(state[None, :-1])
            drift, push = process.f(t), -0.5 * process.g2(t)

            def score(z: Tensor) -> Tensor:
                return model.score(z, t, process) if isinstance(model, tk.GaussianMixture) else model(z, t)

            def field(z: Tensor) -> Tensor:
                return drift * z + push * score(z)

            if isinstance(model, tk.GaussianMixture):
                divergence = drift * y.shape[1] + push * model.divergence(y, t, process).item()
            else:
                jacobian = torch.autograd.functional.jacobian(field, y)[0, :, 0, :]
                divergence = jacobian.diagonal().sum().item()
            return np.append(field(y).detach().numpy()[0], divergence)

        m = process.mean_scale(t_eps)
        end = solve_ivp(slope, (t_eps, process.t_end), np.append(m * point.numpy(), 0.0), rtol=1e-7, atol=1e-7)
        last = end.y[:, -1]
        prior = process.prior(x.shape[1]).log_prob(torch.tensor(last[:-1])).item()
        out.append(prior + last[-1] + x.shape[1] * math.log(m))
    return torch.tensor(out)


def test_rk45_agrees_for_a_mixture() -> None:
    law, process = LAWS[1], tk.VP()
    x = law.sample(5, seed=3)
    out = tk.log_likelihood(law, x, process, rtol=1e-8, atol=1e-8, t_eps=1e-3)
    assert out.backend == "fused"
    assert float((out.values - by_rk45(law, x, process, 1e-3)).abs().max()) < 1e-5


def test_rk45_agrees_for_a_network() -> None:
    torch.manual_seed(0)
    process = tk.VE(5.0)
    net = tk.ScoreMLP(2, width=16, depth=2, time_features=2).double()
    model = tk.ScoreModel(net.requires_grad_(False), process, "epsilon")
    x = ops.normals(2, 2, seed=4, dtype=torch.float64)
    fused = tk.log_likelihood(model, x, rtol=1e-7, atol=1e-7, t_eps=0.1)
    slow = tk.log_likelihood(model, x, rtol=1e-7, atol=1e-7, t_eps=0.1, backend="reference")
    expected = by_rk45(model, x, process, 0.1)
    assert (fused.backend, slow.backend) == ("fused", "reference")
    assert float((fused.values - expected).abs().max()) < 2e-5
    assert float((slow.values - expected).abs().max()) < 2e-5
    assert float((fused.values - slow.values).abs().max()) < 1e-9


# --- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed_of_net", [0, 1])
def test_the_density_of_any_network_integrates_to_one(seed_of_net: int) -> None:
    """Whatever the score: a wrong divergence, prior or start term would show."""
    torch.manual_seed(seed_of_net)
    net = tk.ScoreMLP(1, width=12, depth=2, time_features=2).requires_grad_(False)
    model = tk.ScoreModel(net, tk.VP.from_sigma(4.0), "epsilon")
    x = torch.linspace(-60.0, 60.0, 3001, dtype=torch.float64)
    out = tk.log_likelihood(model, x[:, None], rtol=1e-7, atol=1e-7, t_eps=0.05)
    mass = torch.trapezoid(out.values.exp(), x).item()
    assert abs(mass - 1.0) < 1e-5, f"mass {mass}"
    assert float(out.values.exp()[[0, -1]].max()) < 1e-8


def test_probes_stay_fixed_along_a_path() -> None:
    """A linear score −A(t) x: with the probe e kept, the estimate is ½ eᵀ log(C_T/C_eps) e exactly."""
    process, t_eps = tk.VE(10.0), 1e-3
    sigma = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(sigma)

    def score(x: Tensor, t: float) -> Tensor:
        return -((x @ vectors) / (values + process.variance(t))) @ vectors.T

    x = ops.normals(40, 3, seed=1, dtype=torch.float64)
    options = dict(rtol=1e-8, atol=1e-8, t_eps=t_eps)
    out = tk.log_likelihood(score, x, process, divergence="hutchinson", seed=5, **options)
    whole = tk.log_likelihood(score, x, process, **options)
    logs = ((values + process.variance(1.0)) / (values + process.variance(t_eps))).log()
    signs = torch.where(ops.normals(40, 3, seed=5, purpose="probe") < 0, -1.0, 1.0).double() @ vectors
    expected = 0.5 * (signs.square() * logs).sum(1)
    assert float((out.divergence_term - expected).abs().max()) < 1e-6
    assert float((whole.divergence_term - 0.5 * logs.sum()).abs().max()) < 1e-6
    assert rms(out.divergence_term - whole.divergence_term) > 0.1
    assert bool(out.stderr.isnan().all())
    assert not bool(whole.stderr.any())


def test_hutchinson_is_unbiased_and_knows_its_error(seed: int) -> None:
    torch.manual_seed(0)
    net = tk.ScoreMLP(4, width=16, depth=2, time_features=2).double().requires_grad_(False)
    model = tk.ScoreModel(net, tk.VE(5.0), "epsilon")
    x = ops.normals(60, 4, seed=4, dtype=torch.float64)
    options = dict(rtol=1e-4, atol=1e-4, t_eps=0.05)
    truth = tk.log_likelihood(model, x, **options)
    noisy = tk.log_likelihood(model, x, divergence="hutchinson", probes=8, seed=seed, **options)
    assert noisy.backend_reason == "the kernels give the exact divergence"
    z = (noisy.values - truth.values) / noisy.stderr
    assert_z(float(z.mean() * math.sqrt(60)), 4.0, "bias")
    assert 0.5 < float(z.square().mean()) < 3.0  # Student's t of 7: 1.4
    repeated = tk.log_likelihood(model, x[:5], divergence="hutchinson", probes=2, repeats=3, seed=seed, **options)
    assert bool((repeated.stderr > 0).all())
    assert bool((repeated.nfe > 2 * noisy.nfe[:5]).all()), "of all repeats"


# --- quantised data -------------------------------------------------------------------------------------------------


def test_dequantisation_is_uniform_over_the_bin(seed: int) -> None:
    """``E log p(x + w u)`` against quadrature; the error that the repeats give is the error."""
    law, process, width = tk.Gaussian([0.3, 0.0], [0.5, 2.0]), tk.VP(), 1.5
    x = torch.floor(law.sample(40, seed=1) / width) * width
    out = tk.log_likelihood(law, x, process, dequantize=width, repeats=40, seed=seed, prior=law, rtol=1e-4, atol=1e-4)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    grid = torch.cartesian_prod(*[torch.tensor(0.5 * width * (nodes + 1.0))] * 2)
    weight = torch.cartesian_prod(*[torch.tensor(0.5 * weights)] * 2).prod(1)
    expected = torch.stack([law.log_prob(point + grid, 0.0, process) @ weight for point in x])
    z = (out.values - expected) / out.stderr
    assert_z(float(z.mean() * math.sqrt(40)), 4.0, "mean")
    assert 0.6 < float(z.square().mean()) < 1.6


def test_bits_per_dimension() -> None:
    law = tk.Gaussian([0.0, 0.0], 1.0)
    out = tk.log_likelihood(law, law.sample(20, seed=1), tk.VP())
    bits = -out.values.mean().item() / (2.0 * math.log(2.0))
    assert abs(out.bits_per_dim().value - bits) < 1e-12
    assert abs(out.bits_per_dim(8.0).value - bits - 8.0) < 1e-12
    assert out.bits_per_dim().unit == "bits/dim"


# --- company, shapes, storage, errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mixture", "network"])
def test_a_value_does_not_depend_on_its_batch(kind: str) -> None:
    """Exact for the kernels, finer grids included."""
    process = tk.VP()
    model: object = LAWS[1]
    if kind == "network":
        torch.manual_seed(0)
        net = tk.ScoreMLP(2, width=16, depth=2).requires_grad_(False)
        model = tk.ScoreModel(net, process, "epsilon")
    x = torch.cat([LAWS[1].sample(30, seed=1), 30.0 * LAWS[1].sample(3, seed=2)])
    options = dict(rtol=1e-6, atol=1e-6, t_eps=1e-2)
    whole = tk.log_likelihood(model, x, process, **options)
    assert whole.backend == "fused"
    for rows in (slice(0, 1), slice(5, 20), slice(31, 33)):
        part = tk.log_likelihood(model, x[rows], process, **options)
        assert_exact(part.values, whole.values[rows].contiguous())
        assert_exact(part.nfe, whole.nfe[rows].contiguous())


def test_networks_in_pytorch_agree_to_the_tolerance_in_any_batch() -> None:
    model = checkpoint()
    x = tk.GaussianMixture.ring().sample(12, seed=1)
    options = dict(rtol=1e-3, atol=1e-3, t_eps=1e-2, backend="reference")
    whole = tk.log_likelihood(model, x, **options)
    alone = torch.cat([tk.log_likelihood(model, x[i : i + 3], **options).values for i in range(0, 12, 3)])
    assert float((whole.values - alone).abs().max()) < 20.0 * 1e-3 * (2.0 + float(whole.values.abs().max()))
    assert whole.settings["dtype"] == "float32"


class Pixels(nn.Module):
    """The score of independent standard normal pixels under VE."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        v = tk.VE(10.0).variance(t.double()).to(x)
        assert x.shape[1:] == (1, 3, 7)
        return -x / (1.0 + v.reshape(-1, 1, 1, 1))


def test_points_may_have_any_shape() -> None:
    """Above 16 dimensions Hutchinson's estimate, exact here whatever the signs."""
    process = tk.VE(10.0)
    law = tk.Gaussian(torch.zeros(21), 1.0)
    x = law.sample(6, seed=1)
    model = tk.ScoreModel(Pixels(), process)
    out = tk.log_likelihood(model, x.reshape(6, 1, 3, 7), prior=law, probes=2, rtol=1e-7, atol=1e-7)
    assert out.settings["divergence"] == "hutchinson"
    assert float((out.values - exact(law, out, x, process)).abs().max()) < 1e-4
    assert float(out.stderr.max()) < 1e-6


def test_no_points() -> None:
    out = tk.log_likelihood(LAWS[1], torch.zeros(0, 2), tk.VP())
    assert out.values.shape == (0,)
    assert math.isnan(out.nll.value)
    assert "none" in out.summary()


def test_it_is_stored_and_drawn(tmp_path) -> None:
    out = tk.log_likelihood(LAWS[1], LAWS[1].sample(20, seed=1), tk.VP())
    out.save(tmp_path / "l.safetensors")
    again = tk.load(tmp_path / "l.safetensors")
    assert_exact(again.values, out.values)
    assert again.summary() == out.summary()
    assert out.to_json()["n_points"] == 20
    out.plot().savefig(tmp_path / "l.png")


def test_points_that_stop_being_finite_are_counted() -> None:
    def score(x: Tensor, t: float) -> Tensor:
        return torch.where(x.abs() > 4.0, math.inf, -x)

    x = torch.tensor([[0.1], [5.0]])
    with pytest.raises(FloatingPointError, match="1 of 2 points"):
        tk.log_likelihood(score, x, tk.VP())
    out = tk.log_likelihood(score, x, tk.VP(), allow_nonfinite=True)
    assert out.values.isnan().tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(divergence="no"), "divergence: expected"),
        (dict(divergence="hutchinson"), "divergence: a distribution knows"),
        (dict(probes=0), "probes: expected"),
        (dict(repeats=True), "repeats: expected"),
        (dict(rtol=-1.0), "rtol: expected"),
        (dict(t_eps=2.0), "t_eps: expected"),
        (dict(dequantize=-1.0), "dequantize: expected"),
        (dict(backend="gpu"), "backend: expected"),
        (dict(dtype=torch.float16), "dtype: expected"),
        (dict(x=torch.zeros(3)), "x: expected"),
        (dict(x=torch.zeros(3, 5)), "model: expected dimension 5 to match the points, got"),
        (dict(x=torch.full((3, 2), math.nan)), "x: expected finite"),
        (dict(x=torch.zeros(3, 2, requires_grad=True)), "x: requires a gradient"),
        (dict(process=None), "process: "),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"x": torch.zeros(3, 2), "process": tk.VP(), **change}
    with pytest.raises(ValueError, match=message):
        tk.log_likelihood(LAWS[1], arguments.pop("x"), arguments.pop("process"), **arguments)
    with pytest.raises(ValueError, match="one rotation makes diagonal"):
        tk.log_likelihood(askew(), torch.zeros(1, 2), tk.VP(), backend="fused")
