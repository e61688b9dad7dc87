"""Figures of the likelihood sweeps: Kodama and Hinczewski, Fig. 1 to 3."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.papers.kodama2025 import CapacitySweep, LimitsSweep, PenaltySweep
from thermokern.papers.kodama2025.capacity import PAPER_TABLE
from thermokern.papers.kodama2025.evaluation import bits
from thermokern.papers.kodama2025.penalty import MEASURES
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, POINTS, severities, style

_MARKERS = {("gaussian", "VE"): "o", ("gaussian", "VP"): "s", ("uniform", "VE"): "^", ("uniform", "VP"): "v"}
_MARKERS |= {("swiss-roll", "VE"): "P", ("swiss-roll", "VP"): "X"}
_FLOOR = 1e-4  # bits per dimension, the least gap that a logarithmic axis shows


def limits_sweep_figure(result: LimitsSweep) -> Figure:
    """NLL against its bound, the gap between them, and the rates of the best uniform network under VE."""
    with style():
        figure = Figure(figsize=(13.0, 4.2), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        sigmas = sorted({row["sigma"] for row in result.rows})
        colours = dict(zip(sigmas, severities(len(sigmas)), strict=True))
        for (data, process), marker in _MARKERS.items():
            rows = result.select(data, process)
            shade = [colours[row["sigma"]] for row in rows]
            label = f"{data}, {process}"
            nll, bound = _column(rows, "kl_ode", True), _column(rows, "lower_bound", True)
            gap = _column(rows, "gap_ode")
            left.scatter(bound, nll, c=shade, marker=marker, s=22, lw=0.4, edgecolors=INK, label=label)
            kl = _column(rows, "kl_ode")
            middle.scatter(kl, gap, c=shade, marker=marker, s=22, lw=0.4, edgecolors=INK)
        ends = np.array(left.get_xlim())
        left.plot(ends, ends, color=MUTED, ls="--", lw=1, zorder=0)
        left.set(title="likelihood and its bound", xlabel="lower bound, Eq. 6", ylabel="NLL of the probability flow")
        left.legend(handletextpad=0.2, fontsize=7)
        middle.axhline(0.0, color=MUTED, ls="--", lw=1, zorder=0)
        middle.set(
            title="the gap against the KL divergence\nbelow 0 the bound fails",
            xlabel="KL(data ‖ probability flow)",
            ylabel="NLL − bound",
        )
        middle.set_xscale("symlog", linthresh=1e-2)
        middle.set_yscale("symlog", linthresh=1e-2)
        for sigma, colour in colours.items():
            middle.scatter([], [], color=colour, label=f"σ = {sigma:g}", s=22)
        middle.legend(fontsize=7)
        _rates(right, result.rates)
        for axes in (left, middle):
            axes.set_xlabel(f"{axes.get_xlabel()} (bits per dimension)")
    return figure


def _rates(axes: Axes, rates: dict[str, Any]) -> None:
    t = np.array(rates["t"])
    for name, colour in (("intrinsic", EXACT), ("exchange", NETWORK), ("system", POINTS)):
        axes.plot(1.0 - t, np.array(rates[name]), color=colour, label=name)
    doubled = -2.0 * np.array(rates["intrinsic"])
    axes.plot(1.0 - t, doubled, color=INK, lw=0.8, ls=":", label="−2 × intrinsic")
    axes.set(
        title=f"entropy rates, reverse process\n{rates['network']}", xlabel="τ = 1 − t", ylabel="nats per unit time"
    )
    axes.set_yscale("symlog", linthresh=10.0)
    axes.legend(fontsize=7)


def capacity_figure(result: CapacitySweep) -> Figure:
    """The bound on S_data by model size (Fig. 2), and accuracy against dissipation with both bounds (Fig. 3)."""
    with style():
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        widths = result.widths()
        colours = dict(zip(widths, severities(len(widths)), strict=True))
        # One point that a flow carries far away must not flatten the rest.
        top = 1.1 * _column(result.rows, "entropy_bound_plugin", True).max()
        for name, marker, label in (
            ("entropy_bound", "o", "NLL of the ODE (as printed)"),
            ("entropy_bound_plugin", "D", "plug-in NLL"),
        ):
            ordered = sorted(result.rows, key=lambda row: -row[name][0])
            values, place = np.minimum(_column(ordered, name, True), top), np.arange(1, len(ordered) + 1)
            left.scatter(place, values, c=[colours[row["width"]] for row in ordered], marker=marker, s=24, lw=0)
            left.plot(place, values, color=MUTED, lw=0.6, ls="-" if marker == "o" else ":", label=label, zorder=0)
        left.axhline(result.data_entropy, color=INK, lw=1, label="S_data, quadrature")
        for name, shade in (("k-NN", EXACT), ("histogram", COLLAPSED)):
            left.axhline(PAPER_TABLE[name], color=shade, lw=0.8, ls="--", label=f"{name}, as printed")
        left.set(
            title=f"'upper bound' on S_data (values above {top:.2f} at the top)",
            xlabel="networks, sorted",
            ylabel="bits per dimension",
        )
        left.legend(fontsize=7)
        for row in result.rows:
            x, tint = bits(row, "dissipation").value, colours[row["width"]]
            low, kl, high = (max(bits(row, name).value, _FLOOR) for name in ("lower_bound", "kl_ode", "elbo"))
            right.plot([x, x], [low, high], color=tint, lw=0.6, alpha=0.6)
            for y, marker in ((low, "^"), (kl, "o"), (high, "v")):
                right.scatter(x, y, color=tint, marker=marker, s=18, lw=0)
        for marker, label in (("v", "bound on the SDE's KL"), ("o", "KL of the ODE"), ("^", "lower bound")):
            right.scatter([], [], color=MUTED, marker=marker, s=18, label=label)
        for width in widths:
            right.scatter([], [], color=colours[width], marker="s", s=18, label=f"width {width}")
        right.set_yscale("log")
        right.set(
            title=f"accuracy against dissipation (values below {_FLOOR:g} at the foot)",
            xlabel="∫ intrinsic entropy production (bits per dimension)",
            ylabel="above S_data (bits per dimension)",
        )
        right.legend(fontsize=7, ncols=2)
    return figure


def penalty_figure(result: PenaltySweep) -> Figure:
    """Every measure against the number of training steps, by penalty."""
    with style():
        figure = Figure(figsize=(13.0, 3.4), layout="constrained")
        penalties, steps = result.profile["penalties"], result.profile["snapshots"]
        colours = severities(len(penalties))
        for axes, (measure, meaning) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
            for penalty, colour in zip(penalties, colours, strict=True):
                values = np.array([result.values(penalty, step, measure) for step in steps])  # (steps, seeds)
                axes.plot(steps, np.median(values, axis=1), color=colour, marker="o", ms=3, label=f"λ = {penalty:g}")
                axes.fill_between(steps, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
            axes.set(title=meaning, xlabel="training steps", ylabel="nats", xscale="log")
            if measure != "dissipation":
                axes.set_yscale("log")
        figure.axes[0].legend(fontsize=7)
    return figure


def _column(rows: list[dict[str, Any]], name: str, above: bool = False) -> np.ndarray:
    """An entry of every row, bits per dimension."""
    return np.array([bits(row, name, above).value for row in rows])
