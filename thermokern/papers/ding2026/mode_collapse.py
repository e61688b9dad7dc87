"""Controlled mode collapse on eight Gaussians: Ding, Quan and Tu, Fig. 2 (a), (b), (c).

Models are score fields of a ring of K modes of which m have the weight ε and the rest share what is left; the target
has equal weights. Each is evaluated twice, as the exact score field and as a network trained on it, beside the theory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import ScoreMLP, ScoreModel, load_checkpoint, read_record, save_checkpoint
from thermokern.papers.ding2026.training import TrainingRecipe, train_epsilon_network
from thermokern.processes import VP
from thermokern.quantities import TAEP, DetailedFluctuationTheorem, detailed_fluctuation_theorem, taep
from thermokern.targets import GaussianMixture

N_MODES, RADIUS, STD = 8, 4.0, 0.25
PROCESS = VP(0.1, 20.0)


@dataclass(frozen=True)
class Collapse:
    """`m` of the K modes have the weight `epsilon` each; the rest share what is left (Eq. 46 and 47)."""

    m: int
    epsilon: float

    @property
    def weights(self) -> list[float]:
        rest = (1.0 - self.m * self.epsilon) / (N_MODES - self.m)
        return [self.epsilon] * self.m + [rest] * (N_MODES - self.m)

    @property
    def mixture(self) -> GaussianMixture:
        return GaussianMixture.ring(N_MODES, RADIUS, STD, weights=self.weights)

    @property
    def kl(self) -> float:
        """KL(target ‖ model) of well-separated modes, ``Σ (1/K) log((1/K)/w_k)``, nats."""
        return -sum(math.log(N_MODES * weight) for weight in self.weights) / N_MODES

    @property
    def variance(self) -> float:
        """``m(K−m)/K² log²((1−mε)/((K−m)ε))`` (Eq. 55), nats²."""
        ratio = (1.0 - self.m * self.epsilon) / ((N_MODES - self.m) * self.epsilon)
        return self.m * (N_MODES - self.m) / N_MODES**2 * math.log(ratio) ** 2

    @property
    def name(self) -> str:
        return f"m{self.m}_eps{self.epsilon:g}"


# Fig. 2: (a) one mode ever rarer, (b) ever more rare modes, (c) two models of one KL.
PANELS: dict[str, tuple[Collapse, ...]] = {
    "a": tuple(Collapse(1, epsilon) for epsilon in (0.09, 0.05, 0.02, 0.01, 0.005)),
    "b": tuple(Collapse(m, 0.01) for m in range(1, 6)),
    "c": (Collapse(1, 0.01), Collapse(4, 0.0521)),
}
COLLAPSES: tuple[Collapse, ...] = tuple(dict.fromkeys(collapse for panel in PANELS.values() for collapse in panel))


@dataclass(frozen=True)
class Evaluation:
    """One collapsed model: theory in `collapse`, its exact score field, its trained network."""

    collapse: Collapse
    exact: TAEP
    network: TAEP
    reverse: TAEP  # paths that the network drives; they end where it puts its samples
    theorem: DetailedFluctuationTheorem  # of the network, from `network` and `reverse`
    record: dict[str, Any]  # how the network was trained

    def to_json(self) -> dict[str, Any]:
        theory = {"kl": self.collapse.kl, "variance": self.collapse.variance}
        return {
            "m": self.collapse.m,
            "epsilon": self.collapse.epsilon,
            "theory": theory,
            "exact_score_field": self.exact.to_json(),
            "network": self.network.to_json(),
            "network_reverse": self.reverse.to_json(),
            "detailed_fluctuation_theorem": self.theorem.to_json(),
            "training": self.record,
        }


@dataclass(frozen=True)
class ModeCollapse:
    """All models of the figure, by collapse, and points of the target."""

    evaluations: dict[Collapse, Evaluation]
    target: Tensor  # (n, 2)

    def table(self) -> str:
        """Theory, exact score field and network side by side, for people."""
        head = (
            f"{'model':<16}{'':<9}{'mean TAEP':>18}{'KL':>9}{'variance':>22}{'Eq. 55':>9}{'<exp(-TAEP)>':>20}{'z':>7}"
        )
        lines = [head, "-" * len(head)]
        for collapse, evaluation in self.evaluations.items():
            for name, result in (("exact", evaluation.exact), ("network", evaluation.network)):
                label = f"m={collapse.m} ε={collapse.epsilon:g}" if name == "exact" else ""
                average = result.fluctuation_theorem
                lines.append(
                    f"{label:<16}{name:<9}{result.mean!s:>18}{collapse.kl:>9.4f}{result.variance!s:>22}"
                    f"{collapse.variance:>9.4f}{average!s:>20}{average.z(1.0):>7.1f}"
                )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {"experiment": "mode-collapse", "models": [item.to_json() for item in self.evaluations.values()]}


def shipped_checkpoints() -> Path:
    """The folder of the checkpoints that come with the package."""
    return Path(str(files("thermokern.papers.ding2026") / "checkpoints"))


def train(collapse: Collapse, path: Path, recipe: TrainingRecipe, progress: bool = True) -> None:
    """Train the paper's network on a collapsed ring and save it with its record."""
    torch.manual_seed(recipe.seed)
    mixture = collapse.mixture
    network, loss = train_epsilon_network(
        ScoreMLP(2),
        PROCESS,
        mixture.means.float(),
        mixture.variances[:, 0].sqrt().float(),
        mixture.weights.float(),
        recipe,
        description=f"training {collapse.name}",
        progress=progress,
    )
    record = {
        **recipe.settings(),
        "data": {"ring": {"n_modes": N_MODES, "radius": RADIUS, "std": STD, "weights": collapse.weights}},
        "optimiser": "Adam",
        "loss": loss,
        "torch": torch.__version__,
    }
    save_checkpoint(path, ScoreModel(network, PROCESS, "epsilon"), record)


def mode_collapse(
    *,
    checkpoints: Path | None = None,
    seed: int = 0,
    exact_paths: int = 100_000,
    exact_steps: int = 1000,
    network_paths: int = 10_000,
    network_steps: int = 250,
    progress: bool = True,
) -> ModeCollapse:
    """Evaluate every model of the figure.

    Parameters
    ----------
    checkpoints : path, optional
        Folder of ``m1_eps0.01.safetensors`` and so on; those of the package when left out.
    seed : int
    exact_paths, exact_steps, network_paths, network_steps : int
        Sample sizes and Stratonovich steps of the exact score fields and of the networks; a quarter as many reverse
        paths.
    """
    folder = shipped_checkpoints() if checkpoints is None else checkpoints
    target = GaussianMixture.ring(N_MODES, RADIUS, STD)
    evaluations: dict[Collapse, Evaluation] = {}
    with tqdm(COLLAPSES, disable=not progress, unit="model", desc="mode collapse") as bar:
        for collapse in bar:
            path = folder / f"{collapse.name}.safetensors"
            model = load_checkpoint(path)
            exact = taep(collapse.mixture, target, PROCESS, n_paths=exact_paths, n_steps=exact_steps, seed=seed)
            network = taep(model, target, n_paths=network_paths, n_steps=network_steps, seed=seed)
            reverse = taep(
                model, target, n_paths=network_paths // 4, n_steps=network_steps, seed=seed, direction="reverse"
            )
            theorem = detailed_fluctuation_theorem(network, reverse)
            evaluations[collapse] = Evaluation(collapse, exact, network, reverse, theorem, read_record(path))
    return ModeCollapse(evaluations, target.sample(1000, seed))
