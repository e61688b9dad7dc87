"""One self-contained HTML page: tables and figures inside, nothing fetched. What it looks like is in ``templates``."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape, unescape
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from thermokern.quantities import Estimate, Result
from thermokern.quantities.results.result import encoded
from thermokern.report.glossary import WORDS
from thermokern.report.panels import panels_of

_TEMPLATES = Path(__file__).parent / "templates"
_PROSE = 40  # letters from which on a cell is prose, which may be broken
_AS_IT_IS = ("pre", "summary", "h2", "a")  # elements in whose text no word is explained
_NUMBER = re.compile(r"[-+−≤≥<>]?\s*(\d|∞|–|\?|nan|inf|unknown|$)")

Made = Mapping[str, str] | str  # what made a page: named facts, or a line


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["base64"] = lambda text: base64.b64encode(text.encode()).decode()
    return environment


def _filled(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


def page(title: str, lead: str, sections: Sequence[str], made: Made, conclusion: Sequence[str] = ()) -> str:
    """A whole page of `sections`, each HTML already.

    Words of the glossary that stand on it are explained at its end, and where each first stands by a tooltip.
    """
    parts = [escape(lead), *map(escape, conclusion), *sections]
    words = words_of(" ".join(parts))
    first, *rest = (Markup(part) for part in _explained(parts, words))
    return _filled(
        "page.html",
        title=title,
        lead=first,
        conclusion=rest[: len(conclusion)],
        sections=rest[len(conclusion) :],
        words=words,
        made=made,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )


def conclusion(result: Result) -> list[str]:
    """The sentences at the head of a result's page: what it says, and of which law."""
    return [*result.conclusion(), *([f"The numbers speak of {law}."] if (law := result.law()) else [])]


def words_of(html: str) -> list[tuple[str, str]]:
    """The entries of the glossary whose word stands in the text of some HTML."""
    text = unescape(re.sub(r"<img[^>]*>|<[^>]+>", " ", html)).casefold()
    return [(word, meaning) for word, (pattern, meaning) in WORDS.items() if re.search(pattern, text)]


def _explained(parts: Sequence[str], words: Sequence[tuple[str, str]]) -> list[str]:
    """Parts of a page, HTML, with the first place of each word a link to what it means, which is its tooltip too."""
    left = {i: re.compile(WORDS[word][0], re.IGNORECASE) for i, (word, _) in enumerate(words, 1)}
    inside: list[str] = []  # of elements whose text stays as it is

    def linked(text: str) -> str:
        found = [(match.start(), -len(match[0]), i, match) for i, rule in left.items() if (match := rule.search(text))]
        if not found:
            return text
        *_, i, match = min(found)
        del left[i]
        link = f'<a class="term" href="#word-{i}" title="{escape(words[i - 1][1])}">{match[0]}</a>'
        return text[: match.start()] + link + linked(text[match.end() :])

    def of(piece: str) -> str:
        tag = re.match(r"<(/?)([a-z0-9]+)", piece)
        if tag is None:
            return piece if inside else linked(piece)
        if tag[2] in _AS_IT_IS:
            inside.append(tag[2]) if not tag[1] else inside.pop()
        return piece

    return ["".join(map(of, re.split(r"(<[^>]*>)", part))) for part in parts]


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it, HTML already."""
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'


def folded(title: str, *parts: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{escape(title)}</summary>\n" + "\n".join(parts) + "</details>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str = "",
    *,
    stack: bool = False,
    labels: bool = True,
) -> str:
    """A table; cells are escaped. The first of each row names it.

    Columns of numbers are set to the right, words to the left; with `stack` each row is a block on a phone,
    its cells under their columns' names unless `labels` is false.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    kinds = [_kind([row[i] for row in cells]) for i in range(len(head))]
    return _filled("table.html", head=head, rows=cells, caption=caption, kinds=kinds, stack=stack, labels=labels)


def _kind(column: Sequence[str]) -> str:
    if all(_NUMBER.match(cell) for cell in column):
        return ""
    return "prose" if any(len(cell) > _PROSE for cell in column) else "text"


def named(values: Mapping[str, object], caption: str = "") -> str:
    """A table of names and values."""
    return table(("", "value"), [(name, value) for name, value in values.items()], caption, stack=True, labels=False)


def settings(values: Mapping[str, object], idle: Sequence[str] = ()) -> list[str]:
    """A table of what is a word or a number, and the rest on demand."""
    values = {name: value for name, value in values.items() if name not in idle}
    short = {name.replace("_", " "): _word(value) for name, value in values.items() if _word(value)}
    rest = {name: value for name, value in values.items() if not _word(value)}
    more = [folded("More: " + ", ".join(rest), preformatted(_readable(rest)))] if rest else []
    return [named(short, "All that defines the calculation."), *more]


def _word(value: object) -> str:
    """A setting in a table's cell; empty where it is too long for one."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {item}" for name, item in value.items() if isinstance(item, str | int | float)) * (
            not any(isinstance(item, dict | list) for item in value.values())
        )
    if isinstance(value, list | tuple):
        return "" if len(value) > 6 else ", ".join(map(_word, value)) or "none"
    if value is None or value != value:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "none"


def _readable(settings: object) -> str:
    """JSON with each list of numbers on a line of its own."""
    text = json.dumps(encoded(settings), indent=2)
    return re.sub(r"\[\n([^\[\]{}]*)\n\s*\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)


def figure(picture: Figure, alt: str, caption: str) -> str:
    """A figure as embedded pictures of its panels; `alt` leads the description of each."""
    panels = [panel._replace(alt=f"{alt}. {panel.alt}") for panel in panels_of(picture)]
    runs = [(small, list(run)) for small, run in groupby(panels, key=lambda panel: panel.small)]
    return _filled("figure.html", runs=runs, caption=caption)


def percent(share: Estimate) -> str:
    """A share and its standard error in percent."""
    return f"{100.0 * share} %" if math.isfinite(share.value) else "–"


def write_files(out: Path, name: str, picture: Figure, numbers: dict[str, Any], page: str) -> list[Path]:
    """A figure under its name, result.json and report.html in the folder `out`, which is made; the files written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name, out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(encoded(numbers), indent=2, allow_nan=False) + "\n")
    paths[2].write_text(page, encoding="utf-8")
    return paths
