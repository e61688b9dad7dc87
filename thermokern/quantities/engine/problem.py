"""What every calculation asks: of which score, at which points, with whose random numbers; checked here, once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermokern._info import instruction_set, special_products
from thermokern.models import ScoreLike, ScoreModel, one_process
from thermokern.ops.checks import (
    DEVICES,
    MAX_DIM,
    MOST,
    array_of,
    check_finite,
    checked_choice,
    checked_integer,
    checked_seed,
)
from thermokern.processes import DiscreteVP, LinearProcess, checked_times
from thermokern.targets import Distribution

DIVERGENCES = ("auto", "exact", "hutchinson")
DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Problem:
    """A score, the points at which something is asked of it, and the random numbers of each; all of it checked.

    Attributes
    ----------
    model : Distribution, ScoreModel or callable ``(x, t) -> score``
    process : LinearProcess
    points : Tensor
        (n, d) float64 on the CPU: data, at t = 0.
    shape : torch.Size
        The shape of one point as the model takes it; its numbers are d.
    seed, path_offset : int
        Point ``i`` has the random numbers of path ``path_offset + i``.
    """

    model: ScoreLike
    process: LinearProcess
    points: Tensor
    shape: torch.Size
    seed: int
    path_offset: int

    @property
    def dim(self) -> int:
        """D."""
        return self.points.shape[1]

    def settings(self, dtype: torch.dtype) -> dict[str, Any]:
        """What every result says of how it was made, ready for :mod:`json`."""
        return {
            "model": describe(self.model),
            "process": repr(self.process),
            "seed": self.seed,
            "path_offset": self.path_offset,
            "dtype": str(dtype)[6:],
            "torch": str(torch.__version__),
            "instruction_set": instruction_set(),
            **special_products(),
        }


def problem_at(
    model: ScoreLike,
    process: LinearProcess | None,
    points: tuple[Tensor, torch.Size],
    seed: int,
    path_offset: int,
) -> Problem:
    """The question put to a model at points from :func:`checked_data` or :func:`drawn`."""
    process = one_process(process, model=model)
    data, shape = points
    check_dim("model", model, shape)
    return Problem(model, process, data, shape, *checked_seed(seed, path_offset))


def check_dim(name: str, score: ScoreLike, shape: torch.Size) -> None:
    """Raise if a score is that of a law in other dimensions than points of this shape have."""
    if isinstance(score, Distribution) and score.dim != shape.numel():
        raise ValueError(f"{name}: expected dimension {shape.numel()} to match the points, got {score.dim}")


def checked_data(name: str, x: Tensor | np.ndarray) -> tuple[Tensor, torch.Size]:
    """Points (n, d) float64 on the CPU, and the shape of one as it was given."""
    if not isinstance(x, Tensor | np.ndarray | list | tuple):
        remedy = "; give points of it, as sample(n) draws them" if isinstance(x, Distribution) else ""
        raise TypeError(f"{name}: expected points (n, …), got {type(x).__name__}{remedy}")
    points = array_of(name, x)
    if points.dim() < 2 or 0 in points.shape[1:]:
        raise ValueError(f"{name}: expected points (n, …), got {tuple(points.shape)}")
    if points.device.type not in DEVICES:
        raise ValueError(f"{name}: expected real numbers on cpu or cuda, got {points.dtype} on {points.device}")
    if points.requires_grad:
        raise ValueError(f"{name}: requires a gradient, which this quantity does not give: use {name}.detach()")
    shape = points.shape[1:]
    points = points.flatten(1).to("cpu", torch.float64)
    check_finite(**{name: points})
    return points, shape


def drawn(law: Distribution, n_paths: int | None, seed: int, path_offset: int) -> tuple[Tensor, torch.Size]:
    """`n_paths` points (n, d) float64 of a law, and the shape of one."""
    seed, path_offset = checked_seed(seed, path_offset)
    return law.sample(checked_integer("n_paths", n_paths, 0, MOST), seed, path_offset), torch.Size([law.dim])


def blank(n_paths: int | None, *scores: ScoreLike) -> tuple[Tensor, torch.Size]:
    """Zeros (n, d) float64 in the place of data, and the shape of a point as the first score that knows has it."""
    n = checked_integer("n_paths", n_paths, 0, MOST)
    for score in scores:
        shape = (score.dim,) if isinstance(score, Distribution) else getattr(score, "shape", None)
        if shape is not None:
            return torch.zeros(n, math.prod(shape), dtype=torch.float64, device="cpu"), torch.Size(shape)
    raise ValueError(
        "model: neither score knows the shape of a point; pass it, as in ScoreModel(..., shape=(3, 32, 32))"
    )


def describe(score: ScoreLike) -> dict[str, Any]:
    """What a score is, ready for :mod:`json`."""
    if isinstance(score, Distribution):
        return score.settings()
    if isinstance(score, ScoreModel):
        network = type(score.network).__name__
        return {"kind": "ScoreModel", "network": network, "predicts": score.predicts, **score.origin}
    return {"kind": getattr(score, "__name__", type(score).__name__)}


def grid_of(
    process: LinearProcess,
    n_steps: int | None,
    t_eps: float | None,
    spacing: str | None,
    times: Tensor | Sequence[float] | None,
    even: bool = False,
) -> Tensor:
    """The nodes of a calculation, (n_nodes,) float64: `times` as they are, or the process's grid.

    `even`: of a table of steps, where no spacing is given, whole times that are spread evenly.
    """
    if times is None:
        default = min(DEFAULT_STEPS, int(process.t_end) - 1) if isinstance(process, DiscreteVP) else DEFAULT_STEPS
        count = default if n_steps is None else n_steps
        if even and spacing is None and isinstance(process, DiscreteVP):
            return process.even_grid(count, t_eps)
        return process.grid(count, t_eps, spacing)
    if any(other is not None for other in (n_steps, t_eps, spacing)):
        raise ValueError("times: expected either times or n_steps, t_eps and spacing, got both")
    grid = checked_times(times)
    if not grid[0].item() > 0.0 or grid[-1].item() > process.t_end:
        raise ValueError(f"times: expected times in (0, {process.t_end:g}], got {grid[0]:g} to {grid[-1]:g}")
    return grid


def first_time(process: LinearProcess) -> float:
    """Where likelihoods begin when not told: 1e-5, or the process's own first time where it has one."""
    return process.default_t_eps if process.default_t_eps != LinearProcess.default_t_eps else 1e-5


def probes_of(divergence: str, probes: int, model: ScoreLike, dim: int) -> int:
    """Hutchinson's probes of each point; 0 where the divergence is exact, as it is of every distribution."""
    checked_choice("divergence", divergence, DIVERGENCES)
    probes = checked_integer("probes", probes, 1, MOST)
    exact = divergence == "exact" or isinstance(model, Distribution) or (divergence == "auto" and dim <= MAX_DIM)
    return 0 if exact else probes


def own_dtype(model: ScoreLike, by_reference: bool) -> torch.dtype:
    """float64, but for a network that PyTorch runs: its own."""
    if by_reference and isinstance(model, ScoreModel) and isinstance(model.network, torch.nn.Module):
        parameter = next(model.network.parameters(), torch.empty(0, dtype=torch.float64, device="cpu"))
        return parameter.dtype if parameter.dtype == torch.float32 else torch.float64
    return torch.float64


def check_prior(prior: Distribution | None, dim: int) -> None:
    """Raise unless `prior` is left out or is a law in `dim` dimensions."""
    if prior is not None and (not isinstance(prior, Distribution) or prior.dim != dim):
        raise TypeError(f"prior: expected a distribution in {dim} dimensions")


def log_prior(process: LinearProcess, prior: Distribution | None, dim: int, x: Tensor) -> Tensor:
    """Log density (n,) of the law that a model starts from, at x (n, d): `prior`'s own at t_end, or the process's."""
    if prior is not None:
        return prior.log_prob(x, process.t_end, process)
    variance = process.prior(dim).variance[0].item()
    return -0.5 * (x.square().sum(1) / variance + dim * math.log(2.0 * math.pi * variance))
