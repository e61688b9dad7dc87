"""Divergence of a vector field by automatic differentiation: exact, or Hutchinson's estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.models.trial import Quotient, check_constant, check_parameters, lost, trial_points
from thermokern.ops.contexts import differentiable, plain_precision, tangents, usable

# (x (n, …), t (n,) or None) -> field (n, …); each point's field depends on that point alone.
Field = Callable[[Tensor, Tensor | None], Tensor]

MODES = ("forward", "reverse")
_AGREEMENT = 1e-3  # of forward with reverse mode in the trial, relative; float32 through a deep network


class Jacobian(NamedTuple):
    """How Jacobian products are computed, and why not by the better way."""

    mode: str  # "forward" or "reverse"
    vectorised: bool
    reason: str = ""


def exact_divergence(field: Callable[[Tensor], Tensor], x: Tensor, gradient: bool = False) -> tuple[Tensor, Tensor]:
    """``field(x)`` and ``∇·field`` at points `x` (n, d), by one reverse pass for each axis.

    Each point's field must depend on that point alone. With `gradient` both are differentiable, in `x` too where it is.
    Cost: d + 1 evaluations of the network.
    """
    with differentiable():
        leaf = x if gradient and x.requires_grad else usable(x).detach().requires_grad_(True)
        value = field(leaf)
        divergence = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for axis in range(x.shape[1]):
            row = None
            if value.requires_grad:
                (row,) = torch.autograd.grad(
                    value[:, axis].sum(), leaf, retain_graph=True, create_graph=gradient, allow_unused=True
                )
            if row is None:
                check_constant("field", field, x)
                break
            divergence = divergence + row[:, axis]
    return (value, divergence) if gradient else (value.detach(), divergence.detach())


def choose_mode(field: Field, x: Tensor, t: Tensor | None, name: str = "field", network: object = None) -> Jacobian:
    """The best way of differentiating a field that works, found by trying it near two points.

    Forward mode, vectorised over tangents, is the fastest. Some operations have none (scaled-dot-product attention,
    custom functions), and either mode can lose derivatives without a word: what a forward does under ``no_grad``, say,
    is a constant to reverse mode. So ``wᵀ(J v)`` by forward mode must agree with ``(Jᵀ w)·v`` by reverse mode, and
    where they differ, and of what they agree on, a difference quotient decides.

    Raises a ValueError that names `name` where neither gives what the quotient gives.
    """
    if not len(x):
        return Jacobian("reverse", False, "no points to try it on")
    check_parameters(name, network)
    x, v, w = trial_points(x)
    t = None if t is None else usable(t)[: len(x)]
    with plain_precision(), torch.no_grad():
        quotient = Quotient(lambda points: field(points, _repeated(t, len(points))), x, v, network)
        reverse = Jacobian("reverse", False)
        other, why = _contraction(field, x, t, v, w, reverse)
        other_is_right = other is not None and quotient.agrees(other, w)
        for way in (Jacobian("forward", True), Jacobian("forward", False)):
            one, failure = _contraction(field, x, t, v, w, way)
            if one is None:
                reverse = reverse._replace(reason=failure)
                continue
            scale = quotient.value.norm(dim=1) * w.flatten(1).norm(dim=1)
            near = other is None or bool(
                ((one - other).abs() <= _AGREEMENT * torch.maximum(scale.to(one), other.abs()).clamp_min(1e-30)).all()
            )
            if not quotient.agrees(one, w) or not (near or not other_is_right):
                reverse = reverse._replace(
                    reason="forward mode disagrees with reverse mode: an operation loses its tangents"
                )
                continue
            return way if way.vectorised else way._replace(reason=f"not vectorised: {reverse.reason}")
    if other is None:
        raise ValueError(f"{name}: neither forward mode ({reverse.reason}) nor reverse mode ({why}) differentiates it")
    if not other_is_right:
        raise ValueError(lost(name))
    return reverse


def _repeated(t: Tensor | None, n: int) -> Tensor | None:
    """Times (at most 2) of trial points, for n points that these are again and again."""
    return None if t is None else t[:2].repeat(n)[:n]


def _contraction(
    field: Field, x: Tensor, t: Tensor | None, v: Tensor, w: Tensor, way: Jacobian
) -> tuple[Tensor | None, str]:
    """``wᵀ J v`` at each point, or None and why not."""
    try:
        if way.mode == "reverse":
            _, pulled = products(field, x, t, w[None], way)
            return (pulled[0] * v).flatten(1).sum(1), ""
        _, pushed = products(field, x, t, v.expand(2, *v.shape), way)
        return (pushed[0] * w).flatten(1).sum(1), ""
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return None, str(error).strip().splitlines()[0][:200]


def products(field: Field, x: Tensor, t: Tensor | None, vectors: Tensor, way: Jacobian) -> tuple[Tensor, Tensor]:
    """``field(x, t)`` and, for each of the `vectors` (p, n, …), ``J v`` (forward mode) or ``Jᵀ v`` (reverse mode).

    Differentiable in the field's own parameters, where gradients are enabled.
    """
    if way.mode == "forward":
        x, t = usable(x), None if t is None else usable(t)

        def push(v: Tensor) -> tuple[Tensor, Tensor]:
            value, out, *_ = torch.func.jvp(lambda points: field(points, t), (x,), (v,))
            return value, out

        with tangents():
            if way.vectorised:
                value, out = torch.func.vmap(push, out_dims=(None, 0))(vectors)  # type: ignore[arg-type]
                return value, out
            pairs = [push(v) for v in vectors]
            return pairs[0][0], torch.stack([out for _, out in pairs])
    create = torch.is_grad_enabled()
    with differentiable():
        leaf = usable(x).detach().requires_grad_(True) if not (create and x.requires_grad) else x
        t = None if t is None else usable(t)
        value = field(leaf, t)
        rows = []
        for v in vectors:
            (row,) = (
                torch.autograd.grad(value, leaf, v, retain_graph=True, create_graph=create, allow_unused=True)
                if value.requires_grad
                else (None,)
            )
            if row is None:
                check_constant("field", lambda points: field(points, _repeated(t, len(points))), x)
                rows = [torch.zeros_like(x)] * len(vectors)
                break
            rows.append(row)
    out = torch.stack(rows)
    return (value, out) if create else (value.detach(), out.detach())


def basis(x: Tensor, axes: range) -> Tensor:
    """Unit vectors along some axes of the flattened points, (axes, n, …)."""
    out = x.new_zeros(len(axes), x.shape[0], x[0].numel() if len(x) else 0)
    out[range(len(axes)), :, axes] = 1.0
    return out.reshape(len(axes), *x.shape)


def trace(field: Field, x: Tensor, t: Tensor | None, way: Jacobian, chunk: int) -> tuple[Tensor, Tensor]:
    """``field(x, t)`` and its exact divergence (n,), `chunk` axes at a time."""
    dim = x[0].numel() if len(x) else 0
    value, total = None, x.new_zeros(len(x))
    for low in range(0, dim, chunk):
        axes = range(low, min(low + chunk, dim))
        value, out = products(field, x, t, basis(x, axes), way)
        flat = out.flatten(2)
        total = total + flat[range(len(axes)), :, axes].sum(0)
    return field(x, t) if value is None else value, total
