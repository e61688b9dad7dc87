"""Recognises scores that one perceptron has under several conditions, for the fused kernel of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thermokern.models.conditional import ConditionalModel, condition_of
from thermokern.models.conditional_mlp import ConditionalLayers, ConditionalMLP
from thermokern.models.conditional_reading import ReadConditional
from thermokern.models.score_model import ScoreModel
from thermokern.models.trial import untouched
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
    network : ConditionalMLP or ReadConditional
    by_sample : bool
        Whether the first score goes with each sample's own condition.
    fixed : list of Tensor or None
        Conditions (1, …) of the other scores, or of the only one; None where the network takes none.
    """

    network: ConditionalMLP | ReadConditional
    by_sample: bool
    fixed: list[Tensor | None]

    def layers_at(self, t: Tensor, mean_scale: Tensor, root: Tensor, own: Sequence[Tensor]) -> ConditionalLayers:
        """At levels (n,) float64, under the samples' own conditions (n, …), one after the other, and the fixed.

        Raises
        ------
        NotFusable
            Where it turns out that the network is no such perceptron.
        """
        network = self.network
        like = network.numbers
        given = [_cast(y, like) for y in (*own, *self.fixed)]
        times, m, root_v = (level.to(like.device) for level in (t, mean_scale, root))
        below = network.network if isinstance(network, ReadConditional) else network
        with torch.no_grad(), plain_precision(), untouched(below):
            return network.layers_at(times, m, root_v, given)


def network_under_conditions(
    first: object, second: object | None, process: LinearProcess, dim: int
) -> NetworkUnderConditions | None:
    """The network of both scores, or of one; None where they have none of a form that the kernel takes.

    A network other than that of :func:`thermokern.fit_scores` is read when it is called, which may show that it is not
    of that form either.
    """
    scores = [_under(score) for score in (first, *(() if second is None else (second,)))]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or len({(id(score.network), score.predicts) for score in known}) > 1:
        return None
    if dim > MAX_GAP_DIM or any(score.by_sample for score in known[1:]):
        return None
    network, fixed = known[0].network, [score.condition for score in known if not score.by_sample]
    if type(network) is not ConditionalMLP:
        if not _readable(network) or any(score.process != process for score in known):
            return None
        return NetworkUnderConditions(
            ReadConditional(network, process, known[0].predicts, dim), known[0].by_sample, fixed
        )
    takes_condition = bool(network.labels or len(network.condition_mean))
    if known[0].predicts != "epsilon" or not _fits(network, process, dim):
        return None
    if any((condition is None) is takes_condition for condition in fixed):
        return None
    return NetworkUnderConditions(network, known[0].by_sample, fixed)


def _cast(condition: Tensor | None, like: Tensor) -> Tensor | None:
    if condition is None:
        return None
    return condition.to(like) if condition.is_floating_point() else condition.to(like.device)


@dataclass(frozen=True, eq=False)
class _Under:
    network: nn.Module
    process: LinearProcess
    predicts: str
    by_sample: bool
    condition: Tensor | None = None


def _under(score: object) -> _Under | None:
    """The network of a score, and the condition that it is under."""
    if not isinstance(score, ConditionalModel | ScoreModel) or type(score) not in (ConditionalModel, ScoreModel):
        return None  # a class of its own may compute something else
    network, condition = condition_of(score.network)
    if not isinstance(network, nn.Module) or getattr(network, "casts_itself", False):
        return None
    return _Under(network, score.process, score.predicts, isinstance(score, ConditionalModel), condition)


def _readable(network: nn.Module) -> bool:
    """Whether a network may be read: of one precision, on the CPU, nothing of it compiled."""
    kinds = {(parameter.dtype, parameter.device.type) for parameter in network.parameters()}
    compiled = any(module._compiled_call_impl is not None for module in network.modules())
    return len(kinds) == 1 and kinds <= {(dtype, "cpu") for dtype in PRECISIONS} and not compiled


def _fits(network: ConditionalMLP, process: LinearProcess, dim: int) -> bool:
    weight = network.enter.weight
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    uniform = {parameter.dtype for parameter in network.parameters()} == {weight.dtype}
    return (
        network.process == process
        and len(network.mean) == dim
        and len(weight) <= MAX_WIDTH
        and weight.shape[1] - dim <= MAX_GAP_FEATURES
        and 2 * len(network.inner) + 1 <= MAX_LAYERS
        and weight.dtype in PRECISIONS
        and uniform
        and not hooked
        and has_kernels(weight.device)
    )
