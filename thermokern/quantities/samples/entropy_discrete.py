"""Shannon entropy of a sample whose law is discrete."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.samples.inputs import sorted_mean
from thermokern.quantities.samples.result import EntropyEstimate

METHOD = "Shannon entropy of distinct points"


def miller_madow(occupied: int, n: int) -> float:
    """``(occupied − 1)/(2n)``, nats: what the entropy of n counts lies below that of the law, to leading order.

    References
    ----------
    Miller, *Note on the bias of information estimates*, 1955.
    """
    return (occupied - 1) / (2.0 * n)


def counted_entropy(counts: Tensor, n: int) -> tuple[Tensor, float, float]:
    """``−log(c/n)`` of every cell's count (m,), the mean of it over points, and its standard error; nats."""
    p = counts.double() / n
    local = -p.log()
    mean = (p * local).sum().item()
    variance = (p * (local - mean).square()).sum().item()
    return local, mean, math.sqrt(variance / n)


def shannon(x: Tensor, unit: str, size: float, settings: dict[str, Any]) -> EntropyEstimate:
    """``−Σ p log p`` over the distinct points of `x` (n, d), plus the Miller–Madow correction; not differential."""
    _, which, counts = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    n = len(x)
    cells, _, stderr = counted_entropy(counts.sort().values, n)
    del cells
    correction = miller_madow(len(counts), n)
    local = -(counts.double() / n).log()[which] + correction
    return EntropyEstimate(
        value=sorted_mean(local) / size,
        stderr=stderr / size,
        unit=unit,
        local=local / size,
        method=METHOD,
        settings={**settings, "distinct_points": len(counts)},
        bias=Estimate(math.nan, math.nan, unit),
        dim=x.shape[1],
    )
