"""Points carried along the probability-flow equation with the divergence that they gather, each with its own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import (
    MOST,
    check_function,
    check_kind,
    check_tensor,
    checked_integer,
    checked_number,
    checked_points,
    described,
)
from thermokern.ops.flow_table import FlowTable, step_nodes
from thermokern.ops.registry import register, run_kernel
from thermokern.ops.trajectory import Source, check_source

# (x (k, d), node, rows (k,) of the points among all) -> score (k, d), divergence (k, p).
FlowField = Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor]]

FIRST_LEVEL = _core.FLOW_FIRST_LEVEL  # of a point's first step
COARSEST_LEVEL = _core.FLOW_COARSEST_LEVEL  # coarser steps could pass over what a network or the data do at some times
FINEST_LEVEL = _core.FLOW_FINEST_LEVEL
GROWTH = _core.FLOW_GROWTH  # errors below it, in units of the tolerance, are half the tolerance at twice the step

DONE, NEEDS_FINER, NOT_FINITE, TOO_MANY = 0, 1, 2, 3  # what became of a point; the last in PyTorch alone

# Dormand and Prince, "A family of embedded Runge–Kutta formulae", J. Comput. Appl. Math. 6, 1980, Table 2.
_STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class FlowSums(NamedTuple):
    x_last: Tensor  # (n, d), at u = 1
    divergence: Tensor  # (n, p), or (n,) of the fused op: ∫ (drift d + push ∇·s) du
    evaluations: Tensor  # (n,) int64, of the score
    status: Tensor  # (n,) int64: DONE, NEEDS_FINER than the table's levels, NOT_FINITE, TOO_MANY evaluations


def probability_flow_reference(
    x: Tensor,
    table: FlowTable,
    field: FlowField,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    probes: int = 1,
    max_evaluations: int | None = None,
    watch: Callable[[float, int], None] | None = None,
) -> FlowSums:
    """:func:`probability_flow` in PyTorch, for any field: the specification.

    `field` is called as ``(x, node, rows)`` and returns the score (k, d) and its divergence (k, probes), each column of
    which is integrated by itself. Points that stand at the same step go together, those furthest behind first, so a
    call has one time. What a point gives depends on the others only as far as `field` does. A point that needs more
    than `max_evaluations` is given up; `watch` is called at each step with the u of the last point and the most
    evaluations of any that stepped.
    """
    rtol, atol = checked_tolerances(rtol, atol)
    check_tensor("x", x, "n", "d", any_float=True)
    if not x.shape[1]:
        raise ValueError(f"x: expected (n, d) with d of at least 1, got {tuple(x.shape)}")
    check_kind("table", table, FlowTable)
    check_function("field", field)
    probes = checked_integer("probes", probes, 1, MOST)
    if max_evaluations is not None:
        max_evaluations = checked_integer("max_evaluations", max_evaluations, 1)
    if watch is not None:
        check_function("watch", watch)
    n, dim = x.shape
    here, gathered = x.detach().clone(), x.new_zeros(n, probes)
    slope, rate = torch.zeros_like(here), torch.zeros_like(gathered)  # at the step's start
    position = torch.zeros(n, dtype=torch.int64, device="cpu")  # in units of 2^−FINEST_LEVEL
    level = torch.full((n,), FIRST_LEVEL, dtype=torch.int64, device="cpu")
    evaluations, status = torch.zeros_like(position), torch.zeros_like(position)
    end = 2**FINEST_LEVEL
    columns = table.columns.tolist()

    def derivative(points: Tensor, node: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        out = field(points, node, rows)
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"field: expected a score and its divergence, got {described(out)}")
        score, divergence = out
        check_tensor("field: score", score, *points.shape, any_float=True)
        check_tensor("field: divergence", divergence, len(points), probes, any_float=True)
        drift, push = columns[node]
        return drift * points + push * score, drift * dim + push * divergence

    def settle(rows: Tensor, bad: Tensor, reason: int) -> None:
        status[rows[bad]], position[rows[bad]] = reason, end

    everyone = torch.arange(n, device="cpu")
    if n:
        slope, rate = derivative(here, 0, everyone)
        evaluations += 1
        settle(everyone, ~(slope.isfinite().all(1) & rate.isfinite().all(1)), NOT_FINITE)
    while bool((position < end).any()):
        first = position.min()
        rows = everyone[position == first]
        coarsest = int(level[rows].min())
        rows = rows[level[rows] == coarsest]
        if coarsest > table.levels:
            settle(rows, torch.ones_like(rows, dtype=torch.bool), NEEDS_FINER)
            continue
        size = 2 ** (FINEST_LEVEL - coarsest)
        nodes, h = step_nodes(int(first) // size, coarsest), 2.0**-coarsest
        start, start_gathered = here[rows], gathered[rows]
        slopes, rates = [slope[rows]], [rate[rows]]
        point, sum_ = start, start_gathered
        for stage, weights in enumerate(_STAGES):
            point = start + h * _combine(weights, slopes)
            if stage == len(_STAGES) - 1:
                sum_ = start_gathered + h * _combine(weights, rates)
            new_slope, new_rate = derivative(point, nodes[min(stage + 1, 5)], rows)
            slopes.append(new_slope)
            rates.append(new_rate)
        evaluations[rows] += len(_STAGES)
        error = _error(h, start, point, slopes, start_gathered, sum_, rates, rtol, atol)  # squared
        accepted = error <= 1.0
        taken = rows[accepted]
        here[taken], gathered[taken] = point[accepted], sum_[accepted]
        slope[taken], rate[taken] = slopes[-1][accepted], rates[-1][accepted]
        position[taken] += size
        aligned = position[taken] % (2 * size) == 0
        level[taken[aligned & (error[accepted] < GROWTH**2) & (coarsest > COARSEST_LEVEL)]] -= 1
        level[rows[~accepted]] += 1
        settle(rows, ~error.isfinite(), NOT_FINITE)
        settle(rows, ~accepted & (level[rows] > FINEST_LEVEL), NOT_FINITE)
        most = int(evaluations[rows].max())
        if max_evaluations is not None and most >= max_evaluations:
            settle(rows, (evaluations[rows] >= max_evaluations) & (position[rows] < end), TOO_MANY)
        if watch is not None:
            watch(int(position.min()) / end, most)
    return FlowSums(here, gathered, evaluations, status)


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = torch.zeros_like(slopes[0])
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = total + weight * slope
    return total


def _error(
    h: float,
    start: Tensor,
    point: Tensor,
    slopes: list[Tensor],
    start_gathered: Tensor,
    gathered: Tensor,
    rates: list[Tensor],
    rtol: float,
    atol: float,
) -> Tensor:
    """Mean over the d axes and the divergence of (error/tolerance)², (n,)."""
    total = torch.zeros_like(start[:, 0])
    for before, after, all_ in ((start, point, slopes), (start_gathered, gathered, rates)):
        tolerance = atol + rtol * torch.maximum(before.abs(), after.abs())
        square = (h * _combine(_ERROR, all_) / tolerance).square()
        total = total + (square.sum(1) if all_ is slopes else square.mean(1))
    return total / (start.shape[1] + 1)


def checked_tolerances(rtol: float, atol: float) -> tuple[float, float]:
    """Both as floats in (0, 1)."""
    return checked_number("rtol", rtol, above=0.0, below=1.0), checked_number("atol", atol, above=0.0, below=1.0)


def probability_flow(x: Tensor, table: FlowTable, model: Source, *, rtol: float = 1e-5, atol: float = 1e-5) -> FlowSums:
    """Points carried along the probability-flow equation from u = 0 to u = 1, with the divergence that they gather.

    ``dx/du = drift x + push s(x)``, ``dl/du = drift d + push ∇·s(x)``: Dormand and Prince's steps, 5(4), on a dyadic
    grid of u, each point with its own. A step is taken when the mean over the d + 1 axes of the squares of its errors,
    in units of ``atol + rtol |value|``, is at most 1; it is halved otherwise, and doubled where the root of that mean
    is below 1/64 and the grid allows.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, 1 ≤ d ≤ 16, on the CPU or a CUDA device.
    table : FlowTable
        From :func:`thermokern.processes.flow_table`, with 4 to 20 levels.
    model : MixtureSource or MlpSource
        The score at every node of the table.
    rtol, atol : float

    Returns
    -------
    x_last : Tensor
        (n, d), at u = 1.
    divergence : Tensor
        (n,), gathered.
    evaluations : Tensor
        (n,) int64, of the score.
    status : Tensor
        (n,) int64: 0 done, 1 needs finer steps than the table has, 2 not finite. What a point gives is meaningless
        where it is not 0.

    Notes
    -----
    A point's numbers are bit-identical on one instruction set, whatever its company and for any number of threads.
    Lanes of a register stand at different times; one that has arrived takes the next point; on CUDA a thread has one
    point. No gradient: see :func:`probability_flow_reference`.
    """
    x = checked_points(x)
    rtol, atol = checked_tolerances(rtol, atol)
    check_kind("table", table, FlowTable)
    check_source("model", model, x.shape[1], len(table.times))
    columns = table.columns.to(x.device, x.dtype).contiguous()
    out = torch.ops.thermokern.probability_flow(
        x, columns, table.levels, model.kind, model.tensors(x.dtype, x.device), rtol, atol
    )
    return FlowSums(*out)


def _flow(
    x: Tensor, columns: Tensor, levels: int, kind: str, tensors: list[Tensor], rtol: float, atol: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out = _flow_fake(x)
    run_kernel("probability_flow", x, x, columns, levels, kind, tensors, rtol, atol, *out)
    return out


def _flow_fake(x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n = x.shape[0]
    return (
        torch.empty_like(x),
        x.new_empty(n),
        x.new_empty(n, dtype=torch.int64),
        x.new_empty(n, dtype=torch.int64),
    )


register(
    "probability_flow(Tensor x, Tensor columns, int levels, str kind, Tensor[] tensors, float rtol, float atol)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _flow,
    _flow_fake,
)
