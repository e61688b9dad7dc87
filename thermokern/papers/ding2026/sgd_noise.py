"""Gradient noise against curvature in a trained U-Net: Ding, Quan and Tu, Fig. 4, on held-out samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from thermokern.models import ScoreModel, from_diffusers
from thermokern.papers.ding2026.image_training import (
    PAPER,
    PAPER_MNIST,
    QUICK,
    ImageProfile,
    load_unet,
    make_scheduler,
    train_unet,
)
from thermokern.papers.ding2026.images import DATA, load_images
from thermokern.papers.ding2026.sgd_noise_runs import (
    Batches,
    CourseRow,
    NoiseProfile,
    Source,
    batches_of,
    chosen_layers,
    course_of,
    paths_of,
    relation_of,
    sources_of,
)
from thermokern.papers.experiment import Experiment, ExperimentResult, Option
from thermokern.quantities import Estimate, load
from thermokern.quantities.learning import NoiseCurvature
from thermokern.quantities.learning.figures import draw_along, draw_relation, draw_slopes
from thermokern.quantities.learning.noise_curvature import ALL
from thermokern.quantities.results.estimate import (
    ExponentialAverage,
    exponential_average,
    mean_estimate,
    variance_estimate,
)
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, MUTED, NETWORK, THEORY, style
from thermokern.quantities.taep.step_error import half_variance_ratio
from thermokern.report import html


@stored("sgd-noise")
@dataclass(frozen=True, eq=False)
class SgdNoise(ExperimentResult):
    """Curvature and gradient noise of a trained network, and along its training.

    Attributes
    ----------
    gauss_newton, exact : NoiseCurvature
        Of the last checkpoint: the Gauss–Newton part in every layer, the Hessian in one of each kind.
    course : tuple of CourseRow
        Traces along training.
    sources : tuple of Source
        Noise per sample and per trajectory, and what of each lies between data.
    batches : Batches
        ``B tr C_B`` over batches of several sizes.
    steps : tuple of int
        Training steps of the checkpoints before the last.
    forward, reverse : Tensor
        (checkpoints, n_paths) Δs against the last checkpoint, nats: along forward paths from the data, and along
        reverse paths of the last checkpoint's sampler, where ``⟨e^{−Δs}⟩ = 1`` is exact.
    settings : dict
    """

    title = "Gradient noise and curvature"
    picture = "sgd_noise.png"

    gauss_newton: NoiseCurvature
    exact: NoiseCurvature
    course: tuple[CourseRow, ...]
    sources: tuple[Source, ...]
    batches: Batches
    steps: tuple[int, ...]
    forward: Tensor
    reverse: Tensor
    settings: dict[str, Any]

    def ratios(self) -> list[tuple[int, Estimate | None, Estimate | None, ExponentialAverage]]:
        """Step, ``Var/(2 mean)`` of forward and of reverse paths, and ``⟨e^{−Δs}⟩`` of the latter."""
        return [
            (step, half_variance_ratio(one), half_variance_ratio(two), exponential_average(two, -1.0))
            for step, one, two in zip(self.steps, self.forward, self.reverse, strict=True)
        ]

    def tables(self) -> str:
        """The slopes, then what happens along training."""
        lines = ["Gauss–Newton part:", *self.gauss_newton.lines(), "", "Hessian:", *self.exact.lines(), ""]
        lines.append(f"{'step':>6}  {'layer':<34}  {'tr Gauss–Newton':>20}  {'tr Hessian':>20}  {'tr C':>22}")
        for row in self.course:
            exact = "" if row.hessian is None else row.hessian
            lines.append(f"{row.step:>6,}  {row.layer:<34}  {row.curvature!s:>20}  {exact!s:>20}  {row.noise!s:>22}")
        lines += ["", f"{'layer':<44}  {'share of noise between data: per sample':>40}  {'per trajectory':>14}"]
        lines += [f"{s.layer:<44}  {s.sample_share:>40.1%}  {s.trajectory_share:>14.1%}" for s in self.sources]
        lines += ["", f"B tr C_B of batches of B, {self.batches.layer}:"]
        lines += [
            f"  B = {size:<4} {found}" for size, found in zip(self.batches.sizes, self.batches.traces, strict=True)
        ]
        lines += ["", f"{'step':>6}  {'Var/(2 mean) forward':>22}  {'reverse':>18}  {'<exp(-TAEP)> reverse':>22}"]
        for step, one, two, theorem in self.ratios():
            lines.append(f"{step:>6,}  {one!s:>22}  {two!s:>18}  {theorem!s:>22}")
        return "\n".join(lines)

    def law(self) -> str:
        return "the network's loss over the data, and paths from the data against the last checkpoint"

    def conclusion(self) -> list[str]:
        """How the noise grows with the curvature, and whether the fluctuation theorem holds along training."""
        theorems = [theorem for *_, theorem in self.ratios()]
        known = [theorem for theorem in theorems if theorem.is_reliable]
        fine = sum(abs(theorem.z(1.0)) < 3.0 for theorem in known)
        return [
            *self.gauss_newton.conclusion()[:1],
            f"⟨exp(−Δs)⟩ over reverse paths of the last checkpoint is carried by enough paths to test anything at "
            f"{len(known)} of {len(theorems)} checkpoints"
            + (f", and is 1 within three standard errors at {fine} of these." if known else ": it tests nothing here."),
        ]

    def numbers(self) -> dict[str, object]:
        """All but the values of paths."""
        return {
            "gauss_newton": self.gauss_newton,
            "exact": self.exact,
            "course": self.course,
            "sources": self.sources,
            "batches": self.batches,
            "half_variance_ratios": [
                {"step": step, "forward": one, "reverse": two, "fluctuation_theorem": theorem}
                for step, one, two, theorem in self.ratios()
            ],
            "settings": self.settings,
        }

    def figure(self) -> Figure:
        """(a) noise against curvature, (b) slopes, (c) traces along training, (d) variance against twice the mean."""
        with style():
            figure = Figure(figsize=(11.0, 8.0), layout="constrained")
            (scatter, slopes), (traces, moments) = figure.subplots(2, 2)
            draw_relation(scatter, self.gauss_newton)
            scatter.set_title(f"(a) {len(self.gauss_newton.layers)} layers, Gauss–Newton, held out")
            draw_slopes(slopes, self.gauss_newton)
            exact = self.exact.held_out.get(ALL)
            if exact is not None:
                place = len(self.gauss_newton.in_sample) - 1
                slopes.axhspan(
                    *(exact.value - 2.0 * exact.stderr, exact.value + 2.0 * exact.stderr),
                    color=MUTED,
                    alpha=0.15,
                    label=f"Hessian, {len(self.exact.layers)} layers",
                )
                slopes.set_xlim(-0.6, place + 0.6)
                slopes.legend(fontsize=7)
            slopes.set_title("(b) slope of log v·Cv on log v·Hv")
            self._draw_traces(traces)
            self._draw_moments(moments)
        return figure

    def _draw_traces(self, axes: Axes) -> None:
        shown: list[float] = []
        for i, layer in enumerate(dict.fromkeys(row.layer for row in self.course)):
            rows = [row for row in self.course if row.layer == layer]
            steps, style = [float(row.step) for row in rows], "s--" if i else "o-"
            short = ".".join(layer.split(".")[-3:])
            draw_along(axes, steps, [row.curvature for row in rows], EXACT, f"tr Gauss–Newton, {short}", style)
            draw_along(axes, steps, [row.noise for row in rows], NETWORK, f"tr C, {short}", style)
            if any(row.hessian is not None for row in rows):
                draw_along(axes, steps, [row.hessian for row in rows], COLLAPSED, f"tr Hessian, {short}", style)
            shown += [found.value for row in rows for found in (row.curvature, row.noise)]
        axes.set(xscale="log", yscale="log", xlabel="training step", title="(c) curvature and noise along training")
        # The Hessian's errors reach zero, which a logarithm has no place for; the legend has the upper decades.
        axes.set_ylim(0.3 * min(shown), 300.0 * max(shown))
        axes.legend(fontsize=6.5, ncol=2, loc="upper center")

    def _draw_moments(self, axes: Axes) -> None:
        ends: list[float] = []
        for values, colour, label in (
            (self.forward, NETWORK, "forward paths from the data"),
            (self.reverse, EXACT, "reverse paths of the reference: exact theorem"),
        ):
            means = [mean_estimate(row) for row in values]
            variances = [variance_estimate(row) for row in values]
            twice = [2.0 * mean.value for mean in means]
            axes.errorbar(
                twice,
                [found.value for found in variances],
                yerr=[2.0 * found.stderr for found in variances],
                xerr=[min(4.0 * mean.stderr, 0.9 * x) for mean, x in zip(means, twice, strict=True)],
                fmt="o-",
                ms=4,
                lw=1,
                capsize=2,
                color=colour,
                label=label,
            )
            ends += twice
        axes.plot(
            [min(ends), max(ends)], [min(ends), max(ends)], "--", lw=1, color=THEORY, label="Var = 2 mean (Eq. 41)"
        )
        axes.set(xscale="log", yscale="log", xlabel="2 × mean of Δs (nats)", ylabel="variance of Δs (nats²)")
        axes.set_title("(d) variance and mean")
        axes.legend(fontsize=7)

    def lead(self) -> str:
        settings = self.settings
        slope = self.gauss_newton.held_out.get(ALL)
        return (
            f"{settings['data']}: {len(self.gauss_newton.layers)} layers, {settings['budget']} parameters of each; "
            f"slope {slope} on held-out samples, after Ding, Quan and Tu, Fig. 4."
        )

    def sections(self, picture: Figure) -> list[str]:
        rows = [(f"{step:,}", one, two, theorem) for step, one, two, theorem in self.ratios()]
        course = [(f"{row.step:,}", row.layer, row.curvature, row.hessian or "", row.noise) for row in self.course]
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Gradient noise against curvature, their slopes, both along training, variance against mean",
                    "Eigenvectors come from one half of the samples, curvatures from the other; bars are two standard "
                    "errors, those of slopes from layers drawn again.",
                ),
            ),
            html.section("Slopes", html.preformatted("\n".join(self.gauss_newton.lines()))),
            html.section("Slopes with the exact Hessian", html.preformatted("\n".join(self.exact.lines()))),
            html.section(
                "Along training", html.table(("step", "layer", "tr Gauss–Newton", "tr Hessian", "tr C"), course)
            ),
            html.section(
                "Variance over twice the mean",
                html.table(("step", "forward paths", "reverse paths", "⟨exp(−Δs)⟩, reverse"), rows),
            ),
            html.section("Settings", *html.settings(self.settings)),
        ]


def shipped_noise() -> SgdNoise:
    """The result of the quick profile on digits that comes with the package."""
    found: SgdNoise = load(Path(str(files("thermokern.papers.ding2026") / "results" / "digits_sgd_noise.safetensors")))
    return found


def sgd_noise(
    training: ImageProfile,
    profile: NoiseProfile,
    images: Tensor,
    checkpoints: list[Path],
    out: Path,
    *,
    progress: bool = True,
) -> SgdNoise:
    """Curvature and gradient noise of checkpoints of a training.

    Parameters
    ----------
    training : ImageProfile
    profile : NoiseProfile
    images : Tensor
        (n, channels, height, width), what it was trained on.
    checkpoints : list of path
        From :func:`train_unet`, in the order of ``training.saved``.
    out : path
        Folder in which every calculation leaves its file; one that is there is not done again.
    """
    shape, scheduler = tuple(images.shape[1:]), make_scheduler(training)
    settings = json.dumps(training.settings(), sort_keys=True)
    out = out / hashlib.sha256(settings.encode()).hexdigest()[:8]  # another training leaves other files

    def model(path: Path) -> ScoreModel:
        found: ScoreModel = from_diffusers(load_unet(training, shape, path), scheduler)
        return found

    last = model(checkpoints[-1])
    layers = chosen_layers(last, profile)
    where = out / f"step_{training.saved[-1]:07d}"
    gauss_newton = relation_of(last, images, layers, "gauss-newton", profile, where, progress)
    one_of_each = [layer for layer in layers if layer.place == "bottleneck"]
    exact = relation_of(last, images, one_of_each, "hessian", profile, where, progress)
    models = [model(path) for path in checkpoints]
    along = list(zip(training.saved, models, strict=True))
    course = course_of(along, images, one_of_each, profile, out, progress)
    forward, reverse = paths_of(models, images, profile, progress)
    return SgdNoise(
        gauss_newton=gauss_newton,
        exact=exact,
        course=course,
        sources=sources_of(last, images, one_of_each, profile, where),
        batches=batches_of(last, images, next(s for s in one_of_each if s.kind == "convolution"), profile),
        steps=training.saved[:-1],
        forward=forward,
        reverse=reverse,
        settings={**training.settings(), **profile.settings(), "torch": str(torch.__version__)},
    )


QUICK_TRAINING = replace(QUICK, attention=(False, True))
QUICK_NOISE = NoiseProfile()
FULL_NOISE = replace(
    QUICK_NOISE,
    budget=1000,
    exact_budget=1000,
    course_budget=1000,
    n_curvature=1024,
    n_exact=1024,
    n_course=1024,
    n_noise=8192,
    n_paths=1000,
    n_steps=999,
)


def _run(
    profile: str | None,
    out: Path,
    *,
    seed: int,
    progress: bool,
    data: str | None,
    root: Path | None,
    budget: int | None,
) -> SgdNoise:
    if profile == "shipped":
        return shipped_noise()
    if profile is None:
        profile = "quick" if data in (None, "digits") else "full"
    if profile == "full" and data == "digits":
        raise ValueError("--data: expected mnist, fashion-mnist or cifar10 with --profile full, got digits")
    paper = PAPER_MNIST if data in ("mnist", "fashion-mnist") else PAPER
    training, noise = {"quick": (QUICK_TRAINING, QUICK_NOISE), "full": (paper, FULL_NOISE)}[profile]
    training = replace(training, data=data or training.data, seed=seed)
    noise = replace(noise, seed=seed) if budget is None else replace(noise, seed=seed, budget=budget)
    images = load_images(training.data, root)
    checkpoints = train_unet(training, images, out / "checkpoints", progress=progress)
    return sgd_noise(training, noise, images, checkpoints, out / "curvature", progress=progress)


EXPERIMENT = Experiment(
    name="sgd-noise",
    help="gradient noise against curvature of the loss: Ding, Quan and Tu, Fig. 4",
    profiles={
        "shipped": "the result for digits that comes with the package",
        "quick": "a small network with attention, on digits unless --data names others",
        "full": "the paper's network, 1000 parameters a layer; cifar10 unless --data names mnist or fashion-mnist",
    },
    default=None,
    options=(
        Option("--data", "images to train on; without --profile, digits are quick and others full", choices=DATA),
        Option("--root", "folder of the files of mnist or fashion-mnist (IDX) or cifar10 (binary version)", Path),
        Option("--budget", "parameters of each layer", int),
    ),
    saved=True,
    run=_run,
)
