"""What the entropy rates are made of, averaged over paths at every node and integrated along every path."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_kind, check_tensor, checked_seed
from thermokern.ops.registry import register, run_kernel
from thermokern.ops.step_table import RateTable
from thermokern.ops.trajectory import NodeScore, Source, follow, kernel_sources, start_of_paths

# csrc/core/trajectory_averages.hpp computes them in this order; s is the model's score and s_* the reference's.
OBSERVABLES = (
    "score_squared",  # |s|²
    "divergence",  # ∇·s
    "score_overlap",  # s·s_*
    "mismatch",  # |s − s_*|²
    "current_squared",  # |f x − D s|²
    "force_score",  # f x·s
    "force_current",  # f x·(f x − D s)
)


class TrajectoryAverages(NamedTuple):
    """Columns are :data:`OBSERVABLES`.

    Attributes
    ----------
    mean, variance : Tensor
        (n_nodes, 7) float64, over paths; the variance with n − 1. NaN where there are too few paths.
    integrals : Tensor
        (n, 7), along each path, each observable with the factor that makes it a rate: ``∫ D|s|² dt``, ``∫ D ∇·s dt``,
        ``∫ D s·s_* dt``, ``∫ D|s − s_*|² dt``, ``∫ |f x − D s|²/D dt``, ``∫ f x·s dt``, ``∫ f x·(f x − D s)/D dt``.
    x_last : Tensor
        (n, d), at the node that paths visit last.
    """

    mean: Tensor
    variance: Tensor
    integrals: Tensor
    x_last: Tensor


def trajectory_averages_reference(
    x: Tensor, table: RateTable, model: NodeScore, reference: NodeScore, *, seed: int = 0, path_offset: int = 0
) -> TrajectoryAverages:
    """:func:`trajectory_averages` in PyTorch, in the dtype of `x`, for any scores with a divergence."""
    check_tensor("x", x, "n", "d", any_float=True)
    check_kind("table", table, RateTable)
    means, variances = [], []
    integrals = x.new_zeros(len(x), len(OBSERVABLES))
    x_last = x
    for k, visit in enumerate(follow(x, table, model, reference, seed, path_offset)):
        force, diffusion, weight, scaled_up, scaled = table.rates[k].tolist()
        drift, model_score = force * visit.x, visit.model_score  # (n, d)
        current = drift - diffusion * model_score
        if visit.model_divergence is None:
            raise ValueError("model: expected a score with its divergence, got None")
        values = torch.stack(
            [
                model_score.square().sum(1),
                visit.model_divergence,
                (model_score * visit.reference_score).sum(1),
                (model_score - visit.reference_score).square().sum(1),
                current.square().sum(1),
                (drift * model_score).sum(1),
                (drift * current).sum(1),
            ],
            dim=1,
        )  # (n, 7)
        weights = [scaled_up] * 4 + [scaled, weight, scaled]
        integrals = integrals + values * values.new_tensor(weights)
        means.append(values.double().mean(0))
        variances.append(values.double().var(0) if len(x) > 1 else torch.full_like(means[-1], torch.nan))
        x_last = visit.following
    return TrajectoryAverages(torch.stack(means), torch.stack(variances), integrals, x_last)


def trajectory_averages(
    x: Tensor, table: RateTable, model: Source, reference: Source, *, seed: int = 0, path_offset: int = 0
) -> TrajectoryAverages:
    """Averages over paths at every node, and integrals along every path, of :data:`OBSERVABLES`, fused.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, on the CPU or a CUDA device, points at the first node; 1 ≤ d ≤ 16.
    table : RateTable
        From :func:`thermokern.processes.rate_table`.
    model, reference : MixtureSource or MlpSource
        ``s`` and ``s_*`` at every node.
    seed, path_offset : int
        Path ``i`` has the noise of global path ``path_offset + i`` of the seed.

    Returns
    -------
    TrajectoryAverages

    Notes
    -----
    On one instruction set the same bits for any number of threads: paths are summed in stretches whose size depends on
    n alone, in float64 about the first value of each, and stretches are merged by halves. Times along a path are
    correlated: the standard error of an integral is that of the mean over paths of `integrals`, not a sum over nodes.
    Cost: an evaluation of both scores, with the model's divergence, for each path and node; memory 7 numbers a path,
    and up to 256 × n_nodes × 7 sums (1024 × on CUDA, whose stretches are others: there averages differ from the CPU's
    by rounding). No gradient: see :func:`trajectory_averages_reference`.
    """
    x = start_of_paths(x, table, model, reference, RateTable)
    seed, path_offset = checked_seed(seed, path_offset)
    mean, m2, integrals, x_last = torch.ops.thermokern.trajectory_averages(
        x,
        table.columns.to(x.device, x.dtype).contiguous(),
        table.rates.to(x.device, x.dtype).contiguous(),
        *kernel_sources(model, reference, x),
        seed,
        path_offset,
    )
    n = len(x)
    return TrajectoryAverages(mean, m2 / (n - 1) if n > 1 else m2 * torch.nan, integrals, x_last)


def _trajectory_averages(
    x: Tensor,
    steps: Tensor,
    rates: Tensor,
    model_kind: str,
    model: list[Tensor],
    reference_kind: str,
    reference: list[Tensor],
    seed: int,
    path_offset: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out = _trajectory_averages_fake(x, steps)
    for part in out[:2]:
        part.fill_(torch.nan)  # what no path says
    run_kernel(
        "trajectory_averages",
        x,
        x,
        steps,
        rates,
        model_kind,
        model,
        reference_kind,
        reference,
        seed,
        path_offset,
        *out,
    )
    return out


def _trajectory_averages_fake(x: Tensor, steps: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    cells = (steps.shape[0], len(OBSERVABLES))
    mean, m2 = (x.new_empty(cells, dtype=torch.float64) for _ in range(2))
    return mean, m2, x.new_empty(x.shape[0], len(OBSERVABLES)), torch.empty_like(x)


register(
    "trajectory_averages(Tensor x, Tensor steps, Tensor rates, str model_kind, Tensor[] model, str reference_kind,"
    " Tensor[] reference, int seed, int path_offset) -> (Tensor, Tensor, Tensor, Tensor)",
    _trajectory_averages,
    _trajectory_averages_fake,
)
