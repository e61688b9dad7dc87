"""What ``--out DIR`` holds: a figure, ``result.json`` and ``report.html``."""

from __future__ import annotations

import math
from pathlib import Path

from thermokern.papers.ding2026 import PANELS, ModeCollapse
from thermokern.report import html
from thermokern.report.figures import mode_collapse_figure, theorems_figure


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
                "The detailed fluctuation theorem",
                html.figure(
                    theorems_figure(result),
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
                *(part for panel in PANELS for part in _panel_modes(result, panel)),
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
    return html.write_files(out, "mode_collapse.png", picture, result.to_json(), page)


def _panel_modes(result: ModeCollapse, panel: str) -> list[str]:
    """The most severe model of a panel, mode by mode: its name and a table."""
    collapse = PANELS[panel][-1]
    evaluation = result.evaluations[collapse]
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
    name = f"({panel}) m = {collapse.m}, ε = {collapse.epsilon:g}"
    return [html.paragraph(name), html.table(head, rows)]
