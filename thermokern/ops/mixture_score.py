"""Score, divergence of the score and log density of a Gaussian mixture with diagonal covariances."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import check_finite, check_tensor, checked_points, refuse_gradient
from thermokern.ops.registry import register, run_kernel


class MixtureScore(NamedTuple):
    score: Tensor  # (n, d)
    divergence: Tensor  # (n,)
    log_density: Tensor  # (n,)


def mixture_score_reference(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> MixtureScore:
    """:func:`mixture_score` in PyTorch: differentiable, in the dtype of `x`.

    Here `means` and `variances` may also be (n, K, d), a mixture of its own for each point.
    """
    check_tensor("x", x, "n", "d", any_float=True)
    own = () if not isinstance(means, Tensor) or means.dim() == 2 else (x.shape[0],)
    check_tensor("means", means, *own, "K", x.shape[1], any_float=True)
    check_tensor("variances", variances, *means.shape, any_float=True)
    check_tensor("weights", weights, means.shape[-2], any_float=True)
    means, variances, weights = (tensor.to(x) for tensor in (means, variances, weights))
    difference = means - x[:, None, :]  # (n, K, d)
    precision = 1.0 / variances  # (K, d)
    log_normaliser = weights.log() - 0.5 * (2.0 * math.pi * variances).log().sum(-1)  # (K,) or (n, K)
    log_components = log_normaliser - 0.5 * (precision * difference.square()).sum(2)  # (n, K)
    responsibility = log_components.softmax(1)
    pull = precision * difference  # (n, K, d)
    score = (responsibility[:, :, None] * pull).sum(1)
    curvature = (pull.square() - precision).sum(2)  # (n, K)
    divergence = (responsibility * curvature).sum(1) - score.square().sum(1)
    return MixtureScore(score, divergence, log_components.logsumexp(1))


def mixture_score(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> MixtureScore:
    """Score ``∇log p``, its divergence ``∇·∇log p`` and ``log p`` of ``p = Σ_c w_c N(μ_c, diag σ²_c)``.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, 1 ≤ d ≤ 16, on the CPU or a CUDA device. Squares of distances, in units of the
        variances, must be numbers of its dtype: below 1e38 in float32.
    means, variances : Tensor
        (K, d), any floating dtype; used in float64.
    weights : Tensor
        (K,), non-negative with sum 1; zero leaves a component out.

    Returns
    -------
    score (n, d), divergence (n,), log_density (n,)
        In the dtype of `x`; nats per data unit, nats per squared data unit, and nats.

    Notes
    -----
    Safe in far tails: sums are relative to the largest component. No gradient: see
    :func:`mixture_score_reference`. Cost: about 20 K (d + 2) operations a point.
    """
    x = checked_points(x)
    check_mixture(means, variances, weights, x.shape[1])
    refuse_gradient(means=means, variances=variances, weights=weights)
    numbers = [tensor.detach().to("cpu", torch.float64).contiguous() for tensor in (means, variances, weights)]
    out = MixtureScore(*torch.ops.thermokern.mixture_score(x, *numbers))
    if not bool((out.divergence + out.log_density).isfinite().all()):
        raise ValueError(f"x: lies too far from the means for {x.dtype}, in which squares of distances overflow")
    return out


def check_mixture(means: Tensor, variances: Tensor, weights: Tensor, dim: int | None = None) -> None:
    """Raise unless the three describe a Gaussian mixture."""
    check_tensor("means", means, "components", "d" if dim is None else dim, any_float=True)
    if 0 in means.shape:
        raise ValueError(f"means: expected (components, d), got {tuple(means.shape)}")
    check_tensor("variances", variances, *means.shape, any_float=True)
    check_tensor("weights", weights, means.shape[0], any_float=True)
    check_finite(means=means, variances=variances, weights=weights)
    if not bool((variances > 0).all()):
        raise ValueError(f"variances: expected positive numbers, got {variances.min().item():g}")
    if not bool((weights >= 0).all()):
        raise ValueError(f"weights: expected non-negative numbers, got {weights.min().item():g}")
    total = weights.sum(dtype=torch.float64).item()
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"weights: expected the sum 1, got {total:.8g}")


def _mixture_score(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = _mixture_score_fake(x, means, variances, weights)
    at_data = [torch.ones(1, dtype=torch.float64, device="cpu"), torch.zeros(1, dtype=torch.float64, device="cpu")]
    run_kernel("score", x, "mixture", [means, variances, weights, *at_data], x, *out)
    return out


def _mixture_score_fake(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = x.shape[0]
    return torch.empty_like(x), x.new_empty(n), x.new_empty(n)


register(
    "mixture_score(Tensor x, Tensor means, Tensor variances, Tensor weights) -> (Tensor, Tensor, Tensor)",
    _mixture_score,
    _mixture_score_fake,
)
