"""What does not depend on x in a network that is read: a row of numbers for every node, kept as what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NodeRows:
    """``constant + Σ features Mᵀ``: numbers (nodes, out) of which linear layers change the matrices alone.

    Parameters
    ----------
    constant : Tensor
        (out,) float64.
    parts : tuple of pairs
        Matrices M (out, f) float64 and features (nodes, f).
    """

    constant: Tensor
    parts: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    def zeros(cls, width: int) -> NodeRows:
        """Rows of zeros."""
        return cls(torch.zeros(width, dtype=torch.float64, device="cpu"))

    @classmethod
    def of(cls, features: Tensor) -> NodeRows:
        """Numbers (nodes, width) as they are."""
        width = features.shape[1]
        return cls(cls.zeros(width).constant, ((torch.eye(width, dtype=torch.float64, device="cpu"), features),))

    @classmethod
    def side_by_side(cls, several: Sequence[NodeRows]) -> NodeRows:
        """Those of several, one behind the other."""
        widths = [len(rows.constant) for rows in several]
        parts = []
        for k, rows in enumerate(several):
            above, below = sum(widths[:k]), sum(widths[k + 1 :])
            for matrix, features in rows.parts:
                parts.append((torch.nn.functional.pad(matrix, (0, 0, above, below)), features))
        return cls(torch.cat([rows.constant for rows in several]), tuple(parts))

    @property
    def is_zero(self) -> bool:
        """Whether no number can be other than zero."""
        return not self.constant.any() and not self.parts

    def values(self, nodes: int) -> Tensor:
        """The numbers (nodes, out)."""
        out = self.constant.expand(nodes, -1)
        for matrix, features in self.parts:
            out = out + features.double() @ matrix.T
        return out

    def plus(self, other: NodeRows) -> NodeRows:
        """The sum; features of both that are the same tensor are one part."""
        parts = list(self.parts)
        for matrix, features in other.parts:
            place = next((k for k, (_, known) in enumerate(parts) if known is features), None)
            if place is None:
                parts.append((matrix, features))
            else:
                parts[place] = (parts[place][0] + matrix, features)
        return NodeRows(self.constant + other.constant, tuple(parts))

    def times(self, factor: Tensor | float) -> NodeRows:
        """All numbers times one."""
        return NodeRows(factor * self.constant, tuple((factor * matrix, features) for matrix, features in self.parts))

    def through(self, weight: Tensor, shift: Tensor | float) -> NodeRows:
        """``W · + b`` of every row."""
        return NodeRows(weight @ self.constant + shift, tuple((weight @ matrix, f) for matrix, f in self.parts))
