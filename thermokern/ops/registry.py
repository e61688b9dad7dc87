"""Where ops are registered with PyTorch, and how they reach the native function of a machine and a precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from thermokern import _core
from thermokern._info import cuda_absence, cuda_module

LIBRARY = torch.library.Library("thermokern", "DEF")  # type: ignore[no-untyped-call]

# What random numbers are for, and the number that says so in their counter.
PURPOSES = {name: number for number, name in enumerate(_core.PURPOSES)}


def register(
    schema: str,
    kernel: Callable[..., object],
    fake: Callable[..., object],
    dispatch: Sequence[str] = ("CPU", "CUDA"),
) -> None:
    """Define ``thermokern::schema`` with its kernel and its fake: the one call that makes an op.

    ``tests/test_ops.py`` asks PyTorch for all ops of this library, so none escapes its battery.
    """
    name = LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    for key in dispatch:
        LIBRARY.impl(name, kernel, key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"thermokern::{name}", fake)


def backend(device: torch.device) -> tuple[Any, int]:
    """The native module of a device, and the last argument of its functions: threads, or the current stream."""
    if device.type == "cuda":
        return cuda_module(), torch.cuda.current_stream(device).cuda_stream
    return _core, torch.get_num_threads()


def run_kernel(name: str, on: Tensor, *arguments: object, threads: int | None = None) -> Any:
    """Call the native function `name` on the device of `on`; `threads` are a CPU's, if not all."""
    module, last = backend(on.device)
    last = threads if threads is not None and on.device.type == "cpu" else last
    return getattr(module, name)(*arguments, last)


def _cuda_works() -> bool:
    return not cuda_absence()


# As torch.compiler.assume_constant_result marks it, which imports torch._dynamo: twice the time of torch's own import.
_cuda_works._dynamo_marked_constant = True  # type: ignore[attr-defined]


def has_kernels(device: torch.device) -> bool:
    """Whether kernels run on a device."""
    return device.type == "cpu" or (device.type == "cuda" and _cuda_works())
