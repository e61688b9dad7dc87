"""What ``--out DIR`` holds of the entropy of samples."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from thermokern.quantities import EntropyTable, Estimate
from thermokern.quantities.samples.entropy_table import plain
from thermokern.quantities.samples.figures import table_figure
from thermokern.report import html
from thermokern.report.reports import write_files

_HEAD = ("estimator", "bits per dimension", "nats", "bias (nats)")
ERRORS = (
    "± one standard error, which is sampling error alone; for nearest neighbours it counts that points share them. "
    "The bias is a separate matter: it is extrapolated from other k and from parts of the sample, or, for the "
    "histogram, from cells twice as wide; the estimates do not contain it."
)
_REFERENCES = (
    "No law of the same covariance has more entropy than the Gaussian, none on the same box more than the uniform one."
)
CAPTION = (
    "Left: entropy by nearest neighbours against their number k, beside the histogram. Middle: from parts of the "
    "sample, and where the bias puts the limit. Error bars are two standard errors; neighbouring dots share points."
)
MAP = "Right: the local entropy ψ(n) − ψ(k) + log V_d + d log ε of each point, an estimate of −log p."


def write_entropy(table: EntropyTable, out: Path, footer: str, points: Tensor, name: str) -> list[Path]:
    """Figure, numbers and page of the entropy of the points (n, d) of a file; the files written."""
    flat = table.dim == 2
    picture = table_figure(table, points if flat else None)
    page = html.page(
        "Entropy of a sample",
        f"{name}: {table.n:,} points in {table.dim} dimension{'s' * (table.dim > 1)}.",
        [
            html.section("Estimates", html.paragraph(f"{ERRORS} {_REFERENCES}"), html.table(_HEAD, _rows(table))),
            html.section(
                "Figure",
                html.figure(
                    picture, "Entropy against k and n, and local entropies", f"{CAPTION} {MAP}" if flat else CAPTION
                ),
            ),
            html.section("How", html.preformatted(table.knn.summary()), *_histogram(table)),
        ],
        footer,
    )
    return write_files(out, "entropy.png", picture, table.to_json(), page)


def _rows(table: EntropyTable) -> list[tuple[str, str, str, str]]:
    return [
        (label, plain(table.bits_per_dim(estimate)), plain(estimate), _bias(bias))
        for label, estimate, bias in table.rows()
    ]


def _bias(bias: Estimate) -> str:
    return plain(bias) if math.isfinite(bias.value) else ""


def _histogram(table: EntropyTable) -> list[str]:
    return [] if table.histogram is None else [html.preformatted(table.histogram.summary())]
