"""Coefficients of a probability-flow equation on a dyadic grid: all that its solver learns of a process."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# Interior stages of a Dormand–Prince step, as fractions of it; the others lie on its ends.
# csrc/core/probability_flow.hpp has them too.
FRACTIONS = (1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0)
COLUMNS = ("drift", "push")


@dataclass(frozen=True)
class FlowTable:
    """``dx/du = drift x + push s(x)`` at the nodes of steps ``[i/2^l, (i + 1)/2^l]`` of u in [0, 1], ``l ≤ levels``.

    Nodes stand level by level. A level begins with the step ends that the levels before it do not have, two at level 0
    and ``2^{l−1}`` at level l, followed by four interior nodes for each of its ``2^l`` steps. So the numbers of a level
    do not depend on how many levels there are.

    Attributes
    ----------
    levels : int
        The finest level.
    times : Tensor
        (n_nodes,) float64, of the process.
    columns : Tensor
        (n_nodes, 2) float64, named by :data:`COLUMNS`.
    mean_scale, variance : Tensor
        (n_nodes,) float64, ``m`` and ``v`` of ``x_t | x_0 ~ N(m x_0, v I)``.
    """

    levels: int
    times: Tensor
    columns: Tensor
    mean_scale: Tensor
    variance: Tensor

    def level_slices(self) -> list[slice]:
        """The nodes of each level."""
        edges = [0, *(first_node(level) for level in range(1, self.levels + 2))]
        return [slice(low, high) for low, high in pairwise(edges)]


def first_node(level: int) -> int:
    """The first node of a level."""
    return 9 * 2 ** (level - 1) - 3 if level else 0


def end_node(numerator: int, level: int) -> int:
    """The node at ``u = numerator/2^level``."""
    while level and numerator % 2 == 0:
        numerator, level = numerator // 2, level - 1
    return first_node(level) + (numerator // 2 if level else numerator)


def step_nodes(index: int, level: int) -> list[int]:
    """The six nodes of a step: its start, four inside, its end."""
    ends = 2 ** (level - 1) if level else 2
    inside = first_node(level) + ends + 4 * index
    return [end_node(index, level), *range(inside, inside + 4), end_node(index + 1, level)]


def level_positions(level: int) -> Tensor:
    """``u`` at the nodes of a level, (nodes of the level,) float64."""
    steps = 2**level
    ends = (
        torch.arange(1, steps, 2, dtype=torch.float64, device="cpu")
        if level
        else torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu")
    )
    inside = torch.arange(steps, dtype=torch.float64, device="cpu")[:, None] + torch.tensor(
        FRACTIONS, dtype=torch.float64, device="cpu"
    )
    positions: Tensor = torch.cat([ends, inside.reshape(-1)]) / steps
    return positions
