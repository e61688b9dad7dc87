"""Any perceptron of x, t and a condition as layers of the kernel of information, read while it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thermokern import ops
from thermokern.models.conditional_mlp import ConditionalLayers
from thermokern.models.fusion import read_network
from thermokern.models.node_rows import NodeRows
from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import NotFusable
from thermokern.ops.mlp_gap import network_output
from thermokern.ops.mlp_score_divergence import MAX_LAYERS
from thermokern.processes import LinearProcess

_TRIED = 8  # points at which what was read is compared with the network itself, at the first call
_MOST_FEATURES = 64  # of more, PyTorch makes a layer's share as fast as they get into the kernel


class ReadConditional:
    """A perceptron ``network(x, t)`` or ``network(x, t, y)`` under several conditions at once.

    Parameters
    ----------
    network : module
        On the CPU, with parameters of one precision.
    process : LinearProcess
    predicts : str
        See :class:`ScoreModel`.
    dim : int
    """

    def __init__(self, network: nn.Module, process: LinearProcess, predicts: str, dim: int) -> None:
        self.network, self.dim = network, dim
        self.scaled = ScoreModel(network, process, predicts)
        self._tried = False

    @property
    def numbers(self) -> Tensor:
        """A tensor of the precision and on the device of the network."""
        return next(self.network.parameters())

    def layers_at(
        self, t: Tensor, mean_scale: Tensor, root: Tensor, conditions: Sequence[Tensor | None]
    ) -> ConditionalLayers:
        """The network at times `t` (n,) under each of the conditions (n, …) or (1, …), as layers of ``√v s``.

        Raises
        ------
        NotFusable
            With the reason.
        """
        times, n = t.to(self.numbers), len(t)
        given = [() if y is None else (y.expand(n, *y.shape[1:]),) for y in conditions]
        graphs = [read_network(self.network, times, self.dim, *y) for y in given]
        (known, out), *others = graphs
        weights = [*known.weights, out.weight]
        if len(known.weights) > MAX_LAYERS:
            raise NotFusable(f"the kernels take at most {MAX_LAYERS} hidden layers, not {len(known.weights)}")
        for those, end in others:
            same = len(those.weights) == len(known.weights) and those.activation == known.activation
            if not same or not all(map(torch.equal, weights, [*those.weights, end.weight])):
                raise NotFusable("its matrices depend on the condition")
            if not (_equal(end.scale, out.scale) and _equal(end.x_scale, out.x_scale)):
                raise NotFusable("a factor of its output depends on the condition")
        rows = [[*those.biases, end.bias] for those, end in graphs]
        level, condition, context = _features(rows, n)
        output = root * self.scaled.output_scale(t)
        skip = root * self.scaled.skip(t) + (0.0 if out.x_scale is None else output * out.x_scale)

        def by_axis(factor: Tensor) -> Tensor:
            return factor.to(times).expand(self.dim, n)

        layers = ConditionalLayers(
            weights=[weight.to(times) for weight in weights],
            biases=[each.constant.to(times) for each in rows[0]],
            activation=known.activation or "",
            context=[matrix.to(times) for matrix in context],
            level=level.to(times).T,
            condition=condition.to(times).transpose(1, 2),
            residual=False,
            centre=times.new_zeros(self.dim),
            enter=times.new_ones(self.dim, n),
            scale=by_axis(output if out.scale is None else output * out.scale),
            skip=by_axis(skip),
        )
        if not self._tried:
            self._try(layers, times, output, root * self.scaled.skip(t), given)
            self._tried = True
        return layers

    def _try(
        self, layers: ConditionalLayers, times: Tensor, output: Tensor, skip: Tensor, given: Sequence[tuple[Any, ...]]
    ) -> None:
        """Compare with the network itself, in case its forward goes another way for an abstract x."""
        few = slice(0, _TRIED)
        x = 2.0 * ops.normals(len(times[few]), self.dim, purpose="probe", dtype=times.dtype)
        for condition, y in zip(layers.condition, given, strict=True):
            features = torch.cat([layers.level, condition])[:, few]
            value = network_output(
                x.T, layers.weights, layers.biases, layers.activation, layers.context, features, layers.residual
            )
            found = layers.scale[:, few] * value + layers.skip[:, few] * x.T
            known = output[few] * self.network(x, times[few], *(part[few] for part in y)).T + skip[few] * x.T
            error = (found - known).abs().max().item()
            if not error <= 1e-3 * (1.0 + known.abs().max().item()):
                raise NotFusable(f"what was read does not reproduce the network's output (off by {error:.2g})")


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _features(rows: list[list[NodeRows]], n: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Features (n, ·) that all conditions share, those of each (conditions, n, ·), and each layer's matrix of both."""
    kinds: dict[int, tuple[Tensor, ...]] = {}  # by the first condition's features: those under all
    for first, *others in zip(*rows, strict=True):
        for other in others:
            alike = len(other.parts) == len(first.parts) and torch.equal(other.constant, first.constant)
            pairs = zip(other.parts, first.parts, strict=False)
            if not alike or not all(torch.equal(one, matrix) for (one, _), (matrix, _) in pairs):
                raise NotFusable("how the condition enters depends on the condition")
        for parts in zip(first.parts, *(other.parts for other in others), strict=True):
            under_all = tuple(features for _, features in parts)
            known = kinds.setdefault(id(under_all[0]), under_all)
            if any(one is not other for one, other in zip(known, under_all, strict=True)):
                raise NotFusable("what the layers see depends on the condition")
    shared = [key for key, several in kinds.items() if all(torch.equal(several[0], other) for other in several[1:])]
    own = [key for key in kinds if key not in shared]
    total = sum(several[0].shape[1] for several in kinds.values())
    if total > _MOST_FEATURES:
        raise NotFusable(f"level and condition enter by {total} numbers, of which the kernel takes {_MOST_FEATURES}")
    context = []
    for rows_of_layer in rows[0]:
        matrices = {id(features): matrix for matrix, features in rows_of_layer.parts}
        sizes = [(len(rows_of_layer.constant), kinds[key][0].shape[1]) for key in (*shared, *own)]
        blank = [rows_of_layer.constant.new_zeros(size) for size in sizes]
        wide = [matrices.get(key, zeros) for key, zeros in zip((*shared, *own), blank, strict=True)]
        context.append(torch.cat(wide, dim=1) if matrices else rows_of_layer.constant[:, None][:, :0])
    none = rows[0][0].constant.new_zeros(n, 0)
    level = torch.cat([none, *(kinds[key][0] for key in shared)], dim=1)
    condition = torch.stack([torch.cat([none, *(kinds[key][c] for key in own)], dim=1) for c in range(len(rows))])
    return level, condition, context
