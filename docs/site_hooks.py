"""What MkDocs runs while it builds: public names that stand on no page of the reference get one."""

from __future__ import annotations

import ast
import re
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


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add to the page of other names all that are listed nowhere."""
    if page.file.src_uri != "api/other.md":
        return markdown
    listed = listed_names()
    return "\n\n".join([markdown, *(f"::: thermokern.{name}" for name in public_names() if name not in listed)])
