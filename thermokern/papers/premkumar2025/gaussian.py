"""Flattening and determinism of joint Gaussians: Premkumar, Fig. 1, 3, 9, 10 and 11."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import ConditionalModel, fit_scores
from thermokern.papers.experiment import Experiment
from thermokern.papers.premkumar2025.laws import PROCESS, entropy_left, flattened, full_rank
from thermokern.papers.premkumar2025.shipped import GamblerResult, shipped
from thermokern.quantities import Estimate, FewPathsWarning, mutual_information, neural_entropy
from thermokern.quantities.information.estimates import total
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, NETWORK, severities, style
from thermokern.targets import JointGaussian

LAWS: dict[str, Callable[[float], JointGaussian]] = {
    "flattening": flattened,
    "determinism": full_rank,
    "sweep": lambda flat: flattened(flat, 50, 10, 8),
}
SYMBOLS = {"flattening": "λ_δ", "determinism": "σ_ε", "sweep": "λ_δ, D = 50"}


@stored("kelly-gaussian-profile")
@dataclass(frozen=True)
class GaussianProfile:
    """How much is done.

    Attributes
    ----------
    evaluations : int
        Of scores, for each estimate.
    networks : tuple of str
        ``family parameter`` of the laws that networks are trained on.
    pairs, steps, width : int
        Of their training.
    """

    name: str
    evaluations: int
    networks: tuple[str, ...]
    pairs: int
    steps: int
    width: int


PROFILES = {
    "quick": GaussianProfile("quick", 2048, ("flattening 0.1", "flattening 0.001"), 5000, 150, 64),
    "reduced": GaussianProfile(
        *("reduced", 8192),
        ("flattening 0.1", "flattening 0.001", "determinism 1", "determinism 0.25"),
        *(20_000, 600, 128),
    ),
    "full": GaussianProfile(
        *("full", 65_536),
        (
            *("flattening 0.1", "flattening 0.01", "flattening 0.001"),
            *("determinism 1", "determinism 0.6", "determinism 0.25"),
            *("sweep 0.1", "sweep 0.01", "sweep 0.001", "sweep 0.0001"),
        ),
        *(100_000, 20_000, 512),
    ),
}
PARAMETERS = {
    "flattening": (1e-1, 1e-2, 1e-3),
    "determinism": (1.0, 0.6, 0.25),
    "sweep": (0.5, 1e-1, 1e-2, 1e-3, 1e-4),
}


@stored("kelly-gaussian-network")
@dataclass(frozen=True, eq=False)
class TrainedScores:
    """What a network trained on pairs says, on fresh pairs of the law, and how far its scores are off.

    Attributes
    ----------
    loss, gap, orthogonality : Estimate
        See :class:`thermokern.MutualInformation`.
    entropy, entropy_given : Estimate
        S_NN of the unconditional score and of the conditional one.
    error, error_given : Estimate
        ``∫ D E|s_θ − s|² dt`` of either: loss = I + error − error_given.
    log_snr, rate, entropy_rate : Tensor
        Bins of λ, and the gap's and the unconditional entropy's rates in them.
    """

    loss: Estimate
    gap: Estimate
    orthogonality: Estimate
    entropy: Estimate
    entropy_given: Estimate
    error: Estimate
    error_given: Estimate
    log_snr: Tensor
    rate: Tensor
    entropy_log_snr: Tensor
    entropy_rate: Tensor

    @property
    def apart(self) -> Estimate:
        """``L_u − L_c``, with the errors of either as if they were independent."""
        return total(self.error, Estimate(-self.error_given.value, self.error_given.stderr))


@stored("kelly-gaussian-row")
@dataclass(frozen=True, eq=False)
class GaussianRow:
    """One law: closed forms, estimates from its exact scores, and those of a network where one was trained."""

    family: str
    parameter: float
    information: float
    seen: float  # of it, from t_eps to t_end
    entropy: float
    total_correlation: float
    sampled: Estimate
    sampled_entropy: Estimate
    network: TrainedScores | None

    @property
    def law(self) -> JointGaussian:
        return LAWS[self.family](self.parameter)


@stored("kelly-gaussian")
@dataclass(frozen=True, eq=False)
class KellyGaussian(GamblerResult):
    """All laws of the figures."""

    title = "Two ways to need much information: flattening and determinism"
    picture = "kelly_gaussian.png"
    alt = "Rates of entropy and information over noise levels, their totals by flatness, networks' errors"
    caption = (
        "Flattening and determinism: rates over λ = ln(m²/v), closed forms as lines and trained networks as steps; S "
        "dotted or thin, I solid. Flattening moves S to ever less noise and leaves I where it was; determinism moves "
        "I. 50 dimensions: S_tot and I by the variance of 40 of them (Fig. 11), points from exact scores. Networks: "
        "how far a network's estimates lie from I, against L_u − L_c, the difference of its scores' errors, which the "
        "loss follows within its own error and that of L_u − L_c."
    )

    profile: GaussianProfile
    rows: tuple[GaussianRow, ...]

    def tables(self) -> str:
        """Closed forms, estimates from exact scores, and networks, for people."""
        head = f"{'law':<22}{'I':>9}{'exact scores':>18}{'S_tot':>10}{'exact scores':>18}{'TC':>9}{'I / S(X|Y)':>12}"
        lines = [head, "-" * len(head)]
        for row in self.rows:
            lines.append(
                f"{_name(row):<22}{row.information:>9.4f}{row.sampled!s:>18}{row.entropy:>10.4f}"
                f"{row.sampled_entropy!s:>18}{row.total_correlation:>9.4f}"
                f"{row.information / (row.information + row.entropy):>12.3f}"
            )
        trained = [(row, row.network) for row in self.rows if row.network is not None]
        head = (
            f"{'network on':<22}{'I seen':>9}{'loss':>18}{'gap':>18}{'loss − I':>10}{'L_u − L_c':>18}{'S_NN':>17}"
            f"{'∫D E|e_u|²':>18}"
        )
        lines += ["", head, "-" * len(head)]
        for row, net in trained:
            lines.append(
                f"{_name(row):<22}{row.seen:>9.4f}{net.loss!s:>18}{net.gap!s:>18}{net.loss.value - row.seen:>10.3f}"
                f"{net.apart!s:>18}{net.entropy!s:>17}{net.error!s:>18}"
            )
        p = self.profile
        lines += [
            "",
            f"profile {p.name}: {p.evaluations:,} evaluations; networks of width {p.width}, {p.steps:,} steps",
        ]
        return "\n".join(lines)

    def law(self) -> str:
        return "joint Gaussians, whose information and entropy are known in closed form"

    def conclusion(self) -> list[str]:
        """Whether exact scores give the closed form, and how far networks are off."""
        fine = sum(abs(row.sampled.z(row.information)) < 3.0 for row in self.rows)
        parts = [
            f"From exact scores the information is the closed form's within three standard errors in {fine} of "
            f"{len(self.rows)} laws."
        ]
        trained = {row: row.network for row in self.rows if row.network is not None}
        if trained:
            worst = max(trained, key=lambda row: abs(trained[row].loss.value - row.seen))
            parts.append(
                f"A trained network is off by up to {abs(trained[worst].loss.value - worst.seen):.2g} nats of "
                f"{worst.seen:.3g} ({_name(worst)}), by the difference of the errors of its two scores."
            )
        return parts

    def numbers(self) -> dict[str, object]:
        return {"experiment": "kelly-gaussian", "profile": self.profile, "rows": self.rows}

    def columns(self) -> dict[str, list[object]]:
        """A row for each law."""
        names = ("family", "parameter", "information", "entropy", "total_correlation", "sampled", "sampled_entropy")
        return {name: [getattr(row, name) for row in self.rows] for name in names}

    def figure(self) -> Figure:
        """Rates over noise levels by flattening and by determinism, Fig. 11, and networks' errors."""
        with style():
            figure = Figure(figsize=(11.0, 7.2), layout="constrained")
            (one, two), (three, four) = figure.subplots(2, 2)
            _rates(one, self, "flattening")
            _rates(two, self, "determinism")
            _sweep(three, self)
            _errors(four, self)
        return figure

    def lead(self) -> str:
        return (
            "Joint Gaussians whose data are made flat, or whose observation is made precise: entropy, information and "
            "what networks find of them, after Premkumar, Fig. 1, 3, 9, 10 and 11."
        )


def _name(row: GaussianRow) -> str:
    return f"{row.family} {row.parameter:g}"


def _rates(axes: Axes, result: KellyGaussian, family: str) -> None:
    rows = [row for row in result.rows if row.family == family]
    levels = np.linspace(-8.0, 12.0, 401)
    for row, colour in zip(rows, severities(len(rows)), strict=True):
        law = row.law
        information = np.gradient([law.mutual_information(level) for level in levels], levels)
        entropy = np.gradient([entropy_left(law, level) for level in levels], levels)
        axes.plot(levels, information, color=colour, lw=1.6, label=f"I, {SYMBOLS[family]} = {row.parameter:g}")
        axes.plot(levels, entropy, color=colour, lw=1.0, ls=":")
        if row.network is not None:
            net = row.network
            axes.stairs(net.rate.numpy(), net.log_snr.numpy(), color=colour, lw=0.8, alpha=0.7)
            axes.stairs(net.entropy_rate.numpy(), net.entropy_log_snr.numpy(), color=colour, lw=0.8, alpha=0.4)
    axes.plot([], [], color=INK, lw=1.0, ls=":", label="S of x")
    axes.plot([], [], color=INK, lw=0.8, label="networks (steps)")
    axes.set(title=family, xlabel="λ = ln(m²/v)", ylabel="nats per unit of λ", xlim=(-8.0, 12.0))
    axes.legend(fontsize=7)


def _sweep(axes: Axes, result: KellyGaussian) -> None:
    rows = [row for row in result.rows if row.family == "sweep"]
    flats = np.geomspace(rows[-1].parameter, rows[0].parameter, 25)
    laws = [LAWS["sweep"](flat) for flat in flats]
    other = axes.twinx()
    axes.plot(flats, [law.total_entropy() for law in laws], color=EXACT, lw=1.4, label="S_tot")
    other.plot(flats, [law.mutual_information() for law in laws], color=NETWORK, lw=1.4, label="I")
    for panel, name, colour in ((axes, "sampled_entropy", EXACT), (other, "sampled", NETWORK)):
        found: list[Estimate] = [getattr(row, name) for row in rows]
        panel.errorbar(
            *([row.parameter for row in rows], [each.value for each in found]),
            yerr=[2.0 * each.stderr for each in found],
            fmt="o",
            ms=3.5,
            color=colour,
            label="exact scores, ± 2 s.e.",
        )
    for row in rows:
        if row.network is not None:
            axes.plot(row.parameter, row.network.entropy.value, "s", color=EXACT, mfc="none")
            other.plot(row.parameter, row.network.loss.value, "s", color=NETWORK, mfc="none")
    axes.set(xscale="log", title="50 dimensions, 10 wide, 8 seen", xlabel="λ_δ", ylabel="S_tot, nats (blue)")
    other.set(ylabel="I, nats (orange)", ylim=(0.0, None))


def _errors(axes: Axes, result: KellyGaussian) -> None:
    found = [(row, row.network) for row in result.rows if row.network is not None]
    places = [net.apart.value for _, net in found]
    low, high = min([*places, 0.0]), max([*places, 0.0])
    axes.plot([low, high], [low, high], color=INK, lw=0.8, label="L_u − L_c")
    for name, colour, marker in (("loss", NETWORK, "o"), ("gap", COLLAPSED, "D")):
        estimates: list[Estimate] = [getattr(net, name) for _, net in found]
        axes.errorbar(
            *(places, [each.value - row.seen for each, (row, _) in zip(estimates, found, strict=True)]),
            xerr=[2.0 * net.apart.stderr for _, net in found],
            yerr=[2.0 * each.stderr for each in estimates],
            fmt=marker,
            ms=4,
            color=colour,
            label=f"{name} − I, ± 2 s.e.",
        )
    for place, (row, net) in zip(places, found, strict=True):
        axes.annotate(
            _name(row), (place, net.loss.value - row.seen), fontsize=6, xytext=(4, 3), textcoords="offset points"
        )
    axes.set(title="networks", xlabel="L_u − L_c, nats", ylabel="nats")
    axes.legend(fontsize=7)


def kelly_gaussian(profile: GaussianProfile, *, seed: int = 0, progress: bool = True) -> KellyGaussian:
    """Closed forms, estimates and networks of every law."""
    high, low = PROCESS.log_snr(1e-5), PROCESS.log_snr(1.0)
    cases = [(family, value) for family, values in PARAMETERS.items() for value in values]
    rows = []
    for family, value in tqdm(cases, disable=not progress, unit="law", desc="joint Gaussians"):
        law = LAWS[family](value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewPathsWarning)
            found = mutual_information(law, process=PROCESS, evaluations=profile.evaluations, seed=seed)
            stored_ = neural_entropy(law.x, law.x, PROCESS, evaluations=profile.evaluations, seed=seed)
            network = trained_scores(law, profile, seed) if f"{family} {value:g}" in profile.networks else None
        rows.append(
            GaussianRow(
                family=family,
                parameter=value,
                information=law.mutual_information(),
                seen=law.mutual_information(high) - law.mutual_information(low),
                entropy=law.total_entropy(),
                total_correlation=law.total_correlation(),
                sampled=found.value,
                sampled_entropy=stored_.value,
                network=network,
            )
        )
    return KellyGaussian(profile, tuple(rows))


def trained_scores(law: JointGaussian, profile: GaussianProfile, seed: int) -> TrainedScores:
    """A network trained on pairs of a law, and what it says of fresh pairs."""
    x, y = law.sample(profile.pairs, seed + 1)
    model = fit_scores(x, y, process=PROCESS, steps=profile.steps, width=profile.width, seed=seed)
    assert isinstance(model, ConditionalModel)
    n = profile.evaluations
    found = mutual_information(model, None, law, evaluations=n, seed=seed + 2)
    alone = neural_entropy(model.unconditional, law.x, evaluations=n, seed=seed + 2)
    given = neural_entropy(model, law, evaluations=n, seed=seed + 2)
    assert alone.mismatch is not None
    assert given.mismatch is not None
    gap = found.other_curve if found.estimator == "loss" else found.curve
    return TrainedScores(
        loss=found.loss,
        gap=found.gap,
        orthogonality=found.orthogonality,
        entropy=alone.integral,
        entropy_given=given.integral,
        error=alone.mismatch,
        error_given=given.mismatch,
        log_snr=gap.log_snr,
        rate=gap.rate,
        entropy_log_snr=alone.curve.log_snr,
        entropy_rate=alone.curve.rate,
    )


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> KellyGaussian:
    if profile == "shipped":
        return shipped("gaussian", KellyGaussian)
    return kelly_gaussian(PROFILES[profile], seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="kelly-gaussian",
    help="entropy and information of joint Gaussians, flattened or seen precisely: Premkumar, Fig. 1, 3, 9-11",
    profiles={
        "shipped": "the result that comes with the package",
        "quick": "closed forms, estimates with exact scores and two small networks, a minute",
        "reduced": "four networks of 600 training steps, a minute",
        "full": "ten networks of 20,000 steps and width 512",
    },
    run=_run,
    saved=True,
)
