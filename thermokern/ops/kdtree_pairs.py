"""Balls and pairs of points within a radius, from counts and sorted neighbours of a tree."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermokern.ops.checks import array_of, check_flags, checked_choice, checked_number
from thermokern.ops.kdtree_arguments import norm_of, threads_of

_HELD = 2**22  # neighbours held at once


class BallsAndPairs(ABC):
    """What a tree of points answers beside nearest neighbours, as SciPy's does."""

    dim: int
    _x: Tensor
    _arrays: bool

    @property
    def data(self) -> Any:
        """The points (n, d), as they are searched."""
        return self._x.numpy() if self._arrays else self._x

    @property
    def mins(self) -> Any:
        """Least coordinate along each axis, (d,)."""
        return self._x.amin(0).numpy() if self._arrays else self._x.amin(0)

    @property
    def maxes(self) -> Any:
        """Largest coordinate along each axis, (d,)."""
        return self._x.amax(0).numpy() if self._arrays else self._x.amax(0)

    @abstractmethod
    def _queries(self, y: Any, name: str = "x") -> tuple[Tensor, bool]: ...

    @abstractmethod
    def _nearest(self, points: Tensor, k: int, norm: float, upper: float, threads: int) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def count_within(self, y: Any, radius: Any, *, p: float = 2.0, strict: bool = False) -> Any:
        """How many points are within `radius` of each of `y`."""

    def query_ball_point(
        self,
        x: Any,
        r: Any,
        p: float = 2.0,
        eps: float = 0.0,
        workers: int = 1,
        return_sorted: bool | None = None,
        return_length: bool = False,
    ) -> Any:
        """Indices of the points within `r` of each of `x`, as ``scipy.spatial.cKDTree.query_ball_point`` gives them.

        Parameters
        ----------
        x : Tensor or array
            (…, d) points.
        r : float or array
            Radii, of a shape that fits the points' leading one.
        p, eps, workers
            As for :meth:`query`.
        return_sorted : bool, optional
            Taken; lists are always sorted.
        return_length : bool
            Return numbers of points instead.

        Returns
        -------
        list of int, or array of such lists, or int64 numbers, in the leading shape of `x`
        """
        check_flags(return_length=return_length)
        points, _ = self._queries(x)
        checked_number("eps", eps, least=0.0)
        return balls(self, points, r, norm_of(p), threads_of(workers), return_length)

    def query_pairs(self, r: float, p: float = 2.0, eps: float = 0.0, output_type: str = "set") -> Any:
        """Pairs (i, j), i < j, of points within `r` of each other, as ``scipy.spatial.cKDTree.query_pairs`` gives them.

        Parameters
        ----------
        r : float
        p, eps
            As for :meth:`query`.
        output_type : {"set", "ndarray"}

        Returns
        -------
        set of (int, int), or array (pairs, 2)
        """
        checked_choice("output_type", output_type, ("set", "ndarray"))
        checked_number("eps", eps, least=0.0)
        found = pairs(self, r, norm_of(p))
        return {(int(i), int(j)) for i, j in found} if output_type == "set" else found

    def count_neighbors(
        self, other: BallsAndPairs, r: Any, p: float = 2.0, weights: None = None, cumulative: bool = True
    ) -> Any:
        """How many pairs, one of each tree, lie within `r`, as ``scipy.spatial.cKDTree.count_neighbors`` gives them.

        Parameters
        ----------
        other : KDTree
        r : float or array
            Radii; with ``cumulative=False`` ascending, the upper edges of bins.
        p : float
            As for :meth:`query`.
        weights : None
            Not offered.
        cumulative : bool

        Returns
        -------
        int, or int64 array of the shape of `r`
        """
        check_flags(cumulative=cumulative)
        if weights is not None:
            raise ValueError("weights: expected None, since pairs are counted without weights")
        if not isinstance(other, BallsAndPairs):
            raise TypeError(f"other: expected a KDTree, got {type(other).__name__}")
        return counts(self, other, r, p, cumulative)


def balls(tree: BallsAndPairs, x: Tensor, r: Any, norm: float, threads: int, length: bool) -> Any:
    """Sorted lists of indices within `r` of points (…, d), or how many there are, in the points' leading shape."""
    shape = tuple(x.shape[:-1])
    radii = array_of("r", r).to(x.device, x.dtype)
    if bool(radii.isnan().any()):
        raise ValueError("r: expected numbers, got NaN")
    try:
        radii = radii.expand(shape)
    except RuntimeError:
        raise ValueError(f"r: expected numbers of a shape that fits {shape}, got {tuple(radii.shape)}") from None
    points, reach = x.reshape(-1, tree.dim), radii.reshape(-1)
    numbers = tree.count_within(points, reach, p=norm).cpu()
    if length:
        return numbers.reshape(shape).numpy() if shape else int(numbers[0])
    out = np.empty(len(points), dtype=object)
    order = numbers.argsort(stable=True).tolist()
    first = 0
    while first < len(order):  # points with about as many neighbours together
        last = first
        while last < len(order) and (last - first + 1) * int(numbers[order[last]]) <= _HELD:
            last += 1
        rows = order[first : max(last, first + 1)]
        most = int(numbers[rows[-1]])
        if most:
            found = tree._nearest(points[rows], most, norm, math.inf, threads)[1].cpu()
        for place, row in enumerate(rows):
            out[row] = sorted(found[place, : int(numbers[row])].tolist()) if most else []
        first += len(rows)
    return out.reshape(shape) if shape else out[0]


def pairs(tree: BallsAndPairs, r: float, norm: float) -> np.ndarray:
    """Pairs (i, j), i < j, within `r` of each other, (pairs, 2) int64, sorted."""
    radius = checked_number("r", r, least=0.0)
    points = torch.as_tensor(tree.data, device="cpu")
    lists = balls(tree, points, radius, norm, torch.get_num_threads(), False)
    rows = [[i, j] for i, near in enumerate(lists) for j in near if j > i]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def counts(tree: BallsAndPairs, other: BallsAndPairs, r: Any, p: float, cumulative: bool) -> Any:
    """Pairs of points of two trees within each of the radii, or between one and the next."""
    radii = array_of("r", r).double()
    if bool(radii.isnan().any()):
        raise ValueError("r: expected numbers, got NaN")
    flat = radii.reshape(-1).tolist()
    if not cumulative and flat != sorted(flat):
        raise ValueError("r: expected ascending radii, the upper edges of bins")
    points = torch.as_tensor(other.data, device="cpu")
    found = np.array([int(tree.count_within(points, radius, p=p).sum()) for radius in flat], dtype=np.int64)
    if not cumulative:
        found = np.diff(found, prepend=0)
    return found.reshape(tuple(radii.shape)) if radii.dim() else int(found[0])
