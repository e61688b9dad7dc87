"""Hutchinson's trace: probes from the counter, and their contraction with ``J v``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import MOST, check_tensor, checked_choice, checked_integer, checked_seed
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.registry import has_kernels, register, run_kernel
from thermokern.ops.routes import Route, route

PROBES = _core.PROBES


def probes(
    n: int,
    dim: int,
    *,
    kind: str = "rademacher",
    seed: int = 0,
    path_offset: int = 0,
    first: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Random vectors v with ``⟨v vᵀ⟩ = I``, (n, dim), from the stream of probes.

    Parameters
    ----------
    n, dim : int
    kind : {"rademacher", "gaussian", "sphere"}
        Signs of standard normals; the normals; or the normals scaled to length √dim.
    seed, path_offset, first : int
        Of the normals behind them, see :func:`thermokern.ops.normals`, purpose ``probe``.
    dtype : torch.float32 or torch.float64
    device : torch.device or str
        Where they are made.
    """
    checked_choice("kind", kind, PROBES)
    dim = checked_integer("dim", dim, 0, MOST)
    z = normals(n, dim, seed=seed, path_offset=path_offset, first=first, purpose="probe", dtype=dtype, device=device)
    return _from_normals(z, kind)


def hutchinson_reference(
    products: Tensor, *, kind: str = "rademacher", seed: int = 0, path_offset: int = 0, first: int = 0
) -> Tensor:
    """:func:`hutchinson` in PyTorch: the specification."""
    check_tensor("products", products, "n", "d", any_float=True)
    checked_choice("kind", kind, PROBES)
    z = normals_reference(
        *products.shape, seed=seed, path_offset=path_offset, first=first, purpose="probe", dtype=products.dtype
    ).to(products)
    return (_from_normals(z, kind) * products).sum(1)


def hutchinson(
    products: Tensor, *, kind: str = "rademacher", seed: int = 0, path_offset: int = 0, first: int = 0
) -> Tensor:
    """``v·p`` of each row p with its probe v, drawn again rather than read: an estimate of ``tr J`` of p = J v.

    Parameters
    ----------
    products : Tensor
        (n, d) float32 or float64: ``J v`` (forward mode) or ``Jᵀ v`` (reverse mode), with v from :func:`probes` at the
        same `kind`, `seed`, `path_offset` and `first`.
    kind : {"rademacher", "gaussian", "sphere"}
    seed, path_offset, first : int

    Returns
    -------
    Tensor
        (n,). Its variance over probes is ``2 Σ_{i<j} (J_ij + J_ji)²/2`` for Rademacher probes, ``2 |(J + Jᵀ)/2|²`` for
        Gaussian ones.

    Notes
    -----
    Linear in `products`, and differentiable in them: reverse mode to any order, forward mode, ``torch.compile`` and
    ``torch.func``, under whose transforms PyTorch multiplies and sums. On the CPU and on CUDA devices one pass over
    memory; elsewhere PyTorch.

    References
    ----------
    Hutchinson, *A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines*, 1989.
    """
    checked_choice("kind", kind, PROBES)
    seed, path_offset = checked_seed(seed, path_offset)
    first = checked_integer("first", first, 0, MOST)
    check_tensor("products", products, "n", "d")
    way = route(products)
    if way is Route.REFERENCE or not has_kernels(products.device):
        return (_probes_for(products, kind, seed, path_offset, first) * products).sum(1)
    arguments = (PROBES.index(kind), seed, path_offset, first)
    if way is Route.KERNEL:
        out: Tensor = torch.ops.thermokern.hutchinson(products.contiguous(), *arguments)
        return out
    if way is Route.COMPILED:
        return _Compiled.apply(products, *arguments)  # type: ignore[no-any-return, no-untyped-call]
    return _Eager.apply(products, *arguments)  # type: ignore[no-any-return, no-untyped-call]


def _from_normals(z: Tensor, kind: str) -> Tensor:
    if kind == "rademacher":
        return torch.where(z < 0.0, -1.0, 1.0).to(z)
    if kind == "gaussian":
        return z
    length: Tensor = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z * (math.sqrt(z.shape[1]) / length)


def _probes_for(like: Tensor, kind: str, seed: int, path_offset: int, first: int, dim: int | None = None) -> Tensor:
    """The probes of the rows of `like`, where it is."""
    size = like.shape[0], like.shape[1] if dim is None else dim
    place = like.device if has_kernels(like.device) else "cpu"
    v = probes(*size, kind=kind, seed=seed, path_offset=path_offset, first=first, dtype=like.dtype, device=place)
    return v.to(like.device)


def _probe_of(grad: Tensor, dim: int, arguments: tuple[int, int, int, int]) -> Tensor:
    kind, seed, path_offset, first = arguments
    return _probes_for(grad, PROBES[kind], seed, path_offset, first, dim)


class _Compiled(torch.autograd.Function):
    """For torch.compile: no jvp, which Dynamo does not trace."""

    @staticmethod
    def forward(products: Tensor, kind: int, seed: int, path_offset: int, first: int) -> Any:
        return torch.ops.thermokern.hutchinson(products.contiguous(), kind, seed, path_offset, first)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.dim, ctx.arguments = inputs[0].shape[1], inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad[:, None] * _probe_of(grad, ctx.dim, ctx.arguments), None, None, None, None


class _Eager(torch.autograd.Function):
    """Reverse and forward mode of eager calls."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, *arguments: int) -> Any:
        ctx.dim, ctx.arguments = products.shape[1], arguments
        return torch.ops.thermokern.hutchinson(products.contiguous(), *arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad[:, None] * _probe_of(grad, ctx.dim, ctx.arguments), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:
        kind, seed, path_offset, first = ctx.arguments
        return hutchinson(tangent, kind=PROBES[kind], seed=seed, path_offset=path_offset, first=first)


def _hutchinson(products: Tensor, kind: int, seed: int, path_offset: int, first: int) -> Tensor:
    out = products.new_empty(products.shape[0])
    run_kernel("hutchinson", products, products.detach(), kind, seed, path_offset, first, out)
    return out


def _fake(products: Tensor, *_: int) -> Tensor:
    return products.new_empty(products.shape[0])


register(
    "hutchinson(Tensor products, int kind, int seed, int path_offset, int first) -> Tensor",
    _hutchinson,
    _fake,
)
