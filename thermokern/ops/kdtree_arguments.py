"""Arguments of a neighbour search: points, ranks, norms, threads, and the range in which float32 serves."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from thermokern.ops.checks import (
    DEVICES,
    PRECISIONS,
    array_of,
    check_device,
    check_finite,
    checked_integer,
    checked_number,
    refuse_gradient,
)

LOG2_EXTENT = 20  # to which power of two coordinates are scaled: their squares then neither overflow nor vanish
_BEYOND = 2**16  # ranks that may be asked for beyond the number of points


def exponent_of(x: Tensor) -> int:
    """The exponent e for which 2^e times the largest coordinate is about 2^20."""
    size = x.abs().max().item() if x.numel() else 0.0
    limit = 100 if x.dtype == torch.float32 else 900
    return 0 if size == 0.0 else max(-limit, min(limit, LOG2_EXTENT - math.frexp(size)[1]))


def points_of(name: str, x: Any) -> tuple[Tensor, bool]:
    """Finite points as a contiguous tensor, and whether they came as something else than a tensor.

    Integers and numbers of other precisions are taken as float64, half precision as float32.
    """
    tensor = array_of(name, x)
    if tensor.device.type not in DEVICES:
        raise ValueError(f"{name}: expected points on cpu or cuda, got {tensor.device}: say x.cpu()")
    check_device(name, tensor.device)
    refuse_gradient(**{name: tensor})
    if tensor.dtype not in PRECISIONS:
        tensor = tensor.to(torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else torch.float64)
    check_finite(**{name: tensor})
    return tensor.detach().contiguous(), not isinstance(x, Tensor)


def is_one(k: object) -> bool:
    """Whether `k` is one number, not several."""
    return not (isinstance(k, Sequence) or (isinstance(k, np.ndarray | Tensor) and k.ndim > 0))


def ranks_of(k: int | Sequence[int], n: int) -> range | list[int]:
    """Ranks from 1 to k, or the ranks themselves, none so far beyond `n` that there is no room for them."""
    below = n + _BEYOND
    if is_one(k):
        return range(1, checked_integer("k", k, 1, below) + 1)
    ranks = [checked_integer("k", rank, 1, below) for rank in cast(Sequence[int], k)]
    if not ranks:
        raise ValueError("k: expected at least one rank, got none")
    return ranks


def norm_of(p: float) -> float:
    """The order of a norm, once it is known to be one."""
    return number_or_infinity("p", p, 1.0)


def number_or_infinity(name: str, value: object, least: float) -> float:
    """`value` as a float of at least `least`, or infinity."""
    if isinstance(value, float) and value == math.inf:
        return math.inf
    return checked_number(name, value, least=least)


def threads_of(workers: int) -> int:
    """Threads to use, no more than the machine runs at once; −1 stands for all that PyTorch may use."""
    threads = checked_integer("workers", workers, -1)
    if threads == 0:
        raise ValueError("workers: expected a positive number of threads, or -1 for all, got 0")
    return torch.get_num_threads() if threads == -1 else min(threads, max(os.cpu_count() or 1, torch.get_num_threads()))


def is_wide(x: Tensor, exponent: int) -> bool:
    """Whether squares of differences between float32 points may vanish, scaled by ``2^exponent``.

    Two numbers of at least m in size differ by 2^−23 m or not at all, and squares below 2^−126 lose digits.
    """
    if x.dtype != torch.float32 or not x.numel():
        return False
    size = x.abs()
    least = torch.where(size > 0, size, torch.inf).amin().item()
    return math.ldexp(least, exponent) < 2.0**-40


def rounded_bound(radius: Tensor, strict: bool) -> Tensor:
    """Bound in float64 within which numbers are that round to float32 ones of at most `radius`, or below (`strict`)."""
    far = torch.full_like(radius, -torch.inf if strict else torch.inf)
    beside = torch.nextafter(radius, far).double()
    return torch.where(radius.isfinite() & beside.isfinite(), 0.5 * (radius.double() + beside), radius.double())
