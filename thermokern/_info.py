"""What this installation can do."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch

from thermokern import _core

VERSION = version("thermokern")


@cache
def _find_cuda() -> tuple[Any, str]:
    """The native module, or None, and why its kernels cannot run; empty where they can."""
    try:
        module = import_module("thermokern._cuda")
    except ImportError as error:
        return None, f"this installation was built without nvcc ({error})"
    absence = str(module.absence())
    if not absence and not torch.cuda.is_available():
        absence = "this PyTorch sees no CUDA device"
    return module, absence


def cuda_absence() -> str:
    """Why the CUDA kernels cannot run; empty where they can."""
    return _find_cuda()[1]


def cuda_module() -> Any:
    """``thermokern._cuda``, which is imported at its first use."""
    module, absence = _find_cuda()
    if absence:
        raise RuntimeError(f"cuda: no kernel runs here: {absence}")
    return module


def instruction_set() -> str:
    """What the CPU's kernels are compiled for that run: the same bits are promised on one of them."""
    used: str = _core.instruction_set
    return used


def products() -> str:
    """How matrices of perceptrons are multiplied on a CUDA device, see :class:`thermokern.ops.MlpSource`."""
    return os.environ.get("THERMOKERN_PRODUCTS", "fp32")


def special_products() -> dict[str, str]:
    """The same by its name, where it is not float32's own."""
    return {} if products() == "fp32" else {"products": products()}


def info() -> dict[str, str | int]:
    """Versions, the instruction set in use and why, threads, and the state of CUDA."""
    used, best = _core.instruction_set, _core.best_instruction_set
    return {
        "thermokern": VERSION,
        "torch": torch.__version__,
        "instruction set": used if used == best else f"{used} (THERMOKERN_ISA; this machine has {best})",
        "paths per register": _core.lanes,
        "threads": torch.get_num_threads(),
        **special_products(),
        "cuda": f"not available: {cuda_absence()}" if cuda_absence() else f"{torch.cuda.get_device_name()}",
    }
