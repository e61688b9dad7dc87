"""Scores of laws at points that each have a time of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern import ops
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import Distribution
from thermokern.targets.empirical import Empirical, equal_mixture_score_at
from thermokern.targets.full_covariance import full_mixture_score
from thermokern.targets.mixture import GaussianMixture

_BLOCK = 2**18  # numbers (points × components × d) that PyTorch holds at once in each intermediate


def law_score_at(law: Distribution, x: Tensor, t: Tensor, process: LinearProcess) -> Tensor:
    """``∇ log p_t(x)`` of each point at its own time, (n, d) in the dtype of `x`.

    Parameters
    ----------
    law : Distribution
        Mixtures of Gaussians and empirical laws take all times at once; any other is called once for every time that
        occurs.
    x : Tensor
        (n, d).
    t : Tensor
        (n,) float64, of `process`.
    """
    if isinstance(law, GaussianMixture):
        return _mixture_at(law, x, process.mean_scale(t), process.variance(t))
    if isinstance(law, Empirical):
        points = law.points_on(x.device)
        return equal_mixture_score_at(x, points, process.mean_scale(t), process.variance(t), law.memory_budget)
    out = torch.empty_like(x)
    times, which = torch.unique(t, return_inverse=True)
    for i, time in enumerate(times.tolist()):
        rows = (which == i).nonzero()[:, 0]
        out[rows] = law.score(x[rows], time, process)
    return out


def _mixture_at(mixture: GaussianMixture, x: Tensor, m: Tensor, v: Tensor) -> Tensor:
    parts = []
    m, v, centres, eigenvalues = (each.to(x.device) for each in (m, v, mixture.means, mixture.eigenvalues))
    for low in range(0, len(x), size := max(1, _BLOCK // mixture.means.numel())):
        rows = slice(low, low + size)
        scale, added = m[rows, None, None], v[rows, None, None]
        means, variances = scale * centres, scale.square() * eigenvalues + added  # (block, K, d)
        if mixture.eigenvectors is None:
            parts.append(ops.mixture_score_reference(x[rows], means, variances, mixture.weights).score)
        else:
            basis, weights = mixture.eigenvectors, mixture.weights
            parts.append(full_mixture_score(x[rows], means, variances, basis, weights).score)
    return torch.cat(parts) if parts else torch.empty_like(x)
