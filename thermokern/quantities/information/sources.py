"""Where data come from: a law, which gives new points for ever, or points that recur."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from thermokern.ops.checks import array_of, check_finite
from thermokern.targets import ConditionalLaw, Distribution


class Draws(NamedTuple):
    """Data for evaluations."""

    x: Tensor  # (n, d) float64
    y: Tensor | None  # (n, …)
    number: Tensor | None  # (n,) int64, which data point, where points can recur


class Source(Protocol):
    """Data of one shape."""

    shape: torch.Size

    def draw(self, n: int, offset: int) -> Draws:
        """Data of evaluations `offset` … `offset + n`."""


class LawSource:
    """New points of a law for every evaluation."""

    def __init__(self, law: Distribution | ConditionalLaw, seed: int) -> None:
        self.law, self.seed = law, seed
        self.shape = torch.Size([law.dim])

    def draw(self, n: int, offset: int) -> Draws:
        """Data of evaluations `offset` … `offset + n`."""
        sample: Callable[[int, int, int], Any] = getattr(self.law, "sample_together", self.law.sample)
        if isinstance(self.law, ConditionalLaw):
            x, y = sample(n, self.seed, offset)
            return Draws(x, y, None)
        return Draws(sample(n, self.seed, offset), None, None)


class PointSource:
    """Points that are given, each used as often as the others; in every run of as many evaluations once."""

    def __init__(self, x: Tensor | np.ndarray, y: Tensor | np.ndarray | None, seed: int, name: str = "x") -> None:
        points = array_of(name, x).detach().to("cpu")
        points = points[:, None] if points.dim() == 1 else points
        if points.dim() < 2 or not len(points) or 0 in points.shape[1:]:
            raise ValueError(f"{name}: expected points (n, …), at least one, got {tuple(points.shape)}")
        self.shape, self.seed = points.shape[1:], seed
        self.x = points.reshape(len(points), -1).to(torch.float64)
        check_finite(**{name: self.x})
        self.y = None if y is None else conditions(y)
        if self.y is not None and len(self.y) != len(self.x):
            raise ValueError(f"y: expected one condition for each of the {len(self.x)} points of x, got {len(self.y)}")

    def draw(self, n: int, offset: int) -> Draws:
        """Data of evaluations `offset` … `offset + n`."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + offset) % 2**63)
        passes = -(-n // len(self.x))
        which = torch.cat([torch.randperm(len(self.x), generator=generator, device="cpu") for _ in range(passes)])[:n]
        return Draws(self.x[which], None if self.y is None else self.y[which], which)


def conditions(y: Tensor | np.ndarray) -> Tensor:
    """Conditions (n,) int64 of labels, or (n, …) float64."""
    given = array_of("y", y).detach().to("cpu")
    if given.dim() == 0:
        raise ValueError("y: expected one condition for each point, (n, …), got a number")
    if given.is_floating_point():
        given = given.to(torch.float64)
        check_finite(y=given)
        return given[:, None] if given.dim() == 1 else given
    return given.to(torch.int64)


def are_labels(y: Tensor | None) -> bool:
    """Whether conditions are labels: integers (n,)."""
    return y is not None and y.dim() == 1 and not y.is_floating_point()
