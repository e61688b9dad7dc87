"""TAEP and coverage as metrics of torchmetrics, which Lightning logs and reduces over processes.

Needs ``thermokern[torchmetrics]``.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike
from thermokern.processes import LinearProcess
from thermokern.quantities import FewPathsWarning, StepTooLongWarning, coverage, taep

try:
    from torchmetrics import Metric
except ImportError:
    raise ImportError(
        "thermokern.metrics: torchmetrics is not installed: pip install 'thermokern[torchmetrics]'"
    ) from None

__all__ = ["CoverageMetric", "TAEPMetric"]
_RANK_STRIDE = 2**40  # paths that a process can draw before it meets the noise of the next


class TAEPMetric(Metric):
    """The mean TAEP of a model at the data points of an epoch: ``update(x0)`` for each batch, then ``compute()``.

    Each path has its own noise, over batches and processes. The network is used for evaluation, and left in the mode it
    was in.

    Parameters
    ----------
    model, reference, process
        As in :func:`thermokern.taep`.
    seed : int
    options
        Of :func:`thermokern.taep`: ``n_steps``, ``spacing`` and so on.

    Notes
    -----
    ``compute`` returns a dictionary of scalars: ``taep``, ``taep_stderr``, ``taep_variance``, ``exp_average`` (of
    ``e^{∓Δs}``), ``exp_average_stderr``, all NaN of too few paths. The sums of a process are added to those of others,
    so the result does not depend on how the data were dealt out, up to rounding; noise does depend on it.
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False
    n: Tensor
    total: Tensor
    squares: Tensor
    weights: Tensor
    weight_squares: Tensor

    def __init__(
        self,
        model: ScoreLike,
        reference: ScoreLike,
        process: LinearProcess | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        # Behind a tuple: the metric must not move, copy or save the network.
        self._scores, self._process, self._seed, self._options = (model, reference), process, seed, options
        for name in ("n", "total", "squares", "weights", "weight_squares"):
            self.add_state(name, torch.zeros((), dtype=torch.float64, device="cpu"), dist_reduce_fx="sum")

    def update(self, x0: Tensor) -> None:
        """Follow a path from each point of a batch (n, …)."""
        model, reference = self._scores
        network = getattr(model, "network", None)
        training = isinstance(network, torch.nn.Module) and network.training
        rank = torch.distributed.get_rank() if _distributed() else 0
        offset = rank * _RANK_STRIDE + int(self.n)
        if training:
            network.eval()  # type: ignore[union-attr]
        try:
            with warnings.catch_warnings():
                for kind in (FewPathsWarning, StepTooLongWarning):  # of a batch; compute says what is known of all
                    warnings.simplefilter("ignore", kind)
                result = taep(
                    model,
                    reference,
                    self._process,
                    x0=x0.detach(),
                    seed=self._seed,
                    path_offset=offset,
                    **self._options,
                )
        finally:
            if training:
                network.train()  # type: ignore[union-attr]
        values = result.values.double()
        moments = ops.moments(values)
        weights = (result.sign * values).exp()
        self.n += moments.n
        self.total += moments.mean * moments.n
        self.squares += values.square().sum().to(self.squares)
        self.weights += weights.sum().to(self.weights)
        self.weight_squares += weights.square().sum().to(self.weight_squares)

    def compute(self) -> dict[str, Tensor]:
        """The averages over all points so far."""
        n = self.n.item()
        mean, variance = _moments(n, self.total.item(), self.squares.item())
        average, spread = _moments(n, self.weights.item(), self.weight_squares.item())
        found = {
            "taep": mean,
            "taep_stderr": math.sqrt(variance / n) if n > 1 else math.nan,
            "taep_variance": variance,
            "exp_average": average,
            "exp_average_stderr": math.sqrt(spread / n) if n > 1 else math.nan,
        }
        return {name: torch.tensor(value, dtype=torch.float64, device=self.n.device) for name, value in found.items()}


class CoverageMetric(Metric):
    """Coverage, density, precision and recall of generated samples: ``update(x, real=True)``, then ``compute()``.

    Parameters
    ----------
    k : int
        Neighbours, see :func:`thermokern.coverage`.

    Notes
    -----
    Points are kept until ``reset``, flattened; ``compute`` returns a dictionary of scalars.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.k = k
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, x: Tensor, real: bool) -> None:
        """Keep a batch of points (n, …), real or generated."""
        (self.real if real else self.generated).append(x.detach().flatten(1))

    def compute(self) -> dict[str, Tensor]:
        """The four shares of all points so far."""
        x, y = (torch.cat([*part]) if isinstance(part, list) else part for part in (self.real, self.generated))
        found = coverage(x.cpu(), y.cpu(), k=self.k).named()
        return {
            name: torch.tensor(estimate.value, dtype=torch.float64, device="cpu") for name, estimate in found.items()
        }


def _moments(n: float, total: float, squares: float) -> tuple[float, float]:
    """Mean and unbiased variance from sums."""
    if not n:
        return math.nan, math.nan
    mean = total / n
    return mean, max(squares - n * mean * mean, 0.0) / (n - 1) if n > 1 else math.nan


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
