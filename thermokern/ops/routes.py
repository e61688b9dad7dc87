"""Which form of an op with gradients serves a call: the kernel alone, a form with derivatives, or the reference.

PyTorch has no single form that is right everywhere. An ``autograd.Function`` with ``setup_context`` compiles, but
Dynamo traces none that has a ``jvp``; one without gives ``torch.func`` no forward mode; and an op with a registered
backward loses the tangents of dual numbers without a word.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


class Route(Enum):
    """How a call is differentiated, see :func:`route`."""

    KERNEL = "kernel"  # nothing is differentiated
    EAGER = "eager"  # reverse mode, and dual numbers
    COMPILED = "compiled"  # torch.compile with gradients
    REFERENCE = "reference"  # under a transform of torch.func: PyTorch's own rules


def route(*tensors: Tensor | None) -> Route:
    """How to differentiate an op of these arguments, where anything asks for it."""
    given = [tensor for tensor in tensors if tensor is not None]
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    if torch.compiler.is_compiling():
        return Route.COMPILED if wanted else Route.KERNEL
    if _transforms_active():
        return Route.REFERENCE
    if wanted or any(_tangent(tensor) is not None for tensor in given):
        return Route.EAGER
    return Route.KERNEL


def _tangent(tensor: Tensor) -> Tensor | None:
    return unpack_dual(tensor).tangent  # type: ignore[no-any-return, no-untyped-call]


def _transforms_active() -> bool:
    """Whether a transform of torch.func is at work. PyTorch's question is private: without it, assume so."""
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return True if active is None else bool(active())
