"""Integrands of the scores that one perceptron has under several conditions, whose rates one kernel makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ConditionalModel, NetworkUnderConditions, ScoreLike, network_under_conditions
from thermokern.processes import LinearProcess
from thermokern.quantities.information.gaussian import FusedRates
from thermokern.quantities.information.integral import Data, Integrand
from thermokern.targets import ConditionalLaw


@dataclass(frozen=True)
class NetworkGap:
    """Rates of the differences between a perceptron's scores; with candidates, of one after the other.

    Parameters
    ----------
    network : NetworkUnderConditions
    std : float
        Of the reference that the difference of entropies is taken to, or a single score.
    columns : sequence of int
        Which of gap, loss and difference.
    candidates : bool
        Whether each sample has several conditions, (n, candidates, …).
    """

    network: NetworkUnderConditions
    std: float = 1.0
    columns: Sequence[int] = (0, 1, 2)
    candidates: bool = False

    def __call__(self, data: Data) -> Tensor:
        """Rates (n, columns or candidates) float64."""
        tried: list[Tensor] = []
        if self.network.by_sample:
            assert data.y is not None
            tried = list(data.y.unbind(1)) if self.candidates else [data.y]
        most = ops.MAX_GAP_CONDITIONS - len(self.network.fixed)
        groups = [tried[k : k + most] for k in range(0, len(tried), most)] or [[]]
        return torch.cat([self._rates(data, group) for group in groups], dim=1)

    def _rates(self, data: Data, own: list[Tensor]) -> Tensor:
        layers = self.network.layers_at(data.t, data.mean_scale, data.root, own)
        like = layers.enter

        def rows(numbers: Tensor) -> Tensor:
            return numbers.to(like).T.contiguous()

        out = ops.mlp_gap(
            rows(data.x - layers.centre.to(data.x)),
            layers.weights,
            layers.biases,
            layers.activation,
            layers.context,
            layers.level,
            layers.condition,
            like,
            layers.scale,
            layers.skip,
            layers.centre,
            data.mean_scale.to(like),
            data.root.to(like),
            residual=layers.residual,
            reference=self.std**2,
            noise=rows(data.noise),
        )
        return out[list(self.columns)].flatten(0, 1).T.to("cpu", torch.float64)


def network_rates(
    plain: Integrand,
    first: ScoreLike | ConditionalModel | ConditionalLaw,
    second: ScoreLike | None,
    process: LinearProcess,
    shape: torch.Size,
    columns: Sequence[int],
    std: float = 1.0,
    candidates: bool = False,
) -> Integrand:
    """`plain`, beside it the kernel where both scores, or the only one, are one perceptron's, see NetworkGap."""
    network = network_under_conditions(first, second, process, shape.numel())
    return plain if network is None else FusedRates(plain, [NetworkGap(network, std, columns, candidates)])
