"""Networks that were trained on the whole steps of a table of noise levels, as scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import checked_integer
from thermokern.processes import DDPM, DiscreteVP

_WHOLE = 1e-3  # distance from a whole step that counts as rounding


def from_ddpm(
    network: nn.Module | Callable[[Tensor, Tensor], Tensor],
    alphas_cumprod: Sequence[float] | np.ndarray | Tensor | None = None,
    *,
    betas: Sequence[float] | np.ndarray | Tensor | None = None,
    predicts: str = "epsilon",
    shape: tuple[int, ...] | None = None,
    first_step: int = 0,
) -> ScoreModel:
    """A network ``network(x, k)`` of a whole step k, int64, as training loops of DDPM have it, as a score.

    Between two whole steps, where the network was not trained, what it predicts is interpolated linearly in time: a
    network with a table of embeddings has no value there, and rounding k makes a field that jumps, of which equations
    of motion must take thousands of steps. At whole steps, which grids of :class:`DiscreteVP` have unless they are told
    otherwise, the network is evaluated once and is itself.

    Parameters
    ----------
    network : module or callable
        Of x (n, …) and k (n,) int64; returns the shape of x.
    alphas_cumprod, betas : sequence, array or Tensor
        (N,); exactly one of them, as in training. See :func:`DDPM`.
    predicts : str
        See :class:`ScoreModel`.
    shape : tuple of int, optional
        Of one sample.
    first_step : int
        What the training loop called the first step of the table: 0, or 1.

    Returns
    -------
    ScoreModel

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    Cost: one evaluation for each point at whole steps, two between them.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 4 and Algorithm 1.
    """
    process = DDPM(alphas_cumprod, betas=betas)
    first_step = checked_integer("first_step", first_step, 0)
    if not callable(network):
        raise TypeError(f"network: expected a callable (x, k) -> tensor, got {type(network).__name__}")
    return ScoreModel(WholeSteps(network, process, first_step), process, predicts, shape, {"first_step": first_step})


class WholeSteps(nn.Module):
    """A network of whole steps as one of process time, linear between them; below the first step it is constant."""

    def __init__(
        self, network: nn.Module | Callable[[Tensor, Tensor], Tensor], process: DiscreteVP, first_step: int
    ) -> None:
        super().__init__()
        self.network, self.first_step, self.count = network, first_step, len(process.alphas_cumprod)
        self.casts_itself = not isinstance(network, nn.Module)
        self.training = getattr(network, "training", False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """``x`` (n, …) and ``t`` (n,) in process time, of which step k has k + 1."""
        steps = (t - 1.0).clamp(0.0, self.count - 1.0)
        near = steps.round()
        if bool(((steps - near).abs() <= _WHOLE).all()):
            return self._at(x, near)
        low = steps.floor()
        share = (steps - low).view(-1, *(1,) * (x.dim() - 1)).to(x)
        return torch.lerp(self._at(x, low), self._at(x, (low + 1.0).clamp_max(self.count - 1.0)), share)

    def _at(self, x: Tensor, steps: Tensor) -> Tensor:
        out: Tensor = self.network(x, steps.long() + self.first_step)
        return out
