"""Full covariance matrices: their eigenbasis, and the score of a mixture in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern.ops import MixtureScore
from thermokern.ops.contexts import plain_precision

# Largest asymmetry of a covariance, and the least that an eigenvalue may be, relative to the largest entry and
# eigenvalue: what products in float32 leave, and what float64 can tell from zero.
SYMMETRY = 1e-6
CONDITION = 1e-13


def eigenbasis(name: str, covariances: Tensor) -> tuple[Tensor, Tensor | None]:
    """``Σ_c = U_c diag(λ_c) U_cᵀ`` of covariances (K, d, d) float64: λ (K, d) and U (K, d, d), axes in columns.

    U is None where all are diagonal. Raises a ValueError that names `name` unless they are symmetric and positive.
    """
    scale = covariances.abs().amax((1, 2), keepdim=True)
    asymmetry = ((covariances - covariances.mT).abs() / scale.clamp_min(torch.finfo(scale.dtype).tiny)).max().item()
    if asymmetry > SYMMETRY:
        raise ValueError(f"{name}: expected symmetric matrices, got a relative asymmetry of {asymmetry:.3g}")
    diagonal = covariances.diagonal(dim1=1, dim2=2)
    if not bool((covariances - torch.diag_embed(diagonal)).any()):
        if not bool((diagonal > 0).all()):
            raise ValueError(f"{name}: expected positive variances, got {diagonal.min().item():g}")
        return diagonal.contiguous(), None
    eigenvalues, eigenvectors = torch.linalg.eigh(0.5 * (covariances + covariances.mT))
    ratio = (eigenvalues[:, 0] / eigenvalues[:, -1].abs()).min().item()
    if not ratio > CONDITION:
        raise ValueError(
            f"{name}: expected positive definite matrices, got a least eigenvalue of {ratio:.3g} times the largest "
            f"(at least {CONDITION:g} can be told from zero)"
        )
    return eigenvalues, eigenvectors


@plain_precision()
def full_mixture_score(
    x: Tensor, means: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, weights: Tensor
) -> MixtureScore:
    """Score, its divergence and log density of ``Σ_c w_c N(μ_c, U_c diag(λ_c) U_cᵀ)``, in the dtype of `x`.

    Parameters
    ----------
    x : Tensor
        (n, d).
    means, eigenvalues : Tensor
        (K, d).
    eigenvectors : Tensor
        (K, d, d), axes in columns.
    weights : Tensor
        (K,), non-negative with sum 1.

    Notes
    -----
    Differentiable. `means` and `eigenvalues` may also be (n, K, d), of each point's own. Cost: 4 K d² operations a
    point; memory n K d numbers.
    """
    means, eigenvalues, eigenvectors, weights = (p.to(x) for p in (means, eigenvalues, eigenvectors, weights))
    difference = means - x[:, None, :]  # (n, K, d)
    along = torch.einsum("nkd,kde->nke", difference, eigenvectors)
    pull = along / eigenvalues  # (n, K, d), in each component's eigenbasis
    log_normaliser = weights.log() - 0.5 * (2.0 * math.pi * eigenvalues).log().sum(-1)  # (K,) or (n, K)
    log_components = log_normaliser - 0.5 * (pull * along).sum(2)  # (n, K)
    responsibility = log_components.softmax(1)
    score = torch.einsum("nke,kde->nd", responsibility[:, :, None] * pull, eigenvectors)
    curvature = (pull.square() - 1.0 / eigenvalues).sum(2)  # (n, K)
    divergence = (responsibility * curvature).sum(1) - score.square().sum(1)
    return MixtureScore(score, divergence, log_components.logsumexp(1))
