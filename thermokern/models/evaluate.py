"""Any score at given times: evaluated, with its divergence, exact or by Hutchinson's estimate."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models.jacobian import Jacobian, exact_divergence, products
from thermokern.models.score_model import ScoreLike, ScoreModel, checked_output
from thermokern.models.trial import examine
from thermokern.ops.contexts import plain_precision
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import Distribution
from thermokern.targets.mixture import GaussianMixture

_REVERSE = Jacobian("reverse", False)
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
    flat = partial(score_of, score, process, t=t, shape=shape)
    if probes is None:
        value, divergence = exact_divergence(flat, x)
        return value, divergence[:, None]
    with torch.no_grad():
        value, rows = products(lambda points, _: flat(points), x, None, probes.transpose(0, 1), _REVERSE)
        columns = [(row * probe).sum(1) for row, probe in zip(rows, probes.unbind(1), strict=True)]
    return value, torch.stack(columns, dim=1)


def score_of(score: ScoreLike, process: LinearProcess, x: Tensor, t: float, shape: torch.Size) -> Tensor:
    """Score (n, d) of points `x` (n, d) at one time: what quantities call, whatever precision their caller has set."""
    with plain_precision():
        if isinstance(score, Distribution):
            return score.score(x, t, process)
        points = x.reshape(-1, *shape)
        out = score(points, t)
        return (out if isinstance(score, ScoreModel) else checked_output("score", out, points)).reshape(x.shape)


def examine_score(
    name: str, score: ScoreLike, process: LinearProcess, x: Tensor, t: float, shape: torch.Size, *, derivative: bool
) -> None:
    """Try a score on two of the points `x` (n, d) before much is asked of it, see :func:`examine`."""
    if not isinstance(score, Distribution):
        flat = partial(score_of, score, process, t=t, shape=shape)
        examine(name, flat, x, getattr(score, "network", score), derivative=derivative)


def score_at(score: ScoreLike, process: LinearProcess, x: Tensor, t: Tensor, shape: torch.Size) -> Tensor:
    """Score (n, d) at points `x` (n, d), each at its own time `t` (n,) float64.

    Networks and mixtures of diagonal covariance take all times in one call; any other score is called once for every
    time that occurs.
    """
    if isinstance(score, ScoreModel) and not score.one_time:
        with plain_precision():
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
            out[rows] = score_of(score, process, x[rows], time, shape)
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
