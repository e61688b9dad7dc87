"""Figures of learning dynamics. Imports matplotlib: for functions to import, not for modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from thermokern.quantities.learning.bartlett import Bartlett
from thermokern.quantities.learning.noise_curvature import ALL, TOP, NoiseCurvature
from thermokern.quantities.learning.result import Curvature, GradientNoise
from thermokern.quantities.learning.subsets import KINDS, PLACES
from thermokern.quantities.learning.training_log import TrainingLog
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.style import (
    EXACT,
    MUTED,
    NETWORK,
    THEORY,
    no_figure,
    panels,
    severities,
    style,
)

COLOURS = dict(zip(KINDS, ("#2b6cb0", "#c53030", "#dd6b20", "#2f855a"), strict=True))
MARKERS = {**dict(zip(PLACES, "ovs", strict=True)), "": "D"}

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def bartlett_figure(result: Bartlett, ax: Axes | None = None) -> Figure:
    """The curvature beside the two cumulants that make most of it, and beside their half, which is printed."""
    curvature = result.curvature
    both = Estimate(result.corrected.value + curvature.value, result.corrected.stderr)
    half = Estimate(result.printed.value + curvature.value, result.printed.stderr)
    bars = {
        "v·Hv": curvature,
        "v·Cv": result.noise,
        "Cov(Δs,\nv·∇∇Δs v)": result.coupling,
        "both\ncumulants": both,
        "half of them\n(as printed)": half,
    }
    colours = (EXACT, MUTED, MUTED, EXACT, NETWORK)
    with style():
        drawn, (axes,) = panels(ax, 1, 6.2)
        axes.bar(
            list(bars),
            [bar.value for bar in bars.values()],
            yerr=[2.0 * bar.stderr for bar in bars.values()],
            color=colours,
            capsize=3,
        )
        axes.axhline(curvature.value, color=EXACT, lw=1, ls="--")
        axes.set(title="curvature of ⟨Δs⟩ and noise of its gradient", ylabel="nats², ± 2 s.e.")
    return drawn


@figure.register
def curvature_figure(result: Curvature, ax: Axes | None = None) -> Figure:
    """Eigenvalues on the samples that their vectors come from, and the vectors' quotients on the others."""
    with style():
        drawn, (axes,) = panels(ax, 1, 5.4)
        rank = torch.arange(1, len(result.eigenvalues) + 1, device="cpu")
        axes.plot(rank, result.eigenvalues, ".-", ms=3, lw=0.8, color=NETWORK, label="where the vectors come from")
        if result.held_out is not None:
            axes.plot(rank, result.held_out, ".", ms=3, color=EXACT, label="on other samples")
            axes.legend()
        low = max(1e-6 * result.eigenvalues.abs().max().item(), 1e-300)
        linear = low if result.part == "gauss-newton" else 1e4 * low
        axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(linear)))  # a tick at its end, none within
        axes.axhline(0.0, color=MUTED, lw=0.6)
        axes.set(title=f"{result.part}, {result.subset.name or 'network'}", xlabel="eigenvector", ylabel="v·Hv")
    return drawn


@figure.register
def noise_figure(result: GradientNoise, ax: Axes | None = None) -> Figure:
    """The spectrum of the covariance."""
    with style():
        drawn, (axes,) = panels(ax, 1, 5.4)
        values = result.columns()["eigenvalue"].clamp_min(0.0)
        rank = torch.arange(1, len(values) + 1, device="cpu")
        axes.plot(rank, values / values.sum(), ".-", ms=3, lw=0.8, color=NETWORK)
        axes.set(title=f"gradient noise per {result.per}, {result.subset.name or 'network'}", yscale="log")
        axes.set(xlabel="eigenvector", ylabel="share of the trace")
    return drawn


@figure.register
def relation_figure(result: NoiseCurvature, ax: Axes | None = None) -> Figure:
    """Noise against curvature of every vector, and the slopes by kind."""
    with style():
        drawn, axes = panels(ax, 2, 9.6, 3.8, (1.35, 1.0))
        draw_relation(axes[0], result)
        draw_slopes(axes[1], result)
    return drawn


def draw_relation(axes: Axes, result: NoiseCurvature) -> None:
    """``v·C v`` against ``v·H v``: held out where known, with a line of slope 1 and that of white residuals."""
    shown = []
    for layer in result.layers:
        curvature = layer.curvature if layer.held_out is None else layer.held_out
        keep = (curvature > 0.0) & (layer.noise > 0.0)
        shown.append(curvature[keep])
        kind, place = COLOURS[layer.kind], MARKERS[layer.place]
        axes.plot(curvature[keep], layer.noise[keep], place, ms=3.5, mew=0, alpha=0.7, color=kind)
    every = torch.cat(shown)
    if not len(every):
        return
    ends = torch.stack([every.min(), every.max()])
    null = sum(layer.null_prefactor for layer in result.layers) / len(result.layers)
    found = torch.cat([layer.noise for layer in result.layers])
    middle = (found[found > 0.0].log().mean() - every.log().mean()).exp()
    axes.plot(ends, middle * ends, "--", lw=1, color=THEORY, label="slope 1")
    axes.plot(ends, null * ends, ":", lw=1, color=MUTED, label="white residuals, 2L/d")
    for kind in dict.fromkeys(layer.kind for layer in result.layers):
        axes.plot([], [], "o", ms=4, mew=0, color=COLOURS[kind], label=kind)
    for place in dict.fromkeys(layer.place for layer in result.layers if layer.place):
        axes.plot([], [], MARKERS[place], ms=4, mfc="none", color=MUTED, label=place)
    held = "held out" if result.held_out else "in sample"
    axes.set(xscale="log", yscale="log", xlabel=f"curvature v·Hv ({held})", ylabel="gradient noise v·Cv")
    axes.set_title(f"{len(result.layers)} layers, top {result.settings['top']} vectors of each")
    axes.legend(fontsize=7, ncols=2)


def draw_slopes(axes: Axes, result: NoiseCurvature) -> None:
    """Slopes with two standard errors: in sample faint, held out solid."""
    names = [name for name in (*KINDS, ALL, TOP) if name in result.in_sample]
    for offset, slopes, alpha, label in (
        (-0.14, result.in_sample, 0.35, "in sample"),
        (0.14, result.held_out, 1.0, "held out"),
    ):
        for i, name in enumerate(names):
            if name in slopes:
                found = slopes[name]
                axes.errorbar(
                    [i + offset],
                    [found.value],
                    yerr=[0.0 if found.stderr != found.stderr else 2.0 * found.stderr],
                    fmt="o",
                    ms=5,
                    capsize=3,
                    alpha=alpha,
                    color=COLOURS.get(name, THEORY),
                    label=label if name == ALL else None,
                )
    axes.axhline(1.0, color=THEORY, lw=1, ls="--")
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=25, ha="right", rotation_mode="anchor")
    axes.set(title="slope of log v·Cv on log v·Hv", ylabel="slope, ± 2 s.e.")
    axes.legend(fontsize=7)


@figure.register
def training_figure(result: TrainingLog, ax: Axes | None = None) -> Figure:
    """Distributions of Δs, mean, variance and ``Var/(2 mean)`` along training, and coverage where it is known."""
    visits = result.measurements
    with style():
        drawn, (spread, moments, ratios, covered) = panels(ax, 4, 14.0, 3.4)
        shown = visits[:: max(1, -(-len(visits) // 8))]
        for visit, colour in zip(shown, reversed(severities(len(shown))), strict=True):
            values = visit.values[visit.values.isfinite()].double().numpy()
            spread.ecdf(values, color=colour, lw=1.4, label=f"{visit.step:,}")
        spread.set(title="(a) TAEP along training", xlabel="Δs (nats)", ylabel="share of paths below")
        spread.legend(title="step", fontsize=7, ncols=2)
        steps = [float(visit.step) for visit in visits]
        draw_along(moments, steps, [visit.mean for visit in visits], EXACT, "mean (nats)")
        draw_along(moments, steps, [visit.variance for visit in visits], NETWORK, "variance (nats²)")
        moments.set(title="(b) mean and variance", xlabel="training step", yscale="log")
        moments.set_ylim(top=1.6 * moments.get_ylim()[1])
        moments.legend(loc="upper center", ncols=2)
        draw_along(ratios, steps, [visit.half_variance_ratio for visit in visits], NETWORK, "Var/(2 mean)")
        ratios.axhline(1.0, color=THEORY, lw=1, ls="--")
        ratios.set(title="(c) Var/(2 mean), 1 near an exact optimum", xlabel="training step")
        known = [visit for visit in visits if visit.coverage is not None]
        if known:
            coverages = [visit.coverage for visit in known if visit.coverage is not None]
            draw_course(covered, [visit.variance for visit in known], coverages)
            covered.set(xscale="log", xlabel="variance of Δs (nats²)", ylabel="coverage")
            covered.set_title("(d) coverage and variance")
            covered.xaxis.set_minor_formatter(NullFormatter())
        else:
            draw_along(covered, steps, [visit.score_matching for visit in visits], EXACT, "")
            covered.set(title="(d) score matching", xlabel="training step", ylabel="∫ D ⟨|δ|²⟩ dt (nats)", yscale="log")
    return drawn


def draw_along(
    axes: Axes, x: Sequence[float], y: Sequence[Estimate | None], colour: str, label: str, style: str = "o-"
) -> None:
    """Estimates along training, with two standard errors."""
    pairs = [(step, found) for step, found in zip(x, y, strict=True) if found is not None]
    axes.errorbar(
        [step for step, _ in pairs],
        [found.value for _, found in pairs],
        yerr=[2.0 * found.stderr for _, found in pairs],
        fmt=style,
        ms=3,
        lw=1,
        capsize=2,
        color=colour,
        label=label,
    )


def draw_course(axes: Axes, x: Sequence[Estimate], y: Sequence[Estimate]) -> None:
    """One quantity against another along training, with two standard errors of both."""
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
