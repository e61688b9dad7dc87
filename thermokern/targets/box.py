"""The uniform law on a box."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import check_tensor, checked_array
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import ArrayLike, Distribution, transition

# Gauss–Legendre nodes of the tail integrals, whose integrand falls by at most e^{−FALL} over their range: the error is
# below rounding.
ORDER = 28
FALL = 45.0


class UniformBox(Distribution):
    """The uniform law on ``low ≤ x ≤ high``.

    Diffused, each axis has the density ``[Φ(z_l) − Φ(z_h)]/(m (high − low))``, ``z_l = (x − m low)/√v``,
    ``z_h = (x − m high)/√v``, so the score ``(φ(z_l) − φ(z_h))/(√v [Φ(z_l) − Φ(z_h)])``.

    Parameters
    ----------
    low, high : array
        (d,), finite, with ``low < high`` along every axis.

    Notes
    -----
    Computed in float64 whatever the dtype of x, without cancellation anywhere: inside the box by sums of positive
    terms; outside, at u standard deviations from the nearest face, by Gauss–Legendre quadrature of
    ``∫_0^L e^{−uτ − τ²/2} τ^k dτ``, which stays accurate where differences of erfc or erfcx do not: for a box much
    narrower than √v, and in the divergence far away.

    At t = 0 the log density is ``−Σ log(high − low)`` inside and −inf outside; score and divergence are 0 inside, and
    NaN outside, where there are none.
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        self.low, self.high = checked_array("low", low), checked_array("high", high)
        if self.low.dim() != 1 or not len(self.low):
            raise ValueError(f"low: expected (d,), got {tuple(self.low.shape)}")
        if self.high.shape != self.low.shape:
            raise ValueError(f"high: expected {tuple(self.low.shape)} to match low, got {tuple(self.high.shape)}")
        if not bool((self.high > self.low).all()):
            axis = int((self.high > self.low).int().argmin())
            raise ValueError(
                f"high: expected numbers above low, got {self.high[axis].item():g} for a low of "
                f"{self.low[axis].item():g} on axis {axis}"
            )
        self.dim = len(self.low)

    def settings(self) -> dict[str, object]:
        return {"kind": "UniformBox", "low": self.low.tolist(), "high": self.high.tolist()}

    def entropy(self) -> float:
        """``Σ log(high − low)``, nats."""
        return float((self.high - self.low).log().sum())

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        z = ops.normals(
            n, self.dim, seed=seed, path_offset=path_offset, purpose="component", first=4, dtype=torch.float64
        )
        uniform: Tensor = torch.special.ndtr(z)
        return self.low + (self.high - self.low) * uniform

    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        check_tensor("x", x, "n", self.dim, any_float=True)
        m, v = transition(t, process)
        points = x.to(torch.float64)
        low, high = (m * edge.to(points) for edge in (self.low, self.high))
        log_volume = (high - low).log().sum()
        if v == 0.0:
            inside = ((points >= low) & (points <= high)).all(1)
            zero = torch.where(inside, 0.0, math.nan).to(points)
            log_density = torch.where(inside, -log_volume, -math.inf)
            return ops.MixtureScore(zero[:, None].expand_as(x).to(x), zero.to(x), log_density.to(x))
        std = math.sqrt(v)
        sign = torch.where(2.0 * points >= low + high, 1.0, -1.0)
        # By symmetry x lies on the side of one face: u beyond it (negative inside), and u + length from the other.
        u = torch.where(sign > 0, points - high, low - points) / std
        length = ((high - low) / std).expand_as(u)
        mean, spread, log_mass = _inside(u.clamp_max(0.0), length)
        outside = u > 0
        if bool(outside.any()):
            beyond = _outside(u[outside], length[outside])
            mean, spread, log_mass = (
                inner.masked_scatter(outside, outer)
                for inner, outer in zip((mean, spread, log_mass), beyond, strict=True)
            )
        score, divergence = -sign * mean / std, -spread.sum(1) / v
        return ops.MixtureScore(score.to(x), divergence.to(x), (log_mass.sum(1) - log_volume).to(x))


def _inside(u: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For a standard normal r cut to [u, u + length], u ≤ 0: E[r], 1 − Var[r], and the log of its mass."""
    far = u + length
    mass = 0.5 * (torch.erf(far / math.sqrt(2.0)) - torch.erf(u / math.sqrt(2.0)))  # far ≥ −u: both terms add
    near_density = torch.exp(-0.5 * u.square()) / math.sqrt(2.0 * math.pi)
    far_density = torch.exp(-0.5 * far.square()) / math.sqrt(2.0 * math.pi)
    mean = near_density * -torch.expm1(-0.5 * length * (far + u)) / mass
    return mean, (far * far_density - u * near_density) / mass + mean.square(), mass.log()


def _outside(u: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for u > 0: the mass is ``φ(u) J_0`` with ``J_k = ∫_0^length e^{−uτ − τ²/2} τ^k dτ``."""
    reach = 2.0 * FALL / (u + (u.square() + 2.0 * FALL).sqrt())  # where uτ + τ²/2 = FALL
    reach = torch.minimum(length, reach)
    nodes, weights = np.polynomial.legendre.leggauss(ORDER)
    moments = [torch.zeros_like(u) for _ in range(3)]
    for node, weight in zip((0.5 * (nodes + 1.0)).tolist(), (0.5 * weights).tolist(), strict=True):
        tau = node * reach
        term = weight * torch.exp(-tau * (u + 0.5 * tau))
        moments = [moment + term * node**k for k, moment in enumerate(moments)]
    first, second = moments[1] / moments[0], moments[2] / moments[0]
    log_mass = -0.5 * u.square() - 0.5 * math.log(2.0 * math.pi) + (moments[0] * reach).log()
    return u + reach * first, 1.0 - reach.square() * (second - first.square()), log_mass
