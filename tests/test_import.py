"""What ``import thermokern`` costs: what it may not load, and the mark that saves torch.compile's front end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from thermokern.ops import registry

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "pandas", "scipy", "diffusers", "sklearn")


def test_import_loads_nothing_heavy() -> None:
    """Beyond what ``import torch`` has loaded by itself."""
    code = "import sys, torch; own = set(sys.modules); import thermokern; print(*sorted(set(sys.modules) - own))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "thermokern.quantities" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_constant_is_marked_as_torch_marks_one() -> None:
    """``_cuda_works`` has all that ``torch.compiler.assume_constant_result`` gives a function."""

    def constant() -> bool:
        return True

    marks = vars(torch.compiler.assume_constant_result(constant))
    assert marks
    assert {name: vars(registry._cuda_works).get(name) for name in marks} == marks
