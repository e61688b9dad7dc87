"""Derivatives of a step: of value, mismatch, x_next, noise by x, model, reference, drawn, carried, previous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thermokern.ops.step_table import COLUMNS


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


class Compiled(torch.autograd.Function):
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


class Eager(torch.autograd.Function):
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
