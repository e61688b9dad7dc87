"""Samples of known laws by every method; guidance; the loss whose minimum is the score."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from tolerances import assert_exact, assert_rounding, assert_z, rms
from torch import Tensor

import thermokern as tk
from thermokern.processes import OPTIMAL_CHAIN, step_table
from thermokern.quantities.engine import generation
from thermokern.quantities.engine.generation import SAMPLERS

F64 = torch.float64
# The chain of the best variances is in test_schedule_bounds.py; "ancestral" is another name of "ddpm".
METHODS = [name for name in SAMPLERS if name not in (OPTIMAL_CHAIN, "ancestral")]
LAW = tk.Gaussian([1.0, -0.5], [[0.5, 0.2], [0.2, 0.4]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("process", [tk.VP(), tk.EDM(300.0)], ids=repr)
def test_samples_have_the_law(method: str, process: tk.VP, seed: int) -> None:
    """Mean and covariance of a Gaussian at t_eps, by the exact score."""
    n, t_eps = 4000, 0.02
    steps = {"probability-flow": 300, "heun": 60}.get(method, 400)
    x = tk.sample(LAW, process, n, method=method, n_steps=steps, t_eps=t_eps, spacing="log-snr", seed=seed, dtype=F64)
    m, v = process.mean_scale(t_eps), process.variance(t_eps)
    covariance = m * m * LAW.covariances[0] + v * torch.eye(2, dtype=F64)
    deviation = (x.mean(0) - m * LAW.means[0]) / (covariance.diagonal() / n).sqrt()
    assert_z(deviation.tolist(), 4.0, "mean")
    found = torch.cov(x.T)
    spread = ((covariance.diagonal()[:, None] * covariance.diagonal() + covariance**2) / n).sqrt()
    assert_z(((found - covariance) / spread).flatten().tolist(), 4.0, "covariance")


def test_orders_of_the_flow() -> None:
    """Errors of the probability flow fall as the step, of Heun's method as its square, against the closed form.

    Along each axis of a Gaussian (x − m μ)/√(m² λ + v) stays what it is.
    """
    process, t_eps, n = tk.VP(), 0.05, 16
    law = tk.Gaussian([1.0, -0.5], [0.5, 0.3])
    start = tk.ops.normals(n, 2, dtype=F64)
    ends = []
    for t in (1.0, t_eps):
        m, v = process.mean_scale(t), process.variance(t)
        ends.append((m * law.means[0], (m * m * law.variances[0] + v).sqrt()))
    exact = ends[1][0] + ends[1][1] * (start - ends[0][0]) / ends[0][1]
    counts = torch.tensor([32.0 * 2**i for i in range(6)], dtype=F64)
    for method, order in (("probability-flow", 1.0), ("heun", 2.0)):
        options = {"method": method, "t_eps": t_eps, "spacing": "log-snr", "x_end": start, "dtype": F64}
        errors = [rms(tk.sample(law, process, n, n_steps=int(count), **options) - exact) for count in counts]
        design = torch.stack([counts.log(), torch.ones(6, dtype=F64)], 1)
        slope = torch.linalg.lstsq(design, torch.tensor(errors, dtype=F64).log()[:, None]).solution[0].item()
        assert abs(-slope - order) < 0.1, method


def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    for method in METHODS:
        options = {"method": method, "n_steps": 20, "dtype": F64, "seed": 3}
        whole = tk.sample(LAW, tk.VP(), 10, batch_size=4, **options)
        alone = tk.sample(LAW, tk.VP(), 3, path_offset=6, **options)
        assert rms(whole[6:9] - alone) < 1e-12 * rms(alone)


def test_euler_maruyama_is_the_reverse_path_of_taep() -> None:
    """The same steps and the same noise, from the same start."""
    # as a function: two full covariances would run in axes of their own
    model, by = partial(LAW.score, process=tk.VP()), {"integrator": "euler-maruyama"}
    result = tk.taep(model, LAW, tk.VP(), n_paths=5, n_steps=30, direction="reverse", dtype=F64, seed=4, **by)
    table = step_table(tk.VP(), tk.VP().grid(30), "ito", "reverse", **by)
    assert table.direction == "reverse"
    x = tk.sample(LAW, tk.VP(), 5, n_steps=30, x_end=result.x_end, dtype=F64, seed=4)
    assert rms(x - result.x_start) < 1e-12


@pytest.mark.parametrize("method", ["euler-maruyama", "ddpm-large"])
@pytest.mark.parametrize("kind", ["law", "perceptron"])
def test_fused_samples_are_the_steps_in_pytorch(kind: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same noise, point by point, to rounding; and the same bits in any batch."""
    torch.manual_seed(3)
    net = tk.ScoreMLP(2, width=24, depth=2).requires_grad_(False)
    ring = tk.GaussianMixture.ring(8, radius=2.0, std=0.5)

    def draw(dtype: torch.dtype, **options: int) -> Tensor:
        given = {"n": 300, "n_steps": 60, "t_eps": 1e-2, "seed": 4, "dtype": dtype, "method": method} | options
        model = ring if kind == "law" else tk.ScoreModel(net.to(dtype), tk.VP(), "epsilon")
        return tk.sample(model, tk.VP(), shape=(2,), **given)

    fused = draw(torch.float32)
    assert_exact(draw(torch.float32, n=7, path_offset=50), fused[50:57])
    monkeypatch.setattr(generation, "_fused", lambda *_: None)
    plain, exact = draw(torch.float32), draw(F64)
    assert not torch.equal(fused, plain), "the kernels were not asked"
    assert_rounding(fused, plain, exact)


def test_times_are_the_grid_and_ancestral_is_ddpm() -> None:
    process = tk.VP()
    options = {"dtype": F64, "seed": 5}
    for method in ("ddpm", "heun"):
        named = tk.sample(LAW, process, 4, method=method, n_steps=7, spacing="uniform", **options)
        times = process.grid(7, spacing="uniform")
        assert_exact(tk.sample(LAW, process, 4, method=method, times=times.tolist(), **options), named)
    old = tk.sample(LAW, process, 4, method="ancestral", n_steps=7, **options)
    assert_exact(tk.sample(LAW, process, 4, method="ddpm", n_steps=7, **options), old)
    with pytest.raises(ValueError, match="^times: expected either times or n_steps"):
        tk.sample(LAW, process, 4, n_steps=7, times=[0.1, 1.0])


def test_ancestral_samples_follow_the_posterior(seed: int) -> None:
    """Few steps from N(0, 1) with the score of N(0, s²): the variance that Ho et al., Eq. 7, gives step by step."""
    process, s2, n = tk.VP(), 0.25, 20_000
    times = process.grid(5)
    data = tk.Gaussian([0.0], [[s2]])
    alpha = process.mean_scale(times).square().tolist()  # their ᾱ
    variance = 1.0
    for k in range(4, -1, -1):
        beta = 1.0 - alpha[k + 1] / alpha[k]
        of_data = math.sqrt(alpha[k]) * beta / (1.0 - alpha[k + 1])
        of_x = math.sqrt(1.0 - beta) * (1.0 - alpha[k]) / (1.0 - alpha[k + 1])
        guess = math.sqrt(alpha[k + 1]) * s2 / (alpha[k + 1] * s2 + 1.0 - alpha[k + 1])  # E[x_0 | x] = guess · x
        variance = (of_data * guess + of_x) ** 2 * variance + (1.0 - alpha[k]) / (1.0 - alpha[k + 1]) * beta
    x = tk.sample(data, process, n, method="ancestral", n_steps=5, seed=seed, dtype=F64)
    assert_z((x.square().mean().item() / variance - 1.0) / math.sqrt(2.0 / n), 4.0, "variance")


def test_denoised_samples_are_means_of_the_data() -> None:
    """Of a point: exactly that point."""
    point = tk.Gaussian([0.7, -0.2], 1e-12)
    x = tk.sample(point, tk.VP(), 6, n_steps=10, denoise=True, dtype=F64)
    assert (x - point.means[0]).abs().max().item() < 1e-6


def test_shapes_and_bad_inputs() -> None:
    model = tk.ScoreModel(lambda x, t: -x, tk.VP())
    assert tk.sample(model, n=2, n_steps=2, shape=(1, 3, 3)).shape == (2, 1, 3, 3)
    assert tk.sample(tk.ScoreModel(lambda x, t: -x, tk.VP(), shape=(4,)), n=0, n_steps=2).shape == (0, 4)
    for change, message in (
        ({}, "^shape: the model does not know"),
        ({"shape": (2,), "x_end": torch.zeros(2, 3)}, r"^shape: \(2,\), \(3,\) differ"),
        ({"shape": (2,), "method": "euler"}, "^method: expected one of"),
        ({"shape": (2,), "n": -1}, "^n: expected"),
        ({"shape": (2,), "process": tk.VE()}, "^process: .* differ"),
        ({"shape": (2,), "dtype": torch.float16}, "^dtype"),
        ({"x_end": torch.zeros(1, 3)}, "^x_end: expected 2 points"),
    ):
        with pytest.raises(ValueError, match=message):
            tk.sample(model, **{"n": 2, "n_steps": 2, **change})
    with pytest.raises(ValueError, match="^process: none of the models has one"):
        tk.sample(lambda x, t: -x, n=1, shape=(2,))


def test_guidance_of_gaussians() -> None:
    """Scores of N(a, 1) and N(b, 1), each at all times: a Gaussian whose mean lies beyond a."""
    process = tk.VP()
    laws = [tk.Gaussian([mean], 1.0) for mean in (1.0, -0.5)]
    models = [tk.ScoreModel(lambda x, t, law=law: law.score(x, t[0].item(), process), process) for law in laws]
    x = torch.linspace(-2, 2, 5, dtype=F64)[:, None]
    m = process.mean_scale(0.4)
    expected = -(x - m * (3.0 * 1.0 - 2.0 * -0.5))
    assert rms(tk.guided(*models, 2.0)(x, 0.4) - expected) < 1e-12
    with pytest.raises(ValueError, match="^unconditional: its process"):
        tk.guided(models[0], tk.ScoreModel(lambda x, t: x, tk.VE()), 1.0)
    assert rms(tk.guided(*laws, 2.0, process)(x, 0.4) - expected) < 1e-12
    with pytest.raises(ValueError, match="^process: laws have none"):
        tk.guided(*laws, 2.0)
    with pytest.raises(TypeError, match="^conditional: expected a score model or a law, got str"):
        tk.guided("law", models[1], 1.0)


@pytest.mark.parametrize("weighting", ["epsilon", "likelihood", "score"])
def test_loss_is_least_at_the_true_score(weighting: str, seed: int) -> None:
    """Scores c · s_*: on common noise the loss is a parabola in c with its minimum at 1."""
    process = tk.VP()
    x0 = LAW.sample(20_000, seed)

    def loss(c: float) -> float:
        def score(x: Tensor, t: Tensor) -> Tensor:
            m, v = process.mean_scale(t)[:, None], process.variance(t)[:, None]
            values, vectors = torch.linalg.eigh(LAW.covariances[0])
            return -c * (((x - m * LAW.means[0]) @ vectors) / (m * m * values + v)) @ vectors.T

        generator = torch.Generator().manual_seed(seed)
        model = tk.ScoreModel(score, process)
        return tk.score_matching_loss(model, x0, weighting=weighting, t_eps=0.05, generator=generator).item()

    low, middle, high = (loss(c) for c in (0.8, 1.0, 1.2))
    best = 1.0 + 0.1 * (low - high) / (low - 2.0 * middle + high)
    assert abs(best - 1.0) < 0.02
    assert middle < min(low, high)


def test_likelihood_weighting_is_the_score_matching_integral(seed: int) -> None:
    """The loss of a wrong score minus that of the true one is ∫ D E|s_θ − s_*|² dt: ⟨Δs⟩ of TAEP."""
    process, n = tk.VP(), 40_000
    law = tk.Gaussian([0.0, 0.0], 1.0)  # stays N(0, 1) at all times
    x0 = law.sample(n, seed)
    losses = []
    for c in (0.9, 1.0):
        generator = torch.Generator().manual_seed(seed)
        model = tk.ScoreModel(lambda x, t, c=c: -c * x, process)
        losses.append(tk.score_matching_loss(model, x0, weighting="likelihood", t_eps=0.1, generator=generator).item())
    # D E|0.1 x|² = ½ β · 0.01 · 2, and ∫ β over [0.1, 1] is 0.1 · 0.9 + 19.9 · (1 − 0.01)/2.
    expected = 0.01 * (0.1 * 0.9 + 19.9 * 0.99 / 2.0)
    assert abs(losses[0] - losses[1] - expected) < 0.05 * expected + 0.01
    generator = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(torch.tensor(0.9, dtype=F64))
    model = tk.ScoreModel(lambda x, t: -weight * x, process)
    loss = tk.score_matching_loss(model, x0, generator=generator)
    loss.backward()
    assert weight.grad is not None
    assert math.isfinite(weight.grad.item())


def test_weightings_of_a_network_that_says_nothing(seed: int) -> None:
    """A score of zero leaves λ |ε|²/v: its mean over times by quadrature, its spread from that of χ²."""
    process, n, dim, t_eps = tk.VP(), 40_000, 3, 0.1
    nothing = tk.ScoreModel(lambda x, t: 0.0 * x, process)
    t = t_eps + (1.0 - t_eps) * (torch.arange(20_000, dtype=F64) + 0.5) / 20_000
    v = process.variance(t)
    weights = {"epsilon": torch.ones_like(v) / dim, "score": 1.0 / (v * dim), "likelihood": 0.45 * process.g2(t) / v}
    for weighting, weight in weights.items():
        generator = torch.Generator().manual_seed(seed)
        loss = tk.score_matching_loss(
            nothing, torch.zeros(n, dim, dtype=F64), weighting=weighting, t_eps=t_eps, generator=generator
        )
        mean, square = weight.mean() * dim, weight.square().mean() * (dim * dim + 2 * dim)
        assert_z(((loss - mean) / ((square - mean * mean) / n).sqrt()).item(), 4.0, weighting)


def test_loss_on_a_table_takes_whole_times() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return 0.0 * x

    process = tk.DiscreteVP(torch.linspace(0.99, 0.05, 10, dtype=F64))
    tk.score_matching_loss(tk.ScoreModel(network, process, "epsilon"), torch.randn(500, 2, dtype=F64))
    assert_exact(seen[0], seen[0].round())
    assert (seen[0].min().item(), seen[0].max().item()) == (1.0, 10.0)
    for change, message in (
        ({"weighting": "none"}, "^weighting: expected one of"),
        ({"x0": torch.zeros(3)}, "^x0: expected"),
        ({"process": tk.VP()}, "^process: .* differ"),
    ):
        with pytest.raises(ValueError, match=message):
            tk.score_matching_loss(**{"model": tk.ScoreModel(network, process), "x0": torch.zeros(2, 2), **change})
