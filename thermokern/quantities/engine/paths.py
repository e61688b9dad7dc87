"""All paths of a problem through whichever backend was chosen, to their sums."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.quantities.engine.backends import Runner
from thermokern.quantities.engine.blocks import Rows, launch_block, run_blocks
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.problem import Problem
from thermokern.quantities.engine.starts import Points
from thermokern.quantities.engine.streamed import StreamedPaths, Streaming


class PathSums(NamedTuple):
    """Sums along each path, on the CPU; empty on a rank that does not hold rows."""

    value: Tensor  # (n,)
    mismatch: Tensor  # (n,)
    x_last: Tensor  # (n, d)
    coarse: Tensor | None  # (n, 2)
    difference: Tensor | None  # (n,) by one set of probes minus the other
    settings: dict[str, object]  # how it ran


def run_paths(
    runner: Runner, x: Points, problem: Problem, n_steps: int, fused: bool, streaming: Streaming, device: torch.device
) -> PathSums:
    """Run the paths that begin at `x` (n, d), block by block."""
    seed, path_offset = problem.seed, problem.path_offset
    if isinstance(runner, StreamedPaths):
        sums = runner(x, seed, path_offset)
        return PathSums(
            value=sums.value.cpu(),
            mismatch=sums.mismatch.cpu(),
            x_last=sums.x_last.cpu(),
            coarse=None if sums.coarse is None else sums.coarse.cpu(),
            difference=None if sums.probe_difference is None else sums.probe_difference.cpu(),
            settings=runner.settings(),
        )
    n, resolved, sharing = len(x), streaming.resolved, streaming.sharing
    size = sharing.block or launch_block(n, n_steps, fused, device.type)
    # Kernels compute each path alike in any company; what is resolved is summed over a block.
    pace = Pace(n, "path", "TAEP", streaming.progress, whole=not fused or resolved is not None)
    with pace.bar():

        def compute(_: int, low: int, high: int) -> Rows:
            own = None if resolved is None else resolved.fresh()
            parts = []
            for first, last in pace.pieces(low, high):
                sums = runner(x[first:last].to(device), seed, path_offset + first, own)
                x_last = sums.x_last if sharing.keep_ends else sums.x_last[:, :0]
                parts.append((sums.value.cpu(), sums.mismatch.cpu(), x_last.cpu(), sums.coarse.cpu()))
            rows = parts[0] if len(parts) == 1 else tuple(torch.cat(part) for part in zip(*parts, strict=True))
            return rows if own is None else (*rows, *own.tensors())

        blocks = run_blocks(n, size, sharing.ranks, compute)
    if resolved is not None:
        for rows in blocks:
            resolved.merge(rows[4:])
    if not blocks:  # another rank has them
        return PathSums(x[:0].new_zeros(0), x[:0].new_zeros(0), x[:0], None, None, {"block": size})
    value, mismatch, x_last, coarser = (torch.cat([rows[column] for rows in blocks]) for column in range(4))
    return PathSums(value, mismatch, x_last, coarser if coarser.shape[1] else None, None, {"block": size})
