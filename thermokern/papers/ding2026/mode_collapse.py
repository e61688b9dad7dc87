"""Controlled mode collapse on eight Gaussians: Ding, Quan and Tu, Fig. 2 (a), (b), (c).

Models are score fields of a ring of K modes of which m have the weight ε and the rest share what is left; the target
has equal weights. Each is evaluated twice, as the exact score field and as a network trained on it, beside the theory.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import load_checkpoint, read_record
from thermokern.papers.ding2026.collapses import (
    COLLAPSES,
    N_MODES,
    PANELS,
    PROCESS,
    RADIUS,
    STD,
    Collapse,
    Evaluation,
    shipped_checkpoints,
    train,
)
from thermokern.papers.ding2026.mode_collapse_figure import mode_collapse_figure, theorems_figure
from thermokern.papers.ding2026.training import TrainingRecipe
from thermokern.papers.experiment import Experiment, ExperimentResult, Option
from thermokern.quantities import detailed_fluctuation_theorem, taep
from thermokern.quantities.results.storage import stored
from thermokern.report import html
from thermokern.targets import GaussianMixture


@stored("mode-collapse")
@dataclass(frozen=True, eq=False)
class ModeCollapse(ExperimentResult):
    """All models of the figure, and points of the target."""

    title = "Mode collapse seen by time-asymmetry entropy production"
    picture = "mode_collapse.png"

    models: tuple[Evaluation, ...]
    target: Tensor  # (n, 2)

    @cached_property
    def evaluations(self) -> dict[Collapse, Evaluation]:
        """The models by their collapse."""
        return {model.collapse: model for model in self.models}

    def tables(self) -> str:
        """Theory, exact score field and network side by side, for people."""
        head = (
            f"{'model':<16}{'':<9}{'mean TAEP':>18}{'KL':>9}{'variance':>22}{'Eq. 55':>9}{'to t=1':>9}{'z':>6}"
            f"{'<exp(-TAEP)>':>20}{'z':>7}"
        )
        lines = [head, "-" * len(head)]
        for model in self.models:
            collapse = model.collapse
            label = f"m={collapse.m} ε={collapse.epsilon:g}"
            finite = f"{collapse.moments(PROCESS.t_end)[1]:>9.4f}{model.variance_z():>6.1f}"
            for first, name, result in ((label, "exact", model.exact), ("", "network", model.network)):
                average = result.fluctuation_theorem
                lines.append(
                    f"{first:<16}{name:<9}{result.mean!s:>18}{collapse.kl:>9.4f}{result.variance!s:>22}"
                    f"{collapse.variance:>9.4f}{finite if first else '':>15}{average!s:>20}{average.z(1.0):>7.1f}"
                )
        return "\n".join(lines)

    def law(self) -> str:
        return (
            f"the target's law at t = {self.models[0].exact.settings['t_eps']:.3g}, against what each model's reverse "
            "process makes of that law at t = 1"
        )

    def conclusion(self) -> list[str]:
        """Whether the identity and the theory hold, and how far the networks are from the fields they learned."""
        fine = {name: 0 for name, _ in self.models[0].fields}
        for model in self.models:
            for name, result in model.fields:
                fine[name] += abs(result.fluctuation_theorem.z(1.0)) < 3.0
        total, means = len(self.models), sum(abs(m.exact.mean.z(m.collapse.kl)) < 3.0 for m in self.models)
        extra = statistics.median(model.network.mean.value - model.exact.mean.value for model in self.models)
        return [
            f"⟨exp(−Δs)⟩ is 1 within three standard errors in {fine['exact field']} of {total} exact fields and in "
            f"{fine['network']} of {total} networks.",
            f"The mean of the exact field is KL(target ‖ model) within three standard errors in {means} of {total}; a "
            f"network's mean differs from its field's by {extra:+.2g} nats in the median.",
        ]

    def numbers(self) -> dict[str, object]:
        return {"experiment": "mode-collapse", "models": [model.numbers() for model in self.models]}

    def figure(self) -> Figure:
        """The three panels of Fig. 2."""
        return mode_collapse_figure(self.evaluations, self.target)

    def lead(self) -> str:
        return (
            "Models of eight Gaussians with controlled mode collapse, each as an exact score field and as a trained "
            "network, against theory."
        )

    def sections(self, picture: Figure) -> list[str]:
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Generated points, densities of the TAEP, its variance and the fluctuation theorem",
                    "After Ding, Quan and Tu, Fig. 2. Pictures: the target and what each trained network generates, "
                    "collapsed modes in red. Then: density of Δs over forward paths from the target. Last: "
                    "variance against Eq. 55 and the integral fluctuation theorem, Eq. 30; error bars are two "
                    "standard errors. (c): two models with the same KL divergence that differ in how unevenly they "
                    "cover the target.",
                ),
            ),
            html.section(
                "Numbers",
                html.paragraph(
                    "Nats, ± one standard error. Mean against KL(target ‖ model) of the mode weights, variance against "
                    "Eq. 55, both for well-separated modes and long times; z is the distance of ⟨exp(−Δs)⟩ from 1 in "
                    "standard errors; slope and intercept are those of log p_F/p_R against Δs over forward and reverse "
                    "paths, 1 and 0 by the detailed fluctuation theorem, Eq. 31. A network has errors of its own "
                    "beside the collapse that it was trained to have: they add to mean and variance and show most "
                    "where the collapse is mild. Eq. 55 is for paths that end where target and model are alike; 'to "
                    "t = 1' is the same for paths that end there, by quadrature, and z beside it is the distance of "
                    "the exact field's variance from it, in units of its sampling and time-step errors together."
                ),
                _numbers(self.models),
            ),
            html.section(
                "The detailed fluctuation theorem",
                html.figure(
                    theorems_figure(self.models),
                    "Log ratio of the densities of the TAEP over forward and reverse paths, for each trained network",
                    "Forward paths from the target against paths that each network drives back from the target's law "
                    "at the last time: log p_F/p_R of the TAEP, which is the TAEP itself by Eq. 31, bin by bin, with "
                    "the line that logistic regression finds without bins.",
                ),
            ),
            html.section(
                "Mode by mode",
                html.paragraph(
                    "Paths by the mode of the target that they start from, for one model of each panel. Mean Δs in a "
                    "mode (nats, ± one standard error) against the log of its weight in the target over that in the "
                    "model; a mode's share of the variance, Σ (Δs − mean)² over its paths divided by the same sum over "
                    "all, against theory for modes far apart. A rare mode is lifted far above the mean; all m of them "
                    "carry the share 1 − m/8 of the variance."
                ),
                *(part for panel in PANELS for part in _panel_modes(self, panel)),
            ),
            _computation(self.models[0]),
        ]


def _numbers(models: tuple[Evaluation, ...]) -> str:
    head = (
        "model",
        "score",
        "mean Δs",
        "KL",
        "Var Δs",
        "Eq. 55",
        "to t = 1",
        "z",
        "⟨exp(−Δs)⟩",
        "z",
        "effective paths",
        "slope",
        "intercept",
    )
    rows = []
    for model in models:
        theorem = model.theorem
        for (name, run), fit in zip(model.fields, (("", ""), (theorem.slope, theorem.intercept)), strict=True):
            average = run.fluctuation_theorem
            rows.append(
                (
                    model.collapse,
                    name,
                    run.mean,
                    f"{model.collapse.kl:.4f}",
                    run.variance,
                    f"{model.collapse.variance:.4f}",
                    *(
                        (f"{model.collapse.moments(PROCESS.t_end)[1]:.4f}", f"{model.variance_z():+.1f}")
                        if run is model.exact
                        else ("", "")
                    ),
                    average,
                    f"{average.z(1.0):+.1f}",
                    f"{average.effective_sample_size / average.n:.0%}",
                    *fit,
                )
            )
    return html.table(head, rows)


def _panel_modes(result: ModeCollapse, panel: str) -> list[str]:
    """The most severe model of a panel, mode by mode: its name and a table."""
    collapse = PANELS[panel][-1]
    evaluation = result.evaluations[collapse]
    head = (
        "mode",
        "model weight",
        "log ratio",
        "mean: exact field",
        "mean: network",
        "share: theory",
        "share: exact field",
        "share: network",
    )
    rows = []
    pairs = zip(evaluation.exact.modes, evaluation.network.modes, collapse.weights, strict=True)
    for exact, network, model_weight in pairs:
        theory = math.log(exact.weight / model_weight)
        share = exact.weight * (theory - collapse.kl) ** 2 / collapse.variance
        rows.append(
            (
                exact.index,
                f"{model_weight:.4g}",
                f"{theory:+.4f}",
                exact.mean,
                network.mean,
                f"{100.0 * share:.2f} %",
                html.percent(exact.share_of_variance),
                html.percent(network.share_of_variance),
            )
        )
    return [html.paragraph(f"({panel}) {collapse}"), html.table(head, rows)]


def _computation(model: Evaluation) -> str:
    settings, training = model.exact.settings, model.record
    return html.section(
        "How it was computed",
        html.table(
            ("", "paths", "steps", "scheme", "backend"),
            [
                (name, f"{len(run.values):,}", run.settings["n_steps"], run.settings["scheme"], run.backend)
                for name, run in model.fields
            ],
        ),
        html.paragraph(
            f"Process {settings['process']}, t from {settings['t_eps']:g}. Networks: "
            f"{training['n_steps']:,} steps of {training['optimiser']}, batch {training['batch_size']}, "
            f"learning rate {training['learning_rate']:g}, gradient norm clipped at "
            f"{training['gradient_clip']:g}, moving average {training['ema_decay']:g}."
        ),
    )


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
    models = []
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
            models.append(Evaluation(collapse, exact, network, reverse, theorem, read_record(path)))
    return ModeCollapse(tuple(models), target.sample(1000, seed))


def _run(profile: str, out: Path, *, seed: int, progress: bool, steps: int | None) -> ModeCollapse:
    if profile == "shipped":
        return mode_collapse(seed=seed, progress=progress)
    recipe = TrainingRecipe(seed=seed)
    if steps is not None:
        if steps < 1:
            raise ValueError(f"--steps: expected at least 1, got {steps}")
        recipe = TrainingRecipe(seed=seed, n_steps=steps)
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for collapse in COLLAPSES:
        train(collapse, folder / f"{collapse.name}.safetensors", recipe, progress=progress)
    return mode_collapse(checkpoints=folder, seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="mode-collapse",
    help="eight Gaussians: Ding, Quan and Tu, Fig. 2",
    profiles={
        "shipped": "the networks that come with the package are evaluated, in three minutes of one core",
        "full": "every network is trained first, with the paper's settings",
    },
    default="shipped",
    options=(Option("--steps", "with --profile full: training steps in place of the paper's 50000", int),),
    run=_run,
)
