"""csrc/core: elementary functions within their stated bounds, Philox and its normals, statistics."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import special, stats
from tolerances import assert_exact, assert_z

from thermokern import _core, ops
from thermokern.ops.normals import _philox

F32 = np.float32
SQRT_2_PI = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


def evaluate(function: str, x: np.ndarray) -> np.ndarray:
    """A function of math.hpp at float32 `x`, as float64."""
    assert x.dtype == np.float32
    out = np.empty_like(x)
    _core.evaluate(function, x, out)
    return out.astype(np.float64)


def sweep(low: float, high: float, count: int = 1_000_003) -> np.ndarray:
    return np.linspace(low, high, count).astype(F32)


def assert_below(error: np.ndarray, bound: np.ndarray | float, x: np.ndarray) -> None:
    """Not one error above its bound; NaN is above every bound."""
    over = ~(error <= bound)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error / bound)))
    assert not over.any(), f"{over.sum()} of {len(x)} above the bound, worst {error[worst]:.3g} at {x[worst]!r}"


# ---- elementary functions


def test_exp2() -> None:
    integers = np.arange(-126, 128).astype(F32)
    edges = np.concatenate([integers, integers[1:] - F32(0.5), np.nextafter(integers[1:], F32(-200))])
    for x in (sweep(-126, 127), sweep(-1, 1), edges):
        expected = np.exp2(x.astype(np.float64))
        assert_below(np.abs(evaluate("exp2", x) / expected - 1.0), 2.5e-7, x)


def test_exp2_of_integers_is_exact() -> None:
    x = np.arange(-126, 128).astype(F32)
    assert_exact(evaluate("exp2", x).tolist()[::3], np.exp2(x.astype(np.float64)).tolist()[::3])


def test_exp2_far_below_is_the_smallest_normal() -> None:
    x = np.array([-126.0, -126.001, -127.0, -150.0, -1e4, -1e30, -3e38, -np.inf], F32)
    assert_exact(evaluate("exp2", x).tolist(), [2.0**-126] * len(x))


def test_log() -> None:
    every_exponent = np.arange(0x00800000, 0x7F800000, 2027, dtype=np.uint32).view(F32)
    near_one = np.arange(0x3F800000 - 200_000, 0x3F800000 + 200_000, dtype=np.uint32).view(F32)
    tiny, huge = np.finfo(F32).tiny, np.finfo(F32).max
    edges = np.array([tiny, np.nextafter(tiny, F32(1)), huge, np.nextafter(huge, F32(1)), 0.75, 1.5, 2.0**-32], F32)
    for x in (every_exponent, near_one, sweep(0.5, 2.0), edges):
        expected = np.log(x.astype(np.float64))
        assert_below(np.abs(evaluate("log", x) - expected), 1.5e-7 * (1.0 + np.abs(expected)), x)


def test_log_of_one_is_zero() -> None:
    assert_exact(evaluate("log", np.ones(1, F32)).tolist(), [0.0])


@pytest.mark.parametrize(("function", "exact"), [("sine", np.sin), ("cosine", np.cos)])
def test_sine_and_cosine_of_a_word(function: str, exact: np.ufunc) -> None:
    octants = (np.arange(8, dtype=np.int64)[:, None] << 29) + np.arange(-300, 300)
    words = np.concatenate([np.arange(0, 2**32, 4099), octants.ravel() % 2**32]).astype(np.uint32)
    angle = words.astype(np.float64) * (2.0 * math.pi / 2**32)
    assert_below(np.abs(evaluate(function, words.view(F32)) - exact(angle)), 1.5e-7, words)


def test_sine_and_cosine_at_the_quadrants() -> None:
    words = np.array([0, 1 << 30, 2 << 30, 3 << 30], np.uint32).view(F32)
    assert np.array_equal(evaluate("sine", words), [0, 1, 0, -1])
    assert np.array_equal(evaluate("cosine", words), [1, 0, -1, 0])


def test_sigmoid() -> None:
    # The float32 product x · log2 e costs |x| eps of relative error, whatever the polynomial: 3.9e-6 near −80.
    for x in (sweep(-80, 80), sweep(-10, 10)):
        expected = special.expit(x.astype(np.float64))
        assert_below(np.abs(evaluate("sigmoid", x) / expected - 1.0), 4e-7 + 7.5e-8 * np.abs(x), x)


def test_sigmoid_far_out() -> None:
    x = np.array([-81.0, -1e4, -3e38], F32)
    assert_exact(evaluate("sigmoid", x).tolist(), [evaluate("sigmoid", np.array([-80.0], F32)).item()] * 3)
    assert_exact(evaluate("sigmoid", -x).tolist(), [1.0] * 3)


def test_tanh() -> None:
    for x in (sweep(-20, 20), sweep(-1, 1), np.array([-3e38, -1e4, -40.0, 0.0, 40.0, 1e4, 3e38], F32)):
        assert_below(np.abs(evaluate("tanh", x) - np.tanh(x.astype(np.float64))), 2.5e-7, x)


# ---- activations and their slopes: measured bounds, absolute error relative to 1 + |x|


def silu(x: np.ndarray) -> np.ndarray:
    return x * special.expit(x)


def silu_slope(x: np.ndarray) -> np.ndarray:
    gate = special.expit(x)
    return gate * (1.0 + x * special.expit(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    # ½ (1 + tanh u) is the sigmoid of 2 u, without cancellation.
    return x * special.expit(2.0 * SQRT_2_PI * (x + CUBIC * x**3))


def gelu_slope(x: np.ndarray) -> np.ndarray:
    u = 2.0 * SQRT_2_PI * (x + CUBIC * x**3)
    gate = special.expit(u)
    return gate + x * gate * special.expit(-u) * 2.0 * SQRT_2_PI * (1.0 + 3.0 * CUBIC * x**2)


@pytest.mark.parametrize(
    ("function", "exact", "relative_to_x", "absolute"),
    [
        # measured on AVX-512, AVX2 and the baseline alike: 1.28e-7 (1 + |x|), and for the slopes 9.8e-7 and 1.98e-6,
        # which is what 1 − gate and 1 − tanh² lose by cancellation
        ("silu", silu, 1.5e-7, None),
        ("silu_slope", silu_slope, None, 1.2e-6),
        ("gelu", gelu, 1.2e-7, None),
        ("gelu_slope", gelu_slope, None, 2.4e-6),
    ],
)
def test_activation(function, exact, relative_to_x, absolute) -> None:
    for high in (3.0, 10.0, 100.0, 1e4, 1e18):
        x = sweep(-high, high, 400_001)
        exact_x = x.astype(np.float64)
        bound = absolute if relative_to_x is None else relative_to_x * (1.0 + np.abs(exact_x))
        with np.errstate(under="ignore"):
            assert_below(np.abs(evaluate(function, x) - exact(exact_x)), bound, x)


def test_every_lane_and_every_remainder_is_written() -> None:
    whole = evaluate("silu", sweep(-5, 5, 67))
    for count in range(40):
        assert_exact(evaluate("silu", sweep(-5, 5, 67)[:count].copy()).tolist(), whole[:count].tolist())


# ---- Philox: the known answers of Random123 (Salmon et al., kat_vectors)

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    seed = key[0] | key[1] << 32
    assert_exact(list(_core.philox(counter, seed)), expected)
    reference = _philox(*(torch.tensor(word) for word in counter), seed)
    assert_exact([word.item() for word in reference], expected)


# ---- normals: accuracy, and sampling with |z| ≤ 4.5 (two-sided p = 7e-6 each)

Z = 4.5


def test_normals_stay_close_to_float64(seed: int) -> None:
    fast = ops.normals(1 << 18, 4, seed=seed)
    exact = ops.normals_reference(1 << 18, 4, seed=seed)
    radius = exact.unflatten(1, (2, 2)).square().sum(2, keepdim=True).sqrt().expand(-1, -1, 2).flatten(1)
    # A uniform near 1 rounds to a multiple of 2^-24 there, which moves a radius r by at most 2^-25 / r.
    assert_below((fast - exact).abs().numpy().ravel(), (1.5e-6 + 2.0**-25 / radius).numpy().ravel(), exact.ravel())


def test_normals_are_normal(seed: int) -> None:
    z = ops.normals(1 << 18, 4, seed=seed).to(torch.float64).ravel()
    n = len(z)
    assert_z(z.mean().item() * math.sqrt(n), Z, "mean")
    assert_z((z.square().mean().item() - 1.0) * math.sqrt(n / 2.0), Z, "variance")
    assert_z(z.pow(3).mean().item() * math.sqrt(n / 15.0), Z, "third moment")
    assert_z((z.pow(4).mean().item() - 3.0) * math.sqrt(n / 96.0), Z, "fourth moment")
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-5
    assert 4.4 < z.abs().max().item() < 7.0  # of 2^20 numbers


def correlation_z(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Standard scores of the correlations of a and b, and of their squares."""
    a, b = a.to(torch.float64).ravel(), b.to(torch.float64).ravel()
    root = math.sqrt(len(a))
    return [(a * b).mean().item() * root, ((a.square() - 1.0) * (b.square() - 1.0)).mean().item() * root / 2.0]


def test_normals_are_independent(seed: int) -> None:
    n = 1 << 16
    z = ops.normals(n, 8, seed=seed)
    for i in range(8):
        for j in range(i):
            assert_z(correlation_z(z[:, i], z[:, j]), Z, f"numbers {i} and {j} of a path")
    for shift in (1, 2, 4, 8, 16, 256):
        assert_z(correlation_z(z[shift:], z[:-shift]), Z, f"paths {shift} apart")
    assert_z(correlation_z(z, ops.normals(n, 8, seed=seed + 1)), Z, "seeds one apart")
    assert_z(correlation_z(z, ops.normals(n, 8, seed=seed + 2**32)), Z, "seeds 2^32 apart")
    streams = [ops.normals(n, 8, seed=seed, purpose=purpose) for purpose in ("noise", "start", "component", "probe")]
    for i in range(4):
        for j in range(i):
            assert_z(correlation_z(streams[i], streams[j]), Z, f"purposes {i} and {j}")


# ---- statistics: float64 against exact arithmetic, by the same yardstick


@pytest.mark.parametrize("n", [0, 1, 2, 7, 257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments(n: int, dtype: torch.dtype) -> None:
    x = (100.0 + torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) ** 3).to(dtype)
    got, plain = ops.moments(x), ops.moments_reference(x)
    numbers = [Fraction(value) for value in x.tolist()]
    mean = sum(numbers) / n if n else Fraction(0)
    exact = (Fraction(n), mean, *(sum((value - mean) ** p for value in numbers) for p in (2, 3, 4)))
    for p, (a, b, c) in enumerate(zip(got, plain, exact, strict=True)):
        # what a relative eps in every value would change
        powers = [math.fsum(abs(float(value - mean)) ** power for value in numbers) for power in (max(p - 1, 0), p)]
        scale = powers[1] + p * abs(float(mean)) * powers[0] if p > 1 else abs(float(c))
        error, plain_error = (abs(float(Fraction(value) - c)) for value in (a, b))
        assert error <= 2.0 * plain_error + 4.0 * 2.0**-52 * scale, f"{got._fields[p]}: {error:.3g}"


@pytest.mark.parametrize("n", [0, 1, 2, 7, 257])
@pytest.mark.parametrize("scale", [1.0, -1.0, 300.0])
def test_exponential_sums(n: int, scale: float) -> None:
    x = 4.0 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    got = ops.exponential_sums(x, scale)
    exponents = [scale * value for value in x.tolist()]
    top = max(exponents, default=-math.inf)
    assert got.top == top
    for a, k in ((got.first, 1.0), (got.second, 2.0)):
        exact = math.fsum(math.exp(k * (e - top)) for e in exponents)
        # a rounding of e − top, at most |top| eps, is one of the exponential's relative error at every merge
        assert abs(a - exact) <= 2.0**-52 * exact * (16.0 + 4.0 * abs(top) if n else 0.0)
    assert_exact(ops.exponential_sums_reference(x, scale).top, got.top)


def test_statistics_of_strided_and_converted_values() -> None:
    x = torch.randn(100, generator=torch.Generator().manual_seed(5))
    with_gaps = torch.stack([x, x / 0.0], 1)[:, 0]
    for op in (ops.moments, ops.exponential_sums):
        assert_exact(op(with_gaps), op(x))
        assert_exact(op(x.to(torch.float64)), op(x))
        assert_exact(op(x.clone().requires_grad_(True)), op(x))
        assert_exact(op(x.to(torch.bfloat16)), op(x.to(torch.bfloat16).to(torch.float64)))
        assert_exact(op(torch.arange(9)), op(torch.arange(9.0)))
