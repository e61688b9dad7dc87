"""Mutual information, total correlation and divergence of samples: slow loops, known values, laws, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.samples.information_counts import search


def normals(n: int, d: int, seed: int) -> Tensor:
    return tk.ops.normals(n, d, seed=seed, dtype=torch.float64)


def correlated(n: int, rho: float, seed: int) -> tuple[Tensor, Tensor]:
    z = normals(n, 2, seed)
    return z[:, 0], rho * z[:, 0] + math.sqrt(1.0 - rho * rho) * z[:, 1]


def slow_ksg(groups: list[list[list[float]]], k: int, variant: int) -> tuple[float, list[list[int]]]:
    """The estimate and the digammas' arguments, in plain loops over points and groups of coordinates."""
    n, more = len(groups[0]), len(groups) - 1

    def apart(group: list[list[float]], i: int, j: int) -> float:
        return max(abs(a - b) for a, b in zip(group[i], group[j], strict=True))

    arguments: list[list[int]] = [[] for _ in groups]
    total = 0.0
    for i in range(n):
        others = sorted((max(apart(g, i, j) for g in groups), j) for j in range(n) if j != i)[:k]
        for g, found in zip(groups, arguments, strict=True):
            if variant == 1:
                count = 1 + sum(apart(g, i, j) < others[-1][0] for j in range(n) if j != i)
            else:
                reach = max(apart(g, i, j) for _, j in others)
                count = sum(apart(g, i, j) <= reach for j in range(n) if j != i)
            found.append(count)
            total += float(special.digamma(count))
    value = float(special.digamma(k) + more * special.digamma(n)) - total / n
    return value - (more / k if variant == 2 else 0.0), arguments


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("k", [1, 3])
def test_ksg_against_plain_loops(variant: int, k: int) -> None:
    """ρ = 0.9: every count the same, and the value to the rounding of its sum."""
    x, y = correlated(150, 0.9, 1)
    value, arguments = slow_ksg([x[:, None].tolist(), y[:, None].tolist()], k, variant)
    found = search(torch.stack([x, y], dim=1), [1, 1], k, variant)
    assert [count.tolist() for count in found.counts] == arguments
    assert abs(tk.ksg_mutual_information(x, y, k, variant).value - value) < 1e-13


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_of_several_columns_against_plain_loops(variant: int) -> None:
    z = normals(80, 5, 2)
    z[:, 3] += z[:, 0]
    groups = [z[:, :3].tolist(), z[:, 3:].tolist()]
    assert (
        abs(tk.ksg_mutual_information(z[:, :3], z[:, 3:], 4, variant).value - slow_ksg(groups, 4, variant)[0]) < 1e-13
    )
    columns = [z[:, j : j + 1].tolist() for j in range(5)]
    assert abs(tk.knn_total_correlation(z, 4, variant).value - slow_ksg(columns, 4, variant)[0]) < 1e-13


def test_counting_the_edge_in_variant_1_would_be_caught() -> None:
    """≤ for < in variant 1, an error found in other tools, lowers it by over ten standard errors."""
    x, y = correlated(2000, 0.9, 3)
    joint = torch.stack([x, y], dim=1)
    right = tk.ksg_mutual_information(x, y)
    found = search(joint, [1, 1], 3, 1)
    wrong = 0.0
    for column, radius in zip((x, y), found.radii, strict=True):
        points = column[:, None].contiguous()
        counts = tk.KDTree(points).count_within(points, radius, p=math.inf, strict=False)
        wrong += torch.special.digamma(counts.double()).mean().item()
    value = float(special.digamma(3) + special.digamma(2000)) - wrong
    truth = -0.5 * math.log(1 - 0.81)
    assert_z(right.z(truth), 3.0, "mutual information")
    assert value < right.value - right.stderr


KNOWN = {
    "gaussian": (0.75, lambda x, y: (x, y), 0.41334),
    "cubes": (0.75, lambda x, y: (x**3, y.sinh()), 0.41334),
    "ranks": (0.75, lambda x, y: (torch.special.ndtr(x), torch.special.ndtr(y)), 0.41334),
    "strong": (0.999, lambda x, y: (x, y), 3.1076),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("variant", [1, 2])
def test_known_mutual_information(name: str, variant: int, seed: int) -> None:
    rho, image, truth = KNOWN[name]
    x, y = image(*correlated(4000, rho, seed))
    result = tk.ksg_mutual_information(x, y, 3, variant)
    assert_z(result.z(truth), 4.0 if name in ("cubes", "strong") else 3.0, name)


def test_known_additive_uniform_noise(seed: int) -> None:
    """Y = X + N, X uniform on [0, 1], N uniform on ±0.75: 0.33333 nats."""
    u = torch.special.ndtr(normals(4000, 2, seed))
    x, y = u[:, 0], u[:, 0] + 1.5 * (u[:, 1] - 0.5)
    result = tk.ksg_mutual_information(x, y)
    assert_z(result.z(1.0 / 3.0), 3.0, "additive noise")


def test_known_total_correlation(seed: int) -> None:
    covariance = 0.5 * torch.eye(3, dtype=torch.float64) + 0.5
    x = normals(4000, 3, seed) @ torch.linalg.cholesky(covariance).T
    truth = -0.5 * math.log(torch.linalg.det(covariance).item())
    for variant in (1, 2):
        assert_z(tk.knn_total_correlation(x, 3, variant).z(truth), 3.0, "total correlation")


def test_total_correlation_of_two_columns_is_mutual_information() -> None:
    x, y = correlated(500, 0.5, 4)
    one = tk.ksg_mutual_information(x, y)
    other = tk.knn_total_correlation(torch.stack([x, y], dim=1))
    assert_exact((other.value, other.stderr, other.local), (one.value, one.stderr, one.local))


def test_laws_of_mutual_information() -> None:
    """Symmetric, and the same for shifted, scaled (both alike, or standardised) and reordered pairs."""
    x, y = correlated(600, 0.8, 5)
    base = tk.ksg_mutual_information(x, y, standardise=True)
    assert abs(tk.ksg_mutual_information(y, x, standardise=True).value - base.value) < 1e-14
    assert_exact(tk.ksg_mutual_information(-8.0 * x, 0.5 * y, standardise=True).value, base.value)
    assert_exact(tk.ksg_mutual_information(4.0 * x, 4.0 * y).value, tk.ksg_mutual_information(x, y).value)
    order = torch.from_numpy(np.random.default_rng(1).permutation(600))
    again = tk.ksg_mutual_information(x[order], y[order], standardise=False)
    plain = tk.ksg_mutual_information(x, y)
    assert_exact((again.value, again.stderr, again.local), (plain.value, plain.stderr, plain.local[order]))
    assert abs(tk.ksg_mutual_information(x, y, base=2).value - plain.value / math.log(2)) < 1e-14


def slow_divergence(x: list[list[float]], y: list[list[float]], k: int) -> float:
    n, m, d = len(x), len(y), len(x[0])
    total = 0.0
    for i, a in enumerate(x):
        rho = sorted(math.dist(a, b) for j, b in enumerate(x) if j != i)[k - 1]
        nu = sorted(math.dist(a, b) for b in y)[k - 1]
        total += math.log(nu / rho)
    return d * total / n + math.log(m / (n - 1))


@pytest.mark.parametrize(("n", "m", "d", "k"), [(60, 90, 1, 1), (90, 60, 3, 4), (40, 40, 10, 2)])
def test_divergence_against_plain_loops(n: int, m: int, d: int, k: int) -> None:
    x, y = normals(n, d, 1), 1.3 * normals(m, d, 2) + 0.2
    result = tk.knn_divergence(x, y, k)
    assert abs(result.value - slow_divergence(x.tolist(), y.tolist(), k)) < 1e-12
    assert math.isnan(result.stderr)  # too few points for parts


@pytest.mark.parametrize(("n", "m"), [(4000, 4000), (4000, 1000), (1000, 4000)])
def test_known_divergence(n: int, m: int, seed: int) -> None:
    """KL(N(0, 1) ‖ N(½, 1)) = ⅛; sums over n divided by m, an error found in other tools, would be far off."""
    result = tk.knn_divergence(normals(n, 1, seed), 0.5 + normals(m, 1, seed + 1))
    assert_z(result.z(0.125), 3.0, "divergence")
    if n != m:
        shift = math.log(m / (n - 1))
        wrong = (result.value - shift) * n / m + shift
        assert abs(tk.Estimate(wrong, result.stderr).z(0.125)) > 10.0


def test_laws_of_divergence() -> None:
    """The same under a common scale and shift, and for points in another order."""
    x, y = normals(800, 2, 1), 1.5 * normals(900, 2, 2)
    base = tk.knn_divergence(x, y)
    assert abs(tk.knn_divergence(3.0 * x + 1.0, 3.0 * y + 1.0).value - base.value) < 1e-12
    assert_exact(tk.knn_divergence(x * 2.0**-200, y * 2.0**-200).value, base.value)
    order = torch.from_numpy(np.random.default_rng(1).permutation(800))
    again = tk.knn_divergence(x[order], y.flip(0))
    assert_exact((again.value, again.stderr), (base.value, base.stderr))


def test_standard_errors_against_replicates() -> None:
    """80 samples of 800 points: the error is within 3.5 standard scores of the spread."""
    results: dict[str, list[tk.SampleEstimate]] = {"ksg 1": [], "ksg 2": [], "divergence": []}
    for seed in range(1, 81):
        x, y = correlated(800, 0.6, seed)
        results["ksg 1"].append(tk.ksg_mutual_information(x, y))
        results["ksg 2"].append(tk.ksg_mutual_information(x, y, 3, 2))
        results["divergence"].append(tk.knn_divergence(normals(800, 1, seed), 0.5 + normals(800, 1, seed + 1000)))
    for name, items in results.items():
        value = np.array([item.value for item in items])
        stderr = np.array([item.stderr for item in items])
        ratio = math.sqrt(np.mean(stderr**2)) / value.std(ddof=1)
        assert abs(ratio - 1.0) < 3.5 * math.sqrt(0.5 / 80), (name, ratio)
        covered = np.mean(np.abs(value - value.mean()) < 1.96 * stderr)
        assert covered >= 0.88, (name, covered)
