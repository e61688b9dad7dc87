"""Any score at given times: evaluated, with its divergence, exact or by Hutchinson's estimate."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models.jacobian import exact_divergence
from thermokern.models.score_model import ScoreLike, ScoreModel
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import Distribution
from thermokern.targets.mixture import GaussianMixture

_BLOCK = 2**18  # numbers (points × components × d) that PyTorch holds at once in each intermediate


def score_and_divergence(
    score: ScoreLike, process: LinearProcess, x: Tensor, t: float, shape: torch.Size, probes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Score (n, d) and divergence (n, p) at points `x` (n, d) and one time.

    Parameters
    ----------
    shape : torch.Size
        Of one point as a network takes it; its numbers are d.
    probes : Tensor or None
        (n, p, d) of ±1: ``p`` estimates ``e·∂(s·e)/∂x`` of the divergence for each point. None: the exact one, p = 1.
        Distributions always give the exact one.
    """
    if isinstance(score, Distribution):
        out = score.evaluate(x, t, process)
        return out.score, out.divergence[:, None]
    function = score

    def flat(points: Tensor) -> Tensor:
        return function(points.reshape(-1, *shape), t).reshape(points.shape)

    if probes is None:
        value, divergence = exact_divergence(flat, x)
        return value, divergence[:, None]
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        value = flat(leaf)
        columns = []
        for j in range(probes.shape[1]):
            probe = probes[:, j]
            if not value.requires_grad:
                columns.append(torch.zeros_like(x[:, 0]))
                continue
            (row,) = torch.autograd.grad(value, leaf, probe, retain_graph=j + 1 < probes.shape[1], allow_unused=True)
            columns.append(torch.zeros_like(x[:, 0]) if row is None else (row * probe).sum(1))
    return value.detach(), torch.stack(columns, dim=1).detach()


def score_at(score: ScoreLike, process: LinearProcess, x: Tensor, t: Tensor, shape: torch.Size) -> Tensor:
    """Score (n, d) at points `x` (n, d), each at its own time `t` (n,) float64.

    Networks and mixtures of diagonal covariance take all times in one call; any other score is called once for every
    time that occurs.
    """
    if isinstance(score, ScoreModel) and not score.one_time:
        return score.at(x.reshape(-1, *shape), t).reshape(x.shape)
    if isinstance(score, GaussianMixture) and score.eigenvectors is None:
        return _mixture_at(score, x, process.mean_scale(t), process.variance(t))
    out = torch.empty_like(x)
    times, which = torch.unique(t, return_inverse=True)
    for i, time in enumerate(times.tolist()):
        rows = (which == i).nonzero()[:, 0]
        if isinstance(score, Distribution):
            out[rows] = score.score(x[rows], time, process)
        else:
            out[rows] = score(x[rows].reshape(-1, *shape), time).reshape(len(rows), -1)
    return out


def _mixture_at(mixture: GaussianMixture, x: Tensor, m: Tensor, v: Tensor) -> Tensor:
    parts = []
    for low in range(0, len(x), size := max(1, _BLOCK // mixture.means.numel())):
        rows = slice(low, low + size)
        scale, added = m[rows, None, None], v[rows, None, None]
        means, variances = scale * mixture.means, scale.square() * mixture.eigenvalues + added  # (block, K, d)
        parts.append(ops.mixture_score_reference(x[rows], means, variances, mixture.weights).score)
    return torch.cat(parts) if parts else torch.empty_like(x)


def rademacher(
    n: int, probes: int, dim: int, seed: int, path_offset: int, dtype: torch.dtype, first: int = 0
) -> Tensor:
    """Random signs (n, probes, dim), number `first` and those after it of each point's stream."""
    z = ops.normals(n, probes * dim, seed=seed, path_offset=path_offset, purpose="probe", first=first)
    return torch.where(z < 0.0, -1.0, 1.0).to(dtype).reshape(n, probes, dim)
