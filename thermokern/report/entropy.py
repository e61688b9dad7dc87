"""What ``--out DIR`` holds of the entropy of samples."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from thermokern.papers.kodama2025.table1 import NOISE, Table1
from thermokern.quantities import EntropyTable, Estimate
from thermokern.quantities.samples.entropy_table import plain
from thermokern.quantities.samples.figures import table_figure
from thermokern.report import html
from thermokern.report.reports import write_files

_HEAD = ("estimator", "bits per dimension", "nats", "bias (nats)")
_ERRORS = (
    "± one standard error, which is sampling error alone; for nearest neighbours it counts that points share them. "
    "The bias is a separate matter: it is extrapolated from other k and from parts of the sample, or, for the "
    "histogram, from cells twice as wide; the estimates do not contain it. "
)
_REFERENCES = (
    "No law of the same covariance has more entropy than the Gaussian, none on the same box more than the uniform one."
)
_CAPTION = (
    "Left: entropy by nearest neighbours against their number k, beside the histogram. Middle: from parts of the "
    "sample, and where the bias puts the limit. Error bars are two standard errors; neighbouring dots share points."
)
_MAP = " Right: the local entropy ψ(n) − ψ(k) + log V_d + d log ε of each point, an estimate of −log p."


def write_entropy(table: EntropyTable, out: Path, footer: str, points: Tensor, name: str) -> list[Path]:
    """Figure, numbers and page of the entropy of the points (n, d) of a file; the files written."""
    flat = table.dim == 2
    picture = table_figure(table, points if flat else None)
    page = html.page(
        "Entropy of a sample",
        f"{name}: {table.n:,} points in {table.dim} dimension{'s' * (table.dim > 1)}.",
        [
            html.section("Estimates", html.paragraph(_ERRORS + _REFERENCES), html.table(_HEAD, _rows(table))),
            html.section(
                "Figure", html.figure(picture, "Entropy against k and n, and local entropies", _CAPTION + _MAP * flat)
            ),
            html.section("How", html.preformatted(table.knn.summary()), *_histogram(table)),
        ],
        footer,
    )
    return write_files(out, "entropy.png", picture, table.to_json(), page)


def write_table1(result: Table1, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page of the Swiss roll's table; the files written."""
    table = result.table
    picture = table_figure(table, result.points, truth=result.exact)
    rows = [
        (
            row.name,
            plain(row.value) if row.bias != 0.0 else f"{row.value.value:.6f}",
            "" if row.bias == 0.0 else f"{row.value.value - result.rows()[0].value.value:+.4f}",
            f"{row.bias:+.4f}" if math.isfinite(row.bias) and row.bias != 0.0 else "",
            "" if row.paper is None else f"{row.paper:.3f}",
        )
        for row in result.rows()
    ]
    page = html.page(
        "Entropy of the noisy Swiss roll",
        f"Kodama and Hinczewski, Table 1: {table.n:,} points of noise {NOISE:g} before the division by 5.",
        [
            html.section(
                "Table",
                html.paragraph(
                    "Bits per dimension, "
                    + _ERRORS
                    + "The paper's histogram takes the number of bins that agrees with "
                    "its nearest neighbours at, for example, k = 10, and so is no second witness; here Knuth's rule "
                    "takes it from the points alone. The paper does not give the number of points; its k-NN line "
                    "stands beside k = 10."
                ),
                html.table(("estimator", "here", "here − exact", "bias it reports", "paper"), rows),
                *([html.paragraph(f"Model-based: {result.networks}.")] if result.networks else []),
            ),
            html.section(
                "Figure", html.figure(picture, "Entropy against k and n, and local entropies", _CAPTION + _MAP)
            ),
            html.section("How", html.preformatted(table.knn.summary()), *_histogram(table)),
        ],
        footer,
    )
    return write_files(out, "table1.png", picture, result.to_json(), page)


def _rows(table: EntropyTable) -> list[tuple[str, str, str, str]]:
    return [
        (label, plain(table.bits_per_dim(estimate)), plain(estimate), _bias(bias))
        for label, estimate, bias in table.rows()
    ]


def _bias(bias: Estimate) -> str:
    return plain(bias) if math.isfinite(bias.value) else ""


def _histogram(table: EntropyTable) -> list[str]:
    return [] if table.histogram is None else [html.preformatted(table.histogram.summary())]
