"""Samples from a model by its reverse dynamics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thermokern import ops
from thermokern.processes import LinearProcess


@torch.no_grad()
def reverse_euler_maruyama(
    score: Callable[[Tensor, float], Tensor], process: LinearProcess, n: int, dim: int, times: Tensor, seed: int = 0
) -> Tensor:
    """`n` points from the reverse SDE, from the prior at the last of `times` down to the first, (n, dim) float32.

    ``x_k = x_{k+1} − f x h + g² s(x_{k+1}) h + g √h z`` with the coefficients of ``t_{k+1}``.
    """
    prior_std = process.prior(dim).stddev[0].item()
    x = prior_std * ops.normals(n, dim, seed=seed, purpose="start")
    steps = times.diff().tolist()
    for k in range(len(steps) - 1, -1, -1):
        t, h = times[k + 1].item(), steps[k]
        f, g2 = process.f(t), process.g2(t)
        z = ops.normals(n, dim, seed=seed, first=k * dim, purpose="reverse")
        x = x - f * h * x + g2 * h * score(x, t) + (g2 * h) ** 0.5 * z
    return x
