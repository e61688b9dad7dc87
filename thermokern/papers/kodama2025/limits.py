"""Likelihood against its lower bound over data, processes and noise: Kodama and Hinczewski, Fig. 1."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from thermokern.models import load_checkpoint
from thermokern.papers.correlation import pearson, spearman
from thermokern.papers.ding2026.images import DATA
from thermokern.papers.experiment import Experiment, ExperimentResult, Option
from thermokern.papers.kodama2025.evaluation import Likelihoods, read_estimate
from thermokern.papers.kodama2025.image_limits import ImageLimits, image_limits
from thermokern.papers.kodama2025.sweep import (
    PROCESSES,
    PROFILE_HELP,
    PROFILES,
    Network,
    Profile,
    below_zero,
    columns_of,
    evaluate_sweep,
    evaluation_key,
    evaluator,
    limits_runs,
    read_network,
    read_profile,
    shipped,
    train_sweep,
)
from thermokern.quantities import Estimate, entropy_rates
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import EXACT, INK, MUTED, NETWORK, POINTS, severities, style
from thermokern.report import html

# What the paper prints, over all of its runs: NLL against the performance gap (Sec. 4).
PAPER = {"pearson": 0.803, "spearman": 0.909}
_RATE_STEPS = 96  # of the right panel's grid
# A likelihood's NLL less S_data, and its gap to the bound.
_KL_AND_GAP: dict[str, Callable[[Likelihoods], tuple[Estimate, Estimate]]] = {
    "ode": lambda found: (found.kl_ode, found.gap_ode),
    "plugin": lambda found: (found.kl_plugin, found.gap_plugin),
}
_MARKERS = {
    ("gaussian", "VE"): "o",
    ("gaussian", "VP"): "s",
    ("uniform", "VE"): "^",
    ("uniform", "VP"): "v",
    ("swiss-roll", "VE"): "P",
    ("swiss-roll", "VP"): "X",
}


@stored("best-rates")
@dataclass(frozen=True)
class BestRates:
    """The controlled-forward process's rates of the best uniform network under VE, over time, per unit time.

    Attributes
    ----------
    network : str
    t, intrinsic, exchange, system, intrinsic_stderr, exchange_stderr, system_stderr : list of float
    by_divergence : list of float
        Exchange over intrinsic at each time, the exchange rate being E[∇·b].
    ratio : Estimate
        The same of the integrals over time.
    """

    network: str
    t: list[float]
    intrinsic: list[float]
    exchange: list[float]
    system: list[float]
    intrinsic_stderr: list[float]
    exchange_stderr: list[float]
    system_stderr: list[float]
    by_divergence: list[float]
    ratio: Estimate


@stored("limits-sweep")
@dataclass(frozen=True, eq=False)
class LimitsSweep(ExperimentResult):
    """The networks of Fig. 1 with their likelihoods and bounds, how much was done, and the rates of the best."""

    title = "Likelihood and its thermodynamic lower bound"
    picture = "limits.png"

    profile: Profile
    networks: tuple[Network, ...]
    rates: BestRates

    def select(self, data: str | None = None, process: str | None = None) -> list[Network]:
        """Networks of one data set and process; None is any."""
        return [n for n in self.networks if data in (None, n.run.data) and process in (None, n.run.process)]

    def correlations(self, likelihood: str = "ode", data: str | None = None) -> dict[str, Estimate]:
        """Pearson's and Spearman's coefficient of NLL and its gap to the bound, bits per dimension, over all networks.

        `likelihood` is ``ode`` or ``plugin``; `data` takes the networks of one data set alone.
        """
        kl_and_gap = _KL_AND_GAP[likelihood]
        pairs = []
        for network in self.select(data):
            kl, gap = kl_and_gap(network.found)
            pairs.append((network.found.bits(kl, above=True).value, network.found.bits(gap).value))
        nll, gaps = torch.tensor(pairs).T.contiguous()
        return {"pearson": pearson(nll, gaps), "spearman": spearman(nll, gaps)}

    def broken(self) -> list[Network]:
        """Networks whose NLL of the probability flow lies below the bound, by three standard errors."""
        return [network for network in self.networks if below_zero(network.found.gap_ode)]

    def tables(self) -> str:
        """Data set by process: means over noise parameters and runs, bits per dimension."""
        head = (
            f"{'data':<12}{'process':<9}{'networks':>9}{'S_data':>9}{'NLL (ODE)':>11}{'bound':>9}{'gap (ODE)':>11}"
            f"{'gap (plug-in)':>15}{'below the bound':>17}"
        )
        lines = [head, "-" * len(head)]
        broken = {network.name for network in self.broken()}
        names = list(dict.fromkeys(network.run.data for network in self.networks))
        for data in names:
            for process in PROCESSES:
                networks = self.select(data, process)
                if not networks:
                    continue
                found = [network.found for network in networks]
                nll = statistics.fmean(each.bits(each.kl_ode, above=True).value for each in found)
                bound = statistics.fmean(each.bits(each.lower_bound, above=True).value for each in found)
                gap_ode = statistics.fmean(each.bits(each.gap_ode).value for each in found)
                gap_plugin = statistics.fmean(each.bits(each.gap_plugin).value for each in found)
                below = f"{sum(network.name in broken for network in networks)} of {len(networks)}"
                lines.append(
                    f"{data:<12}{process:<9}{len(networks):>9}{found[0].data_entropy_bits:>9.4f}{nll:>11.4f}"
                    f"{bound:>9.4f}{gap_ode:>11.4f}{gap_plugin:>15.4f}{below:>17}"
                )
        lines.append("")
        for likelihood, label in (("ode", "probability flow"), ("plugin", "plug-in")):
            overall = self.correlations(likelihood)
            lines.append(
                f"NLL ({label}) and its gap: Pearson {overall['pearson']}, Spearman {overall['spearman']} "
                f"(paper: {PAPER['pearson']}, {PAPER['spearman']})"
            )
        for data in names:
            alone = self.correlations(data=data)
            lines.append(f"  probability flow, {data} alone: Pearson {alone['pearson']}, Spearman {alone['spearman']}")
        lines.append(f"profile {self.profile.name}: {self.profile.n_steps:,} training steps a network")
        return "\n".join(lines)

    def law(self) -> str:
        return "the data's law, under each network's flow (NLL) and at all noise levels (bound)"

    def conclusion(self) -> list[str]:
        """Whether the bound holds, for which likelihood, and whether NLL and gap go together."""
        broken = len(self.broken())
        plain = sum(below_zero(network.found.gap_plugin) for network in self.networks)
        found = self.correlations()["spearman"]
        return [
            f"The bound lies above the flow's NLL in {broken} of {len(self.networks)} networks, by three standard "
            f"errors; above the plug-in NLL, for which it is promised, in {plain}.",
            f"NLL and its gap to the bound have the rank correlation {found} over all networks (paper: "
            f"{PAPER['spearman']}).",
        ]

    def numbers(self) -> dict[str, object]:
        return {
            "experiment": "limits",
            "profile": self.profile,
            "correlations": {name: self.correlations(name) for name in ("ode", "plugin")},
            "rows": [network.row() for network in self.networks],
            "rates": self.rates,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each network."""
        return columns_of(self.networks)

    def figure(self) -> Figure:
        """NLL against its bound, the gap between them, and the rates of the best uniform network under VE."""
        with style():
            figure = Figure(figsize=(13.0, 4.2), layout="constrained")
            left, middle, right = figure.subplots(1, 3)
            sigmas = sorted({network.run.sigma or 0.0 for network in self.networks})
            colours = dict(zip(sigmas, severities(len(sigmas)), strict=True))
            for (data, process), marker in _MARKERS.items():
                networks = self.select(data, process)
                found = [network.found for network in networks]
                nll = [each.bits(each.kl_ode, above=True).value for each in found]
                bound = [each.bits(each.lower_bound, above=True).value for each in found]
                kl = [each.bits(each.kl_ode).value for each in found]
                gap = [each.bits(each.gap_ode).value for each in found]
                shade = [colours[network.run.sigma or 0.0] for network in networks]
                label = f"{data}, {process}"
                left.scatter(bound, nll, c=shade, marker=marker, s=22, lw=0.4, edgecolors=INK, label=label)
                middle.scatter(kl, gap, c=shade, marker=marker, s=22, lw=0.4, edgecolors=INK)
            ends = np.array(left.get_xlim())
            left.plot(ends, ends, color=MUTED, ls="--", lw=1, zorder=0)
            left.set(
                title="likelihood and its bound",
                xlabel="lower bound, Eq. 6 (bits per dimension)",
                ylabel="NLL of the probability flow",
            )
            left.legend(handletextpad=0.2, fontsize=7)
            middle.axhline(0.0, color=MUTED, ls="--", lw=1, zorder=0)
            middle.set(
                title="the gap against the KL divergence\nbelow 0 the bound fails",
                xlabel="KL(data ‖ probability flow) (bits per dimension)",
                ylabel="NLL − bound",
            )
            middle.set_xscale("symlog", linthresh=1e-2)
            middle.set_yscale("symlog", linthresh=1e-2)
            for sigma, colour in colours.items():
                middle.scatter([], [], color=colour, label=f"σ = {sigma:g}", s=22)
            middle.legend(fontsize=7)
            _draw_rates(right, self.rates)
        return figure

    def lead(self) -> str:
        return (
            "Networks on Gaussian data, uniform pixels and the Swiss roll under VE and VP noise, after Kodama and "
            "Hinczewski, Fig. 1."
        )

    def sections(self, picture: Figure) -> list[str]:
        ratio = self.rates.ratio
        return [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "NLL against the bound, the gap against the KL divergence, entropy rates",
                    "First panel: NLL of the probability-flow equation against Eq. 6. Second: their difference against "
                    "KL. Third: entropy rates of the controlled-forward process for the best uniform network under VE.",
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
                html.preformatted(self.tables()),
                html.paragraph(
                    f"∫ exchange / ∫ intrinsic with the exchange rate E[∇·b]: {ratio.value:.4f} ± {ratio.stderr:.4f}; "
                    "−2 for the true score without drift, and −2 E[s_θ·s]/E|s_θ|² for a network's."
                ),
            ),
        ]


def _draw_rates(axes: Axes, rates: BestRates) -> None:
    tau = 1.0 - np.array(rates.t)
    for name, values, colour in (
        ("intrinsic", rates.intrinsic, EXACT),
        ("exchange", rates.exchange, NETWORK),
        ("system", rates.system, POINTS),
    ):
        axes.plot(tau, np.array(values), color=colour, label=name)
    axes.plot(tau, -2.0 * np.array(rates.intrinsic), color=INK, lw=0.8, ls=":", label="−2 × intrinsic")
    axes.set(title=f"entropy rates, reverse process\n{rates.network}", xlabel="τ = 1 − t", ylabel="nats per unit time")
    axes.set_yscale("symlog", linthresh=10.0)
    axes.legend(fontsize=7)


def limits_sweep(profile: Profile, out: Path, *, seed: int = 0, progress: bool = True) -> LimitsSweep:
    """Train and evaluate the networks of Fig. 1 in `out`, going on where an earlier call was stopped."""
    runs = limits_runs(profile)
    train_sweep(runs, profile, out, seed=seed, progress=progress)
    networks = evaluate_sweep(runs, out, evaluator(profile), evaluation_key(profile), progress=progress)
    return LimitsSweep(profile, networks, best_rates(networks, out, profile))


def best_rates(networks: Sequence[Network], out: Path, profile: Profile) -> BestRates:
    """Rates of the controlled-forward process for the uniform VE network of least NLL (Fig. 1, right)."""
    candidates = [n for n in networks if (n.run.data, n.run.process) == ("uniform", "VE")]
    best = min(candidates, key=lambda network: network.found.kl_ode.value)
    model = load_checkpoint(out / "networks" / f"{best.name}.safetensors")
    rates = entropy_rates(model, best.run.law, direction="reverse", n_paths=profile.paths, n_steps=_RATE_STEPS)
    return BestRates(
        network=best.name,
        t=_rounded(rates.t),
        intrinsic=_rounded(rates.intrinsic.values),
        exchange=_rounded(rates.exchange.values),
        system=_rounded(rates.system.values),
        intrinsic_stderr=_rounded(rates.intrinsic.stderr),
        exchange_stderr=_rounded(rates.exchange.stderr),
        system_stderr=_rounded(rates.system.stderr),
        by_divergence=_rounded(rates.exchange_ratio_values),
        ratio=rates.exchange_ratio,
    )


def shipped_limits() -> LimitsSweep:
    """The sweep of Fig. 1 that comes with the package."""
    found = shipped("limits")
    rates = {**found["rates"], "ratio": read_estimate(found["rates"]["ratio"])}
    return LimitsSweep(read_profile(found["profile"]), tuple(map(read_network, found["rows"])), BestRates(**rates))


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def _run(
    profile: str, out: Path, *, seed: int, progress: bool, data: str | None, root: Path | None
) -> LimitsSweep | ImageLimits:
    if data is not None:
        return image_limits(data, profile, out, root=root, seed=seed, progress=progress)
    if root is not None:
        raise ValueError("--root: expected only with --data")
    return (
        shipped_limits() if profile == "shipped" else limits_sweep(PROFILES[profile], out, seed=seed, progress=progress)
    )


EXPERIMENT = Experiment(
    name="limits",
    help="likelihood and its lower bound: Kodama and Hinczewski, Fig. 1; stopped, it goes on where it was",
    profiles=PROFILE_HELP,
    options=(
        Option("--data", "real images, whose law is not known, in the place of the paper's laws", choices=DATA),
        Option("--root", "folder of the files of mnist or fashion-mnist (IDX) or cifar10 (binary version)", Path),
    ),
    saved=True,
    run=_run,
)
