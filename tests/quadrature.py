"""Independent truths for mixtures in the plane: densities by scipy, integrals by Gauss–Hermite quadrature."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import logsumexp


class RingMixture:
    """Equal isotropic modes on a circle, diffused to ``N(m μ, (m² std² + v) I)``; NumPy alone."""

    def __init__(self, weights: list[float], radius: float = 4.0, std: float = 0.25) -> None:
        angle = 2.0 * np.pi * np.arange(len(weights)) / len(weights)
        self.means = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self.weights, self.std = np.array(weights), std

    def log_density(self, x: np.ndarray, m: float, v: float) -> np.ndarray:
        variance = (m * self.std) ** 2 + v
        square = ((x[..., None, :] - m * self.means) ** 2).sum(-1)
        with np.errstate(divide="ignore"):
            return logsumexp(np.log(self.weights) - 0.5 * square / variance, axis=-1) - np.log(2 * np.pi * variance)

    def nodes(self, m: float, v: float, order: int = 48) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) and weights (n,) that integrate against this mixture at m and v."""
        offsets, weights = gauss(2, order)
        scale = np.sqrt((m * self.std) ** 2 + v)
        points = (m * self.means[:, None, :] + scale * offsets).reshape(-1, 2)
        return points, (self.weights[:, None] * weights).ravel()


def gauss(dim: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (order^dim, dim) and weights of the standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    weights = weights / weights.sum()
    grid = np.array(list(itertools.product(nodes, repeat=dim)))
    return grid, np.array([np.prod(w) for w in itertools.product(weights, repeat=dim)])


def taep_moments(
    p: RingMixture, q: RingMixture, start: tuple[float, float], end: tuple[float, float]
) -> dict[str, float]:
    """Mean and variance of ``log(p/q)(x_start) − log(p/q)(x_end)`` over forward paths from p; times as (m, v)."""
    (m_0, v_0), (m_1, v_1) = start, end
    x, weight = p.nodes(m_0, v_0)
    ratio = p.log_density(x, m_0, v_0) - q.log_density(x, m_0, v_0)
    scale = m_1 / m_0
    spread = np.sqrt(v_1 - scale**2 * v_0)
    offsets, inner = gauss(2, 10)
    y = scale * x[:, None, :] + spread * offsets
    ratio_end = p.log_density(y, m_1, v_1) - q.log_density(y, m_1, v_1)
    difference = ratio[:, None] - ratio_end
    mean = weight @ (difference @ inner)
    return {"mean": mean, "variance": weight @ ((difference - mean) ** 2 @ inner)}
