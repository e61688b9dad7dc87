"""One page for every result: its estimates, summary, figure and settings, and what is particular to its kind."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path

from matplotlib.figure import Figure

from thermokern.quantities import TAEP, EntropyTable, Limits, Mode, Result
from thermokern.quantities.results.storage import kind_of
from thermokern.quantities.samples.entropy_table import plain
from thermokern.quantities.taep.modes import collapsed_modes, places
from thermokern.report import html

# Rows of a table of modes; those of highest mean are kept.
MODES_SHOWN = 40
ENTROPY_ERRORS = (
    "± one standard error, which is sampling error alone; for nearest neighbours it counts that points share them. "
    "The bias is a separate matter: it is extrapolated from other k and from parts of the sample, or, for the "
    "histogram, from cells twice as wide; the estimates do not contain it. "
)
ENTROPY_CAPTION = (
    "First panel: entropy by nearest neighbours against their number k, beside the histogram. Second: from parts of "
    "the sample, and where the bias puts the limit. Error bars are two standard errors; neighbouring dots share "
    "points."
)
ENTROPY_MAP = " Third: the local entropy ψ(n) − ψ(k) + log V_d + d log ε of each point, an estimate of −log p."


@dataclass(frozen=True)
class Particulars:
    """What the page of a kind of result has beside that of every other.

    Attributes
    ----------
    caption : str
        Of the figure.
    meaning : dict
        What an estimate is, by its name.
    sections : list of str
        HTML.
    table : str
        HTML, below the table of estimates or in its place.
    idle : tuple of str
        Settings that this calculation did not use.
    """

    caption: str = ""
    meaning: dict[str, str] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    table: str = ""
    idle: tuple[str, ...] = ()


def write_result(
    result: Result, out: Path, made: html.Made, *, lead: str = "", picture: Figure | None = None, caption: str = ""
) -> list[Path]:
    """The figure under the name of the result's kind, ``result.json`` and ``report.html``; the files written.

    Parameters
    ----------
    result : Result
    out : path
        A folder, which is made.
    made : str or mapping
        What made the page: named facts, or a line.
    lead : str
        What stands below the title; the first line of the summary where left out.
    picture, caption : optional
        In the place of the result's own figure, and what is added to its caption.
    """
    picture = result.plot() if picture is None else picture
    about, numbers = particulars(result), result.numbers()
    settings = found if isinstance(found := numbers.get("settings"), dict) else {}
    page = html.page(
        result.title,
        lead or result.summary().splitlines()[0],
        [
            html.section(
                "Estimates",
                *_estimates(result, about.meaning),
                about.table,
                html.folded("The same as text, with what ran", html.preformatted(result.summary())),
            ),
            html.section("Figure", html.figure(picture, result.title, about.caption + caption)),
            *about.sections,
            *([html.section("Settings", *html.settings(settings, about.idle))] if settings else []),
        ],
        made,
        html.conclusion(result),
    )
    return html.write_files(out, f"{kind_of(result)}.png", picture, result.to_json(), page)


def _estimates(result: Result, meaning: dict[str, str]) -> list[str]:
    """The table of the estimates that a result names, if any."""
    rows = [
        (name.replace("_", " "), estimate, estimate.unit, meaning.get(name, ""))
        for name, estimate in result.estimates().items()
    ]
    head = ("", "estimate", "unit", "what it is")
    width = len(head) if meaning else len(head) - 1
    caption = "Value ± one standard error."
    return [html.table(head[:width], [row[:width] for row in rows], caption, stack=True)] if rows else []


@singledispatch
def particulars(result: object) -> Particulars:
    """The particulars of a result's page; a kind that has some registers them."""
    return Particulars()


@particulars.register
def _taep(result: TAEP) -> Particulars:
    return Particulars(
        "Density of Δs; the lines are its mean and half its variance, which are equal near the optimum (Eq. 41). How "
        f"the paths, and how their weights {result.weight_name}, are spread below Δs; an average carried by few paths "
        "rises in a few high steps at the left end."
        + (" The mean of each mode, the overall mean dashed." if result.modes else ""),
        {
            "mean": "⟨Δs⟩: how far the model is from the reference; 0 for the same score",
            "variance": "of Δs over paths; near the optimum twice the mean",
            "fluctuation_theorem": f"⟨{result.weight_name}⟩: 1 for an exact reference, and a check on the rest",
            "score_matching": "integral of the score's squared error; the mean again, where the reference is exact",
            "consistency": "mean less score matching: 0 where the identity holds",
            "half_variance_ratio": "variance over twice the mean: 1 near the optimum",
            "data_entropy": "of the law that paths start from, at the first time",
        },
        sections=[*_modes(result), *_attribution(result)],
        idle=() if result.settings["scheme"] == "sampler" else ("chain", "forward"),
    )


@particulars.register
def _limits(result: Limits) -> Particulars:
    verdicts = [
        (v.outcome, v.statement, v.likelihood, "yes" if v.promised else "no", v.margin, v.reason)
        for v in result.verdicts
    ]
    return Particulars(
        "First panel: negative log-likelihoods (blue) and what bounds them (orange), nats, two standard errors; dashed "
        "the entropy of the data. Second: entropy rates over the log signal-to-noise ratio, time running to the right.",
        {
            "data_entropy": "S_data: no law has a smaller NLL",
            "nll_ode": "exact, of the deterministic sampler",
            "nll_plugin": "averages over the data's marginals in the place of the model's flow",
            "nll_lower_bound": "bound on the plug-in NLL (Kodama and Hinczewski, Eq. 6)",
            "elbo": "upper bound on the SDE sampler's NLL",
            "data_entropy_bound": "2 NLL_ODE + ∫Ṡ_θ dt − S(p_T): bounds S_data only where plug-in and flow agree",
            "data_entropy_bound_plugin": "the same with the plug-in NLL: bounds S_data",
            "kl_ode": "KL(data ‖ deterministic sampler)",
            "kl_upper": "⟨Δs_ta⟩ + KL(p_T‖π): upper bound on KL(data ‖ SDE sampler)",
            "squared_difference": "∫D E|s_θ − s_*|²dt = ⟨Δs_ta⟩",
            "prior_mismatch": "KL(p_T‖π)",
            "noise_entropy": "S(p_T), of the data's law at the last time",
            "below_t_eps": "∫Ṡ_θ dt below the first time, in nothing else here",
        },
        [
            html.section(
                "Verdicts",
                html.paragraph(
                    "Three likelihoods bear the name: the probability-flow equation's (ODE), the reverse stochastic "
                    "equation's (SDE sampler) and the plug-in one. A bound on one need not hold for another. Tight: "
                    "equal within three standard errors and the error of quadrature."
                ),
                html.table(("", "statement", "speaks of", "promised", "margin", "why"), verdicts, stack=True),
            ),
            html.section(
                "Entropy rates",
                html.figure(result.rates.plot(), "Entropy rates and Stein residual", ""),
                html.preformatted(result.rates.summary()),
            ),
            html.section("Likelihood", html.preformatted(result.likelihood.summary())),
        ],
    )


@particulars.register
def _entropy(table: EntropyTable) -> Particulars:
    rows = [
        (label, plain(table.bits_per_dim(estimate)), plain(estimate), plain(bias) if math.isfinite(bias.value) else "")
        for label, estimate, bias in table.rows()
    ]
    return Particulars(
        ENTROPY_CAPTION,
        {
            "knn": "by nearest neighbours: for many dimensions, too",
            "histogram": "by cells of a grid: for few dimensions only",
        },
        sections=[
            html.section(
                "Table",
                html.paragraph(
                    ENTROPY_ERRORS + "No law of the same covariance has more entropy than the Gaussian, none on the "
                    "same box more than the uniform one."
                ),
                html.table(("estimator", "bits per dimension", "nats", "bias (nats)"), rows),
            ),
            entropy_section(table),
        ],
    )


def entropy_section(table: EntropyTable) -> str:
    """How the two estimates of a table were made."""
    parts = [estimate.summary() for estimate in (table.knn, table.histogram) if estimate is not None]
    return html.section("How", *map(html.preformatted, parts))


def _modes(result: TAEP) -> list[str]:
    """The section of modes, where they are known."""
    if not result.modes:
        return []
    collapsed = {mode.index for mode in collapsed_modes(result.modes, result.mean)}
    shown = sorted(sorted(result.modes, key=_collapse_order)[:MODES_SHOWN], key=lambda mode: mode.index)
    where = places(result.x_start, result.start_component)
    rows = [
        (
            mode.index,
            *([where.get(mode.index, "")] if where else []),
            f"{mode.weight:.4g}",
            f"{mode.n_paths:,}",
            mode.mean,
            html.percent(mode.share_of_variance),
            mode.fluctuation_theorem,
            "collapsed" if mode.index in collapsed else "",
        )
        for mode in shown
    ]
    left_out = len(result.modes) - len(shown)
    return [
        html.section(
            "Mode by mode",
            html.paragraph(
                "Paths by the component of the reference that they start from. Mean Δs in nats, ± one standard error; "
                "share of the variance: Σ (Δs − mean)² over the mode's paths divided by the same sum over all. "
                f"⟨{result.weight_name}⟩ within a mode is, for modes far apart and forward paths, how many times its "
                "due weight the model gives it. Collapsed: over three standard errors, and a quarter of the weight, "
                "above the overall mean."
            ),
            html.table(
                (
                    "mode",
                    *(["at"] if where else []),
                    "weight",
                    "paths",
                    "mean Δs",
                    "share of variance",
                    f"⟨{result.weight_name}⟩",
                    "",
                ),
                rows,
            ),
            *([html.paragraph(f"{left_out} modes of lower mean are left out; result.json has them.")] * bool(left_out)),
        )
    ]


def _attribution(result: TAEP) -> list[str]:
    """The section of where Δs arises, where that was resolved."""
    if result.attribution is None:
        return []
    caption = (
        "Blue: the log ratio of the chains of exact steps, ± two standard errors of each node or component by itself; "
        "those of one path are correlated. Orange, and pictures: κ δ², its mean where the reference is exact. Time "
        "runs to the right. The total depends on the first time; the rate does not."
    )
    return [
        html.section(
            "Where it arises",
            html.figure(result.attribution.plot(), result.attribution.title, caption),
            *map(html.paragraph, result.attribution.conclusion()),
            html.preformatted("\n".join(result.attribution.lines())),
        )
    ]


def _collapse_order(mode: Mode) -> float:
    return -mode.mean.value if math.isfinite(mode.mean.value) else math.inf
