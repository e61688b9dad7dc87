"""What the machine can do at best, measured beside the contestants in every round."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    library = _built("CC", "cc", "fma_peak.c", "-O2")
    if isinstance(library, str):
        return library
    chains = library.fma_chains
    return lambda: _speed(chains, ctypes.c_long(1 << 22), ctypes.c_float(0.5))


def gap_product() -> Callable[[int], float] | str:
    """GFLOP/s of the dense product of ops.gaussian_gap alone, by dimensions (gap_product.cpp, built here)."""
    flags = ("-O3", "-mprefer-vector-width=512", "-std=c++20", "-fopenmp", "-Wno-psabi", "-DTK_ISA=here")
    library = _built("CXX", "c++", "gap_product.cpp", *flags)
    if isinstance(library, str):
        return library
    product = library.gap_product
    return lambda dim: _speed(product, ctypes.c_int(dim), ctypes.c_long(1 + 4_000_000 // dim**2))


def _speed(function: Any, *arguments: object) -> float:
    """GFLOP/s of a function that returns how many operations it took, and writes a number so that it takes them."""
    function.restype = ctypes.c_double
    start = time.process_time()
    operations: float = function(*arguments, ctypes.byref(ctypes.c_float()))
    return 1e-9 * operations / (time.process_time() - start)


def _built(variable: str, compiler: str, source: str, *flags: str) -> ctypes.CDLL | str:
    """A source of this folder, built for this machine by the compiler that a variable names; or why it is not."""
    compiler = os.environ.get(variable, compiler)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "built.so"
        always = ["-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-o", str(library)]
        command = [compiler, *flags, *always, str(Path(__file__).with_name(source))]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            return ctypes.CDLL(str(library))  # stays loaded when the folder goes
        except (OSError, subprocess.CalledProcessError) as error:
            return f"{compiler} did not build {source}: {error}"
