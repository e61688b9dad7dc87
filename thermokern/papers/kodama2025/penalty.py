"""Does it help to train with the entropy-rate integral as a penalty? The Swiss roll, penalised and plain, pair by pair.

Kodama and Hinczewski suggest to minimise entropy production while model quality is kept (Sec. 5). Here networks are
trained on the denoising loss with ``λ ∫ D E|s_θ|² dt`` added, which is all of the system-entropy-rate integral that
depends on the network, from the same first weights on the same batches as their plain twins.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from thermokern.models import ScoreModel
from thermokern.papers.experiment import Experiment, ExperimentResult
from thermokern.papers.kodama2025.ensemble import EnsembleRecipe, Member, train_ensemble
from thermokern.papers.kodama2025.evaluation import evaluate_network, read_estimate
from thermokern.papers.kodama2025.sweep import CLEAR, read_entries, shipped, write_entries
from thermokern.processes import VP
from thermokern.quantities import Estimate, FewPathsWarning, taep
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.result import encoded
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import severities, style
from thermokern.report import html
from thermokern.targets import SwissRoll

SAMPLER_STEPS = 100  # of the sampler whose bound on KL is taken
_STREAM = 10_000_000  # beyond the streams of the other sweeps
# Each measure's name and meaning.
MEASURES = {
    "kl_ode": "KL(data ‖ probability flow)",
    "kl_upper": "bound on KL of the reverse SDE",
    "kl_sampler": f"bound on KL of its {SAMPLER_STEPS}-step sampler",
    "dissipation": "∫ intrinsic entropy production",
}


@stored("penalty-profile")
@dataclass(frozen=True)
class PenaltyProfile:
    """How much of the comparison is done."""

    name: str
    penalties: tuple[float, ...]
    replicates: int
    snapshots: tuple[int, ...]
    width: int
    paths: int
    points: int


PENALTY_PROFILES = {
    "quick": PenaltyProfile(
        name="quick",
        penalties=(0.0, 1e-3),
        replicates=2,
        snapshots=(500, 1000, 2000),
        width=32,
        paths=1000,
        points=500,
    ),
    "reduced": PenaltyProfile(
        name="reduced",
        penalties=(0.0, 1e-3, 1e-2, 1e-1),
        replicates=4,
        snapshots=(2500, 5000, 10_000),
        width=32,
        paths=2000,
        points=1000,
    ),
}


@stored("penalty-snapshot")
@dataclass(frozen=True)
class Snapshot:
    """One network after so many training steps; `measures` are those of ``MEASURES``, nats."""

    penalty: float
    replicate: int
    step: int
    loss: float
    measures: dict[str, Estimate]

    def row(self) -> dict[str, Any]:
        """All of it side by side, as JSON files have it."""
        case = {"penalty": self.penalty, "replicate": self.replicate, "step": self.step, "loss": self.loss}
        return {**case, **self.measures}


@stored("penalty-sweep")
@dataclass(frozen=True, eq=False)
class PenaltySweep(ExperimentResult):
    """A snapshot for each penalty, replicate and number of training steps, and how much was done."""

    title = "Training with the entropy-rate integral as a penalty"
    picture = "entropy_penalty.png"

    profile: PenaltyProfile
    snapshots: tuple[Snapshot, ...]

    def values(self, penalty: float, step: int, measure: str) -> list[float]:
        """A measure of every replicate, in their order."""
        found = [each for each in self.snapshots if (each.penalty, each.step) == (penalty, step)]
        return [each.measures[measure].value for each in sorted(found, key=lambda each: each.replicate)]

    def difference(self, penalty: float, step: int, measure: str) -> Estimate:
        """Penalised less plain, averaged over pairs that share first weights and batches."""
        pairs = zip(self.values(penalty, step, measure), self.values(0.0, step, measure), strict=True)
        return mean_estimate(torch.tensor([a - b for a, b in pairs], dtype=torch.float64))

    def steps_needed(self, penalty: float, replicate: int, level: float, measure: str = "kl_upper") -> int | None:
        """The first snapshot whose `measure` is at most `level`; None where none is."""
        found = [each for each in self.snapshots if (each.penalty, each.replicate) == (penalty, replicate)]
        return min((each.step for each in found if each.measures[measure].value <= level), default=None)

    def tables(self) -> str:
        """Medians over replicates at the last snapshot, differences from plain training, and steps needed."""
        penalties, steps = self.profile.penalties, self.profile.snapshots
        lines = []
        for measure, meaning in MEASURES.items():
            lines.append(f"{meaning}, nats: median over {self.profile.replicates} seeds, by training step")
            lines.append(f"  {'λ':<10}" + "".join(f"{step:>10}" for step in steps) + f"{'last, less plain':>24}")
            for penalty in penalties:
                medians = [statistics.median(self.values(penalty, step, measure)) for step in steps]
                gap = "" if penalty == 0.0 else str(self.difference(penalty, steps[-1], measure))
                lines.append(f"  {penalty:<10g}" + "".join(f"{m:>10.4f}" for m in medians) + f"{gap:>24}")
        level = statistics.median(self.values(0.0, steps[-2], "kl_upper"))
        lines.append(f"training steps until the bound on KL of the reverse SDE is at most {level:.4f} nats, by seed")
        for penalty in penalties:
            needed = [self.steps_needed(penalty, r, level) for r in range(self.profile.replicates)]
            lines.append(f"  {penalty:<10g}" + "".join(f"{'never' if n is None else n:>10}" for n in needed))
        return "\n".join(lines)

    def law(self) -> str:
        return "the Swiss roll's law, against the flow and the sampler of each network"

    def conclusion(self) -> list[str]:
        """Whether any penalty helps by the last snapshot."""
        last = self.profile.snapshots[-1]
        gaps = {each: self.difference(each, last, "kl_upper") for each in self.profile.penalties if each != 0.0}
        helped = [f"λ = {each:g} (by {-gap} nats)" for each, gap in gaps.items() if gap.z(0.0) < -CLEAR]
        hurt = [f"λ = {each:g} (by {gap} nats)" for each, gap in gaps.items() if gap.z(0.0) > CLEAR]
        return [
            f"After {last:,} training steps the bound on KL is smaller than without penalty for "
            f"{', '.join(helped) or 'no penalty'}, and larger for {', '.join(hurt) or 'none'}, by three standard "
            f"errors over {self.profile.replicates} seeds."
        ]

    def numbers(self) -> dict[str, object]:
        rows = [each.row() for each in self.snapshots]
        return {"experiment": "entropy-penalty", "profile": self.profile, "rows": rows}

    def columns(self) -> dict[str, list[object]]:
        """A row for each snapshot."""
        rows = [each.row() for each in self.snapshots]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def figure(self) -> Figure:
        """Every measure against the number of training steps, by penalty."""
        with style():
            figure = Figure(figsize=(13.0, 3.4), layout="constrained")
            penalties, steps = self.profile.penalties, self.profile.snapshots
            colours = severities(len(penalties))
            for axes, (measure, meaning) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
                for penalty, colour in zip(penalties, colours, strict=True):
                    values = np.array([self.values(penalty, step, measure) for step in steps])  # (steps, seeds)
                    median, label = np.median(values, axis=1), f"λ = {penalty:g}"
                    axes.plot(steps, median, color=colour, marker="o", ms=3, label=label)
                    axes.fill_between(steps, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
                axes.set(title=meaning, xlabel="training steps", ylabel="nats", xscale="log")
                if measure != "dissipation":
                    axes.set_yscale("log")
            figure.axes[0].legend(fontsize=7)
        return figure

    def lead(self) -> str:
        return "Networks on the noisy Swiss roll, each with a twin that shares its first weights and its batches."

    def sections(self, picture: Figure) -> list[str]:
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Four measures against the number of training steps, by penalty",
                    "Medians over seeds; the shade spans them all.",
                ),
            ),
            html.section("Numbers", html.preformatted(self.tables())),
        ]


def penalty_sweep(profile: PenaltyProfile, out: Path, *, seed: int = 0, progress: bool = True) -> PenaltySweep:
    """Train and evaluate in `out`, going on where an earlier call was stopped."""
    out.mkdir(parents=True, exist_ok=True)
    law, process = SwissRoll(), VP(0.1, 20.0)
    cases = [(penalty, r) for penalty in profile.penalties for r in range(profile.replicates)]
    members = [Member(law, process, _STREAM + r, penalty) for penalty, r in cases]
    recipe = EnsembleRecipe(n_steps=profile.snapshots[-1], width=profile.width, seed=seed)
    done = out / "rows.json"
    found = read_entries(done, ("key", "rows")) if done.is_file() else {}
    key = json.loads(json.dumps({**asdict(profile), "seed": seed}))
    kept = [_read_snapshot(row) for row in found["rows"]] if found.get("key") == key else []
    if len(kept) < len(cases) * len(profile.snapshots):
        trained = train_ensemble(
            members,
            recipe,
            state=out / "training.state",
            snapshots=profile.snapshots,
            description="penalised and plain",
            progress=progress,
        )
        for step, models, losses in trained:
            kept = [each for each in kept if each.step != step]
            for (penalty, replicate), model, loss in zip(cases, models, losses, strict=True):
                measures = _measures(model, law, profile)
                kept.append(Snapshot(penalty=penalty, replicate=replicate, step=step, loss=loss, measures=measures))
            rows = encoded([each.row() for each in kept])
            write_entries(done, {"key": key, "rows": rows})
    return PenaltySweep(profile, tuple(kept))


def shipped_penalty() -> PenaltySweep:
    """The comparison that comes with the package."""
    found = shipped("penalty")
    profile: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found["profile"].items()
    }
    return PenaltySweep(PenaltyProfile(**profile), tuple(map(_read_snapshot, found["rows"])))


def _read_snapshot(row: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        penalty=row["penalty"],
        replicate=row["replicate"],
        step=row["step"],
        loss=row["loss"],
        measures={name: read_estimate(row[name]) for name in MEASURES},
    )


def _measures(model: ScoreModel, law: SwissRoll, profile: PenaltyProfile) -> dict[str, Estimate]:
    found = evaluate_network(model, law, n_paths=profile.paths, n_likelihood=profile.points)
    with warnings.catch_warnings():  # about ⟨e^{−Δ}⟩, which is not used
        warnings.simplefilter("ignore", FewPathsWarning)
        paths = taep(
            model,
            law,
            n_paths=profile.paths,
            n_steps=SAMPLER_STEPS,
            spacing="uniform",
            scheme="sampler",
            forward="euler-maruyama",
        )
    return {
        "kl_ode": found.kl_ode,
        "kl_upper": found.elbo,
        "kl_sampler": paths.mean,
        "dissipation": found.dissipation,
    }


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> PenaltySweep:
    if profile == "shipped":
        return shipped_penalty()
    return penalty_sweep(PENALTY_PROFILES[profile], out, seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="entropy-penalty",
    help="training with the entropy-rate integral as a penalty; stopped, it goes on where it was",
    profiles={
        "shipped": "the results that come with the package, nothing trained",
        "quick": "2,000 training steps, 2 seeds",
        "reduced": "10,000 training steps, 4 seeds",
    },
    run=_run,
)
