"""The search and the error behind mutual information and total correlation by nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermokern.ops import KDTree
from thermokern.quantities.samples.densities import open_by_ties
from thermokern.quantities.samples.errors_by_jackknife import excess
from thermokern.quantities.samples.inputs import digamma, random_order

# Points from which the standard error is worked out at most, by all pairs, and pairs held at once.
ERROR_POINTS = 8192
_PAIRS = 2**22


# Points at which ties are counted, at most.
_TIED_POINTS = 2048


class Marginals(NamedTuple):
    """For each group of columns, the digammas' arguments, (n,) int64, and the radii within which they count, (n,)."""

    counts: list[Tensor]  # n_j + 1 (variant 1) or n_j (variant 2)
    radii: list[Tensor]
    indices: Tensor  # (n, k) int64, each point's neighbours in all columns
    left_open: float  # nats, half of what ties leave open; NaN where it was not asked for


def search(
    joint: Tensor,
    widths: Sequence[int],
    k: int,
    variant: int,
    device: torch.device | str = "cpu",
    *,
    ties: bool = False,
) -> Marginals:
    """Count neighbours in groups of `widths` columns of `joint` (n, d), on a device; what is found is on the CPU.

    `ties`: whether to count equal distances too, in all columns and in each group.
    """
    tree = KDTree(joint.to(device))
    found = tree.neighbours(k, p=math.inf, indices=True)
    distances, indices = found[0].cpu(), found[1].cpu()
    radius = distances[:, k - 1]
    zero = int((radius == 0).sum())
    if zero:
        raise ValueError(
            f"x: {zero} of {len(joint)} points coincide with {k} others in all their coordinates, where a density has "
            "no two points alike. Remedies: jitter=h where the data were rounded to steps of h; for a discrete law, "
            "count its values instead"
        )
    counts, radii = [], []
    left_open = math.nan
    if ties:
        at = random_order(joint)[:_TIED_POINTS]
        left_open = _open(tree, joint[at], radius[at], device, torch.zeros(len(at), device="cpu"))
    for group in torch.split(joint, list(widths), dim=1):
        own = group.contiguous()
        reach = radius
        if variant == 2:
            reach = torch.zeros_like(radius)
            for column in range(k):
                reach = torch.maximum(reach, (own - own[indices[:, column]]).abs().amax(1))
        there = own.to(device)
        axes = KDTree(there)
        # The point itself is among them.
        within = axes.count_within(there, reach.to(device), p=math.inf, strict=variant == 1).cpu()
        counts.append(within if variant == 1 else within - 1)
        radii.append(reach)
        if ties:
            left_open += _open(axes, own[at], reach[at], device)
    return Marginals(counts, radii, indices, left_open)


def _open(tree: KDTree, x: Tensor, radius: Tensor, device: torch.device | str, zero: Tensor | None = None) -> float:
    """What ties leave open in the counts within `radius` of points `x` (m, d) of the tree, those at `zero` too."""

    def others(reach: Tensor, strict: bool) -> Tensor:
        there = x.to(device)
        found: Tensor = tree.count_within(there, reach.to(there), p=math.inf, strict=strict).cpu()
        return (found - 1).clamp_min(0)  # but for the point itself, which is not nearer than 0

    return open_by_ties(others(radius, True), others(radius, False), None if zero is None else others(zero, False))


def local_terms(found: Marginals, k: int, variant: int) -> Tensor:
    """``ψ(k) + (g − 1) ψ(n) − Σ_j ψ(count_j)``, less ``(g − 1)/k`` for variant 2, of each point: (n,) float64, nats."""
    n, more = len(found.indices), len(found.counts) - 1
    constant = (digamma(k) + more * digamma(n)).item() - (more / k if variant == 2 else 0.0)
    table = digamma(torch.arange(1, n + 1, device="cpu"))  # ψ(1) … ψ(n)
    total = torch.zeros(n, dtype=torch.float64, device="cpu")
    for count in found.counts:
        total = total + table[count - 1]
    return constant - total


def standard_error(
    joint: Tensor, widths: Sequence[int], k: int, variant: int, seed: int, device: torch.device
) -> float:
    """Standard error of the mean of :func:`local_terms`, nats.

    By the jackknife: what point i takes along when it goes. Its own term; ``1/n_j`` from every point j within whose
    radius it lies in a group, since ψ(n_j + 1) − ψ(n_j) = 1/n_j; and 1/k, on average, given back by each of the m_i
    points that have it among their k nearest, whose radius grows. The variance of ``local_i − Σ_groups Σ_j 1/n_j +
    m_i/k`` is too large by the e(d, k) of :mod:`thermokern.quantities.samples.errors_by_jackknife`, as that of the
    entropy of all columns is: radii of single groups hold many points, which smooths them. Variant 2, whose boxes are
    not cubes, has half of that excess, as measured on independent normals (``benchmarks/calibration.py`` holds both
    against samples). What is left is divided by n. From at most ERROR_POINTS random points.
    """
    n = len(joint)
    if n < 3:
        return math.nan
    part = joint[random_order(joint, seed)[:ERROR_POINTS]].contiguous()
    size = len(part)
    if size <= k:
        return math.nan
    found = search(part, widths, k, variant, device)
    terms = local_terms(found, k, variant) + torch.bincount(found.indices.reshape(-1), minlength=size).double() / k
    for group, radius in zip(torch.split(part, list(widths), dim=1), found.radii, strict=True):
        terms = terms - _taken_along(group.contiguous(), radius, strict=variant == 1)
    # Half the digammas' noise is kept whatever the table says: a variance is not negative.
    spread = terms.sort().values.var().item()
    least = 0.5 * torch.special.polygamma(1, torch.tensor(float(k), dtype=torch.float64, device="cpu")).item()
    counted_twice = excess(joint.shape[1], k) * (1.0 if variant == 1 else 0.5)
    return math.sqrt(max(spread - counted_twice, least) / n)


def _taken_along(x: Tensor, radius: Tensor, strict: bool) -> Tensor:
    """``Σ_j 1/n_j`` over the points j that have point i within their radius, n_j how many they have: (n,) float64."""
    n, dim = x.shape
    total = np.zeros(n)
    rows = max(1, _PAIRS // n)
    for low in range(0, n, rows):
        block = torch.zeros(min(rows, n - low), n, dtype=x.dtype, device="cpu")
        for column in range(dim):
            block = torch.maximum(block, (x[low : low + rows, column, None] - x[None, :, column]).abs())
        bound = radius[low : low + rows, None]
        within = (block < bound) if strict else (block <= bound)
        own = torch.arange(len(block), device="cpu")
        within[own, low + own] = False
        share = 1.0 / within.sum(1).clamp_min(1).double()
        # Not BLAS, whose order of sums goes with the number of threads.
        total += np.einsum("i,ij->j", share.numpy(), within.double().numpy())
    return torch.from_numpy(total)
