"""All paths of a problem through whichever backend was chosen, to their sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.quantities.engine.backends import Runner
from thermokern.quantities.engine.problem import Problem
from thermokern.quantities.engine.streamed import StreamedPaths


class PathSums(NamedTuple):
    """Sums along each path, on the CPU."""

    value: Tensor  # (n,)
    mismatch: Tensor  # (n,)
    x_last: Tensor  # (n, d)
    coarse: Tensor | None  # (n, 2)
    difference: Tensor | None  # (n,) by one set of probes minus the other


def run_paths(runner: Runner, x: Tensor, problem: Problem, n_steps: int, fused: bool, progress: bool) -> PathSums:
    """Run the paths that begin at `x` (n, d), in chunks where the backend does not make its own."""
    seed, path_offset = problem.seed, problem.path_offset
    difference: Tensor | None = None
    if isinstance(runner, StreamedPaths):
        value, mismatch, x_last, difference, coarse = runner(x, seed, path_offset)
    else:
        parts = [
            runner(x[low:high], seed, path_offset + low) for low, high in _chunks(len(x), n_steps, fused, progress)
        ]
        value, mismatch, x_last, coarser = (torch.cat(part) for part in zip(*parts, strict=True))
        coarse = coarser if coarser.shape[1] else None
    return PathSums(
        value=value.cpu(),
        mismatch=mismatch.cpu(),
        x_last=x_last.cpu(),
        coarse=None if coarse is None else coarse.cpu(),
        difference=None if difference is None else difference.cpu(),
    )


def _chunks(n: int, n_steps: int, fused: bool, progress: bool) -> Iterator[tuple[int, int]]:
    """Ranges of paths, small enough that a progress bar moves. There is always one, so that n = 0 gives results."""
    size = max(1024, (20_000_000 if fused else 2_000_000) // n_steps)
    with tqdm(total=n, disable=not progress, unit="path", unit_scale=True, desc="TAEP") as bar:
        for low in range(0, max(n, 1), size):
            high = min(low + size, n)
            yield low, high
            bar.update(high - low)
