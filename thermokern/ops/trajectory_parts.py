"""Where Δs arises along forward paths: what nodes and components add to it, split in three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_kind, check_tensor, checked_seed
from thermokern.ops.registry import register, run_kernel
from thermokern.ops.step_table import StepTable
from thermokern.ops.trajectory import (
    NodeScore,
    Source,
    TrajectorySums,
    Visit,
    kernel_sources,
    start_of_paths,
    trajectory_reference,
)

# Ways of splitting Δs, and the difference of the last two, whose mean is 0 where the reference is exact.
SCHEME, CHAIN, SQUARED, DIFFERENCE = range(4)
FORMS = 4


@dataclass(frozen=True)
class PartTable:
    """How Δs of forward paths is split: three ways, with ``δ = s_θ − s_*`` and z the noise that led to a node.

    - The scheme's own terms, which add up to its sum along the path without end terms.
    - The chain form ``A = δ [κ (s_θ + s_*) + ω z]``, ``κ = G²/(2F²)``, ``ω = G/F²``: the log ratio of the
      ``ddpm-large`` chains of model and reference, where paths take the process's exact steps ``x' = F x + G z``.
    - The squared form ``κ δ²``, the mean of the chain form where the reference is exact; and the chain form less it.

    Attributes
    ----------
    table : StepTable
        Of forward paths.
    constant : Tensor
        (n_nodes,) float64, what every component of a node adds to the scheme's own terms besides.
    stretch : Tensor
        (n_nodes,) int64, the stretch of time that each node is in, from 0 on.
    stretches : int
        How many there are.
    component : bool
        Whether to split by component, for schemes without a divergence, which has no such parts.
    """

    table: StepTable
    constant: Tensor
    stretch: Tensor
    stretches: int
    component: bool

    def __post_init__(self) -> None:
        n_nodes = len(self.table.times)
        if self.table.direction != "forward":
            raise ValueError("table: expected forward paths")
        if self.component and self.table.divergence_weight:
            raise ValueError(f"component: the divergence of the scheme {self.table.scheme!r} has no such parts")
        if self.constant.shape != (n_nodes,):
            raise ValueError(f"constant: expected ({n_nodes},), got {tuple(self.constant.shape)}")
        known = self.stretch
        if (
            known.shape != (n_nodes,)
            or known.dtype != torch.int64
            or not 0 <= int(known.min()) <= int(known.max()) < self.stretches
        ):
            raise ValueError(f"stretch: expected ({n_nodes},) int64 below {self.stretches}")

    @property
    def columns(self) -> Tensor:
        """(n_nodes, 4) float64: constant, κ, ω, stretch; csrc/core/trajectory_parts.hpp, PartNode, reads them."""
        drift, noise = self.table.column("drift")[:-1], self.table.column("noise")[:-1]
        zero = drift.new_zeros(1)
        kappa = torch.cat([zero, 0.5 * (noise / drift).square()])
        work = torch.cat([zero, noise / drift.square()])
        return torch.stack([self.constant.to(kappa), kappa, work, self.stretch.to(kappa)], dim=1)

    def split(
        self,
        first: int,
        model: Tensor,
        reference: Tensor,
        carried: Tensor,
        drawn: Tensor,
        previous: Tensor | None = None,
    ) -> list[Tensor]:
        """The parts of K consecutive nodes from row `first` on: four forms, each (K, n, d), without the divergence.

        `model` and `reference` are s_θ and s_*, `carried` and `drawn` the noise of the step that led to each node and
        of that which leaves it, all (K, n, d); `previous` is x at the node before each, for the sampler scheme.
        """
        rows = slice(first, first + len(model))

        def weight(values: str | Tensor) -> Tensor:
            values = self.table.column(values) if isinstance(values, str) else values
            return values[rows].to(model)[:, None, None]

        constant, kappa, work, _ = self.columns.unbind(1)
        delta, both = model - reference, model + reference
        pull = weight("energy") * both + weight("work_carried") * carried + weight("work_drawn") * drawn
        scheme = delta * pull
        if self.table.scheme == "sampler" and previous is not None:
            w = weight("chain_position") * previous + weight("chain_noise") * carried + weight("chain_score") * model
            scheme = scheme + w * (carried + 0.5 * w) + weight(constant)
        chain = delta * (weight(kappa) * both + weight(work) * carried)
        squared = weight(kappa) * delta.square()
        return [scheme, chain, squared, chain - squared]

    def of_divergence(self, first: int, divergence: Tensor) -> Tensor:
        """What ``∇·s_θ − ∇·s_*`` (K, n) adds to the scheme's own terms."""
        energy = self.table.column("energy")[first : first + len(divergence)].to(divergence)
        return self.table.divergence_weight * energy[:, None] * divergence


class TrajectoryParts(NamedTuple):
    """Sums of Δs's parts A; the first index of every tensor is the form.

    Attributes
    ----------
    sums : TrajectorySums
        As :func:`trajectory` gives them: on the CPU to the bit, on CUDA to rounding.
    totals : Tensor
        (4, n), Σ A of each path.
    nodes, node_squares : Tensor
        (4, n_nodes) float64, Σ A and Σ A² over paths, of what each node adds.
    cells, products : Tensor
        (4, stretches, d or 1) float64, over paths, of what each path adds in a stretch of time, and along a component
        where these are split: Σ A, and Σ A times the path's total.
    squares : Tensor
        (4, d or 1) float64, over paths, Σ A² of what each path adds along a component.
    """

    sums: TrajectorySums
    totals: Tensor
    nodes: Tensor
    node_squares: Tensor
    cells: Tensor
    products: Tensor
    squares: Tensor


def trajectory_parts_reference(
    x: Tensor, parts: PartTable, model: NodeScore, reference: NodeScore, *, seed: int = 0, path_offset: int = 0
) -> TrajectoryParts:
    """:func:`trajectory_parts` in PyTorch, in the dtype of `x`, for any scores: the specification."""
    check_tensor("x", x, "n", "d", any_float=True)
    check_kind("parts", parts, PartTable)
    n, dim = x.shape
    cells = x.new_zeros(FORMS, parts.stretches, dim if parts.component else 1, n)
    nodes = []

    def observe(node: int, visit: Visit, carried: Tensor, previous: Tensor) -> None:
        own = visit.model_score, visit.reference_score, carried, visit.noise, previous
        forms = torch.cat(parts.split(node, *(part[None] for part in own)))  # (4, n, d)
        totals = forms.sum(2)
        if parts.table.divergence_weight:
            assert visit.model_divergence is not None
            assert visit.reference_divergence is not None
            totals[SCHEME] += parts.of_divergence(node, (visit.model_divergence - visit.reference_divergence)[None])[0]
        cells[:, int(parts.stretch[node])] += forms.transpose(1, 2) if parts.component else totals[:, None]
        nodes.append(totals.double())

    sums = trajectory_reference(x, parts.table, model, reference, seed=seed, path_offset=path_offset, observe=observe)
    at_nodes, totals, exact = torch.stack(nodes, dim=1), cells.sum((1, 2)), cells.double()
    return TrajectoryParts(
        sums=sums,
        totals=totals,
        nodes=at_nodes.sum(2),
        node_squares=at_nodes.square().sum(2),
        cells=exact.sum(3),
        products=(exact * totals[:, None, None].double()).sum(3),
        squares=exact.sum(1).square().sum(2),
    )


def trajectory_parts(
    x: Tensor, parts: PartTable, model: Source, reference: Source, *, seed: int = 0, path_offset: int = 0
) -> TrajectoryParts:
    """:func:`trajectory` along forward paths, and where its Δs arises, fused.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, on the CPU or a CUDA device, points at the first node; 1 ≤ d ≤ 16.
    parts : PartTable
        The step table, and how to split.
    model, reference : MixtureSource or MlpSource
        ``s_θ`` and ``s_*`` at every node.
    seed, path_offset : int
        Path ``i`` has the noise of global path ``path_offset + i`` of the seed.

    Returns
    -------
    TrajectoryParts

    Notes
    -----
    On one instruction set the same bits for any number of threads; those of each path for any company. Sums over paths
    are made in stretches of paths whose size depends on n alone: within one in the dtype of `x`, lane by lane, and from
    there on in float64. Memory: 4 numbers a path, and up to 256 times those of the sums; on CUDA also
    ``4 × stretches × (d or 1)`` numbers a path while it runs. No gradient: see :func:`trajectory_parts_reference`.
    """
    check_kind("parts", parts, PartTable)
    table = parts.table
    x = start_of_paths(x, table, model, reference)
    seed, path_offset = checked_seed(seed, path_offset)
    value, mismatch, x_last, coarse, totals, nodes, cells, squares = torch.ops.thermokern.trajectory_parts(
        x,
        table.columns.to(x.device, x.dtype).contiguous(),
        parts.columns.to(x.device, x.dtype).contiguous(),
        *kernel_sources(model, reference, x),
        table.divergence_weight,
        table.scheme == "sampler",
        table.coarse,
        parts.stretches,
        parts.component,
        seed,
        path_offset,
    )
    sums = TrajectorySums(value, mismatch, x_last, coarse)
    return TrajectoryParts(
        sums, totals, nodes[:, :, 0].T, nodes[:, :, 1].T, cells[:, :, :, 0], cells[:, :, :, 1], squares
    )


_Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _trajectory_parts(
    x: Tensor,
    steps: Tensor,
    parts: Tensor,
    model_kind: str,
    model: list[Tensor],
    reference_kind: str,
    reference: list[Tensor],
    divergence_weight: float,
    sampler: bool,
    coarse: bool,
    stretches: int,
    component: bool,
    seed: int,
    path_offset: int,
) -> _Outputs:
    known = parts[:, -1]  # where the kernel writes
    if not bool(((known >= 0) & (known < stretches) & (known == known.floor())).all()):
        raise ValueError(f"parts: expected stretches in the last column that are whole numbers below {stretches}")
    out = _outputs(x, steps, coarse, stretches, component)
    run_kernel(
        "trajectory_parts",
        x,
        x,
        steps,
        parts,
        model_kind,
        model,
        reference_kind,
        reference,
        divergence_weight,
        sampler,
        seed,
        path_offset,
        *out[:3],
        out[3] if coarse else None,
        *out[4:],
    )
    return out


def _outputs(x: Tensor, steps: Tensor, coarse: bool, stretches: int, component: bool) -> _Outputs:
    n, dim = x.shape
    columns = dim if component else 1
    nodes = x.new_zeros(steps.shape[0], FORMS, 2, dtype=torch.float64)
    cells = x.new_zeros(FORMS, stretches, columns, 2, dtype=torch.float64)
    squares = x.new_zeros(FORMS, columns, dtype=torch.float64)
    paths = x.new_empty(n), x.new_empty(n), torch.empty_like(x), x.new_empty(n, 2 if coarse else 0)
    return *paths, x.new_empty(FORMS, n), nodes, cells, squares


def _trajectory_parts_fake(
    x: Tensor,
    steps: Tensor,
    parts: Tensor,
    model_kind: str,
    model: list[Tensor],
    reference_kind: str,
    reference: list[Tensor],
    divergence_weight: float,
    sampler: bool,
    coarse: bool,
    stretches: int,
    component: bool,
    seed: int,
    path_offset: int,
) -> _Outputs:
    return _outputs(x, steps, coarse, stretches, component)


register(
    "trajectory_parts(Tensor x, Tensor steps, Tensor parts, str model_kind, Tensor[] model, str reference_kind,"
    " Tensor[] reference, float divergence_weight, bool sampler, bool coarse, int stretches, bool component, int seed,"
    " int path_offset) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _trajectory_parts,
    _trajectory_parts_fake,
)
