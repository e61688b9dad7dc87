"""Optimal schedules against closed forms: Gaussians, the probability flow, dynamic programming, lengths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from schedule_cases import F64, FAMILY, RING, VP, gaussian, log_sigma_nodes, network
from tolerances import assert_z
from torch import Tensor

import thermokern as tk
from thermokern.processes import LinearProcess
from thermokern.quantities.schedules.pairs import cheapest


@pytest.mark.parametrize(
    ("sampler", "bounds"), [("ddpm", (42.6253, 12.2277, 4.8036)), ("ddpm-large", (4.63061, 2.92691, 1.66801))]
)
def test_gaussian_optima_have_their_closed_form(sampler: str, bounds: tuple[float, ...]) -> None:
    """N(0, I), EDM(80): ``d K ½(eʳ − 1 − r)``, equal steps r of ln(1 + 1/σ²); ``e⁻ʳ − 1 + r`` of ln(1 + σ²)."""
    process = tk.EDM(80.0)
    result = gaussian(sampler, process, log_sigma_nodes(process, 600, 0.002), [1.0, 1.0])
    for n, expected in zip((5, 10, 20), bounds, strict=True):
        relative = result.bound(n).value / expected - 1.0
        assert -2e-6 < relative < 1e-3, (n, relative)
    cell = result.nodes.times.log().diff()[0].item()
    for n in (5, 10):
        square = result.times(n).square()
        measure = torch.log1p(1.0 / square) if sampler == "ddpm" else torch.log1p(square)
        even = torch.linspace(measure[0].item(), measure[-1].item(), n + 1, dtype=F64)
        exact = torch.expm1(even).pow(-0.5 if sampler == "ddpm" else 0.5)
        assert ((result.times(n).log() - exact.log()).abs() <= 1.5 * cell).all()


@pytest.mark.parametrize("process", [tk.EDM(80.0), VP, tk.CosineVP()], ids=repr)
def test_the_best_variance_is_exact_for_isotropic_gaussians(process: LinearProcess) -> None:
    """At every number of steps; the samples' variance is the law's, of one step too."""
    t_eps = 0.01
    result = gaussian("ddpm-optimal", process, log_sigma_nodes(process, 60, t_eps), [0.3, 0.3, 0.3])
    prior = process.prior(3).variance[0].item()
    ratio = (process.mean_scale(process.t_end) ** 2 * 0.3 + process.variance(process.t_end)) / prior
    mismatch = 1.5 * (ratio - 1.0 - math.log(ratio))  # KL(p_T ‖ π)
    for n in (1, 2, 5, 20, 59):
        assert abs(result.bound(n).value - mismatch) < 1e-6
    law, n = tk.Gaussian([0.0] * 3, 0.3), 20_000
    x_end = (process.mean_scale(process.t_end) ** 2 * 0.3 + process.variance(process.t_end)) ** 0.5 * tk.ops.normals(
        n, 3, purpose="component", dtype=F64
    )
    times = result.times(1)
    options = {"times": times, "variance": result.variances(1), "x_end": x_end, "dtype": F64}
    x = tk.sample(law, process, n, method="ddpm-optimal", **options)
    expected = process.mean_scale(t_eps) ** 2 * 0.3 + process.variance(t_eps)
    assert_z((x.square().mean().item() / expected - 1.0) / math.sqrt(2.0 / (3 * n)), 4.0, "variance")


def flow_kl(c: float, sigma: Tensor) -> float:
    """KL(N(0, c² + σ_0²) ‖ law of Euler's steps of the flow from N(0, c² + σ_n²)), in two dimensions."""
    spread = c * c + sigma.square()
    factor = (1.0 + (sigma[:-1] - sigma[1:]) * sigma[1:] / spread[1:]).prod()
    ratio = spread[0] / (factor.square() * spread[-1])
    return (ratio - 1.0 - ratio.log()).item()


@pytest.mark.parametrize("objective", ["defect", "defect-w2"])
@pytest.mark.parametrize(
    ("c", "sigma_max", "t_eps", "expected"),
    [(1.0, 80.0, 0.002, 0.032121), (0.25, 80.0, 0.01, 0.029723), (0.5, 10.0, 0.002, 0.028851)],
)
def test_the_flow_of_a_gaussian_wants_equal_angles(
    objective: str, c: float, sigma_max: float, t_eps: float, expected: float
) -> None:
    """σ = c tan θ: both surrogates of the flow find it to a node, and the KL of its samples to a thousandth."""
    process, law = tk.EDM(sigma_max), tk.Gaussian([0.0, 0.0], c * c)
    times = log_sigma_nodes(process, 600, t_eps)
    # A linear flow scales all paths alike, so that few points do. Those of the table have the law's variance.
    half = law.sample(3, seed=1)
    points = torch.cat([half, -half, half[:2]])
    points *= c / points[:6].var(0).mean().sqrt()
    options = {"objective": objective, "times": times, "holdout": 0.25, "n_steps": (10,)}
    result = tk.optimal_schedule(law, points, process, sampler="probability-flow", **options)
    assert result.settings["n_table"] == 6
    found = result.times(10)
    ends = (found[[0, -1]] / c).arctan().tolist()
    even = c * torch.linspace(ends[0], ends[1], 11, dtype=F64).tan()
    assert ((found.log() - even.log()).abs() <= times.log().diff()[0]).all()
    assert abs(flow_kl(c, found) / expected - 1.0) < 1e-3


def test_what_a_step_of_the_flow_adds_in_kl() -> None:
    """Pair by pair the closed form of a Gaussian, within what 800 samples tell; and the schedule of least sum."""
    c, process, law = 0.5, tk.EDM(10.0), tk.Gaussian([0.0, 0.0], 0.25)
    times = log_sigma_nodes(process, 40, 0.01)
    options = {"sampler": "probability-flow", "objective": "kl-step", "times": times, "n_steps": (10,)}
    result = tk.optimal_schedule(law, law, process, n_paths=1000, holdout=0.2, **options)
    spread = c * c + times.square()
    factor = 1.0 + (times[:, None] - times) * times / spread  # of the step from t (column) down to s (row)
    ratio = factor.square() * spread / spread[:, None]
    exact = ratio - 1.0 - ratio.log()
    pairs = torch.ones(40, 40, dtype=torch.bool).triu(1)
    small = pairs & (exact < 0.1)  # of 800 samples
    relative = (result.cost / exact)[small] - 1.0
    assert relative.abs().max().item() < 0.6
    assert abs(relative.mean().item()) < 0.05
    assert (result.cost - exact)[pairs].abs().max().item() < 1.0
    assert bool((result.cost[pairs] >= 0.0).all())
    found = torch.searchsorted(times, result.times(10))
    best = cheapest(torch.where(pairs, exact, torch.inf), 10)
    own, least = (exact[nodes[:-1], nodes[1:]].sum().item() for nodes in (found, best))
    assert least <= own < 1.02 * least
    with pytest.raises(TypeError, match='^objective: "kl-step" needs log densities'):
        tk.optimal_schedule(network(), law, VP, sampler="probability-flow", objective="kl-step")


def test_defects_of_a_gaussian_have_their_closed_form() -> None:
    """Of every pair ``(1 − cos Δθ)²``, σ = c tan θ, and ``cos²`` of the earlier angle more by the W2 weight's scale."""
    c, process = 0.5, tk.EDM(10.0)
    points = tk.Gaussian([0.0, 0.0], c * c).sample(400)
    points = points / points.square().mean().sqrt() * c
    times = log_sigma_nodes(process, 80, 0.01)
    for objective in ("defect", "defect-w2"):
        options = {"objective": objective, "times": times, "n_steps": (5,), "holdout": 0.01}
        cost = tk.optimal_schedule(
            tk.Gaussian([0.0, 0.0], c * c), points, process, sampler="probability-flow", **options
        ).cost
        angle = (times / c).arctan()
        exact = (1.0 - (angle[None] - angle[:, None]).cos()).square()
        for s, t in ((10, 40), (30, 60), (20, 70), (0, 79)):
            # The diffused points have the law's mean square but for their noise.
            assert abs((cost[s, t] / exact[s, t]).item() - 1.0) < 0.16, (objective, s, t)
        ratio = cost / exact
        pairs = torch.stack([ratio[s, s + 8] for s in range(60)])
        assert pairs.std().item() < 0.03 * pairs.mean().item()  # which Euler's fine steps would miss


def test_dynamic_programming_is_brute_force() -> None:
    """All 330 schedules of five steps on 13 nodes."""
    result = tk.optimal_schedule(RING, RING, VP, n_times=13, n_paths=400, n_steps=(5,))
    best = math.inf
    for inside in itertools.combinations(range(1, 12), 4):
        index = torch.tensor([0, *inside, 12])
        best = min(best, result.cost[index[:-1], index[1:]].sum().item())
    assert math.comb(11, 4) == 330
    assert abs(result.step_costs(5).sum().item() - best) < 1e-12


@pytest.mark.parametrize("sampler", FAMILY)
def test_bounds_fall_with_the_number_of_steps(sampler: str) -> None:
    result = gaussian(sampler, VP, log_sigma_nodes(VP, 40, 1e-3), [4.0, 0.3])
    bounds = torch.tensor([result.bound(n).value for n in range(1, 40)])
    assert bool((bounds.diff() < 1e-9).all())


def test_length_of_an_anisotropic_gaussian() -> None:
    """λ = (4, 1, 0.04, 0.0025): its length, and how the optimum goes to ℓ²/2n."""
    process = tk.EDM(80.0)
    result = gaussian("ddpm", process, log_sigma_nodes(process, 1600, 0.002), [4.0, 1.0, 0.04, 0.0025])
    assert result.length is not None
    assert abs(result.length - 16.144) < 0.01
    for n, expected in ((40, 1.119), (160, 1.030)):
        assert abs(result.bound(n).value / result.predicted(n) - expected) < 3e-3


@pytest.mark.parametrize("sampler", FAMILY)
def test_short_steps_cost_half_their_squared_length(sampler: str) -> None:
    """Every family member's metric, by the closed costs of neighbouring nodes of an anisotropic Gaussian."""
    law, errors = [4.0, 0.3], []
    for count in (400, 800):
        result = gaussian(sampler, VP, log_sigma_nodes(VP, count, 1e-3), law)
        nodes = result.nodes
        spread = nodes.mean_scale[:, None].square() * torch.tensor(law, dtype=F64) + nodes.variance[:, None]
        entropy = 0.5 * (2.0 * math.pi * math.e * spread).log().sum(1)
        steps = result.cost.diagonal(1) + entropy[1:] - entropy[:-1]
        assert result.length is not None
        errors.append(abs((2.0 * steps.clamp_min(0.0)).sqrt().sum().item() / result.length - 1.0))
    assert errors[1] < 0.02
    assert errors[1] < 0.6 * errors[0]  # of first order in the distance of the nodes
