"""Optimal schedules: closed forms, dynamic programming, tables against TAEP and the KLUB, errors, diffusers."""

from __future__ import annotations

import itertools
import math
import warnings
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from scipy import stats
from tolerances import assert_exact, assert_z, rms
from torch import Tensor

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.ding2026.images import load_images
from thermokern.papers.schedules import digits, experiment, toy
from thermokern.processes import LinearProcess
from thermokern.quantities.schedules import STANDARDS, standard_times
from thermokern.quantities.schedules.moments import isotonic
from thermokern.quantities.schedules.pairs import Nodes, cheapest, cost_table, pairs_of, thermodynamic_length
from thermokern.quantities.schedules.result import Schedules

F64 = torch.float64
RING, VP = tk.GaussianMixture.ring(), tk.VP()
FAMILY = ("ddpm-optimal", "ddpm", "ddpm-large")


def network() -> tk.ScoreModel:
    """A shipped network, to which the ring is not quite what it has learnt."""
    model = tk.load_checkpoint(str(files("thermokern.papers.ding2026") / "checkpoints" / "m1_eps0.09.safetensors"))
    assert isinstance(model.network, torch.nn.Module)
    model.network.double()
    return model


def log_sigma_nodes(process: LinearProcess, count: int, t_eps: float) -> Tensor:
    return process.grid(count - 1, t_eps, "log-snr")


def gaussian(sampler: str, process: LinearProcess, times: Tensor, eigenvalues: list[float]) -> Schedules:
    """The result for N(0, diag λ) and its own score by exact moments: ``E|δ|² = Σ m² λ/(v (m² λ + v))``."""
    nodes, law = Nodes.of(process, times), torch.tensor(eigenvalues, dtype=F64)
    dim = len(law)
    m2, v = nodes.mean_scale[:, None].square(), nodes.variance[:, None]
    moments = (m2 * law / (v * (m2 * law + v))).sum(1, keepdim=True)
    spread = m2 * law + v  # (M, d)
    prior = process.prior(dim).variance
    ends = 0.5 * (spread[-1] / prior + (2.0 * math.pi * prior).log()).sum()
    ends = ends - 0.5 * (2.0 * math.pi * math.e * spread[0]).log().sum()
    return Schedules(
        sampler=sampler,
        objective="own",
        kind="KL",
        dim=dim,
        nodes=nodes,
        cost=cost_table(pairs_of(sampler, nodes, dim, moments), moments),
        stderr=torch.full((len(times), len(times)), math.nan, dtype=F64),
        n_steps=(5, 10, 20),
        data_std=law.mean().sqrt().item(),
        length=thermodynamic_length(sampler, nodes, dim, moments),
        whole_times=False,
        moments=moments,
        held_out=moments.expand(2, -1, -1),
        ends=ends.expand(2),
        settings={"process": repr(process)},
    )


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
    mismatch = (
        result.ends[0].item()
        - 1.5
        * (
            (process.variance(process.t_end) + 0.3 * process.mean_scale(process.t_end) ** 2)
            / (process.variance(t_eps) + 0.3 * process.mean_scale(t_eps) ** 2)
        )
        ** 0
        * 0.0
    )
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


@pytest.mark.parametrize("score", ["ring", "network"])
@pytest.mark.parametrize("spacing", ["uniform", "log-snr"])
@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("sampler", ["ddpm", "ddpm-large"])
def test_bounds_are_those_of_taep(score: str, spacing: str, n: int, sampler: str, seed: int) -> None:
    """The sampler scheme's mean along paths is the sum of costs, with independent noise at every node."""
    model = RING if score == "ring" else network()
    times = VP.grid(n, spacing=spacing)
    result = tk.optimal_schedule(model, RING, VP, sampler=sampler, times=times, n_steps=(n,), n_paths=2000, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        options = {"scheme": "sampler", "chain": sampler, "from_prior": True, "dtype": F64, "backend": "reference"}
        paths = tk.taep(model, RING, VP, times=times, n_paths=2000, seed=seed + 1, **options).mean
    bound = result.bound(n)
    assert_z((bound.value - paths.value) / math.hypot(bound.stderr, paths.stderr), 4.0, "bound")


def test_optimal_variances_bound_what_taep_says_of_them(seed: int) -> None:
    """The chain ``ddpm-optimal`` in TAEP and in the ELBO, on the schedule found and with its variances."""
    result = tk.optimal_schedule(RING, RING, VP, n_paths=3000, seed=seed)
    steps = {"times": result.times(10), "variance": result.variances(10)}
    options = {"scheme": "sampler", "chain": "ddpm-optimal", "from_prior": True, "dtype": F64, "backend": "reference"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        paths = tk.taep(RING, RING, VP, n_paths=3000, seed=seed + 1, **steps, **options)
    bound, mean = result.bound(10), paths.mean
    assert_z((bound.value - mean.value) / math.hypot(bound.stderr, mean.stderr), 4.0, "TAEP")
    assert paths.settings["chain"] == "ddpm-optimal"
    assert paths.settings["variance"] == result.variances(10).tolist()
    points = RING.sample(3000, seed=seed + 2)
    nll = tk.elbo(RING, points, VP, method="ddpm-optimal", backend="reference", dtype=F64, **steps).nll
    own = tk.optimal_schedule(RING, points, VP, times=result.times(10), n_steps=(10,), n_paths=3000)
    assert own.kind == "NLL"
    other = own.bound(10)
    assert_z((nll.value - other.value) / math.hypot(nll.stderr, other.stderr), 4.0, "ELBO")
    late = VP.grid(5, 0.3)  # where the data's scale has halved
    nll = tk.elbo(RING, points, VP, method="ddpm-large", backend="reference", dtype=F64, times=late).nll
    other = tk.optimal_schedule(RING, points, VP, sampler="ddpm-large", times=late, n_steps=(5,)).bound(5)
    assert_z((nll.value - other.value) / math.hypot(nll.stderr, other.stderr), 4.0, "ELBO from a late time")


# Student's t with 7 to 14 degrees of freedom: 4 normal standard errors are some 6 of these.
@pytest.mark.parametrize(("groups", "bound"), [(8, 6.0), pytest.param(48, 4.0, marks=pytest.mark.long)])
def test_the_klub_is_the_cost_of_ddpm_without_model_error(groups: int, bound: float, seed: int) -> None:
    """Pair by pair with exact scores, the entropies from the density; with a network κ E|δ|² comes on top."""
    klub, costs = [], []
    times = VP.grid(119)
    for group in range(groups):
        options = {"sampler": "ddpm", "times": times, "n_paths": 500, "n_steps": (5,), "seed": seed + group}
        klub.append(tk.optimal_schedule(RING, RING, VP, objective="klub", **options).cost)
        own = tk.optimal_schedule(RING, RING, VP, smooth=False, **options)
        x0 = RING.sample(500, seed=seed + 100 + group)
        z = tk.ops.normals(500, 2, seed=seed + 200 + group, dtype=F64)
        entropy = torch.stack(
            [-RING.log_prob(VP.mean_scale(t) * x0 + VP.variance(t) ** 0.5 * z, t, VP).mean() for t in times.tolist()]
        )
        costs.append(own.cost + entropy[None] - entropy[:, None])
    one, other = torch.stack(klub), torch.stack(costs)
    error = ((one.var(0) + other.var(0)) / groups).sqrt()
    generator = torch.Generator().manual_seed(0)
    pairs = [sorted(torch.randperm(120, generator=generator)[:2].tolist()) for _ in range(20)]
    z_scores = [((one.mean(0)[s, t] - other.mean(0)[s, t]) / error[s, t]).item() for s, t in pairs]
    assert_z(z_scores, bound, "KLUB")

    options = {"sampler": "ddpm", "times": times, "n_paths": 2000, "n_steps": (5,), "smooth": False, "dtype": F64}
    nodes, dim = Nodes.of(VP, times), 2
    by_network = tk.optimal_schedule(network(), RING, VP, **options).cost
    exact = tk.optimal_schedule(RING, RING, VP, **options).cost
    x0, m, v = RING.sample(2000), nodes.mean_scale, nodes.variance
    model = network()
    for s, t in ((10, 30), (40, 60), (60, 100), (90, 118)):
        x = m[t] * x0 + v[t].sqrt() * tk.ops.normals(2000, dim, first=t * dim, dtype=F64)  # the table's own noise
        delta = model(x, times[t].item()) - RING.score(x, times[t].item(), VP)
        drift = m[t] / m[s]
        kappa = (v[t] - drift.square() * v[s]) * v[t] / (2.0 * drift.square() * v[s])
        table = x[: len(x) // 2], delta[: len(x) // 2]
        e = (table[0] - m[t] * x0[: len(x) // 2]) / v[t]
        cross = 2.0 * (table[1] * (RING.score(table[0], times[t].item(), VP) + e)).sum(1)
        added = kappa * (table[1].square().sum(1) + cross)  # whose second part has mean 0
        difference = (by_network[s, t] - exact[s, t]).item()
        spread = (kappa * cross).std() / math.sqrt(len(cross))
        assert_z(((difference - kappa * table[1].square().sum(1).mean()) / spread).item(), 4.0, "model error")
        assert abs(difference - added.mean().item()) < 0.2 * abs(difference) + 5.0 * spread.item()


def test_exact_forward_steps_make_euler_maruyama_pairwise(seed: int) -> None:
    """Fifty uniform steps of the ring: 1.03, and 1.76 against Euler's own forward steps; the table says the same."""
    times = VP.grid(50, spacing="uniform")
    options = {"times": times, "scheme": "sampler", "n_paths": 20_000, "dtype": F64, "backend": "reference"}
    means = {}
    for forward in ("exact", "euler-maruyama"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tk.FewPathsWarning)
            means[forward] = tk.taep(RING, RING, VP, forward=forward, seed=seed, **options).mean
    assert abs(means["exact"].value - 1.03) < 0.02 + 3.0 * means["exact"].stderr
    assert abs(means["euler-maruyama"].value - 1.76) < 0.02 + 3.0 * means["euler-maruyama"].stderr
    few = VP.grid(5, spacing="uniform")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        wrong = tk.GaussianMixture.ring(radius=3.0)  # of an exact score E x·δ would vanish
        of_few = tk.taep(wrong, RING, VP, from_prior=True, seed=seed, **{**options, "times": few}).mean
    for model, grid, mean in ((RING, times, means["exact"]), (wrong, few, of_few)):
        n = len(grid) - 1
        options = {"sampler": "euler-maruyama", "times": grid, "n_steps": (n,), "n_paths": 20_000}
        bound = tk.optimal_schedule(model, RING, VP, **options).bound(n)
        assert_z((bound.value - mean.value) / math.hypot(bound.stderr, mean.stderr), 4.0, f"table of {n} steps")


def test_bound_and_quality_on_the_ring(seed: int) -> None:
    """With the best variances the bound ranks schedules as the KL of their samples does, and halves the latter."""
    nodes = torch.cat(
        [VP.grid(127), *(standard_times(name, VP, n, data_std=2.84) for name in STANDARDS for n in (5, 10))]
    )
    nodes = torch.unique(nodes)
    nodes = nodes[torch.cat([nodes[:1] > 0.0, nodes.diff() > 1e-9])]
    result = tk.optimal_schedule(RING, RING, VP, n_paths=8000, times=nodes, seed=seed)
    assert result.bound(5).value < 0.66 + 2.0 * result.bound(5).stderr
    assert result.bound(10).value < 0.35 + 2.0 * result.bound(10).stderr
    count, truth = 20_000, RING.sample(20_000, seed=seed + 1)
    t_eps = nodes[0].item()
    truth = VP.mean_scale(t_eps) * truth + VP.variance(t_eps) ** 0.5 * tk.ops.normals(count, 2, seed=seed, dtype=F64)

    def kl(times: Tensor, variance: Tensor, key: int) -> float:
        options = {"method": "ddpm-optimal", "times": times, "variance": variance, "seed": key, "dtype": F64}
        return tk.knn_divergence(truth, tk.sample(RING, VP, count, batch_size=count, **options)).value

    n = 5
    others = result.compare(n)
    own = kl(result.times(n), result.variances(n), seed)
    qualities = [own, *(kl(other.times, other.variances, seed) for other in others)]
    bounds = [result.bound(n).value, *(other.bound.value for other in others)]
    cosine = qualities[1 + list(STANDARDS).index("cosine")]
    assert own < 0.6 * cosine
    assert stats.spearmanr(bounds, qualities).statistic >= 0.9
    assert all(other.excess.value > 2.0 * other.excess.stderr for other in others)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_bound_and_quality_on_the_ring_in_full() -> None:
    """Five times 50,000 samples: the best schedule against cosine's at five and ten steps, and the ranks of all."""
    nodes = [standard_times(name, VP, n, data_std=2.84) for name in STANDARDS for n in (5, 10)]
    nodes = torch.unique(torch.cat([VP.grid(159, spacing="log-snr"), *nodes]))
    nodes = nodes[torch.cat([nodes[:1] > 0.0, nodes.diff() > 1e-9])]
    result = tk.optimal_schedule(RING, RING, VP, n_paths=28_000, holdout=5.0 / 7.0, times=nodes, seed=1)
    assert result.bound(5).value < 0.66
    assert result.bound(10).value < 0.35
    count, t_eps = 50_000, nodes[0].item()

    def kl(times: Tensor, variance: Tensor, key: int) -> float:
        noise = tk.ops.normals(count, 2, seed=100 + key, dtype=F64)
        truth = VP.mean_scale(t_eps) * RING.sample(count, seed=200 + key) + VP.variance(t_eps) ** 0.5 * noise
        options = {"method": "ddpm-optimal", "times": times, "variance": variance, "seed": key, "dtype": F64}
        return tk.knn_divergence(truth, tk.sample(RING, VP, count, batch_size=count, **options)).value

    for n in (5, 10):
        (cosine,) = result.compare(n, ["cosine"])
        own, other = (
            torch.tensor([kl(times, variance, key) for key in range(5)])
            for times, variance in ((result.times(n), result.variances(n)), (cosine.times, cosine.variances))
        )
        gain = other - own
        error = gain.std() / math.sqrt(len(gain))
        print(f"K = {n}: {own.mean():.4f} against {other.mean():.4f}, less by {gain.mean():.4f} ± {error:.4f}")
        if n == 5:
            assert own.mean() < 0.6 * other.mean()
        assert gain.mean() > 2.0 * error
        rest = result.compare(n)
        qualities = [own[0].item(), *(kl(each.times, each.variances, 0) for each in rest)]
        bounds = [result.bound(n).value, *(each.bound.value for each in rest)]
        print(f"  rank correlation {stats.spearmanr(bounds, qualities).statistic:.3f}")
        assert stats.spearmanr(bounds, qualities).statistic >= 0.9


def test_held_out_bounds_know_their_error() -> None:
    """50 seeds: what the schedule found is worth, from 40,000 samples, against its own statement of it."""
    times = VP.grid(63)
    large = tk.optimal_schedule(RING, RING, VP, times=times, n_paths=40_000, seed=999, smooth=False)
    assert large.moments is not None
    assert large.ends is not None
    ends = large.ends.mean()
    scores, paired = [], []
    for seed in range(50):
        result = tk.optimal_schedule(RING, RING, VP, times=times, n_paths=1000, seed=seed)
        assert result.moments is not None
        pairs = pairs_of(result.sampler, result.nodes, 2, result.moments)
        cost = cost_table(pairs, large.moments)
        best = cheapest(result.cost, 10)
        truth = (cost[best[:-1], best[1:]].sum() + ends).item()
        (other,) = result.compare(10, ["cosine"])
        index = torch.searchsorted(times, other.times)
        excess = (cost[index[:-1], index[1:]].sum() - cost[best[:-1], best[1:]].sum()).item()
        scores.append(result.bound(10).z(truth))
        paired.append(other.excess.z(excess))
    for name, values in (("bound", scores), ("compare", paired)):
        z = torch.tensor(values)
        assert abs(z.mean().item()) < 0.5, (name, z.mean())
        assert 0.8 < z.std().item() < 1.25, (name, z.std())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
def test_diffusers_run_the_schedule() -> None:
    """``EulerDiscreteScheduler`` with our timesteps or sigmas goes where our probability flow does."""
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        add_attention=False,
    ).eval()
    model = tk.from_diffusers(unet.requires_grad_(False), diffusers.DDPMScheduler(clip_sample=False))
    data = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)).tanh()
    result = tk.optimal_schedule(model, data, sampler="probability-flow", n_times=24, n_steps=(10,), n_paths=8)
    assert result.whole_times
    assert all(time == round(time) for time in result.nodes.times.tolist())
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    times = result.times(10)
    ours = tk.sample(model, n=2, method="probability-flow", times=times[1:], x_end=start, denoise=True)
    for given in ({"timesteps": result.timesteps(10)}, {"sigmas": result.sigmas(10).tolist()}):
        scheduler = diffusers.EulerDiscreteScheduler()
        scheduler.set_timesteps(**given)
        assert len(scheduler.timesteps) == 10
        # x of their scale, in which v is σ², at the first of their steps
        x = start / model.process.mean_scale(times[-1].item())
        for t in scheduler.timesteps:
            out = unet(scheduler.scale_model_input(x, t), t).sample
            x = scheduler.step(out, t, x).prev_sample
        assert rms(x - ours) < 1e-4 * rms(ours), given
    for kind in ("DDPMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"):
        getattr(diffusers, kind)().set_timesteps(timesteps=result.timesteps(10))
    with pytest.raises(ValueError, match=r"^bound: no bound .* probability flow .* SDE samplers"):
        result.bound(10)
    with pytest.raises(ValueError, match="^bound"):
        result.compare(10)
    assert "bound nothing" in result.summary()


def test_the_result_is_kept_and_drawn(tmp_path: Path) -> None:
    result = tk.optimal_schedule(RING, RING, VP, n_paths=200, n_times=40, n_steps=(3, 5))
    result.save(tmp_path / "result.safetensors")
    again = tk.load(tmp_path / "result.safetensors")
    assert_exact(again.times(5), result.times(5))
    assert again.bound(5) == result.bound(5)
    assert [len(axes.get_lines()) > 1 for axes in result.plot().axes] == [True, True]
    assert [len(column) for column in result.columns().values()] == [10, 10, 10]
    assert result.to_json()["schedules"][1]["bound"]["value"] == result.bound(5).value
    assert "not image quality" in " ".join(result.summary().split())
    assert result.sigmas(5)[-1].item() == 0.0
    surrogate = tk.optimal_schedule(RING, RING, VP, sampler="probability-flow", n_paths=20, n_times=20, n_steps=(3, 5))
    assert surrogate.to_json()["schedules"][0]["bound"] is None
    assert surrogate.plot().axes


def test_isotonic_regression_pools_violators() -> None:
    found = isotonic(torch.tensor([1.0, 3.0, 2.0, 2.0, 5.0, 4.0], dtype=F64))
    expected = [1.0, 7.0 / 3.0, 7.0 / 3.0, 7.0 / 3.0, 4.5, 4.5]
    assert (found - torch.tensor(expected, dtype=F64)).abs().max().item() < 1e-12


@pytest.mark.parametrize(
    "process", [VP, tk.EDM(), tk.DiscreteVP((1.0 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0))], ids=repr
)
@pytest.mark.parametrize("name", STANDARDS)
def test_standard_schedules_are_even_in_their_measure(name: str, process: LinearProcess) -> None:
    times = standard_times(name, process, 12, data_std=0.5)
    assert times[0].item() == process.default_t_eps
    assert times[-1].item() == process.t_end
    assert bool((times.diff() > 0.0).all())
    if not isinstance(process, tk.DiscreteVP):
        steps = STANDARDS[name](times, Nodes.of(process, times).sigma, 0.5).diff()
        assert ((steps / steps.mean() - 1.0).abs() < 1e-6).all()


def test_bad_arguments_are_named() -> None:
    options = {"n_paths": 20, "n_times": 8, "n_steps": (3,)}
    for change, message in (
        ({"sampler": "ancestral"}, "^sampler: expected one of"),
        ({"objective": "ays"}, "^objective: expected one of"),
        ({"sampler": "probability-flow", "objective": "own"}, "^objective: the probability flow has no bound"),
        ({"n_steps": (8,)}, "^n_steps: expected"),
        ({"holdout": 1.0}, "^holdout: expected"),
        ({"n_paths": 3}, "^n_paths: expected at least two"),
        ({"times": [0.1, 0.2], "t_eps": 0.1}, "^times: expected either"),
        ({"n_times": 1}, "^n_times: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            tk.optimal_schedule(RING, RING, VP, **{**options, **change})
    with pytest.raises(ValueError, match="^data: expected at least one point"):
        tk.optimal_schedule(RING, torch.zeros(0, 2), VP)
    result = tk.optimal_schedule(RING, RING, VP, **options)
    with pytest.raises(ValueError, match="^timesteps: only a process with a table"):
        result.timesteps(3)
    with pytest.raises(ValueError, match="^others: expected one of"):
        result.compare(3, ["linear"])
    with pytest.raises(ValueError, match=r"^others: expected names or increasing times \(4,\)"):
        result.compare(3, [torch.tensor([1.0, 0.5])])
    positive = r"^variance: expected \(3,\) positive"
    for variance, message in ((None, "^variance: the chain"), ([1.0], positive), ([1.0, 1.0, -1.0], positive)):
        with pytest.raises(ValueError, match=message):
            tk.sample(RING, VP, 1, method="ddpm-optimal", n_steps=3, variance=variance)
    for method, message in (("ddpm", "^variance: expected none with the chain"), ("heun", "^variance: .*no noise")):
        with pytest.raises(ValueError, match=message):
            tk.sample(RING, VP, 1, method=method, n_steps=3, variance=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="^variance: expected none with the scheme"):
        tk.taep(RING, RING, VP, n_paths=2, n_steps=3, variance=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="^times, variance: expected neither"):
        tk.elbo(RING, RING.sample(2), VP, times=[0.1, 1.0])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``thermokern schedule CONFIG``: bounds, times and a page; ``show`` opens what it saved."""
    config = tmp_path / "schedule.yaml"
    config.write_text("model: {ring: {}}\ndata: {ring: {}}\nprocess: VP\nn_paths: 60\nn_times: 20\nn_steps: [3]\n")
    assert main(["schedule", str(config), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "KL ≤" in printed
    assert "3 steps, t from the end: 1 " in printed
    assert "not image quality" in (tmp_path / "out" / "report.html").read_text()
    assert main(["show", str(tmp_path / "out" / "result.safetensors")]) == 0
    config.write_text("model: {ring: {}}\ndata: {checkpoint: x}\n")
    assert main(["schedule", str(config), "--quiet"]) == 2
    assert "data: expected a law" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::thermokern.BiasWarning")
def test_the_experiment_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part once; the page has the figures, and what it saved is read again."""
    for module in ("diffusers", "sklearn"):
        pytest.importorskip(module, reason=f"NOT RUN: {module} is not installed")
    small = experiment.Profile(
        *(200, 300, (3,)), training=2, digits_table=8, digits_times=8, digits_samples=60, digits_steps=4, paths=4
    )
    monkeypatch.setitem(experiment.PROFILES, "quick", small)
    images = load_images("digits")[:100]
    monkeypatch.setattr(digits, "load_images", lambda data: images)
    for module in (toy, digits):
        monkeypatch.setattr(module, "SAMPLERS", ("ddpm-optimal", "probability-flow"))
    result = experiment.run("quick", tmp_path, seed=0, progress=False)
    assert {row.law for row in result.rows} == {"ring", "network m1_eps0.09", "digits"}
    assert all((row.bound is None) == (row.sampler == "probability-flow") for row in result.rows)
    assert len(result.rows) == 2 * (7 + 9) + 7 + 8
    result.save(tmp_path / "result.safetensors")
    again = tk.load(tmp_path / "result.safetensors")
    written = again.write(tmp_path, "")
    assert {path.name for path in written} == {"schedules.png", "result.json", "report.html", "attribution.png"}
    assert "rank correlation" in (tmp_path / "report.html").read_text()
