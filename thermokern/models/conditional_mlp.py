"""The perceptron that :func:`thermokern.fit_scores` trains: residual, preconditioned, with and without a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from thermokern.ops.checks import check_labels, described
from thermokern.processes import LinearProcess

_FREQUENCIES = (0.2, 0.4, 0.8, 1.6)  # of λ = ln(m²/v), which runs over some 25


@dataclass(frozen=True, eq=False)
class FitHistory:
    """How a training went. Losses are ``E|ε̂ − ε|²/d`` over the levels that training uses.

    Attributes
    ----------
    step : Tensor
        (k,) int64.
    training, validation, validation_null : Tensor
        (k,) float64: the mean since the last step, that of held-out points with their conditions, and without.
    held_out : Tensor
        Rows of the data that were not trained on: those to estimate information with.
    """

    step: Tensor
    training: Tensor
    validation: Tensor
    validation_null: Tensor
    held_out: Tensor


class ConditionalLayers(NamedTuple):
    """A perceptron at points of given noise levels, under conditions, as :func:`thermokern.ops.mlp_gap` has it.

    In the precision of the network.
    """

    weights: list[Tensor]  # (out, in)
    biases: list[Tensor]  # (out,)
    activation: str
    context: list[Tensor]  # (out, level's features + condition's), or (out, 0)
    level: Tensor  # (features, n)
    condition: Tensor  # (conditions, features, n)
    residual: bool
    centre: Tensor  # (d,)
    enter: Tensor  # (d, n)
    scale: Tensor  # (d, n)
    skip: Tensor  # (d, n)


class ConditionalMLP(nn.Module):
    """The noise in x, ``ε̂ = √v (x − m μ)/(m²σ² + v) + m σ/√(m²σ² + v) F(x, λ, y)``, F a residual perceptron.

    The first term is that of a Gaussian of the data's mean μ and standard deviations σ; what is left to F has variance
    one at every noise level. F sees ``(x − m μ)/√(m²σ² + v)``, the level and the condition; the latter two enter every
    block.

    Parameters
    ----------
    process : LinearProcess
    mean, std : Tensor
        (d,) of the data.
    labels : int
        Number of labels, whose null is that number; 0 where conditions are no labels.
    condition : tuple of Tensor, optional
        (d_y,) mean and standard deviation of conditions that are numbers, whose null is NaN.
    width, depth : int
        Units, and residual blocks.
    """

    mean: Tensor
    std: Tensor
    frequencies: Tensor
    condition_mean: Tensor
    condition_std: Tensor
    history: FitHistory | None = None

    def __init__(
        self,
        process: LinearProcess,
        mean: Tensor,
        std: Tensor,
        *,
        labels: int = 0,
        condition: tuple[Tensor, Tensor] | None = None,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__()
        dim = len(mean)
        centre, scale = (torch.zeros(0), torch.ones(0)) if condition is None else condition
        self.process, self.labels = process, labels
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())
        self.register_buffer("frequencies", torch.tensor(_FREQUENCIES))
        self.register_buffer("condition_mean", centre.float())
        self.register_buffer("condition_std", scale.float())
        seen = 1 + 2 * len(_FREQUENCIES)
        seen += labels + 1 if labels else (len(centre) + 1 if len(centre) else 0)
        self.enter = nn.Linear(dim + seen, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.level = nn.ModuleList(nn.Linear(seen, width) for _ in range(depth))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.leave = nn.Linear(width, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """``x`` (n, d), ``t`` (n,) and conditions (n,) of labels or (n, d_y) to ``ε̂`` (n, d)."""
        time = t.double()
        m, v = (value.to(x)[:, None] for value in (self.process.mean_scale(time), self.process.variance(time)))
        spread = (m.square() * self.std.square() + v).sqrt()  # (n, d)
        z = (x - m * self.mean) / spread
        seen = self._seen(self.process.log_snr(time).to(x), y)
        h = self.enter(torch.cat([z, seen], dim=1))
        for inner, level, outer in zip(self.inner, self.level, self.outer, strict=True):
            h = h + outer(nn.functional.silu(inner(nn.functional.silu(h)) + level(seen)))
        correction = self.leave(nn.functional.silu(h))
        out: Tensor = v.sqrt() * z / spread + m * self.std / spread * correction
        return out

    def check_conditions(self, y: Tensor) -> None:
        """Raise a ValueError where conditions (n, …) are none that the network was trained with, nor its null."""
        width = len(self.condition_mean)
        if self.labels:
            check_labels("y", y, self.labels + 1, ", of which the last stands for none")
        elif y.shape[1:] != (width,) and not (width == 1 and y.dim() == 1 and y.is_floating_point()):
            raise ValueError(f"y: expected numbers (n, {width}) as in training, got {described(y)}")

    @property
    def numbers(self) -> Tensor:
        """A tensor of the network's precision, on its device."""
        return self.enter.weight

    def layers_at(
        self, _: Tensor, mean_scale: Tensor, root: Tensor, conditions: Sequence[Tensor | None]
    ) -> ConditionalLayers:
        """The network at levels m and √v (n,), under each of the conditions (n, …) or (1, …), as layers of ``−ε̂``."""
        weight, dim = self.enter.weight, len(self.mean)
        log_snr = 2.0 * (mean_scale / root).log()
        m, root = mean_scale.to(weight), root.to(weight)
        spread = (m * self.std[:, None]).square().add_(root.square()).sqrt_()  # (d, n)
        enter = spread.reciprocal()
        weights, context = [weight[:, :dim]], [weight[:, dim:]]
        biases: list[Tensor] = [self.enter.bias]
        for inner, level, outer in zip(self.inner, self.level, self.outer, strict=True):
            assert isinstance(inner, nn.Linear)
            assert isinstance(level, nn.Linear)
            assert isinstance(outer, nn.Linear)
            weights += [inner.weight, outer.weight]
            biases += [inner.bias + level.bias, outer.bias]
            context += [level.weight, level.weight[:, :0]]
        given = [self._condition(y, weight).T.expand(-1, len(m)) for y in conditions]
        return ConditionalLayers(
            weights=[*weights, self.leave.weight],
            biases=[*biases, self.leave.bias],
            activation="silu",
            context=[*context, self.leave.weight[:, :0]],
            level=self._level(log_snr.to(weight)).T,
            condition=torch.stack(given),
            residual=True,
            centre=self.mean,
            enter=enter,
            scale=enter * m * -self.std[:, None],
            skip=enter.square() * -root,
        )

    def _seen(self, log_snr: Tensor, y: Tensor | None) -> Tensor:
        """Noise level and condition as features."""
        return torch.cat([self._level(log_snr), self._condition(y, log_snr).expand(len(log_snr), -1)], dim=1)

    def _level(self, log_snr: Tensor) -> Tensor:
        angles = log_snr[:, None] * self.frequencies
        return torch.cat([0.1 * log_snr[:, None], angles.sin(), angles.cos()], dim=1)

    def _condition(self, y: Tensor | None, like: Tensor) -> Tensor:
        if self.labels:
            assert y is not None
            return nn.functional.one_hot(y, self.labels + 1).to(like)
        if len(self.condition_mean):
            assert y is not None
            y = y[:, None] if y.dim() == 1 else y
            absent = y.isnan().any(1, keepdim=True)
            scaled = (y - self.condition_mean) / self.condition_std
            return torch.cat([torch.where(absent, 0.0, scaled), absent.to(like)], dim=1)
        return like.new_empty(1, 0)
