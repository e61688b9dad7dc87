"""Does it help to train with the entropy-rate integral as a penalty? The Swiss roll, penalised and plain, pair by pair.

Kodama and Hinczewski suggest to minimise entropy production while model quality is kept (Sec. 5). Here networks are
trained on the denoising loss with ``λ ∫ D E|s_θ|² dt`` added, which is all of the system-entropy-rate integral that
depends on the network, from the same first weights on the same batches as their plain twins.
"""

from __future__ import annotations

import json
import statistics
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from thermokern.models import ScoreModel
from thermokern.papers.kodama2025.ensemble import EnsembleRecipe, Member, train_ensemble
from thermokern.papers.kodama2025.evaluation import evaluate_network
from thermokern.papers.kodama2025.limits import shipped
from thermokern.papers.kodama2025.sweep import replace_file, write_text
from thermokern.processes import VP
from thermokern.quantities import Estimate, FewPathsWarning, taep
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.targets import SwissRoll

SAMPLER_STEPS = 100  # of the sampler whose bound on KL is taken
_STREAM = 10_000_000  # beyond the streams of the other sweeps
MEASURES = {
    "kl_ode": "KL(data ‖ probability flow)",
    "kl_upper": "bound on KL of the reverse SDE",
    "kl_sampler": f"bound on KL of its {SAMPLER_STEPS}-step sampler",
    "dissipation": "∫ intrinsic entropy production",
}


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

    def settings(self) -> dict[str, Any]:
        return asdict(self)


PENALTY_PROFILES = {
    "quick": PenaltyProfile("quick", (0.0, 1e-3), 2, (500, 1000, 2000), 32, 1000, 500),
    "reduced": PenaltyProfile("reduced", (0.0, 1e-3, 1e-2, 1e-1), 4, (2500, 5000, 10_000), 32, 2000, 1000),
}


@dataclass(frozen=True)
class PenaltySweep:
    """One row for each penalty, replicate and number of training steps, nats."""

    profile: dict[str, Any]
    rows: list[dict[str, Any]]

    def values(self, penalty: float, step: int, measure: str) -> list[float]:
        """A measure of every replicate, in their order."""
        rows = [row for row in self.rows if (row["penalty"], row["step"]) == (penalty, step)]
        return [row[measure][0] for row in sorted(rows, key=lambda row: row["replicate"])]

    def difference(self, penalty: float, step: int, measure: str) -> Estimate:
        """Penalised less plain, averaged over pairs that share first weights and batches."""
        pairs = zip(self.values(penalty, step, measure), self.values(0.0, step, measure), strict=True)
        return mean_estimate(torch.tensor([a - b for a, b in pairs], dtype=torch.float64))

    def steps_needed(self, penalty: float, replicate: int, level: float, measure: str = "kl_upper") -> int | None:
        """The first snapshot whose `measure` is at most `level`; None where none is."""
        rows = [row for row in self.rows if (row["penalty"], row["replicate"]) == (penalty, replicate)]
        reached = [row["step"] for row in rows if row[measure][0] <= level]
        return min(reached, default=None)

    def table(self) -> str:
        """Medians over replicates at the last snapshot, differences from plain training, and steps needed."""
        penalties, steps = self.profile["penalties"], self.profile["snapshots"]
        lines = []
        for measure, meaning in MEASURES.items():
            lines.append(f"{meaning}, nats: median over {self.profile['replicates']} seeds, by training step")
            lines.append(f"  {'λ':<10}" + "".join(f"{step:>10}" for step in steps) + f"{'last, less plain':>24}")
            for penalty in penalties:
                medians = [statistics.median(self.values(penalty, step, measure)) for step in steps]
                gap = "" if penalty == 0.0 else str(self.difference(penalty, steps[-1], measure))
                lines.append(f"  {penalty:<10g}" + "".join(f"{m:>10.4f}" for m in medians) + f"{gap:>24}")
        level = statistics.median(self.values(0.0, steps[-2], "kl_upper"))
        lines.append(f"training steps until the bound on KL of the reverse SDE is at most {level:.4f} nats, by seed")
        for penalty in penalties:
            needed = [self.steps_needed(penalty, r, level) for r in range(self.profile["replicates"])]
            lines.append(f"  {penalty:<10g}" + "".join(f"{'never' if n is None else n:>10}" for n in needed))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {"experiment": "entropy-penalty", "profile": self.profile, "rows": self.rows}


def penalty_sweep(profile: PenaltyProfile, out: Path, *, seed: int = 0, progress: bool = True) -> PenaltySweep:
    """Train and evaluate in `out`, going on where an earlier call was stopped."""
    out.mkdir(parents=True, exist_ok=True)
    law, process = SwissRoll(), VP(0.1, 20.0)
    cases = [(penalty, r) for penalty in profile.penalties for r in range(profile.replicates)]
    members = [Member(law, process, _STREAM + r, penalty) for penalty, r in cases]
    recipe = EnsembleRecipe(n_steps=profile.snapshots[-1], width=profile.width, seed=seed)
    done = out / "rows.json"
    found = json.loads(done.read_text()) if done.is_file() else {}
    key = json.loads(json.dumps({**profile.settings(), "seed": seed}))
    rows: list[dict[str, Any]] = found["rows"] if found.get("key") == key else []
    if len(rows) < len(cases) * len(profile.snapshots):
        snapshots = train_ensemble(
            members,
            recipe,
            state=out / "training.state",
            snapshots=profile.snapshots,
            description="penalised and plain",
            progress=progress,
        )
        for step, models, losses in snapshots:
            rows = [row for row in rows if row["step"] != step]
            for (penalty, replicate), model, loss in zip(cases, models, losses, strict=True):
                case = {"penalty": penalty, "replicate": replicate, "step": step, "loss": loss}
                rows.append({**case, **_measures(model, law, profile)})
            replace_file(done, write_text(json.dumps({"key": key, "rows": rows}, indent=1)))
    return PenaltySweep(profile.settings(), rows)


def shipped_penalty() -> PenaltySweep:
    """The comparison that comes with the package."""
    found = shipped("penalty")
    return PenaltySweep(found["profile"], found["rows"])


def _measures(model: ScoreModel, law: SwissRoll, profile: PenaltyProfile) -> dict[str, list[float]]:
    row = evaluate_network(model, law, n_paths=profile.paths, n_likelihood=profile.points)
    with warnings.catch_warnings():  # about ⟨e^{−Δ}⟩, which is not used
        warnings.simplefilter("ignore", FewPathsWarning)
        sampler = taep(model, law, n_paths=profile.paths, n_steps=SAMPLER_STEPS, scheme="sampler").mean
    return {
        "kl_ode": row["kl_ode"],
        "kl_upper": row["elbo"],
        "kl_sampler": [sampler.value, sampler.stderr],
        "dissipation": row["dissipation"],
    }
