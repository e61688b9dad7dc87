"""What MkDocs runs while it builds: public names without a page get one, and docstrings lose their roles."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def public_names() -> list[str]:
    """``thermokern.__all__``, read without importing the package."""
    for statement in ast.parse((ROOT / "thermokern/__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "__all__":
            return [name for name in ast.literal_eval(statement.value) if name not in ("__version__", "ops")]
    raise ValueError("thermokern/__init__.py has no __all__")


def listed_names() -> set[str]:
    """Names that the pages of the reference list by hand."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    return set(re.findall(r"^::: thermokern\.(\w+)", text, flags=re.MULTILINE))


@cache
def _homes() -> dict[str, str]:
    """The dotted path of the module that defines each class and function of the package."""
    return {
        statement.name: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "thermokern").rglob("*.py"), reverse=True)
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.FunctionDef | ast.ClassDef)
    }


def home(name: str) -> str:
    """Where a public name is defined: a function may be called as its module is, and that one would be found first."""
    return _homes()[name]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead each name of the reference to its home; the page of other names gets all that are listed nowhere."""
    if not page.file.src_uri.startswith("api/"):
        return markdown
    if page.file.src_uri == "api/other.md":
        listed = listed_names()
        others = [f"::: thermokern.{name}" for name in public_names() if name not in listed]
        markdown = "\n\n".join([markdown, *others])
    return re.sub(
        r"^::: thermokern\.(\w+)$", lambda found: f"::: {home(found[1])}.{found[1]}", markdown, flags=re.MULTILINE
    )


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Docstrings name functions by ``:func:`` and put types into double backticks: pages show the names alone."""
    if not page.file.src_uri.startswith("api/"):
        return html
    return re.sub(r":(?:func|meth|class|mod|data|attr):(?=<code>)", "", html).replace("``", "")
