"""Information under classifier-free guidance: Premkumar, Fig. 2, 7 and 8, with the exact line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import guided
from thermokern.papers.experiment import Experiment
from thermokern.papers.premkumar2025.laws import PROCESS, full_rank, guided_law
from thermokern.papers.premkumar2025.shipped import GamblerResult, shipped
from thermokern.quantities import Estimate, mutual_information, sample
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, severities, style
from thermokern.targets import JointGaussian

SEEN = (5, 10, 15)  # D_Y of the figure
NOISE = 1.0
AUTHORS = 0.0101  # the first time above 1e-5 of 100 even ones, which the authors' code integrates over
RESOLUTIONS = (AUTHORS, 1e-3, 1e-5)  # t_eps
_DRAWN = 100  # samples for each y that are kept
LINE_WEIGHTS = (0.0, 1.0, 2.0, 3.0)  # of the samples of one dimension


@stored("kelly-guidance-profile")
@dataclass(frozen=True)
class GuidanceProfile:
    """Guidance weights, evaluations of each measured point, and samples of the left panel for each y."""

    name: str
    weights: tuple[float, ...]
    evaluations: int
    samples: int
    steps: int


PROFILES = {
    "quick": GuidanceProfile("quick", (0.0, 1.0, 2.0, 4.0, 6.0), 1024, 100, 60),
    "full": GuidanceProfile("full", tuple(map(float, range(7))), 8192, 400, 120),
}


@stored("kelly-guidance-row")
@dataclass(frozen=True)
class GuidanceRow:
    """One law under one guidance weight.

    Attributes
    ----------
    seen : int
        D_Y.
    weight : float
    information : float
        Of the guided pairs, exact, nats.
    resolved : tuple of float
        The part that is visible from each of ``RESOLUTIONS``.
    measured : Estimate
        From the exact scores of the guided pairs, from t = 1e-3 on, without what lies below.
    """

    seen: int
    weight: float
    information: float
    resolved: tuple[float, ...]
    measured: Estimate


@stored("kelly-guidance-line")
@dataclass(frozen=True, eq=False)
class GuidedLine:
    """Samples in one dimension, from the guided probability flow, against the closed form.

    Attributes
    ----------
    x, y : Tensor
        (n,) float32, samples and the conditions they were made for; a share of those behind the estimates.
    slope, variance : Estimate
        Of x against E[x|y], and of what is left.
    slope_exact, variance_exact, information : float
        κ, ``c R^{−w}`` and I_w.
    """

    weight: float
    x: Tensor
    y: Tensor
    slope: Estimate
    variance: Estimate
    slope_exact: float
    variance_exact: float
    information: float


@stored("kelly-guidance")
@dataclass(frozen=True, eq=False)
class KellyGuidance(GamblerResult):
    """Samples of one dimension, and information by guidance weight in 25."""

    title = "Guidance does not saturate; the resolution does"
    picture = "kelly_guidance.png"
    alt = "Guided samples in one dimension; information by guidance weight for D_Y = 5, 10, 15"
    caption = (
        "Guided samples: of the guided probability flow, with the exact mean κ E[x|y] as lines. By D_Y: the exact "
        "information of the guided pairs (the straight line), the part of it visible from three smallest times "
        "(curves), and estimates with the guided pairs' exact scores from t = 0.001 (points, ± 2 s.e.); dashed, I "
        "without guidance."
    )

    profile: GuidanceProfile
    lines: tuple[GuidedLine, ...]
    rows: tuple[GuidanceRow, ...]

    def of(self, seen: int) -> list[GuidanceRow]:
        """The rows of one D_Y, by weight."""
        return [row for row in self.rows if row.seen == seen]

    def tables(self) -> str:
        """Both tables, for people."""
        head = f"{'w':>5}{'slope':>18}{'exact':>9}{'Var(x|y)':>22}{'exact':>10}{'I_w':>9}"
        lines = ["one dimension, R = 4: guided probability flow against the closed form", head, "-" * len(head)]
        for line in self.lines:
            lines.append(
                f"{line.weight:>5g}{line.slope!s:>18}{line.slope_exact:>9.4f}{line.variance!s:>22}"
                f"{line.variance_exact:>10.5f}{line.information:>9.4f}"
            )
        head = f"{'D_Y':>5}{'w':>5}{'I_w exact':>11}{'(1 + w) I':>11}" + "".join(
            f"{f'from {t:g}':>13}" for t in RESOLUTIONS
        )
        head += f"{'measured from 0.001':>22}"
        lines += ["", "25 dimensions, nats", head, "-" * len(head)]
        for row in self.rows:
            plain = self.of(row.seen)[0].information
            resolved = "".join(f"{value:>13.3f}" for value in row.resolved)
            lines.append(
                f"{row.seen:>5}{row.weight:>5g}{row.information:>11.3f}{(1.0 + row.weight) * plain:>11.3f}{resolved}"
                f"{row.measured!s:>22}"
            )
        return "\n".join([*lines, f"profile {self.profile.name}"])

    def law(self) -> str:
        return "joint Gaussians under guidance, whose samples and information are known in closed form"

    def conclusion(self) -> list[str]:
        """Whether samples have the law of the closed form, and what is seen of the information."""
        fine = sum(abs(line.slope.z(line.slope_exact)) < 3.0 for line in self.lines)
        last = max(self.rows, key=lambda row: (row.seen, row.weight))
        return [
            f"Guided samples have the slope of the closed form, within three standard errors, at {fine} of "
            f"{len(self.lines)} weights.",
            f"At w = {last.weight:g} and D_Y = {last.seen} the pairs hold {last.information:.1f} nats, of which "
            f"{last.resolved[0]:.1f} are seen from t = {RESOLUTIONS[0]:g} on: what levels off is what is seen.",
        ]

    def numbers(self) -> dict[str, object]:
        return {
            "experiment": "kelly-guidance",
            "profile": self.profile,
            "resolutions": RESOLUTIONS,
            "lines": self.lines,
            "rows": self.rows,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each D_Y and weight."""
        table: dict[str, list[object]] = {
            name: [getattr(row, name) for row in self.rows] for name in ("seen", "weight", "information", "measured")
        }
        return table | {f"resolved_{t:g}": [row.resolved[k] for row in self.rows] for k, t in enumerate(RESOLUTIONS)}

    def figure(self) -> Figure:
        """Guided samples (Fig. 2 left, 7), and information by weight for each D_Y (Fig. 2 right, 8)."""
        with style():
            figure = Figure(figsize=(13.5, 3.7), layout="constrained")
            samples, *panels = figure.subplots(1, 1 + len(SEEN))
            _draw_samples(samples, self.lines)
            for panel, seen in zip(panels, SEEN, strict=True):
                _draw_information(panel, self.of(seen), seen)
            panels[0].legend(fontsize=7)
            panels[0].set_ylabel("I(X;Y) under guidance, nats")
        return figure

    def lead(self) -> str:
        return (
            "What classifier-free guidance does to joint Gaussians, after Premkumar, Fig. 2, 7 and 8: the information "
            "grows as (1 + w) I without bound, and only what a smallest time lets one see of it levels off."
        )


def _draw_samples(axes: Axes, lines: tuple[GuidedLine, ...]) -> None:
    for line, colour in zip(lines, severities(len(lines)), strict=True):
        axes.scatter(
            line.y.numpy(),
            line.x.numpy(),
            s=3,
            color=colour,
            alpha=0.5,
            lw=0,
            rasterized=True,
            label=f"w = {line.weight:g}",
        )
        ends = np.array([line.y.min().item(), line.y.max().item()])
        axes.plot(ends, line.slope_exact * _posterior_slope() * ends, color=colour, lw=1.0)
    axes.set(title="guided samples", xlabel="y", ylabel="x")
    axes.legend(fontsize=7, markerscale=3)


def _draw_information(axes: Axes, rows: list[GuidanceRow], seen: int) -> None:
    weights = [row.weight for row in rows]
    axes.plot(weights, [row.information for row in rows], color=INK, lw=1.8, label="exact")
    for k, (t, colour) in enumerate(zip(RESOLUTIONS, (COLLAPSED, NETWORK, EXACT), strict=True)):
        axes.plot(weights, [row.resolved[k] for row in rows], color=colour, lw=1.2, label=f"seen from t = {t:g}")
    axes.errorbar(
        *(weights, [row.measured.value for row in rows]),
        yerr=[2.0 * row.measured.stderr for row in rows],
        fmt="o",
        ms=3,
        color=NETWORK,
        label="measured from t = 0.001",
    )
    axes.axhline(rows[0].information, color=MUTED, lw=0.8, ls="--")
    axes.set(title=f"D_Y = {seen}", xlabel="guidance weight w", ylim=(0.0, None))


def line_law() -> JointGaussian:
    """One dimension each with ``R = Var x/Var(x|y) = 4``."""
    return JointGaussian(1.0, 1.0, 1.0 / math.sqrt(3.0))


def _posterior_slope() -> float:
    return line_law().conditional_mean(torch.ones(1, 1, dtype=torch.float64)).item()


def guided_line(weight: float, samples: int, steps: int, seed: int) -> GuidedLine:
    """Samples of the guided flow for nine conditions."""
    law = line_law()
    conditional = guided(law, None, weight, PROCESS)
    conditions = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    parts = [
        sample(
            conditional.given(y[None]),
            n=samples,
            n_steps=steps,
            method="heun",
            spacing="log-snr",
            shape=(1,),
            seed=seed + k,
        )
        for k, y in enumerate(conditions)
    ]
    x = torch.cat([part.double().reshape(-1) for part in parts])
    y = conditions.repeat_interleave(samples)
    centre = _posterior_slope() * y
    slope = ((x * centre).sum() / centre.square().sum()).item()
    left = x - slope * centre
    variance = left.square().mean().item()
    exact = law.guided(weight)
    return GuidedLine(
        weight=weight,
        x=x[:: max(1, samples // _DRAWN)].float(),
        y=y[:: max(1, samples // _DRAWN)].float(),
        slope=Estimate(slope, math.sqrt(variance / centre.square().sum().item()), ""),
        variance=Estimate(variance, variance * math.sqrt(2.0 / len(x)), ""),
        slope_exact=exact.gain.item(),
        variance_exact=exact.covariance.item(),
        information=exact.information,
    )


def guidance_row(seen: int, weight: float, evaluations: int, seed: int) -> GuidanceRow:
    """Exact, resolved and measured information of the guided pairs."""
    law = guided_law(full_rank(NOISE, seen=seen), weight)
    found = mutual_information(law, process=PROCESS, evaluations=evaluations, t_eps=1e-3, ends=False, seed=seed)
    return GuidanceRow(
        seen=seen,
        weight=weight,
        information=law.mutual_information(),
        resolved=tuple(law.mutual_information(PROCESS.log_snr(t)) for t in RESOLUTIONS),
        measured=found.gap,
    )


def kelly_guidance(profile: GuidanceProfile, *, seed: int = 0, progress: bool = True) -> KellyGuidance:
    """Both panels of the figure."""
    lines = [guided_line(w, profile.samples, profile.steps, seed) for w in LINE_WEIGHTS]
    cases = [(seen, w) for seen in SEEN for w in profile.weights]
    rows = [
        guidance_row(seen, w, profile.evaluations, seed)
        for seen, w in tqdm(cases, disable=not progress, unit="weight", desc="guidance")
    ]
    return KellyGuidance(profile, tuple(lines), tuple(rows))


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> KellyGuidance:
    if profile == "shipped":
        return shipped("guidance", KellyGuidance)
    return kelly_guidance(PROFILES[profile], seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="kelly-guidance",
    help="information under guidance, exact and as far as a smallest time lets one see: Premkumar, Fig. 2, 7, 8",
    profiles={
        "shipped": "the result of the full profile that comes with the package",
        "quick": "five weights, half a minute",
        "full": "seven weights, two minutes; laws alone, no network is trained",
    },
    run=_run,
    saved=True,
)
