"""Velocity fields of flow matching as scores, whichever way their time runs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import checked_array, checked_integer, checked_seed
from thermokern.ops.contexts import plain_precision
from thermokern.processes import Flow

_TIMES = ("t", "time", "times", "timestep", "timesteps")
_CHECKED = 512  # data points at most that tell the direction of time


def from_flow(
    velocity: nn.Module | Callable[..., Tensor],
    *,
    data_at: int | None = 1,
    shape: tuple[int, ...] | None = None,
    data: Tensor | None = None,
    seed: int = 0,
) -> ScoreModel:
    """A velocity field trained by flow matching on straight paths between noise and data, as a score.

    With the data at t = 1, as flow_matching and torchcfm have them, ``x_t = t x_1 + (1 − t) ε`` and the velocity is
    ``E[x_1 − ε | x_t]``; with the data at t = 0, as rectified flows in diffusers have them, ``x_t = (1 − t) x_0 + t ε``
    and it is ``E[ε − x_0 | x_t]``. The process is :class:`Flow`, whose data are at t = 0: a field of the other
    direction becomes ``−v(x, 1 − t)``.

    Parameters
    ----------
    velocity : module or callable
        Of x (n, …) and t (n,), in whichever order the names of its arguments tell (``t`` or ``time`` first is
        torchcfm's order); returns the shape of x. Where the second has no such name: of x and t.
    data_at : {1, 0} or None
        Where on its own clock the data are; None finds out by `data`.
    shape : tuple of int, optional
        Of one sample; that of `data` where these are given.
    data : Tensor, optional
        (n, …) samples, some tens at least, that tell the direction of time: the field must predict ``x_1 − ε`` better
        with time running as `data_at` says than the other way. Of data that are alike to noise of unit variance the
        directions cannot be told apart, and none is preferred.
    seed : int
        Of the noise and the times of that comparison.

    Returns
    -------
    ScoreModel
        It predicts the flow.

    Raises
    ------
    ValueError
        When the data say that time runs the other way, or `data_at` and `data` are both missing.

    Notes
    -----
    Whether time was taken the wrong way cannot be seen without data: the field of either is as smooth, and its samples
    are noise of another kind. Cost of the check: two evaluations at up to 512 points.

    References
    ----------
    Lipman et al., *Flow matching for generative modeling*, 2023, Eq. 22–23; Liu, Gong and Liu, *Flow straight and fast:
    learning to generate and transfer data with rectified flow*, 2023, Eq. 1; Tong et al., *Improving and generalizing
    flow-based generative models with minibatch optimal transport*, 2024, Sec. 3.
    """
    if not callable(velocity):
        raise TypeError(f"velocity: expected a module or a callable of x and t, got {type(velocity).__name__}")
    if data_at is not None:
        data_at = checked_integer("data_at", data_at, 0, 2)
    if data_at is None and data is None:
        raise ValueError("data_at: expected 1 or 0, or data that tell; got neither")
    first = _time_comes_first(velocity)
    models = {at: ScoreModel(_Velocity(velocity, at, first), Flow(), "flow", shape) for at in (0, 1)}
    if data is not None:
        points = checked_array("data", data)
        if points.dim() < 2 or len(points) < 2:
            raise ValueError(f"data: expected samples (n, …), two at least, got {tuple(points.shape)}")
        shape = tuple(points.shape[1:]) if shape is None else shape
        found = _direction(models, points[:_CHECKED], checked_seed(seed)[0])
        if data_at is not None and found not in (data_at, None):
            raise ValueError(
                f"data_at: the field predicts the data's velocity better with the data at t = {found} than at "
                f"t = {data_at}; give data_at={found}"
            )
        if data_at is None and found is None:
            raise ValueError("data_at: the data do not tell which way time runs; give 1 or 0")
        data_at = found if data_at is None else data_at
    assert data_at is not None
    return ScoreModel(models[data_at].network, Flow(), "flow", shape, {"data_at": data_at})


def _direction(models: dict[int, ScoreModel], x0: Tensor, seed: int) -> int | None:
    """Where the data are: the direction whose paired loss is smaller by three standard errors; None if neither is."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x0.shape, dtype=torch.float64, generator=generator, device="cpu")
    t = 0.05 + 0.9 * torch.rand(len(x0), dtype=torch.float64, generator=generator, device="cpu")
    t_each = t.view(-1, *(1,) * (x0.dim() - 1))
    x = (1.0 - t_each) * x0 + t_each * noise
    losses = {}
    with torch.no_grad(), plain_precision():
        for at, model in models.items():
            miss = model.raw(x, t) - (noise - x0)
            losses[at] = miss.flatten(1).square().mean(1).cpu()
    difference = losses[0] - losses[1]
    error = difference.std().item() / math.sqrt(max(len(difference), 1))
    if not abs(difference.mean().item()) > 3.0 * error:
        return None
    return 1 if difference.mean().item() > 0.0 else 0


def _time_comes_first(velocity: nn.Module | Callable[..., Tensor]) -> bool:
    """Whether the names of the arguments say that time is the first of the two."""
    function = velocity.forward if isinstance(velocity, nn.Module) else velocity
    try:
        names = [*inspect.signature(function).parameters]
    except (TypeError, ValueError):
        return False
    return names[:1] != [] and names[0].lower() in _TIMES


class _Velocity(nn.Module):
    """A velocity on the clock of :class:`Flow`, whose data are at t = 0."""

    def __init__(self, velocity: nn.Module | Callable[..., Tensor], data_at: int, time_first: bool) -> None:
        super().__init__()
        self.velocity = velocity
        self.data_at, self.time_first = data_at, time_first
        self.casts_itself = not isinstance(velocity, nn.Module)
        self.training = getattr(velocity, "training", False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        own = 1.0 - t if self.data_at else t
        out: Tensor = self.velocity(own, x) if self.time_first else self.velocity(x, own)
        return -out if self.data_at else out
