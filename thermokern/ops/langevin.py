"""Linear overdamped Langevin paths in one call, with the work of their circulation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_finite, check_tensor, checked_points, checked_seed, refuse_gradient
from thermokern.ops.contexts import plain_precision
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.registry import register, run_kernel

_NOISE_CHUNK = 32  # steps whose noise the reference draws at once


class LangevinSums(NamedTuple):
    x_last: Tensor  # (n, d)
    work: Tensor  # (n,) Σ x_kᵀ B (x_{k+1} − x_k)


@plain_precision()
def langevin_reference(
    x: Tensor,
    drift: Tensor,
    noise: Tensor,
    circulation: Tensor,
    steps: Tensor,
    *,
    seed: int = 0,
    path_offset: int = 0,
) -> LangevinSums:
    """:func:`langevin` in PyTorch, in the dtype of `x`: the specification. Differentiable."""
    check_tensor("x", x, "n", "d", any_float=True)
    _check(x.shape[1], drift, noise, circulation, steps)
    seed, path_offset = checked_seed(seed, path_offset)
    n, dim = x.shape
    drift, circulation = drift.to(x), circulation.to(x)
    amplitude = noise.tril().to(x)
    draw = partial(normals_reference, dtype=x.dtype) if x.dtype == torch.float64 else normals
    work, drawn = x.new_zeros(n), x.new_zeros(n, 0)
    for k, h in enumerate(steps.tolist()):
        phase = k % _NOISE_CHUNK
        if phase == 0:
            count = min(_NOISE_CHUNK, len(steps) - k) * dim
            drawn = draw(n, count, seed=seed, path_offset=path_offset, first=k * dim).to(x)
        z = drawn[:, phase * dim : (phase + 1) * dim]
        step = h**0.5 * (z @ amplitude.T) - h * (x @ drift.T)  # (n, d)
        work = work + ((x @ circulation) * step).sum(1)
        x = x + step
    return LangevinSums(x, work)


def langevin(
    x: Tensor,
    drift: Tensor,
    noise: Tensor,
    circulation: Tensor,
    steps: Tensor,
    *,
    seed: int = 0,
    path_offset: int = 0,
) -> LangevinSums:
    """Euler–Maruyama paths ``x_{k+1} = x_k − h A x_k + √h G z_k`` and the sum ``Σ x_kᵀ B (x_{k+1} − x_k)``, fused.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, on the CPU or a CUDA device, first points, measured from the centre of the force;
        1 ≤ d ≤ 16.
    drift, noise, circulation : Tensor
        (d, d): A; G, of which the lower triangle is read, with ``G Gᵀ = 2𝐃``; B. With B antisymmetric the sum is one
        rule for Itô and Stratonovich.
    steps : Tensor
        (n_steps,), the step lengths h, non-negative.
    seed, path_offset : int
        Path ``i`` has the noise of global path ``path_offset + i`` of the seed, that of :func:`normals`.

    Returns
    -------
    x_last : Tensor
        (n, d).
    work : Tensor
        (n,).

    Notes
    -----
    Every path is bit-identical, on one instruction set, for any number of threads, any chunking and any `path_offset`.
    Cost: ``5 d²/2`` products a step and path; memory for the outputs alone. No gradient: see
    :func:`langevin_reference`.
    """
    x = checked_points(x)
    seed, path_offset = checked_seed(seed, path_offset)
    _check(x.shape[1], drift, noise, circulation, steps)
    matrices = {"drift": drift, "noise": noise, "circulation": circulation}
    refuse_gradient(**matrices, steps=steps)
    check_finite(**matrices, steps=steps)
    lengths = steps.detach().to("cpu", torch.float64)
    table = torch.stack([lengths, lengths.sqrt()], dim=1).to(x.device, x.dtype).contiguous()
    a, g, b = (matrix.detach().to(x.device, x.dtype).contiguous() for matrix in matrices.values())
    return LangevinSums(*torch.ops.thermokern.langevin(x, a, g, b, table, seed, path_offset))


def _check(dim: int, drift: Tensor, noise: Tensor, circulation: Tensor, steps: Tensor) -> None:
    for name, matrix in {"drift": drift, "noise": noise, "circulation": circulation}.items():
        check_tensor(name, matrix, dim, dim, any_float=True)
    check_tensor("steps", steps, "n_steps", any_float=True)
    if bool((steps < 0).any()):
        raise ValueError(f"steps: expected non-negative lengths, got {steps.min().item():g}")


def _langevin(
    x: Tensor, drift: Tensor, noise: Tensor, circulation: Tensor, steps: Tensor, seed: int, path_offset: int
) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(x), x.new_empty(x.shape[0])
    run_kernel("langevin", x, x, drift, noise, circulation, steps, seed, path_offset, *out)
    return out


def _langevin_fake(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[0])


register(
    "langevin(Tensor x, Tensor drift, Tensor noise, Tensor circulation, Tensor steps, int seed, int path_offset)"
    " -> (Tensor, Tensor)",
    _langevin,
    _langevin_fake,
)
