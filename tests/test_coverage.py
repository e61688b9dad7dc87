"""Coverage, density, precision and recall: slow loops, exact expectation, laws, errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.samples.coverage import NAMES, _rescaled, expected_coverage


def normals(n: int, d: int, seed: int) -> Tensor:
    return tk.ops.normals(n, d, seed=seed, dtype=torch.float64)


def slow(real: list[list[float]], generated: list[list[float]], k: int) -> dict[str, float]:
    """Plain loops over pairs of points."""

    def radii(points: list[list[float]]) -> list[float]:
        return [sorted(math.dist(a, b) for j, b in enumerate(points) if j != i)[k - 1] for i, a in enumerate(points)]

    n, m = len(real), len(generated)
    r, q = radii(real), radii(generated)
    inside = [[math.dist(a, b) < r[i] for b in generated] for i, a in enumerate(real)]
    return {
        "coverage": sum(any(row) for row in inside) / n,
        "density": sum(map(sum, inside)) / (k * m),
        "precision": sum(any(inside[i][j] for i in range(n)) for j in range(m)) / m,
        "recall": sum(any(math.dist(a, b) < q[j] for j, b in enumerate(generated)) for a in real) / n,
    }


@pytest.mark.parametrize(("n", "m", "d", "k"), [(60, 60, 2, 5), (100, 40, 1, 3), (30, 120, 8, 1), (90, 80, 2, 25)])
def test_against_plain_loops(n: int, m: int, d: int, k: int) -> None:
    real, generated = normals(n, d, 1), 0.8 * normals(m, d, 2) + 0.7
    result = tk.coverage(real, generated, k)
    for name, value in slow(real.tolist(), generated.tolist(), k).items():
        assert abs(getattr(result, name).value - value) < 1e-15, name


def test_a_wide_ball_far_away_is_found() -> None:
    """A generated point that only the ball of a lone, distant real point holds: not among its nearest centres."""
    cluster = 0.01 * normals(200, 2, 1)
    real = torch.cat([cluster, torch.tensor([[10.0, 0.0]])])
    generated = torch.cat([cluster + 0.001, torch.tensor([[1.0, 0.0]])])
    result = tk.coverage(real, generated, 3)
    assert bool(result.precise[-1])
    assert result.precision.value == slow(real.tolist(), generated.tolist(), 3)["precision"]


@pytest.mark.parametrize(("n", "m", "k"), [(50, 50, 1), (50, 80, 5), (80, 30, 5)])
def test_expected_coverage_of_one_law(n: int, m: int, k: int) -> None:
    """1 − Π (n − i)/(n + m − i), whatever the law: over 300 pairs of samples, z from their own spread."""
    values = []
    for seed in range(300):
        x = normals(n + m, 2, seed) ** 3
        values.append(tk.coverage(x[:n], x[n:], k, stderr=False).coverage.value)
    mean = tk.quantities.results.estimate.mean_estimate(torch.tensor(values, dtype=torch.float64))
    expected = 1.0 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    assert abs(expected_coverage(n, m, k) - expected) < 1e-14
    assert_z(mean.z(expected), 3.0, "coverage of one law")


def test_a_missing_mode_is_seen() -> None:
    real = tk.GaussianMixture.ring().sample(2000, 1)
    without = tk.GaussianMixture.ring(weights=[0.0] + [1.0 / 7.0] * 7).sample(2000, 2)
    result = tk.coverage(real, without)
    assert result.coverage.value < result.expected_coverage - 5.0 * result.coverage.stderr
    assert abs(result.recall.value - 7.0 / 8.0) < 5.0 * result.recall.stderr + 0.01
    assert result.precision.value > 0.95
    near = (real - torch.tensor([4.0, 0.0])).norm(dim=1) < 1.0
    assert (result.hits[near] == 0).double().mean() > 0.95  # per point it is the lost mode
    assert "one law" in result.summary()


def test_laws() -> None:
    """The same under a common scale and shift, in another order, from float32 and NumPy; copies are allowed."""
    real, generated = normals(700, 3, 1), 1.1 * normals(650, 3, 2)
    base = tk.coverage(real, generated)
    order = torch.from_numpy(np.random.default_rng(0).permutation(700))
    for other in (
        tk.coverage(real * 2.0**-200, generated * 2.0**-200),
        tk.coverage(real[order], generated.flip(0)),
        tk.coverage(real.numpy(), generated.numpy()),
    ):
        for name in NAMES:
            assert_exact(getattr(other, name).value, getattr(base, name).value, name)
    reordered = tk.coverage(real[order], generated.flip(0))
    assert_exact(reordered.coverage.stderr, base.coverage.stderr)
    assert_exact(reordered.hits, base.hits[order])
    copies = tk.coverage(torch.zeros(20, 2), torch.zeros(20, 2), 3)
    assert (copies.coverage.value, copies.precision.value) == (0.0, 0.0)  # empty balls: < is strict


def test_standard_errors_against_replicates() -> None:
    """40 pairs of samples of 1,000 points of a shifted Gaussian: the error of coverage and density is the spread."""
    results = [tk.coverage(normals(1000, 2, s), normals(1000, 2, s + 500) + 0.7) for s in range(1, 41)]
    for name in ("coverage", "density"):
        value = np.array([getattr(r, name).value for r in results])
        stderr = np.array([getattr(r, name).stderr for r in results])
        ratio = math.sqrt(np.mean(stderr**2)) / value.std(ddof=1)
        assert abs(ratio - 1.0) < 3.5 * math.sqrt(0.5 / 40), (name, ratio)


def test_saved_and_read_back(tmp_path: Path) -> None:
    result = tk.coverage(normals(100, 2, 1), normals(100, 2, 2))
    result.save(tmp_path / "coverage.safetensors")
    again = tk.load(tmp_path / "coverage.safetensors")
    assert_exact((again.hits, again.precise, again.recalled), (result.hits, result.precise, result.recalled))
    assert again.summary() == result.summary()
    assert again.to_json()["density"]["value"] == result.density.value


def test_errors_of_shares_follow_the_binomial_spread() -> None:
    """Parts of which a half are hit say more of a whole of which nine tenths are than their own error does."""
    n = 10**6
    assert abs(_rescaled(0.01, 0.5, 0.5, n) / 0.01 - 1.0) < 1e-12
    assert abs(_rescaled(0.01, 0.9, 0.5, n) / 0.01 - math.sqrt(0.9 * 0.1) / 0.5) < 1e-5
    assert 0.0 < _rescaled(0.01, 1.0, 0.9, n) < 1e-4  # all of them: next to none, but not none
