"""What the pages of results have beside those of every result, for kinds that need words and a table alone."""

from __future__ import annotations

from dataclasses import replace

from thermokern.quantities import (
    Bartlett,
    Coverage,
    Curvature,
    DetailedFluctuationTheorem,
    Divergence,
    Elbo,
    EntropyProduction,
    EntropyRates,
    GradientNoise,
    LogLikelihood,
    NoiseCurvature,
    Overlap,
    PointwiseMutualInformation,
    Schedules,
    TrainingLog,
)
from thermokern.quantities.samples.result import EntropyEstimate, SampleEstimate
from thermokern.quantities.taep.attribution import Attribution
from thermokern.report import html
from thermokern.report.results import Particulars, particulars

_ERRORS = "Value ± one standard error."


@particulars.register
def _coverage(result: Coverage) -> Particulars:
    return Particulars(
        "Each estimate with two standard errors; the line is the coverage that two samples of one law have.",
        {
            "coverage": f"share of real points with a generated one near; {result.expected_coverage:.3f} of one law",
            "density": "generated points near a real one, over k; 1 of one law",
            "precision": "share of generated points near a real one",
            "recall": "share of real points near a generated one, by the generated points' distances",
        },
    )


@particulars.register
def _likelihood(result: LogLikelihood) -> Particulars:
    return Particulars(
        "How log p is spread over the points, its mean as a line; and how many evaluations of the score a point took.",
        {
            "nll": "mean of −log p: less is better",
            "bits_per_dim": "the same over the number of components, to base 2, without an offset",
        },
    )


@particulars.register
def _elbo(result: Elbo) -> Particulars:
    return Particulars(
        "How the bound is spread over the points, its mean as a line.",
        {"nll": "upper bound on the mean of −log p of the stochastic sampler"},
    )


@particulars.register
def _sample_estimate(result: SampleEstimate) -> Particulars:
    return Particulars(
        "How the terms of single points are spread; their mean, the line, is the estimate.",
        {"estimate": "with sampling error alone", "bias": "a separate matter, not taken off the estimate"},
    )


@particulars.register
def _entropy_estimate(result: EntropyEstimate) -> Particulars:
    return replace(
        _sample_estimate(result),
        caption="Against the number k of neighbours, and from parts of the sample; neighbouring dots share points. "
        "Error bars are two standard errors.",
    )


@particulars.register
def _theorem(result: DetailedFluctuationTheorem) -> Particulars:
    return Particulars(
        "How Δs is spread along paths of either direction; and the log ratio of the two densities, bin by bin, with "
        "two standard errors, the line of the theorem and the one that logistic regression finds without bins.",
        {"slope": "1 by the theorem", "intercept": "0 by the theorem"},
    )


@particulars.register
def _overlap(result: Overlap) -> Particulars:
    return Particulars(
        "Two standard errors.",
        {
            "missing": "1 − ⟨exp(−Δs)⟩: weight that the model puts where no path of the data goes",
            "forward": "⟨exp(−Δs)⟩ over forward paths",
            "outside": "share of reverse paths whose Δs lies below that of every forward path",
            "bennett": "0 in theory, from both directions: its error can be trusted where the others' cannot",
        },
    )


@particulars.register
def _attribution(result: Attribution) -> Particulars:
    return Particulars(
        "Blue: the log ratio of the chains of exact steps, with two standard errors of each node or component by "
        "itself. Orange: κ δ², its mean where the reference is exact. Time runs to the right.",
        {
            "scheme": "the scheme's own terms, whose sums are those of the path",
            "chain": "log ratio of the chains of exact steps",
            "squared": "κ δ²: the chain form's mean where the reference is exact",
            "difference": "chain less squared: 0 where the reference is exact",
            "remainder": "Δs less the scheme's terms: ends, and extrapolation",
        },
    )


@particulars.register
def _production(result: EntropyProduction) -> Particulars:
    return Particulars(
        "How the entropy productions that obey a fluctuation theorem are spread over paths; lines are their means.",
        {
            "system": "change of −log p along the path",
            "bath": "heat over temperature that goes into the bath",
            "total": "of both; its mean is never negative",
            "housekeeping": "what it costs to keep the currents of the stationary law",
            "nonadiabatic": "total less housekeeping: what it costs not to be stationary",
            "excess": "bath less housekeeping",
            **{f"⟨exp(−X)⟩ of {name}": "1 by its fluctuation theorem" for name in result.parts()},
        },
    )


@particulars.register
def _rates(result: EntropyRates) -> Particulars:
    rows = [(name.replace("_", " "), part.integral, part.below) for name, part in result.named().items()]
    return Particulars(
        "Each rate over the log signal-to-noise ratio, time running to the right; bands are two standard errors.",
        table=html.table(("", "integral (nats)", "below the first time"), rows, _ERRORS, stack=True),
    )


@particulars.register
def _log(result: TrainingLog) -> Particulars:
    rows = [
        (f"{each.step:,}", each.mean, each.variance, each.half_variance_ratio or "", each.coverage or "")
        for each in result.measurements
    ]
    head = ("step", "mean Δs (nats)", "variance (nats²)", "Var/(2 mean)", "coverage")
    return Particulars(
        "The share of paths below each Δs at some visits; mean and variance, their ratio, coverage; bars are two "
        "standard errors.",
        table=html.table(head, rows, "Every visit of the monitor: the same paths each time.", stack=True),
    )


@particulars.register
def _schedules(result: Schedules) -> Particulars:
    note = "These numbers bound nothing." if result.kind == "surrogate" else f"Bound on {result.kind}, held out."
    head: tuple[str, ...] = ("steps", "surrogate")
    rows: list[tuple[object, ...]] = [(n, f"{result.step_costs(n).sum().item():.4g}") for n in result.n_steps]
    if result.kind != "surrogate":
        head, rows = ("steps", f"bound on {result.kind} (nats)", "best in common use", "its bound", "more by"), []
        for n in result.n_steps:
            other = min(result.compare(n), key=lambda each: each.bound.value)
            rows.append((n, result.bound(n), other.name, other.bound, other.excess))
    times = [(n, ", ".join(f"{t:.3g}" for t in result.times(n).tolist())) for n in result.n_steps]
    return Particulars(
        "Noise levels at which steps of the best schedules begin and end; and what they are worth (blue, two standard "
        f"errors) beside schedules in common use, taken at the nearest nodes (orange). {note} Likelihood is not image "
        "quality.",
        table=html.table(head, rows, "'More by' is paired over the samples.", stack=True),
        sections=[html.section("Times", html.table(("steps", "times, from data to noise"), times, stack=True))],
    )


@particulars.register
def _curvature(result: Curvature) -> Particulars:
    held = result.held_out
    rows = [
        (i + 1, f"{value:.4g}", "" if held is None else f"{held[i].item():.4g}")
        for i, value in enumerate(result.eigenvalues[:10].tolist())
    ]
    return Particulars(
        "Eigenvalues on the samples that their vectors come from, and quotients of the same vectors on others.",
        {"trace": "of the matrix of all samples"},
        table=html.table(("", "eigenvalue", "on other samples"), rows, "The largest eigenvalues."),
    )


@particulars.register
def _noise(result: GradientNoise) -> Particulars:
    return Particulars(
        "Eigenvalues of the covariance of single gradients.",
        {"trace": f"of the covariance of one {result.per}'s gradient", "loss": "mean loss of the same samples"},
    )


@particulars.register
def _noise_curvature(result: NoiseCurvature) -> Particulars:
    return Particulars(
        "Gradient noise against curvature along the leading eigenvectors, and the slopes by kind of layer.",
        {"slope": "of log noise on log curvature; 1 where they are proportional"},
    )


@particulars.register
def _bartlett(result: Bartlett) -> Particulars:
    return Particulars(
        "What the identities say and what was found, two standard errors.",
        {
            "normalisation": "⟨exp(−Δs)⟩: 1",
            "first": "the first identity: 0",
            "second": "the second identity: 0",
            "curvature": "v·Hv, H the Hessian of the mean of Δs",
            "noise": "v·Cv, C the covariance of the gradient of Δs",
            "coupling": "of Δs with its second derivative",
            "printed": "the relation as printed: not 0",
            "corrected": "the relation with its factor: 0 to second order",
        },
    )


@particulars.register
def _divergence(result: Divergence) -> Particulars:
    return Particulars("How the divergence is spread over the points.", {"mean": "over the points"})


@particulars.register
def _pointwise(result: PointwiseMutualInformation) -> Particulars:
    return Particulars(
        "How the information of single pairs is spread.",
        {"mean": "over the pairs: the mutual information", "growth": "certain: what bets by these scores earn"},
    )
