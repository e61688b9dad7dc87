"""Bounds of schedules against TAEP, the ELBO, the KLUB and the quality of samples, and their errors."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from schedule_cases import F64, RING, VP, network
from scipy import stats
from tolerances import assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.schedules import STANDARDS, standard_times
from thermokern.quantities.schedules.pairs import Nodes, cheapest, cost_table, pairs_of


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
