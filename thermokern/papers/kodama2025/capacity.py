"""Model size against the entropy bound and the dissipation: Kodama and Hinczewski, Fig. 2, Fig. 3 and Table 1."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from thermokern.papers.correlation import spearman
from thermokern.papers.kodama2025.evaluation import bits
from thermokern.papers.kodama2025.limits import CLEAR, evaluation_key, evaluator, shipped
from thermokern.papers.kodama2025.sweep import Profile, capacity_runs, evaluate_sweep, train_sweep
from thermokern.quantities import Estimate

# Table 1, bits per dimension.
PAPER_TABLE = {"model-based bound": 1.441, "k-NN": 1.432, "histogram": 1.415, "uniform": 2.472, "Gaussian": 2.487}


@dataclass(frozen=True)
class CapacitySweep:
    """Networks on the Swiss roll by width; `rows` are those of :func:`evaluate_network` with their run."""

    profile: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def data_entropy(self) -> float:
        """S_data by quadrature, bits per dimension."""
        row = self.rows[0]
        return float(row["data_entropy"] / row["dim"] / math.log(2.0))

    def width(self, width: int) -> list[dict[str, Any]]:
        """The rows of one width."""
        return [row for row in self.rows if row["width"] == width]

    def widths(self) -> list[int]:
        """The widths that occur, in order."""
        return sorted({row["width"] for row in self.rows})

    def model_based_bound(self, likelihood: str = "ode") -> tuple[Estimate, str]:
        """The smallest 'upper bound' on S_data over all networks, bits per dimension, and the network that has it.

        Table 1's first row: with the NLL of the probability flow (``ode``), as the paper has it, no bound is promised,
        and the smallest of many is the likeliest to lie below the truth. ``plugin`` takes the NLL for which it holds.
        """
        name = "entropy_bound" if likelihood == "ode" else "entropy_bound_plugin"
        best = min(self.rows, key=lambda row: row[name][0])
        return bits(best, name, above=True), best["name"]

    def for_table1(self) -> dict[str, Any]:
        """Both :meth:`model_based_bound` in nats, and what they are of: keyword arguments of :func:`table1`."""
        unit = float(self.rows[0]["dim"] * math.log(2.0))
        ode, plugin = (self.model_based_bound(likelihood)[0] for likelihood in ("ode", "plugin"))
        steps = f"{self.profile['n_steps']:,} training steps each"
        return {
            "model_bound": Estimate(unit * ode.value, unit * ode.stderr),
            "model_bound_plugin": Estimate(unit * plugin.value, unit * plugin.stderr),
            "networks": f"the smallest of {len(self.rows)} networks, {steps}; only the plug-in NLL's is a bound",
        }

    def below(self, name: str) -> list[dict[str, Any]]:
        """Rows whose entry `name` is negative by three standard errors."""
        return [row for row in self.rows if row[name][0] < -CLEAR * row[name][1]]

    def trade_off(self) -> Estimate:
        """Spearman's coefficient of KL and dissipation over all networks; negative: accuracy costs dissipation."""
        kl, dissipation = (torch.tensor([bits(r, name).value for r in self.rows]) for name in ("kl_ode", "dissipation"))
        return spearman(dissipation, kl)

    def table(self) -> str:
        """Width by width, medians over seeds, bits per dimension; and the rows of Table 1 that networks give."""
        head = (
            f"{'width':>5}{'seeds':>7}{'bound on S_data':>17}{'same, plug-in':>15}{'KL (ODE)':>10}{'lower':>9}"
            f"{'upper (SDE)':>13}{'dissipation':>13}{'below the lower bound':>23}{'above the upper':>17}"
        )
        lines = [head, "-" * len(head)]
        low = {row["name"] for row in self.below("gap_ode")}
        high = {row["name"] for row in self.rows if _excess(row) > 0.0}
        for width in self.widths():
            rows = self.width(width)
            numbers = [
                statistics.median(bits(row, name, above).value for row in rows)
                for name, above in (
                    ("entropy_bound", True),
                    ("entropy_bound_plugin", True),
                    ("kl_ode", False),
                    ("lower_bound", False),
                    ("elbo", False),
                    ("dissipation", False),
                )
            ]
            counts = [f"{sum(row['name'] in names for row in rows)} of {len(rows)}" for names in (low, high)]
            lines.append(
                f"{width:>5}{len(rows):>7}{numbers[0]:>17.4f}{numbers[1]:>15.4f}{numbers[2]:>10.4f}{numbers[3]:>9.4f}"
                f"{numbers[4]:>13.4f}{numbers[5]:>13.4f}{counts[0]:>23}{counts[1]:>17}"
            )
        ode, ode_network = self.model_based_bound()
        plugin, plugin_network = self.model_based_bound("plugin")
        worst = sorted((row["worst_point"] for row in self.rows), reverse=True)[:3]
        lines += [
            "",
            f"S_data by quadrature                {self.data_entropy:.5f}",
            f"smallest bound, NLL of the ODE      {ode}  ({ode_network}; paper: {PAPER_TABLE['model-based bound']})",
            f"smallest bound, plug-in NLL         {plugin}  ({plugin_network})",
            f"points farthest off, log p/p_ODE    {', '.join(f'{x:.3g}' for x in worst)} nats",
            f"KL and dissipation: Spearman        {self.trade_off()}",
            f"profile {self.profile['name']}: {self.profile['n_steps']:,} training steps a network",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        ode, plugin = self.model_based_bound(), self.model_based_bound("plugin")
        return {
            "experiment": "capacity",
            "profile": self.profile,
            "table_1": {
                "paper": PAPER_TABLE,
                "quadrature": self.data_entropy,
                "model-based bound, ODE": [ode[0].value, ode[0].stderr],
                "model-based bound, plug-in": [plugin[0].value, plugin[0].stderr],
            },
            "rows": self.rows,
        }


def capacity_sweep(profile: Profile, out: Path, *, seed: int = 0, progress: bool = True) -> CapacitySweep:
    """Train and evaluate the networks of Fig. 2 and 3 in `out`, going on where an earlier call was stopped."""
    runs = capacity_runs(profile)
    train_sweep(runs, profile, out, seed=seed, progress=progress)
    rows = evaluate_sweep(runs, out, evaluator(profile), evaluation_key(profile), progress=progress)
    return CapacitySweep(profile.settings(), rows)


def shipped_capacity() -> CapacitySweep:
    """The sweep of Fig. 2 and 3 that comes with the package."""
    found = shipped("capacity")
    return CapacitySweep(found["profile"], found["rows"])


def read_capacity(folder: Path) -> CapacitySweep:
    """The sweep of Fig. 2 and 3 that ``thermokern reproduce capacity`` left in `folder`."""
    path = folder / "result.json"
    if not path.is_file():
        raise FileNotFoundError(f"capacity: no such file: {path}; `thermokern reproduce capacity` writes it")
    found = json.loads(path.read_text())
    kind = found.get("experiment") if isinstance(found, dict) else None
    if kind != "capacity":
        raise ValueError(f"capacity: expected the result of `thermokern reproduce capacity` in {path}, got {kind!r}")
    return CapacitySweep(found["profile"], found["rows"])


def _excess(row: dict[str, Any]) -> float:
    """How far KL_ODE lies above the bound of the SDE sampler, nats, beyond three standard errors."""
    reach = CLEAR * math.hypot(row["kl_ode"][1], row["elbo"][1])
    return float(row["kl_ode"][0] - row["elbo"][0] - reach)
