"""The detailed fluctuation theorem, from a forward and a reverse ensemble of paths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thermokern.ops.checks import MOST, check_kind, checked_integer
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep.result import TAEP

# What both ensembles must have in common, or they do not speak of one model.
_COMMON = (
    "model",
    "reference",
    "process",
    "n_steps",
    "t_eps",
    "spacing",
    "times",
    "scheme",
    "integrator",
    "extrapolate",
    "chain",
    "forward",
    "driver",
    "from_prior",
)


@stored("detailed-fluctuation-theorem")
@dataclass(frozen=True, eq=False)
class DetailedFluctuationTheorem(Result):
    """``p_F(a) = e^a p_R(a)``: both histograms of Δs, and the line ``log p_F/p_R = intercept + slope · a``.

    Attributes
    ----------
    edges : Tensor
        (bins + 1,) nats.
    forward_density, reverse_density : Tensor
        (bins,) per nat.
    log_ratio, log_ratio_stderr : Tensor
        (bins,) ``log p_F/p_R`` of each bin and its standard error; NaN where a bin of either is empty.
    slope, intercept : Estimate
        1 and 0 when the theorem holds. From a logistic regression of direction on Δs, which needs no bins.
    """

    title: ClassVar[str] = "The detailed fluctuation theorem"

    edges: Tensor
    forward_density: Tensor
    reverse_density: Tensor
    log_ratio: Tensor
    log_ratio_stderr: Tensor
    slope: Estimate
    intercept: Estimate

    def summary(self) -> str:
        """Slope and intercept, for people."""
        return "\n".join(
            [
                "detailed fluctuation theorem: log p_F(a)/p_R(a) = intercept + slope a",
                f"  slope                   {self.slope}   (1 expected, z = {self.slope.z(1.0):+.1f})",
                f"  intercept               {self.intercept}   (0 expected, z = {self.intercept.z(0.0):+.1f})",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """The paths that are compared."""
        return "paths of the reference's law forward in time, and those that the model drives back"

    def conclusion(self) -> list[str]:
        """Whether the theorem holds."""
        slope, intercept = self.slope.z(1.0), self.intercept.z(0.0)
        if not (math.isfinite(slope) and math.isfinite(intercept)):
            return ["Too few bins hold paths of both directions to test the theorem."]
        if max(abs(slope), abs(intercept)) <= 3.0:
            return ["Trustworthy: forward and reverse paths obey the theorem, so Δs is what it should be along both."]
        return [
            f"Doubtful: the theorem is missed (slope z = {slope:+.1f}, intercept z = {intercept:+.1f}); the usual "
            "cause is "
            "steps too long for the reverse paths."
        ]

    def numbers(self) -> dict[str, object]:
        """Slope and intercept."""
        return {"slope": self.slope, "intercept": self.intercept}

    def columns(self) -> dict[str, Tensor]:
        """A row for each bin."""
        return {
            "low": self.edges[:-1],
            "high": self.edges[1:],
            "forward_density": self.forward_density,
            "reverse_density": self.reverse_density,
            "log_ratio": self.log_ratio,
            "log_ratio_stderr": self.log_ratio_stderr,
        }


def detailed_fluctuation_theorem(forward: TAEP, reverse: TAEP, *, bins: int = 40) -> DetailedFluctuationTheorem:
    """Compare a forward and a reverse ensemble: ``p_F(a) = e^a p_R(a)``.

    Given Δs = a, a path of the pooled ensembles is a forward one with odds ``(n_F/n_R) e^a``. The slope and intercept
    of a logistic regression, the offset ``log n_F/n_R`` taken off, are maximum-likelihood estimates of 1 and 0 and need
    no histogram.

    Parameters
    ----------
    forward, reverse : TAEP
        From :func:`thermokern.taep` with ``direction="forward"`` and ``"reverse"``, else alike. Both must be ensembles
        of an exact reference.
    bins : int
        Of the histograms, over the range of both.

    Returns
    -------
    DetailedFluctuationTheorem

    Raises
    ------
    ValueError
        When the two do not belong together or hold no paths.

    Notes
    -----
    Only where both ensembles have paths is there anything to compare: far apart, the errors say so.
    Whatever error a path's value has of its own flattens the slope: of schemes of order ½ take plain sums
    (``extrapolate=False``), whose values are less noisy path by path, or ``stratonovich``.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 31. Bennett,
    *Efficient estimation of free energy differences from Monte Carlo data*, 1976, for the regression; Prentice and
    Pyke, *Logistic disease incidence models and case-control studies*, 1979, for the intercept's error.
    """
    check_pair(forward, reverse)
    bins = checked_integer("bins", bins, 1, MOST)
    a_f, a_r = forward.values.double(), reverse.values.double()
    pooled = torch.cat([a_f, a_r])
    low, high = pooled.min().item(), pooled.max().item()
    if high - low < 1e-12 * (1.0 + abs(high)):
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64, device="cpu")
    counts_f, counts_r = (torch.histogram(a, edges).hist for a in (a_f, a_r))
    width = (high - low) / bins
    both = (counts_f > 0) & (counts_r > 0)
    log_ratio = (counts_f / len(a_f)).log() - (counts_r / len(a_r)).log()
    stderr = (1.0 / counts_f - 1.0 / len(a_f) + 1.0 / counts_r - 1.0 / len(a_r)).sqrt()
    nan = torch.full_like(log_ratio, math.nan)
    slope, intercept = _logistic_regression(a_f, a_r)
    return DetailedFluctuationTheorem(
        edges=edges,
        forward_density=counts_f / (len(a_f) * width),
        reverse_density=counts_r / (len(a_r) * width),
        log_ratio=torch.where(both, log_ratio, nan),
        log_ratio_stderr=torch.where(both, stderr, nan),
        slope=slope,
        intercept=intercept,
    )


def check_pair(forward: TAEP, reverse: TAEP) -> None:
    """Raise unless these are paths of both directions of one calculation with an exact reference."""
    for name, result, direction in (("forward", forward, "forward"), ("reverse", reverse, "reverse")):
        check_kind(name, result, TAEP)
        if result.settings["direction"] != direction:
            raise ValueError(f"{name}: expected {direction} paths, got {result.settings['direction']}")
        if not result.reference_is_exact:
            raise ValueError(f"{name}: expected paths of an exact reference; this one's is not")
        if len(result.values) < 2 or not bool(result.values.isfinite().all()):
            raise ValueError(f"{name}: expected at least two paths, all finite, got {len(result.values)}")
    for key in _COMMON:
        ahead, back = forward.settings.get(key), reverse.settings.get(key)
        if ahead != back:
            raise ValueError(f"reverse: {key} differs: {ahead} forward, {back} reverse")


def _logistic_regression(a_f: Tensor, a_r: Tensor) -> tuple[Estimate, Estimate]:
    """Slope and intercept of the log odds of a forward path, by Newton's method; errors from the Fisher information."""
    design = torch.stack(
        [torch.cat([a_f, a_r]), torch.ones(len(a_f) + len(a_r), dtype=torch.float64, device="cpu")], dim=1
    )
    label = torch.cat([torch.ones_like(a_f), torch.zeros_like(a_r)])
    offset = math.log(len(a_f) / len(a_r))
    beta = torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu")  # where the theorem puts them
    information = torch.eye(2, dtype=torch.float64, device="cpu")
    for _ in range(100):
        probability = torch.sigmoid(design @ beta + offset)
        weight = probability * (1.0 - probability)
        information = design.T @ (weight[:, None] * design)
        if torch.linalg.matrix_rank(information) < 2:
            return Estimate(math.nan, math.nan, ""), Estimate(math.nan, math.nan)
        step = torch.linalg.solve(information, design.T @ (label - probability))
        beta = beta + step * min(1.0, 2.0 / step.abs().max().clamp_min(1e-300).item())
        if step.abs().max().item() < 1e-10:
            break
    variance = torch.linalg.inv(information).diagonal()
    # The numbers of paths of each kind were chosen, not drawn, which takes their part off the intercept's variance.
    chosen = 1.0 / len(a_f) + 1.0 / len(a_r)
    slope = Estimate(beta[0].item(), variance[0].item() ** 0.5, "")
    return slope, Estimate(beta[1].item(), max(0.0, variance[1].item() - chosen) ** 0.5)
