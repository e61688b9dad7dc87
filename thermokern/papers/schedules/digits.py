"""Digits: bound and quality of a small U-Net's samples by schedule, and where its time asymmetry arises."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from thermokern.models import ScoreModel, from_diffusers
from thermokern.papers.ding2026.image_training import QUICK, load_unet, make_scheduler, train_unet
from thermokern.papers.ding2026.images import digit_labels, load_images
from thermokern.papers.schedules.rows import Row, rows_of
from thermokern.quantities import Estimate, FewPathsWarning, coverage, knn_divergence, optimal_schedule, sample, taep
from thermokern.quantities.schedules.result import FLOW
from thermokern.quantities.taep import StepTooLongWarning
from thermokern.quantities.taep.attribution import Attribution
from thermokern.targets import Empirical

SAMPLERS = ("ddpm-optimal", "ddpm", "ddpm-large", FLOW)
FRECHET, KNN, UNCOVERED = "Fréchet distance", "KL in 8 components", "share not covered"
_COMPONENTS, _NEAR = 32, 8  # principal components of the Fréchet distance, and of the nearest neighbours


def digits_model(steps: int, folder: Path, progress: bool) -> tuple[ScoreModel, Tensor]:
    """A U-Net trained for so many steps (or read where it was before), and the images (n, 1, 8, 8)."""
    profile = replace(QUICK, saved=(steps,))
    images = load_images(profile.data)
    (path,) = train_unet(profile, images, folder / f"digits_{steps}", progress=progress)
    network = load_unet(profile, tuple(images.shape[1:]), path)
    return from_diffusers(network, make_scheduler(profile)), images


def digits_rows(
    model: ScoreModel,
    images: Tensor,
    n_table: int,
    n_times: int,
    n_samples: int,
    n_steps: int,
    seed: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Every sampler and schedule of n_steps, the last of which goes to the mean of the data."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    data, judge = images[order[:n_table]], Judge(images)
    out = []
    for sampler in SAMPLERS:
        say(f"digits, {sampler}")
        objectives = ("defect-w2", "klub") if sampler == FLOW else ("own",)
        options = {"sampler": sampler, "n_times": n_times, "n_steps": (n_steps - 1,), "seed": seed}
        found = [optimal_schedule(model, data, objective=o, **options) for o in objectives]  # type: ignore[arg-type]

        def quality(times: Tensor, variance: Tensor | None, sampler: str = sampler) -> dict[str, Estimate]:
            options = {"times": times, "variance": variance, "denoise": True, "seed": seed}
            return judge(sample(model, n=n_samples, method=sampler, **options))  # type: ignore[call-overload]

        out += rows_of("digits", found, n_steps - 1, quality)
    return out


class Judge:
    """Qualities of generated images against real ones, (n, …), by the principal components of the latter."""

    def __init__(self, real: Tensor) -> None:
        self.real = real.flatten(1).double()
        self.mean = self.real.mean(0)
        self.axes = torch.linalg.eigh(torch.cov(self.real.T)).eigenvectors.flip(1)

    def __call__(self, generated: Tensor) -> dict[str, Estimate]:
        points = generated.flatten(1).double()
        one, other = ((x - self.mean) @ self.axes for x in (self.real, points))
        near = knn_divergence(one[:, :_NEAR], other[:, :_NEAR])
        covered = coverage(self.real, points, stderr=False).coverage
        return {
            FRECHET: Estimate(frechet(one[:, :_COMPONENTS], other[:, :_COMPONENTS]), torch.nan, ""),
            KNN: Estimate(near.value, near.stderr),
            UNCOVERED: Estimate(1.0 - covered.value, torch.nan, ""),
        }


def frechet(x: Tensor, y: Tensor) -> float:
    """``|μ_x − μ_y|² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½)`` of points (n, d) and (m, d)."""
    one, other = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(one)
    root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0.0).sqrt().sum()
    distance: float = ((x.mean(0) - y.mean(0)).square().sum() + one.trace() + other.trace() - 2.0 * cross).item()
    return distance


def digits_attribution(model: ScoreModel, images: Tensor, n_paths: int, seed: int) -> Attribution:
    """Against the images' own law, from noise level 0.1 of a pixel's range on."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n_paths]
    reference = Empirical(images.flatten(1))
    with warnings.catch_warnings():  # the score of single images is sharp
        warnings.simplefilter("ignore", FewPathsWarning)
        warnings.simplefilter("ignore", StepTooLongWarning)
        times = torch.unique(model.process.grid(80, None, "log-snr").round())
        result = taep(
            *(model, reference),
            x0=images[order],
            times=times,
            seed=seed,
            resolve=("time", "component"),
            labels=digit_labels()[order],
        )
    assert result.attribution is not None
    return result.attribution
