"""What calculations of curvature and gradient noise give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.ops.checks import checked_integer
from thermokern.quantities.learning.subsets import ParameterSubset
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored


def _named(subset: ParameterSubset) -> str:
    place = f", {subset.place}" if subset.place else ""
    return f"{len(subset)} parameters of {subset.name or 'the network'} ({subset.kind}{place})"


@stored("curvature")
@dataclass(frozen=True, eq=False)
class Curvature(Result):
    """Hessian of a mean loss, or its Gauss–Newton part, on a subset of p parameters.

    In units of the loss, for parameters without a unit.

    Attributes
    ----------
    subset : ParameterSubset
    part : {"hessian", "gauss-newton"}
    hessian : Tensor or None
        (p, p) float64, of all samples; None where only leading vectors were asked for.
    halves : Tensor or None
        (2, p, p) of the two halves of the samples.
    eigenvalues : Tensor
        (k,) float64, falling: of the first half, where samples are split, else of all. k = p without `top`.
    vectors : Tensor
        (p, k), their eigenvectors.
    held_out : Tensor or None
        (k,) Rayleigh quotients of these vectors on the other half.
    trace : Estimate or None
        Of the matrix of all samples.
    negative_share : float
        Of the eigenvalues, below zero; NaN with `top`.
    settings : dict
    """

    title: ClassVar[str] = "Curvature of the loss"

    subset: ParameterSubset
    part: str
    hessian: Tensor | None
    halves: Tensor | None
    eigenvalues: Tensor
    vectors: Tensor
    held_out: Tensor | None
    trace: Estimate | None
    negative_share: float
    settings: dict[str, Any]

    def summary(self) -> str:
        """The leading eigenvalues beside their held-out quotients."""
        name = "Hessian" if self.part == "hessian" else "Gauss–Newton part of the Hessian"
        lines = [f"{name}, {_named(self.subset)}, {self.settings['n_samples']} samples"]
        if self.trace is not None:
            lines.append(f"  trace                   {self.trace}")
        if math.isfinite(self.negative_share):
            lines.append(f"  eigenvalues below zero  {self.negative_share:.1%}")
        for i, value in enumerate(self.eigenvalues[:5].tolist()):
            held = "" if self.held_out is None else f", held out {self.held_out[i].item():.4g}"
            lines.append(f"  eigenvalue {i + 1:<12} {value:.4g}{held}")
        return "\n".join(lines)

    def numbers(self) -> dict[str, object]:
        """The spectrum and the trace."""
        return {
            "layer": self.subset.name,
            "kind": self.subset.kind,
            "place": self.subset.place,
            "part": self.part,
            "n_parameters": len(self.subset),
            "trace": self.trace,
            "negative_share": self.negative_share,
            "eigenvalues": self.eigenvalues,
            "held_out": self.held_out,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each eigenvector."""
        columns = {"eigenvalue": self.eigenvalues, "held_out": self.held_out}
        return {name: column for name, column in columns.items() if column is not None}


@stored("gradient-noise")
@dataclass(frozen=True, eq=False)
class GradientNoise(Result):
    """Covariance of the gradient over samples, or over trajectories, on a subset of p parameters.

    Attributes
    ----------
    subset : ParameterSubset
    per : {"sample", "trajectory"}
    covariance : Tensor
        (p, p) float64, of one sample's gradient about the mean; the sum of the next two.
    between, within : Tensor
        (p, p): of the mean gradient of a data point over times and noise, and the mean over data points of the
        covariance at one of them. With one draw for each point the second is zero and the first has everything.
    mean : Tensor
        (p,) gradient of the mean loss.
    trace : Estimate
        Of `covariance`; its error counts data points.
    loss : Estimate
        The mean loss of the same samples; of trajectories, up to what does not depend on the model.
    n_data : int
        Size of the data set, which epochs exhaust.
    settings : dict
    """

    title: ClassVar[str] = "Noise of the gradient"

    subset: ParameterSubset
    per: str
    covariance: Tensor
    between: Tensor
    within: Tensor
    mean: Tensor
    trace: Estimate
    loss: Estimate
    n_data: int
    settings: dict[str, Any]

    def per_batch(self, size: int, *, replacement: bool = True) -> Tensor:
        """Covariance (p, p) of the gradient of a batch, each sample with a time and noise of its own.

        ``C/B`` of data drawn with replacement; without it ``[within + (1 − B/N) between]/B``, for a batch of an epoch.
        """
        size = checked_integer("size", size, 1, None if replacement else self.n_data + 1)
        if replacement:
            return self.covariance / size
        return (self.within + (1.0 - size / self.n_data) * self.between) / size

    @property
    def data_share(self) -> float:
        """Share of the trace that lies between data points."""
        return (self.between.trace() / self.covariance.trace()).item()

    def summary(self) -> str:
        """Its trace, and where that comes from."""
        return "\n".join(
            [
                f"gradient noise per {self.per}, {_named(self.subset)}, {self.settings['n_samples']} samples",
                f"  trace                   {self.trace}",
                f"  of it between data      {self.data_share:.1%}",
                f"  |mean gradient|²        {self.mean.square().sum().item():.4g}",
                f"  mean loss               {self.loss}",
            ]
        )

    def numbers(self) -> dict[str, object]:
        """The trace, its parts and the spectrum."""
        return {
            "layer": self.subset.name,
            "kind": self.subset.kind,
            "place": self.subset.place,
            "per": self.per,
            "n_parameters": len(self.subset),
            "trace": self.trace,
            "data_share": self.data_share,
            "loss": self.loss,
            "n_data": self.n_data,
            "eigenvalues": self.columns()["eigenvalue"],
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each eigenvalue of the covariance, falling."""
        return {"eigenvalue": torch.linalg.eigvalsh(self.covariance).flip(0)}
