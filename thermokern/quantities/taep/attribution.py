"""Where in time, in space and in which class Δs arises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops import CHAIN, DIFFERENCE, SCHEME, SQUARED
from thermokern.ops.checks import array_of, checked_integer, checked_several, described
from thermokern.processes import Chain
from thermokern.quantities.engine.attribution import NodeSums
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep.attribution_words import attribution_in_words

RESOLVE = ("time", "component")
_WHAT = {
    SCHEME: "the scheme's own terms, whose sums are those of the path",
    CHAIN: "log ratio of the ddpm-large chains: means exact at any number of steps",
    SQUARED: "κ δ²: the chain form's mean where the reference is exact",
}


class Rate(NamedTuple):
    """What arises per unit of log signal-to-noise ratio, nats, at the nodes that a step leads to."""

    times: Tensor  # (n,)
    log_snr: Tensor  # (n,)
    values: Tensor  # (n,)
    stderr: Tensor  # (n,) of each by itself: nodes of one path are correlated
    squared: Tensor | None  # (n,) of κ δ²


class Map(NamedTuple):
    """What arises along each component, nats, in the shape of x."""

    values: Tensor
    stderr: Tensor
    squared: Tensor | None


class VarianceShares(NamedTuple):
    """Of the variance of Δs: ``Cov(A, Δs)/Var Δs``, which adds up to 1 over time and over components."""

    edges: Tensor | None  # (bins + 1,) falling log signal-to-noise ratios
    time: Tensor | None  # (bins,)
    components: Tensor | None  # in the shape of x


class Table(NamedTuple):
    """What arises in each stretch of log signal-to-noise ratio along each component, nats."""

    edges: Tensor  # (bins + 1,) falling log signal-to-noise ratios
    values: Tensor  # (bins, …)
    squared: Tensor | None


@stored("attribution-label")
@dataclass(frozen=True)
class LabelPart:
    """The paths of one label: its share of them times its mean, summed over labels, is the mean.

    Attributes
    ----------
    label, n_paths : int
    mean : Estimate
        Of the chain form, of the scheme's own terms where that is not known.
    squared : Estimate or None
        Of κ δ². Only over all labels is its mean that of the chain form, not within one.
    """

    label: int
    n_paths: int
    mean: Estimate
    squared: Estimate | None


@stored("attribution-split")
@dataclass(frozen=True, eq=False)
class Split:
    """Δs split in one way; means over paths, nats, and their standard errors.

    Attributes
    ----------
    total : Estimate
    nodes, nodes_stderr : Tensor
        (n_nodes,) what arises at each node.
    map, map_stderr : Tensor or None
        In the shape of x.
    table : Tensor or None
        (bins, …) in stretches of log signal-to-noise ratio and in the shape of x.
    map_share, time_share : Tensor or None
        ``Cov(A, Σ A)/Var(Σ A)`` in the shape of x and (bins,) in stretches of log signal-to-noise ratio: shares of the
        variance of the total, which add up to 1. A share is negative where its part offsets the others.
    """

    total: Estimate
    nodes: Tensor
    nodes_stderr: Tensor
    map: Tensor | None
    map_stderr: Tensor | None
    table: Tensor | None
    map_share: Tensor | None = None
    time_share: Tensor | None = None


@stored("attribution")
@dataclass(frozen=True, eq=False)
class Attribution(Result):
    """Where Δs arises, split in three ways; :class:`TAEP` has `rate`, `map`, `table` and `by_label` of it.

    Attributes
    ----------
    resolved : tuple of str
        ``time``, ``component`` or both.
    times, log_snr : Tensor
        (n_nodes,)
    edges : Tensor or None
        (bins + 1,) falling log signal-to-noise ratios of the rows of tables and of shares of the variance in time.
    scheme : Split
        The scheme's own terms, which add up to its sum along each path.
    chain : Split or None
        ``A = [r_θ² − r_*²]/(2w)``, ``r = x_k − (x_{k+1} + G² s)/F``, ``w = G²``: the log ratio of the ``ddpm-large``
        chains of model and reference. Its means are exact at any number of steps, ``E A = κ E δ²`` for an exact
        reference. None where the paths do not take the process's exact steps.
    squared : Split or None
        ``κ δ²``, ``κ = G²/(2F²)``, never negative; its mean is the chain form's where the reference is exact, and no
        more than a number where the reference is another network.
    difference : Split or None
        The chain form less the squared one, path by path.
    remainder : Estimate
        Values less the sums of the scheme's own terms, paired: end-point terms, and what extrapolation adds.
    by_label : tuple of LabelPart
    """

    title: ClassVar[str] = "Where time asymmetry arises"

    resolved: tuple[str, ...]
    times: Tensor
    log_snr: Tensor
    edges: Tensor | None
    scheme: Split
    chain: Split | None
    squared: Split | None
    difference: Split | None
    remainder: Estimate
    by_label: tuple[LabelPart, ...]

    @property
    def best(self) -> Split:
        """The chain form; the scheme's own terms where there is none."""
        return self.scheme if self.chain is None else self.chain

    @property
    def width(self) -> Tensor:
        """(n_nodes,) the log signal-to-noise ratio that the step which leads to each node loses; NaN at the first."""
        return torch.cat([self.log_snr.new_full((1,), torch.nan), -self.log_snr.diff()])

    def rate(self) -> Rate:
        """Per unit of log signal-to-noise ratio: a sum over nodes depends on t_eps, a rate does not."""
        if "time" not in self.resolved:
            raise ValueError('rate: expected resolve to name "time"')
        width = self.width[1:]
        return Rate(
            self.times[1:],
            self.log_snr[1:],
            self.best.nodes[1:] / width,
            self.best.nodes_stderr[1:] / width,
            None if self.squared is None else self.squared.nodes[1:] / width,
        )

    def map(self) -> Map:
        """Along each component."""
        if self.best.map is None or self.best.map_stderr is None:
            raise ValueError('map: expected resolve to name "component"')
        return Map(self.best.map, self.best.map_stderr, None if self.squared is None else self.squared.map)

    def table(self) -> Table:
        """In stretches of log signal-to-noise ratio and along each component."""
        if self.best.table is None or self.edges is None:
            raise ValueError('table: expected resolve to name "time" and "component"')
        return Table(self.edges, self.best.table, None if self.squared is None else self.squared.table)

    def variance_shares(self) -> VarianceShares:
        """Where the variance arises; of the chain form, of the scheme's own terms where that is not known."""
        return VarianceShares(self.edges, self.best.time_share, self.best.map_share)

    def summary(self) -> str:
        """The sums of each way of splitting, what each is, and what they say in words."""
        return "\n".join([*self.lines(), *self.closing()])

    def lines(self) -> list[str]:
        """The sums of each way of splitting, for the summary of a result that has this one."""
        lines = ["where Δs arises, nats"]
        for form, split in ((SCHEME, self.scheme), (CHAIN, self.chain), (SQUARED, self.squared)):
            if split is not None:
                lines.append(f"  {split.total}   {_WHAT[form]}")
        lines.append(f"  {self.remainder}   values less the first: ends, and extrapolation")
        if self.difference is not None:
            total = self.difference.total
            lines.append(f"  {total}   chain less squared (z = {total.z(0.0):+.1f}; 0 where the reference is exact)")
        lines += [f"  label {part.label}: {part.mean} ({part.n_paths} paths)" for part in self.by_label]
        return lines

    def law(self) -> str:
        """Which paths were split."""
        return f"the paths of the TAEP, from t = {self.times[0].item():.3g} to {self.times[-1].item():.3g}"

    def conclusion(self) -> list[str]:
        """Whether the ways of splitting agree, and where most arises."""
        return attribution_in_words(self)

    def numbers(self) -> dict[str, object]:
        """Sums of each way, and the labels."""
        return {
            "scheme": self.scheme.total,
            "chain": None if self.chain is None else self.chain.total,
            "squared": None if self.squared is None else self.squared.total,
            "difference": None if self.difference is None else self.difference.total,
            "remainder": self.remainder,
            "by_label": self.by_label,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each node."""
        columns = {"time": self.times, "log_snr": self.log_snr}
        for name in ("scheme", "chain", "squared"):
            split = getattr(self, name)
            if split is not None:
                columns |= {name: split.nodes, f"{name}_stderr": split.nodes_stderr}
        return columns


def checked_resolve(
    resolve: Sequence[str], labels: Tensor | Sequence[int] | np.ndarray | None, n: int, scheme: str
) -> tuple[tuple[str, ...], Tensor | None]:
    """What is to be resolved, in the order of :data:`RESOLVE`, and the label of each path (n,)."""
    names = (resolve,) if isinstance(resolve, str) else tuple(checked_several("resolve", resolve))
    if not all(isinstance(name, str) and name in RESOLVE for name in names):
        raise ValueError(f"resolve: expected names out of {RESOLVE}, got {resolve!r}")
    if "component" in names and ops.DIVERGENCE_WEIGHT[scheme]:
        raise ValueError(
            f'resolve: the scheme {scheme!r} has a divergence, which has no parts by component here; expected "time" '
            'alone, or scheme="backward-ito"'
        )
    if labels is None:
        return tuple(name for name in RESOLVE if name in names), None
    if not names:
        raise ValueError('labels: expected with resolve, such as resolve=("time",)')
    known = array_of("labels", labels).to("cpu")
    if known.shape != (n,) or known.dtype.is_floating_point or known.dtype == torch.bool or known.is_complex():
        raise ValueError(f"labels: expected ({n},) integers, one for each path, got {described(known)}")
    return tuple(name for name in RESOLVE if name in names), known.to("cpu", torch.int64)


def refuse_with_resolve(reverse: bool, checkpoint: bool, gradient: bool) -> None:
    """Raise for what does not go with attribution."""
    if reverse:
        raise ValueError(
            'resolve: expected direction="forward"; the means of the chain form and of κ δ² are exact over paths that '
            "start from the data"
        )
    if checkpoint:
        raise ValueError(
            "resolve: expected no checkpoint, whose states hold the paths' sums alone; leave out one of both"
        )
    if gradient:
        raise ValueError(
            "resolve: expected gradient=False, for what is split is not differentiable; leave out one of both"
        )


def node_sums(
    table: ops.StepTable, steps: Chain | None, exact_steps: bool, resolved: tuple[str, ...], time_bins: int
) -> NodeSums:
    """What gathers the sums along paths: `steps` are the sampler scheme's, `exact_steps` whether paths take these."""
    constant = torch.zeros(len(table.times), dtype=torch.float64, device="cpu")
    if steps is not None:
        constant[1:] = 0.5 * (steps.variance / steps.noise.square()).log()
    count = checked_integer("time_bins", time_bins, 1)
    stretch, _ = _bins(table, count if "time" in resolved else 1)
    parts = ops.PartTable(table, constant, stretch, count if "time" in resolved else 1, "component" in resolved)
    return NodeSums(parts, exact_steps, "time" in resolved)


def _bins(table: ops.StepTable, count: int) -> tuple[Tensor, Tensor]:
    """The stretch of log signal-to-noise ratio of each node (n_nodes,), and their edges (count + 1,), falling."""
    log_snr = _log_snr(table)
    edges = torch.linspace(log_snr[0].item(), log_snr[-1].item(), count + 1, dtype=torch.float64, device="cpu")
    return torch.bucketize(-log_snr, -edges[1:-1], right=False), edges


def _log_snr(table: ops.StepTable) -> Tensor:
    return (table.mean_scale.square() / table.variance).log()


def attribution(
    sums: NodeSums,
    table: ops.StepTable,
    resolved: tuple[str, ...],
    values: Tensor,
    shape: torch.Size,
    labels: Tensor | None,
    time_bins: int,
) -> Attribution:
    """The result of the sums, and of the values (n,) of the paths."""
    totals = torch.cat(sums.totals, dim=1)  # (forms, n)
    nodes, nodes_stderr = sums.means(sums.sums, sums.squares)

    def split(form: int) -> Split | None:
        if form >= sums.forms:
            return None
        mapped = mapped_stderr = table_of_means = None
        if sums.map_sums is not None and sums.map_squares is not None:
            mapped, mapped_stderr = (
                part.reshape(shape) for part in sums.means(sums.map_sums[form], sums.map_squares[form])
            )
        if sums.binned is not None:
            table_of_means = (sums.binned[form] / sums.n).reshape(-1, *shape)
        by_component, by_time = sums.shares(form)
        return Split(
            total=mean_estimate(totals[form]),
            nodes=nodes[form],
            nodes_stderr=nodes_stderr[form],
            map=mapped,
            map_stderr=mapped_stderr,
            table=table_of_means,
            map_share=None if by_component is None else by_component.reshape(shape),
            time_share=by_time,
        )

    scheme = split(SCHEME)
    assert scheme is not None
    best = totals[min(CHAIN, sums.forms - 1)]
    parts = []
    if labels is not None:
        for label in torch.unique(labels).tolist():
            rows = labels == label
            squared = mean_estimate(totals[SQUARED, rows]) if sums.forms > 1 else None
            parts.append(LabelPart(label, int(rows.sum()), mean_estimate(best[rows]), squared))
    return Attribution(
        resolved=resolved,
        times=table.times,
        log_snr=_log_snr(table),
        edges=_bins(table, time_bins)[1] if sums.time else None,
        scheme=scheme,
        chain=split(CHAIN),
        squared=split(SQUARED),
        difference=split(DIFFERENCE),
        remainder=mean_estimate(values.detach().double() - totals[SCHEME]),
        by_label=tuple(parts),
    )
