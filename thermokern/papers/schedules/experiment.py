"""What the schedule of the best bound buys, and what it does not; where a network on digits is time-asymmetric."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from thermokern.papers.experiment import Experiment, ExperimentResult
from thermokern.papers.schedules.digits import FRECHET, KNN, UNCOVERED, digits_attribution, digits_model, digits_rows
from thermokern.papers.schedules.rows import BEST, HEAD, Row, table
from thermokern.papers.schedules.toy import KL, toy_rows
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, MUTED, NETWORK, severities, style
from thermokern.quantities.schedules import STANDARDS
from thermokern.quantities.schedules.result import FLOW
from thermokern.quantities.taep.attribution import Attribution
from thermokern.report import html

_MARKERS = dict(zip(STANDARDS, "svD^<>", strict=True))


@dataclass(frozen=True)
class Profile:
    """How much is done: samples of tables and of qualities, numbers of steps, training steps of the U-Net."""

    toy_table: int = 8000
    toy_samples: int = 10_000
    toy_steps: tuple[int, ...] = (5, 10, 20)
    training: int = 400
    digits_table: int = 128
    digits_times: int = 48
    digits_samples: int = 300
    digits_steps: int = 10
    paths: int = 60


QUICK = Profile()
FULL = replace(
    QUICK, toy_samples=50_000, training=1600, digits_table=256, digits_times=96, digits_samples=600, paths=96
)
PROFILES = {"quick": QUICK, "full": FULL}


@stored("schedule-experiment")
@dataclass(frozen=True, eq=False)
class ScheduleExperiment(ExperimentResult):
    """Bound and quality of every schedule, and the attribution of the U-Net."""

    title = "What a schedule of the best bound buys"
    picture = "schedules.png"

    rows: tuple[Row, ...]
    attribution: Attribution
    settings: dict[str, Any]

    def laws(self) -> list[tuple[str, list[Row], str]]:
        """Each law, its rows and the quality that the figure shows."""
        names = list(dict.fromkeys(row.law for row in self.rows))
        return [
            (name, [row for row in self.rows if row.law == name], FRECHET if name == "digits" else KL) for name in names
        ]

    def tables(self) -> str:
        """For each law a table: bound | quality, nats."""
        lines = []
        for name, rows, quality in self.laws():
            lines += [f"{name}: bound | {quality}", "  " + "; ".join(HEAD)]
            lines += ["  " + "; ".join(line) for line in table(rows, quality)]
        return "\n".join([*lines, "", *self.attribution.lines()])

    def law(self) -> str:
        return "each law of data, against that of samples of each sampler with a schedule"

    def conclusion(self) -> list[str]:
        """Where the schedule of the best bound also has the best samples."""
        parts = []
        for name, rows, quality in self.laws():
            groups: dict[tuple[str, int], list[Row]] = {}
            for row in rows:
                if row.bound is not None:
                    groups.setdefault((row.sampler, row.n_steps), []).append(row)
            wins = sum(
                min(group, key=lambda row: row.quality[quality].value).schedule.startswith(BEST)
                for group in groups.values()
            )
            parts.append(
                f"{name}: in {wins} of {len(groups)} cases (sampler, number of steps) the schedule of the smallest "
                f"bound also has the best samples ({quality})."
            )
        return parts

    def numbers(self) -> dict[str, object]:
        """Every row."""
        return {"rows": self.rows, "attribution": self.attribution, "settings": self.settings}

    def lead(self) -> str:
        return (
            "The bound on KL is made smallest every time. Samples get better where each step has its best variance and "
            "the model is good; on images the bound falls and the samples get worse."
        )

    def figure(self) -> Figure:
        """Bound against quality: a row for each law, a panel for each sampler, every schedule a point."""
        laws = self.laws()
        with style():
            columns = max(len({row.sampler for row in rows}) for _, rows, _ in laws)
            figure = Figure(figsize=(2.9 * columns, 2.7 * len(laws)), layout="constrained")
            grid = figure.subplots(len(laws), columns, squeeze=False)
            for line, (name, rows, quality) in zip(grid, laws, strict=True):
                samplers = list(dict.fromkeys(row.sampler for row in rows))
                for axes, sampler in zip(line, samplers, strict=False):
                    _draw(axes, [row for row in rows if row.sampler == sampler], quality)
                    axes.set(title=f"{name}\n{sampler}", ylabel=quality if sampler == samplers[0] else "")
                for axes in line[len(samplers) :]:
                    axes.set_axis_off()
            handles, labels = grid[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=8)
        return figure

    def sections(self, picture: Figure) -> list[str]:
        caption = (
            "Every point is a schedule: pale few steps, dark many; ringed red the best, orange those in common use. "
            "The probability flow has no bound: there the schedules stand side by side."
        )
        parts = [html.section("Bound and quality", html.figure(picture, self.title, caption))]
        for name, rows, quality in self.laws():
            note = html.paragraph(f"Bound | {quality}; rank correlation of both over all schedules of a line.")
            parts.append(html.section(name, note, html.table(HEAD, table(rows, quality))))
        where = html.figure(self.attribution.plot(), self.attribution.title, "U-Net against the images' own law.")
        parts.append(html.section("Where it arises", where, html.preformatted("\n".join(self.attribution.lines()))))
        return parts

    def write(self, out: Path, made: html.Made) -> list[Path]:
        """The page with its figures, and the attribution's as a file of its own."""
        written = super().write(out, made)
        self.attribution.plot().savefig(out / "attribution.png")
        return [*written, out / "attribution.png"]


def _draw(axes: Axes, rows: list[Row], quality: str) -> None:
    steps = sorted({row.n_steps for row in rows})
    shades = dict(zip(steps, severities(len(steps) + 1)[:-1], strict=True))
    flow = rows[0].sampler == FLOW
    names = list(dict.fromkeys(row.schedule for row in rows))
    for row in rows:
        best = row.schedule.startswith(BEST)
        x = names.index(row.schedule) if flow or row.bound is None else row.bound.value
        last = row.n_steps == steps[-1]
        axes.plot(
            *(x, row.quality[quality].value),
            marker="o" if best else _MARKERS[row.schedule],
            ls="",
            ms=6 if best else 4,
            color=shades[row.n_steps],
            mec=COLLAPSED if best else NETWORK,
            mew=1.2 if best else 0.5,
            label=row.schedule if last and not flow else None,
        )
    axes.set_yscale("log")
    if flow:
        axes.set_xticks(np.arange(len(names)), names, rotation=60, ha="right", fontsize=7)
    elif (bounds := [row.bound.value for row in rows if row.bound]) and min(bounds) > 0.0:
        axes.set_xscale("log")
        between = (1.0, 2.0, 5.0) if max(bounds) < 30.0 * min(bounds) else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=between))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("" if flow else "bound (nats)")
    axes.grid(color=MUTED, alpha=0.15)


def run(profile: str, out: Path, *, seed: int, progress: bool) -> ScheduleExperiment:
    """All of it; the trained U-Net is kept in `out`."""
    p = PROFILES[profile]
    start = time.perf_counter()

    def say(text: str) -> None:
        if progress:
            print(f"{time.perf_counter() - start:6.0f} s  {text}", flush=True)

    rows = toy_rows(p.toy_table, p.toy_samples, p.toy_steps, seed, say)
    say("training the U-Net")
    model, images = digits_model(p.training, out, progress)
    rows += digits_rows(
        *(model, images, p.digits_table, p.digits_times, p.digits_samples, p.digits_steps), seed=seed, say=say
    )
    say("attribution")
    found = digits_attribution(model, images, p.paths, seed)
    settings = {"profile": profile, "seed": seed, "qualities": [KL, FRECHET, KNN, UNCOVERED]}
    return ScheduleExperiment(tuple(rows), found, settings)


EXPERIMENT = Experiment(
    name="schedules",
    help="optimal schedules: bound and quality of samples for every sampler, and where a network is time-asymmetric",
    profiles={
        "quick": "U-Net of 400 training steps, within ten minutes",
        "full": "U-Net of 1600 training steps, five times the samples, an hour",
    },
    run=run,
    saved=True,
)
