"""Entropy of the noisy Swiss roll several ways: Kodama and Hinczewski, Table 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from thermokern.quantities import EntropyEstimate, EntropyTable, Estimate, entropy_table
from thermokern.targets import SwissRoll

NOISE = 0.5
KS = tuple(range(1, 21))
K = 3
# What the paper prints, bits per dimension.
PAPER = {"model": 1.441, "knn": 1.432, "histogram": 1.415, "uniform": 2.472, "gaussian": 2.487}
QUICK, FULL = 50_000, 400_000  # points; the paper does not say how many it took


@dataclass(frozen=True)
class Row:
    """One line: an estimator, what it gives here and what the paper prints, bits per dimension."""

    name: str
    value: Estimate
    bias: float  # as the estimate itself reports it
    paper: float | None


@dataclass(frozen=True, eq=False)
class Table1:
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

    table: EntropyTable
    exact: float
    points: Tensor
    model_bound: Estimate | None = None
    model_bound_plugin: Estimate | None = None
    networks: str = ""

    def rows(self) -> list[Row]:
        """The lines of the table."""
        bits, table = self.table.bits_per_dim, self.table
        rows = [Row("exact, by quadrature", Estimate(bits(Estimate(self.exact, 0.0)).value, 0.0), 0.0, None)]
        if self.model_bound is not None:
            rows.append(Row("model-based bound, NLL of the flow", bits(self.model_bound), math.nan, PAPER["model"]))
        if self.model_bound_plugin is not None:
            rows.append(Row("model-based bound, plug-in NLL", bits(self.model_bound_plugin), math.nan, None))
        for k, estimate in table.over_k:
            at_k = k == table.knn.settings["k"]
            bias = bits(table.knn.bias).value if at_k else math.nan
            rows.append(Row(f"k-NN, k = {k}", bits(estimate), bias, PAPER["knn"] if k == 10 else None))
        rows.append(Row(f"k-NN, k = {K}, less its bias", bits(_corrected(table.knn)), math.nan, None))
        if table.histogram is not None:
            histogram = table.histogram
            rows.append(Row(histogram.method, bits(histogram), bits(histogram.bias).value, PAPER["histogram"]))
            rows.append(Row("histogram, less its bias", bits(_corrected(histogram)), math.nan, None))
        rows.append(Row("uniform on the same box", bits(table.box), math.nan, PAPER["uniform"]))
        rows.append(Row("Gaussian of the same covariance", bits(table.gaussian), math.nan, PAPER["gaussian"]))
        return rows

    def summary(self) -> str:
        """The table, for people."""
        head = f"{'bits per dimension':<42}{'here':>22}{'here − exact':>14}{'its bias':>10}{'paper':>8}"
        lines = [f"noisy Swiss roll, {self.table.n:,} points", head, "-" * len(head)]
        exact = self.rows()[0].value.value
        for row in self.rows():
            known = math.isfinite(row.value.stderr) and row.value.stderr > 0.0
            value = str(row.value) if known else f"{row.value.value:.5f}"
            off = f"{row.value.value - exact:+.4f}" if row.bias != 0.0 else ""
            bias = f"{row.bias:+.4f}" if math.isfinite(row.bias) and row.bias != 0.0 else ""
            lines.append(f"{row.name:<42}{value:>22}{off:>14}{bias:>10}{'' if row.paper is None else row.paper:>8}")
        if self.networks:
            lines.append(f"model-based: {self.networks}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "experiment": "table1",
            "exact_nats": self.exact,
            "paper_bits_per_dim": PAPER,
            "networks": self.networks,
            "bits_per_dim": [
                {
                    "estimator": row.name,
                    "value": row.value.value,
                    "stderr": row.value.stderr if math.isfinite(row.value.stderr) else None,
                    "bias": row.bias if math.isfinite(row.bias) else None,
                    "paper": row.paper,
                }
                for row in self.rows()
            ],
            "table": self.table.to_json(),
        }


@cache
def exact_entropy() -> float:
    """Entropy of the law by adaptive quadrature, nats, to 1e-9; some seconds, once."""
    return SwissRoll(NOISE).entropy()


def _corrected(estimate: EntropyEstimate) -> Estimate:
    """An estimate less its bias, with the errors of both."""
    bias = estimate.bias
    return Estimate(estimate.value - bias.value, math.hypot(estimate.stderr, bias.stderr))


def table1(
    *,
    n: int = QUICK,
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
