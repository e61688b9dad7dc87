"""Consecutive nodes of many forward paths, scores and noise given: what each adds, in one call."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_kind, check_like, check_tensor, checked_integer
from thermokern.ops.registry import has_kernels, register, run_kernel
from thermokern.ops.routes import Route, route
from thermokern.ops.step_table import COLUMNS, StepTable
from thermokern.ops.trajectory_step import trajectory_step, trajectory_step_reference


class BlockSums(NamedTuple):
    value: Tensor  # (K, n) each node's part of Δs
    mismatch: Tensor  # (K, n) each node's part of ∫ D |s_θ − s_*|² dt


def trajectory_block_reference(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    table: StepTable,
    first: int,
    *,
    noise: Tensor,
    divergence: Tensor | None = None,
    previous: Tensor | None = None,
) -> BlockSums:
    """:func:`trajectory_block` in PyTorch: the specification, one node after the other."""
    _check(x, table, first, model, reference, noise, divergence, previous)
    return _by_steps(trajectory_step_reference, x, model, reference, table, first, noise, divergence, previous)


def trajectory_block(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    table: StepTable,
    first: int,
    *,
    noise: Tensor,
    divergence: Tensor | None = None,
    previous: Tensor | None = None,
) -> BlockSums:
    """What K consecutive nodes of forward paths add to their time-asymmetry sums: :func:`trajectory_step` of each.

    One call where small networks would make K of them cost more than the scores.

    Parameters
    ----------
    x : Tensor
        (K, n, d) float32 or float64, where the paths stand at nodes `first` … `first` + K − 1; any d.
    model, reference : Tensor
        (K, n, d), ``s_θ`` and ``s_*`` there.
    table : StepTable
        From :func:`thermokern.processes.step_table`, of forward paths.
    first : int
        Row of the table.
    noise : Tensor
        (K + 1, n, d), standard normals of the step that led to the first node, and of those that leave each node.
        Those before the table's first node and after its last have no weight.
    divergence : Tensor, optional
        (K, n), ``∇·s_θ − ∇·s_*``; asked for by the schemes ``ito`` and ``stratonovich``.
    previous : Tensor, optional
        (n, d), x at the node before the first; for the sampler scheme.

    Returns
    -------
    BlockSums
        Nats; see there. Itô, Stratonovich or backward Itô as the table has it.

    Notes
    -----
    Differentiable as :func:`trajectory_step` is, which then runs node by node. The same bits for any number of threads,
    and those of the steps one by one. On the CPU and on CUDA devices one pass over memory; elsewhere PyTorch.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 28.
    """
    _check(x, table, first, model, reference, noise, divergence, previous)
    if route(x, model, reference, noise, previous) is not Route.KERNEL or not has_kernels(x.device):
        return _by_steps(trajectory_step, x, model, reference, table, first, noise, divergence, previous)
    rows = table.columns[first : first + len(x)].to(x)  # (K, 13)
    sums = torch.ops.thermokern.trajectory_block(
        *(x.contiguous(), model.contiguous(), reference.contiguous(), rows, noise.contiguous()),
        *(None if previous is None else previous.contiguous(), table.scheme == "sampler"),
    )
    value, mismatch = sums
    if divergence is not None and table.divergence_weight:
        value = value + rows[:, COLUMNS.index("energy"), None] * table.divergence_weight * divergence
    return BlockSums(value, mismatch)


def _by_steps(
    step: Any,
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    table: StepTable,
    first: int,
    noise: Tensor,
    divergence: Tensor | None,
    previous: Tensor | None,
) -> BlockSums:
    parts = []
    for i in range(len(x)):
        sums = step(
            *(x[i], model[i], reference[i], table, first + i),
            divergence=None if divergence is None else divergence[i],
            noise=noise[i + 1],
            carried=noise[i],
            previous=x[i - 1] if i else previous,
            advance=False,
        )
        parts.append(sums[:2])
    return BlockSums(*(torch.stack(rows) for rows in zip(*parts, strict=True)))


def _check(
    x: Tensor,
    table: StepTable,
    first: int,
    model: Tensor,
    reference: Tensor,
    noise: Tensor,
    divergence: Tensor | None,
    previous: Tensor | None,
) -> None:
    check_tensor("x", x, "K", "n", "d")
    check_kind("table", table, StepTable)
    if not len(x):
        raise ValueError(f"x: expected (K, n, d) with K at least 1, got {tuple(x.shape)}")
    if table.direction != "forward":
        raise ValueError("table: expected one of forward paths; in reverse the scores decide where each step leads")
    checked_integer("first", first, 0, len(table.times) - len(x) + 1)
    count, n, dim = x.shape
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "model": (model, (count, n, dim)),
        "reference": (reference, (count, n, dim)),
        "noise": (noise, (count + 1, n, dim)),
        "divergence": (divergence, (count, n)),
        "previous": (previous, (n, dim)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None or name in ("model", "reference", "noise"):
            check_like(name, tensor, x, shape)
    if divergence is None and table.divergence_weight:
        raise ValueError(f"divergence: the scheme {table.scheme!r} needs it")
    if previous is None and first and table.scheme == "sampler":
        raise ValueError("previous: the sampler scheme needs x at the node before")


def _trajectory_block(
    x: Tensor, model: Tensor, reference: Tensor, rows: Tensor, noise: Tensor, previous: Tensor | None, sampler: bool
) -> tuple[Tensor, Tensor]:
    value, mismatch = _fake(x)
    given = [None if tensor is None else tensor.detach() for tensor in (x, model, reference, rows, noise, previous)]
    run_kernel("trajectory_block", x, *given, sampler, value, mismatch)
    return value, mismatch


def _fake(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[:2]), x.new_empty(x.shape[:2])


register(
    "trajectory_block(Tensor x, Tensor model, Tensor reference, Tensor rows, Tensor noise, Tensor? previous,"
    " bool sampler) -> (Tensor, Tensor)",
    _trajectory_block,
    _fake,
)
