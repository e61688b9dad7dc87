"""The house: imports and includes go down the staircase only, files stay short, exported functions are explained."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from pathlib import Path

import pytest

import thermokern
from thermokern import ops

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "thermokern"
NATIVE = ROOT / "csrc"
PYTHON_FILES = sorted(PACKAGE.rglob("*.py"))
NATIVE_FILES = sorted(path for kind in ("hpp", "cpp", "cuh", "cu", "h") for path in NATIVE.rglob(f"*.{kind}"))

# From the lowest floor to the highest; a module may import its own floor and those below.
FLOORS = (
    "_core",
    "_cuda",
    "_info",
    "ops",
    "processes",
    "targets",
    "models",
    "quantities",
    "papers",
    "report",
    "cli",
    "__main__",
)
ROOF = FLOORS.index("cli")  # thermokern itself gathers what stands below it


def floor(module: str) -> int:
    """Height of a module by its dotted name."""
    parts = module.split(".")
    if len(parts) == 1:
        return ROOF
    assert parts[1] in FLOORS, f"{module} is on no floor: give {parts[1]} one in {Path(__file__).name}"
    return FLOORS.index(parts[1])


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool) -> list[str]:
    """Modules of thermokern that a source imports, wherever the import stands, relative ones resolved."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            if base == "thermokern":  # its names may be floors, or what the roof gathers
                found += [f"{base}.{a.name}" if a.name in FLOORS else base for a in node.names]
            else:
                found.append(base)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found += [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return [name for name in found if name.split(".")[0] == "thermokern"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch, thermokern.cli", ["thermokern.cli"]),
        ("from thermokern import ops, VP", ["thermokern.ops", "thermokern"]),
        ("from thermokern.models.score_model import ScoreModel", ["thermokern.models.score_model"]),
        ("from . import normals", ["thermokern.ops"]),
        ("from .normals import normals", ["thermokern.ops.normals"]),
        ("from ..cli import main", ["thermokern.cli"]),
        ("from .. import report", ["thermokern.report"]),
        ("def f():\n    from thermokern.report import html", ["thermokern.report"]),
        ("import importlib\nimportlib.import_module('thermokern.cli')", ["thermokern.cli"]),
    ],
)
def test_imports_are_read(source: str, expected: list[str]) -> None:
    assert imports(source, "thermokern.ops.trajectory", False) == expected


def test_there_are_files_to_read() -> None:
    assert {"ops", "processes", "targets"} <= {path.parent.name for path in PYTHON_FILES}
    assert {"core", "cpu", "bindings"} <= {path.parent.name for path in NATIVE_FILES}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=dotted)
def test_imports_go_down(path: Path) -> None:
    module = dotted(path)
    here = floor(module)
    up = [name for name in imports(path.read_text(), module, path.stem == "__init__") if floor(name) > here]
    assert not up, f"{module} imports {up}, which is above it"


# Folders of csrc that each may include, and system headers; None: any but those of torch.
INCLUDES: dict[str, tuple[set[str], set[str] | None]] = {
    "core": ({"core"}, {"cstdint", "cmath", "limits"}),
    "cpu": ({"core", "cpu"}, {"omp.h", "new", "cstdint", "cstdlib", "cstring", "atomic", "pthread.h", "type_traits"}),
    "cuda": ({"core", "cuda"}, None),
    "bindings": ({"core", "cpu", "cuda", "bindings"}, None),
}
FORBIDDEN = re.compile(r"^(torch|ATen|c10)/")


def native_name(path: Path) -> str:
    return path.relative_to(NATIVE).as_posix()


@pytest.mark.parametrize("path", NATIVE_FILES, ids=native_name)
def test_includes_go_down(path: Path) -> None:
    folder = native_name(path).split("/")[0]
    assert folder in INCLUDES, f"{native_name(path)} is on no floor"
    folders, headers = INCLUDES[folder]
    for kind, name in re.findall(r"^\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", path.read_text(), flags=re.MULTILINE):
        assert not FORBIDDEN.match(name), f"{native_name(path)} includes {name}"
        if kind == '"':
            target = (path.parent / name).resolve()
            assert target.is_file(), f"{native_name(path)} includes {name}, which is not beside it"
            assert target.relative_to(NATIVE).parts[0] in folders, f"{native_name(path)} includes {name}, above it"
        elif native_name(path) == "core/lanes.hpp" and name == "immintrin.h":
            continue
        else:
            assert headers is None or name in headers, f"{native_name(path)} includes <{name}>"
            assert name != "omp.h" or folder == "cpu", f"{native_name(path)}: OpenMP is for csrc/cpu alone"


@pytest.mark.parametrize("path", [*PYTHON_FILES, *NATIVE_FILES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{lines} lines: a file that grows past 400 has two tenants"


@pytest.mark.parametrize("name", ops.__all__)
def test_exported_ops_have_docstrings(name: str) -> None:
    exported = getattr(ops, name)
    if inspect.isfunction(exported):
        assert (exported.__doc__ or "").strip(), f"thermokern.ops.{name} has no docstring"


def test_readme_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The README's Python, as it stands there; its network is untrained, of which it may be warned."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", thermokern.FewPathsWarning)
        exec(example, {})
    assert "TAEP of 2000 forward paths" in capsys.readouterr().out


def test_paths_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
