"""Model size against the entropy bound and the dissipation: Kodama and Hinczewski, Fig. 2, Fig. 3 and Table 1."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.papers.correlation import spearman
from thermokern.papers.experiment import Experiment, ExperimentResult
from thermokern.papers.kodama2025.evaluation import Likelihoods
from thermokern.papers.kodama2025.sweep import (
    CLEAR,
    PROFILE_HELP,
    PROFILES,
    Network,
    Profile,
    below_zero,
    capacity_runs,
    columns_of,
    evaluate_sweep,
    evaluation_key,
    evaluator,
    read_network,
    read_profile,
    shipped,
    train_sweep,
)
from thermokern.quantities import Estimate
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, Colour, severities, style
from thermokern.report import html

# Table 1, bits per dimension.
PAPER_TABLE = {"model-based bound": 1.441, "k-NN": 1.432, "histogram": 1.415, "uniform": 2.472, "Gaussian": 2.487}
_FLOOR = 1e-4  # bits per dimension, the least gap that a logarithmic axis shows
Bound = Callable[[Likelihoods], Estimate]
# 2 NLL + ∫Ṡ_θ − S(p_T) less S_data, by the NLL that it is made of.
BOUNDS: dict[str, Bound] = {
    "ode": lambda found: found.entropy_bound,
    "plugin": lambda found: found.entropy_bound_plugin,
}


@stored("capacity-sweep")
@dataclass(frozen=True, eq=False)
class CapacitySweep(ExperimentResult):
    """Networks on the Swiss roll by width, and how much was done."""

    title = "Model size, entropy bound and dissipation"
    picture = "capacity.png"

    profile: Profile
    networks: tuple[Network, ...]

    @property
    def data_entropy(self) -> float:
        """S_data by quadrature, bits per dimension."""
        return self.networks[0].found.data_entropy_bits

    def width(self, width: int) -> list[Network]:
        """The networks of one width."""
        return [network for network in self.networks if network.run.width == width]

    def widths(self) -> list[int]:
        """The widths that occur, in order."""
        return sorted({network.run.width for network in self.networks})

    def model_based_bound(self, likelihood: str = "ode") -> tuple[Estimate, str]:
        """The smallest 'upper bound' on S_data over all networks, bits per dimension, and the network that has it.

        Table 1's first row: with the NLL of the probability flow (``ode``), as the paper has it, no bound is promised,
        and the smallest of many is the likeliest to lie below the truth. ``plugin`` takes the NLL for which it holds.
        """
        bound = BOUNDS[likelihood]
        best = min(self.networks, key=lambda network: bound(network.found).value)
        return best.found.bits(bound(best.found), above=True), best.name

    def for_table1(self) -> dict[str, Any]:
        """Both :meth:`model_based_bound` in nats, and what they were taken from: keyword arguments of ``table1``."""
        unit = self.networks[0].found.dim * math.log(2.0)
        ode, plugin = (self.model_based_bound(likelihood)[0] for likelihood in ("ode", "plugin"))
        steps = f"{self.profile.n_steps:,} training steps each"
        return {
            "model_bound": Estimate(unit * ode.value, unit * ode.stderr),
            "model_bound_plugin": Estimate(unit * plugin.value, unit * plugin.stderr),
            "networks": f"the smallest of {len(self.networks)} networks, {steps}; only the plug-in NLL's is a bound",
        }

    def trade_off(self) -> Estimate:
        """Spearman's coefficient of KL and dissipation over all networks; negative: accuracy costs dissipation."""
        found = [network.found for network in self.networks]
        kl = torch.tensor([each.bits(each.kl_ode).value for each in found])
        return spearman(torch.tensor([each.bits(each.dissipation).value for each in found]), kl)

    def tables(self) -> str:
        """Width by width, medians over seeds, bits per dimension; and the rows of Table 1 that networks give."""
        head = (
            f"{'width':>5}{'seeds':>7}{'bound on S_data':>17}{'same, plug-in':>15}{'KL (ODE)':>10}{'lower':>9}"
            f"{'upper (SDE)':>13}{'dissipation':>13}{'below the lower bound':>23}{'above the upper':>17}"
        )
        lines = [head, "-" * len(head)]
        for width in self.widths():
            found = [network.found for network in self.width(width)]
            bound = statistics.median(each.bits(each.entropy_bound, above=True).value for each in found)
            plugin = statistics.median(each.bits(each.entropy_bound_plugin, above=True).value for each in found)
            kl = statistics.median(each.bits(each.kl_ode).value for each in found)
            lower = statistics.median(each.bits(each.lower_bound).value for each in found)
            upper = statistics.median(each.bits(each.elbo).value for each in found)
            dissipation = statistics.median(each.bits(each.dissipation).value for each in found)
            below = f"{sum(below_zero(each.gap_ode) for each in found)} of {len(found)}"
            above = f"{sum(_excess(each) > 0.0 for each in found)} of {len(found)}"
            lines.append(
                f"{width:>5}{len(found):>7}{bound:>17.4f}{plugin:>15.4f}{kl:>10.4f}{lower:>9.4f}"
                f"{upper:>13.4f}{dissipation:>13.4f}{below:>23}{above:>17}"
            )
        ode, ode_network = self.model_based_bound()
        plugin_bound, plugin_network = self.model_based_bound("plugin")
        worst = sorted((network.found.worst_point for network in self.networks), reverse=True)[:3]
        lines += [
            "",
            f"S_data by quadrature                {self.data_entropy:.5f}",
            f"smallest bound, NLL of the ODE      {ode}  ({ode_network}; paper: {PAPER_TABLE['model-based bound']})",
            f"smallest bound, plug-in NLL         {plugin_bound}  ({plugin_network})",
            f"points farthest off, log p/p_ODE    {', '.join(f'{x:.3g}' for x in worst)} nats",
            f"KL and dissipation: Spearman        {self.trade_off()}",
            f"profile {self.profile.name}: {self.profile.n_steps:,} training steps a network",
        ]
        return "\n".join(lines)

    def law(self) -> str:
        return "the Swiss roll's law, under each network's flow and sampler"

    def conclusion(self) -> list[str]:
        """Where the smallest bounds lie, and whether accuracy costs dissipation."""
        truth = self.data_entropy
        parts = []
        for likelihood, name, promise in (
            ("ode", "the flow's", "none is promised with it"),
            ("plugin", "the plug-in", "one is promised with it"),
        ):
            bound, _ = self.model_based_bound(likelihood)
            parts.append(
                f"With {name} likelihood the smallest bound is {bound} bits per dimension, "
                f"{'above' if bound.value >= truth else 'below'} the entropy {truth:.4f} ({promise})."
            )
        trade = self.trade_off()
        sign = "not told from 0" if abs(trade.z(0.0)) < CLEAR else "negative" if trade.value < 0.0 else "positive"
        return [*parts, f"The rank correlation of KL and dissipation over networks is {trade}, {sign}."]

    def numbers(self) -> dict[str, object]:
        return {
            "experiment": "capacity",
            "profile": self.profile,
            "table_1": {
                "paper": PAPER_TABLE,
                "quadrature": self.data_entropy,
                "model-based bound, ODE": self.model_based_bound()[0],
                "model-based bound, plug-in": self.model_based_bound("plugin")[0],
            },
            "rows": [network.row() for network in self.networks],
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each network."""
        return columns_of(self.networks)

    def figure(self) -> Figure:
        """The bound on S_data by model size (Fig. 2), and accuracy against dissipation with both bounds (Fig. 3)."""
        with style():
            figure = Figure(figsize=(12.0, 4.4), layout="constrained")
            left, right = figure.subplots(1, 2)
            colours = dict(zip(self.widths(), severities(len(self.widths())), strict=True))
            _draw_bounds(left, self, colours)
            _draw_trade_off(right, self, colours)
        return figure

    def lead(self) -> str:
        return (
            "Perceptrons of 4 to 256 units a layer on the noisy Swiss roll, after Kodama and Hinczewski, Fig. 2 and 3."
        )

    def sections(self, picture: Figure) -> list[str]:
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Bound on the data's entropy by network; KL against dissipation with both bounds",
                    "First panel: 2 NLL + ∫Ṡ_θ − S_noise of every network, with the NLL of the probability flow and "
                    "with the plug-in one, against the entropy itself. Second: KL(data ‖ probability flow) between "
                    "the lower bound of Eq. 6 and the upper bound on the SDE sampler's KL.",
                ),
            ),
            html.section(
                "Numbers",
                html.paragraph(
                    "Medians over seeds, bits per dimension. The upper bound is one on the reverse SDE's KL and not on "
                    "the probability flow's, the lower one on the plug-in value: the last columns count networks "
                    "outside by three standard errors."
                ),
                html.preformatted(self.tables()),
            ),
        ]


def _draw_bounds(axes: Axes, result: CapacitySweep, colours: dict[int, Colour]) -> None:
    # One point that a flow carries far away must not flatten the rest.
    found = [network.found for network in result.networks]
    top = 1.1 * max(each.bits(each.entropy_bound_plugin, above=True).value for each in found)
    for bound, marker, line, label in (
        (BOUNDS["ode"], "o", "-", "NLL of the ODE (as printed)"),
        (BOUNDS["plugin"], "D", ":", "plug-in NLL"),
    ):
        networks = sorted(result.networks, key=lambda network: -bound(network.found).value)
        values = [min(n.found.bits(bound(n.found), above=True).value, top) for n in networks]
        place = np.arange(1, len(networks) + 1)
        axes.scatter(place, values, c=[colours[n.run.width] for n in networks], marker=marker, s=24, lw=0)
        axes.plot(place, values, color=MUTED, lw=0.6, ls=line, label=label, zorder=0)
    axes.axhline(result.data_entropy, color=INK, lw=1, label="S_data, quadrature")
    for name, shade in (("k-NN", EXACT), ("histogram", COLLAPSED)):
        axes.axhline(PAPER_TABLE[name], color=shade, lw=0.8, ls="--", label=f"{name}, as printed")
    axes.set(
        title=f"'upper bound' on S_data (values above {top:.2f} at the top)",
        xlabel="networks, sorted",
        ylabel="bits per dimension",
    )
    axes.legend(fontsize=7)


def _draw_trade_off(axes: Axes, result: CapacitySweep, colours: dict[int, Colour]) -> None:
    for network in result.networks:
        found, tint = network.found, colours[network.run.width]
        x = found.bits(found.dissipation).value
        low, kl, high = (max(found.bits(e).value, _FLOOR) for e in (found.lower_bound, found.kl_ode, found.elbo))
        axes.plot([x, x], [low, high], color=tint, lw=0.6, alpha=0.6)
        for y, marker in ((low, "^"), (kl, "o"), (high, "v")):
            axes.scatter(x, y, color=tint, marker=marker, s=18, lw=0)
    for marker, label in (("v", "bound on the SDE's KL"), ("o", "KL of the ODE"), ("^", "lower bound")):
        axes.scatter([], [], color=MUTED, marker=marker, s=18, label=label)
    for width, colour in colours.items():
        axes.scatter([], [], color=colour, marker="s", s=18, label=f"width {width}")
    axes.set_yscale("log")
    axes.set(
        title=f"accuracy against dissipation (values below {_FLOOR:g} at the foot)",
        xlabel="∫ intrinsic entropy production (bits per dimension)",
        ylabel="above S_data (bits per dimension)",
    )
    axes.legend(fontsize=7, ncols=2)


def capacity_sweep(profile: Profile, out: Path, *, seed: int = 0, progress: bool = True) -> CapacitySweep:
    """Train and evaluate the networks of Fig. 2 and 3 in `out`, going on where an earlier call was stopped."""
    runs = capacity_runs(profile)
    train_sweep(runs, profile, out, seed=seed, progress=progress)
    networks = evaluate_sweep(runs, out, evaluator(profile), evaluation_key(profile), progress=progress)
    return CapacitySweep(profile, networks)


def shipped_capacity() -> CapacitySweep:
    """The sweep of Fig. 2 and 3 that comes with the package."""
    return _from_json(shipped("capacity"))


def read_capacity(folder: Path) -> CapacitySweep:
    """The sweep of Fig. 2 and 3 that ``thermokern reproduce capacity`` left in `folder`."""
    path = folder / "result.json"
    if not path.is_file():
        raise FileNotFoundError(f"capacity: no such file: {path}; `thermokern reproduce capacity` writes it")
    found = json.loads(path.read_text())
    kind = found.get("experiment") if isinstance(found, dict) else None
    if kind != "capacity":
        raise ValueError(f"capacity: expected the result of `thermokern reproduce capacity` in {path}, got {kind!r}")
    return _from_json(found)


def _from_json(found: dict[str, Any]) -> CapacitySweep:
    return CapacitySweep(read_profile(found["profile"]), tuple(map(read_network, found["rows"])))


def _excess(found: Likelihoods) -> float:
    """How far KL_ODE lies above the bound of the SDE sampler, nats, beyond three standard errors."""
    reach = CLEAR * math.hypot(found.kl_ode.stderr, found.elbo.stderr)
    return found.kl_ode.value - found.elbo.value - reach


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> CapacitySweep:
    if profile == "shipped":
        return shipped_capacity()
    return capacity_sweep(PROFILES[profile], out, seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="capacity",
    help="model size, entropy bound, dissipation: Kodama and Hinczewski, Fig. 2 and 3; stopped, it goes on",
    profiles=PROFILE_HELP,
    run=_run,
)
