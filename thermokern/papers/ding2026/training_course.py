"""TAEP and coverage along the training of an image model: Ding, Quan and Tu, Fig. 3."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from thermokern.models import ScoreModel, from_diffusers
from thermokern.papers.correlation import RankCorrelation, bootstrap_correlation
from thermokern.papers.ding2026.image_training import ImageProfile, load_unet, make_scheduler
from thermokern.quantities import Estimate, coverage, load, sample, taep
from thermokern.quantities.results.estimate import mean_estimate, variance_estimate
from thermokern.quantities.results.storage import save, stored

_REMEMBERED = 2**28  # bytes of the reference's outputs that are kept between checkpoints


@stored("training-course")
@dataclass(frozen=True, eq=False)
class TrainingCourse:
    """Every checkpoint but the last, whose TAEP against itself is zero by construction.

    Attributes
    ----------
    steps : tuple of int
        Training steps of the checkpoints.
    values : Tensor
        (checkpoints, n_paths) Δs, nats, of the same paths for all.
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

    steps: tuple[int, ...]
    values: Tensor
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
        return [mean_estimate((row > 0).double(), "") for row in self.hits]

    @property
    def final_coverage(self) -> Estimate:
        return mean_estimate((self.final_hits > 0).double(), "")

    def correlations(self, seed: int = 0) -> dict[str, RankCorrelation]:
        """Spearman's ρ along training between training step, mean, variance and coverage."""
        step = torch.tensor(self.steps, dtype=torch.float64)
        covered = (self.hits > 0).double()
        values = self.values.double()

        def quantity(name: str, paths: Tensor, points: Tensor) -> Tensor:
            match name:
                case "mean":
                    return values[:, paths].mean(1)
                case "variance":
                    return values[:, paths].var(1)
                case "coverage":
                    return covered[:, points].mean(1)
            return step

        pairs = [("variance", "coverage"), ("variance", "mean"), ("mean", "coverage")]
        pairs += [("step", name) for name in ("mean", "variance", "coverage")]
        found = {}
        for one, other in pairs:

            def both(paths: Tensor, points: Tensor, a: str = one, b: str = other) -> tuple[Tensor, Tensor]:
                return quantity(a, paths, points), quantity(b, paths, points)

            found[f"{one} and {other}"] = bootstrap_correlation(both, values.shape[1], covered.shape[1], seed=seed)
        return found

    def table(self) -> str:
        """Estimates along training and their rank correlations, for people."""
        lines = [f"{'step':>9}  {'mean Δs (nats)':>18}  {'variance (nats²)':>18}  {'coverage':>18}"]
        rows = zip(self.steps, self.means, self.variances, self.coverages, strict=True)
        lines += [f"{step:>9,}  {m!s:>18}  {v!s:>18}  {c!s:>18}" for step, m, v, c in rows]
        lines.append(f"{'final':>9}  {'0':>18}  {'0':>18}  {self.final_coverage!s:>18}")
        lines.append(f"coverage of two samples of one law: {self.expected_coverage:.4f}")
        lines.append("rank correlations along training, without the final model (Spearman; s.e. of sampling; p):")
        for name, found in self.correlations().items():
            lines.append(f"  {name:<24} {found.rho!s:>16}   p = {found.p_value:.2g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Estimates and correlations, ready for :mod:`json`."""
        rows = zip(self.steps, self.means, self.variances, self.coverages, strict=True)
        return {
            "checkpoints": [
                {"step": step, "mean": vars(m), "variance": vars(v), "coverage": vars(c)} for step, m, v, c in rows
            ],
            "final_coverage": vars(self.final_coverage),
            "expected_coverage": self.expected_coverage,
            "correlations": {name: found.to_json() for name, found in self.correlations().items()},
            "settings": self.settings,
        }

    def save(self, path: str | Path) -> None:
        """Write one safetensors file that :func:`thermokern.load` reads back bit for bit."""
        save(self, path)


def shipped_course() -> TrainingCourse:
    """The result of the quick profile on digits that comes with the package."""
    course: TrainingCourse = load(
        Path(str(files("thermokern.papers.ding2026") / "results" / "digits_quick.safetensors"))
    )
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
    models = [from_diffusers(load_unet(profile, shape, path), scheduler) for path in checkpoints]
    final = ScoreModel(_Remembering(models[-1].network), models[-1].process, models[-1].predicts, models[-1].shape)
    values, hits, shown, expected = [], [], [], 0.0
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
            samples = sample(
                model,
                n=profile.n_generated,
                method=profile.sampler,
                n_steps=profile.generation_steps,
                denoise=True,
                seed=profile.seed + 1,
            )
            found = coverage(images.flatten(1), samples.flatten(1), k=5)
            expected = found.expected_coverage
            hits.append(found.hits.clamp_max(2**15 - 1).to(torch.int16))
            shown.append(samples[:16].to(torch.float16))
    return TrainingCourse(
        steps=profile.saved[:-1],
        values=torch.stack(values),
        hits=torch.stack(hits[:-1]),
        final_hits=hits[-1],
        expected_coverage=expected,
        generated=torch.stack(shown),
        settings={**profile.settings(), "torch": str(torch.__version__)},
    )


class _Remembering(nn.Module):
    """A network that keeps what it said of points which come again: the same paths meet every checkpoint."""

    casts_itself = True

    def __init__(self, network: nn.Module | Any) -> None:
        super().__init__()
        self.network = network
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        digest = hashlib.sha256(x.contiguous().numpy().tobytes() + t.contiguous().numpy().tobytes()).digest()
        if digest not in self._kept:
            out: Tensor = self.network(x, t)
            if self._bytes + out.nbytes > _REMEMBERED:
                return out
            self._bytes += out.nbytes
            self._kept[digest] = out
        return self._kept[digest]
