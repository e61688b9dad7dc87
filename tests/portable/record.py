"""Writes problems.bin: calls of every CPU kernel, with what the float64 references give, for `run_kernels`.

    python tests/portable/record.py FILE

Calls are taken where the ops hand them to the native module, in float32 and in float64. An output comes with its
reference and the largest RMS error that each of its columns may have: in float32 twice what plain PyTorch makes in
float32 plus 4 eps of the scale (`tests/tolerances.py`), in float64 as much less as its eps is smaller, times four.
What is counted or moved is exact.

Numbers are little-endian. A call is a line `call NAME f|d COUNT`, then COUNT values, each after a line of its own:
`int N`, `number X`, `text WORD`, `none`, `list COUNT` with as many values behind, `input TYPE SIZES…` and its bytes,
`output TYPE SIZES…` without a reference, or `output TYPE SIZES… within BOUNDS…` and the reference as float64.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "portable")]

from portable_problems import problems  # noqa: E402

from thermokern import _core, ops  # noqa: E402
from thermokern.ops import registry  # noqa: E402

F32, F64 = torch.float32, torch.float64
OBSERVABLES = len(ops.OBSERVABLES)
TYPES = {F32: "f", F64: "d", torch.int32: "i", torch.int64: "l"}
OUTPUTS = {
    "evaluate": {"out"},
    "normals": {"out"},
    "score": {"score", "divergence", "log_density"},
    "trajectory": {"value", "mismatch", "x_last", "coarse"},
    "trajectory_averages": {"mean", "m2", "integrals", "x_last"},
    "trajectory_step": {"value", "mismatch", "next", "noise"},
    "trajectory_block": {"value", "mismatch"},
    "trajectory_parts": {"value", "mismatch", "x_last", "coarse", "totals", "nodes", "cells", "squares"},
    "hutchinson": {"out"},
    "moments": {"out"},
    "exponential_sums": {"out"},
    "probability_flow": {"x_last", "divergence", "evaluations", "status"},
    "langevin": {"x_last", "work"},
    "gaussian_gap": {"out"},
    "mlp_gap": {"out"},
    "neighbours_build": {"points", "order", "bounds"},
    "neighbours_search": {"distances", "indices", "pairs"},
    "neighbours_count": {"counts"},
}
STATISTICS = ("moments", "exponential_sums")  # which return what they give; here it is an output like another
# Columns with a bound of their own, the last axes flattened; others have one bound, or one for each observable.
OWN_BOUNDS = {"nodes": 2 * ops.FORMS, "cells": 2}


class Recorder:
    """Stands in for the native module: passes calls on and keeps them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            out = getattr(_core, name)(*arguments)
            kept = arguments if name == "evaluate" else arguments[:-1]
            if name in STATISTICS:
                kept = *kept, torch.tensor(out, dtype=F64)
            self.calls.append((name, kept))
            return out

        return call


def argument_names(function: str) -> list[str]:
    """Of a native function, from its signature."""
    names = re.findall(r"(\w+): ", getattr(_core, function).__doc__.split(" -> ")[0])
    return [*names[:-1], "out"] if function in STATISTICS else names


def write_value(file: BinaryIO, value: Any, known: tuple[Tensor, list[float]] | None, output: bool) -> None:
    """One argument of a native function."""
    if isinstance(value, Tensor):
        words = [TYPES[value.dtype], *value.shape]
        if not output:
            file.write(" ".join(map(str, ["input", *words])).encode() + b"\n")
            file.write(value.contiguous().numpy().tobytes())
        elif known is None:
            file.write(" ".join(map(str, ["output", *words])).encode() + b"\n")
        else:
            file.write(" ".join(map(str, ["output", *words, "within", *known[1]])).encode() + b"\n")
            file.write(known[0].to(F64).contiguous().numpy().tobytes())
    elif isinstance(value, list | tuple):
        file.write(f"list {len(value)}\n".encode())
        for part in value:
            write_value(file, part, None, False)
    elif isinstance(value, str):
        file.write(f"text {value}\n".encode())
    elif value is None:
        file.write(b"none\n")
    elif isinstance(value, float):
        file.write(f"number {value!r}\n".encode())
    else:
        file.write(f"int {int(value)}\n".encode())


def columns(name: str, values: Tensor) -> Tensor:
    """A row for each column of an output that has a bound of its own."""
    count = OWN_BOUNDS.get(name, OBSERVABLES if values.shape[-1:] == (OBSERVABLES,) else 1)
    return values.to(F64).reshape(-1, count).T


def bounds_of(name: str, exact: Tensor, plain: Tensor, scale: float | Tensor | None, dtype: torch.dtype) -> list[float]:
    if not exact.dtype.is_floating_point:
        return [0.0]
    rows = columns(name, exact)
    errors = (columns(name, plain) - rows).square().mean(1).sqrt()
    sizes = rows.square().mean(1).sqrt() if scale is None else torch.as_tensor(scale, dtype=F64)
    bounds = 2.0 * errors + 4.0 * torch.finfo(F32).eps * sizes
    if dtype == F64:
        bounds *= 4.0 * torch.finfo(F64).eps / torch.finfo(F32).eps
    return bounds.tolist()


def main(path: Path) -> None:
    torch.set_num_threads(1)
    registry._core = Recorder()  # type: ignore[assignment]
    with path.open("wb") as file:
        for run, reference, scales in problems():
            exact, plain = reference(F64), reference(F32)
            for dtype in (F32, F64):
                registry._core.calls.clear()
                run(dtype)
                for function, given in registry._core.calls:
                    names = argument_names(function)[: len(given)]
                    file.write(f"call {function} {TYPES[dtype]} {len(given)}\n".encode())
                    for name, value in zip(names, given, strict=True):
                        output, known = name in OUTPUTS[function], None
                        if output and function == "neighbours_build":  # moved and multiplied by a power of two
                            known = value, [0.0]
                        elif output and name in exact:
                            precision = F64 if function in STATISTICS else dtype  # of the sums
                            bounds = bounds_of(name, exact[name], plain[name], scales.get(name), precision)
                            known = exact[name], bounds
                        write_value(file, value, known, output)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
