"""What solves the probability-flow equation of many points: kernels for the scores they know, or PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel, fuse
from thermokern.models.evaluate import score_and_divergence
from thermokern.ops.checks import MAX_DIM, NotFusable
from thermokern.ops.probability_flow import TOO_MANY
from thermokern.processes import LinearProcess, flow_table
from thermokern.quantities.likelihood.patience import Watched
from thermokern.targets import GaussianMixture

_LEVELS = (8, 11, 14, 17)  # of the grids tried in turn; a point that needs finer steps than one has moves to the next
_FUSED_LEVELS = (8, 10, 12, 14)
_REFERENCE_BATCH = 2**22  # numbers of x and its probes that PyTorch takes at once
_FEW, _MANY = 256, 16  # points of a block of the kernels that ranks share, at least, and blocks


def flow_block(n: int, dim: int, columns: int, fused: bool, alone: bool) -> int:
    """Points of a block. Those of the kernels change no bit."""
    if not fused:
        return max(1, _REFERENCE_BATCH // (dim * (1 + columns)))
    return max(1, n) if alone else max(_FEW, -(-n // _MANY))


class Kernel:
    """A score that the kernels know: makes its source on a flow table."""

    def __init__(self, model: GaussianMixture | ScoreModel, dim: int, dtype: torch.dtype | None) -> None:
        self.model, self.dim, self.dtype = model, dim, torch.float64 if dtype is None else dtype

    def source(self, table: ops.FlowTable) -> ops.Source:
        model = self.model
        if isinstance(model, GaussianMixture):
            return ops.MixtureSource(model.means, model.eigenvalues, model.weights, table.mean_scale, table.variance)
        # Level by level, so that the numbers of a level do not depend on how many there are.
        return fuse(model, table.times, self.dim, self.dtype, parts=table.level_slices())


def fusable(
    model: ScoreLike, process: LinearProcess, t_eps: float, dim: int, dtype: torch.dtype | None, reason: str
) -> Kernel | str:
    """What makes the kernels' source, or why they cannot run this."""
    if reason:
        return reason
    if dim > MAX_DIM:
        return f"the kernels take at most {MAX_DIM} dimensions, not {dim}"
    if isinstance(model, GaussianMixture):
        if model.eigenvectors is not None:
            return "the kernels take covariances that one rotation makes diagonal"
        return Kernel(model, dim, dtype)
    if not isinstance(model, ScoreModel):
        return f"only the reference knows scores of the kind {type(model).__name__}"
    kernel = Kernel(model, dim, dtype)
    try:
        kernel.source(flow_table(process, t_eps, 0))
    except NotFusable as error:
        return str(error)
    return kernel


def by_kernel(
    kernel: Kernel,
    process: LinearProcess,
    x: Tensor,
    t_eps: float,
    rtol: float,
    atol: float,
    max_evaluations: int | None,
) -> ops.FlowSums:
    def run(table: ops.FlowTable, rows: Tensor) -> ops.FlowSums:
        out = ops.probability_flow(x[rows], table, kernel.source(table), rtol=rtol, atol=atol)
        if max_evaluations is not None:
            out.status[(out.evaluations > max_evaluations) & (out.status != ops.FLOW_DONE)] = TOO_MANY
        return out._replace(divergence=out.divergence[:, None])

    return _on_finer_grids(run, process, t_eps, torch.arange(len(x), device="cpu"), _FUSED_LEVELS)


def by_reference(
    model: ScoreLike,
    process: LinearProcess,
    x: Tensor,
    shape: torch.Size,
    t_eps: float,
    signs: Tensor | None,
    columns: int,
    rtol: float,
    atol: float,
    watched: Watched,
) -> ops.FlowSums:
    def run(table: ops.FlowTable, rows: Tensor) -> ops.FlowSums:
        times = table.times.tolist()

        def field(points: Tensor, node: int, which: Tensor) -> tuple[Tensor, Tensor]:
            own = None if signs is None else signs[rows[which]]
            return score_and_divergence(model, process, points, times[node], shape, own)

        return ops.probability_flow_reference(
            *(x[rows], table, field),
            rtol=rtol,
            atol=atol,
            probes=columns,
            max_evaluations=watched.max_evaluations,
            watch=watched,
        )

    return _on_finer_grids(run, process, t_eps, torch.arange(len(x), device="cpu"), _LEVELS)


def _on_finer_grids(
    run: Any, process: LinearProcess, t_eps: float, rows: Tensor, levels: tuple[int, ...]
) -> ops.FlowSums:
    """Run on the first grid, and again, on finer and finer ones, the points whose steps it does not have."""
    out: ops.FlowSums = run(flow_table(process, t_eps, levels[0]), rows)
    for finer in levels[1:]:
        left = (out.status == ops.FLOW_NEEDS_FINER).nonzero()[:, 0]
        if not len(left):
            break
        again = run(flow_table(process, t_eps, finer), rows[left])
        for whole, part in zip(out, again, strict=True):
            whole[left] = part
    return out
