"""Fields that jump in time, as networks of whole steps do whose time is rounded."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from thermokern.models import ScoreModel
from thermokern.ops.contexts import plain_precision
from thermokern.processes import DiscreteVP, LinearProcess

_TIMES = 16  # tried on a stretch of two whole times
_PLATEAUS = 4  # different values there at most of a field that jumps from one to the next


class JumpingFieldWarning(UserWarning):
    """A network whose output jumps between the whole times of its table."""


def warn_of_jumps(
    name: str, score: object, process: LinearProcess, x: Tensor, shape: torch.Size, times: Tensor | None = None
) -> None:
    """Where a network under a table of noise levels is constant in time but for jumps, seen at two points `x`.

    At `times` that are all whole it may jump; without them an equation of motion is meant, which needs all times.
    """
    if not isinstance(process, DiscreteVP) or not isinstance(score, ScoreModel) or not len(x):
        return
    if times is not None and bool((times == times.round()).all()):
        return
    points = x[:2].reshape(-1, *shape)
    middle = float(round(0.5 * process.t_end))
    # None of them is a whole time or half of one, where rounding could go either way.
    times = middle + (torch.arange(_TIMES, dtype=torch.float64, device="cpu") + 0.3) * (2.0 / _TIMES) - 1.0
    with plain_precision(), torch.no_grad():
        out = torch.stack([score.raw(points, torch.full((len(points),), t, device="cpu")) for t in times.tolist()])
    different = len(torch.unique(out.flatten(1), dim=0))
    if 1 < different <= _PLATEAUS:
        harm = (
            "an equation of motion takes thousands of steps over the jumps"
            if times is None
            else "between them it answers for a whole time nearby, whose noise is another"
        )
        warnings.warn(
            f"{name}: its output jumps between whole times, since time is rounded in it: {harm}. "
            "tk.from_ddpm(network, alphas_cumprod) interpolates between whole times",
            JumpingFieldWarning,
            stacklevel=3,
        )
