"""What this installation can do."""

from __future__ import annotations

from importlib.metadata import version

import torch

from thermokern import _core

VERSION = version("thermokern")


def info() -> dict[str, str | int]:
    """Versions, the instruction set in use and why, threads, and the state of CUDA."""
    used, best = _core.instruction_set, _core.best_instruction_set
    return {
        "thermokern": VERSION,
        "torch": torch.__version__,
        "instruction set": used if used == best else f"{used} (THERMOKERN_ISA; this machine has {best})",
        "paths per register": _core.lanes,
        "threads": torch.get_num_threads(),
        "cuda": "not available: thermokern has no CUDA kernels yet",
    }
