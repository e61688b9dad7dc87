"""Every check of an argument, and the words in which it is refused: one home for ops and quantities alike."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex, cast

import torch
from torch import Tensor

from thermokern._info import cuda_absence

MAX_DIM = 16  # of the kernels' points
PRECISIONS = (torch.float32, torch.float64)
DEVICES = ("cpu", "cuda")


class NotFusable(Exception):
    """Why a score cannot run in the fused kernels."""


def checked_integer(name: str, value: object, least: int | None = None, below: int | None = None) -> int:
    """`value` as an int, at least `least` and less than `below`; NumPy integers are integers, booleans are not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        number = None
    fits = number is not None and (least is None or number >= least) and (below is None or number < below)
    if number is None or not fits:
        if below is not None:
            power = below.bit_length() - 1
            limit = f" in [{least or 0}, {f'2**{power}' if below == 1 << power else below})"
        else:
            limit = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name}: expected an integer{limit}, got {value!r}")
    return number


def checked_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """`value`, once it is known to be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {tuple(choices)}, got {value!r}")
    return value


def checked_dtype(dtype: torch.dtype | None, default: torch.dtype = torch.float32) -> torch.dtype:
    """`dtype`, or `default` where it is None, once it is known to be a precision of the kernels."""
    if dtype is None:
        return default
    if dtype not in PRECISIONS:
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
    return dtype


def checked_seed(seed: object, path_offset: object = 0) -> tuple[int, int]:
    """The seed and the index of the first path as ints, each in [0, 2^63)."""
    return checked_integer("seed", seed, 0, 2**63), checked_integer("path_offset", path_offset, 0, 2**63)


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
