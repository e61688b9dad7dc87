"""Standard errors of statistics of whole samples, from disjoint parts of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.ranks import Ranks
from thermokern.quantities.samples.inputs import random_order

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
    parts, partitions = _cut(samples, k)
    if not partitions:
        unknown = [math.nan] * len(statistic(list(samples)))
        return unknown, unknown
    variances, means = [], []
    for partition in range(partitions):
        # The hash sorts alike what is alike: two samples with the same points must not be split alike.
        orders = [random_order(x, 1009 * seed + 31 * partition + i) for i, x in enumerate(samples)]
        split = [
            torch.tensor_split(x[order], parts) for x, order in zip(samples, orders, strict=True)
        ]  # parts of each sample

        def compute(b: int, *_: int) -> Rows:
            found = statistic([pieces[b] for pieces in split])  # noqa: B023  called before the next partition
            if pace is not None:
                pace.done(sum(len(pieces[b]) for pieces in split))  # noqa: B023
            return (torch.tensor(found, dtype=torch.float64, device="cpu"),)

        blocks = run_blocks(parts, 1, Ranks() if ranks is None else ranks, compute)
        values = torch.stack([found for (found,) in blocks])  # (parts, numbers)
        variances.append(values.var(0))
        means.append(values.mean(0))
    errors = (torch.stack(variances).mean(0) / parts).sqrt()
    return errors.tolist(), torch.stack(means).mean(0).tolist()


def rows_of_errors(samples: Sequence[Tensor], k: int) -> int:
    """How many rows :func:`block_errors` goes through."""
    return _cut(samples, k)[1] * sum(map(len, samples))


def _cut(samples: Sequence[Tensor], k: int) -> tuple[int, int]:
    """Into how many parts, and how often; never where parts would be too few."""
    parts = min(MOST, min(map(len, samples)) // max(LEAST_POINTS, 10 * k))
    return parts, 0 if parts < FEWEST else PARTITIONS if sum(map(len, samples)) < _LARGE else 1
