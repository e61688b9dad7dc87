"""The figure of a divergence. It imports matplotlib: nothing imports it before a figure is wanted."""

from __future__ import annotations

from functools import singledispatch

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.engine.divergence import Divergence
from thermokern.quantities.results.style import EXACT, INK, draw_density, no_figure, panels, style

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def divergence_figure(result: Divergence, ax: Axes | None = None) -> Figure:
    """The density of the divergence over points."""
    with style():
        drawn, (panel,) = panels(ax, 1, 3.6)
        values = result.values[result.values.isfinite()].detach().cpu().numpy()
        if len(values):
            draw_density(panel, values, EXACT, fill=True)
            panel.axvline(values.mean(), color=INK, lw=1)
        panel.set(title=f"{len(values):,} points", xlabel="∇·s", ylabel="density")
    return drawn
