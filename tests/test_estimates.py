"""Estimates against independent formulas, and the fixed reduction tree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thermokern import ops
from thermokern.quantities.results.estimate import Estimate, exponential_average, mean_estimate, variance_estimate


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60), st.integers(1, 59))
def test_moments_of_parts_make_the_moments_of_the_whole(values: list[float], cut: int) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    got, expected = ops.moments(x), ops.moments_reference(x)
    scale = 1.0 + x.abs().max().item()
    for p, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert abs(a - b) <= 1e-12 * len(values) * scale ** max(p, 1)


def test_standard_errors_against_replicates() -> None:
    """4,000 replicates of a skewed law: the mean squared stderr is the variance of the estimates."""
    generator = np.random.default_rng(7)
    x = torch.from_numpy(generator.gamma(2.0, size=(4000, 400)) ** 0.7)
    for estimate in (mean_estimate, variance_estimate, lambda row: exponential_average(row, -1.0)):
        results = [estimate(row) for row in x]
        spread = np.var([result.value for result in results])
        claimed = np.mean([result.stderr**2 for result in results])
        assert abs(claimed / spread - 1.0) < 4.0 * math.sqrt(2.0 / 4000) + 0.02


def test_exponential_average_is_safe_from_overflow() -> None:
    x = torch.tensor([-800.0, -801.0])
    average = exponential_average(x, -1.0)
    assert average.value == math.inf
    assert average.effective_sample_size == pytest.approx((1 + math.e**-1) ** 2 / (1 + math.e**-2))
    tiny = exponential_average(x, 1.0)
    assert tiny.value == 0.0
    equal = exponential_average(torch.zeros(10), -1.0)
    assert (equal.value, equal.stderr, equal.effective_sample_size) == (1.0, 0.0, 10.0)


def test_small_samples_say_what_they_do_not_know() -> None:
    none, one = torch.zeros(0), torch.ones(1)
    assert math.isnan(mean_estimate(none).value)
    assert mean_estimate(one).value == 1.0
    assert math.isnan(mean_estimate(one).stderr)
    assert math.isnan(variance_estimate(one).value)
    assert math.isnan(exponential_average(none, -1.0).value)


def test_an_estimate_prints_the_digits_that_it_knows() -> None:
    assert str(Estimate(1.23456, 0.0213)) == "1.235 ± 0.021"
    assert str(Estimate(123.4, 12.0)) == "123 ± 12"
    assert str(Estimate(1.0, math.nan)) == "1 ± ?"


def test_float32_and_float64_values_agree() -> None:
    x = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    assert ops.moments(x) == ops.moments(x.double())
    assert ops.exponential_sums(x, -1.0) == ops.exponential_sums(x.double(), -1.0)
    reference = ops.exponential_sums_reference(x, -1.0)
    for a, b in zip(ops.exponential_sums(x, -1.0), reference, strict=True):
        assert abs(a - b) < 1e-12 * abs(b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_have_the_same_bits_for_any_threads(dtype: torch.dtype) -> None:
    """Below and from 2^16 values on, where threads begin; the halves of the tree by hand are its definition."""
    for n in (2**16 - 1, 2**16, 100_003):
        x = torch.randn(n, dtype=dtype, generator=torch.Generator().manual_seed(n))
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append((ops.moments(x), ops.exponential_sums(x, -1.3)))
        assert found[1:] == found[:1] * 2
        halves = [ops.moments(half) for half in (x[: n // 2], x[n // 2 :])]  # by one thread each: both are below 2^16
        whole = found[0][0]
        assert whole.mean == halves[0].mean + halves[1].n * ((halves[1].mean - halves[0].mean) / n)
