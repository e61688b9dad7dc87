"""Any network as a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thermokern.processes import LinearProcess

PREDICTIONS = ("score", "epsilon")


@dataclass(frozen=True)
class ScoreModel:
    """A network ``network(x, t)`` read as a score: ``s = output_scale(t) · network(x, t) + skip(t) · x``.

    Parameters
    ----------
    network : module or callable
        Receives x (n, …) and t (n,), of x's dtype, in process time; returns a tensor of x's shape.
    process : LinearProcess
        The process that the network was trained for.
    predicts : {"score", "epsilon"}
        ``score``: the output is the score. ``epsilon``: the noise, ``s = −out/√v(t)``.

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, App. B.
    """

    network: nn.Module | Callable[[Tensor, Tensor], Tensor]
    process: LinearProcess
    predicts: str = "score"

    def __post_init__(self) -> None:
        if not callable(self.network):
            raise TypeError(f"network: expected a callable (x, t) -> tensor, got {type(self.network).__name__}")
        if not isinstance(self.process, LinearProcess):
            raise TypeError(f"process: expected a process such as VP(), got {type(self.process).__name__}")
        if self.predicts not in PREDICTIONS:
            raise ValueError(f"predicts: expected one of {PREDICTIONS}, got {self.predicts!r}")

    def output_scale(self, t: Tensor) -> Tensor:
        """Factor of the network's output at times `t`, same shape."""
        return -1.0 / self.process.variance(t).sqrt() if self.predicts == "epsilon" else torch.ones_like(t)

    def skip(self, t: Tensor) -> Tensor:
        """Factor of ``x`` at times `t`, same shape."""
        return torch.zeros_like(t)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Score at one time for all points, (n, …) as `x`."""
        time = torch.tensor(t, dtype=torch.float64)
        out = self.network(x, torch.full((x.shape[0],), t, dtype=x.dtype, device=x.device))
        if not isinstance(out, Tensor) or out.shape != x.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"network: expected an output of the shape of x, {tuple(x.shape)}, got {got}")
        if out.dtype != x.dtype:
            raise ValueError(f"network: expected an output of the dtype of x, {x.dtype}, got {out.dtype}")
        return self.output_scale(time).item() * out + self.skip(time).item() * x
