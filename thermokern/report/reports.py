"""What ``--out DIR`` holds: a figure, ``result.json`` and ``report.html``."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from thermokern.quantities import TAEP, Mode
from thermokern.quantities.taep.figures import taep_figure
from thermokern.quantities.taep.modes import collapsed_modes
from thermokern.report import html

# Rows of a table of modes; those of highest mean are kept.
MODES_SHOWN = 40


def write_taep(result: TAEP, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page of one TAEP; the files written."""
    picture, settings = taep_figure(result), result.settings
    page = html.page(
        "Time-asymmetry entropy production",
        f"{len(result.values):,} {settings['direction']} paths, {settings['n_steps']} steps, {settings['process']}.",
        [
            html.section("Estimates", html.preformatted(result.summary())),
            html.section(
                "Distribution",
                html.figure(
                    picture,
                    "Density of the TAEP, how paths carry its exponential average, and the modes where they are known",
                    f"Density of Δs, its mean marked. How the paths, and how their weights {result.weight_name}, are "
                    "spread below Δs; an average carried by few paths rises in a few high steps at the left end."
                    + (" The mean of each mode, the overall mean dashed." if result.modes else ""),
                ),
            ),
            *_modes(result),
            html.section("Settings", html.preformatted(_readable(result.settings))),
        ],
        footer,
    )
    return write_files(out, "taep.png", picture, result.to_json(), page)


def _modes(result: TAEP) -> list[str]:
    """The section of modes, where they are known."""
    if not result.modes:
        return []
    collapsed = {mode.index for mode in collapsed_modes(result.modes, result.mean)}
    shown = sorted(sorted(result.modes, key=_collapse_order)[:MODES_SHOWN], key=lambda mode: mode.index)
    rows = [
        (
            mode.index,
            f"{mode.weight:.4g}",
            f"{mode.n_paths:,}",
            mode.mean,
            html.percent(mode.share_of_variance),
            mode.fluctuation_theorem,
            "collapsed" if mode.index in collapsed else "",
        )
        for mode in shown
    ]
    left_out = len(result.modes) - len(shown)
    return [
        html.section(
            "Mode by mode",
            html.paragraph(
                "Paths by the component of the reference that they start from. Mean Δs in nats, ± one standard error; "
                "share of the variance: Σ (Δs − mean)² over the mode's paths divided by the same sum over all. "
                f"⟨{result.weight_name}⟩ within a mode is, for modes far apart and forward paths, how many times its "
                "due weight the model gives it. Collapsed: over three standard errors above the overall mean."
            ),
            html.table(
                ("mode", "weight", "paths", "mean Δs", "share of variance", f"⟨{result.weight_name}⟩", ""), rows
            ),
            *([html.paragraph(f"{left_out} modes of lower mean are left out; result.json has them.")] * bool(left_out)),
        )
    ]


def _collapse_order(mode: Mode) -> float:
    return -mode.mean.value if math.isfinite(mode.mean.value) else math.inf


def _readable(settings: dict[str, Any]) -> str:
    """JSON with each list of numbers on a line of its own."""
    text = json.dumps(settings, indent=2)
    return re.sub(r"\[\n([^\[\]{}]*)\n\s*\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)


def write_files(out: Path, name: str, picture: Figure, numbers: dict[str, Any], page: str) -> list[Path]:
    """A figure under its name, result.json and report.html in the folder `out`, which is made; the files written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name, out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(numbers, indent=2, allow_nan=True) + "\n")
    paths[2].write_text(page)
    return paths
