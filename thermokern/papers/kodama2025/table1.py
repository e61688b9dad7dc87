"""Entropy of the noisy Swiss roll several ways: Kodama and Hinczewski, Table 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from thermokern.papers.experiment import Experiment, ExperimentResult, Option
from thermokern.papers.kodama2025.capacity import read_capacity, shipped_capacity
from thermokern.quantities import EntropyEstimate, EntropyTable, Estimate, entropy_table
from thermokern.quantities.results.storage import stored
from thermokern.quantities.samples.entropy_table import plain
from thermokern.quantities.samples.figures import table_figure
from thermokern.report import html
from thermokern.report.results import ENTROPY_CAPTION, ENTROPY_ERRORS, ENTROPY_MAP, entropy_section
from thermokern.targets import SwissRoll

NOISE = 0.5
KS = tuple(range(1, 21))
K = 3
# What the paper prints, bits per dimension.
PAPER = {"model": 1.441, "knn": 1.432, "histogram": 1.415, "uniform": 2.472, "gaussian": 2.487}
POINTS = {"quick": 50_000, "full": 400_000}  # the paper does not say how many it took
_EXACT = "exact, by quadrature"


@dataclass(frozen=True)
class Row:
    """One line: an estimator, what it gives here and what the paper prints, bits per dimension."""

    name: str
    value: Estimate
    bias: float | None = None  # as the estimate itself reports it
    paper: float | None = None


@stored("table-1")
@dataclass(frozen=True, eq=False)
class Table1(ExperimentResult):
    """The table, the entropy by quadrature, and the sample.

    Attributes
    ----------
    table : EntropyTable
    exact : float
        Nats.
    points : Tensor
        (n, 2).
    model_bound, model_bound_plugin : Estimate or None
        The model-based upper bound, nats, where one was handed over: with the NLL of the probability flow, as the paper
        has it, for which no bound is promised, and with the plug-in NLL, for which it holds.
    networks : str
        What the model-based bounds were taken from.
    """

    title = "Entropy of the noisy Swiss roll"
    picture = "table1.png"

    table: EntropyTable
    exact: float
    points: Tensor
    model_bound: Estimate | None = None
    model_bound_plugin: Estimate | None = None
    networks: str = ""

    @property
    def exact_bits(self) -> float:
        """The entropy by quadrature, bits per dimension."""
        return self.table.bits_per_dim(Estimate(self.exact, 0.0)).value

    def rows(self) -> list[Row]:
        """The estimates, line by line; the exact entropy that they stand beside is :attr:`exact_bits`."""
        bits, table = self.table.bits_per_dim, self.table
        rows = []
        if self.model_bound is not None:
            rows.append(Row("model-based bound, NLL of the flow", bits(self.model_bound), paper=PAPER["model"]))
        if self.model_bound_plugin is not None:
            rows.append(Row("model-based bound, plug-in NLL", bits(self.model_bound_plugin)))
        for k, estimate in table.over_k:
            bias = bits(table.knn.bias).value if k == table.knn.settings["k"] else None
            rows.append(Row(f"k-NN, k = {k}", bits(estimate), bias, PAPER["knn"] if k == 10 else None))
        rows.append(Row(f"k-NN, k = {K}, less its bias", bits(_corrected(table.knn))))
        if table.histogram is not None:
            histogram = table.histogram
            rows.append(Row(histogram.method, bits(histogram), bits(histogram.bias).value, PAPER["histogram"]))
            rows.append(Row("histogram, less its bias", bits(_corrected(histogram))))
        rows.append(Row("uniform on the same box", bits(table.box), paper=PAPER["uniform"]))
        rows.append(Row("Gaussian of the same covariance", bits(table.gaussian), paper=PAPER["gaussian"]))
        return rows

    def tables(self) -> str:
        """The table, for people."""
        head = f"{'bits per dimension':<42}{'here':>22}{'here − exact':>14}{'its bias':>10}{'paper':>8}"
        lines = [f"noisy Swiss roll, {self.table.n:,} points", head, "-" * len(head)]
        lines.append(f"{_EXACT:<42}{f'{self.exact_bits:.5f}':>22}{'':>32}")
        for row in self.rows():
            known = math.isfinite(row.value.stderr) and row.value.stderr > 0.0
            value = str(row.value) if known else f"{row.value.value:.5f}"
            off, bias = f"{row.value.value - self.exact_bits:+.4f}", _signed(row.bias)
            lines.append(f"{row.name:<42}{value:>22}{off:>14}{bias:>10}{'' if row.paper is None else row.paper:>8}")
        if self.networks:
            lines.append(f"model-based: {self.networks}")
        return "\n".join(lines)

    def law(self) -> str:
        return "the noisy Swiss roll's law, from which the points are drawn; its entropy is known by quadrature"

    def conclusion(self) -> list[str]:
        """How far the estimates are from the truth, and whether they say so."""
        found = _corrected(self.table.knn)
        z = (found.value - self.exact) / found.stderr
        sentences = [
            f"Nearest neighbours less their bias are off by {found.value - self.exact:+.3g} nats, {z:+.1f} standard "
            f"errors, from {self.table.n:,} points."
        ]
        if self.model_bound is not None and self.model_bound.value < self.exact:
            sentences.append(
                "The model-based bound with the flow's likelihood lies below the entropy: it bounds nothing."
            )
        return sentences

    def numbers(self) -> dict[str, object]:
        exact = Row(_EXACT, Estimate(self.exact_bits, 0.0), bias=0.0)
        return {
            "experiment": "table1",
            "exact_nats": self.exact,
            "paper_bits_per_dim": PAPER,
            "networks": self.networks,
            "bits_per_dim": [
                {
                    "estimator": row.name,
                    "value": row.value.value,
                    "stderr": row.value.stderr,
                    "bias": row.bias,
                    "paper": row.paper,
                }
                for row in (exact, *self.rows())
            ],
            "table": self.table.to_json(),
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each estimate."""
        rows = self.rows()
        return {name: [getattr(row, name) for row in rows] for name in ("name", "value", "bias", "paper")}

    def figure(self) -> Figure:
        """The estimates against k and n beside the exact entropy, and the local entropies."""
        return table_figure(self.table, self.points, truth=self.exact)

    def lead(self) -> str:
        points = f"{self.table.n:,} points of noise {NOISE:g} before the division by 5"
        return f"Kodama and Hinczewski, Table 1: {points}."

    def sections(self, picture: Figure) -> list[str]:
        rows = [(_EXACT, f"{self.exact_bits:.6f}", "", "", "")]
        for row in self.rows():
            off = f"{row.value.value - self.exact_bits:+.4f}"
            paper = "" if row.paper is None else f"{row.paper:.3f}"
            rows.append((row.name, plain(row.value), off, _signed(row.bias), paper))
        networks = [html.paragraph(f"Model-based: {self.networks}.")] if self.networks else []
        return [
            html.section(
                "Table",
                html.paragraph(
                    f"Bits per dimension, {ENTROPY_ERRORS}The paper's histogram takes the number of bins that agrees "
                    "with its nearest neighbours at, for example, k = 10, and so is no second witness; here Knuth's "
                    "rule takes it from the points alone. The paper does not give the number of points; its k-NN line "
                    "stands beside k = 10."
                ),
                html.table(("estimator", "here", "here − exact", "bias it reports", "paper"), rows),
                *networks,
            ),
            html.section(
                "Figure",
                html.figure(picture, "Entropy against k and n, and local entropies", ENTROPY_CAPTION + ENTROPY_MAP),
            ),
            entropy_section(self.table),
        ]


@cache
def exact_entropy() -> float:
    """Entropy of the law by adaptive quadrature, nats, to 1e-9; some seconds, once."""
    return SwissRoll(NOISE).entropy()


def _signed(bias: float | None) -> str:
    return "" if bias is None or not math.isfinite(bias) else f"{bias:+.4f}"


def _corrected(estimate: EntropyEstimate) -> Estimate:
    """An estimate less its bias, with the errors of both."""
    bias = estimate.bias
    return Estimate(estimate.value - bias.value, math.hypot(estimate.stderr, bias.stderr))


def table1(
    *,
    n: int = POINTS["quick"],
    seed: int = 0,
    model_bound: Estimate | None = None,
    model_bound_plugin: Estimate | None = None,
    networks: str = "",
    progress: bool = True,
) -> Table1:
    """Estimate the entropy of the noisy Swiss roll from `n` points.

    Nearest neighbours at k = 1 … 20, a histogram whose bins Knuth's rule chooses from the points alone (the paper's are
    chosen to agree with the neighbours), the Gaussian and uniform references, and the exact value.

    Parameters
    ----------
    n : int
        Points.
    seed : int
    model_bound, model_bound_plugin : Estimate, optional
        The model-based upper bound on the entropy, nats, with the NLL of the probability flow and with the plug-in one,
        for their lines of the table; :meth:`CapacitySweep.for_table1` gives both.
    networks : str
        What these bounds were taken from, for people.
    progress : bool
        Show a progress bar.
    """
    points = SwissRoll(NOISE).sample(n, seed)
    table = entropy_table(points, k=K, ks=KS, bins="knuth", seed=seed, progress=progress)
    return Table1(table, exact_entropy(), points, model_bound, model_bound_plugin, networks)


def _run(profile: str, out: Path, *, seed: int, progress: bool, points: int | None, capacity: Path | None) -> Table1:
    n = POINTS[profile] if points is None else points
    if n < 100:
        raise ValueError(f"--points: expected at least 100, got {n}")
    sweep = shipped_capacity() if capacity is None else read_capacity(capacity)
    return table1(n=n, seed=seed, progress=progress, **sweep.for_table1())


EXPERIMENT = Experiment(
    name="table1",
    help="entropy of the Swiss roll: Kodama and Hinczewski, Table 1",
    profiles={name: f"{n:,} points" for name, n in POINTS.items()},
    options=(
        Option("--points", "any other number of points", int),
        Option(
            "--capacity",
            "folder where `reproduce capacity` left its networks' bounds (default: those that come with the package)",
            Path,
        ),
    ),
    run=_run,
)
