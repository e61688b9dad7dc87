"""Figures of likelihoods, entropy rates and limits. Imports matplotlib: for functions to import, not for modules."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.likelihood.limits_result import Limits
from thermokern.quantities.likelihood.rates_result import EntropyRates
from thermokern.quantities.likelihood.result import LogLikelihood
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, draw_density, style

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


def likelihood_figure(result: LogLikelihood) -> Figure:
    """The density of ``log p`` over points, and how many evaluations each took."""
    with style():
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        values = result.values[result.values.isfinite()].numpy()
        if len(values):
            draw_density(left, values, EXACT, fill=True)
            left.axvline(values.mean(), color=INK, lw=1)
            nfe, counts = np.unique(result.nfe.numpy(), return_counts=True)
            right.bar(nfe, counts / counts.sum(), width=5.0, color=EXACT)
        left.set(title=f"{len(values):,} points: NLL {result.nll} nats", xlabel="log p (nats)", ylabel="density")
        right.set(title="cost of a point", xlabel="evaluations of the score", ylabel="share of points")
    return figure


def rates_figure(result: EntropyRates) -> Figure:
    """The rates over the log signal-to-noise ratio, and the Stein residual."""
    with style():
        figure = Figure(figsize=(9.0, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        draw_rates(left, result)
        x, scale = result.log_snr.numpy(), _per_log_snr(result)
        rate = result.stein_residual
        right.fill_between(
            x,
            (rate.values.numpy() - 2.0 * rate.stderr.numpy()) * scale,
            (rate.values.numpy() + 2.0 * rate.stderr.numpy()) * scale,
            color=COLLAPSED,
            alpha=0.25,
            lw=0,
        )
        right.plot(x, rate.values.numpy() * scale, color=COLLAPSED)
        right.axhline(0.0, color=MUTED, lw=0.6)
        right.invert_xaxis()
        right.set(
            title="Stein residual ± 2 s.e.", xlabel="log signal-to-noise ratio", ylabel="nats per unit of log SNR"
        )
    return figure


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


def limits_figure(result: Limits) -> Figure:
    """Likelihoods and bounds on one axis, with two standard errors, beside the entropy rates."""
    with style():
        figure = Figure(figsize=(11.0, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        rows = [(label, getattr(result, name), colour) for name, label, colour in _LIMITS]
        rows = [(label, estimate, colour) for label, estimate, colour in rows if estimate is not None]
        for place, (_, estimate, colour) in enumerate(rows):
            left.errorbar(estimate.value, -place, xerr=2.0 * estimate.stderr, fmt="o", color=colour, capsize=3, ms=4)
        if result.data_entropy is not None:
            left.axvline(result.data_entropy.value, color=INK, lw=0.8, ls="--")
        left.set_yticks([-place for place in range(len(rows))], [label for label, _, _ in rows])
        left.set(title="likelihoods and bounds ± 2 s.e.", xlabel="nats")
        draw_rates(right, result.rates)
    return figure


def _per_log_snr(result: EntropyRates) -> np.ndarray:
    """``|dt/dλ|`` at the nodes, by differences."""
    slope: np.ndarray = -np.gradient(result.t.numpy(), result.log_snr.numpy())
    return slope
