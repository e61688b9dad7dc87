"""What forward paths never see: weight that the model puts where the data do not go, told by reverse paths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, ExponentialAverage
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep.fluctuation import check_pair
from thermokern.quantities.taep.result import TAEP


@stored("overlap")
@dataclass(frozen=True, eq=False)
class Overlap(Result):
    """How much of the model's law lies where no forward path goes, from paths of both directions.

    Attributes
    ----------
    missing : Estimate
        ``1 − ⟨e^{−Δs}⟩`` over forward paths: with an exact reference the share λ of the model's law on which the
        data's law vanishes (Murashita, Funo and Ueda, 2014).
    forward : ExponentialAverage
        ``⟨e^{−Δs}⟩`` over forward paths, with its effective sample size and Pareto shape.
    outside : Estimate
        Share of the reverse paths whose Δs lies below that of every forward path.
    bennett : Estimate
        Bennett's estimate of ``C`` in ``p_F(a) = e^{a − C} p_R(a)`` from the paths of both directions, nats. It
        is 0, with missing overlap too, and its error can be trusted where the one-sided average's cannot.
    """

    missing: Estimate
    forward: ExponentialAverage
    outside: Estimate
    bennett: Estimate

    title = "Overlap of forward and reverse paths"

    def summary(self) -> str:
        """The shares and what they say, for people."""
        return "\n".join(
            [
                "overlap of forward and reverse paths",
                f"  missing overlap         {self.missing}   (1 − <exp(-TAEP)>, the weight that the model invents)",
                f"  outside                 {self.outside}   (share of reverse paths below every forward one)",
                f"  Bennett                 {self.bennett} nats   (0 expected, z = {self.bennett.z(0.0):+.1f})",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """The paths that are compared."""
        return "paths of the reference's law forward in time, and those that the model drives back"

    def conclusion(self) -> list[str]:
        """The verdict."""
        verdict = self.verdict()
        return [verdict[0].upper() + verdict[1:] + "."]

    def verdict(self) -> str:
        """One sentence."""
        if not self.forward.is_reliable:
            return (
                f"<exp(-TAEP)> rests on a heavy tail (Pareto shape {self.forward.pareto_shape:.2f}): believe Bennett's "
                "estimate instead"
            )
        if self.missing.value > 3.0 * self.missing.stderr and self.outside.value > 3.0 * self.outside.stderr:
            return (
                f"the model puts about {self.missing.value:.1%} of its weight where the data have none, and "
                f"{self.outside.value:.1%} of its paths go there; the mean TAEP is not called into doubt by that"
            )
        return "no weight of the model is seen where the data have none"

    def columns(self) -> dict[str, tuple[object, ...]]:
        """A row for each estimate."""
        return {
            "quantity": ("missing", "outside", "bennett"),
            "estimate": (self.missing, self.outside, self.bennett),
        }

    def numbers(self) -> dict[str, object]:
        """The estimates and the verdict."""
        return {
            "missing": self.missing,
            "forward": self.forward,
            "outside": self.outside,
            "bennett": self.bennett,
            "verdict": self.verdict(),
        }


def overlap(forward: TAEP, reverse: TAEP) -> Overlap:
    """Compare forward paths with paths that the model drives back: what weight does the model invent?

    ``⟨e^{−Δs}⟩ = 1 − λ`` where a share λ of the model's law lies where no forward path goes; reverse paths do go there.
    Bennett's estimate of C solves ``Σ_F σ(C − Δs − M) = Σ_R σ(Δs − C + M)``, ``M = log n_F/n_R``, σ the logistic
    function: maximum likelihood for ``p_F(a) = e^{a − C} p_R(a)``, which holds with C = 0 wherever both have paths.

    Parameters
    ----------
    forward, reverse : TAEP
        From :func:`thermokern.taep` with ``direction="forward"`` and ``"reverse"``, else alike, of an exact reference.

    Returns
    -------
    Overlap

    Raises
    ------
    ValueError
        When the two do not belong together or hold no paths.

    References
    ----------
    Bennett, *Efficient estimation of free energy differences from Monte Carlo data*, 1976, Eq. 12. Murashita, Funo and
    Ueda, *Nonequilibrium equalities in absolutely irreversible processes*, 2014.
    """
    check_pair(forward, reverse)
    average = forward.fluctuation_theorem
    a_f, a_r = forward.values.double(), reverse.values.double()
    outside = (a_r < a_f.min()).double().mean().item()
    return Overlap(
        missing=Estimate(1.0 - average.value, average.stderr, ""),
        forward=average,
        outside=Estimate(outside, math.sqrt(outside * (1.0 - outside) / len(a_r)), ""),
        bennett=bennett(a_f, a_r),
    )


def bennett(a_f: Tensor, a_r: Tensor) -> Estimate:
    """``C`` of ``p_F(a) = e^{a − C} p_R(a)`` from samples of both, (n_F,) and (n_R,) float64, by bisection."""
    offset = math.log(len(a_f) / len(a_r))

    def excess(c: float) -> float:
        return (torch.sigmoid(c - a_f - offset).sum() - torch.sigmoid(a_r - c + offset).sum()).item()

    pooled = torch.cat([a_f, a_r])
    low, high = pooled.min().item() - abs(offset) - 40.0, pooled.max().item() + abs(offset) + 40.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if excess(middle) < 0.0 else (low, middle)
    c = 0.5 * (low + high)
    probability = torch.sigmoid(pooled - c + offset)
    information = (probability * (1.0 - probability)).sum().item()
    chosen = 1.0 / len(a_f) + 1.0 / len(a_r)  # the numbers of paths were chosen, not drawn
    variance = 1.0 / information - chosen if information > 0.0 else math.inf
    return Estimate(c, math.sqrt(max(0.0, variance)))
