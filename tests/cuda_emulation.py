"""Builds the CUDA kernels with g++ over the emulator of tests/cuda_emulator, once for each state of the sources."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType

import pybind11

ROOT = Path(__file__).resolve().parents[1]
EMULATOR = ROOT / "tests" / "cuda_emulator"
SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
BINDINGS = sorted((ROOT / "csrc" / "bindings").glob("cuda_*.cpp"))

FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", f"-I{EMULATOR}"]
# The arithmetic of the CPU kernels, on the oldest machine: without fused multiply-adds equal sources give equal bits.
ARITHMETIC = ["-march=x86-64-v2"] if os.uname().machine == "x86_64" else []
ARITHMETIC += ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast"]


def _state(*more: object) -> str:
    digest = hashlib.sha256(repr(more).encode())
    for folder in (ROOT / "csrc", EMULATOR):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compiled(name: str, sources: list[Path], flags: list[str], link: list[str]) -> Path:
    """The program or module `name`, under build/cuda_emulator, built if it is not there already."""
    flags = [*FLAGS, *flags]
    folder = ROOT / "build" / "cuda_emulator" / _state(name, flags, link)
    target = folder / name
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            _build(target, sources, flags, link)
    return target


def _build(target: Path, sources: list[Path], flags: list[str], link: list[str]) -> None:
    objects = [target.with_name(f"{target.name}-{source.name}.o") for source in sources]

    def run(*command: object) -> None:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda one, out: run("g++", *flags, "-x", "c++", "-c", one, "-o", out), sources, objects))
    partial = target.with_name(f"{target.name}.partial")
    run("g++", *link, *objects, "-o", partial)
    partial.rename(target)


@cache
def emulated() -> ModuleType:
    """``thermokern._cuda`` over the emulator: it takes tensors on the CPU."""
    name = f"_cuda_emulated{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = [*ARITHMETIC, "-fPIC", "-fvisibility=hidden", "-DTK_EMULATED", "-DTK_CUDA_MODULE=_cuda_emulated"]
    flags += ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
    path = compiled(name, [*SOURCES, *BINDINGS], flags, ["-shared"])
    spec = importlib.util.spec_from_file_location("_cuda_emulated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def planted_bugs(sanitizer: str) -> Path:
    """The program of kernels with bugs, under no sanitizer, "address" or "thread"."""
    checked = [f"-fsanitize={sanitizer}"] if sanitizer else []
    return compiled("planted_bugs", [EMULATOR / "planted_bugs.cpp"], ["-g1", *checked], checked)


@cache
def products_library() -> Path:
    """Matrix products by the emulated tensor cores, a library for ctypes."""
    return compiled("products.so", [EMULATOR / "products.cpp"], [*ARITHMETIC, "-fPIC"], ["-shared"])


_BASELINE = """
import pytest, sys
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", {chosen!r}, {file!r}]))
"""


def passed_on_the_oldest_instruction_set(file: str, chosen: str) -> str:
    """The last lines of the chosen tests of a file, run where the CPU kernels have no fused multiply-adds."""
    environment = {**os.environ, "THERMOKERN_ISA": "baseline", "OMP_NUM_THREADS": "1"}
    code = _BASELINE.format(chosen=chosen, file=file)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout[-300:]
