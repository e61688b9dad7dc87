"""What the machine can do at best, measured beside the contestants in every round."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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


def fma() -> Callable[[], float] | str:
    """GFLOP/s of multiply-adds in registers (fma_peak.c, built here by the C compiler); or why there is none."""
    compiler = os.environ.get("CC", "cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma_peak.so"
        flags = ["-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-o", str(library)]
        source = Path(__file__).with_name("fma_peak.c")
        try:
            subprocess.run([compiler, *flags, str(source)], check=True, capture_output=True, text=True)
            chains = ctypes.CDLL(str(library)).fma_chains  # stays loaded when the folder goes
        except (OSError, subprocess.CalledProcessError) as error:
            return f"{compiler} did not build fma_peak.c: {error}"
    chains.restype = ctypes.c_double
    chains.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    kept = ctypes.c_float()

    def measure() -> float:
        start = time.perf_counter()
        operations: float = chains(1 << 22, 0.5, ctypes.byref(kept))
        return 1e-9 * operations / (time.perf_counter() - start)

    return measure
