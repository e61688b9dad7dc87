"""What the machine can do at best, measured beside the contestants in every round."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def sgemm() -> Callable[[], float]:
    """GFLOP/s of torch's float32 product of two 1024 × 1024 matrices: below the FMA peak, by what the BLAS loses."""
    size, repeats = 1024, 4
    a, b = torch.randn(2, size, size)
    out = torch.empty(size, size)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        return 2e-9 * repeats * size**3 / (time.perf_counter() - start)

    return measure


def copy() -> Callable[[], float]:
    """GB/s of copying 128 MiB by torch, bytes read plus bytes written."""
    source = torch.ones(1 << 25)
    target = torch.zeros(1 << 25)

    def measure() -> float:
        start = time.perf_counter()
        target.copy_(source)
        return 2e-9 * source.nbytes / (time.perf_counter() - start)

    return measure
