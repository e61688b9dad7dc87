"""One node of many paths whose scores were computed elsewhere: the step and its sums in one pass over memory."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import (
    PRECISIONS,
    check_flags,
    check_kind,
    check_like,
    check_tensor,
    checked_integer,
    checked_seed,
)
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.registry import has_kernels, register, run_kernel
from thermokern.ops.routes import Route, route
from thermokern.ops.step_table import COLUMNS, StepTable
from thermokern.ops.trajectory_step_derivatives import Compiled, Eager


class StepSums(NamedTuple):
    value: Tensor  # (n,) the node's part of Δs
    mismatch: Tensor  # (n,) the node's part of ∫ D |s_θ − s_*|² dt
    x_next: Tensor  # (n, d), at the next node; (0, d) without `advance`
    noise: Tensor  # reverse paths: (n, d), the forward process's noise of the step; else (0, d)


def trajectory_step_reference(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    table: StepTable,
    node: int,
    *,
    divergence: Tensor | None = None,
    noise: Tensor | None = None,
    carried: Tensor | None = None,
    previous: Tensor | None = None,
    advance: bool = True,
    seed: int = 0,
    path_offset: int = 0,
) -> StepSums:
    """:func:`trajectory_step` in PyTorch: the specification, on any device, differentiable in every way."""
    check_tensor("x", x, "n", "d", any_float=True)
    step = _Step(table, node, x)
    _check(x, step, model, reference, divergence, noise, carried, previous)
    seed, path_offset = checked_seed(seed, path_offset)
    check_flags(advance=advance)
    return _in_torch(step, x, model, reference, divergence, noise, carried, previous, advance, seed, path_offset)


def trajectory_step(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    table: StepTable,
    node: int,
    *,
    divergence: Tensor | None = None,
    noise: Tensor | None = None,
    carried: Tensor | None = None,
    previous: Tensor | None = None,
    advance: bool = True,
    seed: int = 0,
    path_offset: int = 0,
) -> StepSums:
    """What one node adds to the time-asymmetry sums of each path, and the step that leaves it.

    With ``δ = s_θ − s_*``, the noise ``z⁻`` of the step that led to the node and ``z`` of the one that leaves it, and
    the numbers a, b, b', … of the table's row, Δs grows by ``a [|s_θ|² − |s_*|² + c ∇·δ] + δ·(b z⁻ + b' z)``; in the
    sampler scheme by ``w·(z⁻ + w/2)``, ``w = u x⁻ + r z⁻ + y s_θ``. The sum over the nodes is
    :func:`thermokern.ops.trajectory`.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, where the paths stand; any d.
    model, reference : Tensor
        (n, d), ``s_θ`` and ``s_*`` there.
    table : StepTable
        From :func:`thermokern.processes.step_table`.
    node : int
        Row of the table, in the order in which paths visit nodes.
    divergence : Tensor, optional
        (n,), ``∇·s_θ − ∇·s_*``; asked for by the schemes ``ito`` and ``stratonovich``.
    noise : Tensor, optional
        (n, d), standard normals of the step that leaves the node. Drawn when left out: numbers ``node·d`` … of each
        path, as :func:`thermokern.ops.normals` gives them.
    carried : Tensor, optional
        (n, d), the noise of the step that led here: ``noise`` as the last node had it, in reverse as it returned it.
        Drawn when left out, forward.
    previous : Tensor, optional
        (n, d), x at the node before; for the sampler scheme, forward.
    advance : bool
        Whether the next node is wanted.
    seed, path_offset : int
        Path ``i`` has the noise of global path ``path_offset + i``.

    Returns
    -------
    StepSums
        Nats; see there. Itô, Stratonovich or backward Itô as the table has it.

    Notes
    -----
    Differentiable in x, both scores, the divergence and the noise given: reverse mode to any order, forward mode,
    ``torch.compile`` and ``torch.func``, under whose transforms the reference runs. Every path has the same bits for
    any number of threads and any `path_offset` that leads to it. On the CPU and on CUDA devices one pass over memory;
    elsewhere PyTorch.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 28.
    """
    check_tensor("x", x, "n", "d")
    step = _Step(table, node, x)
    _check(x, step, model, reference, divergence, noise, carried, previous)
    seed, path_offset = checked_seed(seed, path_offset)
    check_flags(advance=advance)
    way = route(x, model, reference, noise, carried, previous)
    if way is Route.REFERENCE or not has_kernels(x.device):
        return _in_torch(step, x, model, reference, divergence, noise, carried, previous, advance, seed, path_offset)
    draw = noise is None and step.needs_noise(advance)
    draw_carried = carried is None and step.needs_carried
    if way is Route.KERNEL:
        out = torch.ops.thermokern.trajectory_step(
            *(x.contiguous(), model.contiguous(), reference.contiguous(), step.row),
            *(None if tensor is None else tensor.contiguous() for tensor in (noise, carried, previous)),
            *(draw, draw_carried, step.sampler, step.reverse, advance, seed, path_offset, node * x.shape[1]),
        )
    else:
        noise = step.drawn(x, seed, path_offset) if draw else noise
        carried = step.drawn_before(x, seed, path_offset) if draw_carried else carried
        # Zeros of their own for each: Dynamo takes no tensor twice.
        given = [torch.zeros_like(x) if tensor is None else tensor for tensor in (noise, carried, previous)]
        arguments = (x, model, reference, *given, step.row, step.sampler, step.reverse, advance)
        function: Any = Compiled if way is Route.COMPILED else Eager
        out = function.apply(*arguments)
    return _with_divergence(StepSums(*out), step, divergence)


class _Step:
    """One row of a table, in the dtype of `x`."""

    def __init__(self, table: StepTable, node: int, x: Tensor) -> None:
        check_kind("table", table, StepTable)
        node = checked_integer("node", node, 0, len(table.times))
        self.node, self.table = node, table
        self.row = table.columns[node].to(x)  # (13,)
        self.sampler, self.reverse = table.scheme == "sampler", table.direction == "reverse"
        self._last = node == len(table.times) - 1

    def needs_noise(self, advance: bool) -> bool:
        """Whether the noise that leaves the node has any weight."""
        return not self._last and (advance or self.reverse or self.table.scheme in ("ito", "stratonovich"))

    @property
    def needs_carried(self) -> bool:
        """Whether the noise that led here has to be drawn: in reverse it is read off the path instead."""
        return not self.reverse and self.node > 0 and self.table.scheme != "ito"

    def drawn(self, x: Tensor, seed: int, path_offset: int, node: int | None = None) -> Tensor:
        """Noise of the step that leaves a node, (n, d)."""
        first = (self.node if node is None else node) * x.shape[1]
        purpose = "reverse" if self.reverse else "noise"
        fast = x.dtype in PRECISIONS and has_kernels(x.device)
        draw = partial(normals, device=x.device) if fast else normals_reference
        return draw(*x.shape, seed=seed, path_offset=path_offset, first=first, purpose=purpose, dtype=x.dtype).to(x)

    def drawn_before(self, x: Tensor, seed: int, path_offset: int) -> Tensor:
        return self.drawn(x, seed, path_offset, self.node - 1)


def _check(
    x: Tensor, step: _Step, model: Tensor, reference: Tensor, divergence: Tensor | None, *others: Tensor | None
) -> None:
    if divergence is not None:
        check_like("divergence", divergence, x, x.shape[:1])
    names = ("model", "reference", "noise", "carried", "previous")
    for name, tensor in zip(names, (model, reference, *others), strict=True):
        if tensor is not None or name in ("model", "reference"):
            check_like(name, tensor, x, x.shape)
    if step.node > 0 and step.reverse and others[1] is None:
        raise ValueError("carried: reverse paths need the noise that the node before returned")
    if step.node > 0 and step.sampler and not step.reverse and others[2] is None:
        raise ValueError("previous: the sampler scheme needs x at the node before")


def _in_torch(
    step: _Step, x: Tensor, model: Tensor, reference: Tensor, divergence: Tensor | None, *noises_and_options: Any
) -> StepSums:
    noise, carried, previous, advance, seed, path_offset = noises_and_options
    noise = step.drawn(x, seed, path_offset) if noise is None and step.needs_noise(advance) else noise
    if carried is None and step.needs_carried:
        carried = step.drawn_before(x, seed, path_offset)
    sums = _by_torch(x, model, reference, step.row, noise, carried, previous, step.sampler, step.reverse, advance)
    return _with_divergence(StepSums(*sums), step, divergence)


def _with_divergence(sums: StepSums, step: _Step, divergence: Tensor | None) -> StepSums:
    weight = step.table.divergence_weight
    if not weight:
        return sums
    if divergence is None:
        raise ValueError(f"divergence: the scheme {step.table.scheme!r} needs it")
    value = sums.value + step.row[COLUMNS.index("energy")] * weight * divergence
    # Not _replace, which torch.compile of 2.6 does not trace.
    return StepSums(value, sums.mismatch, sums.x_next, sums.noise)


def _by_torch(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    row: Tensor,
    noise: Tensor | None,
    carried: Tensor | None,
    previous: Tensor | None,
    sampler: bool,
    reverse: bool,
    advance: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c = dict(zip(COLUMNS, row.unbind(), strict=True))
    zeros = torch.zeros_like(x)
    drawn, carried, previous = (zeros if tensor is None else tensor for tensor in (noise, carried, previous))
    following = c["drift"] * x + c["noise"] * drawn
    z = drawn
    if reverse:
        following = following + c["push"] * model
        z = c["seen_position"] * x + c["seen_score"] * model + c["seen_noise"] * drawn
    delta = model - reference  # (n, d)
    energy = (delta * (model + reference)).sum(1)
    work = (delta * (c["work_carried"] * carried + c["work_drawn"] * z)).sum(1)
    value = c["energy"] * energy + work
    if sampler:
        earlier, led = (following, z) if reverse else (previous, carried)
        w = c["chain_position"] * earlier + c["chain_noise"] * led + c["chain_score"] * model
        value = value + (w * (led + 0.5 * w)).sum(1)
    mismatch = c["mismatch"] * delta.square().sum(1)
    empty = x.new_empty(0, x.shape[1])
    return value, mismatch, following if advance else empty, z if reverse else empty


def _trajectory_step(
    x: Tensor,
    model: Tensor,
    reference: Tensor,
    row: Tensor,
    drawn: Tensor | None,
    carried: Tensor | None,
    previous: Tensor | None,
    draw: bool,
    draw_carried: bool,
    sampler: bool,
    reverse: bool,
    advance: bool,
    seed: int,
    path_offset: int,
    first: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    value, mismatch, following, noise = _outputs(x, reverse, advance)
    tensors = (x, model, reference, row, drawn, carried, previous)
    run_kernel(
        "trajectory_step",
        x,
        *(None if tensor is None else tensor.detach() for tensor in tensors),
        *(draw, draw_carried, sampler, reverse),
        *(seed, path_offset, first, value, mismatch, following if advance else None, noise if reverse else None),
    )
    return value, mismatch, following, noise


def _fake(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_, reverse, advance, _seed, _path_offset, _first = arguments
    return _outputs(x, reverse, advance)


def _outputs(x: Tensor, reverse: bool, advance: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    empty = x.new_empty(0, x.shape[1])
    following = torch.empty_like(x) if advance else empty
    noise = torch.empty_like(x) if reverse else empty.clone()
    return x.new_empty(x.shape[0]), x.new_empty(x.shape[0]), following, noise


register(
    "trajectory_step(Tensor x, Tensor model, Tensor reference, Tensor row, Tensor? drawn, Tensor? carried,"
    " Tensor? previous, bool draw, bool draw_carried, bool sampler, bool reverse, bool advance, int seed,"
    " int path_offset, SymInt first) -> (Tensor, Tensor, Tensor, Tensor)",
    _trajectory_step,
    _fake,
)
