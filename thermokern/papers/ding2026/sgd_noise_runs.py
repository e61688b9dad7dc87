"""The calculations behind Fig. 4: layers, relations, traces along training, paths; each leaves its file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from thermokern.models import ScoreModel
from thermokern.models.remembering import Remembering
from thermokern.quantities import Estimate, load, taep
from thermokern.quantities.learning import (
    Curvature,
    GradientNoise,
    NoiseCurvature,
    ParameterSubset,
    gradient_noise,
    loss_curvature,
    noise_curvature,
    parameter_subset,
    parameter_subsets,
)
from thermokern.quantities.learning.gradient_noise import sample_gradients
from thermokern.quantities.learning.subsets import KINDS, PLACES
from thermokern.quantities.results import FewPathsWarning
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep import StepTooLongWarning

Kind = TypeVar("Kind", Curvature, GradientNoise)


@dataclass(frozen=True)
class NoiseProfile:
    """How much is done; the defaults are the quick one, for digits.

    Attributes
    ----------
    budget, exact_budget, course_budget : int
        Parameters of each layer, for the Gauss–Newton part, for the Hessian and for traces along training.
    n_curvature, n_exact, n_course, n_noise : int
        Samples of the Gauss–Newton part, of the Hessian, of both along training, and of the gradient noise.
    top : int
        Eigenvectors of each layer.
    course : tuple of int
        Training steps at which traces are taken.
    n_trajectories : int
        For the noise per trajectory.
    n_paths, n_steps : int
        Of the TAEP at each checkpoint.
    """

    budget: int = 200
    exact_budget: int = 64
    course_budget: int = 32
    n_curvature: int = 192
    n_exact: int = 64
    n_course: int = 64
    n_noise: int = 1536
    top: int = 20
    course: tuple[int, ...] = (50, 250, 1200, 3200)
    n_trajectories: int = 32
    n_paths: int = 96
    n_steps: int = 37
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        return asdict(self)


@stored("noise-course")
@dataclass(frozen=True)
class CourseRow:
    """Traces of one layer at one checkpoint."""

    step: int
    layer: str
    curvature: Estimate
    hessian: Estimate | None
    noise: Estimate


@stored("noise-source")
@dataclass(frozen=True)
class Source:
    """Of one layer: what of the noise lies between data points, per sample and per trajectory."""

    layer: str
    sample_share: float
    trajectory_share: float
    sample_trace: Estimate
    trajectory_trace: Estimate


@stored("noise-batches")
@dataclass(frozen=True)
class Batches:
    """``B tr C_B`` over batches of B samples, for several B: one number, if noise falls as 1/B."""

    layer: str
    sizes: tuple[int, ...]
    traces: tuple[Estimate, ...]


def chosen_layers(model: ScoreModel, profile: NoiseProfile) -> list[ParameterSubset]:
    """One layer of each kind in each place of the U-Net, the middle one of those there are."""
    every = parameter_subsets(model, n=profile.budget, seed=profile.seed)
    out = []
    for kind in KINDS:
        for place in PLACES:
            found = [subset for subset in every if (subset.kind, subset.place) == (kind, place)]
            if found:
                out.append(found[len(found) // 2])
    return out


def relation_of(
    model: ScoreModel,
    images: Tensor,
    layers: Sequence[ParameterSubset],
    part: str,
    profile: NoiseProfile,
    where: Path,
    progress: bool,
) -> NoiseCurvature:
    """Curvature and noise of the layers, of their smaller subsets for the Hessian."""
    exact = part == "hessian"
    n = profile.n_exact if exact else profile.n_curvature
    curvatures, noises = [], []
    for layer in layers:
        subset = _smaller(model, layer, profile.exact_budget, profile) if exact else layer
        name = f"{layer.name}-{part}-{len(subset)}-{n}-{profile.seed}"
        curvatures.append(
            _kept(
                where / name,
                lambda subset=subset, name=name: loss_curvature(  # type: ignore[misc]
                    model,
                    images,
                    subset,
                    part=part,
                    n_samples=n,
                    seed=profile.seed,
                    checkpoint=where / f"{name}.state",
                    progress=progress,
                ),
            )
        )
        noises.append(_noise(model, images, subset, profile, where))
    return noise_curvature(curvatures, noises, top=profile.top, seed=profile.seed)


def course_of(
    models: Sequence[tuple[int, ScoreModel]],
    images: Tensor,
    layers: Sequence[ParameterSubset],
    profile: NoiseProfile,
    out: Path,
    progress: bool,
) -> tuple[CourseRow, ...]:
    """Traces along training of a convolution, with its Hessian's, and of an attention."""
    rows = []
    for step, model in models:
        if step not in profile.course and step != models[-1][0]:
            continue
        where = out / f"step_{step:07d}"
        where.mkdir(parents=True, exist_ok=True)
        for layer in layers:
            if layer.kind not in ("convolution", "attention"):
                continue
            subset, hessian = _smaller(model, layer, profile.course_budget, profile), None
            parts: list[Curvature] = []
            for part in ("gauss-newton", "hessian")[: 2 if layer.kind == "convolution" else 1]:
                n = profile.n_course
                name = f"{layer.name}-{part}-{len(subset)}-{n}-{profile.seed}"
                parts.append(
                    _kept(
                        where / name,
                        lambda part=part, n=n, model=model, subset=subset: loss_curvature(  # type: ignore[misc]
                            model, images, subset, part=part, n_samples=n, seed=profile.seed, progress=progress
                        ),
                    )
                )
            if len(parts) > 1:
                hessian = parts[1].trace
            noise = _noise(model, images, subset, profile, where)
            assert parts[0].trace is not None
            rows.append(CourseRow(step, layer.name, parts[0].trace, hessian, noise.trace))
    return tuple(rows)


def sources_of(
    model: ScoreModel, images: Tensor, layers: Sequence[ParameterSubset], profile: NoiseProfile, where: Path
) -> tuple[Source, ...]:
    """Noise per sample and per trajectory."""
    out = []
    for layer in layers:
        sample = _noise(model, images, layer, profile, where)
        path = gradient_noise(
            model,
            images,
            layer,
            per="trajectory",
            n_samples=profile.n_trajectories,
            n_steps=profile.n_steps,
            seed=profile.seed,
        )
        out.append(Source(layer.name, sample.data_share, path.data_share, sample.trace, path.trace))
    return tuple(out)


def batches_of(model: ScoreModel, images: Tensor, layer: ParameterSubset, profile: NoiseProfile) -> Batches:
    """``B tr C_B`` for batches of 1, 8 and 64, all from the same gradients."""
    sizes = (1, 8, 64)
    rows = sample_gradients(model, images, layer, n_samples=64 * -(-profile.n_noise // 64), seed=profile.seed + 1)
    traces = []
    for size in sizes:
        means = rows.view(-1, size, rows.shape[1]).mean(1)
        n = len(means)
        squares = size * (means - means.mean(0)).square().sum(1) * n / (n - 1.0)
        traces.append(Estimate(squares.mean().item(), squares.std().item() / math.sqrt(n), ""))
    return Batches(layer.name, sizes, tuple(traces))


def paths_of(
    models: Sequence[ScoreModel], images: Tensor, profile: NoiseProfile, progress: bool
) -> tuple[Tensor, Tensor]:
    """Δs (checkpoints, n_paths) of all models but the last, against it: forward paths, and its sampler's own."""
    last = models[-1]
    reference = ScoreModel(Remembering(last.network), last.process, last.predicts, last.shape)
    generator = torch.Generator().manual_seed(profile.seed)
    starts = images[torch.randperm(len(images), generator=generator)[: profile.n_paths]]
    forward, reverse = [], []
    options: dict[str, Any] = {"n_steps": profile.n_steps, "seed": profile.seed, "progress": progress}
    for model in models[:-1]:
        with warnings.catch_warnings():  # a few paths of few steps, by choice
            warnings.simplefilter("ignore", FewPathsWarning)
            warnings.simplefilter("ignore", StepTooLongWarning)
            forward.append(taep(model, reference, x0=starts, scheme="backward-ito", **options).values)
            found = taep(
                model,
                reference,
                n_paths=len(starts),
                scheme="sampler",
                chain="ddpm",
                direction="reverse",
                driver="reference",
                **options,
            )
        reverse.append(found.values)
    return torch.stack(forward), torch.stack(reverse)


def _smaller(model: ScoreModel, layer: ParameterSubset, n: int, profile: NoiseProfile) -> ParameterSubset:
    return parameter_subset(model, layer.name, n=n, seed=profile.seed)


def _noise(
    model: ScoreModel, images: Tensor, subset: ParameterSubset, profile: NoiseProfile, where: Path
) -> GradientNoise:
    name = f"{subset.name}-noise-{len(subset)}-{profile.n_noise}-{profile.seed}"
    return _kept(
        where / name,
        lambda: gradient_noise(model, images, subset, n_samples=profile.n_noise, seed=profile.seed),
    )


def _kept(path: Path, work: Callable[[], Kind]) -> Kind:
    """A result from its file, or worked out and left there."""
    file = path.with_name(f"{path.name}.safetensors")
    if file.is_file():
        found: Kind = load(file)
        return found
    file.parent.mkdir(parents=True, exist_ok=True)
    found = work()
    found.save(file)
    return found
