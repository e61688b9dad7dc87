"""A gambler's wealth: Premkumar, Sec. 2, Fig. 5 and 6, with bets of exact laws, of exact scores and of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from thermokern.models import ConditionalModel, fit_scores
from thermokern.papers.experiment import Experiment
from thermokern.papers.premkumar2025.laws import PROCESS
from thermokern.papers.premkumar2025.shipped import GamblerResult, shipped
from thermokern.quantities import Estimate, pointwise_mutual_information
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, style
from thermokern.targets import Gaussian, JointGaussian, Labelled

NOISES = (1.0, 0.25)  # σ_ε of Fig. 5 (a) and (b), with σ_x = a = 1
ERROR = 0.2  # of the channel that tells the die's number
BOLD = 3.0  # exponent of the gambler who trusts the evidence too much


@stored("kelly-bets-profile")
@dataclass(frozen=True)
class BetsProfile:
    """Rounds of each game, evaluations for each bet from scores, and the training of the network."""

    name: str
    rounds: int
    pairs: int
    points: int
    steps: int
    width: int


PROFILES = {
    "quick": BetsProfile("quick", 400, 64, 1000, 200, 32),
    "full": BetsProfile("full", 2000, 256, 2000, 2000, 64),
}


@stored("kelly-gambler")
@dataclass(frozen=True, eq=False)
class Gambler:
    """One way to bet in one game.

    Attributes
    ----------
    game, name : str
    limit : float
        I(X;Y), the growth rate that no gambler exceeds in the long run, nats a round.
    gains : Tensor
        (rounds,) float32, ln of what wealth is multiplied by in each round.
    """

    game: str
    name: str
    limit: float
    gains: Tensor

    @property
    def growth(self) -> Estimate:
        """Nats a round."""
        return mean_estimate(self.gains.double())


@stored("kelly-bets")
@dataclass(frozen=True, eq=False)
class KellyBets(GamblerResult):
    """All games, and points of the linear Gaussian."""

    title = "What side information is worth: a gambler's wealth"
    picture = "kelly_bets.png"
    alt = "Pairs of a linear Gaussian with conditional means, and wealth over rounds of each game"
    caption = (
        "By σ_ε: pairs (x, y) with E[x|y] and ± one conditional standard deviation (Fig. 5). Other panels: ln wealth "
        "over rounds, for the die of Sec. 2 whose number reaches the gambler through a noisy channel, for bets on x, "
        "and for bets on a label; the line n I, with ± 2 standard deviations of the exact gambler's path."
    )
    remark = (
        "A bet is a probability for every outcome; its odds are fair to one who does not see the side information. In "
        "the game of three labels x is seen and the bet is on the label; the posterior is p(y) exp(i(x;y)) with i from "
        "scores, normalised, which makes it a bet whatever the scores. The last column is the difference from the "
        "first gambler of the game, who knows the law, on the same rounds, in which luck cancels: never clearly "
        "positive."
    )

    profile: BetsProfile
    gamblers: tuple[Gambler, ...]
    pairs: Tensor  # (games, n, 2) x and y of both Gaussians

    def of(self, game: str) -> list[Gambler]:
        """The gamblers of one game."""
        return [each for each in self.gamblers if each.game == game]

    def lost(self, gambler: Gambler) -> Estimate | None:
        """By how much a gambler grows faster than the first of the game, who bets by the law; None for the first."""
        first = self.of(gambler.game)[0]
        return None if gambler is first else mean_estimate(gambler.gains.double() - first.gains.double())

    def tables(self) -> str:
        """Growth rates beside the information, for people."""
        head = f"{'game':<22}{'bets by':<30}{'growth, nats a round':>22}{'I(X;Y)':>10}{'less the first, paired':>26}"
        lines = [head, "-" * len(head)]
        for each in self.gamblers:
            lost = self.lost(each)
            apart = "" if lost is None else str(lost)
            lines.append(f"{each.game:<22}{each.name:<30}{each.growth!s:>22}{each.limit:>10.5f}{apart:>26}")
        p = self.profile
        made = f"{p.rounds:,} rounds, {p.pairs} evaluations for each bet from scores"
        return "\n".join([*lines, f"profile {p.name}: {made}; network of {p.steps:,} training steps"])

    def law(self) -> str:
        return "the joint law of x and y of each game, over rounds drawn from it"

    def conclusion(self) -> list[str]:
        """Whether the best gambler grows as fast as the information, and what others lose."""
        games = list(dict.fromkeys(each.game for each in self.gamblers))
        first = [self.of(game)[0] for game in games]
        fine = sum(abs(each.growth.z(each.limit)) < 3.0 for each in first)
        lost = {each: found for each in self.gamblers if (found := self.lost(each)) is not None}
        worst = min(lost, key=lambda each: lost[each].value)
        return [
            f"Who bets by the law grows as the information says, within three standard errors, in {fine} of "
            f"{len(games)} games.",
            f"The largest loss beside that gambler is {-lost[worst]} nats a round, of bets by {worst.name} "
            f"({worst.game}).",
        ]

    def numbers(self) -> dict[str, object]:
        rows = [
            {"game": each.game, "bets": each.name, "growth": each.growth, "information": each.limit}
            for each in self.gamblers
        ]
        return {"experiment": "kelly-bets", "profile": self.profile, "gamblers": rows}

    def columns(self) -> dict[str, list[object]]:
        """A row for each gambler."""
        return {
            "game": [each.game for each in self.gamblers],
            "bets": [each.name for each in self.gamblers],
            "growth": [each.growth for each in self.gamblers],
            "information": [each.limit for each in self.gamblers],
        }

    def figure(self) -> Figure:
        """The linear Gaussian at two noise levels (Fig. 5), and wealth in each game."""
        with style():
            figure = Figure(figsize=(13.0, 6.8), layout="constrained")
            above, below = figure.subplots(2, 3)
            for k, noise in enumerate(NOISES):
                _draw_pairs(above[k], self.pairs[k], noise)
            _draw_wealth(above[2], self.of("die"), "die and noisy channel")
            for k, noise in enumerate(NOISES):
                _draw_wealth(below[k], self.of(f"Gaussian, σ_ε = {noise:g}"), f"bets on x, σ_ε = {noise:g}")
            _draw_wealth(below[2], self.of("three classes"), "bets on one of three labels")
        return figure

    def lead(self) -> str:
        return (
            "A gambler who knows y bets on x at odds that are fair without y, after Premkumar, Sec. 2, Fig. 5 and 6: "
            "the wealth grows as e^{n I}, and by less with scores that are not exact."
        )


def _draw_pairs(axes: Axes, pairs: Tensor, noise: float) -> None:
    law = _linear(noise)
    x, y = pairs.unbind(1)
    axes.scatter(y.numpy(), x.numpy(), s=3, color=COLLAPSED, lw=0, alpha=0.6, rasterized=True)
    at = np.linspace(-3.0, 3.0, 2) * math.sqrt(law.y.covariances[0].item())
    slope = law.conditional_mean(torch.ones(1, 1, dtype=torch.float64)).item()
    std = math.sqrt(law.conditional_covariance.item())
    axes.plot(at, slope * at, color=EXACT, lw=1.2, label="E[x|y]")
    axes.fill_between(at, slope * at - std, slope * at + std, color=EXACT, alpha=0.2, lw=0)
    axes.axhspan(-1.0, 1.0, color=NETWORK, alpha=0.12, lw=0, label="± sd of x")
    axes.set(title=f"σ_ε = {noise:g}: I = {law.mutual_information():.4f} nats", xlabel="y", ylabel="x")
    axes.legend(fontsize=7)


def _draw_wealth(axes: Axes, gamblers: list[Gambler], title: str) -> None:
    first = gamblers[0]
    n = np.arange(len(first.gains) + 1)
    spread = 2.0 * np.sqrt(n) * first.gains.std().item()
    axes.plot(n, n * first.limit, color=INK, lw=0.9, ls="--", label="n I")
    axes.fill_between(n, n * first.limit - spread, n * first.limit + spread, color=MUTED, alpha=0.2, lw=0)
    for gambler, colour in zip(gamblers, (EXACT, "#2f855a", NETWORK, COLLAPSED), strict=False):
        wealth = np.concatenate([[0.0], gambler.gains.cumsum(0).numpy()])
        axes.plot(n, wealth, color=colour, lw=1.2, label=gambler.name)
    axes.set(title=title, xlabel="rounds", ylabel="ln wealth")
    axes.legend(fontsize=7)


def _linear(noise: float) -> JointGaussian:
    return JointGaussian(1.0, 1.0, noise)


def three_classes() -> Labelled:
    """Three Gaussians of the line with the probabilities 0.2, 0.5 and 0.3: I = 0.879519 nats, H(Y) = 1.029653."""
    return Labelled([Gaussian([mean], 0.49) for mean in (-2.0, 0.0, 3.0)], [0.2, 0.5, 0.3])


THREE_CLASSES = 0.879519  # nats, by quadrature


def die_game(rounds: int, seed: int) -> list[Gambler]:
    """Bets on a fair die's number when a channel tells it wrongly with the probability ERROR, evenly."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(rounds, generator=generator, device="cpu") < ERROR
    information = math.log(6.0) + (1.0 - ERROR) * math.log(1.0 - ERROR) + ERROR * math.log(ERROR / 5.0)
    out = []
    for name, doubt in (("Kelly", ERROR), ("all but certain", 0.01), ("doubtful", 0.5)):
        right, other = math.log(6.0 * (1.0 - doubt)), math.log(6.0 * doubt / 5.0)
        out.append(Gambler("die", name, information, torch.where(wrong, other, right)))
    return out


def gaussian_game(noise: float, rounds: int, seed: int) -> tuple[list[Gambler], Tensor]:
    """Bets of a density on x when y is seen, at the odds 1/p(x): exact, and with the noise taken for half and twice."""
    law = _linear(noise)
    x, y = law.sample(rounds, seed)
    out = []
    for name, taken in (("Kelly, p(x|y)", noise), ("noise taken for half", 0.5 * noise), ("for twice", 2.0 * noise)):
        believed = _linear(taken)
        std = math.sqrt(believed.conditional_covariance.item())
        z = (x - believed.conditional_mean(y))[:, 0] / std
        gains = 0.5 * x[:, 0].square() - 0.5 * z.square() - math.log(std)
        out.append(Gambler(f"Gaussian, σ_ε = {noise:g}", name, law.mutual_information(), gains.float()))
    return out, torch.cat([x, y], dim=1)


def label_game(profile: BetsProfile, seed: int) -> list[Gambler]:
    """Bets on the label when x is seen: Bayes, exact scores, a network's scores, and the network's taken too far."""
    law = three_classes()
    x, y = law.sample(profile.rounds, seed)
    densities = torch.stack([each.log_prob(x, 0.0, PROCESS) for each in law.laws], dim=1)
    train_x, train_y = law.sample(profile.points, seed + 1)
    options = {"process": PROCESS, "steps": profile.steps, "width": profile.width, "depth": 2, "seed": seed}
    model = fit_scores(train_x, train_y, batch_size=256, **options)  # type: ignore[arg-type]
    assert isinstance(model, ConditionalModel)
    evidence = {"Bayes": densities}
    for name, scores in (("exact scores", law), ("network's scores", model)):
        found = pointwise_mutual_information(
            *(scores, None, x),
            process=PROCESS,
            evaluations=profile.pairs,
            candidates=torch.arange(3),
            weights=law.weights,
            seed=seed,
        )
        evidence[name] = found.values
    evidence[f"network's, evidence × {BOLD:g}"] = BOLD * evidence["network's scores"]
    out = []
    for name, values in evidence.items():
        log_posterior = (law.weights.log() + values).log_softmax(1)
        gains = (log_posterior - law.weights.log()).gather(1, y[:, None])[:, 0]
        out.append(Gambler("three classes", name, THREE_CLASSES, gains.float()))
    return out


def kelly_bets(profile: BetsProfile, *, seed: int = 0) -> KellyBets:
    """Every game."""
    gamblers, pairs = die_game(profile.rounds, seed), []
    for noise in NOISES:
        found, drawn = gaussian_game(noise, profile.rounds, seed)
        gamblers += found
        pairs.append(drawn[:400])
    return KellyBets(profile, (*gamblers, *label_game(profile, seed)), torch.stack(pairs).float())


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> KellyBets:
    if profile == "shipped":
        return shipped("bets", KellyBets)
    return kelly_bets(PROFILES[profile], seed=seed)


EXPERIMENT = Experiment(
    name="kelly-bets",
    help="a gambler's wealth by exact laws, exact scores and a network: Premkumar, Sec. 2, Fig. 5, 6",
    profiles={
        "shipped": "the result of the full profile that comes with the package",
        "quick": "400 rounds and a network of 200 training steps, within a minute",
        "full": "2,000 rounds and a network of 2,000 steps, some minutes",
    },
    run=_run,
    saved=True,
)
