"""Standard errors of statistics of whole samples, from disjoint parts of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.ranks import Ranks
from thermokern.quantities.samples.inputs import order_of_hashes, random_order, row_hashes

# Parts of a partition at most, the points in one at least, and partitions that are averaged.
MOST, LEAST_POINTS, PARTITIONS = 32, 80, 4
FEWEST = 8  # parts below which the error is not known
_LARGE = 200_000  # points from which one partition serves


def block_errors(
    samples: Sequence[Tensor],
    statistic: Callable[[list[Tensor]], Sequence[float]],
    *,
    k: int,
    seed: int = 0,
    ranks: Ranks | None = None,
    pace: Pace | None = None,
) -> tuple[list[float], list[float]]:
    """Standard error of each number that `statistic` makes of samples (n, d), (m, d), …, and its mean over parts.

    Every sample is split at random into B disjoint parts; B-th parts belong together. The parts are independent, so the
    variance s² of the statistic over them is that of a sample of n/B points, whatever the terms within one have to do
    with each other, and ``√(s²/B)`` is the error of a whole whose variance goes as 1/n. That and nothing else is
    assumed; a jackknife that leaves parts out would count what neighbours share twice and more. Several partitions are
    averaged to steady s². Partitions depend on the points' values and `seed`, not on the order of the points.

    NaN where there are too few points for parts of ``max(80, 10 k)``. On the large side where a part is too small to
    see what the whole resolves. Ranks share the parts. `pace` counts `rows_of_errors` rows.

    References
    ----------
    Politis, Romano and Wolf, *Subsampling*, 1999, for the method; Shao and Wu, *A general theory for jackknife variance
    estimation*, 1989, for why few points must be left in, not out, where a statistic is not smooth.
    """
    parts, partitions = _cut([*map(len, samples)], k)
    if not partitions:
        unknown = [math.nan] * len(statistic(list(samples)))
        return unknown, unknown
    found = []
    for partition in range(partitions):
        orders = [random_order(x, _own_seed(seed, partition, i)) for i, x in enumerate(samples)]
        split = [
            torch.tensor_split(x[order], parts) for x, order in zip(samples, orders, strict=True)
        ]  # parts of each sample
        compute = partial(_of_part, split, statistic, pace)
        blocks = run_blocks(parts, 1, Ranks() if ranks is None else ranks, compute)
        found.append(torch.stack([numbers for (numbers,) in blocks]))
    return _spread(found)


def sharded_errors(
    samples: Sequence[Tensor],
    sizes: Tensor,
    statistic: Callable[[list[Tensor]], Sequence[float]],
    *,
    k: int,
    seed: int = 0,
    ranks: Ranks,
) -> tuple[list[float], list[float]] | None:
    """:func:`block_errors` of all ranks' points, of which each rank has a shard, to the same bits; None for NaN.

    `sizes` (ranks, samples) are how many points each has. For a `statistic` that does not depend on the order of rows.

    Hashes of all points are on every rank, eight bytes a point; the points of one part, a B-th of all, are sent at a
    time, and each rank works out every `ranks.size`-th part.
    """
    firsts = sizes[: ranks.rank].sum(0).tolist()
    parts, partitions = _cut(sizes.sum(0).tolist(), k)
    if not partitions:
        return None
    found = []
    for partition in range(partitions):
        hashes = ranks.exchanged(tuple(row_hashes(x, _own_seed(seed, partition, i)) for i, x in enumerate(samples)))
        orders = [torch.tensor_split(order_of_hashes(torch.cat(each)), parts) for each in zip(*hashes, strict=True)]
        own: list[Tensor] = []
        for low in range(0, parts, ranks.size):
            mine: list[Tensor] = []
            for b in range(low, min(low + ranks.size, parts)):
                here = [
                    x[_own_rows(order[b], first, len(x))]
                    for x, order, first in zip(samples, orders, firsts, strict=True)
                ]
                pieces = ranks.exchanged(here)
                if b - low == ranks.rank:
                    mine = [torch.cat(rows) for rows in zip(*pieces, strict=True)]
            if mine:
                own.append(_row(statistic(mine)))
        blocks = [rows for (rows,) in ranks.exchanged((torch.stack(own) if own else torch.empty(0, device="cpu"),))]
        found.append(torch.stack([blocks[b % ranks.size][b // ranks.size] for b in range(parts)]))
    return _spread(found)


def rows_of_errors(samples: Sequence[Tensor], k: int) -> int:
    """How many rows :func:`block_errors` goes through."""
    return _cut([*map(len, samples)], k)[1] * sum(map(len, samples))


def _cut(sizes: Sequence[int], k: int) -> tuple[int, int]:
    """Into how many parts, and how often; never where parts would be too few."""
    parts = min(MOST, min(sizes) // max(LEAST_POINTS, 10 * k))
    return parts, 0 if parts < FEWEST else PARTITIONS if sum(sizes) < _LARGE else 1


def _own_seed(seed: int, partition: int, sample: int) -> int:
    """The hash sorts alike what is alike: two samples with the same points must not be split alike."""
    return 1009 * seed + 31 * partition + sample


def _own_rows(rows: Tensor, first: int, n: int) -> Tensor:
    """Which of `rows` of all ranks are this one's n, that begin with `first`; counted from there."""
    return rows[(rows >= first) & (rows < first + n)] - first


def _of_part(
    split: Sequence[Sequence[Tensor]],
    statistic: Callable[[list[Tensor]], Sequence[float]],
    pace: Pace | None,
    b: int,
    *_: int,
) -> Rows:
    """The statistic of part `b` of each sample."""
    numbers = statistic([pieces[b] for pieces in split])
    if pace is not None:
        pace.done(sum(len(pieces[b]) for pieces in split))
    return (_row(numbers),)


def _row(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _spread(found: Sequence[Tensor]) -> tuple[list[float], list[float]]:
    """Errors of the whole and means, of numbers (parts, numbers) of each partition."""
    errors = (torch.stack([values.var(0) for values in found]).mean(0) / len(found[0])).sqrt()
    return errors.tolist(), torch.stack([values.mean(0) for values in found]).mean(0).tolist()
