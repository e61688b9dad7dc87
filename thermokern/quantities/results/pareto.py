"""How heavy the tail of a set of weights is: whether the variance of their average exists."""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNRELIABLE = 0.5  # of the shape, above which the weights have no variance
_FEWEST = 5  # weights of a tail that can be fitted


def pareto_shape(log_weights: Tensor) -> float:
    """Shape k̂ of a generalised Pareto law fitted to the largest weights ``e^{log_weights}`` of (n,).

    Weights whose tail has shape k have moments of order below 1/k only: from k = ½ on their average has an infinite
    variance, whatever its sample variance or the effective sample size say. The tail are the ``min(n/5, 3√n)`` largest
    weights; NaN where these are fewer than five, −∞ where they are all alike.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*, 2024, Sec. 3. Zhang and Stephens,
    *A new and efficient estimation method for the generalized Pareto distribution*, 2009, for the fit.
    """
    n = len(log_weights)
    size = min(n // 5, math.ceil(3.0 * math.sqrt(n)))
    if size < _FEWEST:
        return math.nan
    top = log_weights.detach().double().topk(size + 1).values  # descending
    weights = (top - top[0]).exp()
    excess = (weights[:-1] - weights[-1]).flip(0)  # over the largest weight that is not of the tail, ascending
    if not bool(excess[-1] > 0.0):
        return -math.inf
    return _zhang_stephens(excess)


def _zhang_stephens(excess: Tensor) -> float:
    """The posterior mean of the shape of ascending excesses (m,), shrunk towards ½ by ten observations' worth."""
    m = len(excess)
    count = 30 + math.isqrt(m)
    quartile = excess[max(0, int(m / 4 + 0.5) - 1)].clamp_min(torch.finfo(torch.float64).tiny)
    index = torch.arange(1, count + 1, dtype=torch.float64, device="cpu")
    theta = 1.0 / excess[-1] + (1.0 - (count / (index - 0.5)).sqrt()) / (3.0 * quartile)
    shape = torch.log1p(-theta[:, None] * excess).mean(1)  # the best shape k of each scale −k/theta
    profile = m * ((-theta / shape).log() - shape - 1.0)
    best = (theta * torch.softmax(profile, 0)).sum()
    fitted = torch.log1p(-best * excess).mean().item()
    return (m * fitted + 5.0) / (m + 10.0)
