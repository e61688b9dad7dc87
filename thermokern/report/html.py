"""One self-contained HTML page: tables and figures inside, nothing fetched."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from thermokern.quantities import Estimate
from thermokern.quantities.results.result import encoded

_STYLE = """
:root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --accent: #2b6cb0; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; background: #fff; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; margin: .4rem 0; }
.lead { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .4rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: .88rem; max-width: 60rem; }
code, pre { font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; }
pre { background: #f7f9fb; border: 1px solid var(--line); padding: .8rem 1rem; overflow-x: auto; }
footer { margin-top: 3rem; color: var(--muted); font-size: .82rem; }
"""


def page(title: str, lead: str, sections: Sequence[str], footer: str) -> str:
    """A whole page of `sections`, each HTML already."""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{escape(lead)}</p>\n' + "\n".join(sections) + f"\n<footer>{escape(footer)}</footer>\n"
        "</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it, HTML already."""
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; cells are escaped."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(picture: Figure, alt: str, caption: str) -> str:
    """A figure as an embedded PNG."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def percent(share: Estimate) -> str:
    """A share and its standard error in percent."""
    return f"{Estimate(100.0 * share.value, 100.0 * share.stderr)} %" if math.isfinite(share.value) else "–"


def write_files(out: Path, name: str, picture: Figure, numbers: dict[str, Any], page: str) -> list[Path]:
    """A figure under its name, result.json and report.html in the folder `out`, which is made; the files written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name, out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(encoded(numbers), indent=2, allow_nan=False) + "\n")
    paths[2].write_text(page)
    return paths
