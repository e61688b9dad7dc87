"""Divergence of a vector field by automatic differentiation: exact, or Hutchinson's estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern import ops

# (x (n, …), t (n,) or None) -> field (n, …); each point's field depends on that point alone.
Field = Callable[[Tensor, Tensor | None], Tensor]

MODES = ("forward", "reverse")
_AGREEMENT = 1e-3  # of forward with reverse mode in the trial, relative; float32 through a deep network
_TRIAL_POINTS = 2


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
    with torch.enable_grad():
        leaf = x if gradient and x.requires_grad else x.detach().requires_grad_(True)
        value = field(leaf)
        divergence = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        if value.requires_grad:
            for axis in range(x.shape[1]):
                (row,) = torch.autograd.grad(
                    value[:, axis].sum(), leaf, retain_graph=True, create_graph=gradient, allow_unused=True
                )
                divergence = divergence + (0.0 if row is None else row[:, axis])
    return (value, divergence) if gradient else (value.detach(), divergence.detach())


def choose_mode(field: Field, x: Tensor, t: Tensor | None) -> Jacobian:
    """The best way of differentiating a field that works, found by trying it on two points.

    Forward mode, vectorised over tangents, is the fastest. Some operations have none (scaled-dot-product attention,
    custom functions), and some give zero tangents without a word: so ``wᵀ(J v)`` by forward mode must agree with
    ``(Jᵀ w)·v`` by reverse mode before it is believed.
    """
    x = x[:_TRIAL_POINTS].detach()
    t = None if t is None else t[:_TRIAL_POINTS]
    flat = (len(x), x[0].numel()) if len(x) else (0, 0)
    if not len(x):
        return Jacobian("reverse", False, "no points to try it on")
    v = ops.probes(*flat, kind="gaussian", seed=1, dtype=torch.float64).to(x).reshape(x.shape)[None]
    w = ops.probes(*flat, kind="gaussian", seed=2, dtype=torch.float64).to(x).reshape(x.shape)[None]
    try:
        _, pulled = products(field, x, t, w, Jacobian("reverse", False))
        other = (pulled * v).flatten(2).sum(2)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        other, lost = None, str(error)
    why = ""
    for way in (Jacobian("forward", True), Jacobian("forward", False)):
        try:
            _, pushed = products(field, x, t, v.expand(2, *v.shape[1:]), way)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            why = str(error).strip().splitlines()[0][:200]
            continue
        one = (pushed[:1] * w).flatten(2).sum(2)
        scale = (pushed[:1].flatten(2).norm(dim=2) * w.flatten(2).norm(dim=2)).clamp_min(1e-30)
        if other is not None and bool(((one - other).abs() > _AGREEMENT * torch.maximum(scale, other.abs())).any()):
            why = "forward mode disagrees with reverse mode: an operation loses its tangents"
            continue
        return way if way.vectorised else way._replace(reason=f"not vectorised: {why}")
    if other is None:
        raise ValueError(f"field: neither forward mode ({why}) nor reverse mode ({lost}) differentiates it")
    return Jacobian("reverse", False, why)


def products(field: Field, x: Tensor, t: Tensor | None, vectors: Tensor, way: Jacobian) -> tuple[Tensor, Tensor]:
    """``field(x, t)`` and, for each of the `vectors` (p, n, …), ``J v`` (forward mode) or ``Jᵀ v`` (reverse mode).

    Differentiable in the field's own parameters, where gradients are enabled.
    """
    if way.mode == "forward":

        def push(v: Tensor) -> tuple[Tensor, Tensor]:
            value, out, *_ = torch.func.jvp(lambda points: field(points, t), (x,), (v,))
            return value, out

        if way.vectorised:
            value, out = torch.func.vmap(push, out_dims=(None, 0))(vectors)  # type: ignore[arg-type]
            return value, out
        pairs = [push(v) for v in vectors]
        return pairs[0][0], torch.stack([out for _, out in pairs])
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True) if not (create and x.requires_grad) else x
        value = field(leaf, t)
        rows = []
        for v in vectors:
            (row,) = (
                torch.autograd.grad(value, leaf, v, retain_graph=True, create_graph=create, allow_unused=True)
                if value.requires_grad
                else (None,)
            )
            rows.append(torch.zeros_like(x) if row is None else row)
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
