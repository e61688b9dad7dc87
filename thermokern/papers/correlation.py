"""Correlation coefficients, with errors from resampled points or from what each point was estimated from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.quantities import Estimate
from thermokern.quantities.results.storage import stored

_RESAMPLES = 2000
_EXACT = 8  # points up to which all permutations are tried
_RANDOM = 20_000
_ROUNDING = 1e-12  # of a coefficient


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on along the last axis, float64; equal values share the mean of theirs."""
    values = values.contiguous()
    ordered = values.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return 0.5 * (below + up_to + 1).double()


def pearson_coefficient(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's coefficient along the last axis, float64; NaN where all values of one are equal."""
    first, second = (values.double() - values.double().mean(-1, keepdim=True) for values in (a, b))
    return (first * second).sum(-1) / (first.square().sum(-1) * second.square().sum(-1)).sqrt()


def spearman_coefficient(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's coefficient along the last axis: Pearson's of the ranks."""
    return pearson_coefficient(ranks(a), ranks(b))


def pearson(x: Tensor, y: Tensor) -> Estimate:
    """Pearson's coefficient of (n,) pairs and its bootstrap standard error over 2,000 resamples."""
    return _resampled(pearson_coefficient, x, y)


def spearman(x: Tensor, y: Tensor) -> Estimate:
    """Spearman's coefficient of (n,) pairs and its bootstrap standard error over 2,000 resamples."""
    return _resampled(spearman_coefficient, x, y)


def _resampled(coefficient: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Estimate:
    if x.shape != y.shape or x.dim() != 1 or len(x) < 3:
        raise ValueError(f"y: expected (n,) to match x, n at least 3, got {tuple(x.shape)} and {tuple(y.shape)}")
    choice = torch.randint(len(x), (_RESAMPLES, len(x)), generator=torch.Generator().manual_seed(0))
    resampled = coefficient(x[choice], y[choice])
    resampled = resampled[resampled.isfinite()]  # a resample of one pair alone has none
    return Estimate(coefficient(x, y).item(), resampled.std().item(), "")


def permutation_p_value(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """How often unrelated orders correlate as strongly, two-sided: over all permutations of up to 8, else 20,000."""
    n, found = len(a), spearman_coefficient(a, b).abs().item()
    if not math.isfinite(found):
        return math.nan
    if n <= _EXACT:
        orders = torch.tensor(list(itertools.permutations(range(n))))
    else:
        generator = torch.Generator().manual_seed(seed)
        orders = torch.rand(_RANDOM, n, generator=generator).argsort(1)
        orders[0] = torch.arange(n)  # the order found is one of them: never zero
    return (pearson_coefficient(ranks(a), ranks(b)[orders]).abs() >= found - _ROUNDING).double().mean().item()


@stored("rank-correlation")
@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ between two quantities along training.

    Attributes
    ----------
    rho : Estimate
        Its standard error is that of the quantities' own sampling (bootstrap over paths and points), not of the choice
        of checkpoints.
    p_value : float
        Two-sided, of the hypothesis that the orders are unrelated: over permutations.
    """

    rho: Estimate
    p_value: float


def bootstrap_correlation(
    first: Callable[[Tensor, Tensor], Tensor],
    second: Callable[[Tensor, Tensor], Tensor],
    *,
    n_paths: int,
    n_points: int,
    seed: int = 0,
    replicates: int = 500,
) -> RankCorrelation:
    """Correlation of two quantities that are estimated from paths and from points.

    Parameters
    ----------
    first, second : callable
        The quantities at each checkpoint, (checkpoints,), from indices of paths and of points.
    n_paths, n_points : int
    """
    generator = torch.Generator().manual_seed(seed)
    everything = torch.arange(n_paths), torch.arange(n_points)
    a, b = first(*everything), second(*everything)
    drawn = []
    for _ in range(replicates):
        paths = torch.randint(n_paths, (n_paths,), generator=generator)
        points = torch.randint(n_points, (n_points,), generator=generator)
        drawn.append(spearman_coefficient(first(paths, points), second(paths, points)))
    found = torch.stack(drawn)
    error = found.std().item() if (found - found[0]).abs().max() > _ROUNDING else 0.0
    return RankCorrelation(Estimate(spearman_coefficient(a, b).item(), error, ""), permutation_p_value(a, b, seed))
