"""Recognises scores that one perceptron has under several conditions, for the fused kernel of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.models.conditional import ConditionalModel, condition_of
from thermokern.models.conditional_mlp import ConditionalLayers, ConditionalMLP
from thermokern.models.score_model import ScoreModel
from thermokern.ops import MAX_GAP_DIM, MAX_GAP_FEATURES
from thermokern.ops.checks import PRECISIONS
from thermokern.ops.contexts import plain_precision
from thermokern.ops.mlp_score_divergence import MAX_LAYERS, MAX_WIDTH
from thermokern.ops.registry import has_kernels
from thermokern.processes import LinearProcess


@dataclass(frozen=True, eq=False)
class NetworkUnderConditions:
    """A perceptron under the conditions of each sample and of scores to compare with.

    Parameters
    ----------
    network : ConditionalMLP
    by_sample : bool
        Whether the first score goes with each sample's own condition.
    fixed : list of Tensor or None
        Conditions (1, …) of the other scores, or of the only one; None where the network takes none.
    """

    network: ConditionalMLP
    by_sample: bool
    fixed: list[Tensor | None]

    @property
    def numbers(self) -> Tensor:
        """A tensor of the precision and on the device of the network."""
        return self.network.enter.weight

    def layers_at(self, mean_scale: Tensor, root: Tensor, own: Sequence[Tensor]) -> ConditionalLayers:
        """At levels (n,) float64, under the samples' own conditions (n, …), one after the other, and the fixed."""
        like, given = self.numbers, [*own, *self.fixed]
        cast = [y if y is None else (y.to(like) if y.is_floating_point() else y.to(like.device)) for y in given]
        with torch.no_grad(), plain_precision():
            return self.network.layers_at(mean_scale.to(like.device), root.to(like.device), cast)


def network_under_conditions(
    first: object, second: object | None, process: LinearProcess, dim: int
) -> NetworkUnderConditions | None:
    """The network of both scores, or of one; None where they have none of a form that the kernel takes."""
    scores = [_under(score) for score in (first, *(() if second is None else (second,)))]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or len({id(score.network) for score in known}) > 1:
        return None
    network = known[0].network
    if not _fits(network, process, dim) or any(score.by_sample for score in known[1:]):
        return None
    fixed = [score.condition for score in known if not score.by_sample]
    takes_condition = bool(network.labels or len(network.condition_mean))
    if any((condition is None) is takes_condition for condition in fixed):
        return None
    return NetworkUnderConditions(network, known[0].by_sample, fixed)


@dataclass(frozen=True, eq=False)
class _Under:
    network: ConditionalMLP
    by_sample: bool
    condition: Tensor | None = None


def _under(score: object) -> _Under | None:
    """The network of a score, and the condition that it is under."""
    if not isinstance(score, ConditionalModel | ScoreModel) or type(score) not in (ConditionalModel, ScoreModel):
        return None  # a class of its own may compute something else
    if score.predicts != "epsilon":
        return None
    network, condition = condition_of(score.network)
    if type(network) is not ConditionalMLP:
        return None
    return _Under(network, isinstance(score, ConditionalModel), condition)


def _fits(network: ConditionalMLP, process: LinearProcess, dim: int) -> bool:
    weight = network.enter.weight
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    uniform = {parameter.dtype for parameter in network.parameters()} == {weight.dtype}
    return (
        network.process == process
        and len(network.mean) == dim <= MAX_GAP_DIM
        and len(weight) <= MAX_WIDTH
        and weight.shape[1] - dim <= MAX_GAP_FEATURES
        and 2 * len(network.inner) + 1 <= MAX_LAYERS
        and weight.dtype in PRECISIONS
        and uniform
        and not hooked
        and has_kernels(weight.device)
    )
