"""Entropy by histogram: slow counting, rules for bins, corrections, and the table of several estimates."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.samples.entropy_maxima import box_entropy, gaussian_entropy


def normals(n: int, d: int, seed: int) -> Tensor:
    return tk.ops.normals(n, d, seed=seed, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.BiasWarning)
        yield


def slow_histogram(x: np.ndarray, bins: list[int]) -> tuple[float, int]:
    """The plug-in entropy in plain loops, nats, and how many cells hold points."""
    n, d = x.shape
    low, high = x.min(0), x.max(0)
    cells: Counter[tuple[int, ...]] = Counter()
    for row in x:
        cells[tuple(min(bins[j] - 1, int((row[j] - low[j]) / (high[j] - low[j]) * bins[j])) for j in range(d))] += 1
    value = -sum(c / n * math.log(c / n) for c in cells.values())
    return value + sum(math.log((high[j] - low[j]) / bins[j]) for j in range(d)), len(cells)


@pytest.mark.parametrize("bins", [[7], [5, 9], [4, 1, 3]])
def test_against_plain_loops(bins: list[int]) -> None:
    x = normals(300, len(bins), 1)
    expected, occupied = slow_histogram(x.numpy(), bins)
    plain = tk.histogram_entropy(x, bins, correction=None)
    assert abs(plain.value - expected) < 1e-12
    assert abs(tk.histogram_entropy(x, bins).value - expected - (occupied - 1) / 600) < 1e-12
    assert plain.settings["occupied_cells"] == occupied
    assert (
        abs(
            tk.histogram_entropy(x, bins, base=2).value - plain.value / math.log(2) - (occupied - 1) / 600 / math.log(2)
        )
        < 1e-12
    )
    assert abs(plain.local.mean().item() - plain.value) < 1e-12


def test_a_uniform_law_is_met_exactly() -> None:
    """A grid of points, one to a cell: log of the box, whatever the bins that divide it."""
    grid = torch.cartesian_prod(torch.arange(12.0), torch.arange(12.0)).double()
    result = tk.histogram_entropy(grid * 12.0 / 11.0 + 3.0, 4, correction=None)
    assert abs(result.value - 2.0 * math.log(12.0)) < 1e-12
    assert abs(result.bias.value) < 1e-12


def knuth_posterior(x: np.ndarray, m: int) -> float:
    counts = np.histogram(x, m, (x.min(), x.max()))[0]
    return float(
        len(x) * math.log(m)
        + special.gammaln(m / 2)
        - m * special.gammaln(0.5)
        - special.gammaln(len(x) + m / 2)
        + special.gammaln(counts + 0.5).sum()
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_knuth_s_rule_finds_its_maximum(seed: int) -> None:
    x = torch.cat([normals(400, 1, seed), 0.3 * normals(600, 1, seed + 9) + 4.0])[:, 0]
    best = max(range(1, 200), key=lambda m: knuth_posterior(x.numpy(), m))
    (found,) = tk.histogram_entropy(x).settings["bins"]
    assert knuth_posterior(x.numpy(), best) - knuth_posterior(x.numpy(), found) < 1.0


def test_the_widths_of_scott_and_of_freedman_and_diaconis() -> None:
    x = normals(5000, 1, 4)
    (scott,) = tk.histogram_entropy(x, "scott").settings["bins"]
    (freedman,) = tk.histogram_entropy(x, "freedman-diaconis").settings["bins"]
    edges = {"scott": np.histogram_bin_edges(x.numpy(), "scott"), "fd": np.histogram_bin_edges(x.numpy(), "fd")}
    assert scott == len(edges["scott"]) - 1
    assert freedman == len(edges["fd"]) - 1


def test_bias_of_wide_cells_is_seen(seed: int) -> None:
    """Sixteen cells over a Gaussian: too high by h²/24 ∫ p'²/p = h²/24, which the bias reports to a third."""
    x = normals(100_000, 1, seed)
    truth = 0.5 * math.log(2 * math.pi * math.e)
    result = tk.histogram_entropy(x, 16)
    width = (x.max() - x.min()).item() / 16
    assert result.bias_exceeds_error
    assert abs(result.bias.value / (width**2 / 24.0) - 1.0) < 0.33
    assert abs(result.value - truth - width**2 / 24.0) < 3.0 * result.stderr
    with pytest.warns(tk.BiasWarning, match="from the cells' size"):
        tk.histogram_entropy(x, 16)


def test_references(seed: int) -> None:
    x = normals(5000, 3, seed) * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    gaussian = gaussian_entropy(x)
    covariance = np.cov(x.numpy().T, bias=True)
    assert abs(gaussian.value - 0.5 * np.linalg.slogdet(2 * math.pi * math.e * covariance)[1]) < 1e-10
    assert_z(gaussian.z(1.5 * math.log(2 * math.pi * math.e) + math.log(6.0)), 3.0, "gaussian")
    assert abs(gaussian.stderr / math.sqrt(3 / (2 * 5000)) - 1.0) < 0.1
    box = box_entropy(x)
    assert abs(box.value - np.log(np.ptp(x.numpy(), axis=0)).sum()) < 1e-12
    assert math.isnan(box.stderr)


def test_the_table(tmp_path: Path) -> None:
    x = tk.SwissRoll().sample(3000, 1)
    table = tk.entropy_table(x, ks=(1, 5, 4000))
    assert [k for k, _ in table.over_k] == [1, 3, 5]
    for k, estimate in table.over_k:
        alone = tk.kozachenko_leonenko(x, k, bias=False)
        assert_exact((estimate.value, estimate.stderr), (alone.value, alone.stderr))
    assert table.histogram is not None
    text = table.summary()
    assert "k-NN, k = 5" in text
    assert "uniform on the same box" in text
    bits = table.bits_per_dim(table.knn)
    assert abs(bits.value - table.knn.value / (2 * math.log(2))) < 1e-14
    table.save(tmp_path / "table.safetensors")
    assert tk.load(tmp_path / "table.safetensors").summary() == text
    assert tk.entropy_table(normals(500, 3, 1)).histogram is None
    assert len(table.plot().axes) == 2
    assert len(table.knn.plot().axes) == 2
