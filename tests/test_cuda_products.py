"""Products of matrices by tensor cores, emulated: their layout, and their errors against float64 and against float32.

Products, partial sums and their truncation are those of tests/cuda_emulator/tensor_cores.hpp.
"""

from __future__ import annotations

import ctypes
import itertools
from functools import cache

import pytest
import torch
from cuda_emulation import products_library
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

F64 = torch.float64
EPS = 2.0**-23
PRODUCTS = {"tf32x3": 1, "tf32": 2, "bf16": 3}
SUMS = (False, True)  # truncated as devices do, or rounded to nearest


@cache
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(products_library()))


def addresses(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def multiply(products: str, nearest: bool, matrix: Tensor, units: Tensor) -> Tensor:
    """Matrix (rows, depth) · units (depth, n) by the emulated instruction."""
    matrix, units = matrix.contiguous(), units.contiguous()
    out = torch.empty(matrix.shape[0], units.shape[1])
    sizes = (*matrix.shape, units.shape[1])
    library().multiply(PRODUCTS[products], int(nearest), *sizes, *addresses(matrix, units, out))
    return out


def by_float32(matrix: Tensor, units: Tensor) -> Tensor:
    """The same as the float32 kernel makes it: one fused multiply-add after the other."""
    total = torch.zeros(matrix.shape[0], units.shape[1])
    for column, row in zip(matrix.T.double(), units.double(), strict=True):
        total = (total.double() + column[:, None] * row).float()
    return total


# ---- the formats


def test_two_parts_hold_a_number() -> None:
    """To 2⁻²³ of it; a part has eleven bits, halves go away from zero."""
    exponent = torch.arange(-102, 127)
    x = torch.ldexp(1.0 + torch.rand(200, 229, generator=torch.Generator().manual_seed(1)), exponent).flatten()
    x = torch.cat([x, -x, torch.tensor([0.0, 1.0 + 2.0**-11, 1.0 + 3 * 2.0**-11, 1.0 - 2.0**-24])])
    big, small = torch.empty_like(x), torch.empty_like(x)
    library().split(len(x), *addresses(x, big, small))
    assert not ((big.view(torch.int32) | small.view(torch.int32)) & 0x1FFF).any()
    assert bool(((x - big).abs() <= 2.0**-11 * x.abs()).all())
    left = (x.double() - big.double() - small.double()).abs()
    assert bool((left <= EPS * x.abs().double()).all())
    assert left.max() > 0.0
    assert big[-3:].tolist() == [1.0 + 2.0**-10, 1.0 + 2.0**-9, 1.0]
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4028e38])
    library().split(4, *addresses(odd, big, small))
    assert big[:4].isnan().tolist() == [True, False, False, False]
    assert big[1:4].tolist() == [float("inf"), -float("inf"), float("inf")]


def test_bfloat16_is_that_of_torch() -> None:
    words = torch.arange(2**16).repeat_interleave(5) * 2**16 + torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001]).repeat(
        2**16
    )
    x = (words - 2**31 * 2 * (words >= 2**31)).to(torch.int32).view(torch.float32)
    bits = torch.empty(len(x), dtype=torch.int32)
    library().to_bfloat16(len(x), *addresses(x, bits))
    mine = (bits << 16).view(torch.float32)
    number = ~x.isnan()
    assert_exact(mine[number], x.bfloat16().float()[number])
    assert bool(mine[~number].isnan().all())


# ---- products


@pytest.mark.parametrize("products", PRODUCTS)
def test_every_number_is_at_its_place(products: str) -> None:
    """Small integers, of which every format holds all and the sums are exact; sizes that fill no tile."""
    g = torch.Generator().manual_seed(3)
    for rows, depth, n in itertools.product((1, 16, 33), (1, 7, 16, 40), (1, 9, 32, 65)):
        matrix = torch.randint(-9, 10, (rows, depth), generator=g).float()
        units = torch.randint(-9, 10, (depth, n), generator=g).float()
        for nearest in SUMS:
            assert_exact(
                multiply(products, nearest, matrix, units) + 0.0, matrix @ units + 0.0, f"{rows} x {depth} x {n}"
            )


def problem(seed: int, depth: int, spread: int, scale: int, cancels: bool) -> tuple[Tensor, Tensor]:
    """A matrix and units whose numbers spread over so many powers of two; `cancels`: sums far below their terms."""
    g = torch.Generator().manual_seed(seed)
    matrix, units = (
        torch.ldexp(torch.randn(size, generator=g), torch.randint(-spread, spread + 1, size, generator=g))
        for size in ((32, depth), (depth, 32))
    )
    if cancels:
        half = depth // 2
        matrix[:, half : 2 * half] = -matrix[:, :half]
        units[half : 2 * half] = units[:half] * (1.0 + 2.0**-12 * torch.rand(half, 32, generator=g))
    return torch.ldexp(matrix, torch.tensor(scale)), units


@given(
    seed=st.integers(0, 2**31 - 1),
    depth=st.sampled_from((8, 13, 32, 128)),
    spread=st.sampled_from((0, 4, 15)),
    scale=st.sampled_from((0, -60, -118, 60)),
    cancels=st.booleans(),
    nearest=st.booleans(),
)
def test_three_products_have_the_accuracy_of_float32(
    seed: int, depth: int, spread: int, scale: int, cancels: bool, nearest: bool
) -> None:
    """|error| ≤ (14 + depth/16) 2⁻²³ Σ|w u|, besides what the smallest float32 leave; float32's own bound: depth/2.

    Split operands leave 4 · 2⁻²³ of a product, an instruction cuts off at most 10 · 2⁻²³ of its terms, and a sum of its
    result with those before is rounded by 2⁻²⁴.
    """
    matrix, units = problem(seed, depth, spread, scale, cancels)
    exact, sizes = matrix.double() @ units.double(), matrix.double().abs() @ units.double().abs()
    mine, plain = multiply("tf32x3", nearest, matrix, units), by_float32(matrix, units)
    smallest = (
        2.0**-136 * (matrix.abs().double().sum(1, keepdim=True) + units.abs().double().sum(0)) + depth * 2.0**-149
    )
    assert bool(((mine.double() - exact).abs() <= (14.0 + depth / 16.0) * EPS * sizes + smallest).all())
    if scale > -100:
        assert_rounding(mine, plain, exact, scale=rms(sizes) / depth**0.5)


@pytest.mark.parametrize("nearest", SUMS)
@pytest.mark.parametrize("depth", [64, 256])
def test_no_less_accurate_than_float32(depth: int, nearest: bool) -> None:
    """In wide layers the RMS error is below that of float32's chain, although the instruction truncates."""
    matrix, units = problem(1, depth, 0, 0, False)
    exact = matrix.double() @ units.double()
    mine, plain = (rms(out - exact) for out in (multiply("tf32x3", nearest, matrix, units), by_float32(matrix, units)))
    assert mine < plain


@pytest.mark.parametrize("nearest", SUMS)
@pytest.mark.parametrize(("products", "unit"), [("tf32", 2.0**-11), ("bf16", 2.0**-8)])
def test_single_products_have_the_error_of_their_operands(products: str, unit: float, nearest: bool) -> None:
    """|error| ≤ (2 unit + unit²) Σ|w u| and the sums' own; and not much less, so that the format is what it says."""
    for depth, spread, cancels in itertools.product((16, 128), (0, 15), (False, True)):
        matrix, units = problem(7, depth, spread, 0, cancels)
        exact, sizes = matrix.double() @ units.double(), matrix.double().abs() @ units.double().abs()
        error = (multiply(products, nearest, matrix, units).double() - exact).abs()
        sums = 18.0 * EPS * (depth / 8.0)
        assert bool((error <= (2.0 * unit + unit**2 + sums) * sizes).all())
        assert cancels or rms(error / sizes) > 0.03 * unit
        assert rms(error) > 50.0 * rms(by_float32(matrix, units) - exact)
