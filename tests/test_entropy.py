"""Entropy of samples by nearest neighbours: constants, slow loops, laws, and errors held against replicates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.results import storage
from thermokern.quantities.samples import entropy_knn
from thermokern.quantities.samples.errors_by_jackknife import EXCESS, excess
from thermokern.quantities.samples.inputs import random_order
from thermokern.targets import Distribution


def normals(n: int, d: int, seed: int) -> Tensor:
    return tk.ops.normals(n, d, seed=seed, dtype=torch.float64)


def slow_entropy(x: Sequence[Sequence[float]], k: int) -> float:
    """Kozachenko–Leonenko in plain loops, nats."""
    n, d = len(x), len(x[0])
    total = 0.0
    for i, a in enumerate(x):
        distances = sorted(math.dist(a, b) for j, b in enumerate(x) if j != i)
        total += math.log(distances[k - 1])
    volume = 0.5 * d * math.log(math.pi) - special.gammaln(0.5 * d + 1.0)
    return float(special.digamma(n) - special.digamma(k) + volume + d * total / n)


def test_the_known_constant() -> None:
    """[1, 2, 3, 4, 5], k = 2: 2.96291962763 bits, whatever the type they come in."""
    for x in ([1, 2, 3, 4, 5], np.arange(1, 6), torch.arange(1.0, 6.0), np.arange(1, 6)[:, None].astype(np.float32)):
        assert abs(tk.kozachenko_leonenko(x, 2, base=2).value - 2.96291962763) < 1e-11
    assert tk.kozachenko_leonenko([1, 2, 3, 4, 5], 2, base=2).unit == "bits"


@pytest.mark.parametrize("d", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_against_plain_loops(d: int, k: int) -> None:
    x = normals(60, d, d) * torch.linspace(0.5, 2.0, d, dtype=torch.float64) + 3.0
    result = tk.kozachenko_leonenko(x, k, bias=False)
    assert abs(result.value - slow_entropy(x.tolist(), k)) < 1e-12 * max(1.0, abs(result.value))
    assert abs(result.local.mean().item() - result.value) < 1e-12 * max(1.0, abs(result.value))


def test_float32_is_as_good_as_its_points() -> None:
    """Distances of float32 points in float32, from differences: the mean log is off by less than its rounding."""
    x = (100.0 + normals(500, 3, 1)).float()
    fast = tk.kozachenko_leonenko(x, bias=False).value
    exact = tk.kozachenko_leonenko(x.double(), bias=False).value
    assert abs(fast - exact) < 3 * 4.0 * torch.finfo(torch.float32).eps
    assert fast != exact


@given(st.floats(1e-30, 1e30), st.floats(-5.0, 5.0), st.integers(1, 4))
def test_scale_and_shift_laws(a: float, b: float, d: int) -> None:
    """H(aX + b) = H(X) + d log|a|, to rounding; b in units of the scale, or rounding would eat the points."""
    x = normals(40, d, 7)
    before, after = (tk.kozachenko_leonenko(points, 2, bias=False) for points in (x, -a * (x + b)))
    assert abs(after.value - before.value - d * math.log(a)) < 1e-11 * d * (1.0 + abs(math.log(a)))
    assert abs(after.stderr - before.stderr) < 1e-10


def test_far_scales_lose_nothing() -> None:
    x = normals(100, 2, 3)
    plain, tiny = tk.kozachenko_leonenko(x, bias=False), tk.kozachenko_leonenko(x * 2.0**-300, bias=False)
    assert abs(tiny.value - plain.value + 600 * math.log(2.0)) < 1e-12 * 600
    assert abs(tiny.stderr / plain.stderr - 1.0) < 1e-12
    small = tk.kozachenko_leonenko(x.float() * 2.0**-100, bias=False)  # squares below float32's least number
    assert abs(small.value - plain.value + 200 * math.log(2.0)) < 1e-4


@pytest.mark.parametrize("d", [1, 3])
def test_permutation_changes_no_bit(d: int) -> None:
    x = normals(600, d, 5)
    order = torch.from_numpy(np.random.default_rng(0).permutation(600))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.BiasWarning)
        first, second = tk.kozachenko_leonenko(x), tk.kozachenko_leonenko(x[order])
    assert_exact(second.local, first.local[order])
    for name in ("value", "stderr"):
        assert_exact(getattr(second, name), getattr(first, name), name)
    assert_exact((second.bias.value, second.bias.stderr), (first.bias.value, first.bias.stderr))
    assert first.by_size == second.by_size
    assert first.by_k == second.by_k


def test_the_random_order_is_one_and_depends_on_the_seed() -> None:
    x = normals(1000, 2, 0)
    order = random_order(x, 0)
    assert order.sort().values.tolist() == list(range(1000))
    assert not torch.equal(order, random_order(x, 1))
    signed = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [2.0, 1.0]])
    assert random_order(signed).tolist() in ([0, 1, 2], [2, 0, 1])  # equal points keep their order
    assert abs(np.corrcoef(order.numpy(), np.arange(1000))[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("law", "truth"),
    [
        (tk.Gaussian([0.0], [[4.0]]), 0.5 * math.log(2 * math.pi * math.e * 4.0)),
        (tk.UniformBox([0.0], [3.0]), math.log(3.0)),
        (tk.UniformBox([0.0, 0.0], [2.0, 5.0]), math.log(10.0)),
        (tk.Gaussian([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]]), math.log(2 * math.pi * math.e) + 0.5 * math.log(0.36)),
    ],
)
def test_known_laws(law: Distribution, truth: float, seed: int) -> None:
    """Within three standard errors and what the bias may still be: two of its own errors."""
    n = 20_000
    x = law.sample(n, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.BiasWarning)
        result = tk.kozachenko_leonenko(x)
    if law.dim == 1:
        assert_z(result.z(truth), 3.0, "entropy")
    corrected = result.value - result.bias.value
    assert_z((corrected - truth) / math.hypot(result.stderr, result.bias.stderr), 3.0, "entropy less its bias")


def test_radius_taken_for_diameter_would_be_caught() -> None:
    """The error found in other tools: d log 2 is over a hundred standard errors."""
    result = tk.kozachenko_leonenko(normals(20_000, 1, 4), bias=False)
    truth = 0.5 * math.log(2 * math.pi * math.e)
    assert abs(result.z(truth)) < 3.0
    for sign in (1.0, -1.0):
        assert abs(tk.Estimate(result.value + sign * math.log(2.0), result.stderr).z(truth)) > 50.0


LAWS: dict[str, tuple[Distribution, int]] = {
    "gaussian": (tk.Gaussian([0.0], [[1.0]]), 3),
    "uniform": (tk.UniformBox([0.0, 0.0], [1.0, 1.0]), 3),
    "mixture": (tk.GaussianMixture.ring(), 3),
    "swiss roll": (tk.SwissRoll(), 10),
}


@pytest.mark.parametrize("name", LAWS)
def test_standard_errors_against_replicates(name: str) -> None:
    """150 samples of 2,000: ± 1.96 s.e. around the estimator's own mean covers 90 to 99 % (95 ± 3 × 1.8)."""
    law, k = LAWS[name]
    results = []
    for seed in range(1, 151):
        results.append(tk.kozachenko_leonenko(law.sample(2000, seed), k, bias=False))
    value = np.array([r.value for r in results])
    stderr = np.array([r.stderr for r in results])
    naive = np.array([r.local.std().item() / math.sqrt(2000) for r in results])
    covered = float(np.mean(np.abs(value - value.mean()) < 1.96 * stderr))
    assert 0.90 <= covered <= 0.99, covered
    ratio = math.sqrt(np.mean(stderr**2)) / value.std(ddof=1)
    assert abs(ratio - 1.0) < 3.5 * math.sqrt(0.5 / 150), ratio
    assert math.sqrt(np.mean(naive**2)) < 0.95 * math.sqrt(np.mean(stderr**2)), "the naive error is known to be short"


def test_excess_is_what_poisson_points_have() -> None:
    """Points of a torus, d = 2, k = 3: Var(X − m/k) less n times the variance of the mean, from 400 samples."""
    n, k, means, spreads = 200, 3, [], []
    generator = np.random.default_rng(8)
    for _ in range(400):
        x = generator.random((n, 2))
        difference = np.abs(x[:, None] - x[None])
        distance = np.hypot(*np.moveaxis(np.minimum(difference, 1.0 - difference), 2, 0))
        order = np.argsort(distance, axis=1)[:, 1 : k + 1]
        local = 2.0 * np.log(np.take_along_axis(distance, order, 1)[:, -1])
        means.append(local.mean())
        spreads.append((local - np.bincount(order.ravel(), minlength=n) / k).var(ddof=1))
    variance = n * np.var(means, ddof=1)
    assert abs(np.mean(spreads) - variance - excess(2, k)) < 3.0 * variance * math.sqrt(2.0 / 400)


def test_excess_between_and_beyond_the_table() -> None:
    assert excess(2, 3) == EXCESS[2][2]
    assert EXCESS[6][0] <= excess(7, 1) <= EXCESS[8][0]
    assert EXCESS[10][2] < excess(64, 3) < EXCESS[math.inf][2]
    assert excess(2, 24) == EXCESS[2][11] / 2.0
    assert abs(EXCESS[math.inf][0] - 1.0) < 1e-12  # 1 + 2 ∫ e^{-w} E_1 − ∫ E_1² = 1 + 2 log 2 − 2 log 2


def test_bias_is_seen_where_there_is_some() -> None:
    """A box in three dimensions and a large k: H is too high at the faces, and the warning says so."""
    x = torch.rand(4000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with pytest.warns(tk.BiasWarning, match="exceeds its standard error"):
        result = tk.kozachenko_leonenko(x, 10)
    assert result.value > 5.0 * result.stderr  # the truth is 0, so that this is the bias
    assert abs(result.bias.value / result.value - 1.0) < 0.5, result.bias
    assert 1.0 / 3.0 <= result.settings["bias_exponent"] < 0.5  # 1/d where the density ends at an edge
    assert_z((result.value - result.bias.value) / math.hypot(result.stderr, result.bias.stderr), 3.0, "corrected")
    assert "larger than the standard error" in result.summary()
    assert [n for n, _ in result.by_size][:3] == [4000, 2000, 1000]
    calm = tk.kozachenko_leonenko(normals(2000, 1, 1))
    assert not calm.bias_exceeds_error


def test_large_samples_have_their_error_from_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normals(4000, 2, 3)
    whole = tk.kozachenko_leonenko(x)
    monkeypatch.setattr(entropy_knn, "ENTRIES", 12_000)
    part = tk.kozachenko_leonenko(x)
    assert_exact(part.value, whole.value)
    assert_exact(part.local, whole.local)
    assert part.settings["points_for_error_and_bias"] == 1000
    assert abs(part.stderr / whole.stderr - 1.0) < 0.1
    monkeypatch.undo()
    alone = tk.kozachenko_leonenko(x[random_order(x, 0)[:1000]])  # the part: a bias as of (k/n)^q
    share = 0.25 ** part.settings["bias_exponent"]
    assert abs(part.bias.value / (share * alone.bias.value) - 1.0) < 1e-12
    assert abs(part.bias_noise / (share * alone.bias_noise) - 1.0) < 1e-12


def test_scale_seeks_neighbours_in_other_units() -> None:
    x = normals(3000, 2, 9) * torch.tensor([1.0, 1000.0], dtype=torch.float64)
    truth = math.log(2 * math.pi * math.e) + math.log(1000.0)
    good = tk.kozachenko_leonenko(x, scale=[1.0, 1000.0], bias=False)
    assert_z(good.z(truth), 3.0, "scaled")
    assert abs(tk.kozachenko_leonenko(x, bias=False).z(truth)) > 6.0


def test_base_is_the_unit_of_everything() -> None:
    x = normals(2000, 2, 5)
    nats, bits = tk.kozachenko_leonenko(x), tk.kozachenko_leonenko(x, base=2)

    def numbers(result: tk.EntropyEstimate) -> list[float]:
        tables = [e for table in (result.by_k, result.by_size) for _, e in table]
        pairs = [(e.value, e.stderr) for e in (result, result.bias, *tables)]
        return [result.bias_noise, *(number for pair in pairs for number in pair), *result.local.tolist()]

    for of_nats, of_bits in zip(numbers(nats), numbers(bits), strict=True):
        assert abs(of_bits * math.log(2.0) - of_nats) <= 1e-12 * abs(of_nats)


def test_results_are_saved_and_read_back(tmp_path: object) -> None:
    result = tk.kozachenko_leonenko(normals(500, 1, 0), base=2)
    path = tmp_path / "entropy.safetensors"
    result.save(path)
    again = tk.load(path)
    assert type(again) is tk.EntropyEstimate
    assert_exact(again.local, result.local)
    assert (again.value, again.stderr, again.bias, again.by_k, again.by_size, again.settings) == (
        result.value,
        result.stderr,
        result.bias,
        result.by_k,
        result.by_size,
        result.settings,
    )
    assert storage.load(path).summary() == result.summary()
    assert result.to_json()["unit"] == "bits"
    assert abs(result.bits_per_dim.value - result.value) < 1e-12
