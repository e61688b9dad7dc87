"""Models of eight Gaussians with controlled mode collapse, their theory and the networks trained to have it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thermokern.models import ScoreMLP, ScoreModel, save_checkpoint
from thermokern.papers.ding2026.training import TrainingRecipe, train_epsilon_network
from thermokern.processes import VP
from thermokern.quantities import TAEP, DetailedFluctuationTheorem
from thermokern.quantities.results.storage import stored
from thermokern.targets import GaussianMixture

N_MODES, RADIUS, STD = 8, 4.0, 0.25
PROCESS = VP(0.1, 20.0)


@stored("collapse")
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

    def moments(self, t_end: float) -> tuple[float, float]:
        """Mean and variance of Δs along paths that end at `t_end`, nats and nats², for modes far apart in the data.

        Eq. 55 is for paths that end where target and model are alike. At a finite time a path's end still tells a
        little of its mode, and ``Δs = log(w*_k/w_k) − log(p/q)(x_T)``. The averages over ``x_T`` given mode k, where it
        is Gaussian, are by quadrature.
        """
        target = GaussianMixture.ring(N_MODES, RADIUS, STD)
        node, weight = np.polynomial.hermite_e.hermegauss(40)
        z = torch.cartesian_prod(torch.from_numpy(node), torch.from_numpy(node))  # (q, 2)
        each = torch.from_numpy(np.outer(weight, weight).ravel() / weight.sum() ** 2)  # (q,)
        m, v = PROCESS.mean_scale(t_end), PROCESS.variance(t_end)
        first = second = 0.0
        for mean, model_weight in zip(target.means, self.weights, strict=True):
            x = m * mean + (m * m * STD * STD + v) ** 0.5 * z
            end = target.log_prob(x, t_end, PROCESS) - self.mixture.log_prob(x, t_end, PROCESS)
            value = -math.log(N_MODES * model_weight) - end
            first += (each * value).sum().item() / N_MODES
            second += (each * value.square()).sum().item() / N_MODES
        return first, second - first * first

    @property
    def name(self) -> str:
        """The name of its checkpoint."""
        return f"m{self.m}_eps{self.epsilon:g}"

    def __str__(self) -> str:
        return f"m = {self.m}, ε = {self.epsilon:g}"


# Fig. 2: (a) one mode ever rarer, (b) ever more rare modes, (c) two models of one KL.
PANELS: dict[str, tuple[Collapse, ...]] = {
    "a": tuple(Collapse(1, epsilon) for epsilon in (0.09, 0.05, 0.02, 0.01, 0.005)),
    "b": tuple(Collapse(m, 0.01) for m in range(1, 6)),
    "c": (Collapse(1, 0.01), Collapse(4, 0.0521)),
}
COLLAPSES: tuple[Collapse, ...] = tuple(dict.fromkeys(collapse for panel in PANELS.values() for collapse in panel))


@stored("collapse-evaluation")
@dataclass(frozen=True, eq=False)
class Evaluation:
    """One collapsed model: theory in `collapse`, its exact score field, its trained network."""

    collapse: Collapse
    exact: TAEP
    network: TAEP
    reverse: TAEP  # paths that the network drives; they end where it puts its samples
    theorem: DetailedFluctuationTheorem  # of the network, from `network` and `reverse`
    record: dict[str, Any]  # how the network was trained

    @property
    def fields(self) -> tuple[tuple[str, TAEP], tuple[str, TAEP]]:
        """Both scores, each with its name."""
        return ("exact field", self.exact), ("network", self.network)

    def variance_z(self) -> float:
        """How far the exact field's variance lies from that of paths that end at t_end, in its total errors."""
        found, step = self.exact.variance, self.exact.step_error
        error = math.hypot(found.stderr, 0.0 if step is None else step.variance.value)
        return (found.value - self.collapse.moments(PROCESS.t_end)[1]) / error

    def numbers(self) -> dict[str, object]:
        """What JSON shows of it."""
        return {
            "m": self.collapse.m,
            "epsilon": self.collapse.epsilon,
            "theory": {
                "kl": self.collapse.kl,
                "variance": self.collapse.variance,
                "variance_to_t_end": self.collapse.moments(PROCESS.t_end)[1],
            },
            "exact_score_field": self.exact.to_json(),
            "network": self.network.to_json(),
            "network_reverse": self.reverse.to_json(),
            "detailed_fluctuation_theorem": self.theorem.to_json(),
            "training": self.record,
        }


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
