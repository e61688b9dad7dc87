"""Figures of experiments: pictures where people look rather than read."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor

from thermokern.papers.ding2026 import PANELS, Collapse, ModeCollapse
from thermokern.quantities import TAEP
from thermokern.quantities.results.style import (
    COLLAPSED,
    EXACT,
    MUTED,
    NETWORK,
    POINTS,
    THEORY,
    draw_density,
    severities,
    style,
)
from thermokern.quantities.taep.figures import draw_theorem


def mode_collapse_figure(result: ModeCollapse) -> Figure:
    """Ding, Quan and Tu, Fig. 2: (a) one mode ever rarer, (b) ever more rare modes, (c) one KL, two variances."""
    with style():
        figure = Figure(figsize=(13.5, 8.6), layout="constrained")
        rows = figure.add_gridspec(3, 1, height_ratios=[1, 1, 1.05])
        _sweep(figure, rows[0], result, "a", "ε", lambda collapse: collapse.epsilon, "one mode at weight ε")
        _sweep(figure, rows[1], result, "b", "m", lambda collapse: collapse.m, "m modes at weight 0.01")
        _pair(figure, rows[2], result)
    return figure


def theorems_figure(result: ModeCollapse) -> Figure:
    """The detailed fluctuation theorem of every trained network: log of the densities' ratio against Δs."""
    with style():
        columns = 5
        rows = math.ceil(len(result.evaluations) / columns)
        figure = Figure(figsize=(13.5, 2.7 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(result.evaluations) :]:
            axes.set_visible(False)
        for axes, (collapse, evaluation) in zip(grid.flat, result.evaluations.items(), strict=False):
            theorem = evaluation.theorem
            draw_theorem(axes, theorem)
            axes.set_title(
                f"m = {collapse.m}, ε = {collapse.epsilon:g}\nslope {theorem.slope}", fontsize=8.5, fontweight="normal"
            )
        for axes in grid[:, 0]:
            axes.set_ylabel("log $p_F/p_R$ ± 2 s.e.")
        grid[0, 0].legend(loc="upper left")
    return figure


def _sweep(
    figure: Figure,
    cell: SubplotSpec,
    result: ModeCollapse,
    panel: str,
    symbol: str,
    key: Callable[[Collapse], float],
    title: str,
) -> None:
    collapses = PANELS[panel]
    colours = severities(len(collapses))
    columns = cell.subgridspec(1, 4, width_ratios=[3.2, 1.6, 1.25, 1.05])
    grid = columns[0].subgridspec(2, 3)
    _scatter(figure.add_subplot(grid[0, 0]), result.target, "target", 0)
    for i, collapse in enumerate(collapses, start=1):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        _scatter(axes, result.evaluations[collapse].reverse.x_start[:1000], f"{symbol} = {key(collapse):g}", collapse.m)
    _tag(figure.axes[-len(collapses) - 1], panel)

    density = figure.add_subplot(columns[1])
    for collapse, colour in zip(collapses, colours, strict=True):
        values = result.evaluations[collapse].network.values.double().numpy()
        draw_density(density, values, colour, label=f"{symbol} = {key(collapse):g}")
    density.set(title=f"{title} (networks)", xlabel="Δs (nats)", ylabel="density", yscale="log", ylim=(3e-3, 100))
    density.legend(loc="upper right", ncols=2)

    variance, theorem = figure.add_subplot(columns[2]), figure.add_subplot(columns[3])
    positions = np.arange(len(collapses))
    variance.plot(positions, [c.variance for c in collapses], color=THEORY, lw=1, label="Eq. 55")
    for name, point_colour, shift in (("exact", EXACT, -0.12), ("network", NETWORK, 0.12)):
        results: list[TAEP] = [getattr(result.evaluations[c], name) for c in collapses]
        label = "exact score field" if name == "exact" else "trained network"
        for axes, quantity in ((variance, "variance"), (theorem, "fluctuation_theorem")):
            estimates = [getattr(item, quantity) for item in results]
            axes.errorbar(
                positions + shift,
                [estimate.value for estimate in estimates],
                [2.0 * estimate.stderr for estimate in estimates],
                fmt="o",
                ms=4,
                color=point_colour,
                capsize=2,
                lw=1,
                label=label,
            )
    theorem.axhline(1.0, color=THEORY, lw=1)
    for axes in (variance, theorem):
        axes.set_xticks(positions, [f"{key(c):g}" for c in collapses])
        axes.set_xlabel(symbol)
    variance.set(title="variance of Δs (nats²)")
    variance.legend(loc="upper left")
    theorem.set(title="⟨exp(−Δs)⟩, ± 2 s.e.")
    _at_least(theorem, 1.0, 0.02)


def _pair(figure: Figure, cell: SubplotSpec, result: ModeCollapse) -> None:
    collapses = PANELS["c"]
    colours = (COLLAPSED, EXACT)
    columns = cell.subgridspec(1, 4, width_ratios=[3.2, 1.6, 1.25, 1.05])
    grid = columns[0].subgridspec(1, 2)
    for i, collapse in enumerate(collapses):
        axes = figure.add_subplot(grid[i])
        _scatter(
            axes,
            result.evaluations[collapse].reverse.x_start[:1000],
            f"m = {collapse.m}, ε = {collapse.epsilon:g}",
            collapse.m,
        )
        if i == 0:
            _tag(axes, "c")
    density = figure.add_subplot(columns[1])
    for collapse, colour in zip(collapses, colours, strict=True):
        values = result.evaluations[collapse].network.values.double().numpy()
        draw_density(density, values, colour, label=f"m = {collapse.m}, ε = {collapse.epsilon:g}", fill=True)
    density.set(title="one mean, two variances (networks)", xlabel="Δs (nats)", ylabel="density")
    density.legend(loc="upper right")
    for column, quantity, theory, title in (
        (columns[2], "mean", "kl", "mean and KL (nats)"),
        (columns[3], "variance", "variance", "variance (nats²)"),
    ):
        _bars(figure.add_subplot(column), result, collapses, quantity, theory, title)


def _bars(
    axes: Axes, result: ModeCollapse, collapses: tuple[Collapse, ...], quantity: str, theory: str, title: str
) -> None:
    positions = np.arange(len(collapses))
    for name, bar_colour, shift in (("exact", EXACT, -0.2), ("network", NETWORK, 0.2)):
        estimates = [getattr(getattr(result.evaluations[c], name), quantity) for c in collapses]
        axes.bar(
            positions + shift,
            [estimate.value for estimate in estimates],
            width=0.36,
            color=bar_colour,
            yerr=[2.0 * estimate.stderr for estimate in estimates],
            capsize=2,
            error_kw={"lw": 1},
            label="exact score field" if name == "exact" else "trained network",
        )
    for position, collapse in zip(positions, collapses, strict=True):
        label = "theory" if position == 0 else None
        axes.plot(
            [position - 0.42, position + 0.42], [getattr(collapse, theory)] * 2, color=THEORY, lw=1.5, label=label
        )
    axes.set_xticks(positions, [f"m = {c.m}\nε = {c.epsilon:g}" for c in collapses])
    axes.set(title=title)
    if quantity == "mean":
        axes.margins(y=0.5)
        axes.legend(loc="upper center")


def _scatter(axes: Axes, points: Tensor, title: str, collapsed: int) -> None:
    """Points of the plane; those nearest to the first `collapsed` of eight modes on the ring are red."""
    xy = points.double().numpy()
    mode = np.round(np.arctan2(xy[:, 1], xy[:, 0]) / (math.pi / 4)).astype(int) % 8
    rare = mode < collapsed
    for points_of, size, colour in ((~rare, 0.8, POINTS), (rare, 2.0, COLLAPSED)):
        axes.scatter(xy[points_of, 0], xy[points_of, 1], s=size, color=colour, lw=0)
    axes.set(xlim=(-5.6, 5.6), ylim=(-5.6, 5.6), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=8.5, fontweight="normal", pad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color=MUTED, lw=0.5)


def _tag(axes: Axes, text: str) -> None:
    axes.text(-0.12, 1.08, f"({text})", transform=axes.transAxes, fontsize=11, fontweight="bold", ha="right")


def _at_least(axes: Axes, centre: float, half: float) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, centre - half), max(high, centre + half))
