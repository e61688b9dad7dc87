"""Blocks of paths: what is batched, dealt to ranks, kept in files and put together in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from thermokern.ops.checks import checked_integer
from thermokern.quantities.engine.ranks import Group, Ranks

_MANY = 16  # blocks that a small problem is cut into, where they stay large enough to be quick
_FEWEST = 64  # paths of a block of streams, unless memory is for fewer
_CHEAP = 4  # share of the points that fit a batch, below which a block of a small network would be slow
_DRIVEN = 4096  # of one that the model drives: the network sees a block at a time
_FUSED = {"cpu": 4096, "cuda": 2**16}  # paths of one launch that keep all cores busy
_LAUNCH, _LONGEST = 2_000_000, 20_000_000  # nodes of paths in one launch, at least and at most

Rows = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sharing:
    """Into what blocks a calculation is cut, and who runs them."""

    block: int | None = None
    ranks: Ranks = field(default_factory=Ranks)
    keep_ends: bool = True


def checked_sharing(block: int | None, group: Group, gather: str = "all", keep_ends: bool = True) -> Sharing:
    """The options of every function that shares its work."""
    block = None if block is None else checked_integer("block", block, 1)
    return Sharing(block, Ranks(group, gather), keep_ends)


def count_of(n: int, size: int) -> int:
    """Blocks that cover 0 … n; one, empty, where n is 0."""
    return max(1, -(-n // size))


def run_blocks(n: int, size: int, ranks: Ranks, compute: Callable[[int, int, int], Rows]) -> list[Rows]:
    """``compute(index, low, high)`` of every block of 0 … n, by whichever rank, in order of the blocks.

    Nothing on ranks that do not hold rows.
    """
    found: dict[int, Rows] = {}
    with ranks.guarded():
        for index in ranks.deal(count_of(n, size)):
            found[index] = compute(index, index * size, min((index + 1) * size, n))
    return ranks.gathered(found, count_of(n, size))


def streamed_block(n: int, n_nodes: int, points: int, driven: bool) -> int:
    """Paths of a block of streams whose network takes `points` at once: by the problem alone.

    Blocks are no larger than that, so that memory is bounded; no smaller than fills a batch with their nodes; many, so
    that ranks have something to share. But a node of a block costs a third of a millisecond besides its points, so that
    small networks, of which many points fit, have large blocks.
    """
    least = _DRIVEN if driven else max(_FEWEST, points // n_nodes, points // _CHEAP)
    return max(1, min(n, points, max(least, -(-n // _MANY))))


def launch_block(n: int, n_steps: int, fused: bool, device: str) -> int:
    """Paths of a block that kernels, or the reference, take at once."""
    if not fused:
        return max(1024, _LAUNCH // n_steps)
    shared = min(_LONGEST // n_steps, -(-n // _MANY))
    return max(_FUSED[device], _LAUNCH // n_steps, shared)
