"""The Bartlett identities of Δs: what the fluctuation theorem says of curvature and gradient noise, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from thermokern.ops.checks import check_finite, check_kind
from thermokern.quantities.learning.path_derivatives import PathDerivatives
from thermokern.quantities.results.estimate import (
    Estimate,
    ExponentialAverage,
    exponential_average,
    mean_estimate,
    variance_estimate,
)
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored

_UNIT = "nats²"  # of squared derivatives along a direction without a unit


@stored("bartlett")
@dataclass(frozen=True, eq=False)
class Bartlett(Result):
    """Curvature of ``⟨Δs⟩`` and noise of its gradient along one direction v of the parameters, and what ties them.

    Attributes
    ----------
    normalisation : ExponentialAverage
        ``⟨e^{−Δs}⟩``, 1 (Ding, Quan and Tu, Eq. 30).
    first : Estimate
        ``⟨e^{−Δs} v·∇Δs⟩``, 0.
    second : Estimate
        ``⟨e^{−Δs} [(v·∇Δs)² − v·∇∇Δs v]⟩``, 0; nats².
    curvature : Estimate
        ``v·H v``, H the Hessian of ``⟨Δs⟩``; nats.
    noise : Estimate
        ``v·C v``, C the covariance of ``∇Δs`` over paths; nats².
    coupling : Estimate
        ``Cov(Δs, v·∇∇Δs v)``; nats².
    printed : Estimate
        ``½ [v·C v + Cov(Δs, v·∇∇Δs v)] − v·H v``, paired: what the paper's Eq. 42 would have at 0 up to higher
        cumulants. Its factor is half of what it must be.
    corrected : Estimate
        The same without the ½: the two leading cumulants less the curvature.
    n_paths : int
    """

    title: ClassVar[str] = "Curvature and gradient noise"

    normalisation: ExponentialAverage
    first: Estimate
    second: Estimate
    curvature: Estimate
    noise: Estimate
    coupling: Estimate
    printed: Estimate
    corrected: Estimate
    derivatives: PathDerivatives

    def summary(self) -> str:
        """The identities with their z-scores, and the terms of the relation."""
        return "\n".join(
            [
                f"identities of Δs along one direction of the parameters, {len(self.derivatives.value)} paths",
                f"  <exp(-TAEP)>            {self.normalisation}   (1: z = {self.normalisation.z(1.0):+.1f})",
                f"  first identity          {self.first}   (0: z = {self.first.z(0.0):+.1f})",
                f"  second identity         {self.second}   (0: z = {self.second.z(0.0):+.1f})",
                f"  curvature v·Hv          {self.curvature} nats",
                f"  gradient noise v·Cv     {self.noise} nats²",
                f"  Cov(Δs, v·∇∇Δs v)       {self.coupling} nats²",
                f"  two cumulants − v·Hv    {self.corrected}   (z = {self.corrected.z(0.0):+.1f})",
                f"  half of them − v·Hv     {self.printed}   (as printed; z = {self.printed.z(0.0):+.1f})",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """Whose paths they are."""
        return "the paths whose derivatives were given, for which ⟨exp(−Δs)⟩ = 1 whatever the parameters"

    def conclusion(self) -> list[str]:
        """Whether the identities hold, and how far curvature and noise are from one another."""
        tests = {"⟨exp(−Δs)⟩ = 1": self.normalisation.z(1.0), "the first": self.first.z(0.0)}
        broken = {name: z for name, z in (tests | {"the second": self.second.z(0.0)}).items() if abs(z) > 3.0}
        trust = "Trustworthy: the identities hold within three standard errors."
        if not self.normalisation.is_reliable:
            trust = f"Few of the {self.normalisation.n} paths carry the averages, so they test nothing; use more paths."
        elif broken:
            named = ", ".join(f"{name} (z = {z:+.1f})" for name, z in broken.items())
            trust = f"Doubtful: {named} is broken; are these paths of the reference, with scheme='sampler'?"
        ratio = self.noise.value / self.curvature.value if self.curvature.value else math.nan
        return [trust, f"The gradient's noise is {ratio:.3g} times the curvature; at the optimum it is 1 times."]

    def numbers(self) -> dict[str, object]:
        """All of it."""
        names = ("normalisation", "first", "second", "curvature", "noise", "coupling", "printed", "corrected")
        return {**{name: getattr(self, name) for name in names}, "n_paths": len(self.derivatives.value)}

    def columns(self) -> dict[str, Tensor]:
        """A row for each path."""
        return {name: getattr(self.derivatives, name) for name in ("value", "first", "second")}


def bartlett(derivatives: PathDerivatives) -> Bartlett:
    """Test the two identities that the fluctuation theorem implies for derivatives by the model's parameters.

    The paths do not depend on the model, and ``⟨e^{−Δs}⟩ = 1`` for every θ. Its derivatives are (k_B = 1)

        ⟨e^{−Δs} ∇Δs⟩ = 0,   ⟨e^{−Δs} (∇Δs ∇Δsᵀ − ∇∇Δs)⟩ = 0,

    so that ``H⟨Δs⟩ = ⟨∇Δs ∇Δsᵀ⟩ + Cov(e^{−Δs}, ∇Δs ∇Δsᵀ − ∇∇Δs)`` without remainder; at the optimum ``H = C``. To
    second order in Δs ``H = C + Cov(Δs, ∇∇Δs) − …``, twice what the paper's Eq. 42 prints.

    Parameters
    ----------
    derivatives : PathDerivatives
        From :func:`path_derivatives`, of paths for which ``⟨e^{−Δs}⟩ = 1``: forward paths against an exact reference,
        or reverse paths that the reference drives. Exact at any number of steps with ``scheme="sampler"`` only.

    Returns
    -------
    Bartlett

    Raises
    ------
    ValueError
        For fewer than two paths, tensors of other shapes, or numbers that are not finite.

    References
    ----------
    Bartlett, *Approximate confidence intervals*, Biometrika, 1953, for the identities; Ding, Quan and Tu, *Stochastic
    thermodynamics of score matching in diffusion models*, 2026, Eq. 30, 41 and 42.
    """
    check_kind("derivatives", derivatives, PathDerivatives)
    value, first, second = (part.detach().double().cpu() for part in derivatives.parts())
    if value.dim() != 1 or len(value) < 2 or first.shape != value.shape or second.shape != value.shape:
        raise ValueError(f"derivatives: expected three tensors (n,), n at least 2, got {tuple(value.shape)}")
    check_finite(value=value, first=first, second=second)
    weight = (-value).exp()
    square = first.square()
    noise = (first - first.mean()).square()
    coupling = (value - value.mean()) * (second - second.mean())
    return Bartlett(
        normalisation=exponential_average(value, -1.0),
        first=mean_estimate(weight * first, ""),
        second=mean_estimate(weight * (square - second), _UNIT),
        curvature=mean_estimate(second),
        noise=variance_estimate(first),
        coupling=_unbiased(coupling),
        printed=_unbiased(0.5 * (noise + coupling), second),
        corrected=_unbiased(noise + coupling, second),
        derivatives=PathDerivatives(value, first, second),
    )


def _unbiased(products: Tensor, less: Tensor | None = None) -> Estimate:
    """A covariance from the products of centred factors (n,), less a mean; its error is that of the influences."""
    n = len(products)
    terms = products * (n / (n - 1.0)) - (0.0 if less is None else less)
    return Estimate(terms.mean().item(), terms.std().item() / math.sqrt(n), _UNIT)
