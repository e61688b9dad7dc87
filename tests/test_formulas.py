"""Every formula stands once in csrc: no run of arithmetic in one folder stands in another, token by token."""

import itertools
import re
from pathlib import Path

import pytest

NATIVE = Path(__file__).parent.parent / "csrc"
SUFFIXES = (".hpp", ".cpp", ".cu", ".cuh")
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|[-+*/%<>=!&|^]+|[^\s\w]")
ARITHMETIC = {"+", "-", "*", "/", "+=", "-=", "*="}
POINTER = re.compile(r"\b((?:[A-Z]\w*|float|double|int|u?int\d+_t|void|char)(?: const)?) ?\*+")
INDICES = {
    "std",
    "int",
    "int64_t",
}  # std::int64_t and its kin: arithmetic of sizes and places, which schedules may share
LENGTH, OPERATIONS = 14, 2


def runs(source: str) -> set[tuple[str, ...]]:
    """Runs of LENGTH tokens that hold at least OPERATIONS operations; comments and directives do not count."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/|^\s*#[^\n]*", "", source, flags=re.DOTALL | re.MULTILINE)
    tokens = TOKEN.findall(POINTER.sub(r"\1", code))
    windows = (tuple(tokens[i : i + LENGTH]) for i in range(len(tokens) - LENGTH + 1))
    formulas = (window for window in windows if INDICES.isdisjoint(window))
    return {window for window in formulas if sum(token in ARITHMETIC for token in window) >= OPERATIONS}


def folder(name: str) -> dict[str, set[tuple[str, ...]]]:
    return {
        f"{name}/{path.name}": runs(path.read_text())
        for path in sorted((NATIVE / name).iterdir())
        if path.suffix in SUFFIXES
    }


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations(["core", "cpu", "cuda", "bindings"], 2)), ids=lambda name: name
)
def test_no_formula_stands_in_two_folders(one: str, other: str) -> None:
    ours, theirs = folder(one), folder(other)
    assert sum(map(len, ours.values())) > 20, "the folder was not read"
    for (here, formulas), (there, others) in itertools.product(ours.items(), theirs.items()):
        shared = formulas & others
        assert not shared, f"{here} and {there} share: {' '.join(min(shared))}"


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("const V current = force - node.diffusion * model[i]; values[0] = values[0] + model[i] * model[i];", True),
        ("const V flow = push - row.spread * score[i]; sums[0] = sums[0] + score[i] * score[i];", False),
    ],
    ids=["copied", "another"],
)
def test_a_planted_copy_is_found(planted: str, found: bool) -> None:
    formula = (
        "const V current = force - node.diffusion * model[i];\nvalues[0] = values[0] + model[i] * model[i];  // |s|²"
    )
    assert bool(runs(formula) & runs(planted)) == found
