"""Score of a multilayer perceptron and its exact divergence, by forward-mode tangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from thermokern import _core
from thermokern.ops.checks import (
    check_finite,
    check_tensor,
    checked_choice,
    checked_number,
    checked_points,
    described,
    refuse_gradient,
)
from thermokern.ops.contexts import plain_precision
from thermokern.ops.registry import register, run_kernel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu-tanh": lambda a: functional.gelu(a, approximate="tanh"),
}
# How a CUDA device multiplies the matrices between hidden layers of float32 trajectories.
PRODUCTS = _core.PRODUCTS
MAX_WIDTH, MAX_LAYERS = _core.MAX_WIDTH, _core.MAX_LAYERS


@plain_precision()
def mlp_score_divergence_reference(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Tensor,
    activation: str,
    output_scale: Tensor | float = 1.0,
    skip: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """:func:`mlp_score_divergence` in PyTorch: differentiable, in the dtype of `x`."""
    check_tensor("x", x, "n", "d", any_float=True)
    check_tensor("biases", biases, "units", any_float=True)
    check_layers(weights, biases[None], activation, x.shape[1])
    output_scale, skip = _factor("output_scale", output_scale), _factor("skip", skip)
    function = ACTIVATIONS[activation]
    splits = torch.split(biases.to(x), [weight.shape[0] for weight in weights])

    def network(point: Tensor) -> tuple[Tensor, Tensor]:  # (d,) to (d,), twice
        value = point
        for weight, bias in zip(weights[:-1], splits[:-1], strict=True):
            value = function(weight.to(x) @ value + bias)
        out = output_scale * (weights[-1].to(x) @ value + splits[-1]) + skip * point
        return out, out

    if x.shape[0] == 0:
        return torch.empty_like(x), x.new_empty(0)
    jacobian, score = torch.func.vmap(torch.func.jacfwd(network, has_aux=True))(x)  # (n, d, d), (n, d)
    return score, jacobian.diagonal(dim1=1, dim2=2).sum(1)


def mlp_score_divergence(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Tensor,
    activation: str,
    output_scale: float = 1.0,
    skip: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """``s = output_scale · network(x) + skip · x`` and the exact ``∇·s`` in one pass.

    ``h_0 = x``, ``h_l = σ(W_l h_{l−1} + b_l)``, ``network = W_L h_{L−1} + b_L``; every value carries its d derivatives.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, 1 ≤ d ≤ 16; weights and biases in the same dtype and on the same device.
    weights : sequence of Tensor
        Matrices (out, in), hidden layers first; at least two, hidden widths at most 256.
    biases : Tensor
        All layers' biases in one row, (Σ widths + d,).
    activation : {"silu", "tanh", "relu", "gelu-tanh"}
    output_scale, skip : float

    Returns
    -------
    score (n, d), divergence (n,)

    Notes
    -----
    No gradient: see :func:`mlp_score_divergence_reference`. Cost: 2 (1 + d) Σ (out · in) operations a point.
    """
    x = checked_points(x)
    output_scale, skip = checked_number("output_scale", output_scale), checked_number("skip", skip)
    check_tensor("biases", biases, "units")
    check_mlp(weights, biases[None], activation, x.shape[1])
    refuse_gradient(biases=biases, **{f"weights[{i}]": weight for i, weight in enumerate(weights)})
    for name, tensor in {"biases": biases, **{f"weights[{i}]": weight for i, weight in enumerate(weights)}}.items():
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(f"{name}: expected {x.dtype} on {x.device} as x is, got {tensor.dtype} on {tensor.device}")
    flat = [weight.detach().contiguous() for weight in weights]
    out = torch.ops.thermokern.mlp_score_divergence(
        x, flat, biases.detach().contiguous(), activation, output_scale, skip
    )
    score, divergence = out
    return score, divergence


def _factor(name: str, value: Tensor | float) -> Tensor | float:
    """A number, or one in a tensor, whose gradient stays."""
    kept = isinstance(value, Tensor) and value.is_floating_point() and not value.dim()
    return value if kept else checked_number(name, value)


def check_mlp(weights: Sequence[Tensor], biases: Tensor, activation: str, dim: int) -> None:
    """Raise unless these describe a perceptron that the kernels take."""
    check_layers(weights, biases, activation, dim, MAX_WIDTH)
    check_finite(biases=biases, **{f"weights[{i}]": weight for i, weight in enumerate(weights)})


def check_layers(weights: Sequence[Tensor], biases: Tensor, activation: str, dim: int, most: int | None = None) -> None:
    """Raise unless these describe a perceptron from `dim` to `dim` numbers; `biases` is (nodes, Σ widths + dim)."""
    check_matrices(weights, activation, dim, most)
    units = sum(weight.shape[0] for weight in weights)
    check_tensor("biases", biases, "nodes", units, any_float=True)


def check_matrices(weights: Sequence[Tensor], activation: str, dim: int, most: int | None = None) -> None:
    """Raise unless these are the matrices of a perceptron from `dim` to `dim` numbers."""
    checked_choice("activation", activation, ACTIVATIONS)
    if not isinstance(weights, Sequence) or isinstance(weights, str | bytes):
        raise TypeError(f"weights: expected matrices, got {described(weights)}")
    if len(weights) < 2:
        raise ValueError(f"weights: expected at least 2 matrices, got {len(weights)}")
    fan_in = dim
    for i, weight in enumerate(weights):
        last = i == len(weights) - 1
        check_tensor(f"weights[{i}]", weight, dim if last else "width", fan_in, any_float=True)
        fan_in = weight.shape[0]
        if not last and not 1 <= fan_in <= (fan_in if most is None else most):
            raise ValueError(f"weights[{i}]: expected a width of 1 to {most or 'any'}, got {fan_in}")


def _mlp(
    x: Tensor, weights: list[Tensor], biases: Tensor, activation: str, output_scale: float, skip: float
) -> tuple[Tensor, Tensor]:
    score, divergence = _mlp_fake(x, weights, biases, activation, output_scale, skip)
    numbers = [*weights, biases[None], x.new_tensor([output_scale]), x.new_tensor([skip])]
    unused = torch.empty_like(divergence)
    run_kernel("score", x, f"mlp:{activation}", numbers, x, score, divergence, unused)
    return score, divergence


def _mlp_fake(
    x: Tensor, weights: list[Tensor], biases: Tensor, activation: str, output_scale: float, skip: float
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[0])


register(
    "mlp_score_divergence(Tensor x, Tensor[] weights, Tensor biases, str activation, float output_scale, float skip)"
    " -> (Tensor, Tensor)",
    _mlp,
    _mlp_fake,
)
