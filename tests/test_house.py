"""The house: imports and includes go down the staircase only, files stay short, exported functions are explained."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

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
    "_files",
    "_bars",
    "ops",
    "processes",
    "targets",
    "models",
    "quantities",
    "metrics",
    "report",
    "papers",
    "cli",
    "__main__",
)
ROOF = FLOORS.index("cli")  # thermokern itself gathers what stands below it
# Inside quantities: the base rooms stand on the engine, which stands on results; composites stand on the rooms.
ROOMS = ("taep", "likelihood", "samples", "dissipation")
STOREYS = {"results": 0, "engine": 1, **dict.fromkeys(ROOMS, 2)}
COMPOSITES = 3


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in PYTHON_FILES
}
NATIVE_MODULES = ("thermokern._core", "thermokern._cuda")


def floor(module: str) -> int:
    """Height of a module by its dotted name."""
    parts = module.split(".")
    if len(parts) == 1:
        return ROOF
    assert parts[1] in FLOORS, f"{module} is on no floor: give {parts[1]} one in {Path(__file__).name}"
    return FLOORS.index(parts[1])


def storey(module: str) -> int | None:
    """Height of a module inside quantities; None outside, and where quantities gathers its rooms."""
    parts = module.split(".")
    return STOREYS.get(parts[2], COMPOSITES) if parts[1:2] == ["quantities"] and len(parts) > 2 else None


def dotted(path: Path) -> str:
    return next(name for name, other in MODULES.items() if other == path)


def imports(source: str, module: str, is_package: bool) -> list[str]:
    """Modules of thermokern that a source imports, wherever the import stands, relative ones resolved."""
    return [found for found, _ in named_imports(source, module, is_package)]


def named_imports(source: str, module: str, is_package: bool) -> list[tuple[str, str]]:
    """The modules, each with the name that is taken from it; empty where the module itself is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:  # a name may be a module itself
                inside = f"{base}.{alias.name}"
                found.append((inside, "") if inside in MODULES or inside in NATIVE_MODULES else (base, alias.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            named = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            found += [(name, "") for name in named]
    return [*dict.fromkeys(pair for pair in found if pair[0].split(".")[0] == "thermokern")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch, thermokern.cli", ["thermokern.cli"]),
        ("from thermokern import ops, VP", ["thermokern.ops", "thermokern"]),
        ("from thermokern.models.score_model import ScoreModel", ["thermokern.models.score_model"]),
        ("from . import normals", ["thermokern.ops.normals"]),
        ("from .normals import normals", ["thermokern.ops.normals"]),
        ("from ..cli import main", ["thermokern.cli"]),
        ("from .. import report", ["thermokern.report"]),
        (
            "def f():\n    from thermokern.report import html, write_result",
            ["thermokern.report.html", "thermokern.report"],
        ),
        ("import importlib\nimportlib.import_module('thermokern.cli')", ["thermokern.cli"]),
    ],
)
def test_imports_are_read(source: str, expected: list[str]) -> None:
    assert imports(source, "thermokern.ops.trajectory", False) == expected


def test_there_are_files_to_read() -> None:
    assert {"ops", "processes", "targets"} <= {path.parent.name for path in PYTHON_FILES}
    assert {"core", "cpu", "bindings"} <= {path.parent.name for path in NATIVE_FILES}


def climbs(source: str, module: str, is_package: bool) -> list[str]:
    """What a module imports though it stands above it, or beside it as one room beside another."""
    bad = []
    for name in imports(source, module, is_package):
        here, there = storey(module), storey(name)
        inside = here is not None and there is not None and module.split(".")[2] != name.split(".")[2]
        if floor(name) > floor(module) or (inside and there >= here):
            bad.append(name)
    return bad


@pytest.mark.parametrize("path", PYTHON_FILES, ids=dotted)
def test_imports_go_down(path: Path) -> None:
    module = dotted(path)
    up = climbs(path.read_text(), module, path.stem == "__init__")
    assert not up, f"{module} imports {up}, which is above it or a sibling"


@pytest.mark.parametrize(
    ("source", "module", "found"),
    [
        ("from thermokern.quantities.taep import TAEP", "thermokern.quantities.samples.coverage", 1),
        ("from ..taep.modes import Mode", "thermokern.quantities.likelihood.limits", 1),
        ("def f():\n    import thermokern.quantities.samples", "thermokern.quantities.dissipation.paths", 1),
        ("from thermokern.quantities.engine import sample", "thermokern.quantities.results.storage", 1),
        ("from thermokern.quantities.taep import TAEP", "thermokern.quantities.engine.batching", 1),
        ("from thermokern.quantities.learning import g", "thermokern.quantities.information.verb", 1),
        ("from thermokern.quantities.taep import TAEP", "thermokern.quantities.learning.verb", 0),
        ("from thermokern.quantities.engine import sample", "thermokern.quantities.taep.taep", 0),
        ("from thermokern.quantities.taep.modes import Mode", "thermokern.quantities.taep.result", 0),
        ("from thermokern.papers import ding2026", "thermokern.report.html", 1),
        ("from thermokern.report import html", "thermokern.papers.ding2026.images", 0),
    ],
)
def test_a_planted_climb_is_found(source: str, module: str, found: int) -> None:
    assert len(climbs(source, module, False)) == found


def circle(edges: dict[str, list[str]]) -> list[str]:
    """Modules that import each other in a ring, in order; empty where there is none."""
    done: set[str] = set()
    for start in edges:
        path, todo = [start], [iter(edges[start])]
        while todo:
            follow = next((name for name in todo[-1] if name not in done), None)
            if follow is None:
                done.add(path.pop())
                todo.pop()
            elif follow in path:
                return [*path[path.index(follow) :], follow]
            else:
                path.append(follow)
                todo.append(iter(edges.get(follow, ())))
    return []


def test_there_is_no_circle() -> None:
    """Imports in functions and for types count; :meth:`Result.plot`, by no name, is the one way round."""
    edges = {}
    for module, path in MODULES.items():
        names = imports(path.read_text(), module, path.stem == "__init__")
        edges[module] = [name for name in names if name != module]
    assert "thermokern.quantities.results.result" in edges["thermokern.quantities.taep.result"]
    assert not circle(edges), " imports ".join(circle(edges))


def test_only_results_import_by_a_name_that_is_worked_out() -> None:
    """What the reader of imports cannot see: the way from a result to its figure, and a user's own factory."""
    users = [module for module, path in MODULES.items() if re.search(r"import_module\((?!\")", path.read_text())]
    assert users == ["thermokern.cli.networks", "thermokern.quantities.results.result"]


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": ["b"], "b": ["c", "d"], "c": [], "d": ["c", "a"]}) == ["a", "b", "d", "a"]
    assert circle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []


def private_names(source: str, module: str, is_package: bool) -> list[str]:
    """Private names and modules that a module takes from another folder, by import or as an attribute of a module."""
    folder = module if is_package else module.rpartition(".")[0]
    taken, bound = [], {}
    for name, item in named_imports(source, module, is_package):
        home = name if name in MODULES and MODULES[name].stem == "__init__" else name.rpartition(".")[0]
        if name.split(".")[1:2] != [] and home != folder:
            taken += [f"{name}.{item}" for part in (*name.split(".")[2:], item) if re.match("_[^_]", part)]
            bound[name.rpartition(".")[2]] = name
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            taken += [f"{bound[node.value.id]}.{node.attr}"] * bool(re.match("_[^_]", node.attr))
    return taken


@pytest.mark.parametrize("path", PYTHON_FILES, ids=dotted)
def test_private_names_stay_in_their_folder(path: Path) -> None:
    module = dotted(path)
    taken = private_names(path.read_text(), module, path.stem == "__init__")
    assert not taken, f"{module} takes {taken}, private to another folder"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from thermokern.ops.registry import _run", 1),
        ("from thermokern.ops._library import run", 1),
        ("from thermokern.ops import registry\nregistry._run()", 1),
        ("from thermokern.ops import registry\nregistry.run.__name__", 0),
        ("from thermokern.processes.linear import _grid", 0),
        ("from .linear import _grid", 0),
        ("from thermokern import _core\nfrom thermokern._info import VERSION", 0),
    ],
)
def test_a_planted_private_name_is_found(source: str, found: int) -> None:
    assert len(private_names(source, "thermokern.processes.tables", False)) == found


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
        elif native_name(path) == "core/lanes.hpp" and name in ("immintrin.h", "arm_neon.h"):
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


def test_the_readme_example_is_short() -> None:
    """Ten lines; that they run is for tests/test_site.py."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 10


def test_paths_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
