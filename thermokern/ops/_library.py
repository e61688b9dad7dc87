"""What the ops share: the torch library they register in, and the checks at their border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from thermokern import _core
from thermokern._info import cuda_absence, cuda_module

LIBRARY = torch.library.Library("thermokern", "DEF")  # type: ignore[no-untyped-call]

MAX_DIM = _core.MAX_DIM  # of the kernels' points
PRECISIONS = (torch.float32, torch.float64)
DEVICES = ("cpu", "cuda")

# What random numbers are for, and the number that says so in their counter.
PURPOSES = {name: number for number, name in enumerate(_core.PURPOSES)}


def register(
    schema: str, kernel: Callable[..., object], fake: Callable[..., object], dispatch: str | Sequence[str] = "CPU"
) -> None:
    """Define ``thermokern::schema`` with its kernel and its fake."""
    name = LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    for key in [dispatch] if isinstance(dispatch, str) else dispatch:
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


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _cuda_works() -> bool:
    return not cuda_absence()


def has_kernels(device: torch.device) -> bool:
    """Whether kernels run on a device."""
    return device.type == "cpu" or (device.type == "cuda" and _cuda_works())


def check_device(name: str, device: torch.device) -> None:
    """Raise unless there are kernels for a device."""
    if device.type == "cuda" and (absence := cuda_absence()):
        raise ValueError(f"{name}: expected a tensor on cpu, got {device}, where no kernel runs: {absence}")


def refuse_gradient(**tensors: Tensor) -> None:
    """Raise if gradients are wanted through an op that has none."""
    for name, tensor in tensors.items():
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f'{name} requires a gradient and the fused kernels have none: use backend="reference", '
                f"or {name}.detach()"
            )


def check_finite(**tensors: Tensor) -> None:
    """Raise if a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            raise ValueError(f"{name}: expected finite numbers, got {bad} of {tensor.numel()} NaN or infinite")


def check_seed(seed: int, path_offset: int = 0) -> None:
    """Raise unless both are integers in [0, 2^63)."""
    for name, value in {"seed": seed, "path_offset": path_offset}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise ValueError(f"{name}: expected an integer in [0, 2**63), got {value!r}")


def checked_points(x: Tensor) -> Tensor:
    """`x` detached and contiguous, once it is known to be finite points (n, d) that a kernel can take."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor (n, d), got {type(x).__name__}")
    if x.dtype not in PRECISIONS or x.dim() != 2 or x.device.type not in DEVICES or not 1 <= x.shape[1] <= MAX_DIM:
        raise ValueError(
            f"x: expected (n, d) float32 or float64 on cpu or cuda with d from 1 to {MAX_DIM}, "
            f"got {tuple(x.shape)} {str(x.dtype)[6:]} on {x.device}"
        )
    check_device("x", x.device)
    refuse_gradient(x=x)
    check_finite(x=x)
    return x.detach().contiguous()
