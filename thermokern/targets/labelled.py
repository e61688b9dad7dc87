"""Data with labels: one law of x for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import check_labels, checked_array, checked_several
from thermokern.processes import LinearProcess
from thermokern.targets.conditional import ConditionalLaw
from thermokern.targets.distribution import ArrayLike, Distribution
from thermokern.targets.empirical import Empirical
from thermokern.targets.mixture import GaussianMixture
from thermokern.targets.own_times import law_score_at


class Labelled(ConditionalLaw):
    """A label y = 0 … K − 1 with probabilities `weights`, and ``x | y = k`` from the k-th law.

    Parameters
    ----------
    laws : sequence of Distribution
        K of one dimension: all mixtures of Gaussians, or all empirical.
    weights : array, optional
        (K,), positive with sum 1; equal when left out. Of empirical laws in proportion to their numbers of points,
        which is also what is taken when left out.

    Attributes
    ----------
    laws : tuple of Distribution
    weights : Tensor
        (K,) float64.
    """

    def __init__(self, laws: Sequence[Distribution], weights: ArrayLike | None = None) -> None:
        self.laws: tuple[Distribution, ...] = tuple(checked_several("laws", laws))
        if not self.laws:
            raise ValueError("laws: expected at least one")
        for k, law in enumerate(self.laws):
            if not isinstance(law, Distribution):
                raise TypeError(f"laws: expected distributions, got {type(law).__name__} for label {k}")
            if law.dim != self.laws[0].dim:
                raise ValueError(f"laws: expected dimension {self.laws[0].dim} to match label 0, got {law.dim} at {k}")
        self.dim = self.laws[0].dim
        counts = [len(law.points) for law in self.laws if isinstance(law, Empirical)]
        every = len(counts) == len(self.laws)
        if not every and not all(isinstance(law, GaussianMixture) for law in self.laws):
            raise TypeError(
                "laws: expected mixtures of Gaussians alone or empirical laws alone, which mix to their kind"
            )
        own = torch.tensor(counts if every else [1.0] * len(self.laws), dtype=torch.float64, device="cpu")
        self.weights = own / own.sum() if weights is None else checked_array("weights", weights)
        if self.weights.shape != own.shape:
            raise ValueError(f"weights: expected ({len(own)},) to match laws, got {tuple(self.weights.shape)}")
        if not bool((self.weights > 0).all()) or abs(self.weights.sum().item() - 1.0) > 1e-6:
            raise ValueError(f"weights: expected positive numbers of sum 1, got {self.weights.tolist()}")
        self.weights = self.weights / self.weights.sum()
        if every and (self.weights - own / own.sum()).abs().max().item() > 1e-9:
            raise ValueError("weights: those of empirical laws are their shares of the points; leave them out")
        self._marginal = _mixed(self.laws, self.weights)

    @classmethod
    def from_points(cls, x: ArrayLike, labels: Tensor) -> Labelled:
        """The empirical law of points (n, d) with integer labels (n,), 0 … K − 1, none without a point."""
        points, labels = checked_array("x", x), torch.as_tensor(labels, device="cpu")
        if points.dim() != 2 or labels.shape != points.shape[:1] or not len(points):
            raise ValueError(f"labels: expected (n,) for points (n, d), got {tuple(labels.shape)}")
        if labels.is_floating_point() or int(labels.min()) < 0:
            raise ValueError(f"labels: expected non-negative integers, got {labels.dtype}")
        count = int(labels.max()) + 1
        empty = [k for k in range(count) if not bool((labels == k).any())]
        if empty:
            raise ValueError(f"labels: expected every label of 0 … {count - 1} to occur, got none of {empty}")
        return cls([Empirical(points[labels == k]) for k in range(count)])

    def settings(self) -> dict[str, object]:
        laws = [law.settings() for law in self.laws]
        return {"kind": "Labelled", "laws": laws, "weights": self.weights.tolist()}

    @property
    def marginal(self) -> Distribution:
        """The law of x alone."""
        return self._marginal

    @property
    def label_entropy(self) -> float:
        """``H(Y) = −Σ w ln w``, nats, which no information about the label exceeds."""
        return -(self.weights * self.weights.log()).sum().item()

    def given(self, y: Tensor | float) -> Distribution:
        """The law of x for the label `y`."""
        label = int(y)
        if label != y or not 0 <= label < len(self.laws):
            raise ValueError(f"y: expected a label of 0 … {len(self.laws) - 1}, got {y!r}")
        return self.laws[label]

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> tuple[Tensor, Tensor]:
        # The label's stream is not that of the law's own choices.
        choice = ops.normals(n, 1, seed=seed, path_offset=path_offset, purpose="start", dtype=torch.float64)[:, 0]
        edges = self.weights.cumsum(0)
        labels = torch.searchsorted(edges / edges[-1], torch.special.ndtr(choice), right=True)
        labels = labels.clamp_max(len(edges) - 1)
        x = torch.empty(n, self.dim, dtype=torch.float64, device="cpu")
        for k, law in enumerate(self.laws):
            rows = (labels == k).nonzero()[:, 0]
            if len(rows):  # every law draws for all points, so that a point does not depend on its neighbours
                x[rows] = law.sample(n, seed, path_offset)[rows]
        return x, labels

    def check_conditions(self, y: Tensor) -> None:
        check_labels("y", y, len(self.laws))

    def score_at(self, x: Tensor, t: Tensor, y: Tensor, process: LinearProcess) -> Tensor:
        self.check_conditions(y)
        out = torch.empty_like(x)
        for k, law in enumerate(self.laws):
            rows = (y == k).nonzero()[:, 0]
            if len(rows):
                out[rows] = law_score_at(law, x[rows], t[rows], process)
        return out


def _mixed(laws: Sequence[Distribution], weights: Tensor) -> Distribution:
    """The mixture of laws of one kind."""
    empirical = [law for law in laws if isinstance(law, Empirical)]
    if empirical:
        return Empirical(torch.cat([law.points for law in empirical]), memory_budget=empirical[0].memory_budget)
    mixtures = [law for law in laws if isinstance(law, GaussianMixture)]
    means = torch.cat([law.means for law in mixtures])
    shares = torch.cat([weight * law.weights for weight, law in zip(weights, mixtures, strict=True)])
    if all(law.eigenvectors is None for law in mixtures):
        return GaussianMixture(means, variances=torch.cat([law.eigenvalues for law in mixtures]), weights=shares)
    return GaussianMixture(means, covariances=torch.cat([law.covariances for law in mixtures]), weights=shares)
