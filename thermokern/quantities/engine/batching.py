"""Batches sized by memory: measured on a few points, halved when memory runs out all the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")

_CPU = torch.device("cpu")
# Without a budget: what stays near the cores' caches, but no fewer points than keep a matrix product busy.
_CPU_BUDGET = 32 * 2**20
_FEW_POINTS = 16
_CUDA_BUDGET = 4 * 2**30  # the same on every device, whatever is free there, since results depend on it by rounding
MAX_POINTS = 2**17


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that live while it is on, and their largest number."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.known: dict[int, weakref.ref[Any]] = {}  # by storage; all gone with this meter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known or not size:
            return
        self.live += size
        self.peak = max(self.peak, self.live)
        self.known[key] = weakref.ref(storage, lambda _: self._free(key, size))

    def _free(self, key: int, size: int) -> None:
        self.known.pop(key, None)
        self.live -= size


def peak_bytes(function: Callable[[], object]) -> int:
    """Bytes of the tensors that live at once, at most, while a function runs; what it was given is not counted."""
    with _LiveBytes() as meter:
        function()
    meter.known.clear()  # storages of parameters live on
    peak: int = meter.peak
    return peak


def points_within(
    budget: int | None, evaluate: Callable[[int], object], available: int, device: torch.device = _CPU
) -> int:
    """How many points fit a budget of bytes, from the peaks of evaluations on a few.

    Parameters
    ----------
    budget : int or None
        Bytes; for None 32 MiB on the CPU, about what its caches hold, and 4 GiB on others, or 16 points where that is
        more; never what happens to be free.
    evaluate : callable
        Runs the evaluation on so many points.
    available : int
        Points that there are: no more than these are tried.
    device : torch.device
        Where the points are.
    """
    few = min(2, available)
    many = min(6, available)
    low = peak_bytes(lambda: evaluate(few))
    high = peak_bytes(lambda: evaluate(many)) if many > few else low
    each = max((high - low) / (many - few) if many > few else high / few, 1.0)
    fixed = max(0.0, low - few * each)
    if budget is None:
        least = _CUDA_BUDGET if device.type == "cuda" else _CPU_BUDGET
        budget = max(least, int(fixed + _FEW_POINTS * each))
    return min(MAX_POINTS, max(1, int((budget - fixed) // each)))


class Batches:
    """Runs an evaluation in batches of at most `size` points, and halves `size` where memory runs out."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.halved = 0

    def run(self, total: int, evaluate: Callable[[int, int], Result]) -> list[Result]:
        """Results of ``evaluate(low, high)`` over ranges that cover 0 … `total`; one, empty, where total is 0."""
        out: list[Result] = []
        low = 0
        while low < total or not out:
            high = min(low + self.size, total)
            try:
                out.append(evaluate(low, high))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or high - low <= 1:
                    raise
                self.size = (high - low) // 2
                self.halved += 1
                continue
            low = high
        return out


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; PyTorch has a class for it on CUDA alone."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "out of memory" in text.lower())


def split(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` that cover 0 … `total`; one, empty, where total is 0."""
    for low in range(0, max(total, 1), size):
        yield low, min(low + size, total)
