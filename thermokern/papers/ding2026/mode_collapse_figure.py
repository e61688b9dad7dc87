"""The figures of the mode-collapse experiment: pictures where people look rather than read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor

from thermokern.papers.ding2026.collapses import PANELS, Collapse, Evaluation
from thermokern.quantities import TAEP, Estimate
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

Models = Mapping[Collapse, Evaluation]
Quantity = Callable[[TAEP], Estimate]
# The two scores of a model: label, colour, TAEP.
_SCORES: tuple[tuple[str, str, Callable[[Evaluation], TAEP]], ...] = (
    ("exact score field", EXACT, lambda model: model.exact),
    ("trained network", NETWORK, lambda model: model.network),
)


def mode_collapse_figure(models: Models, target: Tensor) -> Figure:
    """Ding, Quan and Tu, Fig. 2: (a) one mode ever rarer, (b) ever more rare modes, (c) one KL, two variances."""
    with style():
        figure = Figure(figsize=(13.5, 8.6), layout="constrained")
        rows = figure.add_gridspec(3, 1, height_ratios=[1, 1, 1.05])
        by_weight, by_number = ({c: models[c] for c in PANELS[panel]} for panel in "ab")
        weights = [f"{collapse.epsilon:g}" for collapse in by_weight]
        numbers = [f"{collapse.m}" for collapse in by_number]
        _sweep(figure, rows[0], by_weight, target, tag="a", symbol="ε", ticks=weights, title="one mode at weight ε")
        _sweep(figure, rows[1], by_number, target, tag="b", symbol="m", ticks=numbers, title="m modes at weight 0.01")
        _pair(figure, rows[2], {collapse: models[collapse] for collapse in PANELS["c"]})
    return figure


def theorems_figure(models: Sequence[Evaluation]) -> Figure:
    """The detailed fluctuation theorem of every trained network: log of the densities' ratio against Δs."""
    with style():
        columns = 5
        rows = math.ceil(len(models) / columns)
        figure = Figure(figsize=(13.5, 2.7 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(models) :]:
            axes.set_visible(False)
        for axes, model in zip(grid.flat, models, strict=False):
            draw_theorem(axes, model.theorem)
            axes.set_title(f"{model.collapse}\nslope {model.theorem.slope}", fontsize=8.5, fontweight="normal")
        for axes in grid[:, 0]:
            axes.set_ylabel("log $p_F/p_R$ ± 2 s.e.")
        grid[0, 0].legend(loc="upper left")
    return figure


def _sweep(
    figure: Figure,
    cell: SubplotSpec,
    models: Models,
    target: Tensor,
    *,
    tag: str,
    symbol: str,
    ticks: Sequence[str],
    title: str,
) -> None:
    colours = severities(len(models))
    columns = cell.subgridspec(1, 4, width_ratios=[3.2, 1.6, 1.25, 1.05])
    grid = columns[0].subgridspec(2, 3)
    first = figure.add_subplot(grid[0, 0])
    _scatter(first, target, "target", 0)
    _tag(first, tag)
    for i, ((collapse, model), tick) in enumerate(zip(models.items(), ticks, strict=True), start=1):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        _scatter(axes, model.reverse.x_start[:1000], f"{symbol} = {tick}", collapse.m)

    density = figure.add_subplot(columns[1])
    for model, colour, tick in zip(models.values(), colours, ticks, strict=True):
        draw_density(density, model.network.values.double().numpy(), colour, label=f"{symbol} = {tick}")
    density.set(title=f"{title} (networks)", xlabel="Δs (nats)", ylabel="density", yscale="log", ylim=(3e-3, 100))
    density.legend(loc="upper right", ncols=2)

    variance, theorem = figure.add_subplot(columns[2]), figure.add_subplot(columns[3])
    positions = np.arange(len(models))
    variance.plot(positions, [collapse.variance for collapse in models], color=THEORY, lw=1, label="Eq. 55")
    quantities: tuple[tuple[Axes, Quantity], ...] = (
        (variance, lambda found: found.variance),
        (theorem, lambda found: found.fluctuation_theorem),
    )
    for (label, point_colour, score), shift in zip(_SCORES, (-0.12, 0.12), strict=True):
        for axes, quantity in quantities:
            estimates = [quantity(score(model)) for model in models.values()]
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
        axes.set_xticks(positions, ticks)
        axes.set_xlabel(symbol)
    variance.set(title="variance of Δs (nats²)")
    variance.legend(loc="upper left")
    theorem.set(title="⟨exp(−Δs)⟩, ± 2 s.e.")
    _at_least(theorem, 1.0, 0.02)


def _pair(figure: Figure, cell: SubplotSpec, models: Models) -> None:
    columns = cell.subgridspec(1, 4, width_ratios=[3.2, 1.6, 1.25, 1.05])
    grid = columns[0].subgridspec(1, 2)
    for i, (collapse, model) in enumerate(models.items()):
        axes = figure.add_subplot(grid[i])
        _scatter(axes, model.reverse.x_start[:1000], str(collapse), collapse.m)
        if i == 0:
            _tag(axes, "c")
    density = figure.add_subplot(columns[1])
    for (collapse, model), colour in zip(models.items(), (COLLAPSED, EXACT), strict=True):
        draw_density(density, model.network.values.double().numpy(), colour, label=str(collapse), fill=True)
    density.set(title="one mean, two variances (networks)", xlabel="Δs (nats)", ylabel="density")
    density.legend(loc="upper right")
    mean, variance = figure.add_subplot(columns[2]), figure.add_subplot(columns[3])
    _bars(mean, models, lambda found: found.mean, [collapse.kl for collapse in models])
    mean.set(title="mean and KL (nats)")
    mean.margins(y=0.5)
    mean.legend(loc="upper center")
    _bars(variance, models, lambda found: found.variance, [collapse.variance for collapse in models])
    variance.set(title="variance (nats²)")


def _bars(axes: Axes, models: Models, quantity: Quantity, theory: Sequence[float]) -> None:
    positions = np.arange(len(models))
    for (label, bar_colour, score), shift in zip(_SCORES, (-0.2, 0.2), strict=True):
        estimates = [quantity(score(model)) for model in models.values()]
        axes.bar(
            positions + shift,
            [estimate.value for estimate in estimates],
            width=0.36,
            color=bar_colour,
            yerr=[2.0 * estimate.stderr for estimate in estimates],
            capsize=2,
            error_kw={"lw": 1},
            label=label,
        )
    for position, level in enumerate(theory):
        ends = [position - 0.42, position + 0.42]
        axes.plot(ends, [level, level], color=THEORY, lw=1.5, label=None if position else "theory")
    axes.set_xticks(positions, [f"m = {collapse.m}\nε = {collapse.epsilon:g}" for collapse in models])


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
