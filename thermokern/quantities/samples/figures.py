"""Figures of entropies. Imports matplotlib, so nothing that `import thermokern` loads may import this file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.style import (
    COLLAPSED,
    EXACT,
    INK,
    MUTED,
    NETWORK,
    draw_density,
    no_figure,
    panels,
    style,
)
from thermokern.quantities.samples.coverage import Coverage
from thermokern.quantities.samples.entropy_table import EntropyTable
from thermokern.quantities.samples.result import EntropyEstimate, SampleEstimate

# Points of the map of local entropies at most.
_SHOWN = 20_000

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def sample_figure(result: SampleEstimate, ax: Axes | None = None) -> Figure:
    """The density of what each point adds."""
    with style():
        drawn, (panel,) = panels(ax, 1, 5.0)
        local = result.local[result.local.isfinite()].numpy()
        if len(local):
            draw_density(panel, local, EXACT, fill=True)
        panel.axvline(result.value, color=INK, lw=1)
        panel.set(title=f"{result.method}\n{result} {result.unit}", xlabel="of each point", ylabel="density")
    return drawn


@figure.register
def coverage_figure(result: Coverage, ax: Axes | None = None) -> Figure:
    """The four estimates ± 2 s.e., and the coverage that two samples of one law have."""
    with style():
        drawn, (panel,) = panels(ax, 1, 3.6)
        names, estimates = [*result.named()], [*result.named().values()]
        errors = [2.0 * (item.stderr if math.isfinite(item.stderr) else 0.0) for item in estimates]
        panel.errorbar(names, [item.value for item in estimates], errors, fmt="o", ms=4, color=EXACT, capsize=3)
        panel.plot(["coverage"], [result.expected_coverage], "_", ms=20, color=INK, label="two samples of one law")
        panel.margins(0.12)
        panel.set(title="± 2 s.e.", ylim=(0.0, None))
        panel.legend(loc="best")
    return drawn


@figure.register
def entropy_figure(
    result: EntropyEstimate,
    x: Tensor | None = None,
    over_k: Sequence[tuple[int, Estimate]] | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """The estimate against k and against n; with points (n, 2), the map of their local entropies."""
    with style():
        flat = x is not None and x.shape[1] == 2
        drawn, axes = panels(ax, 3 if flat else 2, 10.8 if flat else 7.2)
        draw_series(
            axes[0], result.by_k if over_k is None else over_k, "k", f"{len(result.local):,} points", result.unit
        )
        draw_sizes(axes[1], result)
        if flat:
            assert x is not None
            draw_map(drawn, axes[2], x, result.local, result.unit)
    return drawn


@figure.register
def table_figure(
    table: EntropyTable, x: Tensor | None = None, truth: float | None = None, *, ax: Axes | None = None
) -> Figure:
    """Estimates against k with the histogram beside them, against n, and with points (n, 2) the map."""
    with style():
        drawn = entropy_figure(table.knn, x, table.over_k, ax=ax)
        axes = drawn.axes[0]
        if table.histogram is not None:
            draw_level(axes, table.histogram, "histogram", NETWORK)
        if truth is not None:
            for panel in drawn.axes[:2]:
                panel.axhline(truth, color=INK, lw=1, label="exact")
        axes.legend(loc="best")
    return drawn


def draw_series(
    axes: Axes, series: Sequence[tuple[int, Estimate]], label: str, title: str, unit: str, name: str = "k-NN"
) -> None:
    """Estimates with two standard errors against a whole number, which is not a line: they share their points."""
    at = [key for key, _ in series]
    axes.errorbar(
        at,
        [item.value for _, item in series],
        [2.0 * (item.stderr if math.isfinite(item.stderr) else 0.0) for _, item in series],
        fmt="o",
        ms=3.5,
        color=EXACT,
        capsize=2,
        lw=1,
        label=name,
    )
    axes.set(title=f"{title}\nentropy ± 2 s.e.", xlabel=label, ylabel=f"entropy ({unit})")
    axes.margins(y=0.15)


def draw_sizes(axes: Axes, result: EntropyEstimate) -> None:
    """The estimate from parts of the sample, and where the bias says the series is bound."""
    draw_series(axes, result.by_size, "points n", result.method, result.unit)
    axes.set_xscale("log")
    if math.isfinite(result.bias.value):
        corrected = Estimate(result.value - result.bias.value, result.bias.stderr, result.unit)
        draw_level(axes, corrected, "less its bias", COLLAPSED)
        axes.legend(loc="best")


def draw_level(axes: Axes, estimate: Estimate, label: str, colour: str) -> None:
    """A horizontal line with a band of two standard errors."""
    axes.axhline(estimate.value, color=colour, lw=1, ls="--", label=label)
    if math.isfinite(estimate.stderr):
        low, high = estimate.value - 2.0 * estimate.stderr, estimate.value + 2.0 * estimate.stderr
        axes.axhspan(low, high, color=colour, alpha=0.12, lw=0)


def draw_map(figure: Figure, axes: Axes, x: Tensor, local: Tensor, unit: str) -> None:
    """Points of the plane coloured by their local entropy, the outermost 2 % of the scale cut off."""
    step = max(1, len(x) // _SHOWN)
    xy, values = x[::step].double().cpu().numpy(), local[::step].double().cpu().numpy()
    low, high = np.quantile(values, [0.02, 0.98]).tolist()
    size = min(6.0, 4000.0 / len(xy))
    drawn = axes.scatter(xy[:, 0], xy[:, 1], c=values, s=size, lw=0, cmap="viridis", vmin=low, vmax=high)
    axes.set(title="local entropy\n", aspect="equal", xlabel="$x_0$", ylabel="$x_1$")
    for spine in axes.spines.values():
        spine.set(visible=True, color=MUTED, lw=0.5)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label(unit)
    bar.outline.set_visible(False)
