"""The problems of `tests/portable` are those of today's kernels, and its program compiles against them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from torch import Tensor

from thermokern import _core

FOLDER = Path(__file__).parent / "portable"
ROOT = FOLDER.parents[1]
TYPES = {"f": np.float32, "d": np.float64, "i": np.int32, "l": np.int64}
# Every native function: kernels, other calls of them, and statistics. Philox has a test of its own in the program, and
# who watches a kernel is Python's.
FUNCTIONS = {name for name in dir(_core) if callable(getattr(_core, name)) and not name.startswith("_")}
FUNCTIONS -= {"philox", "watch"}


@dataclass
class Output:
    array: Tensor
    reference: Tensor | None = None
    bounds: Tensor | None = None  # one for each column


def read_array(file: BinaryIO, kind: str, sizes: list[int]) -> Tensor:
    count = int(np.prod(sizes))
    numbers = np.frombuffer(file.read(count * TYPES[kind]().itemsize), TYPES[kind])
    return torch.from_numpy(numbers.reshape(sizes).copy())


def read_value(file: BinaryIO) -> Any:
    head, *words = file.readline().decode().split()
    if head == "none":
        return None
    if head == "list":
        return [read_value(file) for _ in range(int(words[0]))]
    if head in ("int", "number", "text"):
        return {"int": int, "number": float, "text": str}[head](words[0])
    if head == "input":
        return read_array(file, words[0], [int(word) for word in words[1:]])
    assert head == "output"
    end = words.index("within") if "within" in words else len(words)
    sizes = [int(word) for word in words[1:end]]
    array = torch.from_numpy(np.full(sizes, np.nan if words[0] in "fd" else -1).astype(TYPES[words[0]]))
    if end == len(words):
        return Output(array)
    return Output(array, read_array(file, "d", sizes), torch.tensor([float(word) for word in words[end + 1 :]]))


def calls() -> Iterator[tuple[str, list[Any]]]:
    with (FOLDER / "problems.bin").open("rb") as file:
        while line := file.readline().decode().split():
            head, kernel, _, count = line
            assert head == "call"
            yield kernel, [read_value(file) for _ in range(int(count))]


def relative_errors(out: Output) -> Tensor:
    """RMS error over its bound, of every column."""
    assert out.reference is not None
    assert out.bounds is not None
    columns = len(out.bounds)
    found, expected = (tensor.double().reshape(-1, columns) for tensor in (out.array, out.reference))
    difference = torch.where(found == expected, 0.0, found - expected)  # infinities are equal or they are not
    rms = difference.square().mean(0).sqrt() if len(found) else torch.zeros(columns)
    return torch.where(rms == 0.0, 0.0, rms / out.bounds)


def test_stored_problems_are_those_of_todays_kernels() -> None:
    compared: Counter[str] = Counter()
    for kernel, arguments in calls():
        function = getattr(_core, kernel)
        names = re.findall(r"(\w+): ", function.__doc__.split(" -> ")[0])
        given = [value.array if isinstance(value, Output) else value for value in arguments]
        if kernel in ("moments", "exponential_sums"):  # they return what the program puts into an array
            names.insert(-1, "out")
            given[-1].copy_(torch.tensor(function(*given[:-1], 1), dtype=torch.float64))
        else:
            function(*given, *([1] if "run_on" in names else []))
        assert len(names) == len(given) + ("run_on" in names), f"{kernel}: write the problems anew"
        for name, value in zip(names, arguments, strict=False):
            if isinstance(value, Output) and value.bounds is not None:
                assert (relative_errors(value) <= 1.0).all(), f"{kernel}, {name}: {relative_errors(value)}"
                compared[kernel] += 1
    assert set(compared) == FUNCTIONS
    assert min(compared.values()) > 2, compared


def test_the_program_compiles_against_todays_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        with capsys.disabled():
            print(f"\nportable program: NOT RUN (no {compiler})")
        return
    flags = [
        "-std=c++20",
        "-fsyntax-only",
        "-fopenmp",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-psabi",
        "-DTK_ISA=baseline",
    ]
    done = subprocess.run(
        [compiler, *flags, FOLDER / "run_kernels.cpp"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
