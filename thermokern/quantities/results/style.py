"""How thermokern's figures look, and the two things that each `figures` module needs: who draws what, and panels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

Colour = str | tuple[float, float, float, float]

INK = "#1f2933"
MUTED = "#7b8794"
THEORY = "#1f2933"
EXACT = "#2b6cb0"
NETWORK = "#dd6b20"
COLLAPSED = "#c53030"
POINTS = "#4a5568"


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings for every figure."""
    settings: dict[str, Any] = {
        "figure.dpi": 110,
        "savefig.dpi": 160,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def no_figure(result: object, ax: Axes | None = None) -> Figure:
    """Where a `figures` module begins: ``figure = singledispatch(no_figure)``, to which each result's is registered."""
    raise TypeError(f"plot: a {type(result).__name__} has no figure")


def panels(
    ax: Axes | None, columns: int, width: float, height: float = 3.1, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A new figure of `columns` panels, inches wide and high; or `ax` and its figure, where one panel is all."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, list(figure.subplots(1, columns, squeeze=False, width_ratios=ratios)[0])
    if columns > 1:
        raise ValueError(f"ax: this figure has {columns} panels and makes its own axes; leave ax out")
    whole = ax.figure
    while isinstance(whole, SubFigure):
        whole = whole.figure
    return whole, [ax]


def severities(count: int) -> list[Colour]:
    """`count` colours from mild to severe."""
    rows = mpl.colormaps["plasma"](np.linspace(0.82, 0.05, count)).tolist()
    return [(r, g, b, a) for r, g, b, a in rows]


def draw_density(axes: Axes, values: np.ndarray, colour: Colour, label: str | None = None, fill: bool = False) -> None:
    """A normalised histogram of `values` (n,), the outermost 0.05 % at each end left out."""
    low, high = np.quantile(values, [0.0005, 0.9995]).tolist()
    margin = 0.03 * (high - low) or max(0.01 * abs(high), 0.01)
    bins = np.linspace(low - margin, high + margin, 71)
    height, edges = np.histogram(values, bins=bins, density=True)
    axes.stairs(height, edges, color=colour, lw=1.2, label=label)
    if fill:
        axes.stairs(height, edges, color=colour, fill=True, alpha=0.25)
