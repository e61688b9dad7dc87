"""Figure and page of TAEP and coverage along training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from thermokern.papers.ding2026 import TrainingCourse
from thermokern.quantities import Estimate
from thermokern.quantities.results.style import NETWORK, THEORY, draw_density, severities, style
from thermokern.report import html


def training_figure(course: TrainingCourse) -> Figure:
    """Ding, Quan and Tu, Fig. 3: (a) distributions of Δs, (b) coverage against variance, (c) variance against mean."""
    colours = severities(len(course.steps))
    with style():
        figure = Figure(figsize=(13.5, 4.2), layout="constrained")
        density, covered, moments = figure.subplots(1, 3)
        for step, values, colour in zip(course.steps, course.values, reversed(colours), strict=True):
            draw_density(density, values.double().numpy(), colour, label=f"{step:,}")
        density.set(title="(a) TAEP along training", xlabel="Δs (nats)", ylabel="density", yscale="log")
        density.legend(title="training step", ncols=2, fontsize="small")
        _course(covered, course.variances, course.coverages)
        covered.axhline(course.final_coverage.value, color=THEORY, lw=1, ls="--", label="final model")
        covered.axhline(course.expected_coverage, color=THEORY, lw=1, label="two samples of one law")
        covered.set(title="(b) coverage", xlabel="variance of Δs (nats²)", ylabel="coverage", xscale="log")
        covered.legend(loc="lower left")
        _course(moments, course.means, course.variances)
        moments.set(
            title="(c) mean and variance", xlabel="mean of Δs (nats)", ylabel="variance of Δs (nats²)", xscale="log"
        )
        moments.set_yscale("log")
        moments.xaxis.set_minor_formatter(NullFormatter())
    return figure


def _course(axes: Axes, x: Sequence[Estimate], y: Sequence[Estimate]) -> None:
    axes.errorbar(
        [estimate.value for estimate in x],
        [estimate.value for estimate in y],
        yerr=[2.0 * estimate.stderr for estimate in y],
        xerr=[min(2.0 * estimate.stderr, 0.9 * abs(estimate.value)) for estimate in x],
        fmt="o-",
        ms=4,
        lw=1,
        capsize=2,
        color=NETWORK,
    )


def write_training(course: TrainingCourse, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page; the files written."""
    out.mkdir(parents=True, exist_ok=True)
    picture = training_figure(course)
    settings = course.settings
    rows = [
        (f"{step:,}", mean, variance, covered)
        for step, mean, variance, covered in zip(
            course.steps, course.means, course.variances, course.coverages, strict=True
        )
    ]
    correlations = [(name, found.rho, f"{found.p_value:.2g}") for name, found in course.correlations().items()]
    page = html.page(
        "Entropy production along training",
        f"{settings['data']}: {settings['n_paths']:,} paths of {settings['n_steps']} steps, "
        f"{settings['n_generated']:,} samples, after Ding, Quan and Tu, Fig. 3.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Density of the TAEP at each checkpoint, coverage against its variance, variance against its mean",
                    "Δs of each checkpoint against the final model, on the same paths; bars are two standard errors.",
                ),
            ),
            html.section(
                "Along training", html.table(("step", "mean Δs (nats)", "variance (nats²)", "coverage"), rows)
            ),
            html.section(
                "Rank correlations",
                html.paragraph(
                    "Spearman's ρ over the checkpoints without the final one, whose TAEP is zero by construction. "
                    "Standard errors are those of paths and samples; p-values are of unrelated orders. Quantities that "
                    "only rise or fall with training correlate whatever ties them: the step itself is in the table."
                ),
                html.table(("quantities", "ρ", "p"), correlations),
            ),
            html.section("Settings", html.preformatted(json.dumps(settings, indent=2))),
        ],
        footer,
    )
    paths = [out / "training.png", out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(course.to_json(), indent=2, allow_nan=True) + "\n")
    paths[2].write_text(page)
    return paths
