"""The figure of schedules. Imports matplotlib: for functions to import, not for modules."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter, NullLocator

from thermokern.quantities.results.style import EXACT, INK, MUTED, NETWORK, no_figure, panels, severities, style
from thermokern.quantities.schedules.result import Schedules
from thermokern.quantities.schedules.standards import STANDARDS

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def schedules_figure(result: Schedules, ax: Axes | None = None) -> Figure:
    """Noise levels of each schedule over its steps; and the bounds beside those of the schedules in common use."""
    with style():
        drawn, (levels, costs) = panels(ax, 2, 8.4)
        for n, colour in zip(result.n_steps, severities(len(result.n_steps)), strict=True):
            place = np.linspace(0.0, 1.0, n + 1)
            index = np.searchsorted(result.nodes.times.numpy(), result.times(n).numpy())
            levels.plot(place, result.nodes.sigma.numpy()[index], "o-", ms=2.5, lw=1, color=colour, label=f"{n} steps")
        levels.set(
            yscale="log", xlabel="share of the steps, from data to noise", ylabel="noise level √v/m", title="schedules"
        )
        levels.legend(loc="upper left")
        steps = np.array(result.n_steps)
        if result.kind == "surrogate":
            costs.plot(steps, [result.step_costs(n).sum().item() for n in result.n_steps], "o-", color=EXACT)
            costs.set(title=f"surrogate {result.objective}: no bound", ylabel="surrogate")
        else:
            _draw_bounds(costs, result, steps)
            costs.set(title=f"bound on {result.kind}, {result.sampler}", ylabel="nats, ± 2 s.e.")
        positive = all(float(np.min(np.asarray(line.get_ydata()))) > 0.0 for line in costs.get_lines())
        costs.set(xscale="log", yscale="log" if positive else "linear", xlabel="steps")
        costs.set_xticks(steps, [str(n) for n in steps])
        costs.xaxis.set_minor_locator(NullLocator())
        powers = LogFormatterSciNotation(minor_thresholds=(2.0, 0.8))
        costs.yaxis.set_minor_formatter(powers if positive else NullFormatter())
    return drawn


def _draw_bounds(axes: Axes, result: Schedules, steps: np.ndarray) -> None:
    own = [result.bound(n) for n in result.n_steps]
    axes.errorbar(
        steps, [b.value for b in own], [2.0 * b.stderr for b in own], fmt="o-", ms=4, lw=1.6, color=EXACT, label="best"
    )
    others = {name: [result.compare(n, [name])[0].bound.value for n in result.n_steps] for name in STANDARDS}
    markers = dict(zip(STANDARDS, "svD^<>", strict=True))
    for name, values in others.items():
        axes.plot(steps, values, markers[name] + ":", ms=3, lw=0.8, color=NETWORK, label=name)
    if result.length is not None and result.kind == "KL":
        axes.plot(steps, [result.predicted(n) for n in result.n_steps], "--", lw=1, color=MUTED, label="ℓ²/2n")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, labelcolor=INK)
