"""What ``--out DIR`` holds: a figure, ``result.json`` and ``report.html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from thermokern.experiments import ModeCollapse
from thermokern.quantities import TAEP
from thermokern.report import html
from thermokern.report.figures import mode_collapse_figure, taep_figure


def write_mode_collapse(result: ModeCollapse, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page of the mode-collapse experiment; the files written."""
    picture = mode_collapse_figure(result)
    rows = []
    for collapse, evaluation in result.evaluations.items():
        for name, run in (("exact field", evaluation.exact), ("network", evaluation.network)):
            average = run.fluctuation_theorem
            rows.append(
                (
                    f"m = {collapse.m}, ε = {collapse.epsilon:g}",
                    name,
                    run.mean,
                    f"{collapse.kl:.4f}",
                    run.variance,
                    f"{collapse.variance:.4f}",
                    average,
                    f"{average.z(1.0):+.1f}",
                    f"{average.effective_sample_size / average.n:.0%}",
                    evaluation.theorem.slope if name == "network" else "",
                    evaluation.theorem.intercept if name == "network" else "",
                )
            )
    head = (
        "model",
        "score",
        "mean Δs",
        "KL",
        "Var Δs",
        "Eq. 55",
        "⟨exp(−Δs)⟩",
        "z",
        "effective paths",
        "slope",
        "intercept",
    )
    first = next(iter(result.evaluations.values()))
    training = first.record
    page = html.page(
        "Mode collapse seen by time-asymmetry entropy production",
        "Models of eight Gaussians with controlled mode collapse, each as an exact score field and as a trained "
        "network, against theory.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Generated points, densities of the TAEP, its variance and the fluctuation theorem",
                    "After Ding, Quan and Tu, Fig. 2. Left: the target and what each trained network generates, "
                    "collapsed modes in red. Middle: density of Δs over forward paths from the target. Right: "
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
                    "where the collapse is mild. With 1,000 steps the exact fields' variance carries a bias of the "
                    "step of up to 0.4 %, which halves with the step."
                ),
                html.table(head, rows),
            ),
            html.section(
                "How it was computed",
                html.table(
                    ("", "paths", "steps", "scheme", "backend"),
                    [
                        (name, f"{len(run.values):,}", run.settings["n_steps"], run.settings["scheme"], run.backend)
                        for name, run in (("exact field", first.exact), ("network", first.network))
                    ],
                ),
                html.paragraph(
                    f"Process {first.exact.settings['process']}, t from {first.exact.settings['t_eps']:g}. Networks: "
                    f"{training['n_steps']:,} steps of {training['optimiser']}, batch {training['batch_size']}, "
                    f"learning rate {training['learning_rate']:g}, gradient norm clipped at "
                    f"{training['gradient_clip']:g}, moving average {training['ema_decay']:g}."
                ),
            ),
        ],
        footer,
    )
    return _write(out, "mode_collapse.png", picture, result.to_json(), page)


def write_taep(result: TAEP, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page of one TAEP; the files written."""
    picture = taep_figure(result)
    page = html.page(
        "Time-asymmetry entropy production",
        f"{len(result.values):,} forward paths, {result.settings['n_steps']} steps, {result.settings['process']}.",
        [
            html.section("Estimates", html.preformatted(result.summary())),
            html.section(
                "Distribution",
                html.figure(
                    picture,
                    "Density of the TAEP and how paths carry its exponential average",
                    "Left: density of Δs, its mean marked. Right: how the paths, and how their weights exp(−Δs), are "
                    "spread; an average carried by few paths rises in a few high steps at the left end.",
                ),
            ),
            html.section("Settings", html.preformatted(json.dumps(result.settings, indent=2))),
        ],
        footer,
    )
    return _write(out, "taep.png", picture, result.to_json(), page)


def _write(out: Path, name: str, picture: Figure, numbers: dict[str, Any], page: str) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name, out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(numbers, indent=2, allow_nan=True) + "\n")
    paths[2].write_text(page)
    return paths
