"""First and second derivatives of Δs of each path along one direction of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thermokern.ops.checks import checked_several, described
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep import TAEP

Parameters = nn.Module | Mapping[str, Tensor] | Sequence[Tensor] | Tensor
Direction = Mapping[str, Tensor] | Sequence[Tensor] | Tensor


@stored("path-derivatives")
@dataclass(frozen=True, eq=False)
class PathDerivatives:
    """Of each path, (n,) float64 on the CPU: Δs in nats, ``v·∇Δs`` and ``v·(∇∇Δs) v``."""

    value: Tensor
    first: Tensor
    second: Tensor

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """All three."""
        return self.value, self.first, self.second


def path_derivatives(taep: TAEP | Tensor, parameters: Parameters, direction: Direction) -> PathDerivatives:
    """``v·∇Δs`` and ``v·(∇∇Δs) v`` of every path, in three backward passes whatever the number of paths.

    With a dummy weight ``u_i`` of each path, ``g(u) = ∂(u·Δs)/∂θ`` is linear in u, so that ``∂(g·v)/∂u`` holds
    ``v·∇Δs`` of every path; once more along v gives the second derivatives.

    Parameters
    ----------
    taep : TAEP or Tensor
        A result of ``taep(…, gradient=True)``, or its values (n,) with their graph.
    parameters : module, mapping or sequence of tensors, or tensor
        What is differentiated by. Of a module those of its parameters that require a gradient.
    direction : mapping or sequence of tensors, or tensor
        v: a tensor for each parameter, of its shape, by name or in order; or one (p,) for all of their numbers, in
        order.

    Returns
    -------
    PathDerivatives
        ``value``, ``first``, ``second``, (n,) each.

    Raises
    ------
    ValueError, TypeError
        Naming the argument: values without a graph, a direction of another shape, parameters that the values do not
        depend on.

    Notes
    -----
    Cost: about three backward passes through all paths at once, with their graph in memory. ``scheme="sampler"`` is the
    one whose identities (:func:`bartlett`) are exact at any number of steps.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 42.
    """
    values = taep.values if isinstance(taep, TAEP) else taep
    if not isinstance(values, Tensor) or values.dim() != 1:
        raise TypeError(f"taep: expected a TAEP or values (n,), got {type(taep).__name__}")
    if not values.requires_grad:
        raise ValueError("taep: its values have no graph; compute it with taep(…, gradient=True)")
    names, tensors = _named(parameters)
    along = _directions(direction, names, tensors)
    values = values.double()
    weights = torch.ones_like(values, requires_grad=True)
    with torch.enable_grad():
        gradient = _slope(weights @ values, tensors, along)
        if not gradient.requires_grad:
            raise ValueError("parameters: the values of this TAEP do not depend on them")
        (first,) = torch.autograd.grad(gradient, weights, retain_graph=True)
        curvature = _slope(gradient, tensors, along)
        second = torch.zeros_like(first)
        if curvature.requires_grad:  # not where Δs is linear in the parameters
            (found,) = torch.autograd.grad(curvature, weights, allow_unused=True)
            second = second if found is None else found
    return PathDerivatives(*(part.detach().cpu() for part in (values, first, second)))


def _slope(value: Tensor, tensors: list[Tensor], along: list[Tensor]) -> Tensor:
    """The derivative of a number along the direction, with its graph."""
    parts = torch.autograd.grad(value, tensors, create_graph=True, allow_unused=True)
    terms = [(part * v).sum().double() for part, v in zip(parts, along, strict=True) if part is not None]
    return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64, device="cpu")


def _named(parameters: Parameters) -> tuple[list[str], list[Tensor]]:
    named: Iterable[tuple[str, Tensor]]
    if isinstance(parameters, nn.Module):
        named = [(name, tensor) for name, tensor in parameters.named_parameters() if tensor.requires_grad]
    elif isinstance(parameters, Tensor):
        named = [("parameters", parameters)]
    elif isinstance(parameters, Mapping):
        named = list(parameters.items())
    else:
        named = [(f"parameters[{i}]", tensor) for i, tensor in enumerate(checked_several("parameters", parameters))]
    if not named:
        raise ValueError("parameters: expected some that require a gradient, got none")
    for name, tensor in named:
        if not isinstance(tensor, Tensor) or not tensor.requires_grad:
            raise ValueError(f"parameters: {name} requires no gradient; set requires_grad_(True) before taep()")
    return [name for name, _ in named], [tensor for _, tensor in named]


def _directions(direction: Direction, names: list[str], tensors: list[Tensor]) -> list[Tensor]:
    if isinstance(direction, Mapping):
        if set(direction) != set(names):
            raise ValueError(f"direction: expected {', '.join(names)}, got {', '.join(direction)}")
        parts = [direction[name] for name in names]
    elif isinstance(direction, Tensor):
        sizes = [tensor.numel() for tensor in tensors]
        if direction.numel() != sum(sizes):
            raise ValueError(f"direction: expected {sum(sizes)} numbers, got {direction.numel()}")
        parts = list(torch.split(direction.flatten(), sizes))
        parts = [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
    else:
        parts = list(checked_several("direction", direction))
    if len(parts) != len(tensors):
        raise ValueError(f"direction: expected {len(tensors)} tensors, got {len(parts)}")
    for name, part, tensor in zip(names, parts, tensors, strict=True):
        if not isinstance(part, Tensor) or part.shape != tensor.shape or not part.is_floating_point():
            raise ValueError(
                f"direction: expected {tuple(tensor.shape)} floating-point numbers for {name}, got {described(part)}"
            )
    return [part.detach().to(tensor) for part, tensor in zip(parts, tensors, strict=True)]
