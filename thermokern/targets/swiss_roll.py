"""The noisy Swiss roll in the plane."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import checked_number
from thermokern.targets.mixture import GaussianMixture

SCALE = 5.0
START, END = 1.5 * math.pi, 4.5 * math.pi  # of the angle t
# Gauss–Legendre panels of equal length along the curve, none longer than this many standard deviations of the noise:
# then the quadrature error is below rounding up to 40 standard deviations from the curve, where float64 has no numbers
# left for the density. Noise that is wide beside the roll needs a few panels all the same.
PANEL = 12.0
MIN_PANELS = 4
ORDER = 64


class SwissRoll(GaussianMixture):
    """The noisy Swiss roll in its x and z axes, ``(t cos t + noise ε_1, t sin t + noise ε_2)/5``.

    ``t = 1.5π(1 + 2u)`` with u uniform on [0, 1] and ε standard normal: scikit-learn's ``make_swiss_roll(noise=noise)``
    without its y axis, divided by 5. Its density is an integral along the curve,

        p_t(x) = ∫_0^1 N(x; m c(u), (m² noise²/25 + v) I) du,

    taken by Gauss–Legendre quadrature whose error is below rounding: a mixture with a component at every node, which
    the fused kernels take as any other.

    Parameters
    ----------
    noise : float
        Standard deviation before the division by 5, positive. The number of nodes grows as its inverse: 960 at 0.5.

    References
    ----------
    Kodama and Hinczewski, *Performance limits of score-based generative models via stochastic thermodynamics*, 2025,
    App. G.1.
    """

    def __init__(self, noise: float = 0.5) -> None:
        self.noise = checked_number("noise", noise, above=0.0)
        if not 1e-4 <= self.noise <= 1e4:  # millions of nodes; a roll that is nowhere seen
            raise ValueError(f"noise: expected a number in [1e-4, 1e4], got {self.noise:g}")
        angle, weights = _nodes(self.noise)
        super().__init__(curve(angle), std=self.noise / SCALE, weights=weights)

    def settings(self) -> dict[str, object]:
        return {"kind": "SwissRoll", "noise": self.noise}

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        choice = ops.normals(n, 1, seed=seed, path_offset=path_offset, purpose="component", dtype=torch.float64)[:, 0]
        angle = START + (END - START) * torch.special.ndtr(choice)
        # Number 0 chose the angle; its block is left alone.
        z = ops.normals(n, 2, seed=seed, path_offset=path_offset, purpose="component", first=4, dtype=torch.float64)
        return curve(angle) + self.noise / SCALE * z


def curve(angle: Tensor) -> Tensor:
    """``(t cos t, t sin t)/5`` at angles t (n,), (n, 2)."""
    return (angle / SCALE)[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)


def _nodes(noise: float) -> tuple[Tensor, Tensor]:
    """Angles (K,) and weights (K,) that integrate over u."""
    length = (END**2 - START**2) / (2.0 * SCALE)  # of the curve, but for the 1 in √(1 + t²)
    panels = max(MIN_PANELS, math.ceil(length / (PANEL * noise / SCALE)))
    edges = np.sqrt(np.linspace(START**2, END**2, panels + 1))  # equal lengths, likewise
    nodes, weights = np.polynomial.legendre.leggauss(ORDER)
    half = 0.5 * np.diff(edges)[:, None]
    angle = 0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes
    weight = (half * weights).ravel()
    return torch.from_numpy(angle.ravel()), torch.from_numpy(weight / weight.sum())
