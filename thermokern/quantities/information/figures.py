"""Figures of information. Imports matplotlib, so nothing that `import thermokern` loads may import this file."""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.information.curve import InformationCurve
from thermokern.quantities.information.result import (
    MutualInformation,
    NeuralEntropy,
    PointwiseMutualInformation,
    TotalCorrelation,
)
from thermokern.quantities.results.style import (
    COLLAPSED,
    EXACT,
    INK,
    MUTED,
    NETWORK,
    Colour,
    draw_density,
    no_figure,
    panels,
    style,
)

_LEVEL = "λ = ln(m²/v), noise falling to the right"
# Beyond these labels bars are too narrow to read; their numbers are in the JSON.
_BARS = 40

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def information_figure(result: MutualInformation, ax: Axes | None = None) -> Figure:
    """Rate and integral along the noise levels, by both estimators, and each label's share or their disagreement."""
    other = "loss" if result.estimator == "gap" else "gap"
    with style():
        drawn, (rate, sum_, last) = panels(ax, 3, 10.4, ratios=(1.0, 1.0, 1.0))
        for name, curve, colour in ((other, result.other_curve, NETWORK), (result.estimator, result.curve, EXACT)):
            _rate(rate, curve, colour, name)
            _cumulative(sum_, curve, colour, name)
        if result.label_entropy is not None:
            sum_.axhline(result.label_entropy.value, color=INK, lw=0.8, ls=":", label="H(Y)")
        if result.growth is not None:
            low = result.growth.value
            sum_.axhline(low, color=COLLAPSED, lw=0.8, ls="--", label="Kelly growth: certified")
        _beyond((sum_, rate), result.curve)
        rate.legend(loc="best")
        sum_.legend(loc="best")
        rate.set(title="of each noise level", ylabel="nats per unit of λ")
        sum_.set(title=f"I = {result.value} nats, by {result.estimator}", ylabel="I(X at λ; Y), nats")
        if 0 < len(result.per_label) <= _BARS:
            values = [item.value for item in result.per_label]
            errors = [2.0 * item.stderr if math.isfinite(item.stderr) else 0.0 for item in result.per_label]
            last.bar(range(len(values)), values, yerr=errors, color=EXACT, alpha=0.7, ecolor=INK)
            last.set(title="of each label, ± 2 s.e.", xlabel="label", ylabel="KL(p(x|y)‖p(x)), nats")
        else:
            _cumulative(last, result.residual_curve, COLLAPSED, "loss − gap")
            last.axhline(0.0, color=INK, lw=0.8)
            last.set(title=f"loss − gap = {result.orthogonality}", ylabel="nats, 0 for exact scores")
    return drawn


@figure.register(NeuralEntropy)
@figure.register(TotalCorrelation)
def level_figure(result: NeuralEntropy | TotalCorrelation, ax: Axes | None = None) -> Figure:
    """Rate and integral along the noise levels."""
    with style():
        drawn, (rate, sum_) = panels(ax, 2, 7.2)
        _rate(rate, result.curve, EXACT, None)
        _cumulative(sum_, result.curve, EXACT, None)
        _beyond((sum_, rate), result.curve)
        sum_.legend(loc="best")
        rate.set(title="of each noise level", ylabel="nats per unit of λ")
        sum_.set(title=f"{result.value} nats", ylabel="nats")
    return drawn


@figure.register
def pointwise_figure(result: PointwiseMutualInformation, ax: Axes | None = None) -> Figure:
    """The density of the values of single pairs."""
    with style():
        drawn, (panel,) = panels(ax, 1, 3.8)
        values = result.values.reshape(-1)
        draw_density(panel, values[values.isfinite()].numpy(), EXACT, fill=True)
        if math.isfinite(result.mean.value):
            panel.axvline(result.mean.value, color=INK, lw=1.0, label="mean")
        error = result.stderr.square().mean().sqrt().item()
        if math.isfinite(error):
            at = result.mean.value if math.isfinite(result.mean.value) else 0.5 * sum(panel.get_xlim())
            panel.errorbar(at, 0.5 * panel.get_ylim()[1], xerr=error, color=INK, capsize=3, label="± s.e. of one value")
        if panel.get_legend_handles_labels()[1]:
            panel.legend(loc="best")
        panel.set(title=f"mean {result.mean} nats", xlabel="i(x;y) of a pair, nats", ylabel="density")
    return drawn


def _beyond(panels: tuple[Axes, ...], curve: InformationCurve) -> None:
    """The noise levels that were not evaluated, above t_end and below t_eps, shaded; the first panel says so."""
    low, high = curve.log_snr[0].item(), curve.log_snr[-1].item()
    margin = 0.06 * (high - low)
    for axes in panels:
        label = "not evaluated" if axes is panels[0] else None
        axes.axvspan(low - margin, low, color=MUTED, alpha=0.25, lw=0.0, label=label)
        axes.axvspan(high, high + margin, color=MUTED, alpha=0.25, lw=0.0)
        axes.set_xlim(low - margin, high + margin)


def _rate(axes: Axes, curve: InformationCurve, colour: Colour, label: str | None) -> None:
    values, errors = curve.rate.numpy(), 2.0 * curve.rate_stderr.nan_to_num().numpy()
    axes.stairs(values, curve.log_snr.numpy(), color=colour, lw=1.3, label=label)
    edges = curve.log_snr.numpy()
    axes.fill_between(
        edges, np.append(values - errors, 0.0), np.append(values + errors, 0.0), step="post", color=colour, alpha=0.2
    )
    axes.axhline(0.0, color=MUTED, lw=0.6)
    axes.set(xlabel=_LEVEL)


def _cumulative(axes: Axes, curve: InformationCurve, colour: Colour, label: str | None) -> None:
    edges, values = curve.log_snr.numpy(), curve.cumulative.numpy()
    errors = 2.0 * curve.cumulative_stderr.nan_to_num().numpy()
    axes.plot(edges, values, color=colour, lw=1.3, label=label)
    axes.fill_between(edges, values - errors, values + errors, color=colour, alpha=0.2)
    axes.set(xlabel=_LEVEL)
