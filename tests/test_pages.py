"""What README and docs tell people to type: commands that parse, scripts that exist, Python whose names exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import thermokern as tk
from thermokern.cli import command_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def commands() -> list[tuple[str, str]]:
    """Each command line of thermokern that stands in a page as code, `a | b` taken apart."""
    found = []
    for page, text in TEXT.items():
        for code in re.findall(r"`(thermokern [a-z][^`]*)`", text):
            head, *others = [part.strip() for part in code.split(" | ")]
            found += [(page, head), *((page, f"{head.rsplit(' ', 1)[0]} {other}") for other in others)]
    return found


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value.replace(" ", "-"))
def test_command_lines_parse(page: str, line: str) -> None:
    try:
        options = command_parser().parse_args(shlex.split(line)[1:])
    except SystemExit:
        pytest.fail(f"{page}: {line} does not parse")
    assert callable(options.run)


def test_there_are_commands_to_parse() -> None:
    assert len(commands()) > 10


def test_scripts_that_pages_name_exist_with_their_options() -> None:
    for page, text in TEXT.items():
        for path, rest in re.findall(r"(?:python|bash) ((?:benchmarks|csrc|tests)/[\w/]+\.(?:py|sh))([^`\n]*)", text):
            script = ROOT / path
            assert script.is_file(), f"{page}: {path}"
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in script.read_text(encoding="utf-8"), f"{page}: {path} {option}"


def test_python_of_pages_uses_names_that_exist() -> None:
    """Blocks of Python parse, and every ``tk.NAME`` in code or prose is public."""
    for page, text in TEXT.items():
        for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
            ast.parse(block)
        for name in re.findall(r"`?\btk\.([A-Za-z_]+)", text):
            assert hasattr(tk, name), f"{page}: tk.{name}"


def test_links_of_pages_lead_somewhere() -> None:
    for page, text in TEXT.items():
        for target in re.findall(r"\]\(([\w./-]+\.[a-z]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
