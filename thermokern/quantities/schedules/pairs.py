"""What one step of a sampler costs, for every pair of times at once, and the schedule of least cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.processes import LinearProcess
from thermokern.quantities.results.storage import stored

# Inner products of x, e = ε/√v and δ = s_θ + e at one time, in whose means every step's cost is linear.
GRAM = ("x·x", "x·e", "x·δ", "e·e", "e·δ", "δ·δ")
EULER = "euler-maruyama"
STOCHASTIC = ("ddpm-optimal", "ddpm", "ddpm-large", EULER)


@stored("schedule-nodes")
@dataclass(frozen=True, eq=False)
class Nodes:
    """The times that schedules choose from, and the process there.

    Attributes
    ----------
    times, mean_scale, variance : Tensor
        (M,) float64, increasing times from t_eps to t_end; ``m`` and ``v``.
    f, g2 : Tensor
        (M,) limits from earlier times.
    """

    times: Tensor
    mean_scale: Tensor
    variance: Tensor
    f: Tensor
    g2: Tensor

    @classmethod
    def of(cls, process: LinearProcess, times: Tensor) -> Nodes:
        """A process at increasing times (M,)."""
        _, reach = process.coefficients(times)
        first = process.f(times[:1]), process.g2(times[:1])  # no step reaches the first
        f, g2 = (torch.cat([one, rest]) for one, rest in zip(first, reach, strict=True))
        return cls(times, process.mean_scale(times), process.variance(times), f, g2)

    @property
    def sigma(self) -> Tensor:
        """``√v/m``, (M,)."""
        return self.variance.sqrt() / self.mean_scale


class Pairs(NamedTuple):
    """Steps from every node t down to every earlier node s: row s, column t; meaningless where s ≥ t.

    A step costs ``constant + weights · moments`` of node t, in nats, but for the entropies ``h(t) − h(s)``.
    """

    constant: Tensor  # (M, M)
    weights: Tensor  # (M, M, c), of |δ|² alone (c = 1), or of all of GRAM
    variance: Tensor  # (M, M) w of the reverse step


def pairs_of(sampler: str, nodes: Nodes, dim: int, moments: Tensor) -> Pairs:
    """The steps ``x_s ~ N(a x_t + b s_θ, w I)`` of a sampler.

    ``C(s,t) = E KL(q(x_s|x_t) ‖ p_θ(x_s|x_t)) = (d/2)[ln(w/G²) − 1] + (d β̃ + R)/(2w) + h(t) − h(s)`` with
    ``R = E|(1/F − a) x − (G²/F) e − b s_θ|²``, the process's exact transitions being the forward chain. In the DDPM
    family ``a = 1/F``, ``b = G²/F`` and ``R = (G⁴/F²) E|δ|²``.

    Parameters
    ----------
    sampler : {"ddpm-optimal", "ddpm", "ddpm-large", "euler-maruyama"}
    nodes : Nodes
    dim : int
    moments : Tensor
        (M, c), means at each node of what the costs are linear in; of ``ddpm-optimal`` they make w as well.
    """
    m, v = nodes.mean_scale, nodes.variance
    later = torch.ones(len(m), len(m), dtype=torch.bool).triu(1)
    drift = m[None] / m[:, None]
    added = torch.where(later, v[None] - drift.square() * v[:, None], 1.0)
    if not bool((added > 0.0).all()):
        raise ValueError("times: expected times so far apart that float64 resolves the noise between them")
    posterior = added * v[:, None] / v[None]
    if sampler == EULER:
        h = torch.where(later, nodes.times[None] - nodes.times[:, None], 1.0)
        push = nodes.g2[None] * h
        of_x, of_e, of_delta = 1.0 / drift - 1.0 + nodes.f[None] * h, push - added / drift, -push
        products = [of_x * of_x, 2.0 * of_x * of_e, 2.0 * of_x * of_delta, of_e * of_e, 2.0 * of_e * of_delta]
        square = torch.stack([*products, of_delta * of_delta], dim=2)
        variance = push
    else:
        square = (added / drift).square()[:, :, None]
        variance = {"ddpm": posterior, "ddpm-large": added}.get(sampler, posterior)
        if sampler == "ddpm-optimal":
            variance = posterior + (square * moments[None]).sum(2) / dim
    constant = 0.5 * dim * ((variance / added).log() - 1.0 + posterior / variance)
    return Pairs(constant, square / (2.0 * variance[:, :, None]), variance)


def cost_table(pairs: Pairs, moments: Tensor) -> Tensor:
    """The cost of every step, (M, M), infinite where it does not lead to an earlier node."""
    cost = pairs.constant + (pairs.weights * moments[None]).sum(2)
    return torch.where(torch.ones_like(cost, dtype=torch.bool).triu(1), cost, torch.inf)


def thermodynamic_length(sampler: str, nodes: Nodes, dim: int, moments: Tensor) -> float | None:
    """``ℓ`` of the metric whose half is what short steps cost, ``C ≈ ½ dℓ²``; None where it is not known.

    With γ the signal-to-noise ratio and ``M = E|x_0 − D(x_t)|² = v² E|δ|²/m²``: of ``ddpm`` ``½ |dM| dγ``; of
    ``ddpm-optimal`` less ``(M dγ)²/2d``; of ``ddpm-large`` ``½ |dM| dγ + d κ²/2 − κ M dγ`` with ``κ = dv/v``.
    """
    if sampler == EULER:
        return None
    m, v = nodes.mean_scale, nodes.variance
    denoising = v.square() * moments[:, -1] / m.square()
    between = 0.5 * (denoising[1:] + denoising[:-1])
    fall = -(m.square() / v).diff()
    metric = 0.5 * denoising.diff().abs() * fall
    if sampler == "ddpm-optimal":
        metric = metric - (between * fall).square() / (2.0 * dim)
    elif sampler == "ddpm-large":
        kappa = v.log().diff()
        metric = metric + 0.5 * dim * kappa.square() - kappa * between * fall
    return metric.clamp_min(0.0).sqrt().sum().item()


def cheapest(cost: Tensor, n_steps: int) -> Tensor:
    """The nodes (n_steps + 1,) from first to last between which steps cost least, by Bellman's recursion."""
    best = torch.full((len(cost),), torch.inf, dtype=cost.dtype)
    best[0] = 0.0
    came_from = []
    for _ in range(n_steps):
        best, source = (best[:, None] + cost).min(0)
        came_from.append(source)
    path = [len(cost) - 1]
    for source in reversed(came_from):
        path.append(int(source[path[-1]]))
    return torch.tensor(path[::-1])
