"""The uniform box, the Swiss roll and the empirical law: derivatives, densities, tails, samples, entropies.

More of the empirical law is in test_empirical.py.
"""

from __future__ import annotations

import json
import math

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from tolerances import assert_exact, assert_rounding, assert_z
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.models import exact_divergence
from thermokern.ops import MixtureScore, mixture_score_reference
from thermokern.targets import swiss_roll
from thermokern.targets.empirical import equal_mixture_score

F64 = torch.float64
ROLL = tk.SwissRoll()


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Still(tk.VE):
    """A process at one moment: ``m`` and ``v`` as they are given."""

    def __init__(self, m: float, v: float) -> None:
        super().__init__()
        self.m, self.v = m, v

    def _mean_scale(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.m)

    def _variance(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.v)


def assert_derivatives(law: tk.UniformBox | tk.Empirical | tk.SwissRoll, x: Tensor, t: float, process: tk.VP) -> None:
    """Float64 autograd of log p: its gradient, and the trace of the gradient's Jacobian."""
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(law.log_prob(leaf, t, process).sum(), leaf)
    score, trace = exact_divergence(lambda y: law.score(y, t, process), x)
    slope = gradient.abs().max().item()
    scale = 1.0 + slope**2 + trace.abs().max().item() + 1.0 / process.variance(t)
    assert (score - gradient).abs().max().item() < 1e-12 * scale
    assert (law.divergence(x, t, process) - trace).abs().max().item() < 1e-12 * scale


@given(
    dim=st.integers(1, 5), t=st.floats(1e-3, 1.0), seed=st.integers(0, 2**31), explode=st.booleans(), far=st.booleans()
)
def test_box_score_and_divergence_are_derivatives(dim: int, t: float, seed: int, explode: bool, far: bool) -> None:
    low = randn(dim, seed=seed)
    law = tk.UniformBox(low, low + 0.1 + randn(dim, seed=seed + 1).abs())
    x = (5.0 if far else 1.0) * randn(8, dim, seed=seed + 2)
    assert_derivatives(law, x, t, tk.VE(5.0) if explode else tk.VP())


@given(
    dim=st.integers(1, 5),
    count=st.integers(1, 40),
    t=st.floats(1e-3, 1.0),
    seed=st.integers(0, 2**31),
    explode=st.booleans(),
)
def test_empirical_score_and_divergence_are_derivatives(
    dim: int, count: int, t: float, seed: int, explode: bool
) -> None:
    law = tk.Empirical(randn(count, dim, seed=seed))
    assert_derivatives(law, 2.0 * randn(8, dim, seed=seed + 1), t, tk.VE(5.0) if explode else tk.VP())


@given(noise=st.floats(0.2, 3.0), t=st.floats(1e-3, 1.0), seed=st.integers(0, 2**31), explode=st.booleans())
def test_swiss_roll_score_and_divergence_are_derivatives(noise: float, t: float, seed: int, explode: bool) -> None:
    process = tk.VE(5.0) if explode else tk.VP()
    assert_derivatives(tk.SwissRoll(noise), 2.0 * randn(8, 2, seed=seed), t, process)


# ---- the uniform box


def box_truth(x: float, low: float, high: float, m: float, v: float) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """Score, divergence and log density on a line by the textbook formulas, to 120 digits: far away, 60 cancel."""
    with mp.workdps(120):
        x_, low_, high_, m_, v_ = map(mp.mpf, (x, low, high, m, v))
        near, far = sorted(((x_ - m_ * low_) / mp.sqrt(v_), (x_ - m_ * high_) / mp.sqrt(v_)), key=abs)
        sign = 1 if near * far > 0 else -1
        mass = mp.erfc(abs(near) / mp.sqrt(2)) / 2 - sign * mp.erfc(abs(far) / mp.sqrt(2)) / 2
        mass = mass if sign > 0 else 1 - mp.erfc(abs(near) / mp.sqrt(2)) / 2 - mp.erfc(abs(far) / mp.sqrt(2)) / 2
        z_low, z_high = (x_ - m_ * low_) / mp.sqrt(v_), (x_ - m_ * high_) / mp.sqrt(v_)
        score = (mp.npdf(z_low) - mp.npdf(z_high)) / (mp.sqrt(v_) * mass)
        divergence = -(z_low * mp.npdf(z_low) - z_high * mp.npdf(z_high)) / (v_ * mass) - score**2
        return score, divergence, mp.log(mass / (m_ * (high_ - low_)))


@pytest.mark.parametrize("v", [2.0**-40, 2.0**-10, 1.0, 2.0**10, 2.0**20])
@pytest.mark.parametrize("width", [3.0, 2.0**-20], ids=["wide", "narrow"])
def test_box_is_accurate_everywhere(v: float, width: float) -> None:
    """Relative error below 1e-14, from 1e14 deviations outside to 1e6 inside, where the score is e^{−1e12}."""
    low, high = -1.0, width - 1.0
    inside = [low, low + width / 4, low + width / 2, low + 0.75 * width, high - width / 1024, high]
    outside = [-1e6, -100.0, -3.0, -1.25, -1.0 - 2.0**-12, high + 2.0**-10, high + 0.5, 10.0, 1e4, 1e8]
    x = torch.tensor([*inside, *outside], dtype=F64)
    out = tk.UniformBox([low], [high]).evaluate(x[:, None], 1.0, Still(1.0, v))
    for i, point in enumerate(x.tolist()):
        got = (out.score[i, 0].item(), out.divergence[i].item(), out.log_density[i].item())
        for name, value, truth in zip(out._fields, got, box_truth(point, low, high, 1.0, v), strict=True):
            error = abs(mp.mpf(value) - truth)
            assert error <= 1e-14 * abs(truth) + 1e-300, f"{name} at {point}: {value}, {mp.nstr(truth, 17)}"


def test_box_diffuses_by_its_own_transitions() -> None:
    """Chapman–Kolmogorov by quadrature: p_t is p_s through the transition from s to t, and p_0 is flat."""
    law, process, s, t = tk.UniformBox([-1.0], [0.5]), tk.VP(), 0.05, 0.3
    y = torch.linspace(-8.0, 8.0, 40_001, dtype=F64)[:, None]
    x = torch.tensor([[-2.5], [-0.3], [0.4], [1.8]], dtype=F64)
    scale = process.mean_scale(t) / process.mean_scale(s)
    variance = process.variance(t) - scale**2 * process.variance(s)
    p_s = law.log_prob(y, s, process).exp()
    width = (y[1] - y[0]).item()
    assert abs(p_s.sum().item() * width - 1.0) < 1e-12
    kernel = (-((x - scale * y.T) ** 2) / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)
    assert ((kernel @ p_s * width).log() - law.log_prob(x, t, process)).abs().max().item() < 1e-11
    m, v = process.mean_scale(s), process.variance(s)
    for point in (-1.3, -0.2, 0.5):
        flat = quad(lambda y, point=point: math.exp(-((point - m * y) ** 2) / (2 * v)) / 1.5, -1.0, 0.5, epsabs=1e-13)
        expected = math.log(flat[0] / math.sqrt(2 * math.pi * v))
        assert abs(law.log_prob(torch.tensor([[point]], dtype=F64), s, process).item() - expected) < 1e-11


def test_box_at_the_data() -> None:
    law, x = tk.UniformBox([0.0, -1.0], [2.0, 3.0]), torch.tensor([[1.0, 0.0], [2.0, 3.0], [2.1, 0.0], [1.0, -1.5]])
    out = law.evaluate(x, 0.0, tk.VP())
    assert_exact(out.log_density, torch.tensor([-math.log(8.0)] * 2 + [-math.inf] * 2))
    assert_exact(out.score[:2], torch.zeros(2, 2))
    assert bool(out.score[2:].isnan().all())
    assert bool(out.divergence[2:].isnan().all())
    assert law.entropy() == math.log(2.0) + math.log(4.0)
    near = law.log_prob(torch.tensor([[1.0, 0.0]], dtype=F64), 1e-9, tk.VP()).item()
    assert abs(near + law.entropy()) < 1e-9


def test_box_samples_are_uniform(seed: int) -> None:
    """Sampling: moments, the shares of octants and of sixteenths, |z| at most 4.5; every point inside."""
    law, n = tk.UniformBox([-1.0, 2.0, 0.0], [1.0, 5.0, 0.1]), 200_000
    unit = (law.sample(n, seed=seed) - law.low) / (law.high - law.low)
    assert 0.0 <= unit.min().item() <= unit.max().item() <= 1.0
    assert_z(((unit.mean(0) - 1 / 2) * math.sqrt(12 * n)).tolist(), 4.5, "means")
    assert_z(((unit.square().mean(0) - 1 / 3) / math.sqrt(4 / 45 / n)).tolist(), 4.5, "squares")
    share = torch.bincount(((unit > 0.5).long() * torch.tensor([1, 2, 4])).sum(1), minlength=8).double() / n
    assert_z(((share - 1 / 8) / math.sqrt(7 / 64 / n)).tolist(), 4.5, "octants")
    for axis in range(3):
        share = torch.histc(unit[:, axis], 16, 0.0, 1.0) / n
        assert_z(((share - 1 / 16) / math.sqrt(15 / 256 / n)).tolist(), 4.5, "sixteenths")
    assert_exact((law.sample(50, seed=seed, path_offset=70) - law.low) / (law.high - law.low), unit[70:120])


# ---- the Swiss roll


def test_swiss_roll_entropy(seed: int) -> None:
    """1.968090 nats, and (sampling, |z| at most 4) the mean of −log p."""
    assert abs(ROLL.entropy() - 1.968090) < 5e-7
    surprise = -ROLL.log_prob(ROLL.sample(40_000, seed=seed), 0.0, tk.VP())
    assert_z((surprise.mean().item() - 1.968090) / (surprise.std().item() / 200.0), 4.0, "entropy")


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0, 10.0])
def test_swiss_roll_quadrature_error_is_below_rounding(monkeypatch: pytest.MonkeyPatch, noise: float) -> None:
    """Twice the panels change nothing, up to 30 standard deviations from the curve; and it is a density."""
    law = tk.SwissRoll(noise)
    assert law.weights.sum().item() == pytest.approx(1.0, abs=1e-14)
    monkeypatch.setattr(swiss_roll, "PANEL", swiss_roll.PANEL / 2)
    monkeypatch.setattr(swiss_roll, "MIN_PANELS", 2 * swiss_roll.MIN_PANELS)
    finer = tk.SwissRoll(noise)
    assert len(finer.weights) >= 2 * len(law.weights) - swiss_roll.ORDER
    angle = torch.linspace(0.0, 2.0 * math.pi, 13, dtype=F64)[1:]
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    foot = swiss_roll.curve(torch.linspace(swiss_roll.START, swiss_roll.END, 9, dtype=F64))
    for distance in (1.0, 10.0, 30.0):
        x = (foot[:, None] + distance * noise / 5.0 * circle).reshape(-1, 2)
        ours, theirs = law.evaluate(x, 0.0, tk.VP()), finer.evaluate(x, 0.0, tk.VP())
        scale = {"score": 1.0, "divergence": theirs.score.abs().max().item(), "log_density": 1.0}
        for name, one, other in zip(ours._fields, ours, theirs, strict=True):
            bound = 1e-13 * (1.0 + other.abs().max().item()) * (1.0 + scale[name])
            assert (one - other).abs().max().item() < bound, (name, distance)


def test_swiss_roll_score_is_that_of_many_points_on_the_curve(seed: int) -> None:
    """Sampling: 200,000 noise-free points with the noise as variance; standard errors of a ratio, |z| at most 4.5."""
    count, t, process = 200_000, 0.02, tk.VP()
    u = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=F64)
    turn = 1.5 * math.pi * (1.0 + 2.0 * u)  # as scikit-learn has it
    points = torch.stack([turn * turn.cos(), turn * turn.sin()], dim=1) / 5.0
    m, v = process.mean_scale(t), process.variance(t) + (process.mean_scale(t) * 0.1) ** 2
    x = ROLL.sample(20, seed=seed) + 0.1 * randn(20, 2, seed=seed)
    found, expected = equal_mixture_score(x, points, m, v), ROLL.evaluate(x, t, process)
    difference = m * points - x[:, None]  # (20, count, 2)
    share = (-0.5 * difference.square().sum(2) / v).softmax(1)
    error = (share[:, :, None] * (difference / v - found.score[:, None])).square().sum(1).sqrt()
    assert error.max().item() < 0.1 * expected.score.abs().max().item()
    assert_z(((found.score - expected.score) / error).flatten().tolist(), 4.5, "score")
    spread = (count * share - 1.0).square().mean(1).sqrt() / math.sqrt(count)
    assert_z(((found.log_density - expected.log_density) / spread).tolist(), 4.5, "log density")


def test_swiss_roll_samples_have_the_curve_s_moments(seed: int) -> None:
    """Sampling: means and second moments against scipy's integrals along the curve, |z| at most 4.5."""
    n, noise = 200_000, 0.5
    x = tk.SwissRoll(noise).sample(n, seed=seed)
    axes = (lambda t: t * math.cos(t) / 5, lambda t: t * math.sin(t) / 5)

    def average(function) -> float:
        return quad(function, 1.5 * math.pi, 4.5 * math.pi, epsabs=1e-12)[0] / (3.0 * math.pi)

    for axis, along in enumerate(axes):
        mean = average(along)
        assert_z((x[:, axis].mean().item() - mean) / (x[:, axis].std().item() / n**0.5), 4.5, "mean")
        square, expected = x[:, axis].square(), average(lambda t, along=along: along(t) ** 2) + (noise / 5) ** 2
        assert_z((square.mean().item() - expected) / (square.std().item() / n**0.5), 4.5, "square")
    product = x[:, 0] * x[:, 1]
    expected = average(lambda t: axes[0](t) * axes[1](t))
    assert_z((product.mean().item() - expected) / (product.std().item() / n**0.5), 4.5, "product")
    assert_exact(ROLL.sample(50, seed=seed, path_offset=70), x[70:120])


@pytest.mark.parametrize("t", [1e-3, 0.1, 0.9])
def test_sums_over_many_components_keep_their_digits(t: float) -> None:
    """The roll's 960 components in the float32 kernel, against PyTorch's float32, which adds in pairs."""
    process = tk.VP()
    m, v = process.mean_scale(t), process.variance(t)
    numbers = m * ROLL.means, m * m * ROLL.variances + v, ROLL.weights
    x = (m * ROLL.sample(2000, seed=4) + v**0.5 * randn(2000, 2, seed=5)).float()
    fast, plain = ops.mixture_score(x, *numbers), ops.mixture_score_reference(x, *numbers)
    exact = ops.mixture_score_reference(x.double(), *numbers)
    square = exact.score.square().sum(1).square().mean().sqrt().item()
    for name, a, b, c in zip(fast._fields, fast, plain, exact, strict=True):
        assert_rounding(a, b, c, square if name == "divergence" else None, name)


def test_swiss_roll_runs_in_the_fused_kernels() -> None:
    """Path by path against the reference on the same noise."""
    options = {"n_paths": 40, "n_steps": 20, "seed": 1}
    fused, plain = (
        tk.taep(tk.SwissRoll(0.7), ROLL, tk.VP(), backend=backend, **options) for backend in ("auto", "reference")
    )
    assert fused.backend == "fused"
    assert fused.settings["reference"] == {"kind": "SwissRoll", "noise": 0.5}
    assert (fused.values - plain.values).abs().max().item() < 1e-4 * (1.0 + plain.values.abs().max().item())


# ---- all of them


@pytest.mark.parametrize("name", ["box", "swiss-roll", "empirical"])
@pytest.mark.parametrize("part", ["score", "divergence", "log_density"])
def test_float32_rounds_as_plain_pytorch_does(name: str, part: str) -> None:
    """Rounding: against mixtures written out in float32, and the textbook formulas of the box."""
    process, t = tk.VP(), 0.1
    m, v = process.mean_scale(t), process.variance(t)
    x = (0.8 * randn(400, 2, seed=3)).clamp(-1.5, 1.5).float()  # where the textbook formulas are finite
    law = {
        "box": tk.UniformBox([-1.0, 0.0], [2.0, 0.3]),
        "swiss-roll": ROLL,
        "empirical": tk.Empirical(randn(500, 2, seed=4)),
    }[name]
    if isinstance(law, tk.UniformBox):
        std = math.sqrt(v)
        z_low, z_high = ((x - m * edge.float()) / std for edge in (law.low, law.high))
        pdf_low, pdf_high = ((-0.5 * z * z).exp() / math.sqrt(2.0 * math.pi) for z in (z_low, z_high))
        mass = torch.special.ndtr(z_low) - torch.special.ndtr(z_high)
        score = (pdf_low - pdf_high) / (std * mass)
        slope = -(z_low * pdf_low - z_high * pdf_high) / (v * mass) - score.square()
        volume = (m * (law.high - law.low)).float()
        plain = MixtureScore(score, slope.sum(1), (mass / volume).log().sum(1))
    else:
        if isinstance(law, tk.Empirical):
            means, own, weights = law.points, torch.zeros(500, 2), torch.full((500,), 1.0 / 500.0)
        else:
            means, own, weights = law.means, law.eigenvalues, law.weights
        plain = mixture_score_reference(x, m * means, m * m * own + v, weights)
    fast, exact = (getattr(law.evaluate(points, t, process), part) for points in (x, x.double()))
    assert_rounding(fast, getattr(plain, part), exact, what=part)


def test_settings_are_short() -> None:
    points = randn(5000, 3, seed=0)
    laws = (tk.UniformBox([0.0], [1.0]), ROLL, tk.Empirical(points))
    texts = [json.dumps(law.settings()) for law in laws]
    assert texts[0] == '{"kind": "UniformBox", "low": [0.0], "high": [1.0]}'
    assert texts[1] == '{"kind": "SwissRoll", "noise": 0.5}'
    assert json.loads(texts[2])["points"] == [5000, 3]
    assert max(map(len, texts)) < 120
    points[17, 1] += 1e-12
    assert json.dumps(tk.Empirical(points).settings()) != texts[2]


def test_a_gaussian_may_be_told_by_its_standard_deviations() -> None:
    assert tk.Gaussian([0.0, 1.0], std=2.0).settings() == tk.Gaussian([0.0, 1.0], 4.0).settings()
    assert tk.Gaussian([0.0, 1.0], std=[2.0, 3.0]).settings() == tk.Gaussian([0.0, 1.0], [4.0, 9.0]).settings()


def test_laws_have_short_names() -> None:
    assert repr(tk.GaussianMixture.ring()) == "GaussianMixture(8 components, dim=2)"
    assert repr(tk.Gaussian([0.0, 1.0])) == "Gaussian(dim=2)"
    assert repr(tk.Empirical(torch.zeros(2000, 3))) == "Empirical(2,000 points, dim=3)"
    assert repr(tk.SwissRoll()) == "SwissRoll(dim=2)"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tk.UniformBox(0.0, 1.0), "low: expected \\(d,\\)"),
        (lambda: tk.UniformBox([0.0], [1.0, 2.0]), "high: expected \\(1,\\)"),
        (
            lambda: tk.UniformBox([0.0, 1.0], [1.0, 1.0]),
            "high: expected numbers above low, got 1 for a low of 1 on axis 1",
        ),
        (lambda: tk.UniformBox([-math.inf], [0.0]), "low: expected finite"),
        (lambda: tk.SwissRoll(0.0), "noise: expected a finite number above 0, got 0.0"),
        (lambda: tk.SwissRoll(math.nan), "noise"),
        (lambda: tk.SwissRoll("0.5"), "noise"),
        (lambda: tk.Empirical([0.0, 1.0]), "points: expected \\(N, d\\), got \\(2,\\)"),
        (lambda: tk.Empirical(torch.zeros(0, 2)), "points"),
        (lambda: tk.Empirical(torch.zeros(3, 1, 4, 4)), r"points: .*images are flattened: points\.flatten\(1\)$"),
        (lambda: tk.Gaussian([0.0], 1.0, std=1.0), "covariance, std: expected one of the two"),
        (lambda: tk.Gaussian([0.0, 0.0], std=[1.0, 0.0]), "std: expected a positive number or \\(2,\\)"),
        (lambda: tk.Gaussian([0.0, 0.0], std=[1.0]), "std: expected a positive number or \\(2,\\)"),
        (lambda: tk.Empirical([[math.nan]]), "points: expected finite"),
        (
            lambda: tk.Empirical([[0.0]], memory_budget=1000),
            "memory_budget: expected an integer of at least 1048576, got 1000",
        ),
    ],
)
def test_bad_arguments_are_named(make, name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        make()
