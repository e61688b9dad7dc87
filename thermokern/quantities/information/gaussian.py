"""Integrands of two Gaussian scores, whose rates one kernel makes of data and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import NotFusable
from thermokern.quantities.information.integral import Batch, Data, Integrand
from thermokern.targets import Gaussian, GaussianMixture, JointGaussian


@dataclass(frozen=True)
class GaussianScore:
    """The score of ``N(c, Σ)`` diffused, whose centre may go with the condition."""

    law: GaussianMixture  # of one component; its covariance counts
    centre: Tensor | Callable[[Tensor], Tensor]  # (d,), or of conditions (n, …), (n, d)

    @property
    def axes(self) -> Tensor:
        """(d, d) float64, eigenvectors of Σ in columns."""
        if self.law.eigenvectors is None:
            return torch.eye(self.law.dim, dtype=torch.float64, device="cpu")
        return self.law.eigenvectors[0]


def gaussian_score(model: object) -> GaussianScore | None:
    """A law as a Gaussian score the kernel takes, or None."""
    kinds = (JointGaussian, Gaussian, GaussianMixture)
    if type(model) not in kinds:  # what is derived from them may have another score
        return None
    if isinstance(model, JointGaussian) and model.dim <= ops.MAX_GAP_DIM:
        return GaussianScore(model.given(model.y.means[0]), model.conditional_mean)
    if isinstance(model, GaussianMixture) and len(model.means) == 1 and model.dim <= ops.MAX_GAP_DIM:
        return GaussianScore(model, model.means[0])
    return None


def isotropic(dim: int, std: float) -> GaussianScore:
    """That of ``N(0, std²)``."""
    law = Gaussian(torch.zeros(dim, dtype=torch.float64, device="cpu"), std**2)
    return GaussianScore(law, law.means[0])


@dataclass(frozen=True)
class GaussianGap:
    """Rates of the differences between two Gaussian scores; the second's centre is fixed.

    Parameters
    ----------
    first, second : GaussianScore
        Of one dimension.
    std : float
        Of the reference that the difference of entropies is taken to.
    columns : sequence of int
        Which of gap, loss and difference.
    candidates : bool
        Whether the conditions are (n, candidates, …); the columns are then those of one after the other.
    """

    first: GaussianScore
    second: GaussianScore
    std: float = 1.0
    columns: Sequence[int] = (0, 1, 2)
    candidates: bool = False

    def __call__(self, data: Data) -> Tensor:
        """Rates (n, columns) float64."""
        if not self.candidates:
            return self._under(data)
        assert data.y is not None
        return torch.cat([self._under(data._replace(y=y)) for y in data.y.unbind(1)], dim=1)

    def _under(self, data: Data) -> Tensor:
        axes, other = self.first.axes, self.second.axes
        centre, fixed = self.first.centre, self.second.centre
        assert isinstance(fixed, Tensor)
        if callable(centre):
            assert data.y is not None
            centre = centre(data.y.reshape(len(data.y), -1))
        out = ops.gaussian_gap(
            axes.T @ (data.x - centre).T,
            axes.T @ (data.x - fixed).T,
            other.T @ axes,
            self.first.law.eigenvalues[0],
            self.second.law.eigenvalues[0],
            axes.T @ fixed,
            data.mean_scale,
            data.root,
            reference=self.std**2,
            noise=axes.T @ data.noise.T,
        )
        return out[list(self.columns)].T


class FusedRates:
    """An integrand in PyTorch, with the kernels that stand for it where the data come from :func:`evaluate`.

    `refused` says why the kernels turned out not to take the scores; None: they do.
    """

    refused: str | None = None

    def __init__(self, plain: Integrand, kernels: Sequence[Callable[[Data], Tensor]]) -> None:
        self.plain, self.kernels = plain, kernels

    def __call__(self, batch: Batch) -> Tensor:
        return self.plain(batch)

    def fused(self, data: Data) -> Tensor | None:
        """Rates (n, columns), those of one kernel after the other; None where they do not take the scores."""
        if self.refused is not None:
            return None
        try:
            return torch.cat([kernel(data) for kernel in self.kernels], dim=1)
        except NotFusable as reason:
            self.refused = str(reason)
            return None


def with_kernels(
    plain: Integrand,
    shape: torch.Size,
    first: GaussianScore | None,
    seconds: Sequence[GaussianScore | None],
    columns: Sequence[int],
    std: float = 1.0,
    candidates: bool = False,
) -> Integrand:
    """`plain`, beside it kernels where all scores are Gaussian, of data of that shape, and the second's centres fixed.

    The columns are those of each pair of the first score and a second one, see :class:`GaussianGap`.
    """
    gaps = [
        GaussianGap(first, second, std, columns, candidates)
        for second in seconds
        if first is not None and second is not None and not callable(second.centre)
    ]
    fit = all(score is not None and score.law.dim == shape.numel() for score in (first, *seconds))
    return FusedRates(plain, gaps) if fit and len(gaps) == len(seconds) else plain
