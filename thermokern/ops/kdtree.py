"""Neighbour search among a set of points: a tree, or all pairs where a tree would not pay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import array_of, check_flags, checked_choice, checked_integer, checked_number
from thermokern.ops.kdtree_arguments import (
    exponent_of,
    is_one,
    is_wide,
    norm_of,
    number_or_infinity,
    points_of,
    ranks_of,
    rounded_bound,
    threads_of,
)
from thermokern.ops.kdtree_pairs import BallsAndPairs
from thermokern.ops.neighbours import LARGEST_LEAF, LEAF_UNIT, PointSet, count_within_reference, neighbours_reference

MAX_POINTS = 2**31 - 1  # indices are of 32 bits inside
FEW = 128  # points among which a tree has nothing to leave out

METHODS = ("auto", "tree", "brute")
LARGEST_LIST = _core.LARGEST_LIST


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


class KDTree(BallsAndPairs):
    """Nearest neighbours among `x` and counts within a radius, in the precision of `x`.

    Distances are computed from differences of coordinates, never from expanded squares. Ties go to the lower index.

    In place of ``scipy.spatial.cKDTree``: its constructor's `leafsize`, its attributes ``data``, ``leafsize``, ``n``,
    ``m``, ``mins`` and ``maxes``, and its methods ``query``, ``query_ball_point``, ``query_pairs`` and
    ``count_neighbors``, with all their arguments by position and by name but for weights. Of SciPy's there is no
    ``boxsize``, no ``query_ball_tree``, no ``sparse_distance_matrix``, no access to nodes (``tree``, ``indices``), no
    weights of ``count_neighbors``; `compact_nodes`, `copy_data` and `balanced_tree` are taken and change nothing. A
    search is always exact, which any `eps` allows. Balls of single points come sorted.

    Parameters
    ----------
    x : Tensor or array
        (n, d) points, finite, on the CPU or a CUDA device, where the search then runs. n = 0 is valid. Integers and
        long doubles are taken as float64, half precision as float32.
    leafsize : int, optional
        Points in a leaf: a multiple of 64 up to 256, to which other numbers are raised or lowered. By default 64,
        from five dimensions on 192.
    method : {"auto", "tree", "brute"}
        How :meth:`neighbours` goes about it: by the tree, or by all pairs, each once for both of its points. "auto"
        chooses by the share of all pairs that the tree has to look at for a sample of points. Under "brute" no tree
        is built and queries look at all points too; under "auto" they always use the tree.

    Attributes
    ----------
    n, dim : int
        Number of points and of coordinates; ``m`` is `dim` too.
    data : Tensor or array
        The points.
    leafsize : int
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

    Points of float32 whose coordinates span more than 60 powers of two, zeros apart, are searched in float64, since
    squares of their small differences would vanish; so are points `x` of a query that do, or that come in float64 to a
    tree of float32. Distances are rounded to float32 but in the last case.

    On a CUDA device a block of threads takes a leaf of queries, and "brute" looks at a pair from both of its ends; the
    share by which "auto" chooses was measured on a CPU.

    Memory beside `x` and results: a copy of `x`, 4 bytes a point and a box every 32 points; while the tree is built as
    much again; the same for points `y`; by all pairs also the lists, 64 bytes for 16 numbers of float32. Cost: n log n
    to build; n log n to search in few dimensions, n² d in many. At most 2³¹ − 1 points.
    """

    def __init__(
        self,
        x: Any,
        leafsize: int | None = None,
        compact_nodes: bool = True,
        copy_data: bool = False,
        balanced_tree: bool = True,
        *,
        method: str = "auto",
        leaf_size: int | None = None,
    ) -> None:
        self._x, self._arrays = points_of("x", x)
        if self._x.dim() != 2 or self._x.shape[1] < 1:
            raise ValueError(f"x: expected (n, d) with d at least 1, got {tuple(self._x.shape)}")
        checked_choice("method", method, METHODS)
        self.n, self.dim = self._x.shape
        self.m = self.dim
        if self.n > MAX_POINTS:
            raise ValueError(f"x: expected at most {MAX_POINTS} points, got {self.n}")
        if leaf_size is not None:
            warnings.warn("leaf_size is deprecated: use leafsize", DeprecationWarning, stacklevel=2)
            leafsize = leaf_size
        if leafsize is None:
            leafsize = LEAF_IN_MANY_DIMS if self.dim >= MANY_DIMS and method != "brute" else LEAF_UNIT
        leafsize = checked_integer("leafsize", leafsize, 1)
        self.leafsize = min(-(-leafsize // LEAF_UNIT) * LEAF_UNIT, LARGEST_LEAF)
        self._asked = method
        self._exponent = exponent_of(self._x)
        self._wide = is_wide(self._x, self._exponent)
        self._in_float64: KDTree | None = None
        self._leaf, self._scale = self.leafsize, 2.0**self._exponent
        self._set = self._points_in_leaves(self._x, method != "brute", torch.get_num_threads())
        if method == "auto":
            self.method, self.method_reason = self._choose()
        else:
            self.method, self.method_reason = method, "asked for"

    def _double(self) -> KDTree:
        """The same points in float64."""
        if self._in_float64 is None:
            self._in_float64 = KDTree(self._x.double(), self.leafsize, method=self._asked)
        return self._in_float64

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
        x: Any = None,
        k: int | Sequence[int] = 1,
        eps: float = 0.0,
        p: float = 2.0,
        distance_upper_bound: float = math.inf,
        workers: int = 1,
        *,
        y: Any = None,
    ) -> tuple[Any, Any]:
        """The `k` points nearest to each of `x`, in the conventions of ``scipy.spatial.cKDTree.query``.

        Parameters
        ----------
        x : Tensor or array
            (…, d) points on the device of the tree's.
        k : int or sequence of int
            How many neighbours, or which ranks, counted from 1.
        eps : float
            At least 0. The neighbours that are returned are the nearest, whatever it allows.
        p : float
            Order of the norm, at least 1, or infinity. Norms other than the Euclidean and the maximum look at all
            pairs, in PyTorch.
        distance_upper_bound : float
            Only neighbours nearer than this.
        workers : int
            Threads, no more than the machine has; −1: all that PyTorch may use. Of no meaning on a CUDA device.

        Returns
        -------
        distances : (…, k) in the dtype of the tree's points, or float64 where those of `x` are
            Ascending; infinity where there is no such neighbour.
        indices : (…, k) int64
            n where there is no such neighbour.

            Tensors if `x` is a tensor, else arrays. The last axis is left out where `k` is the integer 1.
        """
        if y is not None:
            warnings.warn("y is deprecated as an argument of query: use x", DeprecationWarning, stacklevel=2)
            x = y
        points, arrays = self._queries(x)
        ranks = ranks_of(k, self.n)
        checked_number("eps", eps, least=0.0)
        norm = norm_of(p)
        upper = number_or_infinity("distance_upper_bound", distance_upper_bound, 0.0)
        threads = threads_of(workers)
        shape = points.shape[:-1]
        found = self._nearest(points.reshape(-1, self.dim), max(ranks), norm, upper, threads)
        columns = [rank - 1 for rank in ranks]
        squeeze = is_one(k)
        out = []
        for values in found:
            picked = values if squeeze else values[:, columns]
            picked = picked.reshape(shape if squeeze and len(ranks) == 1 else (*shape, len(columns)))
            out.append(picked.numpy() if arrays else picked)
        return out[0], out[1]

    def _nearest(self, points: Tensor, k: int, norm: float, upper: float, threads: int) -> tuple[Tensor, Tensor]:
        """Distances and indices of the `k` nearest to each of checked points (m, d)."""
        if norm not in (2.0, math.inf):
            pairs = neighbours_reference(self._x.cpu(), k, points.cpu(), p=norm, distance_upper_bound=upper)
            return pairs.distances.to(points.device), pairs.indices.to(points.device)
        if self._in_double(points):
            distances, indices = self._double()._nearest(points.double(), k, norm, upper, threads)
            return distances.to(points.dtype), indices
        queries = self._points_in_leaves(points, True, threads)
        found = self._search(queries, k, True, norm == math.inf, upper, threads)
        return found[0], found[1]

    def _in_double(self, points: Tensor) -> bool:
        """Whether the kernels would lose digits in float32, or `points` have more."""
        if self._x.dtype == torch.float64:
            return False
        largest = 2.0 ** (-self._exponent + _LOG2_REACH[torch.float32])
        far = bool(points.numel()) and points.abs().max().item() > largest
        return points.dtype == torch.float64 or self._wide or far or is_wide(points, self._exponent)

    def neighbours(self, k: int | Sequence[int], *, p: float = 2.0, indices: bool = False) -> Any:
        """Distances from each point of `x` to its `k` nearest others.

        Parameters
        ----------
        k : int or sequence of int
            How many neighbours, at least 1, or which ranks, counted from 1.
        p : float
            Order of the norm, as for :meth:`query`.
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
        check_flags(indices=indices)
        ranks, norm, threads = ranks_of(k, self.n), norm_of(p), torch.get_num_threads()
        if norm not in (2.0, math.inf):
            pairs = neighbours_reference(self._x.cpu(), max(ranks), p=norm)
            found = pairs.distances.to(self._x.device), pairs.indices.to(self._x.device)
        elif self._wide:
            deep = self._double()._search(None, max(ranks), indices, norm == math.inf, math.inf, threads)
            found = deep[0].to(self._x.dtype), deep[1]
        else:
            found = self._search(None, max(ranks), indices, norm == math.inf, math.inf, threads)[:2]
        if not is_one(k):
            columns = [rank - 1 for rank in ranks]
            found = found[0][:, columns], found[1][:, columns] if indices else found[1]
        out = [values.numpy() if self._arrays else values for values in found]
        return (out[0], out[1]) if indices else out[0]

    def count_within(self, y: Any, radius: Any, *, p: float = 2.0, strict: bool = False) -> Any:
        """How many points of `x` have a distance ≤ `radius` (`strict`: <) from each of `y`.

        Parameters
        ----------
        y : Tensor or array
            (m, d) points on the device of `x`.
        radius : float, Tensor or array
            One for all, or (m,); used in the dtype of `x`, compared with the distance in that dtype.
        p : float
            Order of the norm, as for :meth:`query`.
        strict : bool
            < for ≤.

        Returns
        -------
        (m,) int64
            A tensor if `y` is a tensor, else an array.
        """
        check_flags(strict=strict)
        points, arrays = self._queries(y, "y")
        if points.dim() != 2:
            raise ValueError(f"y: expected (m, {self.dim}), got {tuple(points.shape)}")
        norm = norm_of(p)
        bound = array_of("radius", radius).detach().to(self._x.device, points.dtype)
        if bound.shape not in ((), (len(points),)):
            raise ValueError(f"radius: expected a number or ({len(points)},), got {tuple(bound.shape)}")
        if bool(bound.isnan().any()):
            raise ValueError("radius: expected numbers, got NaN")
        counts = self._count(points, bound.expand(len(points)).contiguous(), norm, strict)
        return counts.numpy() if arrays else counts

    def _count(self, points: Tensor, bound: Tensor, norm: float, strict: bool) -> Tensor:
        if norm not in (2.0, math.inf):
            counted = count_within_reference(self._x.cpu(), points.cpu(), bound.cpu(), p=norm, strict=strict)
            return counted.to(points.device)
        if self._in_double(points):
            deep = bound if points.dtype == torch.float64 else rounded_bound(bound, strict)
            return self._double()._count(points.double(), deep, norm, strict)
        threads = torch.get_num_threads()
        queries = self._points_in_leaves(points, True, threads)
        counts: Tensor = torch.ops.thermokern.neighbours_count(
            *self._set, *queries, bound, norm == math.inf, strict, self._scale, threads
        )
        return counts

    def _queries(self, y: Any, name: str = "x") -> tuple[Tensor, bool]:
        points, arrays = points_of(name, y)
        if points.device != self._x.device:
            raise ValueError(
                f"{name}: expected points on {self._x.device} as the tree's are, got {points.device}: move one of them"
            )
        if points.dim() < 1 or points.shape[-1] != self.dim:
            raise ValueError(f"{name}: expected (…, {self.dim}) to match the tree, got {tuple(points.shape)}")
        if points.dtype != torch.float64 and self._x.dtype == torch.float64:
            points = points.double()
        largest = 2.0 ** min(-self._exponent + _LOG2_REACH[torch.float64], 1023)
        if points.dtype == torch.float64 and points.numel() and points.abs().max().item() > largest:
            raise ValueError(
                f"{name}: expected coordinates of at most {largest:g} in size, where squares of distances to the "
                f"tree's points stay finite, got {points.abs().max().item():g}: leave such points out"
            )
        return points, arrays
