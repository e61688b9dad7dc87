"""Δs of a linear score on a Gaussian law in one dimension: a quadratic form of the path's Gaussian numbers.

Written from the chains' transition densities alone: nothing of thermokern's schemes or tables is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

import thermokern as tk

MEAN, VARIANCE = 0.7, 0.5
PROCESS = tk.VP()
TIMES = PROCESS.grid(48, 0.01, "log-snr")


class Quadratic(NamedTuple):
    """``½ ξ·A ξ + b·ξ + c`` of standard normal ξ (K + 1,)."""

    a: Tensor
    b: Tensor
    c: Tensor

    def at(self, xi: Tensor) -> Tensor:
        """Values (n,) at numbers (n, K + 1)."""
        return 0.5 * (xi @ self.a * xi).sum(1) + xi @ self.b + self.c

    def mean(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Under N(μ, Σ)."""
        return 0.5 * (self.a * sigma).sum() + 0.5 * mu @ self.a @ mu + self.b @ mu + self.c

    def covariance(self, other: Quadratic, mu: Tensor, sigma: Tensor) -> Tensor:
        """With another one, under N(μ, Σ)."""
        slopes = (self.a @ mu + self.b) @ sigma @ (other.a @ mu + other.b)
        return 0.5 * torch.trace(self.a @ sigma @ other.a @ sigma) + slopes


class LinearScore(nn.Module):
    """``(−e^{θ_1} (x − m μ) + θ_2 m)/V``: the exact score of N(m μ, V) at θ = 0."""

    def __init__(self, theta: tuple[float, float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        m = PROCESS.mean_scale(t.double()).view(-1, 1)
        total = m.square() * VARIANCE + PROCESS.variance(t.double()).view(-1, 1)
        return (-self.theta[0].exp() * (x - m * MEAN) + self.theta[1] * m) / total


def path_of_numbers() -> tuple[Tensor, Tensor]:
    """Positions ``x = L ξ + c`` at the nodes: the process's exact transitions from the law at the first."""
    m, v = PROCESS.mean_scale(TIMES), PROCESS.variance(TIMES)
    n = len(TIMES)
    rows, offsets = torch.zeros(n, n, dtype=torch.float64), m * MEAN
    rows[0, 0] = (m[0] ** 2 * VARIANCE + v[0]).sqrt()
    for k in range(n - 1):
        drift = m[k + 1] / m[k]
        rows[k + 1] = drift * rows[k]
        rows[k + 1, k + 1] = (v[k + 1] - drift**2 * v[k]).sqrt()
    return rows, offsets


def entropy_production(theta: Tensor) -> Quadratic:
    """Δs of the path, differentiable in θ."""
    m, v = PROCESS.mean_scale(TIMES), PROCESS.variance(TIMES)
    h, total = TIMES.diff(), m.square() * VARIANCE + v
    rows, offsets = path_of_numbers()
    drift, added = m[1:] / m[:-1], v[1:] - (m[1:] / m[:-1]).square() * v[:-1]
    # At a step's end β comes from inside it, which VP's smooth β does not notice.
    f, g2 = PROCESS.f(TIMES)[1:], PROCESS.g2(TIMES)[1:]
    slope = -theta[0].exp() / total[1:]
    level = (theta[0].exp() * MEAN + theta[1]) * m[1:] / total[1:]
    push = g2 * h
    back = 1.0 - f * h + push * slope
    forms = [
        _log_normal(rows[:1], offsets[:1] - m[:1] * MEAN, total[:1], 1.0),
        _log_normal(rows[-1:], offsets[-1:] - m[-1:] * MEAN, total[-1:], -1.0),
        _log_normal(rows[1:] - drift[:, None] * rows[:-1], offsets[1:] - drift * offsets[:-1], added, 1.0),
        _log_normal(rows[:-1] - back[:, None] * rows[1:], offsets[:-1] - back * offsets[1:] - push * level, push, -1.0),
    ]
    return Quadratic(*(sum(parts[1:], parts[0]) for parts in zip(*forms, strict=True)))


def _log_normal(rows: Tensor, offsets: Tensor, variances: Tensor, sign: float) -> Quadratic:
    """``sign · Σ log N(row·ξ + offset; 0, variance)``."""
    weights = -sign / variances
    return Quadratic(
        rows.T @ (weights[:, None] * rows),
        rows.T @ (weights * offsets),
        (0.5 * weights * offsets.square() - 0.5 * sign * (2.0 * math.pi * variances).log()).sum(),
    )


class Exact(NamedTuple):
    """Δs and its derivatives by θ as quadratic forms."""

    value: Quadratic
    first: list[Quadratic]
    second: list[list[Quadratic]]


@cache
def derivatives(theta: tuple[float, float]) -> Exact:
    """By forward differentiation of the coefficients."""
    at = torch.tensor(theta, dtype=torch.float64)
    jacobian = torch.func.jacfwd(lambda t: tuple(entropy_production(t)))
    first, second = jacobian(at), torch.func.jacfwd(lambda t: jacobian(t))(at)
    one = [Quadratic(*(part[..., i] for part in first)) for i in (0, 1)]
    two = [[Quadratic(*(part[..., i, j] for part in second)) for j in (0, 1)] for i in (0, 1)]
    return Exact(entropy_production(at), one, two)


def standard(n: int) -> tuple[Tensor, Tensor]:
    """The law of ξ along forward paths."""
    return torch.zeros(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)


def weighted(value: Quadratic) -> tuple[float, Tensor, Tensor]:
    """``E e^{−Δs}``, and mean and covariance of ξ under the weights ``e^{−Δs}``."""
    precision = torch.eye(len(value.b), dtype=torch.float64) + value.a
    sigma = torch.linalg.inv(precision)
    mu = -sigma @ value.b
    log_mean = -0.5 * torch.linalg.slogdet(precision).logabsdet + 0.5 * mu @ precision @ mu - value.c
    return log_mean.exp().item(), mu, sigma


def matrix(entry: Callable[[int, int], Tensor]) -> Tensor:
    """(2, 2) of the parameters."""
    return torch.stack([torch.stack([entry(i, j) for j in (0, 1)]) for i in (0, 1)])
