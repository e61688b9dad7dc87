"""Points that stay where they are stored until a block needs them: memory-mapped arrays and datasets."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from thermokern.ops.checks import array_of, check_finite

_ROWS = 1024  # read at a time where all are looked at


class Points(Protocol):
    """Points (n, d), of which ranges are taken."""

    @property
    def shape(self) -> torch.Size:
        """(n, d)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: slice) -> Tensor:
        """A range of them, (m, d)."""


class StoredPoints:
    """Data points (n, …) of a memory-mapped array or of a map-style dataset, read block by block.

    A dataset gives a tensor or an array for each number, or a tuple that begins with one, as with labels.
    """

    dtype = torch.float64

    def __init__(self, name: str, source: Any) -> None:
        if not isinstance(source, Sized):
            raise TypeError(f"{name}: expected a dataset with a length, got {type(source).__name__}")
        self.name, self.n = name, len(source)
        self.source: Any = source
        if not self.n:
            raise ValueError(f"{name}: expected at least one point, got none")
        self.point = self._read(0, 1).shape[1:]
        if 0 in self.point or not self.point:
            raise ValueError(f"{name}: expected points (n, …), got {(self.n, *self.point)}")
        self.shape = torch.Size([self.n, self.point.numel()])

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: slice) -> Tensor:
        low, high, _ = rows.indices(self.n)
        points = self._read(low, high).flatten(1)
        check_finite(**{self.name: points})
        return points

    def _read(self, low: int, high: int) -> Tensor:
        if isinstance(self.source, np.ndarray):
            rows = array_of(self.name, np.array(self.source[low:high]))
        else:
            items = [self.source[i] for i in range(low, high)]
            parts = [item[0] if isinstance(item, tuple | list) else item for item in items]
            rows = (
                torch.stack([array_of(self.name, part) for part in parts])
                if parts
                else torch.zeros(0, *self.point, device="cpu")
            )
        return rows.to("cpu", torch.float64)


class Starts:
    """Where paths begin, (n, d), worked out from their data points when a block needs them."""

    def __init__(self, first_node: Callable[[int, int], Tensor], n: int, dim: int) -> None:
        self.first_node, self.shape = first_node, torch.Size([n, dim])
        self.dtype = first_node(0, 0).dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        low, high, _ = rows.indices(len(self))
        return self.first_node(low, high)


def is_stored(x: object) -> bool:
    """Whether points are to be read when they are needed."""
    return isinstance(x, np.memmap | Dataset)


def in_parts(points: Points) -> list[tuple[int, int]]:
    """Ranges in which all points are read in turn."""
    return [(low, min(low + _ROWS, len(points))) for low in range(0, len(points), _ROWS)]


def whole(points: Points) -> Tensor:
    """All of them, (n, d)."""
    return points if isinstance(points, Tensor) else points[0 : len(points)]
