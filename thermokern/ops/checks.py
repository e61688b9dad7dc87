"""Every check of an argument, and the words in which it is refused: one home for ops and quantities alike."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex, cast

import numpy as np
import torch
from torch import Tensor

from thermokern import _core
from thermokern._info import cuda_absence

MAX_DIM = _core.MAX_DIM  # of the kernels' points
PRECISIONS = (torch.float32, torch.float64)
FLOATS = (*PRECISIONS, torch.float16, torch.bfloat16)
DEVICES = ("cpu", "cuda")
LARGEST = 1e150  # a number whose square is one, too
MOST = 2**40  # points, steps or numbers that a call may ask for: more fit into no memory


class NotFusable(Exception):
    """Why a score cannot run in the fused kernels."""


# ---- numbers and names


def checked_integer(
    name: str, value: object, least: int | None = None, below: int | None = None, *, even: bool = False
) -> int:
    """`value` as an int, at least `least` and less than `below`.

    NumPy integers and tensors of one integer are integers; booleans are not.
    """
    number = _as_integer(value)
    if (
        number is None
        or (least is not None and number < least)
        or (below is not None and number >= below)
        or (even and number % 2)
    ):
        limit = "" if least is None else f" of at least {least}"
        if below is not None and (below != MOST or (number is not None and number >= below)):
            power = below.bit_length() - 1
            limit = f" in [{least or 0}, {f'2**{power}' if below == 1 << power else below})"
        raise ValueError(f"{name}: expected an {'even ' if even else ''}integer{limit}, got {value!r}")
    return number


def _as_integer(value: object) -> int | None:
    if _is_no_number(value):
        return None
    if isinstance(value, _INTEGERS):
        return cast(int, value)  # a symbol stays one
    try:
        return operator.index(cast(SupportsIndex, value))
    except TypeError:
        return None


def checked_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """`value` as a finite float within the bounds that are given: at least, above, at most, below.

    NumPy numbers and tensors of one number are numbers; booleans and strings are not.
    """
    try:
        number = math.nan if _is_no_number(value) else float(cast(SupportsFloat, value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not (
        math.isfinite(number)
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    ):
        lower, upper = (above if least is None else least), (below if most is None else most)
        limit = "" if lower is None else f" {'above' if least is None else 'of at least'} {lower:g}"
        if upper is not None:
            edges = ("(" if least is None else "["), (")" if most is None else "]")
            limit = f" in {edges[0]}{-math.inf if lower is None else lower:g}, {upper:g}{edges[1]}"
        raise ValueError(f"{name}: expected a finite number{limit}, got {value!r}")
    return number


# Tuples, not unions, which torch.compile of 2.6 does not trace.
_INTEGERS = (int, torch.SymInt)
_NO_NUMBERS = (bool, np.bool_, str, bytes)
_FLAGS = (bool, np.bool_)


def _is_no_number(value: object) -> bool:
    """Whether Python would take for a number what is not meant as one: a boolean, a string, an array."""
    if isinstance(value, Tensor):
        return value.dtype == torch.bool or value.dim() > 0
    if isinstance(value, np.ndarray):
        return value.dtype == np.bool_ or value.ndim > 0
    return isinstance(value, _NO_NUMBERS)


def checked_choice(name: str, value: str, choices: Collection[str]) -> str:
    """`value`, once it is known to be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {tuple(choices)}, got {value!r}")
    return value


def checked_dtype(dtype: torch.dtype | None, default: torch.dtype = torch.float32) -> torch.dtype:
    """`dtype`, or `default` where it is None, once it is known to be a precision of the kernels."""
    if dtype is None:
        return default
    if not isinstance(dtype, torch.dtype) or dtype not in PRECISIONS:
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r}")
    return dtype


def check_flags(**flags: object) -> None:
    """Raise unless each is True or False: a word or a number would silently be one of them."""
    for name, flag in flags.items():
        if not isinstance(flag, _FLAGS):
            raise TypeError(f"{name}: expected True or False, got {described(flag)}")


def checked_path(name: str, value: object) -> Path:
    """`value` as a path; bytes and objects are none."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {described(value)}")
    return Path(value)


def checked_shape(shape: object) -> tuple[int, ...] | None:
    """The shape of a point as a tuple, where it is known."""
    if shape is None:
        return None
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise TypeError(f"shape: expected a tuple of integers, got {described(shape)}")
    return tuple(checked_integer("shape", size, 1, MOST) for size in shape)


def checked_several(name: str, values: object) -> Sequence[Any]:
    """`values` once they are known to be a sequence, and no string."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name}: expected a sequence, got {described(values)}")
    return values


def check_kind(name: str, value: object, *kinds: type) -> None:
    """Raise unless `value` is an object of one of these classes."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {' or '.join(kind.__name__ for kind in kinds)}, got {described(value)}")


def check_function(name: str, value: object) -> None:
    """Raise unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {described(value)}")


def checked_seed(seed: object, path_offset: object = 0) -> tuple[int, int]:
    """The seed and the index of the first path as ints, each in [0, 2^63)."""
    return checked_integer("seed", seed, 0, 2**63), checked_integer("path_offset", path_offset, 0, 2**63)


def checked_device(device: torch.device | str) -> torch.device:
    """`device`, once it is known that kernels run there."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        found = None
    if found is None or found.type not in DEVICES:
        raise ValueError(f"device: expected one of {DEVICES}, got {device}")
    check_device("device", found)
    return found


def check_device(name: str, device: torch.device) -> None:
    """Raise unless there are kernels for a device."""
    if device.type == "cuda" and (absence := cuda_absence()):
        raise ValueError(f"{name}: expected a tensor on cpu, got {device}, where no kernel runs: {absence}")


# ---- tensors


def described(value: object) -> str:
    """What came, in the words of an error: shape and dtype of a tensor, the type of anything else."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    place = "" if value.device.type == "cpu" else f" on {value.device}"
    layout = "" if value.layout == torch.strided else f" {str(value.layout)[6:]}"
    return f"{tuple(value.shape)} {str(value.dtype)[6:]}{layout}{place}"


def check_tensor(name: str, value: object, *axes: int | str, any_float: bool = False) -> None:
    """Raise unless `value` is a dense tensor with these axes: sizes that are known, or names of any size.

    Its dtype is float32 or float64, or with `any_float` also a coarser one.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {_shape(axes)}, got {described(value)}")
    shape = value.shape
    right = value.dtype in (FLOATS if any_float else PRECISIONS) and len(shape) == len(axes)
    if right:
        for axis, size in zip(axes, shape, strict=True):
            right = right and (axis == size or isinstance(axis, str))
    if not right or value.is_meta or value.layout != torch.strided:
        numbers = "floating-point numbers" if any_float else "float32 or float64"
        raise ValueError(f"{name}: expected {_shape(axes)} {numbers}, got {described(value)}")


def _shape(axes: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def check_like(name: str, value: object, x: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless `value` is a dense tensor of this shape, and of the dtype and on the device of `x`."""
    if (
        not isinstance(value, Tensor)
        or value.shape != shape
        or value.dtype != x.dtype
        or value.device != x.device
        or value.layout != torch.strided
    ):
        raise ValueError(f"{name}: expected {tuple(shape)} {str(x.dtype)[6:]} as x is, got {described(value)}")


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


def array_of(name: str, values: object) -> Tensor:
    """Real numbers of a tensor, an array or lists as a tensor, whatever their strides, byte order and precision.

    Long doubles and unsigned integers become float64. Masked entries, imaginary parts and what is no number are refused
    by name.
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise TypeError(f"{name}: expected real numbers, got {str(values.dtype)[6:]}")
        if values.layout != torch.strided or values.is_meta:
            what = values.dtype if values.layout == torch.strided else values.layout
            raise ValueError(f"{name}: expected real numbers on cpu or cuda, got {what} on {values.device}")
        return values
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise ValueError(
                f"{name}: expected numbers, got {int(np.ma.getmaskarray(values).sum())} masked: leave those out, "
                f"or say what stands for them by {name}.filled(...)"
            )
        values = values.data
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = np.asarray(torch.as_tensor(values, dtype=torch.float64, device="cpu"))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected numbers, got {type(values).__name__}") from None
    if array.dtype.kind not in "biuf":
        expected = "real numbers" if array.dtype.kind == "c" else "numbers"
        raise TypeError(f"{name}: expected {expected}, got {type(values).__name__} of {array.dtype}")
    wide = array.dtype.itemsize > 8 or (array.dtype.kind == "u" and array.dtype.itemsize > 1)
    array = array.astype(np.float64 if wide else array.dtype.newbyteorder("="), copy=False)
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = array.copy()
    return torch.from_numpy(array)


def checked_array(name: str, values: object) -> Tensor:
    """Finite numbers as a tensor of float64 on the CPU, without a gradient."""
    tensor = array_of(name, values).detach().to("cpu", torch.float64)
    check_finite(**{name: tensor})
    return tensor


def checked_points(x: Tensor) -> Tensor:
    """`x` detached and contiguous, once it is known to be finite points (n, d) that a kernel can take."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor (n, d), got {described(x)}")
    if (
        x.layout != torch.strided
        or x.dtype not in PRECISIONS
        or x.dim() != 2
        or x.device.type not in DEVICES
        or not 1 <= x.shape[1] <= MAX_DIM
    ):
        raise ValueError(
            f"x: expected (n, d) float32 or float64 on cpu or cuda with d from 1 to {MAX_DIM}, got {described(x)}"
        )
    check_device("x", x.device)
    refuse_gradient(x=x)
    check_finite(x=x)
    return x.detach().contiguous()


def check_labels(name: str, y: Tensor, count: int, note: str = "") -> None:
    """Raise unless `y` is integers (n,) of 0 … count − 1; `note` says what else is known of those."""
    if y.dim() != 1 or y.is_floating_point():
        raise ValueError(f"{name}: expected labels, integers (n,), got {described(y)}")
    wrong = y[(y < 0) | (y >= count)]
    if len(wrong):
        raise ValueError(f"{name}: expected labels of 0 … {count - 1}{note}, got {int(wrong[0])}")
