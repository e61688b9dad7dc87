"""Derivatives of losses by the parameters of a subset: gradients, rows of Hessians, products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, jvp, vjp, vmap

from thermokern.quantities.learning.elementary import twice_differentiable
from thermokern.quantities.learning.loss_samples import Samples, outputs
from thermokern.quantities.learning.subset_network import SubsetNetwork

ROWS = 16  # of a Hessian that one backward pass makes
_AGREE = 1e-3  # of a row in a batch with the row alone, relative; float32 is at 1e-6


def gradients(network: SubsetNetwork, samples: Samples) -> Tensor:
    """Of each sample's loss, (n, p) in the network's precision."""

    def loss(theta: Tensor, *row: Tensor) -> Tensor:
        return samples.losses(network.at(theta), tuple(part[None] for part in row))[0]

    with twice_differentiable():
        over = (None, *(0 for _ in samples.parts))
        found: Tensor = vmap(grad(loss), in_dims=over)(network.theta, *samples.parts)
    return found.detach()


def hessian(network: SubsetNetwork, samples: Samples, check: bool = False) -> Tensor:
    """Sum over the samples, (p, p) in the network's precision, rows in batches; symmetric up to rounding.

    `check` compares a row with the same by itself.
    """
    theta, slope = _slope(network, samples)
    basis = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    rows = []
    with twice_differentiable():
        for low in range(0, len(theta), ROWS):
            (found,) = torch.autograd.grad(
                slope, theta, basis[low : low + ROWS], retain_graph=True, is_grads_batched=True, materialize_grads=True
            )
            rows.append(found)
        whole = torch.cat(rows)
        if check:
            k = int(whole.diagonal().abs().argmax())
            (alone,) = torch.autograd.grad(slope, theta, basis[k], materialize_grads=True)
            error, size = (whole[k] - alone).abs().max().item(), whole.abs().max().item()
            if error > _AGREE * size:
                raise RuntimeError(
                    f"a row of the Hessian in a batch differs by {error:.2g} (of {size:.2g}) from the row alone: an "
                    "operation of this network is differentiated wrongly in batches"
                )
    return whole.detach()


def hessian_product(network: SubsetNetwork, samples: Samples, vector: Tensor) -> Tensor:
    """Sum over the samples, times a vector: (p,)."""
    theta, slope = _slope(network, samples)
    with twice_differentiable():
        (found,) = torch.autograd.grad(slope, theta, vector.to(theta), materialize_grads=True)
    return found.detach()


def gauss_newton(network: SubsetNetwork, samples: Samples) -> tuple[Tensor, Tensor]:
    """``Σ 2a JᵀJ``: the sum (p, p) float64, and the trace of each sample (n,).

    Jacobians by reverse mode where the output has fewer numbers than the subset, else by forward mode.
    """
    x, t, a = _quadratic(samples)
    reverse = x[0].numel() <= len(network.theta)
    differentiate = jacrev if reverse else jacfwd

    def output(theta: Tensor, x: Tensor, t: Tensor, a: Tensor) -> Tensor:
        out = outputs(network.at(theta), x[None], t[None])[0]  # (K, …)
        return (out.flatten(1) * (2.0 * a).sqrt()[:, None]).flatten()

    with twice_differentiable():
        jacobian: Tensor = vmap(differentiate(output), in_dims=(None, 0, 0, 0))(network.theta, x, t, a)
    jacobian = jacobian.detach()  # (n, K d, p)
    flat = jacobian.flatten(0, 1)
    return (flat.T @ flat).double(), jacobian.double().square().sum((1, 2))


def gauss_newton_product(network: SubsetNetwork, samples: Samples, vector: Tensor) -> Tensor:
    """``Σ 2a Jᵀ J v``, (p,)."""
    x, t, a = _quadratic(samples)

    def output(theta: Tensor) -> Tensor:
        return outputs(network.at(theta), x, t)

    theta = network.theta
    with twice_differentiable():
        along: Tensor = jvp(output, (theta,), (vector.to(theta),))[1]
        weight = (2.0 * a).reshape(a.shape + (1,) * (along.dim() - 2))
        found: Tensor = vjp(output, theta)[1](weight * along)[0]
    return found.detach()


def lanczos(product: Callable[[Tensor], Tensor], size: int, top: int, seed: int) -> tuple[Tensor, Tensor]:
    """The `top` largest eigenvalues (k,) and vectors (p, k) of a symmetric matrix, by 3 `top` products and more.

    With full reorthogonalisation, float64.
    """
    steps = min(size, 3 * top + 10)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(steps, size, dtype=torch.float64, device="cpu")
    start = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
    basis[0] = start / start.norm()
    projected = torch.zeros(steps, steps, dtype=torch.float64, device="cpu")
    for k in range(steps):
        image = product(basis[k])
        projected[: k + 1, k] = basis[: k + 1] @ image
        for _ in range(2):
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        length = image.norm()
        if k + 1 < steps:
            if not bool(length > 1e-12 * projected.abs().max()):  # an invariant space: go on beside it
                image = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
                image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
                length = image.norm()
            basis[k + 1] = image / length
    upper = projected.triu()
    values, vectors = torch.linalg.eigh(upper + upper.triu(1).T)
    return values.flip(0)[:top], (basis.T @ vectors).flip(1)[:, :top]


def _slope(network: SubsetNetwork, samples: Samples) -> tuple[Tensor, Tensor]:
    """θ as a leaf, and the gradient of the summed loss with its graph."""
    theta = network.theta.clone().requires_grad_(True)
    with twice_differentiable(), torch.enable_grad():
        loss = samples.losses(partial(network, theta)).sum()
        if not loss.requires_grad:
            raise ValueError("loss: PyTorch does not see how it depends on the subset's parameters")
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
    if not slope.requires_grad:  # linear in the parameters
        slope = slope + 0.0 * theta
    return theta, slope


def _quadratic(samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    if samples.function is not None:
        raise ValueError('part: "gauss-newton" needs a loss that is quadratic in the output: "epsilon" or "likelihood"')
    return samples.parts[0], samples.parts[1], samples.parts[2]
