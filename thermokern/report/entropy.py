"""What ``--out DIR`` holds of the entropy of samples."""

from __future__ import annotations

import math
from pathlib import Path

from thermokern.papers.kodama2025.table1 import NOISE, Table1
from thermokern.quantities.samples.entropy_table import plain
from thermokern.quantities.samples.figures import table_figure
from thermokern.report import html
from thermokern.report.results import ENTROPY_CAPTION, ENTROPY_ERRORS, ENTROPY_MAP, entropy_section


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
                    + ENTROPY_ERRORS
                    + "The paper's histogram takes the number of bins that agrees with "
                    "its nearest neighbours at, for example, k = 10, and so is no second witness; here Knuth's rule "
                    "takes it from the points alone. The paper does not give the number of points; its k-NN line "
                    "stands beside k = 10."
                ),
                html.table(("estimator", "here", "here − exact", "bias it reports", "paper"), rows),
                *([html.paragraph(f"Model-based: {result.networks}.")] if result.networks else []),
            ),
            html.section(
                "Figure",
                html.figure(picture, "Entropy against k and n, and local entropies", ENTROPY_CAPTION + ENTROPY_MAP),
            ),
            entropy_section(table),
        ],
        footer,
    )
    return html.write_files(out, "table1.png", picture, result.to_json(), page)
