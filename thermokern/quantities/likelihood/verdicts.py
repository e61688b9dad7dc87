"""Inequalities between likelihoods, bounds and entropies: which holds, of which likelihood, and what theory says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.storage import stored

PLUG_IN, ODE, SDE = "plug-in", "ODE", "SDE sampler"
SIGMAS = 3.0  # standard errors within which two sides count as equal


class Relation(Enum):
    """How the sides of a claim compare."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    EQUAL = "="


class Claim(NamedTuple):
    """What is claimed, in words: the sides and how they compare; the rest as in :class:`Verdict`."""

    left: str
    relation: Relation
    right: str
    likelihood: str
    promised: bool
    reason: str


@stored("verdict")
@dataclass(frozen=True)
class Verdict:
    """One inequality or identity, put to the test.

    Attributes
    ----------
    statement : str
        As ``left ≥ right``, ``left ≤ right`` or ``left = right``.
    likelihood : str
        The one it speaks of: ``plug-in`` (averages over the data's marginals), ``ODE`` (the probability-flow
        equation's), ``SDE sampler`` (the reverse stochastic equation's).
    promised : bool
        Whether theory promises it for any model.
    reason : str
    left, right : Estimate
    margin : Estimate
        How far the inequality is from failing, paired over paths where both sides are averages over the same; of an
        identity left minus right.
    slack : float
        What errors of quadrature and of tolerance may add to the margin, nats.
    outcome : str
        ``holds``, ``tight`` (equal within three standard errors and the slack) or ``fails``; ``unknown`` where a number
        is not finite.
    """

    statement: str
    likelihood: str
    promised: bool
    reason: str
    left: Estimate
    right: Estimate
    margin: Estimate
    slack: float
    outcome: str

    def line(self) -> str:
        """One line, for people."""
        promise = "promised" if self.promised else "not promised"
        return f"{self.outcome:<7} {self.statement:<48} {self.likelihood:<11} {promise:<12} margin {self.margin}"


def judge(claim: Claim, left: Estimate, right: Estimate, difference: Estimate, slack: float) -> Verdict:
    """The verdict on a claim about `left` and `right`, whose `difference` is left minus right."""
    sign = -1.0 if claim.relation is Relation.AT_MOST else 1.0
    margin = Estimate(sign * difference.value, difference.stderr, difference.unit)
    reach = slack + (SIGMAS * margin.stderr if math.isfinite(margin.stderr) else 0.0)
    identity = claim.relation is Relation.EQUAL
    if not math.isfinite(margin.value):
        outcome = "unknown"
    elif abs(margin.value) <= reach:
        outcome = "holds" if identity else "tight"
    else:
        outcome = "holds" if margin.value > 0.0 and not identity else "fails"
    statement = f"{claim.left} {claim.relation.value} {claim.right}"
    return Verdict(statement, claim.likelihood, claim.promised, claim.reason, left, right, margin, slack, outcome)
