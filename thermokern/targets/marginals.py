"""Marginals of laws: what is left of a mixture along some of its axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from thermokern.targets.distribution import Distribution
from thermokern.targets.empirical import Empirical
from thermokern.targets.mixture import Gaussian, GaussianMixture


def marginal_law(law: Distribution, axes: Sequence[int]) -> Distribution:
    """The law of the components `axes` of a mixture of Gaussians or of an empirical law; a TypeError for others."""
    which = torch.tensor(list(axes), dtype=torch.int64, device="cpu")
    if isinstance(law, Empirical):
        return Empirical(law.points[:, which], memory_budget=law.memory_budget)
    if not isinstance(law, GaussianMixture):
        raise TypeError(f"marginals: those of a {type(law).__name__} are not known; pass a score for each block")
    means, full = law.means[:, which], law.covariances[:, which][:, :, which]
    if law.eigenvectors is None:
        variances = law.eigenvalues[:, which]
        if len(means) == 1:
            return Gaussian(means[0], variances[0])
        return GaussianMixture(means, variances=variances, weights=law.weights)
    if len(means) == 1:
        return Gaussian(means[0], full[0])
    return GaussianMixture(means, covariances=full, weights=law.weights)
