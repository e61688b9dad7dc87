"""Where Δs comes from: sums over paths of what every node and component adds, in memory of nodes plus components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops import SCHEME


class NodeSums:
    """Sums that forward paths leave at nodes and components; ``begin``, ``add`` … ``add``, ``end`` for each chunk.

    Parameters
    ----------
    parts : PartTable
        How Δs is split, into three forms and their difference.
    chain : bool
        Whether the table's steps are the process's exact ones, so that all forms but the first are to be had.
    time : bool
        Whether to split by time.
    """

    def __init__(self, parts: ops.PartTable, chain: bool, time: bool) -> None:
        self.parts, self.table, self.component, self.time = parts, parts.table, parts.component, time
        n_nodes = len(self.table.times)
        self.forms = ops.FORMS if chain else 1
        self.sums, self.squares = (
            torch.zeros(self.forms, n_nodes, dtype=torch.float64, device="cpu") for _ in range(2)
        )
        self.n = 0
        self.totals: list[Tensor] = []  # (forms, n) of each chunk
        self.map_sums: Tensor | None = None  # (forms, d)
        self.map_squares: Tensor | None = None
        self.binned: Tensor | None = None  # (forms, stretches, d)
        # Of the terms of each component and of each stretch, times the path's total: their shares of the variance.
        self.map_products: Tensor | None = None  # (forms, d)
        count = parts.stretches if time else 0
        self.time_products, self.time_sums = (
            torch.zeros(self.forms, count, dtype=torch.float64, device="cpu") for _ in range(2)
        )

    def fresh(self) -> NodeSums:
        """The same with no paths yet."""
        return NodeSums(self.parts, self.forms > 1, self.time)

    def tensors(self) -> list[Tensor]:
        """All that paths have left, for :meth:`merge`."""
        parts = [torch.tensor([self.n], device="cpu"), self.sums, self.squares, torch.cat(self.totals, 1)]
        more = (self.map_sums, self.map_squares, self.map_products, self.binned)
        return [*parts, self.time_sums, self.time_products, *(part for part in more if part is not None)]

    def merge(self, parts: Sequence[Tensor]) -> None:
        """Add what other paths have left, as :meth:`tensors` gave it."""
        n, sums, squares, totals, time_sums, time_products, *more = parts
        self.n += int(n)
        self.sums += sums
        self.squares += squares
        self.totals.append(totals)
        self.time_sums += time_sums
        self.time_products += time_products
        if more:
            self._add_map(*more[:3])
        if len(more) > 3:
            self.binned = more[3].clone() if self.binned is None else self.binned + more[3]

    def begin(self, x: Tensor) -> None:
        """A chunk of paths x (n, d) starts."""
        n, dim = x.shape
        self.n += n
        self.totals.append(torch.zeros(self.forms, n, dtype=torch.float64, device=x.device))
        self.paths = torch.zeros(self.forms if self.component else 0, n, dim, dtype=torch.float64, device=x.device)
        stretches = self.time_sums.shape[1]
        self.stretches = torch.zeros(self.forms, stretches, n, dtype=torch.float64, device=x.device)
        if self.component and self.time and self.binned is None:
            self.binned = torch.zeros(self.forms, stretches, dim, dtype=torch.float64, device="cpu")

    def add(
        self,
        first: int,
        model: Tensor,
        reference: Tensor,
        divergence: Tensor | None,
        carried: Tensor,
        drawn: Tensor,
        previous: Tensor | None,
    ) -> None:
        """K consecutive nodes of the chunk's paths.

        Parameters
        ----------
        first : int
            Row of the first of the nodes.
        model, reference : Tensor
            (K, n, d), ``s_θ`` and ``s_*``.
        divergence : Tensor or None
            (K, n), ``∇·s_θ − ∇·s_*``.
        carried, drawn : Tensor
            (K, n, d), the noise of the step that led to each node, and of that which leaves it.
        previous : Tensor or None
            (K, n, d), x at the node before each; for the sampler scheme.
        """
        rows = slice(first, first + len(model))
        parts = self.parts.split(first, model, reference, carried, drawn, previous)[: self.forms]
        for form, part in enumerate(parts):
            each = part.sum(2, dtype=torch.float64)  # (K, n)
            if form == SCHEME and divergence is not None:
                each = each + self.parts.of_divergence(first, divergence.to(each))
            self.sums[form, rows] += each.sum(1).cpu()
            self.squares[form, rows] += each.square().sum(1).cpu()
            self.totals[-1][form] += each.sum(0)
            if self.component:
                self.paths[form] += part.sum(0, dtype=torch.float64)
            if self.time:
                self.stretches[form].index_add_(0, self.parts.stretch[rows].to(each.device), each)
            if self.binned is not None:
                self.binned[form].index_add_(0, self.parts.stretch[rows], part.sum(1, dtype=torch.float64).cpu())

    def visit(self, node: int, visit: ops.Visit, carried: Tensor, previous: Tensor) -> None:
        """One node, as :func:`thermokern.ops.trajectory_reference` tells of it."""
        divergence = None
        if visit.model_divergence is not None and visit.reference_divergence is not None:
            divergence = (visit.model_divergence - visit.reference_divergence)[None]
        divergence = divergence if self.table.divergence_weight else None
        scores = visit.model_score[None], visit.reference_score[None]
        self.add(node, *scores, divergence, carried[None], visit.noise[None], previous[None])

    def take(self, found: ops.TrajectoryParts) -> None:
        """What the fused kernels found of a chunk of paths."""
        forms = slice(0, self.forms)
        totals, nodes, node_squares, cells, products, squares = (part[forms].cpu() for part in found[1:])
        self.n += totals.shape[1]
        self.totals.append(totals.double())
        self.sums += nodes
        self.squares += node_squares
        if self.time:
            self.time_sums += cells.sum(2)
            self.time_products += products.sum(2)
        if self.component:
            self._add_map(cells.sum(1), squares, products.sum(1))
            if self.time:
                self.binned = cells if self.binned is None else self.binned + cells

    def _add_map(self, sums: Tensor, squares: Tensor, products: Tensor) -> None:
        if self.map_sums is None or self.map_squares is None or self.map_products is None:
            self.map_sums, self.map_squares, self.map_products = (torch.zeros_like(sums) for _ in range(3))
        self.map_sums += sums
        self.map_squares += squares
        self.map_products += products

    def end(self) -> None:
        """The chunk's paths have arrived."""
        total = self.totals[-1]
        if self.component:
            products = (total[:, None] @ self.paths)[:, 0]
            self._add_map(self.paths.sum(1).cpu(), self.paths.square().sum(1).cpu(), products.cpu())
        self.time_sums += self.stretches.sum(2).cpu()
        self.time_products += (self.stretches @ total[:, :, None])[:, :, 0].cpu()
        self.totals[-1] = total.cpu()

    def shares(self, form: int) -> tuple[Tensor | None, Tensor | None]:
        """``Cov(A, Σ A)/Var(Σ A)`` of each component (d,) and of each stretch of time (bins,), where they are split."""
        total = torch.cat(self.totals, dim=1)[form]
        centred = total - total.mean()
        variance = centred.square().mean()

        def share(sums: Tensor, products: Tensor) -> Tensor:
            return (products / self.n - sums / self.n * total.mean()) / variance

        by_component = None
        if self.map_sums is not None and self.map_products is not None:
            by_component = share(self.map_sums[form], self.map_products[form])
        return by_component, share(self.time_sums[form], self.time_products[form]) if self.time else None

    def means(self, sums: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Means over paths and their standard errors, from sums and sums of squares of any shape."""
        mean = sums / self.n
        variance = (squares / self.n - mean.square()).clamp_min(0.0)
        return mean, (variance / (self.n - 1)).sqrt() if self.n > 1 else torch.full_like(mean, torch.nan)
