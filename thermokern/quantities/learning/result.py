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

_LAW = "the loss over data, times and noise, at the network's present parameters"
_CLOSE = 1.5  # of an eigenvalue on its own samples over that on others, where it may be trusted


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
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """Whose loss it is."""
        return _LAW

    def conclusion(self) -> list[str]:
        """Whether the leading eigenvalues may be trusted, and how the curvature is spread."""
        first, said = self.eigenvalues[0].item(), []
        if self.held_out is None:
            said.append(
                "The eigenvalues are too large by an amount that is not known, since the samples were not split: "
                "split=True says how much."
            )
        else:
            held = self.held_out[0].item()
            good = held > 0.0 and first < _CLOSE * held
            said.append(
                f"The first eigenvalue is {first:.4g} on the samples that its vector comes from and {held:.4g} on "
                "others: " + ("it may be trusted." if good else "take the second number, or more samples.")
            )
        if self.trace is not None and self.trace.value > 0.0:
            share = (first if self.held_out is None else self.held_out[0].item()) / self.trace.value
            said.append(
                f"That direction has {share:.1%} of the trace, where each of {len(self.subset):,} alike would have "
                f"{1.0 / len(self.subset):.1%}."
            )
        if self.part == "hessian" and self.negative_share > 0.0:
            said.append(
                f"{self.negative_share:.0%} of the eigenvalues lie below zero: the loss is no minimum there, or the "
                "samples are too few to tell."
            )
        return said

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
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """Whose gradient it is."""
        return _LAW

    def conclusion(self) -> list[str]:
        """How many samples make the noise of a batch as large as the mean gradient, and what more draws would do."""
        n = self.settings["n_samples"]
        square = self.mean.square().sum().item() - self.trace.value / n  # the mean's own noise is in its square
        size = (
            f"The mean gradient cannot be told from zero by {n:,} samples."
            if not square > 0.0
            else f"The noise of a batch of about {self.trace.value / square:,.0f} is as large as the mean gradient."
        )
        return [size, f"{self.data_share:.0%} of it lies between data points; more draws of time and noise leave that."]

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
