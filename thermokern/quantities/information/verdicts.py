"""What the parts of an estimate say about one another."""

from __future__ import annotations

import math

from torch import Tensor

from thermokern.quantities.likelihood.verdicts import Claim, Relation, Verdict, judge
from thermokern.quantities.results.estimate import Estimate

_UNRESOLVED = 0.01
_NOTHING = 5e-4  # share that is not worth a word
_EXACT = "holds for exact scores: E[δ·(s_c − τ)] = 0"
_RESOLVED = "else the information is unresolved at t_eps: the value rests on its extrapolation"
_CEILING = "no condition tells more than its own entropy: above it, the scores are wrong"
_FLOOR = "the growth rate bounds I from below for any scores: below it, the estimate is too low"


def verdicts_on(
    gap: Estimate,
    loss: Estimate,
    residual: Estimate,
    value: Estimate,
    below: Estimate,
    above: Estimate,
    label_entropy: Estimate | None,
    growth: Estimate | None,
) -> tuple[Verdict, ...]:
    """Whether gap and loss agree, t_eps is small enough, and ``growth ≤ I ≤ H(Y)``."""
    agree = Claim("gap", Relation.EQUAL, "loss", "gap, loss", False, _EXACT)
    found = [judge(agree, gap, loss, Estimate(-residual.value, residual.stderr), 0.0)]
    if math.isfinite(below.value):
        claim = Claim("below t_eps", Relation.AT_MOST, "1 % of value", "value", False, _RESOLVED)
        share = Estimate(_UNRESOLVED * abs(value.value), _UNRESOLVED * value.stderr)
        found.append(judge(claim, below, share, _difference(below, share), 1e-12))
    if label_entropy is not None:
        for name, estimate in {"gap": gap, "loss": loss}.items():
            whole = Estimate(estimate.value + above.value, math.hypot(estimate.stderr, above.stderr))
            claim = Claim(name, Relation.AT_MOST, "H(Y)", name, False, _CEILING)
            found.append(judge(claim, whole, label_entropy, _difference(whole, label_entropy), 0.0))
    if growth is not None:
        claim = Claim("value", Relation.AT_LEAST, "growth", "value", False, _FLOOR)
        found.append(judge(claim, value, growth, _difference(value, growth), 0.0))
    return tuple(found)


def _difference(left: Estimate, right: Estimate) -> Estimate:
    """Left minus right, of independent estimates."""
    return Estimate(left.value - right.value, math.hypot(left.stderr, right.stderr))


def information_in_words(
    value: Estimate,
    label_entropy: Estimate | None,
    verdicts: tuple[Verdict, ...],
    below: Estimate,
    above: Estimate,
) -> list[str]:
    """Whether the estimators agree, and how much of what can be known is known."""
    broken = [verdict.statement for verdict in verdicts if verdict.outcome == "fails"]
    first = (
        f"Take care: {broken[0]} fails, so the scores or the evaluations do not suffice."
        if broken
        else "Trustworthy as far as the checks go: the estimators agree with one another and with the bounds."
    )
    share = ""
    if label_entropy is not None and label_entropy.value > 0.0:
        share = f", {value.value / label_entropy.value:.0%} of what the labels hold"
    if value.value <= 2.0 * value.stderr:
        return [first, f"No information is seen: {value} nats.", measured(value, below, above)]
    return [first, f"y tells {value} nats of x{share}.", measured(value, below, above)]


def measured(value: Estimate, below: Estimate, above: Estimate) -> str:
    """How much of a value was extrapolated beyond the noise levels that were evaluated."""
    share = (abs(below.value) + abs(above.value)) / max(abs(value.value), 1e-300)
    if not math.isfinite(share):
        return "What lies beyond the noise levels that were evaluated is not known."
    if share > 0.1:
        return (
            f"{share:.0%} of it is extrapolated beyond the noise levels that were evaluated: a smaller t_eps "
            "measures it."
        )
    most = f"All but {share:.1%}" if share >= _NOTHING else "All"
    return f"{most} of it was measured, not extrapolated."


def certain_in_words(growth: Estimate) -> str:
    """What the growth rate of bets by the scores bounds from below, or that it bounds nothing."""
    if growth.value <= 2.0 * growth.stderr:
        return f"Nothing is certain: bets by these scores have earned {growth} nats a pair, none that is seen."
    return f"At least {growth} nats are certain: bets by these scores have earned that on these pairs."


def pairs_in_words(mean: Estimate, growth: Estimate | None, values: Tensor, stderr: Tensor) -> list[str]:
    """How much y tells of x on average, what is certain of it, and what a single pair's value is worth."""
    said = [f"y tells {mean} nats of x on average over the pairs."] if math.isfinite(mean.value) else []
    if growth is not None:
        said.append(certain_in_words(growth))
    spread, error = values.double().std().item(), stderr.double().square().mean().sqrt().item()
    if math.isfinite(error) and math.isfinite(spread):
        worth = "single values mean little" if error > 0.5 * spread else "single values may be compared"
        said.append(f"One value has an error of {error:.2g} where values spread by {spread:.2g}: {worth}.")
    return said
