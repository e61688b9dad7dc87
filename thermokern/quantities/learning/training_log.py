"""What a monitor of training has measured, and its file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.result import Result, encoded
from thermokern.quantities.results.storage import stored

_TOLD = 3.0  # standard errors from which a change is no chance
_ESTIMATES = ("mean", "variance", "half_variance_ratio", "score_matching", "coverage")


@stored("training-measurement")
@dataclass(frozen=True, eq=False)
class TrainingMeasurement:
    """One visit of the monitor.

    Attributes
    ----------
    step : int
        Of the training.
    mean, variance : Estimate
        Of Δs, nats and nats².
    half_variance_ratio : Estimate or None
        ``Var/(2 mean)``, which is 1 near the optimum of an exact reference (Eq. 41).
    score_matching : Estimate
        ``∫ D ⟨|s_θ − s_*|²⟩ dt``, nats.
    coverage : Estimate or None
        Of the data by generated samples; its error is that of the choice of data points.
    seconds : float
        That the visit took.
    values : Tensor
        (n_paths,) Δs of each path, nats; the same paths at every visit.
    """

    step: int
    mean: Estimate
    variance: Estimate
    half_variance_ratio: Estimate | None
    score_matching: Estimate
    coverage: Estimate | None
    seconds: float
    values: Tensor

    def scalars(self) -> dict[str, float]:
        """The numbers under the names that loggers get."""
        named = {f"taep/{name}": getattr(self, name) for name in _ESTIMATES}
        return {name: estimate.value for name, estimate in named.items() if estimate is not None}

    def line(self) -> str:
        """One line of JSON."""
        body = {name: encoded(getattr(self, name)) for name in ("step", *_ESTIMATES, "seconds")}
        return json.dumps({**body, "values": [float(f"{value:.6g}") for value in self.values.tolist()]})

    @classmethod
    def of_line(cls, line: str) -> TrainingMeasurement:
        """What :meth:`line` wrote."""
        body = json.loads(line)
        found: dict[str, Any] = {}
        for name in _ESTIMATES:
            parts = body[name] and {key: torch.nan if part is None else part for key, part in body[name].items()}
            found[name] = parts and Estimate(**parts)
        values = torch.tensor(body["values"], dtype=torch.float32, device="cpu")
        return cls(step=body["step"], seconds=body["seconds"], values=values, **found)


@stored("training-log")
@dataclass(frozen=True, eq=False)
class TrainingLog(Result):
    """The course of TAEP and coverage along a training.

    Attributes
    ----------
    measurements : tuple of TrainingMeasurement
        In the order of training.
    seconds : float
        Of the training between the first and the last visit, the visits included; NaN where it is not known.
    settings : dict
    """

    title: ClassVar[str] = "TAEP along training"

    measurements: tuple[TrainingMeasurement, ...]
    seconds: float
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> TrainingLog:
        """A file of JSON lines that a :class:`TrainingMonitor` wrote; of a step written twice the later line."""
        try:
            found = [TrainingMeasurement.of_line(line) for line in Path(path).read_text().splitlines() if line.strip()]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"path: {path} is no log of a TrainingMonitor ({error})") from None
        if not found:
            raise ValueError(f"path: {path} has no line")
        last = {each.step: each for each in found}
        return cls(tuple(last[step] for step in sorted(last)), torch.nan, {"log": str(path)})

    @property
    def share(self) -> float:
        """Share of the time that the monitor took; NaN where the training's is not known."""
        return sum(each.seconds for each in self.measurements) / self.seconds if self.seconds else torch.nan

    def summary(self) -> str:
        """A row for each visit."""
        steps = [each.step for each in self.measurements]
        lines = [f"TAEP along training, {len(steps)} visits" + f", steps {steps[0]:,} to {steps[-1]:,}" * bool(steps)]
        lines += [f"{'step':>9}  {'mean Δs (nats)':>16}  {'variance':>16}  {'Var/(2 mean)':>14}  {'coverage':>16}"]
        for each in self.measurements:
            row = (each.mean, each.variance, each.half_variance_ratio or "", each.coverage or "")
            lines.append(f"{each.step:>9,}  {row[0]!s:>16}  {row[1]!s:>16}  {row[2]!s:>14}  {row[3]!s:>16}")
        if self.share == self.share:
            lines.append(f"the monitor took {self.share:.1%} of {self.seconds:.0f} s")
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law of the paths' starts."""
        return "the data at the first time, against what the model of each step makes of the paths' ends"

    def conclusion(self) -> list[str]:
        """How far the training has come, whether it goes on, and what is covered."""
        if len(self.measurements) < 2:
            return ["One visit says nothing of a course: visit more often."]
        first, before, last = self.measurements[0], *self.measurements[-2:]
        change = mean_estimate(last.values.double() - before.values.double())  # of the same paths
        told = abs(change.value) > _TOLD * change.stderr
        course = (
            f"it {'still falls' if change.value < 0.0 else 'rises'}, by {abs(change)}" if told else "it stands still"
        )
        said = [
            f"From step {first.step:,} to {last.step:,} the mean of Δs goes from {first.mean} to {last.mean} nats; "
            f"between the last two visits {course}."
        ]
        if first.coverage is not None and last.coverage is not None:
            said.append(f"Coverage of the data goes from {first.coverage} to {last.coverage}.")
        return said

    def numbers(self) -> dict[str, object]:
        """Every visit."""
        return {
            "measurements": self.measurements,
            "seconds": self.seconds,
            "share": self.share,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Sequence[object]]:
        """A row for each visit."""
        out: dict[str, Sequence[object]] = {"step": [each.step for each in self.measurements]}
        for name in _ESTIMATES:
            column = [getattr(each, name) for each in self.measurements]
            if any(item is not None for item in column):
                out[name] = column
        return out
