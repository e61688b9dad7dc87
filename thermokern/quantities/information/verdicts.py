"""What the parts of an estimate say about one another."""

from __future__ import annotations

import math

from thermokern.quantities.likelihood import Verdict
from thermokern.quantities.likelihood.verdicts import judge
from thermokern.quantities.results.estimate import Estimate

_UNRESOLVED = 0.01


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
    found = [
        judge("gap = loss", "gap, loss", False, "holds for exact scores: E[δ·(s_c − τ)] = 0", gap, loss, residual, 0.0)
    ]
    if math.isfinite(below.value):
        share = Estimate(_UNRESOLVED * abs(value.value), _UNRESOLVED * value.stderr)
        margin = Estimate(share.value - abs(below.value), math.hypot(share.stderr, below.stderr))
        reason = "else the information is unresolved at t_eps: the value rests on its extrapolation"
        found.append(judge("below t_eps ≤ 1 % of value", "value", False, reason, below, share, margin, 1e-12))
    if label_entropy is not None:
        reason = "no condition tells more than its own entropy: above it, the scores are wrong"
        for name, estimate in {"gap": gap, "loss": loss}.items():
            whole = Estimate(estimate.value + above.value, math.hypot(estimate.stderr, above.stderr))
            error = math.hypot(whole.stderr, label_entropy.stderr)
            margin = Estimate(label_entropy.value - whole.value, error)
            found.append(judge(f"{name} ≤ H(Y)", name, False, reason, whole, label_entropy, margin, 0.0))
    if growth is not None:
        margin = Estimate(value.value - growth.value, math.hypot(value.stderr, growth.stderr))
        reason = "the growth rate bounds I from below for any scores: below it, the estimate is too low"
        found.append(judge("value ≥ growth", "value", False, reason, value, growth, margin, 0.0))
    return tuple(found)
