"""Nearest neighbours and counts within a radius, by differences: what :class:`thermokern.KDTree` is to compute."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 2**22  # differences held at a time


class Neighbours(NamedTuple):
    """Distances (m, k), ascending, and indices (m, k) int64; infinity and n where there are fewer than k points."""

    distances: Tensor
    indices: Tensor


def distances_reference(x: Tensor, y: Tensor, p: float = 2.0) -> Tensor:
    """Distances (m, n) from each of `y` (m, d) to each of `x` (n, d), in their dtype, by differences."""
    difference = y[:, None, :] - x[None, :, :]  # (m, n, d)
    if p == math.inf:
        return difference.abs().amax(2) if x.shape[1] else difference.sum(2)
    return difference.square().sum(2).sqrt()


def neighbours_reference(
    x: Tensor, k: int, y: Tensor | None = None, *, p: float = 2.0, distance_upper_bound: float = math.inf
) -> Neighbours:
    """The `k` points of `x` (n, d) nearest to each of `y` (m, d), ties by index, in PyTorch.

    Without `y`: nearest to each point of `x`, itself left out.
    """
    n = x.shape[0]
    queries = x if y is None else y
    m = queries.shape[0]
    distances = x.new_full((m, k), math.inf)
    indices = torch.full((m, k), n, dtype=torch.int64)
    rows = max(1, _BLOCK // max(1, x.numel()))
    for first in range(0, m, rows):
        block = distances_reference(x, queries[first : first + rows], p)  # (rows, n)
        if y is None:
            own = torch.arange(first, first + len(block))
            block[own - first, own] = math.inf
        near, index = block.sort(dim=1, stable=True)
        near, index = near[:, :k], index[:, :k]
        missing = ~(near < distance_upper_bound)
        distances[first : first + rows, : near.shape[1]] = near.masked_fill(missing, math.inf)
        indices[first : first + rows, : near.shape[1]] = index.masked_fill(missing, n)
    return Neighbours(distances, indices)


def count_within_reference(x: Tensor, y: Tensor, radius: Tensor, *, p: float = 2.0, strict: bool = False) -> Tensor:
    """How many points of `x` (n, d) are within `radius` (m,) of each of `y` (m, d): (m,) int64, in PyTorch."""
    counts = torch.zeros(y.shape[0], dtype=torch.int64)
    rows = max(1, _BLOCK // max(1, x.numel()))
    for first in range(0, y.shape[0], rows):
        block = distances_reference(x, y[first : first + rows], p)  # (rows, n)
        bound = radius[first : first + rows, None]
        counts[first : first + rows] = ((block < bound) if strict else (block <= bound)).sum(1)
    return counts
