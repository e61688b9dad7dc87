"""Pages of the likelihood sweeps: figure, ``result.json`` and ``report.html``."""

from __future__ import annotations

from pathlib import Path

from thermokern.papers.kodama2025 import CapacitySweep, LimitsSweep, PenaltySweep
from thermokern.report import html
from thermokern.report.sweep_figures import capacity_figure, limits_sweep_figure, penalty_figure


def write_limits_sweep(result: LimitsSweep, out: Path, footer: str) -> list[Path]:
    """The experiment of Kodama and Hinczewski, Fig. 1; the files written."""
    picture, ratio = limits_sweep_figure(result), result.rates["ratio"]
    page = html.page(
        "Likelihood and its thermodynamic lower bound",
        "Networks on Gaussian data, uniform pixels and the Swiss roll under VE and VP noise, after Kodama and "
        "Hinczewski, Fig. 1.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "NLL against the bound, the gap against the KL divergence, entropy rates",
                    "Left: NLL of the probability-flow equation against Eq. 6. Middle: their difference against KL. "
                    "Right: entropy rates of the controlled-forward process for the best uniform network under VE.",
                ),
            ),
            html.section(
                "Numbers",
                html.paragraph(
                    "Means over noise parameters and runs, bits per dimension. The bound of Eq. 6 is promised for the "
                    "plug-in NLL, which puts averages over the data's marginals in the place of averages along the "
                    "model's own flow, and not for the NLL of the probability flow that it is plotted against; the "
                    "last column counts networks that lie below it by three standard errors."
                ),
                html.preformatted(result.table()),
                html.paragraph(
                    f"∫ exchange / ∫ intrinsic with the exchange rate E[∇·b]: {ratio[0]:.4f} ± {ratio[1]:.4f}; −2 for "
                    "the true score without drift, and −2 E[s_θ·s]/E|s_θ|² for a network's."
                ),
            ),
        ],
        footer,
    )
    return html.write_files(out, "limits.png", picture, result.to_json(), page)


def write_capacity(result: CapacitySweep, out: Path, footer: str) -> list[Path]:
    """The experiment of Kodama and Hinczewski, Fig. 2 and 3; the files written."""
    picture = capacity_figure(result)
    page = html.page(
        "Model size, entropy bound and dissipation",
        "Perceptrons of 4 to 256 units a layer on the noisy Swiss roll, after Kodama and Hinczewski, Fig. 2 and 3.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Bound on the data's entropy by network; KL against dissipation with both bounds",
                    "Left: 2 NLL + ∫Ṡ_θ − S_noise of every network, with the NLL of the probability flow and with the "
                    "plug-in one, against the entropy itself. Right: KL(data ‖ probability flow) between the lower "
                    "bound of Eq. 6 and the upper bound on the SDE sampler's KL.",
                ),
            ),
            html.section(
                "Numbers",
                html.paragraph(
                    "Medians over seeds, bits per dimension. The upper bound is one on the reverse SDE's KL and not on "
                    "the probability flow's, the lower one on the plug-in value: the last columns count networks "
                    "outside by three standard errors."
                ),
                html.preformatted(result.table()),
            ),
        ],
        footer,
    )
    return html.write_files(out, "capacity.png", picture, result.to_json(), page)


def write_penalty(result: PenaltySweep, out: Path, footer: str) -> list[Path]:
    """The comparison of penalised and plain training; the files written."""
    picture = penalty_figure(result)
    page = html.page(
        "Training with the entropy-rate integral as a penalty",
        "Networks on the noisy Swiss roll, each with a twin that shares its first weights and its batches.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Four measures against the number of training steps, by penalty",
                    "Medians over seeds; the shade spans them all.",
                ),
            ),
            html.section("Numbers", html.preformatted(result.table())),
        ],
        footer,
    )
    return html.write_files(out, "entropy_penalty.png", picture, result.to_json(), page)
