"""Balls of nearest neighbours: what lies in them, by this process, by ranks that share the searches, or over shards."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thermokern.ops import KDTree
from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.ranks import Ranks
from thermokern.quantities.samples.inputs import scaled

_FEW_POINTS, _MANY = 1024, 64  # whose searches a rank does at once, at least; and into how many blocks of points
_NEAR = 16  # balls tried first for a point, by their centres' distance
_SENT = 2**16  # rows of a shard that the other ranks see at once


def balls(real: Tensor, generated: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Generated points in each real ball (n,), those that are in one (m,), real points in a generated ball (n,)."""
    tree, other = KDTree(real), KDTree(generated)
    radius = tree.neighbours(k)[:, k - 1]
    hits = other.count_within(real, radius, strict=True)
    return hits, in_some_ball(tree, radius, generated), in_some_ball(other, other.neighbours(k)[:, k - 1], real)


def shared_balls(real: Tensor, generated: Tensor, k: int, ranks: Ranks, pace: Pace) -> tuple[Tensor, Tensor, Tensor]:
    """The same, the points' searches dealt to ranks: first all radii, then what lies in the balls."""
    samples, trees = (real, generated), (KDTree(real), KDTree(generated))

    def over(points: Tensor, compute: Callable[[int, int], Tensor]) -> Tensor:
        """What ``compute(low, high)`` gives for rows of `points`, in blocks, for all of them."""

        def counted(_: int, low: int, high: int) -> Rows:
            rows = compute(low, high).cpu()
            pace.done(high - low)
            return (rows,)

        size = max(_FEW_POINTS, -(-len(points) // _MANY))
        return torch.cat([rows for (rows,) in run_blocks(len(points), size, ranks, counted)]).to(points.device)

    def radii_of(own: int) -> Tensor:
        tree, points = trees[own], samples[own]  # a point is its own nearest neighbour
        return over(points, lambda low, high: tree.query(points[low:high], k + 1, workers=-1)[0][:, k]).to(points)

    def inside(own: int) -> Tensor:
        tree, radius, points = trees[1 - own], radii[1 - own], samples[own]
        return over(points, lambda low, high: in_some_ball(tree, radius, points[low:high]))

    radii = [radii_of(0), radii_of(1)]
    hits = over(real, lambda low, high: trees[1].count_within(real[low:high], radii[0][low:high], strict=True))
    return hits, inside(1), inside(0)


def in_some_ball(tree: KDTree, radius: Tensor, y: Tensor) -> Tensor:
    """Whether each of `y` (m, d) is nearer to some point i of the tree than its `radius` (n,), (m,) bool.

    Balls are tried in the order of their centres' distance, until one holds the point or none could reach it.
    """
    inside = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    open_ = torch.arange(len(y), device=y.device)
    widest, near = radius.max(), min(_NEAR, tree.n)
    while len(open_):
        distances, indices = tree.query(y[open_], near, workers=-1)
        distances, indices = distances.reshape(len(open_), near), indices.reshape(len(open_), near)
        found = (distances < radius[indices]).any(1)
        inside[open_[found]] = True
        if near == tree.n:
            break
        open_ = open_[~found & (distances[:, -1] < widest)]
        near = min(4 * near, tree.n)
    return inside


def of_one_scale(real: Tensor, generated: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Shards of both samples in the units of all ranks' points: see :func:`scaled`."""
    both = torch.cat([real, generated])
    corners = torch.stack([both.amin(0), both.amax(0)])
    everywhere = torch.cat([found for (found,) in ranks.exchanged((corners,))])
    _, log_volume = scaled(everywhere, None)
    exponent = round(log_volume / (both.shape[1] * math.log(2.0)))
    if not exponent:
        return real, generated
    shrunk: Tensor = torch.ldexp(both, torch.tensor(-exponent, device="cpu"))
    return shrunk[: len(real)], shrunk[len(real) :]


def sharded_balls(real: Tensor, generated: Tensor, k: int, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`balls` gives of all ranks' points, of which each rank has a shard: for all rows, in order of ranks.

    A rank's rows go to all others in turn, `_SENT` at a time, and each searches its own tree: the k-th smallest of all
    shards' distances is the radius, counts add up, and a point lies in some ball where it does in one of some shard.
    """
    points = (real, generated)
    trees = [KDTree(shard) for shard in points]

    def radii_of(of: int) -> Tensor:
        """Of this rank's points of one sample."""

        def nearest(source: int, rows: Tensor, _: Tensor) -> Tensor:
            own = source == ranks.rank  # the point itself is then among the neighbours
            count = min(k + own, trees[of].n)
            distances: Tensor = trees[of].query(rows, count, workers=-1)[0].reshape(len(rows), count)
            return distances[:, int(own) :]

        found = torch.cat(_over_shards(points[of], points[of][:, 0], ranks, nearest), 1)
        return found.sort(1).values[:, k - 1]

    radii = [radii_of(0), radii_of(1)]

    def inside(of: int) -> Tensor:
        """Whether this rank's points of one sample lie in balls of the other's."""
        found = _over_shards(
            points[of], points[of][:, 0], ranks, lambda _s, rows, _e: in_some_ball(trees[1 - of], radii[1 - of], rows)
        )
        return torch.stack(found).any(0)

    hits = _over_shards(
        real, radii[0], ranks, lambda _s, rows, radius: trees[1].count_within(rows, radius, strict=True)
    )
    own = (torch.stack(hits).sum(0), inside(1), inside(0))
    columns = zip(*ranks.exchanged(own), strict=True)
    whole = [torch.cat(parts) for parts in columns]
    return whole[0], whole[1], whole[2]


def _over_shards(
    rows: Tensor, extra: Tensor, ranks: Ranks, compute: Callable[[int, Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """What each rank's shard says, by ``compute(source, rows, extra)``, of this rank's `rows` and numbers `extra`."""
    sizes = [int(size) for (size,) in ranks.exchanged((torch.tensor([len(rows)], device="cpu"),))]
    pieces: list[list[Tensor]] = []
    for low in range(0, max(sizes), _SENT):
        asked = ranks.exchanged((rows[low : low + _SENT], extra[low : low + _SENT]))
        answers = [compute(source, *each).contiguous().cpu() for source, each in enumerate(asked)]
        pieces.append([said[ranks.rank] for said in ranks.exchanged(tuple(answers))])
    return [torch.cat(parts) for parts in zip(*pieces, strict=True)]
