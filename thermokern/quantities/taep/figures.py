"""The figures of results. Imports matplotlib, so nothing that `import thermokern` loads may import this file."""

from __future__ import annotations

from functools import singledispatch

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.results.style import (
    COLLAPSED,
    EXACT,
    INK,
    MUTED,
    NETWORK,
    THEORY,
    draw_density,
    no_figure,
    panels,
    style,
)
from thermokern.quantities.taep.attribution import Attribution
from thermokern.quantities.taep.attribution_figure import draw_attribution
from thermokern.quantities.taep.fluctuation import DetailedFluctuationTheorem
from thermokern.quantities.taep.modes import collapsed_modes
from thermokern.quantities.taep.overlap import Overlap
from thermokern.quantities.taep.result import TAEP

# Modes up to which each bar is labelled with its share of the variance.
LABELLED_MODES = 12

figure = singledispatch(no_figure)
"""The figure of a result of this folder: ``figure(result, ax=None)``, which :meth:`Result.plot` calls."""


@figure.register
def taep_figure(result: TAEP, ax: Axes | None = None) -> Figure:
    """The distribution of Δs, the weights that the fluctuation theorem gives it, and the modes where they are known."""
    with style():
        count = 3 if result.modes else 2
        drawn, axes = panels(ax, count, 3.6 * count)
        values = result.values[result.values.isfinite()].double().numpy()
        if len(values) == 0:
            for empty in axes:
                empty.text(0.5, 0.5, "no paths", ha="center", va="center", transform=empty.transAxes)
            return drawn
        draw_density(axes[0], values, EXACT, fill=True)
        axes[0].axvline(result.mean.value, color=INK, lw=1, label="mean")
        half = ("−" if result.sign > 0 else "") + "variance/2"
        axes[0].axvline(-0.5 * result.sign * result.variance.value, color=THEORY, lw=1, ls=":", label=half)
        axes[0].margins(y=0.05)
        axes[0].legend(loc="upper right")
        axes[0].set(
            title=f"{len(values):,} paths: mean {result.mean}{_of_step(result, 'mean')},\n"
            f"variance {result.variance}{_of_step(result, 'variance')}",
            xlabel="Δs (nats)",
            ylabel="density",
        )
        order = np.sort(values)
        exponent = result.sign * order
        weight = np.cumsum(np.exp(exponent - exponent.max()))
        axes[1].plot(order, np.arange(1, len(order) + 1) / len(order), color=EXACT, lw=2.4, label="paths")
        axes[1].plot(order, weight / weight[-1], color=NETWORK, lw=1.2, label=f"weights {result.weight_name}")
        axes[1].set(
            title=f"⟨{result.weight_name}⟩ = {result.fluctuation_theorem}{_of_step(result, 'fluctuation_theorem')}\n"
            + ("" if result.fluctuation_theorem.is_reliable else "error unreliable"),
            xlabel="Δs (nats)",
            ylabel="cumulative share",
            ylim=(-0.02, 1.22),
            yticks=np.linspace(0.0, 1.0, 6),
        )
        axes[1].legend(loc="upper center", ncols=2)
        if result.modes:
            _draw_modes(axes[2], result)
    return drawn


@figure.register
def attribution_figure(result: Attribution, ax: Axes | None = None) -> Figure:
    """Where in time, in space and in which class Δs arises."""
    return draw_attribution(result, ax)


@figure.register
def theorem_figure(theorem: DetailedFluctuationTheorem, ax: Axes | None = None) -> Figure:
    """Densities of Δs over forward and reverse paths, and the log of their ratio beside the line that it should be."""
    with style():
        drawn, (densities, ratio) = panels(ax, 2, 7.2)
        edges = theorem.edges.numpy()
        for name, density, colour in (
            ("forward $p_F$", theorem.forward_density, EXACT),
            ("reverse $p_R$", theorem.reverse_density, NETWORK),
        ):
            densities.stairs(density.numpy(), edges, color=colour, lw=1.2, label=name)
            densities.stairs(density.numpy(), edges, color=colour, fill=True, alpha=0.2)
        densities.set(title="Δs along paths of either direction", xlabel="Δs (nats)", ylabel="density")
        densities.set_ylim(top=1.25 * densities.get_ylim()[1])
        densities.legend(loc="upper center", ncols=2)
        draw_theorem(ratio, theorem)
        ratio.set(title=f"slope {theorem.slope}, intercept {theorem.intercept}", ylabel="log $p_F/p_R$ ± 2 s.e.")
        ratio.legend(loc="upper left")
    return drawn


@figure.register
def overlap_figure(result: Overlap, ax: Axes | None = None) -> Figure:
    """Missing overlap and the share of reverse paths outside, with their errors."""
    with style():
        drawn, (axes,) = panels(ax, 1, 4.2)
        shares = (result.missing, result.outside)
        axes.errorbar(
            range(len(shares)),
            [share.value for share in shares],
            [2.0 * share.stderr for share in shares],
            fmt="o",
            color=EXACT,
            capsize=3,
        )
        axes.axhline(0.0, color=MUTED, lw=0.8)
        axes.set(
            title=f"Bennett {result.bennett} nats",
            ylabel="share ± 2 s.e.",
            xticks=range(len(shares)),
            xticklabels=["missing overlap\n1 − ⟨exp(−Δs)⟩", "reverse paths\noutside"],
            xlim=(-0.6, len(shares) - 0.4),
        )
    return drawn


def draw_theorem(axes: Axes, theorem: DetailedFluctuationTheorem) -> None:
    """``log p_F/p_R`` of each bin ± 2 s.e., the theorem's line and the regression's."""
    centres = (0.5 * (theorem.edges[1:] + theorem.edges[:-1])).numpy()
    known = theorem.log_ratio.isfinite().numpy()
    axes.errorbar(
        centres[known],
        theorem.log_ratio.numpy()[known],
        2.0 * theorem.log_ratio_stderr.numpy()[known],
        fmt="o",
        ms=3,
        lw=1,
        color=EXACT,
        label="paths",
    )
    ends = centres[known][[0, -1]] if known.any() else centres[[0, -1]]
    axes.plot(ends, ends, color=THEORY, lw=1.2, label="theorem")
    if np.isfinite(theorem.slope.value):
        fit = theorem.intercept.value + theorem.slope.value * ends
        axes.plot(ends, fit, color=NETWORK, lw=1, ls="--", label="regression")
    axes.set_xlabel("Δs (nats)")


def _draw_modes(axes: Axes, result: TAEP) -> None:
    """Mean Δs of each mode, ± 2 s.e., darker the more of the variance is the mode's; collapsed modes red."""
    collapsed = {mode.index for mode in collapsed_modes(result.modes, result.mean)}
    modes = [mode for mode in result.modes if mode.n_paths]
    shares = [_share(mode.share_of_variance.value) for mode in modes]
    top = max(shares, default=0.0) or 1.0
    axes.bar(
        [mode.index for mode in modes],
        [mode.mean.value for mode in modes],
        yerr=[2.0 * _share(mode.mean.stderr) for mode in modes],
        color=[
            _shade(COLLAPSED if mode.index in collapsed else EXACT, share / top)
            for mode, share in zip(modes, shares, strict=True)
        ],
        edgecolor=[COLLAPSED if mode.index in collapsed else EXACT for mode in modes],
        lw=0.6,
        error_kw={"lw": 1, "ecolor": INK, "capsize": 2},
    )
    axes.axhline(0.0, color=MUTED, lw=0.6)
    axes.axhline(result.mean.value, color=INK, lw=1, ls="--")
    axes.margins(y=0.16)
    labelled = len(result.modes) <= LABELLED_MODES
    if labelled:
        for mode, share in zip(modes, shares, strict=True):
            above = mode.mean.value >= 0.0
            tip = mode.mean.value + (2.0 if above else -2.0) * _share(mode.mean.stderr)
            axes.annotate(
                f"{share:.0%}" if np.isfinite(mode.share_of_variance.value) else "",
                (mode.index, tip),
                (0, 3 if above else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=7,
            )
    if labelled:
        axes.set_xticks(range(len(result.modes)))
    if not any(mode.mean.value for mode in modes):
        axes.set_ylim(-1.0, 1.0)
    title = "mode means ± 2 s.e." + (", red: collapsed" if collapsed else "")
    legend = ("% and shade" if labelled else "shade") + ": share of variance"
    axes.set(title=f"{title}\n{legend}", xlabel="mode", ylabel="mean Δs (nats)")


def _of_step(result: TAEP, name: str) -> str:
    """What the time step does to a statistic, where it is known."""
    return "" if result.step_error is None else f" (step {getattr(result.step_error, name).value:+.1g})"


def _share(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _shade(colour: str, strength: float) -> tuple[float, float, float, float]:
    """`colour` over whatever is behind it, from pale (0) to full (1)."""
    return mpl.colors.to_rgba(colour, 0.15 + 0.85 * strength)
