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
from thermokern.targets.own_times import law_score_at

_REVERSE = Jacobian("reverse", False)


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
        checked = out if isinstance(score, ScoreModel) else checked_output("model, reference", out, points)
        return checked.reshape(x.shape)


def examine_score(
    name: str, score: ScoreLike, process: LinearProcess, x: Tensor, t: float, shape: torch.Size, *, derivative: bool
) -> None:
    """Try a score on two of the points `x` (n, d) before much is asked of it, see :func:`examine`."""
    if not isinstance(score, Distribution):
        flat = partial(score_of, score, process, t=t, shape=shape)
        examine(name, flat, x, getattr(score, "network", score), derivative=derivative)


def score_at(score: ScoreLike, process: LinearProcess, x: Tensor, t: Tensor, shape: torch.Size) -> Tensor:
    """Score (n, d) at points `x` (n, d), each at its own time `t` (n,) float64.

    Networks, mixtures and empirical laws take all times in one call; any other score is called once for every time that
    occurs.
    """
    if isinstance(score, ScoreModel) and not score.one_time:
        with plain_precision():
            return score.at(x.reshape(-1, *shape), t).reshape(x.shape)
    if isinstance(score, Distribution):
        return law_score_at(score, x, t, process)
    out = torch.empty_like(x)
    times, which = torch.unique(t, return_inverse=True)
    for i, time in enumerate(times.tolist()):
        rows = (which == i).nonzero()[:, 0]
        out[rows] = score_of(score, process, x[rows], time, shape)
    return out


def rademacher(
    n: int, probes: int, dim: int, seed: int, path_offset: int, dtype: torch.dtype, first: int = 0
) -> Tensor:
    """Random signs (n, probes, dim), number `first` and those after it of each point's stream."""
    z = ops.normals(n, probes * dim, seed=seed, path_offset=path_offset, purpose="probe", first=first)
    return torch.where(z < 0.0, -1.0, 1.0).to(dtype).reshape(n, probes, dim)
