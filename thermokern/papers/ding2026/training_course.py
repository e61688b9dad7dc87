"""TAEP and coverage along the training of an image model: Ding, Quan and Tu, Fig. 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import ScoreModel, from_diffusers
from thermokern.models.remembering import Remembering
from thermokern.papers.correlation import RankCorrelation, bootstrap_correlation
from thermokern.papers.ding2026.image_training import (
    PAPER,
    PAPER_MNIST,
    QUICK,
    REDUCED,
    ImageProfile,
    load_unet,
    make_scheduler,
    train_unet,
    training_device,
)
from thermokern.papers.ding2026.images import DATA, load_images
from thermokern.papers.experiment import Experiment, ExperimentResult, Option
from thermokern.quantities import Estimate, coverage, load, sample, taep
from thermokern.quantities.learning.figures import draw_course
from thermokern.quantities.results.estimate import mean_estimate, variance_estimate
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import THEORY, severities, style
from thermokern.quantities.taep.step_error import StepError
from thermokern.report import html

_SHIPPED = {"digits": "digits_quick.safetensors", "fashion-mnist": "fashion-mnist_reduced.safetensors"}


@stored("training-course")
@dataclass(frozen=True, eq=False)
class TrainingCourse(ExperimentResult):
    """Every checkpoint but the last, whose TAEP against itself is zero by construction.

    Attributes
    ----------
    steps : tuple of int
        Training steps of the checkpoints.
    values : Tensor
        (checkpoints, n_paths) Δs, nats, of the same paths for all.
    step_errors : tuple of StepError
        What the finite step does to the statistics of each checkpoint.
    hits : Tensor
        (checkpoints, n_real) int16, generated samples in the ball of each real image.
    final_hits : Tensor
        (n_real,) int16, those of the final model.
    expected_coverage : float
        Coverage of two samples of one law of these sizes.
    generated : Tensor
        (checkpoints + 1, shown, …) float16, a few samples of each, the final model's last.
    settings : dict
    """

    title = "Entropy production along training"
    picture = "training.png"

    steps: tuple[int, ...]
    values: Tensor
    step_errors: tuple[StepError, ...]
    hits: Tensor
    final_hits: Tensor
    expected_coverage: float
    generated: Tensor
    settings: dict[str, Any]

    @property
    def means(self) -> list[Estimate]:
        return [mean_estimate(row) for row in self.values]

    @property
    def variances(self) -> list[Estimate]:
        return [variance_estimate(row) for row in self.values]

    @property
    def coverages(self) -> list[Estimate]:
        return [_share(row > 0) for row in self.hits]

    @property
    def final_coverage(self) -> Estimate:
        return _share(self.final_hits > 0)

    def rows(self) -> Iterator[tuple[int, Estimate, Estimate, Estimate, StepError]]:
        """Step, mean, variance and coverage of each checkpoint, and the errors of the time step."""
        return zip(self.steps, self.means, self.variances, self.coverages, self.step_errors, strict=True)

    def correlations(self, seed: int = 0) -> dict[str, RankCorrelation]:
        """Spearman's ρ along training between training step, mean, variance and coverage."""
        step = torch.tensor(self.steps, dtype=torch.float64)
        covered = (self.hits > 0).double()
        values = self.values.double()
        quantities: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of chosen paths and chosen real images
            "step": lambda paths, points: step,
            "mean": lambda paths, points: values[:, paths].mean(1),
            "variance": lambda paths, points: values[:, paths].var(1),
            "coverage": lambda paths, points: covered[:, points].mean(1),
        }
        pairs = [("variance", "coverage"), ("variance", "mean"), ("mean", "coverage")]
        pairs += [("step", name) for name in ("mean", "variance", "coverage")]
        return {
            f"{a} and {b}": bootstrap_correlation(
                quantities[a], quantities[b], n_paths=values.shape[1], n_points=covered.shape[1], seed=seed
            )
            for a, b in pairs
        }

    def tables(self) -> str:
        """Estimates along training and their rank correlations, for people."""
        lines = [
            f"{'step':>9}  {'mean Δs (nats)':>18} {'time step':>9}  {'variance (nats²)':>18} {'time step':>9}  "
            f"{'coverage':>18}"
        ]
        lines += [
            f"{step:>9,}  {m!s:>18} {e.mean.value:>+9.2g}  {v!s:>18} {e.variance.value:>+9.2g}  {c!s:>18}"
            for step, m, v, c, e in self.rows()
        ]
        lines.append(f"{'final':>9}  {'0':>18} {'':>9}  {'0':>18} {'':>9}  {self.final_coverage!s:>18}")
        lines.append(f"coverage of two samples of one law: {self.expected_coverage:.4f}")
        lines.append("rank correlations along training, without the final model (Spearman; s.e. of sampling; p):")
        for name, found in self.correlations().items():
            lines.append(f"  {name:<24} {found.rho!s:>16}   p = {found.p_value:.2g}")
        return "\n".join(lines)

    def law(self) -> str:
        return "the images at the first time, against what each checkpoint makes of the same end points"

    def conclusion(self) -> list[str]:
        """What falls and what rises along training, and whether the time step matters."""
        mean, covered = self.means, self.coverages
        worst = max(abs(e.mean.value) / m.stderr for _, m, _, _, e in self.rows())
        step = (
            "the time step changes no mean by more than its sampling error"
            if worst < 1.0
            else f"the time step changes a mean by up to {worst:.1f} times its sampling error"
        )
        return [
            f"From step {self.steps[0]:,} to {self.steps[-1]:,} the mean of Δs against the final model goes from "
            f"{mean[0]} to {mean[-1]} nats; {step}.",
            f"Coverage goes from {covered[0]} to {covered[-1]}; the final model has {self.final_coverage}, and two "
            f"samples of one law would have {self.expected_coverage:.3f}.",
        ]

    def numbers(self) -> dict[str, object]:
        return {
            "checkpoints": [
                {"step": step, "mean": m, "variance": v, "coverage": c, "step_error": e}
                for step, m, v, c, e in self.rows()
            ],
            "final_coverage": self.final_coverage,
            "expected_coverage": self.expected_coverage,
            "correlations": self.correlations(),
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Sequence[object]]:
        """A row for each checkpoint."""
        return {"step": self.steps, "mean": self.means, "variance": self.variances, "coverage": self.coverages}

    def figure(self) -> Figure:
        """Fig. 3: (a) distributions of Δs, (b) coverage against variance, (c) variance against mean."""
        colours = severities(len(self.steps))
        with style():
            figure = Figure(figsize=(13.5, 4.2), layout="constrained")
            density, covered, moments = figure.subplots(1, 3)
            for step, values, colour in zip(self.steps, self.values, reversed(colours), strict=True):
                density.ecdf(values.double().numpy(), color=colour, lw=1.4, label=f"{step:,}")
            density.set(title="(a) TAEP along training", xlabel="Δs (nats)", ylabel="share of paths below")
            density.legend(title="training step", ncols=2, fontsize="small")
            draw_course(covered, self.variances, self.coverages)
            covered.axhline(self.final_coverage.value, color=THEORY, lw=1, ls="--", label="final model")
            covered.axhline(self.expected_coverage, color=THEORY, lw=1, label="two samples of one law")
            covered.set(title="(b) coverage", xlabel="variance of Δs (nats²)", ylabel="coverage", xscale="log")
            covered.xaxis.set_minor_formatter(NullFormatter())
            covered.legend(loc="best")
            draw_course(moments, self.means, self.variances)
            moments.set(title="(c) mean and variance", xlabel="mean of Δs (nats)", ylabel="variance of Δs (nats²)")
            ends = [self.means[0].value, self.means[-1].value]
            moments.plot(ends, [2.0 * end for end in ends], color=THEORY, lw=1, label="variance = 2 mean (Eq. 41)")
            moments.legend(loc="upper left")
            moments.set(xscale="log", yscale="log")
            moments.xaxis.set_minor_formatter(NullFormatter())
        return figure

    def lead(self) -> str:
        settings = self.settings
        return (
            f"{settings['data']}: {settings['n_paths']:,} paths of {settings['n_steps']} steps, "
            f"{settings['n_generated']:,} samples, after Ding, Quan and Tu, Fig. 3."
        )

    def sections(self, picture: Figure) -> list[str]:
        rows = [(f"{step:,}", m, e.mean, v, e.variance, c) for step, m, v, c, e in self.rows()]
        correlations = [(name, found.rho, f"{found.p_value:.2g}") for name, found in self.correlations().items()]
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Paths below each value of the TAEP at each checkpoint, coverage against its variance, and mean",
                    "Δs of each checkpoint against the final model, on the same paths; bars are two standard errors of "
                    "sampling. Near the optimum the variance is twice the mean (Eq. 41).",
                ),
            ),
            html.section(
                "Along training",
                html.table(
                    ("step", "mean Δs (nats)", "of the time step", "variance (nats²)", "of the time step", "coverage"),
                    rows,
                ),
            ),
            html.section(
                "Rank correlations",
                html.paragraph(
                    "Spearman's ρ over the checkpoints without the final one, whose TAEP is zero by construction. "
                    "Standard errors are those of paths and samples; p-values are of unrelated orders. Quantities that "
                    "only rise or fall with training correlate whatever ties them: the step itself is in the table."
                ),
                html.table(("quantities", "ρ", "p"), correlations),
            ),
            html.section("Settings", *html.settings(self.settings)),
        ]


def _share(hit: Tensor) -> Estimate:
    """The share of hits, with the binomial error at ``(hits + 1)/(n + 2)``, which is not zero where nothing is hit."""
    n, found = len(hit), int(hit.sum())
    p = (found + 1) / (n + 2)
    return Estimate(found / n, math.sqrt(p * (1.0 - p) / n), "")


def shipped_course(data: str = "digits") -> TrainingCourse:
    """The result that comes with the package: the quick profile on digits, or the reduced one on Fashion-MNIST."""
    if data not in _SHIPPED:
        raise ValueError(f"--data: expected {' or '.join(_SHIPPED)} with --profile shipped, got {data}")
    course: TrainingCourse = load(Path(str(files("thermokern.papers.ding2026") / "results" / _SHIPPED[data])))
    return course


def training_course(
    profile: ImageProfile,
    images: Tensor,
    checkpoints: list[Path],
    *,
    resume: Path | None = None,
    progress: bool = True,
) -> TrainingCourse:
    """Evaluate the checkpoints of a training against the last of them.

    Parameters
    ----------
    profile : ImageProfile
    images : Tensor
        (n, channels, height, width), what it was trained on.
    checkpoints : list of path
        From :func:`train_unet`, in the order of ``profile.saved``.
    resume : path, optional
        Folder for the states of long runs, from which a killed one goes on.
    """
    shape, scheduler = tuple(images.shape[1:]), make_scheduler(profile)
    generator = torch.Generator().manual_seed(profile.seed)
    starts = images[torch.randperm(len(images), generator=generator)[: profile.n_paths]]
    place = training_device()
    models = [from_diffusers(load_unet(profile, shape, path).to(place), scheduler) for path in checkpoints]
    final = ScoreModel(Remembering(models[-1].network), models[-1].process, models[-1].predicts, models[-1].shape)
    values, errors, hits, shown, expected = [], [], [], [], 0.0
    along = list(zip(profile.saved, models, strict=True))
    with tqdm(along, disable=not progress, unit="checkpoint", desc="evaluation") as bar:
        for step, model in bar:
            if model is not models[-1]:
                result = taep(
                    model,
                    final,
                    x0=starts,
                    n_steps=profile.n_steps,
                    scheme="backward-ito",
                    seed=profile.seed,
                    checkpoint=None if resume is None else resume / f"step_{step:07d}",
                )
                values.append(result.values)
                assert result.step_error is not None
                errors.append(result.step_error)
            samples = sample(
                model,
                n=profile.n_generated,
                method=profile.sampler,
                n_steps=profile.generation_steps,
                denoise=True,
                seed=profile.seed + 1,
            )
            found = coverage(images[: profile.n_real].flatten(1), samples.flatten(1), k=5)
            expected = found.expected_coverage
            hits.append(found.hits.clamp_max(2**15 - 1).to(torch.int16))
            shown.append(samples[:16].to(torch.float16))
    return TrainingCourse(
        steps=profile.saved[:-1],
        values=torch.stack(values),
        step_errors=tuple(errors),
        hits=torch.stack(hits[:-1]),
        final_hits=hits[-1],
        expected_coverage=expected,
        generated=torch.stack(shown),
        settings={**profile.settings(), "torch": str(torch.__version__)},
    )


def _run(
    profile: str | None, out: Path, *, seed: int, progress: bool, data: str | None, root: Path | None
) -> TrainingCourse:
    """Without a profile, images from files are trained on with the paper's settings and digits with the quick ones."""
    if profile == "shipped":
        return shipped_course(data or "digits")
    if profile is None:
        profile = "quick" if data in (None, "digits") else "full"
    paper = PAPER_MNIST if data in ("mnist", "fashion-mnist") else PAPER
    chosen = {"quick": QUICK, "reduced": REDUCED, "full": paper}[profile]
    settings = replace(chosen, data=data or chosen.data, seed=seed)
    if profile == "full" and data == "digits":
        raise ValueError("--data: expected mnist, fashion-mnist or cifar10 with --profile full, got digits")
    images = load_images(settings.data, root)
    checkpoints = train_unet(settings, images, out / "checkpoints", progress=progress)
    resume = out / "states" if profile == "full" else None
    return training_course(settings, images, checkpoints, resume=resume, progress=progress)


EXPERIMENT = Experiment(
    name="training",
    help="TAEP and coverage along training: Ding, Quan and Tu, Fig. 3",
    profiles={
        "shipped": "the result for digits or fashion-mnist that comes with the package",
        "quick": "a small network, on digits unless --data names others",
        "reduced": "a short training on images of 32 x 32, fashion-mnist unless --data names others",
        "full": "the paper's settings, on cifar10 unless --data names mnist or fashion-mnist",
    },
    default=None,
    options=(
        Option("--data", "images to train on; without --profile, digits are quick and others full", choices=DATA),
        Option("--root", "folder of the files of mnist or fashion-mnist (IDX) or cifar10 (binary version)", Path),
    ),
    saved=True,
    run=_run,
)
