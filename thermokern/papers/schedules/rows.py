"""Bound and quality of one schedule after the other, on any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.papers.correlation import spearman_coefficient
from thermokern.quantities import Estimate, Schedules
from thermokern.quantities.results.storage import stored
from thermokern.quantities.schedules import STANDARDS
from thermokern.quantities.schedules.result import FLOW
from thermokern.quantities.schedules.standards import standard_nodes

BEST = "best"

# (times, variances or None) -> qualities of samples by name, lower better.
Quality = Callable[[Tensor, Tensor | None], dict[str, Estimate]]


@stored("schedule-row")
@dataclass(frozen=True)
class Row:
    """One schedule of one sampler.

    Attributes
    ----------
    law, sampler : str
    n_steps : int
    schedule : str
        ``best …`` for those found here, else the name of one in common use.
    bound : Estimate or None
        None for the probability flow.
    quality : dict of str to Estimate
        Of samples; lower is better.
    """

    law: str
    sampler: str
    n_steps: int
    schedule: str
    bound: Estimate | None
    quality: dict[str, Estimate]


def rows_of(law: str, found: list[Schedules], n: int, quality: Quality) -> list[Row]:
    """The best schedules of n steps, one for each objective, and those in common use, all of one sampler."""
    first = found[0]
    flow = first.sampler == FLOW
    out = []
    for result in found:
        name = BEST if result.objective == "own" else f"{BEST} {result.objective}"
        bound, variance = (None, None) if flow else (result.bound(n), _of(first.sampler, result.variances(n)))
        out.append(Row(law, first.sampler, n, name, bound, quality(result.times(n), variance)))
    if flow:
        for name in STANDARDS:
            index = standard_nodes(name, first.nodes.times, first.nodes.sigma, n, first.data_std)
            out.append(Row(law, FLOW, n, name, None, quality(first.nodes.times[index], None)))
        return out
    for other in first.compare(n):
        variance = _of(first.sampler, other.variances)
        out.append(Row(law, first.sampler, n, other.name, other.bound, quality(other.times, variance)))
    return out


def _of(sampler: str, variances: Tensor) -> Tensor | None:
    """The variances where the sampler has to be told of them."""
    return variances if sampler == "ddpm-optimal" else None


def rank_correlation(rows: list[Row], quality: str) -> float:
    """Spearman's coefficient of bound and quality over schedules."""
    bounds = [row.bound.value for row in rows if row.bound is not None]
    values = [row.quality[quality].value for row in rows if row.bound is not None]
    return spearman_coefficient(torch.tensor(bounds), torch.tensor(values)).item()


def table(rows: list[Row], quality: str) -> list[tuple[str, ...]]:
    """Lines of one law: sampler, number of steps, best schedules, the best in common use, and the correlation."""
    lines: list[tuple[str, ...]] = []
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.sampler, row.n_steps), []).append(row)
    for (sampler, n), group in groups.items():
        own = [row for row in group if row.schedule.startswith(BEST)]
        common = [row for row in group if not row.schedule.startswith(BEST)]
        by_quality = min(common, key=lambda row: row.quality[quality].value)
        named = {row.schedule: row for row in common}
        correlation = "" if sampler == FLOW else f"{rank_correlation(group, quality):.2f}"
        cells = [_cell(row, quality, len(own) > 1) for row in own]
        lines.append(
            (
                *(sampler, str(n), "; ".join(cells), f"{by_quality.schedule} {_cell(by_quality, quality)}"),
                *(_cell(named["uniform"], quality), _cell(named["log-snr"], quality), correlation),
            )
        )
    return lines


HEAD = ("sampler", "K", "best", "best in common use", "uniform", "log-SNR", "rank correlation")


def _cell(row: Row, quality: str, named: bool = False) -> str:
    bound = "" if row.bound is None else f"{row.bound.value:.3g} | "
    name = row.schedule.removeprefix(BEST).strip() + " " if named else ""
    return f"{name}{bound}{row.quality[quality].value:.3g}"
