"""The bound on the likelihood of networks on real images, whose law is not known: what can be said, and what not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.papers.experiment import ExperimentResult
from thermokern.papers.kodama2025.image_limits_runs import FIT, PROFILES, ImageNetwork, evaluate, read
from thermokern.quantities import Estimate, load
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import EXACT, INK, MUTED, NETWORK, POINTS, style
from thermokern.report import html

CLEAR = 3.0  # standard errors


@stored("image-limits")
@dataclass(frozen=True, eq=False)
class ImageLimits(ExperimentResult):
    """Likelihoods of networks along a training, and between what numbers their bound lies.

    Numbers below are bits of a pixel: ``(nats/d − ln w)/ln 2`` for images whose grey levels are w apart and are spread
    evenly over bins of this width. In these units S_data is the entropy of the images themselves over d, at least 0.

    Attributes
    ----------
    networks : tuple of ImageNetwork
        A Gaussian with the mean and covariance of the images, then the network along its training.
    dim : int
    width : float
        w.
    prior_mismatch : float
        What KL(p_T‖π) is at most, nats of an image: S(p_T) is taken for the prior's cross entropy.
    settings : dict
    """

    title = "The bound on the likelihood of real images"
    picture = "image_limits.png"

    networks: tuple[ImageNetwork, ...]
    dim: int
    width: float
    prior_mismatch: float
    settings: dict[str, Any]

    def bits(self, nats: Estimate, share: float = 1.0) -> Estimate:
        """Bits of a pixel of a likelihood or an entropy, or of the given share of one; a difference has share 0."""
        unit = self.dim * math.log(2.0)
        return Estimate((nats.value - share * self._floor) / unit, nats.stderr / unit, "bits per pixel")

    @property
    def _floor(self) -> float:
        """The least that S_data can be, nats: that of one image alone."""
        return self.dim * math.log(self.width)

    @property
    def _shown(self) -> Estimate:
        """What M of the last network is at least, as its distances from the others show, nats."""
        return max((found.least for found in self.networks[:-1]), key=lambda least: least.value)

    @property
    def ceiling(self) -> Estimate:
        """The most that S_data can be: the least of all likelihoods and variational bounds, less `least`; nats."""
        last, shown = self.networks[-1], self._shown
        lower = Estimate(last.elbo.value - shown.value, math.hypot(last.elbo.stderr, shown.stderr))
        every = [lower, *(each for found in self.networks for each in (found.nll_ode, found.elbo))]
        return min(every, key=lambda each: each.value)

    def bound(self, network: ImageNetwork) -> tuple[Estimate, Estimate]:
        """Between what the bound of Eq. 6 lies, since S_data is known no better."""
        half, top = network.half_rate, self.ceiling
        low = Estimate(half.value + 0.5 * self._floor, half.stderr)
        return self.bits(low), self.bits(
            Estimate(half.value + 0.5 * top.value, math.hypot(half.stderr, 0.5 * top.stderr))
        )

    def gap(self, network: ImageNetwork) -> tuple[Estimate, Estimate]:
        """Between what the plug-in likelihood's gap ``½M`` lies: at least ½ of what M exceeds, or is shown to be."""
        last = network is self.networks[-1]
        own, shown = network.excess, self._shown
        low = Estimate(0.5 * (own.value + shown.value), 0.5 * math.hypot(own.stderr, shown.stderr))
        if last:
            low = Estimate(0.5 * shown.value, 0.5 * shown.stderr)
        high = Estimate(0.5 * network.elbo.value, 0.5 * network.elbo.stderr)
        return self.bits(low, 0.0), self.bits(high, 0.5)

    def outcome(self, network: ImageNetwork) -> str:
        """Whether NLL_ODE lies above the bound: ``holds``, ``fails``, or ``unknown`` because S_data is.

        It does exactly where S_data is at most ``2 NLL_ODE + ∫Ṡ_θ − S(p_T)``. That number is the variational bound plus
        twice the surplus of NLL_ODE over the plug-in one.
        """
        surplus, entropy = network.surplus, network.entropy_bound
        if surplus.value > CLEAR * surplus.stderr:
            return "holds"
        top = self.ceiling
        if entropy.value - top.value > CLEAR * math.hypot(entropy.stderr, top.stderr):
            return "holds"
        return "fails" if entropy.value < self._floor - CLEAR * entropy.stderr else "unknown"

    def tables(self) -> str:
        """A row for each network, bits of a pixel."""
        s = self.settings
        head = (
            f"{'network':<13}{'NLL (ODE)':>17}{'NLL (plug-in)':>17}{'ELBO':>17}{'ELBO, seen':>17}"
            f"{'bound (Eq. 6) from':>20}{'to':>9}  {'NLL (ODE) ≥ bound'}"
        )
        lines = [f"{s['data']}: {self.dim} pixels, {s['n_held']} images held out; bits per pixel", "", head]
        lines.append("-" * len(head))
        for found in self.networks:
            low, high = self.bound(found)
            cells = [found.nll_ode, found.nll_plugin, found.elbo, found.elbo_seen]
            row = "".join(f"{self.bits(cell)!s:>17}" for cell in cells)
            lines.append(f"{found.name:<13}{row}{low.value:>20.4f}{high.value:>9.4f}  {self.outcome(found)}")
        lines += ["", f"S_data lies between 0 and {self.bits(self.ceiling)}: the bound is known to half of that.", ""]
        head = (
            f"{'network':<13}{'gap (plug-in) from':>20}{'to':>9}{'gap − that of the last':>24}"
            f"{'½ distance to the last':>24}{'the last gap is at least':>26}"
        )
        lines += [head, "-" * len(head)]
        for found in self.networks:
            low, high = self.gap(found)
            excess, distance, least = (
                self.bits(Estimate(0.5 * each.value, 0.5 * each.stderr), 0.0)
                for each in (found.excess, found.distance, found.least)
            )
            more = f"{excess!s:>24}{distance!s:>24}{least!s:>26}" if found is not self.networks[-1] else ""
            lines.append(f"{found.name:<13}{low.value:>20.4f}{high.value:>9.4f}{more}")
        lines.append(f"profile {s['name']}; KL(p_T‖π) ≤ {self.prior_mismatch:.1g} nats an image")
        return "\n".join(lines)

    def law(self) -> str:
        return "the law of the images, not known, at the first time of the process and on the scale of the images"

    def conclusion(self) -> list[str]:
        """What holds whatever the images' law is."""
        outcomes = [self.outcome(found) for found in self.networks]
        said = f"The flow's NLL lies above the bound in {outcomes.count('holds')} of {len(outcomes)} models"
        said += f" and below in {outcomes.count('fails')}, whatever the law of the images"
        said += "; of the others nobody can say without S_data." if "unknown" in outcomes else "."
        shown = self.bits(Estimate(0.5 * self._shown.value, 0.5 * self._shown.stderr), 0.0)
        return [
            f"S_data lies between 0 and {self.bits(self.ceiling)} bits per pixel, so that the bound is known to half "
            "of that; differences of gaps between networks are exact without it.",
            said,
            f"The last network's own gap is at least {shown} bits per pixel: it is not the truth, and distances from "
            "it are not gaps.",
        ]

    def numbers(self) -> dict[str, object]:
        rows = [
            {**vars(found), "bound": self.bound(found), "gap": self.gap(found), "outcome": self.outcome(found)}
            for found in self.networks
        ]
        return {
            "experiment": "image-limits",
            "dim": self.dim,
            "width": self.width,
            "data_entropy_at_most": self.ceiling,
            "prior_mismatch": self.prior_mismatch,
            "rows": rows,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each network, nats."""
        return {name: [vars(found)[name] for found in self.networks] for name in vars(self.networks[0])}

    def figure(self) -> Figure:
        """Likelihoods and where their bound may lie; the gap of the plug-in one; a network as proxy of the truth."""
        with style():
            figure = Figure(figsize=(13.5, 4.4), layout="constrained")
            left, middle, right = figure.subplots(1, 3)
            places = list(range(len(self.networks)))
            names = [found.name.removeprefix("step ") for found in self.networks]
            self._draw_likelihoods(left, places)
            self._draw_gaps(middle, places)
            for axes in (left, middle):
                axes.set_xticks(places, names, rotation=30, ha="right")
                axes.set_xlabel("training step")
            self._draw_proxy(right)
        return figure

    def _draw_likelihoods(self, axes: Axes, places: list[int]) -> None:
        for values, colour, marker, label in (
            ([found.nll_ode for found in self.networks], NETWORK, "o", "NLL, probability flow"),
            ([found.nll_plugin for found in self.networks], EXACT, "s", "NLL, plug-in"),
            ([found.elbo for found in self.networks], POINTS, "^", "ELBO"),
        ):
            bits = [self.bits(each) for each in values]
            errors = [2.0 * each.stderr for each in bits]
            axes.errorbar(
                places, [each.value for each in bits], errors, fmt=marker + "-", ms=4, lw=1, color=colour, label=label
            )
        bounds = [self.bound(found) for found in self.networks]
        axes.fill_between(
            places, [low.value for low, _ in bounds], [high.value for _, high in bounds], color=MUTED, alpha=0.2, lw=0
        )
        axes.fill_between([], [], color=MUTED, alpha=0.2, lw=0, label="where the bound, Eq. 6, may lie")
        axes.axhline(self.bits(self.ceiling).value, color=INK, lw=0.9, ls=":", label="S_data is at most")
        axes.set(title="likelihoods and their bound", ylabel="bits per pixel")
        axes.legend(fontsize=7)

    def _draw_gaps(self, axes: Axes, places: list[int]) -> None:
        for place, found in zip(places, self.networks, strict=True):
            low, high = self.gap(found)
            axes.plot([place, place], [max(low.value, 0.0), high.value], color=EXACT, lw=5, alpha=0.35)
            axes.plot(place, low.value, "_", color=EXACT, ms=12)
        axes.set(title="gap of the plug-in NLL to the bound:\nbetween what numbers it lies", ylabel="bits per pixel")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")

    def _draw_proxy(self, axes: Axes) -> None:
        pairs = [
            (self.bits(found.excess, 0.0).value / 2.0, self.bits(found.distance, 0.0).value / 2.0, found.name)
            for found in self.networks[:-1]
        ]
        for x, y, name in pairs:
            axes.plot(x, y, "o", color=NETWORK, ms=5)
            axes.annotate(name, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=7, color=INK)
        axes.margins(0.15)
        ends = [min(min(x, y) for x, y, _ in pairs), max(max(x, y) for x, y, _ in pairs)]
        axes.plot(ends, ends, color=MUTED, ls="--", lw=1, zorder=0)
        axes.set(
            title="the last network in the place of the truth",
            xlabel="gap less that of the last network, exact (bits per pixel)",
            ylabel="½ distance to the last network",
            xscale="log",
            yscale="log",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
        axes.tick_params(which="minor", labelsize=6)

    def lead(self) -> str:
        return (
            f"A U-Net along its training on {self.settings['data']}, whose law is not known: which numbers of Kodama "
            "and Hinczewski's bound can be measured, and between what numbers the others lie."
        )

    def sections(self, picture: Figure) -> list[str]:
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Likelihoods with the range of their bound, the range of the gap, distance to the last network",
                    "First panel: likelihoods of images held out (± 2 s.e.), and where the bound of Eq. 6 may lie. "
                    "Second: the plug-in NLL's gap. Third: the gap with the last network in the place of the truth, "
                    "against the difference of gaps, which needs no truth; the line is equality.",
                ),
            ),
            html.section(
                "Numbers",
                html.paragraph(
                    "The bound has half of the images' entropy in it, which nobody knows: at least 0 bits, at most "
                    "what the best code needs. Differences of gaps between two networks are exact without it."
                ),
                html.preformatted(self.tables()),
            ),
            html.section("Settings", *html.settings(self.settings)),
        ]


def image_limits(
    data: str, profile: str, out: Path, *, root: Path | None = None, seed: int = 0, progress: bool = True
) -> ImageLimits:
    """Train and evaluate in `out`; ``shipped`` reads the result that comes with the package."""
    if profile == "shipped":
        return shipped_image_limits(data)
    if profile not in PROFILES:
        raise ValueError(f"--profile: expected shipped, {' or '.join(PROFILES)} with --data, got {profile}")
    chosen = PROFILES[profile][data != "digits"]
    chosen = replace(chosen, training=replace(chosen.training, data=data, seed=seed))
    images, width = read(data, root)
    networks, mismatch = evaluate(chosen, images, width, out, progress=progress)
    settings = {**chosen.settings(), "data": data, "seed": seed}
    return ImageLimits(networks, images[0].numel(), width, mismatch, settings)


def shipped_image_limits(data: str) -> ImageLimits:
    """The result of the quick profile that comes with the package, for digits or Fashion-MNIST."""
    path = Path(str(files("thermokern.papers.kodama2025") / "results" / f"image_limits_{data}.safetensors"))
    if not path.is_file():
        raise ValueError(f"--data: expected digits or fashion-mnist with --profile shipped, got {data}")
    found: ImageLimits = load(path)
    return found


__all__ = ["FIT", "ImageLimits", "image_limits", "shipped_image_limits"]
