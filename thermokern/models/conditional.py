"""Any network with a condition for each sample as a conditional score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thermokern.models.evaluate import score_at
from thermokern.models.score_model import ScoreLike, ScoreModel, check_model, described_model
from thermokern.ops.checks import checked_shape
from thermokern.ops.contexts import plain_precision
from thermokern.processes import LinearProcess
from thermokern.targets import ConditionalLaw


class ConditionalModel(nn.Module):
    """A network ``network(x, t, y)`` read as the score of ``p_t(x|y)``, with a condition for each sample.

    A module itself, as :class:`ScoreModel` is.

    Parameters
    ----------
    network : module or callable
        Receives x (n, …), t (n,) and y (n, …): floating-point conditions in x's dtype, labels as int64. What it returns
        is read as :class:`ScoreModel` reads it, precision and device included.
    process : LinearProcess
        The process that the network was trained for.
    predicts : str
        See :class:`ScoreModel`.
    null : number or Tensor, optional
        The condition that stands for none, as the network was trained with: a label, or a tensor of the shape of one y.
        None where there is no such condition.
    shape : tuple of int, optional
        Of one sample.
    origin : dict, optional
        As in :class:`ScoreModel`.

    References
    ----------
    Ho and Salimans, *Classifier-free diffusion guidance*, 2021, Algorithm 1 (the null condition).
    """

    network: nn.Module | Callable[[Tensor, Tensor, Tensor], Tensor]

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor, Tensor, Tensor], Tensor],
        process: LinearProcess,
        predicts: str = "score",
        null: Tensor | float | None = None,
        shape: tuple[int, ...] | None = None,
        origin: dict[str, object] | None = None,
    ) -> None:
        super().__init__()
        check_model(network, process, predicts, "(x, t, y) -> tensor")
        self.network, self.process, self.predicts, self.null = network, process, predicts, null
        self.shape = checked_shape(shape)
        self.origin: dict[str, object] = {} if origin is None else origin
        self.training = getattr(network, "training", False)

    def __repr__(self) -> str:
        return described_model(self, self.predicts, self.shape)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """As :meth:`at`."""
        return self.at(x, t, y)

    def at(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Score (n, …) of each point at its own time `t` (n,) float64 and under its own condition `y` (n, …)."""
        if len(y) != len(x):
            raise ValueError(f"y: expected one condition for each of the {len(x)} points of x, got {len(y)}")
        return self._under(y).at(x, t)

    def given(self, y: Tensor | float) -> ScoreModel:
        """The model under one condition for all samples: a label, a number or a tensor of one condition's shape."""
        condition = y if isinstance(y, Tensor) else torch.as_tensor(y, device="cpu")
        return self._under(condition[None])

    @property
    def unconditional(self) -> ScoreModel:
        """The model under its null condition."""
        if self.null is None:
            raise ValueError("null: this model has no null condition; pass the unconditional score as well")
        return self.given(self.null)

    def check_conditions(self, y: Tensor) -> None:
        """Raise a ValueError where conditions (n, …) of data are none that the network takes, or stand for none."""
        _check_by(self.network, y)
        if self.null is None:
            return
        null = torch.as_tensor(self.null, device="cpu")
        if (y.is_floating_point() or null.dim()) and null.shape != y.shape[1:]:
            raise ValueError(
                f"y, null: expected one condition's shape, got {tuple(y.shape[1:])} and {tuple(null.shape)}"
            )
        if not y.is_floating_point() and y.dim() == 1 and null.dim() == 0 and bool((y == null).any()):
            raise ValueError(f"y: {null.item()} is the model's null condition, which is no label of data")

    def guided(self, weight: float) -> ConditionalModel:
        """``(1 + w) s(x|y) − w s(x)`` for each sample's own y, see :func:`thermokern.guided`."""
        guided = GuidedByCondition(self, self.unconditional, float(weight), self.process)
        return ConditionalModel(guided, self.process, "score", None, self.shape, self.origin)

    def _under(self, y: Tensor) -> ScoreModel:
        _check_by(self.network, y)
        return ScoreModel(_Given(self.network, y), self.process, self.predicts, self.shape, self.origin)


def _check_by(network: object, y: Tensor) -> None:
    """Where a network knows its conditions, raise unless `y` (n, …) are such."""
    check = getattr(network, "check_conditions", None)
    if check is not None:
        check(y)


@plain_precision()
def conditional_score_at(
    conditional: ConditionalModel | ConditionalLaw,
    process: LinearProcess,
    x: Tensor,
    t: Tensor,
    y: Tensor,
    shape: torch.Size,
) -> Tensor:
    """Conditional score (n, d) at points `x` (n, d), each at its own `t` (n,) float64 and with its own `y` (n, …)."""
    if isinstance(conditional, ConditionalLaw):
        return conditional.score_at(x, t, y, process)
    return conditional.at(x.reshape(-1, *shape), t, y).reshape(x.shape)


class _Given(nn.Module):
    """A network of x and t under conditions that are given: (n, …) or, for all samples, (1, …)."""

    def __init__(self, network: nn.Module | Callable[[Tensor, Tensor, Tensor], Tensor], y: Tensor) -> None:
        super().__init__()
        self.network = network
        self.y = y
        # A function, or a network that minds dtype and device itself, gets what the caller has.
        self.casts_itself = getattr(network, "casts_itself", not isinstance(network, nn.Module))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.y.to(x) if self.y.is_floating_point() else self.y.to(x.device, torch.int64)
        out: Tensor = self.network(x, t, y.expand(len(x), *y.shape[1:]))
        return out


def condition_of(network: object) -> tuple[object, Tensor | None]:
    """A network below the condition (1, …) that is given to it for all samples; None: no such condition."""
    if isinstance(network, _Given) and len(network.y) == 1:
        return network.network, network.y
    return network, None


class GuidedByCondition(nn.Module):
    """``(1 + w) s(x|y) − w s(x)`` as a network of x, t and y, in the networks' own precision."""

    casts_itself = True

    def __init__(
        self,
        conditional: ConditionalModel | ConditionalLaw,
        unconditional: ScoreLike,
        weight: float,
        process: LinearProcess,
    ) -> None:
        super().__init__()
        self.conditional, self.unconditional = conditional, unconditional
        self.weight, self.process = weight, process

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        flat, shape = x.reshape(len(x), -1), x.shape[1:]
        one = conditional_score_at(self.conditional, self.process, flat, t.double(), y, shape)
        other = score_at(self.unconditional, self.process, flat, t.double(), shape)
        return ((1.0 + self.weight) * one - self.weight * other).reshape(x.shape)
