"""The figure of where Δs arises. Imports matplotlib: for functions to import, not for modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from thermokern.quantities.results.style import EXACT, INK, MUTED, NETWORK, style
from thermokern.quantities.taep.attribution import Attribution

_BANDS = 5  # pictures in a row of small multiples


def draw_attribution(result: Attribution, ax: Axes | None = None) -> Figure:
    """The rate over time, the map, the means by label, and below the map in stretches of noise level."""
    both, pictures = len(result.resolved) == 2, len(_picture(result)) > 0
    parts = ["time"] * ("time" in result.resolved) + ["map"] * ("component" in result.resolved)
    parts += ["labels"] * bool(result.by_label)
    if ax is not None:
        raise ValueError(f"ax: this figure has {len(parts) + both} panels and makes its own axes; leave ax out")
    with style():
        count = len(result.table().values) if both else 0
        rows = -(-count // _BANDS) if both and pictures else int(both)
        figure = Figure(figsize=(max(3.6 * len(parts), 6.0), 3.1 + 1.7 * rows), layout="constrained")
        above: list[FigureBase] = [figure]
        if rows:
            above = list(np.atleast_1d(np.asarray(figure.subfigures(2, 1, height_ratios=(3.1, 1.7 * rows)))))
        top = above[0]
        for axes, part in zip(np.atleast_1d(top.subplots(1, len(parts))), parts, strict=True):
            {"time": _draw_rate, "map": _draw_map, "labels": _draw_labels}[part](top, axes, result)
        if rows:
            _draw_bands(above[1], result, rows, pictures)
    return figure


def _picture(result: Attribution) -> tuple[int, ...]:
    """Height and width where components are pixels; else nothing."""
    shape = () if result.best.map is None else tuple(result.best.map.shape)
    return shape[-2:] if len(shape) in (2, 3) else ()


def _draw_rate(figure: FigureBase, axes: Axes, result: Attribution) -> None:
    rate = result.rate()
    x, y, error = rate.log_snr.numpy(), rate.values.numpy(), 2.0 * rate.stderr.numpy()
    axes.fill_between(x, y - error, y + error, color=EXACT, alpha=0.25, lw=0)
    axes.plot(x, y, color=EXACT, lw=1, label="chain" if result.chain else "scheme")
    if rate.squared is not None:
        axes.plot(x, rate.squared.numpy(), color=NETWORK, lw=1.4, label="κ δ²")
    axes.axhline(0.0, color=MUTED, lw=0.6)
    axes.invert_xaxis()  # time runs to the right
    axes.set(title=f"{result.best.total} nats, t from {result.times[0].item():g}", xlabel="log signal-to-noise ratio")
    axes.set_ylabel("nats per unit of log SNR, ± 2 s.e.")
    axes.legend(loc="upper right")


def _draw_map(figure: FigureBase, axes: Axes, result: Attribution) -> None:
    found = result.map()
    values = found.values if found.squared is None else found.squared
    title = "κ δ² of each component" if found.squared is not None else "of each component"
    if _picture(result):
        drawn = axes.imshow(_flat(values), **_scale(_flat(values)))
        figure.colorbar(drawn, ax=axes, label="nats", shrink=0.8)
        axes.set_axis_off()
    else:
        place = np.arange(values.numel())
        error = 2.0 * found.stderr.flatten().numpy()
        axes.bar(place, found.values.flatten().numpy(), yerr=error, color=EXACT, error_kw={"ecolor": INK})
        if found.squared is not None:
            axes.plot(place, found.squared.flatten().numpy(), "o", color=NETWORK, ms=4, label="κ δ²")
            axes.margins(y=0.25)
            axes.legend(loc="upper right")
        axes.set(xlabel="component", ylabel="nats, ± 2 s.e.")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = "of each component"
    axes.set_title(title)


def _draw_labels(figure: FigureBase, axes: Axes, result: Attribution) -> None:
    parts = result.by_label
    place = np.arange(len(parts))
    axes.bar(
        place,
        [part.mean.value for part in parts],
        yerr=[2.0 * part.mean.stderr for part in parts],
        color=EXACT,
        error_kw={"ecolor": INK, "lw": 1, "capsize": 2},
    )
    axes.set_xticks(place, [str(part.label) for part in parts])
    axes.axhline(result.best.total.value, color=INK, lw=1, ls="--")
    axes.set(title="mean of each label", xlabel="label", ylabel="nats, ± 2 s.e.")


def _draw_bands(figure: FigureBase, result: Attribution, rows: int, pictures: bool) -> None:
    table = result.table()
    values = table.values if table.squared is None else table.squared
    if not pictures:
        axes = figure.subplots()
        array = values.flatten(1).T.numpy()
        x = np.append(np.arange(array.shape[1]), array.shape[1])
        drawn = axes.pcolormesh(x, np.arange(array.shape[0] + 1), array, **_scale(array))
        axes.set_xticks(x, [f"{edge:.1f}" for edge in table.edges.tolist()])
        axes.set(xlabel="log signal-to-noise ratio", ylabel="component")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(drawn, ax=axes, label="nats")
        return
    scale = _scale(np.stack([_flat(band) for band in values]))
    grid = figure.subplots(rows, _BANDS, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    for axes, band, low, high in zip(grid, values, table.edges[:-1].tolist(), table.edges[1:].tolist(), strict=False):
        axes.imshow(_flat(band), **scale)
        axes.set_title(f"{low:.1f} to {high:.1f}: {band.sum().item():.3g}", fontsize=7)


def _flat(values: Tensor) -> np.ndarray:
    """A picture (height, width), channels added."""
    array: np.ndarray = (values.sum(0) if values.dim() == 3 else values).numpy()
    return array


def _scale(array: np.ndarray) -> dict[str, Any]:
    """Colours: from white where nothing is negative, else about 0."""
    low, high = float(array.min()), float(array.max())
    if low >= 0.0:
        return {"cmap": "Blues", "vmin": 0.0, "vmax": high or 1.0}
    edge = max(-low, high)
    return {"cmap": "RdBu", "norm": TwoSlopeNorm(0.0, -edge, edge)}
