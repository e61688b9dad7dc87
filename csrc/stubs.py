"""Writes the stubs of the native modules from the signatures that the built thermokern._core has.

`python csrc/stubs.py` writes thermokern/_kernels.pyi, the ops that both modules have; `--check` compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from thermokern import _core

TARGET = Path(__file__).resolve().parents[1] / "thermokern" / "_kernels.pyi"
ONLY_CPU = ("philox", "evaluate", "watch")  # _core.pyi has them
TYPES = {
    r"typing\.SupportsInt \| typing\.SupportsIndex": "int",
    r"typing\.SupportsFloat \| typing\.SupportsIndex": "float",
    r"\bobject\b": "Any",
    r"\blist\b": "list[Any]",
    r"\btuple\b": "tuple[float, ...]",
}


def stubs() -> str:
    """Every op that takes `run_on`, by name."""
    lines = ['"""The ops of both native modules; csrc/stubs.py writes this file."""', "", "from typing import Any", ""]
    for name, function in sorted(vars(_core).items()):
        if not callable(function) or name in ONLY_CPU or name.startswith("__"):
            continue
        signature = function.__doc__.splitlines()[0]
        for pattern, replacement in TYPES.items():
            signature = re.sub(pattern, replacement, signature)
        head, result = signature.rsplit(" -> ", 1)
        line = f"def {head} -> {result}: ..."
        if len(line) > 120:
            inside = head[len(name) + 1 : -1].split(", ")
            packed = f"def {name}(\n    {', '.join(inside)}\n) -> {result}: ..."
            exploded = f"def {name}(\n" + "".join(f"    {part},\n" for part in inside) + f") -> {result}: ..."
            line = packed if len(packed.splitlines()[1]) <= 120 else exploded
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        TARGET.write_text(stubs(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != stubs():
        sys.exit(f"{TARGET.name} is not what csrc/stubs.py writes: run it")
