"""YAML files that describe one TAEP calculation."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from thermokern.models import ScoreModel, load_checkpoint
from thermokern.ops.checks import checked_choice
from thermokern.processes import PROCESSES, VP, LinearProcess
from thermokern.quantities import TAEP, taep
from thermokern.quantities.engine import Group
from thermokern.targets import Distribution, Empirical, Gaussian, GaussianMixture, SwissRoll, UniformBox

_OPTIONS = (
    *("n_paths", "n_steps", "t_eps", "spacing", "times", "scheme", "chain", "variance", "direction", "from_prior"),
    *("resolve", "seed", "backend", "device", "divergence", "probes", "memory_budget", "block", "gather", "keep_ends"),
)
_YES_OR_NO = ("from_prior", "keep_ends")
_PROCESSES: dict[str, Callable[..., LinearProcess]] = {**PROCESSES, "VP.from_sigma": VP.from_sigma}
_LAWS = {
    "ring": GaussianMixture.ring,
    "mixture": GaussianMixture,
    "gaussian": Gaussian,
    "box": UniformBox,
    "swiss-roll": SwissRoll,
    "empirical": Empirical,
}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, and a key that comes twice an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


# The numbers of YAML 1.2, which PyYAML's rule for floats leaves out: an exponent without a dot or a sign.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


def run_config(path: Path, *, seed: int | None = None, group: Group = None, progress: bool = True) -> TAEP:
    """The TAEP that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``reference`` (each ``checkpoint: FILE`` with ``predicts`` and ``architecture`` where the file
    does not say, or ``ring:``, ``mixture:``, ``gaussian:``, ``box:``, ``swiss-roll:``, ``empirical:`` with the
    arguments of the distribution; ``points`` of the last may name a .npy file), ``process`` (``kind``, such as VP,
    VP.from_sigma or EDM, and its arguments), ``data`` (a .npy file of points (n, d)) or ``n_paths``, ``checkpoint`` (a
    folder), and the options of :func:`thermokern.taep`.
    """
    known = {"model", "reference", "process", "data", "checkpoint", *_OPTIONS}
    config = read_config(path, known, required=("model", "reference"))
    process = read_process(config.get("process"))
    options = {name: config[name] for name in _OPTIONS if name in config}
    for name in _YES_OR_NO:
        if not isinstance(options.get(name, False), bool):
            raise ValueError(f"{name}: expected true or false, got {options[name]!r}")
    if seed is not None:
        options["seed"] = seed
    if "data" in config:
        options["x0"] = read_points(path.parent / config["data"])
    if "checkpoint" in config:
        options["checkpoint"] = path.parent / str(config["checkpoint"])
    model, reference = (read_score(name, config[name], path.parent, process) for name in ("model", "reference"))
    return taep(model, reference, process, group=group, progress=progress, **options)


def read_config(path: Path, known: set[str], required: tuple[str, ...]) -> dict[str, Any]:
    """The keys and values of a YAML file, none unknown and none missing."""
    try:
        config = yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"config {path.name}: not YAML: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"config {path.name}: expected keys and values")
    if unknown := sorted(map(str, set(config) - known)):
        raise ValueError(f"config {path.name}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    for name in required:
        if name not in config:
            raise ValueError(f"config {path.name}: {name} is missing")
    return config


def read_process(entry: Any) -> LinearProcess | None:
    """The process that an entry names."""
    if entry is None:
        return None
    arguments = {"kind": entry} if isinstance(entry, str) else dict(entry)
    kind = arguments.pop("kind", None)
    checked_choice("process.kind", kind, _PROCESSES)
    return _call("process", _PROCESSES[kind], arguments)  # type: ignore[no-any-return]


def read_score(name: str, entry: Any, folder: Path, process: LinearProcess | None) -> ScoreModel | Distribution:
    """The checkpoint or the law that an entry names."""
    if not isinstance(entry, dict):
        raise ValueError(f"{name}: expected checkpoint, {', '.join(_LAWS)} and arguments, got {entry!r}")
    if "checkpoint" in entry:
        arguments = dict(entry)
        file = folder / arguments.pop("checkpoint")
        return _call(name, load_checkpoint, {"path": file, "process": process, **arguments})  # type: ignore[no-any-return]
    if len(entry) != 1 or next(iter(entry)) not in _LAWS:
        raise ValueError(f"{name}: expected one of checkpoint, {', '.join(_LAWS)}, got {', '.join(map(str, entry))}")
    kind, arguments = next(iter(entry.items()))
    if kind == "empirical" and isinstance(arguments, dict) and isinstance(arguments.get("points"), str):
        arguments = {**arguments, "points": read_points(folder / arguments["points"])}
    return _call(f"{name}.{kind}", _LAWS[kind], arguments or {})  # type: ignore[no-any-return]


def read_data(entry: Any, folder: Path, process: LinearProcess | None) -> Distribution | np.ndarray:
    """The points of the .npy file, or the law, that an entry names."""
    if isinstance(entry, str):
        return read_points(folder / entry)
    if isinstance(entry, dict) and "checkpoint" in entry:
        raise ValueError("data: expected a law or a .npy file of points, got a checkpoint")
    law = read_score("data", entry, folder, process)
    assert isinstance(law, Distribution)
    return law


def _call(name: str, function: Any, arguments: dict[str, Any]) -> Any:
    try:
        return function(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None


def read_points(path: Path) -> np.ndarray:
    """Points (n, d) of a .npy file."""
    try:
        points = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"data {path.name}: not a .npy file of numbers ({error})") from None
    if not isinstance(points, np.ndarray) or points.ndim != 2 or not np.issubdtype(points.dtype, np.number):
        raise ValueError(f"data {path.name}: expected a .npy file of points (n, d)")
    return points.astype(np.float64)
