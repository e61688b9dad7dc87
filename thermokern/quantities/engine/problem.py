"""What every calculation asks: which process, which points, which precision; checked once, in one wording."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ScoreModel
from thermokern.ops.checks import check_finite
from thermokern.processes import LinearProcess
from thermokern.targets import Distribution

ScoreLike = Distribution | ScoreModel | Callable[[Tensor, float], Tensor]

DIVERGENCES = ("auto", "exact", "hutchinson")


def describe(score: ScoreLike) -> dict[str, Any]:
    """What a score is, ready for :mod:`json`."""
    if isinstance(score, Distribution):
        return score.settings()
    if isinstance(score, ScoreModel):
        return {"kind": "ScoreModel", "network": type(score.network).__name__, "predicts": score.predicts}
    return {"kind": getattr(score, "__name__", type(score).__name__)}


def one_process(process: LinearProcess | None, *scores: ScoreLike) -> LinearProcess:
    """The process that is given or that the models carry, once it is known to be one and the same."""
    found = [process] if process is not None else []
    found += [score.process for score in scores if isinstance(score, ScoreModel)]
    if not found:
        raise ValueError("process: neither the model nor the reference carries one; give, say, VP()")
    for other in found:
        if not isinstance(other, LinearProcess):
            raise TypeError(f"process: expected a process such as VP(), got {type(other).__name__}")
        if other != found[0]:
            raise ValueError(f"process: {found[0]} and {other} differ")
    return found[0]


def first_time(process: LinearProcess) -> float:
    """Where likelihoods begin when not told: 1e-5, or the process's own first time where it has one."""
    return process.default_t_eps if process.default_t_eps != LinearProcess.default_t_eps else 1e-5


def points_of(model: ScoreLike, x: Tensor | np.ndarray) -> tuple[Tensor, torch.Size]:
    """Points (n, d) float64, and the shape of one as the model takes it."""
    points = torch.as_tensor(x)
    if points.dim() < 2 or 0 in points.shape[1:]:
        raise ValueError(f"x: expected (n, d) or (n, …), got {tuple(points.shape)}")
    if points.device.type != "cpu":
        raise ValueError(f"x: expected a tensor on the cpu, got {points.device}")
    if points.requires_grad:
        raise ValueError("x: requires a gradient, which log_likelihood does not give: use x.detach()")
    shape = points.shape[1:]
    points = points.flatten(1).to(torch.float64)
    check_finite(x=points)
    if isinstance(model, Distribution) and (model.dim != points.shape[1] or len(shape) != 1):
        raise ValueError(f"x: expected (n, {model.dim}) as the model has it, got {tuple(torch.as_tensor(x).shape)}")
    return points, shape


def own_dtype(model: ScoreLike, by_reference: bool) -> torch.dtype:
    """float64, but for a network that PyTorch runs: its own."""
    if by_reference and isinstance(model, ScoreModel) and isinstance(model.network, torch.nn.Module):
        parameter = next(model.network.parameters(), torch.empty(0, dtype=torch.float64))
        return parameter.dtype if parameter.dtype == torch.float32 else torch.float64
    return torch.float64


def log_prior(process: LinearProcess, prior: Distribution | None, dim: int, x: Tensor) -> Tensor:
    """Log density (n,) of the law that a model starts from, at x (n, d): `prior`'s own at t_end, or the process's."""
    if prior is not None:
        return prior.log_prob(x, process.t_end, process)
    variance = process.prior(dim).variance[0].item()
    return -0.5 * (x.square().sum(1) / variance + dim * math.log(2.0 * math.pi * variance))
