"""Sums of a scheme over every second and every fourth node of the same paths, which need no further score."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_kind, check_like, check_tensor, checked_integer
from thermokern.ops.step_table import STRIDES, StepTable


class CoarseSums(NamedTuple):
    """What every stride has gathered, at a node that paths are about to visit."""

    value: Tensor  # (2, n) Δs of the coarse grids so far, float64
    kept: Tensor  # (2, n, d) U' of the coarse node before
    moved: Tensor  # (2, n, d) Σ dw since then


def no_coarse_sums(x: Tensor) -> CoarseSums:
    """What paths at their first node x (n, d) have gathered: nothing."""
    check_tensor("x", x, "n", "d", any_float=True)
    zeros = x.new_zeros(len(STRIDES), *x.shape)
    return CoarseSums(zeros.new_zeros(zeros.shape[:2], dtype=torch.float64), zeros, zeros)


def coarse_sums(
    sums: CoarseSums,
    table: StepTable,
    first: int,
    model: Tensor,
    reference: Tensor,
    divergence: Tensor | None,
    noise: Tensor,
) -> CoarseSums:
    """The coarse sums after K consecutive nodes, in PyTorch and differentiable.

    Parameters
    ----------
    sums : CoarseSums
        Before them.
    table : StepTable
        With ``coarse`` columns.
    first : int
        Row of the first of the nodes.
    model, reference : Tensor
        (K, n, d), ``s_θ`` and ``s_*``.
    divergence : Tensor or None
        (K, n), ``∇·s_θ − ∇·s_*``, where the scheme needs it.
    noise : Tensor
        (K, n, d), of the forward process, of the step that leaves each node.
    """
    _check(sums, table, model, reference, divergence, noise)
    first = checked_integer("first", first, 0, len(table.times) - len(model) + 1)
    rows = slice(first, first + len(model))
    level, spread = table.column("level")[rows], table.column("spread")[rows].to(model)
    delta = model - reference
    motion = spread[:, None, None] * noise
    values, kept, moved = [], [], []
    for i, stride in enumerate(STRIDES):
        coarse = level > i
        nodes = coarse.nonzero().squeeze(1).to(model.device)
        here, keep, weight = (
            table.column(name)[rows].to(model)[nodes] for name in ("coarse_here", "coarse_kept", f"energy_{stride}")
        )
        own = delta[nodes]  # (k, n, d)
        energy = (own * (model[nodes] + reference[nodes])).sum(2)
        if divergence is not None and table.divergence_weight:
            energy = energy + table.divergence_weight * divergence[nodes]
        # The steps between coarse nodes: those before the first continue what is there.
        part = coarse.long().cumsum(0).to(model.device)
        moves = torch.cat([sums.moved[i][None], motion.new_zeros(own.shape)]).index_add(0, part, motion)
        known = torch.cat([sums.kept[i][None], keep[:, None, None] * own])
        work = ((known[:-1] + here[:, None, None] * own) * moves[:-1]).sum(2)
        values.append(sums.value[i] + (weight[:, None] * energy + work).double().sum(0))
        kept.append(known[-1])
        moved.append(moves[-1])
    return CoarseSums(torch.stack(values), torch.stack(kept), torch.stack(moved))


def _check(
    sums: CoarseSums, table: StepTable, model: Tensor, reference: Tensor, divergence: Tensor | None, noise: Tensor
) -> None:
    check_kind("table", table, StepTable)
    if not table.coarse:
        raise ValueError("table: expected one with coarse=True, which has the columns of coarse sums")
    check_tensor("model", model, "K", "n", "d", any_float=True)
    count, n, dim = model.shape
    check_like("reference", reference, model, model.shape)
    check_like("noise", noise, model, model.shape)
    if divergence is not None:
        check_like("divergence", divergence, model, (count, n))
    check_kind("sums", sums, CoarseSums)
    check_tensor("sums.value", sums.value, len(STRIDES), n)
    check_like("sums.kept", sums.kept, model, (len(STRIDES), n, dim))
    check_like("sums.moved", sums.moved, model, (len(STRIDES), n, dim))
