"""What a conditional law is: a law of x for every y, with exact scores, and the law of both together."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from thermokern.processes import LinearProcess
from thermokern.targets.distribution import Distribution


class ConditionalLaw(ABC):
    """The joint law of data x and a condition y, with the exact scores of ``p_t(x)`` and ``p_t(x|y)``.

    Attributes
    ----------
    dim : int
        Of x.
    """

    dim: int

    @property
    @abstractmethod
    def marginal(self) -> Distribution:
        """The law of x alone."""

    @abstractmethod
    def given(self, y: Tensor | float) -> Distribution:
        """The law of x for one y."""

    @abstractmethod
    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> tuple[Tensor, Tensor]:
        """`n` pairs: x (n, d) float64, and y. Pair ``i`` depends on `seed` and ``path_offset + i`` alone."""

    @abstractmethod
    def score_at(self, x: Tensor, t: Tensor, y: Tensor, process: LinearProcess) -> Tensor:
        """``∇_x log p_t(x|y)``, (n, d): each point at its own time `t` (n,) float64 and with its own `y` (n, …)."""

    @abstractmethod
    def check_conditions(self, y: Tensor) -> None:
        """Raise a ValueError where conditions (n, …) are none of this law's."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What defines the law, for reports and saved results."""
