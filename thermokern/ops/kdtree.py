"""Neighbour search among a set of points: a tree, or all pairs where a tree would not pay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import (
    DEVICES,
    PRECISIONS,
    check_device,
    check_finite,
    checked_choice,
    checked_integer,
    refuse_gradient,
)
from thermokern.ops.neighbours import PointSet

MAX_POINTS = 2**31 - 1  # indices are of 32 bits inside
FEW = 128  # points among which a tree has nothing to leave out

METHODS = ("auto", "tree", "brute")

LEAF_UNIT, LARGEST_LEAF, LARGEST_LIST = _core.LEAF_UNIT, _core.LARGEST_LEAF, _core.LARGEST_LIST

# Measured by benchmarks/search_choice.py on one thread of a Zen 4 with AVX-512, float32, k = 10. A larger leaf has more
# pairs to look at and fewer boxes; from five dimensions on that is faster: 10⁵ normals, leaves of 64 against 192,
# d = 3: 0.038 s, 0.046 s; d = 4: 0.071, 0.074; d = 5: 0.148, 0.120; d = 8: 0.66, 0.46.
MANY_DIMS, LEAF_IN_MANY_DIMS = 5, 192

# A tree looks at a pair twice, once from each end, all pairs once for both. They are equally fast where a tree has to
# look at a share of 0.89 (3,000 points), 0.70 (10,000) or 0.64 (30,000) of the pairs of both ends. In fewer than four
# dimensions the share is far below that unless there are few points. It is read off blocks of points, one after another
# until it is well off the border.
BRUTE_SHARE, PROBED_DIM, PROBED_K = 0.7, 4, 8
_PROBES, _SURE = 4, 0.15
_LOG2_REACH = {torch.float32: 50, torch.float64: 500}  # and to which those of queries may go
_LOG2_EXTENT = 20  # to which power of two coordinates are scaled: their squares then neither overflow nor vanish


class KDTree:
    """Nearest neighbours among `x` and counts within a radius, in the precision of `x`.

    Distances are computed from differences of coordinates, never from expanded squares. Ties go to the lower index.

    Parameters
    ----------
    x : Tensor or array
        (n, d) points, float32 or float64, finite, on the CPU or a CUDA device, where the search then runs. n = 0 is
        valid.
    method : {"auto", "tree", "brute"}
        How :meth:`neighbours` goes about it: by the tree, or by all pairs, each once for both of its points. "auto"
        chooses by the share of all pairs that the tree has to look at for a sample of points. Under "brute" no tree
        is built and queries look at all points too; under "auto" they always use the tree.
    leaf_size : int, optional
        Points in a leaf: a multiple of 64 up to 256, to which other numbers are raised or lowered. By default 64,
        from five dimensions on 192.

    Attributes
    ----------
    n, dim : int
        Number of points and of coordinates.
    method, method_reason : str
        "tree" or "brute", and why.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described; the message names it.

    Notes
    -----
    A distance is the root of the sum over axes of squared differences, in blocks of eight axes, in the precision of
    `x`, coordinates having been multiplied with a power of two so that squares neither overflow nor vanish. It does
    not depend on the order of the points, on threads or on the method, to the last bit.

    On a CUDA device a block of threads takes a leaf of queries, and "brute" looks at a pair from both of its ends; the
    share by which "auto" chooses was measured on a CPU.

    Memory beside `x` and results: a copy of `x`, 4 bytes a point and a box every 32 points; while the tree is built as
    much again; the same for points `y`; by all pairs also the lists, 64 bytes for 16 numbers of float32. Cost: n log n
    to build; n log n to search in few dimensions, n² d in many. At most 2³¹ − 1 points.
    """

    def __init__(self, x: Any, *, method: str = "auto", leaf_size: int | None = None) -> None:
        self._x, self._arrays = _points("x", x)
        if self._x.dim() != 2 or self._x.shape[1] < 1:
            raise ValueError(f"x: expected (n, d) with d at least 1, got {tuple(self._x.shape)}")
        checked_choice("method", method, METHODS)
        self.n, self.dim = self._x.shape
        if self.n > MAX_POINTS:
            raise ValueError(f"x: expected at most {MAX_POINTS} points, got {self.n}")
        if leaf_size is None:
            leaf_size = LEAF_IN_MANY_DIMS if self.dim >= MANY_DIMS and method != "brute" else LEAF_UNIT
        leaf_size = checked_integer("leaf_size", leaf_size, 1)
        leaf = min(-(-leaf_size // LEAF_UNIT) * LEAF_UNIT, LARGEST_LEAF)
        self._exponent = _exponent(self._x)
        self._leaf, self._scale = leaf, 2.0**self._exponent
        self._set = self._points_in_leaves(self._x, method != "brute", torch.get_num_threads())
        if method == "auto":
            self.method, self.method_reason = self._choose()
        else:
            self.method, self.method_reason = method, "asked for"

    def _points_in_leaves(self, points: Tensor, tree: bool, threads: int) -> PointSet:
        return PointSet(*torch.ops.thermokern.neighbours_build(points, self._leaf, tree, self._scale, threads))

    def _choose(self) -> tuple[str, str]:
        """What is cheaper for all nearest neighbours: by the share of all pairs that a tree has to look at."""
        if self.n <= FEW:
            return "brute", f"{self.n} points, at most {FEW}"
        if self.dim < PROBED_DIM:
            return "tree", f"{self.dim} dimensions, fewer than {PROBED_DIM}"
        leaves = len(self._set.points)
        looked_at = probed = 0
        for probe in range(min(_PROBES, leaves)):
            # The leaves of a probe lie far apart: it starts in the middle, then come a quarter, three quarters, …
            start = leaves * (4, 2, 6, 1)[probe] // 8 * self._leaf
            points = self._x[self._set.order[start : start + LEAF_UNIT].long()]
            queries = self._points_in_leaves(points, True, 1)
            pairs = self._search(queries, PROBED_K, False, False, math.inf, torch.get_num_threads())[2]
            looked_at += int(pairs)
            probed += len(points)
            share = looked_at / (probed * leaves * self._leaf)
            if abs(share - BRUTE_SHARE) > _SURE:
                break
        what = f"{share:.0%} of all pairs to look at by a tree in a sample of {probed} points, "
        if share > BRUTE_SHARE:
            return "brute", what + f"more than {BRUTE_SHARE:.0%}"
        return "tree", what + f"at most {BRUTE_SHARE:.0%}"

    def _search(
        self, queries: PointSet | None, k: int, indexed: bool, max_norm: bool, upper: float, threads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        data, own = self._set, queries is None
        if own and self.method == "brute" and k <= LARGEST_LIST:  # longer lists have no rounds of all pairs
            data = data._replace(bounds=data.bounds[:0])
        queries = data if queries is None else queries
        out: tuple[Tensor, Tensor, Tensor] = torch.ops.thermokern.neighbours_search(
            *data, *queries, own, k, indexed, max_norm, self._scale, upper, threads
        )
        return out

    def query(
        self,
        y: Any,
        k: int | Sequence[int] = 1,
        *,
        p: float = 2.0,
        distance_upper_bound: float = math.inf,
        workers: int = 1,
    ) -> tuple[Any, Any]:
        """The `k` points nearest to each of `y`, in the conventions of ``scipy.spatial.cKDTree.query``.

        Parameters
        ----------
        y : Tensor or array
            (…, d) points in the dtype and on the device of `x`.
        k : int or sequence of int
            How many neighbours, or which ranks, counted from 1.
        p : {2, inf}
            Euclidean or maximum norm.
        distance_upper_bound : float
            Only neighbours nearer than this.
        workers : int
            Threads; −1: all that PyTorch may use. Of no meaning on a CUDA device.

        Returns
        -------
        distances : (…, k) in the dtype of `x`
            Ascending; infinity where there is no such neighbour.
        indices : (…, k) int64
            n where there is no such neighbour.

            Tensors if `y` is a tensor, else arrays. The last axis is left out where `k` is the integer 1.
        """
        points, arrays = self._queries(y)
        ranks = _ranks(k)
        max_norm = _norm(p)
        upper = float(distance_upper_bound)
        if not upper >= 0.0:
            raise ValueError(f"distance_upper_bound: expected a number of at least 0, got {distance_upper_bound!r}")
        threads = _threads(workers)
        shape = points.shape[:-1]
        queries = self._points_in_leaves(points.reshape(-1, self.dim), True, threads)
        found = self._search(queries, max(ranks), True, max_norm, upper, threads)[:2]
        columns = [rank - 1 for rank in ranks]
        squeeze = np.ndim(k) == 0
        out = []
        for values in found:
            picked = values if squeeze else values[:, columns]
            picked = picked.reshape(shape if squeeze and len(ranks) == 1 else (*shape, len(columns)))
            out.append(picked.numpy() if arrays else picked)
        return out[0], out[1]

    def neighbours(self, k: int, *, p: float = 2.0, indices: bool = False) -> Any:
        """Distances from each point of `x` to its `k` nearest others.

        Parameters
        ----------
        k : int
            At least 1.
        p : {2, inf}
            Euclidean or maximum norm.
        indices : bool
            Whether to return indices too.

        Returns
        -------
        distances : (n, k) in the dtype of `x`
            Ascending; infinity where there are fewer than k others. A point is left out by its index, not by its
            distance: a copy of it is a neighbour at distance 0.
        indices : (n, k) int64
            With ``indices=True``; n where there is no such neighbour, ties by index.

            Tensors if `x` is a tensor, else arrays.
        """
        ranks = _ranks(k)
        max_norm = _norm(p)
        found = self._search(None, len(ranks), indices, max_norm, math.inf, torch.get_num_threads())
        out = [values.numpy() if self._arrays else values for values in found[:2]]
        return (out[0], out[1]) if indices else out[0]

    def count_within(self, y: Any, radius: Any, *, p: float = 2.0, strict: bool = False) -> Any:
        """How many points of `x` have a distance ≤ `radius` (`strict`: <) from each of `y`.

        Parameters
        ----------
        y : Tensor or array
            (m, d) points in the dtype of `x`, and on its device.
        radius : float, Tensor or array
            One for all, or (m,); used in the dtype of `x`, compared with the distance computed in that dtype.
        p : {2, inf}
            Euclidean or maximum norm.
        strict : bool
            < for ≤.

        Returns
        -------
        (m,) int64
            A tensor if `y` is a tensor, else an array.
        """
        points, arrays = self._queries(y)
        if points.dim() != 2:
            raise ValueError(f"y: expected (m, {self.dim}), got {tuple(points.shape)}")
        max_norm = _norm(p)
        bound = torch.as_tensor(radius).detach().to(self._x.device, self._x.dtype)
        if bound.shape not in ((), (len(points),)):
            raise ValueError(f"radius: expected a number or ({len(points)},), got {tuple(bound.shape)}")
        if bool(bound.isnan().any()):
            raise ValueError("radius: expected numbers, got NaN")
        threads = torch.get_num_threads()
        queries = self._points_in_leaves(points, True, threads)
        counts = torch.ops.thermokern.neighbours_count(
            *self._set, *queries, bound.expand(len(points)).contiguous(), max_norm, strict, self._scale, threads
        )
        return counts.numpy() if arrays else counts

    def _queries(self, y: Any) -> tuple[Tensor, bool]:
        points, arrays = _points("y", y)
        if points.dtype != self._x.dtype:
            raise ValueError(
                f"y: expected {str(self._x.dtype)[6:]} as x has it, got {str(points.dtype)[6:]}: convert one of them"
            )
        if points.device != self._x.device:
            raise ValueError(
                f"y: expected points on {self._x.device} as x is there, got {points.device}: move one of them"
            )
        if points.dim() < 1 or points.shape[-1] != self.dim:
            raise ValueError(f"y: expected (…, {self.dim}) as x has it, got {tuple(points.shape)}")
        largest = 2.0 ** (-self._exponent + _LOG2_REACH[points.dtype])
        if points.numel() and points.abs().max().item() > largest:
            raise ValueError(
                f"y: expected coordinates of at most {largest:g} in size, where squares of distances to x stay finite "
                f"in {str(points.dtype)[6:]}, got {points.abs().max().item():g}: "
                "leave such points out, or use float64"
            )
        return points, arrays


def _exponent(x: Tensor) -> int:
    """Of the power of two that brings the largest coordinate to about 2^20."""
    size = x.abs().max().item() if x.numel() else 0.0
    limit = 100 if x.dtype == torch.float32 else 900
    return 0 if size == 0.0 else max(-limit, min(limit, _LOG2_EXTENT - math.frexp(size)[1]))


def _points(name: str, x: Any) -> tuple[Tensor, bool]:
    """Finite points as a contiguous tensor, and whether they came as something else than a tensor."""
    arrays = not isinstance(x, Tensor)
    tensor = torch.as_tensor(np.asarray(x)) if arrays else x
    if tensor.dtype not in PRECISIONS or tensor.device.type not in DEVICES:
        raise ValueError(
            f"{name}: expected float32 or float64 on cpu or cuda, got {str(tensor.dtype)[6:]} on {tensor.device}: "
            "convert the points first, say with x.double().cpu() or x.astype('float64')"
        )
    check_device(name, tensor.device)
    refuse_gradient(**{name: tensor})
    check_finite(**{name: tensor})
    return tensor.detach().contiguous(), arrays


def _ranks(k: int | Sequence[int]) -> list[int]:
    """Ranks from 1 to k, or the ranks themselves."""
    if np.ndim(k) == 0:
        return list(range(1, checked_integer("k", k, 1) + 1))
    ranks = [checked_integer("k", rank, 1) for rank in cast(Sequence[int], k)]
    if not ranks:
        raise ValueError("k: expected at least one rank, got none")
    return ranks


def _norm(p: float) -> bool:
    """Whether `p` is the maximum norm."""
    if p not in (2, math.inf):
        raise ValueError(f"p: expected 2 or inf, got {p!r}")
    return p == math.inf


def _threads(workers: int) -> int:
    """Threads to use; −1 stands for all."""
    threads = checked_integer("workers", workers, -1)
    if threads == 0:
        raise ValueError("workers: expected a positive number of threads, or -1 for all, got 0")
    return torch.get_num_threads() if threads == -1 else threads
