"""Where Δs comes from: sums over paths of what every node and component adds, in memory of nodes plus components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thermokern import ops

# Ways of splitting Δs, and the difference of the last two, whose mean is 0 where the reference is exact.
SCHEME, CHAIN, SQUARED, DIFFERENCE = range(4)


class NodeSums:
    """Sums that forward paths leave at nodes and components; ``begin``, ``add`` … ``add``, ``end`` for each chunk.

    Three ways of splitting Δs, with ``δ = s_θ − s_*`` and the noise z that led to the node:

    - the scheme's own terms, which add up to its sum along the path without end terms;
    - the chain form ``A = δ [½ G² (s_θ + s_*) + G z]/F²``, the log ratio of the ``ddpm-large`` chains of model and
      reference on the process's exact steps ``x' = F x + G z``;
    - the squared form ``κ δ²``, ``κ = G²/(2 F²)``, the mean of the chain form where the reference is exact.

    Parameters
    ----------
    table : StepTable
        Of forward paths.
    constant : Tensor
        (n_nodes,) what every component of a node adds to the scheme's own terms besides.
    chain : bool
        Whether the table's steps are the process's exact ones, so that the last two forms are to be had.
    component : bool
        Whether to split by component.
    time : bool
        Whether to split by time.
    bins : Tensor
        (n_nodes,) int64, the stretch of time that each node is in: a row of the table of bins × components.
    """

    def __init__(
        self, table: ops.StepTable, constant: Tensor, chain: bool, component: bool, time: bool, bins: Tensor
    ) -> None:
        n_nodes = len(table.times)
        drift, noise = table.column("drift")[:-1], table.column("noise")[:-1]
        zero = torch.zeros(1, dtype=torch.float64, device="cpu")
        self.table, self.constant, self.component, self.time, self.bins = table, constant, component, time, bins
        self.work = torch.cat([zero, noise / drift.square()])  # of δ z in the chain form
        self.kappa = torch.cat([zero, 0.5 * (noise / drift).square()])
        self.forms = DIFFERENCE + 1 if chain else 1
        self.sums, self.squares = (
            torch.zeros(self.forms, n_nodes, dtype=torch.float64, device="cpu") for _ in range(2)
        )
        self.n = 0
        self.totals: list[Tensor] = []  # (forms, n) of each chunk
        self.map_sums: Tensor | None = None  # (forms, d)
        self.map_squares: Tensor | None = None
        self.binned: Tensor | None = None  # (forms, bins, d)
        # Of the terms of each component and of each stretch, times the path's total: their shares of the variance.
        self.map_products: Tensor | None = None  # (forms, d)
        count = int(bins.max()) + 1 if time else 0
        self.time_products, self.time_sums = (
            torch.zeros(self.forms, count, dtype=torch.float64, device="cpu") for _ in range(2)
        )

    def fresh(self) -> NodeSums:
        """The same with no paths yet."""
        return NodeSums(self.table, self.constant, self.forms > 1, self.component, self.time, self.bins)

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
            if self.map_sums is None or self.map_squares is None or self.map_products is None:
                self.map_sums, self.map_squares, self.map_products = (torch.zeros_like(part) for part in more[:3])
            self.map_sums += more[0]
            self.map_squares += more[1]
            self.map_products += more[2]
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
        if self.component and self.map_sums is None:
            self.map_sums, self.map_squares, self.map_products = (
                torch.zeros(self.forms, dim, dtype=torch.float64, device="cpu") for _ in range(3)
            )
            if self.time:
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

        def weight(column: str | Tensor) -> Tensor:
            values = self.table.column(column) if isinstance(column, str) else column
            return values[rows].to(model)[:, None, None]

        delta, both = model - reference, model + reference
        pull = weight("energy") * both + weight("work_carried") * carried + weight("work_drawn") * drawn
        parts = [delta * pull]
        if self.table.scheme == "sampler" and previous is not None:
            w = weight("chain_position") * previous + weight("chain_noise") * carried + weight("chain_score") * model
            parts = [parts[0] + w * (carried + 0.5 * w) + weight(self.constant)]
        if self.forms > 1:
            squared = weight(self.kappa) * delta.square()
            chain = delta * (weight(self.kappa) * both + weight(self.work) * carried)
            parts += [chain, squared, chain - squared]
        for form, part in enumerate(parts):
            each = part.sum(2, dtype=torch.float64)  # (K, n)
            if form == SCHEME and divergence is not None:
                energy = self.table.column("energy")[rows].to(each)
                each = each + self.table.divergence_weight * energy[:, None] * divergence
            self.sums[form, rows] += each.sum(1).cpu()
            self.squares[form, rows] += each.square().sum(1).cpu()
            self.totals[-1][form] += each.sum(0)
            if self.component:
                self.paths[form] += part.sum(0, dtype=torch.float64)
            if self.time:
                self.stretches[form].index_add_(0, self.bins[rows].to(each.device), each)
            if self.binned is not None:
                self.binned[form].index_add_(0, self.bins[rows], part.sum(1, dtype=torch.float64).cpu())

    def visit(self, node: int, visit: ops.Visit, carried: Tensor, previous: Tensor) -> None:
        """One node, as :func:`thermokern.ops.trajectory_reference` tells of it."""
        divergence = None
        if visit.model_divergence is not None and visit.reference_divergence is not None:
            divergence = (visit.model_divergence - visit.reference_divergence)[None]
        divergence = divergence if self.table.divergence_weight else None
        scores = visit.model_score[None], visit.reference_score[None]
        self.add(node, *scores, divergence, carried[None], visit.noise[None], previous[None])

    def end(self) -> None:
        """The chunk's paths have arrived."""
        total = self.totals[-1]
        if self.map_sums is not None and self.map_squares is not None and self.map_products is not None:
            self.map_sums += self.paths.sum(1).cpu()
            self.map_squares += self.paths.square().sum(1).cpu()
            self.map_products += (total[:, None] @ self.paths)[:, 0].cpu()
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
