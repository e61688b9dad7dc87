"""One node of many paths whose scores were computed elsewhere: the step and its sums in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import PRECISIONS, check_like, check_tensor, checked_integer, checked_seed
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.registry import has_kernels, register, run_kernel
from thermokern.ops.routes import Route, route
from thermokern.ops.step_table import COLUMNS, StepTable


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
    step = _Step(table, node, x)
    noise = step.drawn(x, seed, path_offset) if noise is None and step.needs_noise(advance) else noise
    if carried is None and step.needs_carried:
        carried = step.drawn_before(x, seed, path_offset)
    sums = _by_torch(x, model, reference, step.row, noise, carried, previous, step.sampler, step.reverse, advance)
    return _with_divergence(StepSums(*sums), step, divergence)


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
    _check(x, step, model, reference, noise, carried, previous)
    seed, path_offset = checked_seed(seed, path_offset)
    way = route(x, model, reference, noise, carried, previous)
    if way is Route.REFERENCE or not has_kernels(x.device):
        return trajectory_step_reference(
            x,
            model,
            reference,
            table,
            node,
            divergence=divergence,
            noise=noise,
            carried=carried,
            previous=previous,
            advance=advance,
            seed=seed,
            path_offset=path_offset,
        )
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
        function: Any = _Compiled if way is Route.COMPILED else _Eager
        out = function.apply(*arguments)
    return _with_divergence(StepSums(*out), step, divergence)


class _Step:
    """One row of a table, in the dtype of `x`."""

    def __init__(self, table: StepTable, node: int, x: Tensor) -> None:
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


def _check(x: Tensor, step: _Step, model: Tensor, reference: Tensor, *others: Tensor | None) -> None:
    names = ("model", "reference", "noise", "carried", "previous")
    for name, tensor in zip(names, (model, reference, *others), strict=True):
        if tensor is not None:
            check_like(name, tensor, x, x.shape)
    if step.node > 0 and step.reverse and others[1] is None:
        raise ValueError("carried: reverse paths need the noise that the node before returned")
    if step.node > 0 and step.sampler and not step.reverse and others[2] is None:
        raise ValueError("previous: the sampler scheme needs x at the node before")


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


# ---- derivatives: inputs x, model, reference, drawn, carried, previous; outputs value, mismatch, x_next, noise


def _forward(tensors: Sequence[Tensor], sampler: bool, reverse: bool, advance: bool) -> Any:
    x, model, reference, drawn, carried, previous, row = (tensor.contiguous() for tensor in tensors)
    no_draws = {"draw": False, "draw_carried": False, "seed": 0, "path_offset": 0, "first": 0}
    flags = {"sampler": sampler, "reverse": reverse, "advance": advance}
    return torch.ops.thermokern.trajectory_step(x, model, reference, row, drawn, carried, previous, **flags, **no_draws)


def _residual(c: dict[str, Tensor], inputs: tuple[Tensor, ...], reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The noise z of the step, and of the sampler's chain its noise and w."""
    x, model, _, drawn, carried, previous = inputs
    z, earlier, led = drawn, previous, carried
    if reverse:
        z = c["seen_position"] * x + c["seen_score"] * model + c["seen_noise"] * drawn
        earlier, led = c["drift"] * x + c["push"] * model + c["noise"] * drawn, z
    return z, led, c["chain_position"] * earlier + c["chain_noise"] * led + c["chain_score"] * model


def _backward(ctx: Any, g_value: Tensor, g_mismatch: Tensor, g_next: Tensor, g_noise: Tensor) -> tuple[Any, ...]:
    *inputs, row = ctx.saved_tensors
    c = dict(zip(COLUMNS, row.unbind(), strict=True))
    _, model, reference, _, carried, _ = inputs
    z, led, w = _residual(c, tuple(inputs), ctx.reverse)
    g_v, g_m = g_value[:, None], g_mismatch[:, None]
    delta = model - reference
    pull = c["work_carried"] * carried + c["work_drawn"] * z
    spread = 2.0 * c["mismatch"] * g_m * delta
    to_model = g_v * (2.0 * c["energy"] * model + pull) + spread
    to_reference = -g_v * (2.0 * c["energy"] * reference + pull) - spread
    to_z = g_v * c["work_drawn"] * delta
    to_carried = g_v * c["work_carried"] * delta
    to_next = g_next if ctx.advance else torch.zeros_like(delta)
    to_previous = torch.zeros_like(delta)
    if ctx.reverse:
        to_z = to_z + g_noise
    if ctx.sampler:
        to_w = g_v * (led + w)
        to_led = g_v * w + c["chain_noise"] * to_w
        to_model = to_model + c["chain_score"] * to_w
        if ctx.reverse:
            to_next, to_z = to_next + c["chain_position"] * to_w, to_z + to_led
        else:
            to_previous, to_carried = c["chain_position"] * to_w, to_carried + to_led
    to_x, to_drawn = c["drift"] * to_next, c["noise"] * to_next
    if ctx.reverse:
        to_x = to_x + c["seen_position"] * to_z
        to_model = to_model + c["push"] * to_next + c["seen_score"] * to_z
        to_drawn = to_drawn + c["seen_noise"] * to_z
    else:
        to_drawn = to_drawn + to_z
    return to_x, to_model, to_reference, to_drawn, to_carried, to_previous, None, None, None, None


class _Compiled(torch.autograd.Function):
    """For torch.compile: no jvp, which Dynamo does not trace."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        *tensors, sampler, reverse, advance = arguments
        return _forward(tensors, sampler, reverse, advance)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.sampler, ctx.reverse, ctx.advance = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _backward(ctx, *grads)


class _Eager(torch.autograd.Function):
    """Reverse and forward mode of eager calls."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        *tensors, ctx.sampler, ctx.reverse, ctx.advance = arguments
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        return _forward(tensors, ctx.sampler, ctx.reverse, ctx.advance)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _backward(ctx, *grads)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        *inputs, row = ctx.saved_tensors
        *of_inputs, _row, _sampler, _reverse, _advance = tangents
        c = dict(zip(COLUMNS, row.unbind(), strict=True))
        x, model, reference, _, carried, _ = inputs
        t_x, t_model, t_reference, t_drawn, t_carried, t_previous = (
            torch.zeros_like(x) if tangent is None else tangent for tangent in of_inputs
        )
        z, led, w = _residual(c, tuple(inputs), ctx.reverse)
        t_next, t_z = c["drift"] * t_x + c["noise"] * t_drawn, t_drawn
        if ctx.reverse:
            t_next = t_next + c["push"] * t_model
            t_z = c["seen_position"] * t_x + c["seen_score"] * t_model + c["seen_noise"] * t_drawn
        delta, t_delta = model - reference, t_model - t_reference
        pull = c["work_carried"] * carried + c["work_drawn"] * z
        t_pull = c["work_carried"] * t_carried + c["work_drawn"] * t_z
        t_value = 2.0 * c["energy"] * (model * t_model - reference * t_reference) + t_delta * pull + delta * t_pull
        if ctx.sampler:
            t_earlier, t_led = (t_next, t_z) if ctx.reverse else (t_previous, t_carried)
            t_w = c["chain_position"] * t_earlier + c["chain_noise"] * t_led + c["chain_score"] * t_model
            t_value = t_value + t_w * (led + w) + w * t_led
        t_mismatch = 2.0 * c["mismatch"] * (delta * t_delta).sum(1)
        empty = x.new_empty(0, x.shape[1])
        return t_value.sum(1), t_mismatch, t_next if ctx.advance else empty, t_z if ctx.reverse else empty


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
