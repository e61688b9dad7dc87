"""What the estimators from samples refuse, and what they make of odd inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import assert_exact, assert_z

import thermokern as tk


def points(n: int = 50, d: int = 2) -> torch.Tensor:
    return tk.ops.normals(n, d, seed=1, dtype=torch.float64)


def with_value(value: float) -> torch.Tensor:
    x = points()
    x[3, 1] = value
    return x


CONSTANT = torch.cat([points(), torch.full((50, 1), 2.0, dtype=torch.float64)], dim=1)
DEPENDENT = torch.cat([points(), points() @ torch.tensor([[1.0], [2.0]], dtype=torch.float64)], dim=1)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (points(), {"k": 50}, "k: expected fewer neighbours than points, got 50 of 50"),
        (points(), {"k": 0}, "k: expected an integer of at least 1, got 0"),
        (points(), {"k": 1.5}, "k: expected an integer"),
        (points(1), {}, "x: expected at least 2 points, got 1"),
        (points(0), {}, "x: expected at least 2 points, got 0"),
        (torch.zeros(5, 0), {}, "x: expected points of at least one dimension"),
        (torch.zeros(5, 2, 2), {}, r"x: expected \(n, d\) or \(n,\), got \(5, 2, 2\); x.reshape"),
        (with_value(math.nan), {}, "x: expected finite numbers, got 1 of 100 NaN or infinite"),
        (with_value(math.inf), {}, "x: expected finite numbers"),
        (points().to(torch.complex64), {}, "x: expected real numbers"),
        (points().requires_grad_(), {}, "x: requires a gradient"),
        (CONSTANT, {}, "x: column 2 is constant"),
        (DEPENDENT, {}, "x: its columns depend on each other linearly"),
        (points(), {"base": 1.0}, "base: expected a number other than 1"),
        (points(), {"base": -2}, "base: expected"),
        (points(), {"scale": 0.0}, "scale: expected positive finite numbers"),
        (points(), {"scale": [1.0, -1.0]}, "scale: expected positive"),
        (points(), {"scale": [1.0, 1.0, 1.0]}, "scale: expected positive"),
        (points(), {"jitter": 0.0}, "jitter: expected a finite number above 0"),
        (points(), {"jitter": -1.0}, "jitter: expected a finite number above 0"),
        (points(), {"jitter": 1.0, "seed": -1}, "seed: expected an integer"),
        (points(), {"duplicates": "drop"}, "duplicates: expected one of"),
    ],
)
def test_refused_by_name(x: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        tk.kozachenko_leonenko(x, **options)


def test_coinciding_points_are_counted_and_remedies_named() -> None:
    x = torch.cat([points(), points()[:5]])
    with pytest.raises(ValueError, match="10 of 55 points coincide with another point") as caught:
        tk.kozachenko_leonenko(x)
    for remedy in ("jitter=h", 'duplicates="discrete"', 'duplicates="keep"'):
        assert remedy in str(caught.value)
    kept = tk.kozachenko_leonenko(x, duplicates="keep", bias=False)
    assert math.isfinite(kept.value)
    with pytest.raises(ValueError, match="10 of 55 points coincide with another point"):
        tk.kozachenko_leonenko(x, 1, duplicates="keep")
    triple = torch.cat([x, points()[:5]])
    with pytest.raises(ValueError, match="15 of 60 points coincide with 2 others"):
        tk.kozachenko_leonenko(triple, 2, duplicates="keep")


def test_jitter_gives_the_entropy_of_the_rounded_law(seed: int) -> None:
    """Data rounded to steps of ½: H = −Σ p log p + log ½, exactly for the jittered law."""
    x = torch.round(2.0 * tk.ops.normals(20_000, 1, seed=seed, dtype=torch.float64)) / 2.0
    cells = torch.arange(-20, 21, dtype=torch.float64) / 2.0
    p = torch.special.ndtr(cells + 0.25) - torch.special.ndtr(cells - 0.25)
    truth = -torch.special.xlogy(p, p).sum().item() + math.log(0.5)
    result = tk.kozachenko_leonenko(x, jitter=0.5, seed=3, bias=False)
    assert_z(result.z(truth), 3.0, "jittered")
    assert_exact(tk.kozachenko_leonenko(x, jitter=0.5, seed=3, bias=False).local, result.local)
    assert tk.kozachenko_leonenko(x, jitter=0.5, seed=4, bias=False).value != result.value


def test_discrete_samples_have_a_shannon_entropy() -> None:
    rolls = torch.from_numpy(np.random.default_rng(0).integers(1, 7, 5000))
    result = tk.kozachenko_leonenko(rolls, duplicates="discrete", base=2)
    counts = np.unique(rolls.numpy(), return_counts=True)[1]
    plug_in = -sum(c / 5000 * math.log2(c / 5000) for c in counts)
    assert abs(result.value - plug_in - 5 / (2 * 5000) / math.log(2)) < 1e-12
    assert abs(result.value - math.log2(6)) < 0.01
    assert result.settings["distinct_points"] == 6
    assert math.isnan(result.bias.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_integers_and_bools_are_taken_as_float64(dtype: torch.dtype) -> None:
    ladder = torch.tensor([0, 1] if dtype == torch.bool else [0, 1, 5, 7, 20], dtype=dtype)
    got = tk.kozachenko_leonenko(ladder, 1, bias=False)
    assert_exact(got.value, tk.kozachenko_leonenko(ladder.double(), 1, bias=False).value)


def test_strides_half_precision_and_numpy() -> None:
    x = points(200, 4)
    every_second = tk.kozachenko_leonenko(x.T[::2].T, bias=False)
    assert_exact(every_second.value, tk.kozachenko_leonenko(x[:, ::2].contiguous(), bias=False).value)
    assert_exact(every_second.value, tk.kozachenko_leonenko(np.asfortranarray(x[:, ::2].numpy()), bias=False).value)
    half = x.half()
    assert_exact(tk.kozachenko_leonenko(half, bias=False).value, tk.kozachenko_leonenko(half.float(), bias=False).value)
    assert tk.kozachenko_leonenko(x.float(), bias=False).local.dtype == torch.float64


def test_two_points_are_enough_and_say_what_they_do_not_know() -> None:
    result = tk.kozachenko_leonenko([0.0, 2.0], 1)
    assert abs(result.value - (1.0 + math.log(2.0) + math.log(2.0))) < 1e-12  # ψ(2) − ψ(1) = 1, V_1 = 2, ε = 2
    assert math.isnan(result.stderr)
    assert math.isnan(result.bias.value)
    assert "not known" in result.summary()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tk.ksg_mutual_information(points(), points(49)), "y: expected 50 points to match x, got 49"),
        (lambda: tk.ksg_mutual_information(points(), points(), variant=3), r"variant: expected an integer in \[1, 3\)"),
        (lambda: tk.ksg_mutual_information(points(), points(), 50), "k: expected fewer"),
        (
            lambda: tk.ksg_mutual_information([1.0, 1.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 2.0, 1.0], 1),
            "3 of 5 points coincide",
        ),
        (lambda: tk.ksg_mutual_information(CONSTANT, points(), standardise=True), "column 2 of all is constant"),
        (lambda: tk.knn_total_correlation(points(50, 1)), "x: expected at least two columns"),
        (lambda: tk.knn_divergence(points(), points(50, 3)), r"y: expected \(m, 2\)"),
        (lambda: tk.knn_divergence(points(), points(2), 3), "k: expected at most as many"),
        (lambda: tk.knn_divergence(points(), points(), 1), "x: 50 of 50 points coincide with 1 points of y"),
        (lambda: tk.coverage(points(), points(50, 3)), r"generated: expected \(m, 2\)"),
        (lambda: tk.coverage(points(), points(4)), "k: expected fewer"),
        (lambda: tk.coverage(points(), with_value(math.nan)), "generated: expected finite"),
        (lambda: tk.histogram_entropy(points(), 0), "bins: expected an integer of at least 1"),
        (lambda: tk.histogram_entropy(points(), [3, 3, 3]), "bins: expected one number or 2"),
        (lambda: tk.histogram_entropy(points(), "sturges"), "bins: expected one of"),
        (lambda: tk.histogram_entropy(points(50, 7)), "x: expected at most 6 dimensions"),
        (lambda: tk.histogram_entropy(points(), correction="jackknife"), "correction: expected one of"),
        (lambda: tk.histogram_entropy(CONSTANT), "column 2 is constant"),
    ],
)
def test_the_others_refuse_by_name(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
