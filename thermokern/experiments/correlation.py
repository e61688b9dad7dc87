"""Correlation coefficients with bootstrap errors."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern.quantities import Estimate

_RESAMPLES = 2000


def pearson(x: Tensor, y: Tensor) -> Estimate:
    """Pearson's coefficient of (n,) pairs and its bootstrap standard error over 2,000 resamples."""
    return _bootstrapped(x, y)


def spearman(x: Tensor, y: Tensor) -> Estimate:
    """Spearman's coefficient: Pearson's of the ranks, equal values sharing their mean rank."""
    return _bootstrapped(x, y, ranked=True)


def _bootstrapped(x: Tensor, y: Tensor, ranked: bool = False) -> Estimate:
    if x.shape != y.shape or x.dim() != 1 or len(x) < 3:
        raise ValueError(f"y: expected (n,) as x has it, n at least 3, got {tuple(x.shape)} and {tuple(y.shape)}")
    pairs = torch.stack([x, y]).double()  # (2, n)
    n = pairs.shape[1]
    choice = torch.randint(n, (_RESAMPLES, n), generator=torch.Generator().manual_seed(0))
    samples = torch.cat([pairs[:, None], pairs[:, choice]], dim=1)  # (2, 1 + resamples, n)
    if ranked:
        samples = _ranks(samples)
    centred = samples - samples.mean(-1, keepdim=True)
    spread = centred.square().sum(-1).sqrt()  # (2, 1 + resamples)
    coefficients = (centred[0] * centred[1]).sum(-1) / (spread[0] * spread[1])
    resampled = coefficients[1:][coefficients[1:].isfinite()]  # a resample of one pair alone has none
    return Estimate(coefficients[0].item(), resampled.std().item(), "")


def _ranks(values: Tensor) -> Tensor:
    """Ranks along the last axis, from 0, in the dtype of `values`."""
    ordered = values.sort(dim=-1).values
    below = torch.searchsorted(ordered, values.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return 0.5 * (below + up_to - 1).to(values)
