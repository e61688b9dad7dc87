"""Rank correlations of a few points, with errors from what each point was estimated from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from thermokern.quantities.estimate import Estimate
from thermokern.quantities.storage import stored

_EXACT = 8  # points up to which all permutations are tried
_RANDOM = 20_000


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on, (…, n) float64 as `values`; equal values share the mean of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below.double() + 0.5 * (equal + 1).double()


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation along the last axis; NaN where all values of one are equal."""
    first, second = (ranks(values) - 0.5 * (values.shape[-1] + 1) for values in (a, b))
    return (first * second).sum(-1) / (first.square().sum(-1) * second.square().sum(-1)).sqrt()


def permutation_p_value(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """How often unrelated orders correlate as strongly, two-sided: over all permutations of up to 8, else 20,000."""
    n, found = len(a), spearman(a, b).abs().item()
    if not math.isfinite(found):
        return math.nan
    if n <= _EXACT:
        orders = torch.tensor(list(itertools.permutations(range(n))))
    else:
        generator = torch.Generator().manual_seed(seed)
        orders = torch.rand(_RANDOM, n, generator=generator).argsort(1)
        orders[0] = torch.arange(n)  # the order found is one of them: never zero
    first, second = (ranks(values) - 0.5 * (n + 1) for values in (a, b))
    scale = (first.square().sum() * second.square().sum()).sqrt()
    return (((second[orders] @ first) / scale).abs() >= found - 1e-12).double().mean().item()


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

    def to_json(self) -> dict[str, Any]:
        """Ready for :mod:`json`."""
        return asdict(self)


def bootstrap_correlation(
    both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    n_paths: int,
    n_points: int,
    *,
    seed: int = 0,
    replicates: int = 200,
) -> RankCorrelation:
    """Correlation of two quantities that are estimated from paths and from points.

    Parameters
    ----------
    both : callable
        From indices of paths and of points, both quantities at each checkpoint, (checkpoints,) each.
    n_paths, n_points : int
    """
    generator = torch.Generator().manual_seed(seed)
    a, b = both(torch.arange(n_paths), torch.arange(n_points))
    drawn = []
    for _ in range(replicates):
        paths = torch.randint(n_paths, (n_paths,), generator=generator)
        points = torch.randint(n_points, (n_points,), generator=generator)
        drawn.append(spearman(*both(paths, points)))
    error = torch.stack(drawn).std().item()
    return RankCorrelation(Estimate(spearman(a, b).item(), error, ""), permutation_p_value(a, b, seed))
