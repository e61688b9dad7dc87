"""What a target is: a law of data whose score is known in closed form at every time of a process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import check_kind, checked_number
from thermokern.processes import LinearProcess

ArrayLike = (
    Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]] | float
)


class Distribution(ABC):
    """A law of data, diffused exactly by a process: score, divergence and log density at every time.

    Times are those of the process; ``t = 0`` is the data themselves.

    Attributes
    ----------
    dim : int
    """

    dim: int

    @abstractmethod
    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        """`n` points at data time, (n, d) float64. Point ``i`` depends on `seed` and ``path_offset + i`` alone."""

    @abstractmethod
    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        """Score (n, d), divergence (n,), log density (n,) at time `t`, in the dtype and on the device of `x` (n, d)."""

    @abstractmethod
    def entropy(self) -> float:
        """``−∫ p log p dx`` at data time, nats; a ValueError where it is not known."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What defines the law, for reports and saved results."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"

    def narrowest_variance(self) -> float:
        """The least variance along any direction of any part of the law, squared data units; 0 where it has edges."""
        return 0.0

    def widest_variance(self) -> float:
        """The largest variance along any direction of any part of the law, squared data units; 0 if it is bounded."""
        return 0.0

    def score(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``∇ log p_t(x)``, (n, d), nats per data unit."""
        return self.evaluate(x, t, process).score

    def divergence(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``∇·∇ log p_t(x)``, (n,), nats per squared data unit."""
        return self.evaluate(x, t, process).divergence

    def log_prob(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``log p_t(x)``, (n,), nats."""
        return self.evaluate(x, t, process).log_density


def transition(t: float, process: LinearProcess) -> tuple[float, float]:
    """``m`` and ``v`` of the transition from the data to time `t`; at t = 0 exactly 1 and 0."""
    check_kind("process", process, LinearProcess)
    t = checked_number("t", t, least=0.0, most=process.t_end)
    return (process.mean_scale(t), process.variance(t)) if t != 0.0 else (1.0, 0.0)
