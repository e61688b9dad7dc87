"""What the guided probability flow makes of a Gaussian: by closed form, or by integrating its linear equation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_NODES = 96  # Gauss–Legendre, of the gain's integral
_STEP = 0.02  # in ln q, of the fourth-order Runge–Kutta method
_FAR = 1e9  # q at the start over the largest variance, and the least variance over q at the end


def guided_by_axes(covariance: Tensor, conditional: Tensor, w: float) -> tuple[Tensor, Tensor]:
    """Covariance and gain (d, d) after guidance, of two covariances (d, d) that commute."""
    scale = covariance.diagonal().sum(), conditional.diagonal().sum()
    # Commuting matrices share the eigenvectors of almost every combination of them.
    basis = torch.linalg.eigh(covariance / scale[0] + 0.6180339887498949 * conditional / scale[1]).eigenvectors
    whole, part = ((basis.T @ matrix @ basis).diagonal() for matrix in (covariance, conditional))
    ratio = (whole / part).clamp_min(1.0)
    variance = part * ratio**-w
    return (basis * variance) @ basis.T, (basis * axis_gain(ratio, w)) @ basis.T


def axis_gain(ratio: Tensor, w: float) -> Tensor:
    """``κ_w = (1 + w) R^{−w/2} ∫_0^1 (1 + (R − 1) s²)^{w/2} ds``, shaped as `ratio`; 1 at w = 0, R/(R − 1) as w → ∞.

    With ``s = sinh(a u)/sinh(a)``, ``sinh a = √(R − 1)``, the integrand is ``a cosh(a u)^{w+1}/sinh(a)``: smooth for
    all R.
    """
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(_NODES))
    a = torch.asinh((ratio - 1.0).sqrt())[..., None]  # (…, 1)
    # Relative to its largest value, cosh(a)^{w+1} = R^{(w+1)/2}.
    integrand = ((a * 0.5 * (nodes + 1.0)).cosh() / a.cosh()) ** (w + 1.0)
    width = torch.where(a > 1e-8, a / a.sinh().clamp_min(1e-300), torch.ones_like(a))[..., 0]
    return (1.0 + w) * ratio.sqrt() * width * (integrand @ (0.5 * weights))


def guided_by_integration(covariance: Tensor, conditional: Tensor, w: float) -> tuple[Tensor, Tensor]:
    """The same of any two covariances: ``x' = −½[(1 + w) s(x|y) − w s(x)]`` over ``q = v/m²``, from ∞ to 0.

    With ``x = G z + K μ`` the equation is linear, ``G' = M G`` and ``K' = M K − ½(1 + w)(c + q)⁻¹``,
    ``M = ½[(1 + w)(c + q)⁻¹ − w (C + q)⁻¹]``.
    """
    eye = torch.eye(len(covariance), dtype=torch.float64, device="cpu")
    (values, basis), (part, own) = torch.linalg.eigh(covariance), torch.linalg.eigh(conditional)

    def slope(log_q: float, state: Tensor) -> Tensor:
        q = math.exp(log_q)
        pull = 0.5 * q * (1.0 + w) * (own / (part + q)) @ own.T
        drift = pull - 0.5 * q * w * (basis / (values + q)) @ basis.T
        change: Tensor = drift @ state
        change[:, len(eye) :] -= pull
        return change

    start, end = math.log(_FAR * values[-1].item()), math.log(part[0].item() / _FAR)
    steps = math.ceil((start - end) / _STEP)
    h, log_q = (end - start) / steps, start
    state = torch.cat([math.exp(0.5 * start) * eye, (1.0 + w) * eye], dim=1)
    for _ in range(steps):
        one = slope(log_q, state)
        two = slope(log_q + 0.5 * h, state + 0.5 * h * one)
        three = slope(log_q + 0.5 * h, state + 0.5 * h * two)
        four = slope(log_q + h, state + h * three)
        state, log_q = state + h / 6.0 * (one + 2.0 * two + 2.0 * three + four), log_q + h
    spread, gain = state[:, : len(eye)], state[:, len(eye) :]
    return spread @ spread.T, gain.contiguous()
