"""Figures of likelihoods, entropy rates and limits. Imports matplotlib: for functions to import, not for modules."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.likelihood.elbo import Elbo
from thermokern.quantities.likelihood.limits_result import Limits
from thermokern.quantities.likelihood.rates_result import EntropyRate, EntropyRates
from thermokern.quantities.likelihood.result import LogLikelihood
from thermokern.quantities.results.style import (
    COLLAPSED,
    EXACT,
    INK,
    MUTED,
    NETWORK,
    draw_density,
    no_figure,
    panels,
    style,
)

_RATES = (
    ("intrinsic", "intrinsic", EXACT, "-"),
    ("exchange", "exchange", NETWORK, "-"),
    ("system", "system", INK, "-"),
    ("system_sum", "intrinsic + exchange", INK, ":"),
)
# Where each estimate stands in the figure: above, likelihoods; below, what bounds them.
_LIMITS = (
    ("data_entropy", "data entropy", INK),
    ("nll_ode", "NLL, probability flow", EXACT),
    ("nll_plugin", "NLL, plug-in", EXACT),
    ("nll_lower_bound", "lower bound on the plug-in NLL", NETWORK),
    ("elbo", "upper bound on the SDE sampler's NLL", NETWORK),
    ("data_entropy_bound_plugin", "data entropy ≤, from the plug-in NLL", MUTED),
    ("data_entropy_bound", "data entropy ≤ ?, from the flow's NLL", MUTED),
)

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def likelihood_figure(result: LogLikelihood, ax: Axes | None = None) -> Figure:
    """The density of ``log p`` over points, and how many evaluations each took."""
    with style():
        drawn, (left, right) = panels(ax, 2, 7.2)
        values = result.values[result.values.isfinite()].numpy()
        if len(values):
            draw_density(left, values, EXACT, fill=True)
            left.axvline(values.mean(), color=INK, lw=1)
            nfe, counts = np.unique(result.nfe.numpy(), return_counts=True)
            right.bar(nfe, counts / counts.sum(), width=5.0, color=EXACT)
        left.set(title=f"{len(values):,} points: NLL {result.nll} nats", xlabel="log p (nats)", ylabel="density")
        right.set(title="cost of a point", xlabel="evaluations of the score", ylabel="share of points")
    return drawn


@figure.register
def elbo_figure(result: Elbo, ax: Axes | None = None) -> Figure:
    """The density of the bound over points."""
    with style():
        drawn, (panel,) = panels(ax, 1, 3.6)
        values = result.values.numpy()
        if len(values):
            draw_density(panel, values, EXACT, fill=True)
            panel.axvline(values.mean(), color=INK, lw=1)
        panel.set(title=f"{len(values):,} points: NLL ≤ {result.nll} nats", xlabel="bound (nats)", ylabel="density")
    return drawn


@figure.register
def rate_figure(result: EntropyRate, ax: Axes | None = None) -> Figure:
    """The rate at each of its times ± 2 s.e."""
    with style():
        drawn, (panel,) = panels(ax, 1, 3.6)
        _draw_band(panel, np.arange(len(result.values)), result, 1.0, EXACT)
        panel.set(title=f"integral {result.integral} nats", xlabel="index of the time", ylabel="nats per unit of time")
    return drawn


@figure.register
def rates_figure(result: EntropyRates, ax: Axes | None = None) -> Figure:
    """The rates over the log signal-to-noise ratio, and the Stein residual."""
    with style():
        drawn, (left, right) = panels(ax, 2, 9.0, 3.3, ratios=[1.5, 1])
        draw_rates(left, result)
        _draw_band(right, result.log_snr.numpy(), result.stein_residual, _per_log_snr(result), COLLAPSED)
        right.axhline(0.0, color=MUTED, lw=0.6)
        right.invert_xaxis()
        right.set(
            title="Stein residual ± 2 s.e.", xlabel="log signal-to-noise ratio", ylabel="nats per unit of log SNR"
        )
    return drawn


def _draw_band(axes: Axes, x: np.ndarray, rate: EntropyRate, scale: np.ndarray | float, colour: str) -> None:
    values, errors = rate.values.numpy() * scale, 2.0 * rate.stderr.numpy() * scale
    axes.fill_between(x, values - errors, values + errors, color=colour, alpha=0.25, lw=0)
    axes.plot(x, values, color=colour)


def draw_rates(axes: Axes, result: EntropyRates) -> None:
    """Rates per unit of the log signal-to-noise ratio, so that areas are the integrals; time runs to the right."""
    x, scale = result.log_snr.numpy(), _per_log_snr(result)
    for name, label, colour, line in _RATES:
        rate = getattr(result, name)
        axes.plot(x, rate.values.numpy() * scale, color=colour, ls=line, label=f"{label}: {rate.integral}")
    axes.axhline(0.0, color=MUTED, lw=0.6)
    axes.invert_xaxis()
    axes.set(
        title=f"entropy rates, {result.settings['direction']}: area is nats",
        xlabel="log signal-to-noise ratio",
        ylabel="nats per unit of log SNR",
    )
    axes.legend()


@figure.register
def limits_figure(result: Limits, ax: Axes | None = None) -> Figure:
    """Likelihoods and bounds on one axis, with two standard errors, beside the entropy rates."""
    with style():
        drawn, (left, right) = panels(ax, 2, 11.0, 3.8)
        rows = [(label, getattr(result, name), colour) for name, label, colour in _LIMITS]
        rows = [(label, estimate, colour) for label, estimate, colour in rows if estimate is not None]
        for place, (_, estimate, colour) in enumerate(rows):
            left.errorbar(estimate.value, -place, xerr=2.0 * estimate.stderr, fmt="o", color=colour, capsize=3, ms=4)
        if result.data_entropy is not None:
            left.axvline(result.data_entropy.value, color=INK, lw=0.8, ls="--")
        left.set_yticks([-place for place in range(len(rows))], [label for label, _, _ in rows])
        left.set(title="likelihoods and bounds ± 2 s.e.", xlabel="nats")
        draw_rates(right, result.rates)
    return drawn


def _per_log_snr(result: EntropyRates) -> np.ndarray:
    """``|dt/dλ|`` at the nodes, by differences."""
    slope: np.ndarray = -np.gradient(result.t.numpy(), result.log_snr.numpy())
    return slope
