"""Counter-based standard normals: Philox4x32-10 and Box–Muller."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern.ops.checks import (
    FLOATS,
    MOST,
    checked_choice,
    checked_device,
    checked_dtype,
    checked_integer,
    checked_seed,
)
from thermokern.ops.registry import PURPOSES, register, run_kernel


def normals_reference(
    n: int,
    count: int,
    *,
    seed: int = 0,
    path_offset: int = 0,
    first: int = 0,
    purpose: str = "noise",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """The numbers of :func:`normals` in PyTorch, in any precision, from the same 32-bit words."""
    n, count, first, seed, path_offset = _checked(n, count, first, purpose, seed, path_offset)
    if not isinstance(dtype, torch.dtype) or dtype not in FLOATS:
        raise ValueError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    low_block, high_block = first // 4, -(-(first + count) // 4)
    path = torch.arange(n, dtype=torch.int64, device="cpu")[:, None] + path_offset  # (n, 1)
    block = torch.arange(low_block, high_block, dtype=torch.int64, device="cpu")[None, :]  # (1, blocks)
    a, b, c, d = _philox(block, torch.tensor(PURPOSES[purpose], device="cpu"), path & _MASK, (path >> 32) & _MASK, seed)
    pairs = [_box_muller(a, b, dtype), _box_muller(c, d, dtype)]
    numbers = torch.stack([number for pair in pairs for number in pair], dim=-1).flatten(1)  # (n, 4 · blocks)
    return numbers[:, first - 4 * low_block :][:, :count].contiguous()


def normals(
    n: int,
    count: int,
    *,
    seed: int = 0,
    path_offset: int = 0,
    first: int = 0,
    purpose: str = "noise",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normals `first` … `first + count` of paths `path_offset` … `path_offset + n`.

    Number ``j`` of a path is lane ``j % 4`` of Philox block ``j // 4``, whose counter holds the path's global index
    and the purpose, and whose key is the seed. So a path's numbers depend on nothing else: not on `n`, threads,
    chunks or device.

    Parameters
    ----------
    n, count : int
        Paths, and numbers of each.
    seed, path_offset, first : int
        Non-negative.
    purpose : {"noise", "start", "component", "probe", "reverse"}
        Streams of one seed that never meet.
    dtype : torch.float32 or torch.float64
        Both are made from the same 32-bit words.
    device : torch.device or str
        Where they are made.

    Returns
    -------
    Tensor
        (n, count). In float32 the error against :func:`normals_reference` in float64 is below ``1.5e-6 + 2^−25/r``,
        with r the length of the pair that a number belongs to: short pairs come from words next to 2^32, where
        float32 ends.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC11.
    """
    n, count, first, seed, path_offset = _checked(n, count, first, purpose, seed, path_offset)
    dtype, place = checked_dtype(dtype), checked_device(device)
    out: Tensor = torch.ops.thermokern.normals(n, count, seed, path_offset, first, PURPOSES[purpose], dtype, place)
    return out


def _checked(
    n: int, count: int, first: int, purpose: str, seed: int, path_offset: int
) -> tuple[int, int, int, int, int]:
    """The numbers as ints: n, count, first, seed, path_offset."""
    n, count, first = (
        checked_integer(name, value, 0, MOST) for name, value in (("n", n), ("count", count), ("first", first))
    )
    if first + count > 2**34:
        raise ValueError(f"first: expected numbers below 2**34, where the counter ends, got {first + count}")
    checked_choice("purpose", purpose, PURPOSES)
    return n, count, first, *checked_seed(seed, path_offset)


def _normals(
    n: int,
    count: int,
    seed: int,
    path_offset: int,
    first: int,
    purpose: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> Tensor:
    out = torch.empty(n, count, dtype=dtype, device=device)
    run_kernel("normals", out, seed, purpose, path_offset, first, out)
    return out


def _normals_fake(
    n: int,
    count: int,
    seed: int,
    path_offset: int,
    first: int,
    purpose: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> Tensor:
    return torch.empty(n, count, dtype=dtype, device=device)


register(
    "normals(SymInt n, SymInt count, int seed, int path_offset, int first, int purpose, ScalarType dtype,"
    " Device? device=None) -> Tensor",
    _normals,
    _normals_fake,
    dispatch=("CompositeExplicitAutograd",),  # it has no tensor argument to dispatch on
)

_MASK = 0xFFFFFFFF


def _philox(a: Tensor, b: Tensor, c: Tensor, d: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    key_0, key_1 = seed & _MASK, seed >> 32
    for _ in range(10):
        high_0, low_0 = _multiply_wide(a, 0xD2511F53)
        high_1, low_1 = _multiply_wide(c, 0xCD9E8D57)
        a, b, c, d = high_1 ^ b ^ key_0, low_1, high_0 ^ d ^ key_1, low_0
        key_0, key_1 = (key_0 + 0x9E3779B9) & _MASK, (key_1 + 0xBB67AE85) & _MASK
    return a, b, c, d


def _multiply_wide(a: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low words of 32-bit products, in int64 by halves of the factor."""
    upper, lower = a * (factor >> 16), a * (factor & 0xFFFF)  # below 2^48
    total = ((upper & 0xFFFF) << 16) + lower
    return (upper >> 16) + (total >> 32), total & _MASK


def _box_muller(radius_word: Tensor, angle_word: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    uniform = radius_word.to(dtype) * 2.0**-32 + 2.0**-33
    radius = (-2.0 * uniform.log()).clamp_min(0.0).sqrt()
    signed = torch.where(angle_word >= 2**31, angle_word - 2**32, angle_word)
    angle = signed.to(dtype) * (2.0 * math.pi * 2.0**-32)
    return radius * angle.cos(), radius * angle.sin()
