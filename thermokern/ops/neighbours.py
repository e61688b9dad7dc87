"""Nearest neighbours and counts within a radius, by differences: references, and the ops behind ``tk.KDTree``."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import (
    MOST,
    check_finite,
    check_flags,
    check_tensor,
    checked_integer,
    checked_number,
    described,
)
from thermokern.ops.registry import register, run_kernel

_BLOCK = 2**22  # differences that a reference holds at a time


class Neighbours(NamedTuple):
    """Distances (m, k), ascending, and indices (m, k) int64; infinity and n where there are fewer than k points."""

    distances: Tensor
    indices: Tensor


def distances_reference(x: Tensor, y: Tensor, p: float = 2.0) -> Tensor:
    """Distances (m, n) from each of `y` (m, d) to each of `x` (n, d), in their dtype, by differences."""
    p = _check_pair(x, y, p)
    difference = y[:, None, :] - x[None, :, :]  # (m, n, d)
    if p == math.inf:
        return difference.abs().amax(2)
    if p != 2.0:
        size = difference.abs()
        return size.sum(2) if p == 1.0 else size.pow(p).sum(2).pow(1.0 / p)
    # NumPy's root, since PyTorch's (2.13, float32 and float64) is not always the nearest number.
    return torch.from_numpy(np.sqrt(difference.square().sum(2).numpy()))


def neighbours_reference(
    x: Tensor, k: int, y: Tensor | None = None, *, p: float = 2.0, distance_upper_bound: float = math.inf
) -> Neighbours:
    """The `k` points of `x` (n, d) nearest to each of `y` (m, d), ties by index, in PyTorch.

    Without `y`: nearest to each point of `x`, itself left out.
    """
    p = _check_pair(x, x if y is None else y, p)
    k, distance_upper_bound = (
        checked_integer("k", k, 1, MOST),
        _checked_bound("distance_upper_bound", distance_upper_bound),
    )
    n = x.shape[0]
    queries = x if y is None else y
    m = queries.shape[0]
    distances = x.new_full((m, k), math.inf)
    indices = torch.full((m, k), n, dtype=torch.int64, device="cpu")
    rows = max(1, _BLOCK // max(1, x.numel()))
    for first in range(0, m, rows):
        block = distances_reference(x, queries[first : first + rows], p)  # (rows, n)
        if y is None:
            own = torch.arange(first, first + len(block), device="cpu")
            block[own - first, own] = math.inf
        near, index = block.sort(dim=1, stable=True)
        near, index = near[:, :k], index[:, :k]
        missing = ~(near < distance_upper_bound)
        distances[first : first + rows, : near.shape[1]] = near.masked_fill(missing, math.inf)
        indices[first : first + rows, : near.shape[1]] = index.masked_fill(missing, n)
    return Neighbours(distances, indices)


def count_within_reference(x: Tensor, y: Tensor, radius: Tensor, *, p: float = 2.0, strict: bool = False) -> Tensor:
    """How many points of `x` (n, d) are within `radius` (m,) of each of `y` (m, d): (m,) int64, in PyTorch."""
    check_flags(strict=strict)
    p = _check_pair(x, y, p)
    check_tensor("radius", radius, len(y), any_float=True)
    counts = torch.zeros(y.shape[0], dtype=torch.int64, device="cpu")
    rows = max(1, _BLOCK // max(1, x.numel()))
    for first in range(0, y.shape[0], rows):
        block = distances_reference(x, y[first : first + rows], p)  # (rows, n)
        bound = radius[first : first + rows, None]
        counts[first : first + rows] = ((block < bound) if strict else (block <= bound)).sum(1)
    return counts


def _check_pair(x: Tensor, y: Tensor, p: float) -> float:
    """The norm, once points and queries are known to have distances."""
    check_tensor("x", x, "n", "d", any_float=True)
    check_tensor("y", y, "m", x.shape[1], any_float=True)
    if y.dtype != x.dtype or y.device != x.device:
        raise ValueError(f"y: expected {x.dtype} on {x.device} as x is, got {described(y)}")
    for name, tensor in {"x": x, "y": y}.items():
        if tensor.requires_grad:
            raise ValueError(f"{name}: requires a gradient, which distances do not give: use {name}.detach()")
    return _checked_bound("p", p, least=1.0)


def _checked_bound(name: str, value: float, least: float | None = None) -> float:
    """A number, or infinity."""
    return math.inf if isinstance(value, float) and value == math.inf else checked_number(name, value, least=least)


MOST_THREADS = 1024
LEAF_UNIT, LARGEST_LEAF = _core.LEAF_UNIT, _core.LARGEST_LEAF


class PointSet(NamedTuple):
    """Points in leaves, as the kernels take them: csrc/core/kdtree.hpp."""

    points: Tensor  # (leaves, d, leaf), times a power of two; infinity past the end of the last leaf
    order: Tensor  # (n,) int32: which point stands where
    bounds: Tensor  # (2 leaves − 1, 2, d), the boxes of the nodes; (0, 2, d): no tree


def _build_fake(x: Tensor, leaf: int, tree: bool, scale: float, threads: int) -> tuple[Tensor, Tensor, Tensor]:
    n, dim = x.shape
    leaves = (n + leaf - 1) // leaf
    nodes = 2 * leaves - 1 if tree and n > 0 else 0
    return x.new_empty(leaves, dim, leaf), x.new_empty(n, dtype=torch.int32), x.new_empty(nodes, 2, dim)


def _build(x: Tensor, leaf: int, tree: bool, scale: float, threads: int) -> tuple[Tensor, Tensor, Tensor]:
    if x.dim() != 2 or x.shape[1] < 1:
        raise ValueError(f"x: expected (n, d), got {tuple(x.shape)}")
    checked_integer("leaf", leaf, LEAF_UNIT, LARGEST_LEAF + 1)
    if leaf % LEAF_UNIT:
        raise ValueError(f"leaf: expected a multiple of {LEAF_UNIT}, got {leaf}")
    checked_number("scale", scale, above=0.0)
    checked_integer("threads", threads, 1, MOST_THREADS + 1)
    if x.numel() and not all(math.isfinite(end.item()) for end in x.aminmax()):
        check_finite(x=x)
    out = _build_fake(x, leaf, tree, scale, threads)
    run_kernel("neighbours_build", x, x, scale, *out, threads=threads)
    return out


register(
    "neighbours_build(Tensor x, int leaf, bool tree, float scale, int threads) -> (Tensor, Tensor, Tensor)",
    _build,
    _build_fake,
)


def _check_sets(
    points: Tensor,
    order: Tensor,
    bounds: Tensor,
    query_points: Tensor,
    query_order: Tensor,
    query_bounds: Tensor,
    scale: float,
    threads: int,
) -> None:
    """Raise where a kernel would read past what it was given, or never end: each number is looked at once."""
    checked_number("scale", scale, above=0.0)
    checked_integer("threads", threads, 1, MOST_THREADS + 1)
    for prefix, where, which, boxes in (
        ("", points, order, bounds),
        ("query_", query_points, query_order, query_bounds),
    ):
        if where.dim() != 3 or which.dim() != 1 or which.dtype != torch.int32:
            raise ValueError(
                f"{prefix}points: expected (leaves, d, leaf) with an order (n,) int32, "
                f"got {tuple(where.shape)} and {tuple(which.shape)} {str(which.dtype)[6:]}"
            )
        n, leaf, leaves = len(which), where.shape[2], len(where)
        if not LEAF_UNIT <= leaf <= LARGEST_LEAF or leaf % LEAF_UNIT or leaves != -(-n // leaf):
            raise ValueError(f"{prefix}points: expected leaves for {n} points, got {tuple(where.shape)}")
        if boxes.shape[1:] != (2, where.shape[1]) or len(boxes) not in (0, max(2 * leaves - 1, 0)):
            raise ValueError(f"{prefix}bounds: expected (0 or {2 * leaves - 1}, 2, d), got {tuple(boxes.shape)}")
        if n and not (int(which.min()) >= 0 and int(which.max()) < n):
            raise ValueError(
                f"{prefix}order: expected indices in [0, {n}), got {int(which.min())} to {int(which.max())}"
            )
        for name, values in (("points", where), ("bounds", boxes)):
            if values.numel() and math.isnan(values.amax().item()):  # NaN is the largest of all
                raise ValueError(f"{prefix}{name}: expected numbers, got NaN")


def _search_fake(
    points: Tensor,
    order: Tensor,
    bounds: Tensor,
    query_points: Tensor,
    query_order: Tensor,
    query_bounds: Tensor,
    own: bool,
    k: int,
    indexed: bool,
    max_norm: bool,
    scale: float,
    upper: float,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    m = query_order.shape[0]
    distances = points.new_empty(m, k)
    indices = points.new_empty(m if indexed else 0, k, dtype=torch.int64)
    return distances, indices, points.new_empty(1, dtype=torch.int64)


def _search(
    points: Tensor,
    order: Tensor,
    bounds: Tensor,
    query_points: Tensor,
    query_order: Tensor,
    query_bounds: Tensor,
    own: bool,
    k: int,
    indexed: bool,
    max_norm: bool,
    scale: float,
    upper: float,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    sets = (points, order, bounds, query_points, query_order, query_bounds)
    _check_sets(*sets, scale, threads)
    checked_integer("k", k, 1, len(order) + 2**16)  # room for which can be asked for
    if math.isnan(upper):
        raise ValueError("upper: expected a number, got NaN")
    out = _search_fake(*sets, own, k, indexed, max_norm, scale, upper, threads)
    run_kernel("neighbours_search", points, *sets, own, max_norm, scale, upper, *out, threads=threads)
    return out


register(
    "neighbours_search(Tensor points, Tensor order, Tensor bounds, Tensor query_points, Tensor query_order, "
    "Tensor query_bounds, bool own, int k, bool indexed, bool max_norm, float scale, float upper, int threads)"
    " -> (Tensor, Tensor, Tensor)",
    _search,
    _search_fake,
)


def _count_fake(
    points: Tensor,
    order: Tensor,
    bounds: Tensor,
    query_points: Tensor,
    query_order: Tensor,
    query_bounds: Tensor,
    radius: Tensor,
    max_norm: bool,
    strict: bool,
    scale: float,
    threads: int,
) -> Tensor:
    return torch.empty_like(radius, dtype=torch.int64)


def _count(
    points: Tensor,
    order: Tensor,
    bounds: Tensor,
    query_points: Tensor,
    query_order: Tensor,
    query_bounds: Tensor,
    radius: Tensor,
    max_norm: bool,
    strict: bool,
    scale: float,
    threads: int,
) -> Tensor:
    sets = (points, order, bounds, query_points, query_order, query_bounds)
    _check_sets(*sets, scale, threads)
    if radius.shape != query_order.shape or bool(radius.isnan().any()):
        raise ValueError(f"radius: expected ({len(query_order)},) numbers, got {tuple(radius.shape)} or NaN")
    counts = _count_fake(*sets, radius, max_norm, strict, scale, threads)
    run_kernel("neighbours_count", points, *sets, max_norm, strict, scale, radius, counts, threads=threads)
    return counts


register(
    "neighbours_count(Tensor points, Tensor order, Tensor bounds, Tensor query_points, Tensor query_order, "
    "Tensor query_bounds, Tensor radius, bool max_norm, bool strict, float scale, int threads) -> Tensor",
    _count,
    _count_fake,
)
