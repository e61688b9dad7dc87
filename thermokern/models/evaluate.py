"""Any score at given times: evaluated, with its divergence, exact or by Hutchinson's estimate."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models.jacobian import exact_divergence
from thermokern.models.score_model import ScoreLike, ScoreModel
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import Distribution
from thermokern.targets.own_times import law_score_at


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

    Networks, mixtures and empirical laws take all times in one call; any other score is called once for every time that
    occurs.
    """
    if isinstance(score, ScoreModel) and not score.one_time:
        return score.at(x.reshape(-1, *shape), t).reshape(x.shape)
    if isinstance(score, Distribution):
        return law_score_at(score, x, t, process)
    out = torch.empty_like(x)
    times, which = torch.unique(t, return_inverse=True)
    for i, time in enumerate(times.tolist()):
        rows = (which == i).nonzero()[:, 0]
        out[rows] = score(x[rows].reshape(-1, *shape), time).reshape(len(rows), -1)
    return out


def rademacher(
    n: int, probes: int, dim: int, seed: int, path_offset: int, dtype: torch.dtype, first: int = 0
) -> Tensor:
    """Random signs (n, probes, dim), number `first` and those after it of each point's stream."""
    z = ops.normals(n, probes * dim, seed=seed, path_offset=path_offset, purpose="probe", first=first)
    return torch.where(z < 0.0, -1.0, 1.0).to(dtype).reshape(n, probes, dim)
