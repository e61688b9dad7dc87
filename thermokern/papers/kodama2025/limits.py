"""Likelihood against its lower bound over data, processes and noise: Kodama and Hinczewski, Fig. 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermokern.models import ScoreModel, load_checkpoint
from thermokern.papers.correlation import pearson, spearman
from thermokern.papers.kodama2025.evaluation import bits, evaluate_network
from thermokern.papers.kodama2025.sweep import PIXELS, PROCESSES, Profile, Run, evaluate_sweep, limits_runs, train_sweep
from thermokern.quantities import Estimate, entropy_rates

# What the paper prints, over all of its runs: NLL against the performance gap (Sec. 4).
PAPER = {"pearson": 0.803, "spearman": 0.909}
_RATE_STEPS = 96  # of the right panel's grid
CLEAR = 3.0  # standard errors beyond which an inequality counts as broken


@dataclass(frozen=True)
class LimitsSweep:
    """The networks of Fig. 1 with their likelihoods and bounds.

    Attributes
    ----------
    profile : dict
        How much was done.
    rows : list of dict
        One for each network: its run, its training, what :func:`evaluate_network` gives.
    rates : dict
        Of the best uniform network under VE, over time: the controlled-forward process's rates, per unit time.
    """

    profile: dict[str, Any]
    rows: list[dict[str, Any]]
    rates: dict[str, Any]

    def select(self, data: str | None = None, process: str | None = None) -> list[dict[str, Any]]:
        """Rows of one data set and process; None is any."""
        return [row for row in self.rows if data in (None, row["data"]) and process in (None, row["process"])]

    def correlations(self, likelihood: str = "ode", data: str | None = None) -> dict[str, Estimate]:
        """Pearson's and Spearman's coefficient of NLL and its gap to the bound, bits per dimension, over all networks.

        `likelihood` is ``ode`` or ``plugin``; `data` takes the networks of one data set alone.
        """
        nll, gap = (
            torch.tensor([bits(row, name, above).value for row in self.select(data)])
            for name, above in ((f"kl_{likelihood}", True), (f"gap_{likelihood}", False))
        )
        return {"pearson": pearson(nll, gap), "spearman": spearman(nll, gap)}

    def broken(self) -> list[dict[str, Any]]:
        """Networks whose NLL of the probability flow lies below the bound, by three standard errors."""
        return [row for row in self.rows if row["gap_ode"][0] < -CLEAR * row["gap_ode"][1]]

    def table(self) -> str:
        """Data set by process: means over noise parameters and runs, bits per dimension."""
        head = (
            f"{'data':<12}{'process':<9}{'networks':>9}{'S_data':>9}{'NLL (ODE)':>11}{'bound':>9}{'gap (ODE)':>11}"
            f"{'gap (plug-in)':>15}{'below the bound':>17}"
        )
        lines = [head, "-" * len(head)]
        broken = {row["name"] for row in self.broken()}
        for data in dict.fromkeys(row["data"] for row in self.rows):
            for process in PROCESSES:
                rows = self.select(data, process)
                if rows:
                    below = sum(row["name"] in broken for row in rows)
                    lines.append(
                        f"{data:<12}{process:<9}{len(rows):>9}{_entropy_bits(rows[0]):>9.4f}"
                        f"{_mean(rows, 'kl_ode', True):>11.4f}{_mean(rows, 'lower_bound', True):>9.4f}"
                        f"{_mean(rows, 'gap_ode'):>11.4f}{_mean(rows, 'gap_plugin'):>15.4f}"
                        f"{f'{below} of {len(rows)}':>17}"
                    )
        lines.append("")
        for likelihood, label in (("ode", "probability flow"), ("plugin", "plug-in")):
            found = self.correlations(likelihood)
            lines.append(
                f"NLL ({label}) and its gap: Pearson {found['pearson']}, Spearman {found['spearman']} "
                f"(paper: {PAPER['pearson']}, {PAPER['spearman']})"
            )
        for data in dict.fromkeys(row["data"] for row in self.rows):
            alone = self.correlations(data=data)
            lines.append(f"  probability flow, {data} alone: Pearson {alone['pearson']}, Spearman {alone['spearman']}")
        lines.append(f"profile {self.profile['name']}: {self.profile['n_steps']:,} training steps a network")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "experiment": "limits",
            "profile": self.profile,
            "correlations": {
                name: {kind: [e.value, e.stderr] for kind, e in self.correlations(name).items()}
                for name in ("ode", "plugin")
            },
            "rows": self.rows,
            "rates": self.rates,
        }


def limits_sweep(profile: Profile, out: Path, *, seed: int = 0, progress: bool = True) -> LimitsSweep:
    """Train and evaluate the networks of Fig. 1 in `out`, going on where an earlier call was stopped."""
    runs = limits_runs(profile)
    train_sweep(runs, profile, out, seed=seed, progress=progress)
    rows = evaluate_sweep(runs, out, evaluator(profile), evaluation_key(profile), progress=progress)
    return LimitsSweep(profile.settings(), rows, best_rates(rows, out, profile))


def evaluator(profile: Profile) -> Callable[[Run, ScoreModel], dict[str, Any]]:
    """What :func:`evaluate_sweep` calls for each network."""

    def evaluate(run: Run, model: ScoreModel) -> dict[str, Any]:
        share = 4 if run.law.dim == PIXELS else 1  # per dimension, an image's terms are averages over its pixels
        return evaluate_network(model, run.law, n_paths=profile.paths // share, n_likelihood=profile.points // share)

    return evaluate


def evaluation_key(profile: Profile) -> dict[str, Any]:
    """What an evaluation depends on beside its network."""
    return {"paths": profile.paths, "points": profile.points}


def best_rates(rows: list[dict[str, Any]], out: Path, profile: Profile) -> dict[str, Any]:
    """Rates of the controlled-forward process for the uniform VE network of least NLL (Fig. 1, right)."""
    best = min((row for row in rows if (row["data"], row["process"]) == ("uniform", "VE")), key=_kl)
    model = load_checkpoint(out / "networks" / f"{best['name']}.safetensors")
    law = Run(*(best[key] for key in ("data", "process", "sigma", "width", "replicate"))).law
    rates = entropy_rates(model, law, direction="reverse", n_paths=profile.paths, n_steps=_RATE_STEPS)
    ratio = rates.exchange_ratio
    return {
        "network": best["name"],
        "t": _rounded(rates.t),
        **{name: _rounded(getattr(rates, name).values) for name in ("intrinsic", "exchange", "system")},
        **{f"{name}_stderr": _rounded(getattr(rates, name).stderr) for name in ("intrinsic", "exchange", "system")},
        "by_divergence": _rounded(rates.exchange_ratio_values),
        "ratio": [ratio.value, ratio.stderr],
    }


def shipped(name: str) -> dict[str, Any]:
    """Results that come with the package: ``limits`` or ``capacity``."""
    text = (Path(str(files("thermokern.papers.kodama2025"))) / "results" / f"{name}.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def shipped_limits() -> LimitsSweep:
    """The sweep of Fig. 1 that comes with the package."""
    found = shipped("limits")
    return LimitsSweep(found["profile"], found["rows"], found["rates"])


def _kl(row: dict[str, Any]) -> float:
    value: float = row["kl_ode"][0]
    return value


def _entropy_bits(row: dict[str, Any]) -> float:
    return bits({**row, "zero": [0.0, 0.0]}, "zero", above=True).value


def _mean(rows: list[dict[str, Any]], name: str, above: bool = False) -> float:
    return sum(bits(row, name, above).value for row in rows) / len(rows)


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
