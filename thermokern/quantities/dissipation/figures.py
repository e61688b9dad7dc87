"""The figure of classical entropy production. It imports matplotlib: nothing imports it before a figure is wanted."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from thermokern.quantities.dissipation.result import THEOREMS, EntropyProduction
from thermokern.quantities.results.style import EXACT, INK, NETWORK, POINTS, draw_density, style

_COLOURS = dict(zip(THEOREMS, (EXACT, NETWORK, POINTS), strict=True))


def dissipation_figure(result: EntropyProduction) -> Figure:
    """The distribution of each part that obeys a fluctuation theorem, and the weights that the theorem gives paths."""
    parts = {name: part for name, part in result.parts().items() if name in THEOREMS} or {"bath": result.bath}
    with style():
        figure = Figure(figsize=(3.6 * len(parts), 3.1), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(parts)))
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
            average = "" if part.fluctuation_theorem is None else f"\n⟨exp(−X)⟩ = {part.fluctuation_theorem}"
            panel.set(title=f"{name}: {part.mean}{average}", xlabel="X (nats)", ylabel="density")
    return figure
