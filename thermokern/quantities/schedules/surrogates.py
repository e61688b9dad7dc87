"""Objectives that bound nothing: the defects of Euler steps of the probability flow, and the KLUB."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.quantities.engine.problem import Problem
from thermokern.quantities.schedules.moments import NodeScore
from thermokern.quantities.schedules.pairs import Nodes
from thermokern.targets import Distribution

_NUMBERS = 2**23  # of the paths that are alive at once


def defects(problem: Problem, nodes: Nodes, score: NodeScore, data_std: float, progress: bool) -> dict[str, Tensor]:
    """Costs (M, M) of one Euler step ``y_s = y_t + (σ_s − σ_t) ε_t`` of the flow ``dy/dσ = ε``, y = x/m.

    The defect ``e = y_s − y_t − (σ_s − σ_t) ε_t`` of every pair is read off one fine run (Adams–Bashforth steps of
    second order) from data diffused to the last node. ``defect``: ``E|e|² E|∇ log p_s|²/d²``, the square in units of
    the law's own scale there. ``defect-w2``: ``E|e|²/(d (c² + σ_s²))``, what is left of it when the flow has contracted
    to data of standard deviation c. Both are exact for isotropic Gaussians: their optimum is ``σ = c tan θ`` with equal
    steps of θ.
    """
    count, dim = len(nodes.times), problem.dim
    sigma = nodes.sigma
    total = torch.full((count, count), torch.inf, dtype=torch.float64, device="cpu")
    total[torch.ones_like(total, dtype=torch.bool).triu(1)] = 0.0
    energy = torch.zeros(count, dtype=torch.float64, device="cpu")
    for low, x0 in _parts(problem, count, progress):
        z = ops.normals(
            len(x0), dim, seed=problem.seed, path_offset=problem.path_offset + low, purpose="reverse", dtype=x0.dtype
        )
        y, noise = x0.new_empty(count, *x0.shape), x0.new_empty(count, *x0.shape)
        y[-1] = x0 + sigma[-1] * z
        for k in range(count - 1, -1, -1):
            noise[k] = -nodes.variance[k].sqrt() * score(nodes.mean_scale[k] * y[k], k)
            if k:
                step = sigma[k - 1] - sigma[k]
                slope = noise[k]
                if k + 1 < count:
                    slope = slope + 0.5 * step / (sigma[k] - sigma[k + 1]) * (noise[k] - noise[k + 1])
                y[k - 1] = y[k] + step * slope
        energy += (noise / sigma[:, None, None]).square().sum((1, 2))
        for t in range(1, count):
            step = (sigma[:t] - sigma[t])[:, None, None]
            total[:t, t] += (y[:t] - y[t] - step * noise[t]).square().sum((1, 2))
    n = len(problem.points)
    return {
        "defect": total / n * (energy / n)[:, None] / dim**2,
        "defect-w2": total / n / (dim * (data_std**2 + sigma.square()))[:, None],
    }


def klub(problem: Problem, nodes: Nodes, score: NodeScore, progress: bool) -> Tensor:
    """``∫_s^t σ⁻³ E|D(x_u) − D(x_t)|² dσ`` of every pair, (M, M), along forward paths, by the trapezoid rule in log σ.

    With exact scores this is the cost of a ``ddpm`` step; with a network its error at both times is left out.

    References
    ----------
    Sabour, Fidler and Kreis, *Align your steps*, 2024, Theorem 3.1.
    """
    count, dim = len(nodes.times), problem.dim
    sigma, m = nodes.sigma, nodes.mean_scale
    spread = torch.cat([sigma[:1].square(), sigma.square().diff()]).sqrt()
    weight = sigma.log().diff()
    total = torch.full((count, count), torch.inf, dtype=torch.float64, device="cpu")
    total[torch.ones_like(total, dtype=torch.bool).triu(1)] = 0.0
    for low, x0 in _parts(problem, count, progress):
        y, denoised = x0, x0.new_empty(count, *x0.shape)
        for k in range(count):
            z = ops.normals(
                *(len(x0), dim),
                seed=problem.seed,
                path_offset=problem.path_offset + low,
                first=k * dim,
                purpose="reverse",
                dtype=x0.dtype,
            )
            y = y + spread[k] * z
            denoised[k] = y + nodes.variance[k] / m[k] * score(m[k] * y, k)
        for t in range(1, count):
            rate = (denoised[: t + 1] - denoised[t]).square().sum((1, 2)) / sigma[: t + 1].square()
            pieces = 0.5 * (rate[1:] + rate[:-1]) * weight[:t]
            total[:t, t] += pieces.flip(0).cumsum(0).flip(0)
    return total / len(problem.points)


def kl_step(problem: Problem, nodes: Nodes, model: Distribution, data: Distribution, progress: bool) -> Tensor:
    """``KL(E#p_t ‖ p_s)`` of one Euler step E of the flow from t down to s, for every pair, (M, M).

    With y = x/m and ``E(y) = y + (σ_s − σ_t) ε_t(y)`` it is ``E[log p_t(y) − log det(I + (σ_s − σ_t) ∇ε_t) −
    log p_s(E(y))]`` over exact samples y of the data at t. ∇ε, a second derivative of a log density, is symmetric;
    E is injective, its Jacobian ``(σ_s/σ_t) I + (1 − σ_s/σ_t) Cov(x_0|y)/σ_t²`` being positive. What these costs bound
    is the total variation, ``TV(p_eps, samples) ≤ Σ √(KL/2) + TV(p_T, π)``, not KL.
    Cost: n (M²/2) densities.
    """
    count, dim = len(nodes.times), problem.dim
    times, m, sigma, process = nodes.times.tolist(), nodes.mean_scale, nodes.sigma, problem.process
    total = torch.full((count, count), torch.inf, dtype=torch.float64, device="cpu")
    for t in Bar(range(1, count), progress=progress, unit="node", desc="steps"):
        z = ops.normals(
            *(len(problem.points), dim),
            seed=problem.seed,
            path_offset=problem.path_offset,
            first=t * dim,
            dtype=torch.float64,
        )
        y = problem.points + sigma[t] * z
        with torch.enable_grad():
            x = (m[t] * y).requires_grad_(True)
            score = model.score(x, times[t], process)
            rows = [torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0] for i in range(dim)]
        noise = -nodes.variance[t].sqrt() * score.detach()
        slopes = torch.linalg.eigvalsh(-nodes.variance[t].sqrt() * m[t] * torch.stack(rows, dim=1))  # (n, d) of ∇ε
        own = data.log_prob(m[t] * y, times[t], process) + dim * m[t].log()
        for s in range(t):
            step = sigma[s] - sigma[t]
            there = data.log_prob(m[s] * (y + step * noise), times[s], process) + dim * m[s].log()
            total[s, t] = _mean_of_log_ratio(own - torch.log1p(step * slopes).sum(1) - there)
    return total


def _mean_of_log_ratio(value: Tensor) -> float:
    """Mean of ``v = log q/p`` (n,) over samples of q, as that of ``v + e^{−v} − 1``: quieter, and never negative.

    The mean of ``e^{−v}`` is 1; where no sample lies in the bulk of p the result is up to 1 nat too low.
    """
    return (value + torch.expm1(-value)).mean().item()


def _parts(problem: Problem, count: int, progress: bool) -> Iterable[tuple[int, Tensor]]:
    """Data points in parts, few enough that their whole paths are in memory."""
    size = max(1, _NUMBERS // (count * problem.dim))
    starts = range(0, len(problem.points), size)
    parts = [(low, problem.points[low : low + size]) for low in starts]
    return Bar(parts, progress=progress, unit="part", desc="paths")
