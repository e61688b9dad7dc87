"""The figure of classical entropy production. It imports matplotlib: nothing imports it before a figure is wanted."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.dissipation.result import THEOREMS, EntropyProduction
from thermokern.quantities.results.style import EXACT, INK, NETWORK, POINTS, draw_density, no_figure, panels, style

_COLOURS = dict(zip(THEOREMS, (EXACT, NETWORK, POINTS), strict=True))

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def dissipation_figure(result: EntropyProduction, ax: Axes | None = None) -> Figure:
    """The distribution of each part that obeys a fluctuation theorem, and the weights that the theorem gives paths."""
    parts = {name: part for name, part in result.parts().items() if name in THEOREMS} or {"bath": result.bath}
    with style():
        drawn, axes = panels(ax, len(parts), 3.6 * len(parts))
        for panel, (name, part) in zip(axes, parts.items(), strict=True):
            values = part.values[part.values.isfinite()].double().numpy()
            colour = _COLOURS.get(name, EXACT)
            if len(values) and np.ptp(values) > 0.0:
                draw_density(panel, values, colour, fill=True)
            elif len(values):
                panel.axvline(values[0], color=colour, lw=2.4)
            else:
                panel.text(0.5, 0.5, "no paths", ha="center", va="center", transform=panel.transAxes)
            panel.axvline(part.mean.value, color=INK, lw=1)
            average = ""
            if part.fluctuation_theorem is not None:
                doubt = "" if part.fluctuation_theorem.is_reliable else " (error unreliable)"
                average = f"\n⟨exp(−X)⟩ = {part.fluctuation_theorem}{doubt}"
            panel.set(title=f"{name}: {part.mean}{average}", xlabel="X (nats)", ylabel="density")
    return drawn
