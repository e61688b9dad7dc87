"""Entropies that a law of the same spread could have at most: the Gaussian and the uniform one."""

from __future__ import annotations

import math

import torch

from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.samples.densities import check_density
from thermokern.quantities.samples.inputs import SampleLike, checked_sample


def gaussian_entropy(x: SampleLike) -> Estimate:
    """Entropy of the Gaussian with the mean and covariance of points (n, d): ``½ log det(2πe Σ)``, nats.

    No law of that covariance has more. The standard error is that of ``½ (x − μ)ᵀ Σ⁻¹ (x − μ)`` over points.
    """
    points = checked_sample("x", x).double()
    check_density("x", points)
    n, dim = points.shape
    if n <= dim:
        raise ValueError(f"x: expected more points than dimensions, got {n} in {dim}")
    centred = points - points.mean(0)
    covariance = centred.T @ centred / n
    squares = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), centred.T, upper=False).square().sum(0)
    value = 0.5 * (dim * math.log(2.0 * math.pi * math.e) + torch.linalg.slogdet(covariance)[1].item())
    return Estimate(value, mean_estimate(0.5 * squares).stderr)


def box_entropy(x: SampleLike) -> Estimate:
    """Entropy of the uniform law on the smallest box that holds points (n, d): ``Σ log(max − min)``, nats.

    No law within that box has more. It grows with n where the law has tails; no standard error is known, hence NaN.
    """
    points = checked_sample("x", x).double()
    check_density("x", points)
    return Estimate((points.amax(0) - points.amin(0)).log().sum().item(), math.nan)
