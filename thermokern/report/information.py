"""What the pages of information have beside those of every result."""

from __future__ import annotations

from thermokern.quantities import MutualInformation, NeuralEntropy, TotalCorrelation
from thermokern.report import html
from thermokern.report.results import Particulars, particulars

_LEVELS = (
    "Along the noise levels, λ = ln(m²/v) the log signal-to-noise ratio, whatever the process: first what each level "
    "adds, then what is known at that noise. Bands are two standard errors, of sampling alone. Grey: noise above t_end "
    "and below t_eps, where nothing was evaluated."
)


@particulars.register
def _information(result: MutualInformation) -> Particulars:
    verdicts = [(v.outcome, v.statement, v.left, v.right, v.margin, v.reason) for v in result.verdicts]
    return Particulars(
        _LEVELS + " Last: each label's information, or how far the two estimators part: zero for exact scores.",
        {
            "value": f"by {result.estimator}, with both ends",
            "gap": "∫ D E|s(x|y) − s(x)|² dt: errs either way with the scores",
            "loss": "difference of denoising losses: I + L_u − L_c for any scores",
            "difference": "S(X|Y) − S(X), of the same evaluations",
            "orthogonality": "loss − gap, zero for exact scores",
            "drift_orthogonality": "difference − gap, zero for exact scores",
            "below": "I(X;Y) − I(X at t_eps;Y), in the value",
            "above": "I(X at t_end;Y), in the value",
            "label_entropy": "H(Y) ≥ I",
            "growth": "of a Kelly gambler with these scores: ≤ I whatever the scores",
        },
        [
            html.section(
                "Verdicts",
                html.paragraph("What the estimates say about one another; tight means equal within three errors."),
                html.table(("", "statement", "left", "right", "margin", "why"), verdicts, stack=True),
            )
        ],
    )


@particulars.register(NeuralEntropy)
@particulars.register(TotalCorrelation)
def _levels(result: NeuralEntropy | TotalCorrelation) -> Particulars:
    what = "what the network must know beyond noise" if isinstance(result, NeuralEntropy) else "what the blocks share"
    return Particulars(
        _LEVELS,
        {
            "value": f"{what}, with both ends",
            "integral": "over the noise levels that were measured",
            "below": "below t_eps, read off the rates there",
            "above": "above t_end, read off the rates there",
            "collapsed_directions": "in how many the data have no width at t_eps",
        },
    )
