"""YAML files that describe one calculation."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from thermokern.cli.keys import Key, checked_options, keys_of, unknown
from thermokern.cli.networks import NETWORKS, read_points_of, read_process, read_score
from thermokern.models import ScoreModel
from thermokern.processes import LinearProcess
from thermokern.quantities import TAEP, Limits, Schedules, limits, optimal_schedule, taep
from thermokern.quantities.engine import Group
from thermokern.targets import Distribution

# What each command computes, which sections its file has beside the options of the call, and which of these it needs.
CALLS: dict[str, Callable[..., Any]] = {"taep": taep, "limits": limits, "schedule": optimal_schedule}
SECTIONS = {
    "taep": ("model", "reference", "process", "data"),
    "limits": ("model", "data", "process"),
    "schedule": ("model", "data", "process"),
}
NEEDED = {"taep": ("model", "reference"), "limits": ("model", "data"), "schedule": ("model", "data")}
_FILES = ("x0", "labels")  # options that are arrays of a file


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


def keys_for(command: str) -> dict[str, Key]:
    """The options that a command's file may have: all those of its call that a file can say."""
    return keys_of(CALLS[command])


def run_config(path: Path, *, seed: int | None = None, group: Group = None, progress: bool = True) -> TAEP:
    """The TAEP that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``reference`` (see :func:`thermokern.cli.networks.read_score`), ``process`` (``kind``, such as
    VP, VP.from_sigma or EDM, and its arguments), ``data`` (points, see :func:`~thermokern.cli.networks.read_points_of`)
    or ``n_paths``, and the options of :func:`thermokern.taep`.
    """
    config, options, process = _read("taep", path, seed)
    folder = path.parent
    if "data" in config:
        options["x0"] = read_points_of("data", config["data"], folder)
    model, reference = (read_score(name, config[name], folder, process) for name in ("model", "reference"))
    result: TAEP = taep(model, reference, process, group=group, progress=progress, **options)
    return result


def run_limits(path: Path, *, seed: int | None = None, group: Group = None, progress: bool = True) -> Limits:
    """The limits that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``process`` as :func:`run_config` has them; ``data``, a law as ``model`` may be one, or points;
    and the options of :func:`thermokern.limits`.
    """
    config, options, process = _read("limits", path, seed)
    model = read_score("model", config["model"], path.parent, process)
    data = read_data(config["data"], path.parent, process)
    return limits(model, data, process, group=group, progress=progress, **options)


def run_schedule(path: Path, *, seed: int | None = None, progress: bool = True) -> Schedules:
    """The schedules that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``process`` as :func:`run_config` has them; ``data``, a law as ``model`` may be one, or points;
    and the options of :func:`thermokern.optimal_schedule`.
    """
    config, options, process = _read("schedule", path, seed)
    if isinstance(options.get("n_steps"), int):
        options["n_steps"] = [options["n_steps"]]
    model = read_score("model", config["model"], path.parent, process)
    data = read_data(config["data"], path.parent, process)
    return optimal_schedule(model, data, process, progress=progress, **options)


def _read(command: str, path: Path, seed: int | None) -> tuple[dict[str, Any], dict[str, Any], LinearProcess | None]:
    """The file of a command, the options of its call, and its process."""
    keys = keys_for(command)
    config = read_config(path, {*SECTIONS[command], *keys}, required=NEEDED[command])
    options: dict[str, Any] = checked_options(
        {name: value for name, value in config.items() if name not in _FILES}, keys
    )
    if "labels" in config:
        labels = config["labels"]
        found = (
            torch.as_tensor(labels, device="cpu")
            if isinstance(labels, list)
            else read_points_of_labels(labels, path.parent)
        )
        options["labels"] = found
    if options.get("checkpoint") is not None:
        options["checkpoint"] = path.parent / options["checkpoint"]
    if seed is not None:
        options["seed"] = seed
    return config, options, read_process(config.get("process"))


def read_points_of_labels(entry: Any, folder: Path) -> torch.Tensor:
    """Labels (n,) int64 of a file."""
    from thermokern.cli.points import read_points

    arguments = {"file": entry} if isinstance(entry, str) else dict(entry)
    labels = read_points(folder / str(arguments.get("file")), arguments.get("key")).flatten()
    if bool((labels != labels.round()).any()):
        raise ValueError("labels: expected whole numbers")
    return labels.long()


def read_config(path: Path, known: set[str], required: Sequence[str]) -> dict[str, Any]:
    """The keys and values of a YAML file, none unknown and none missing."""
    try:
        config = yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"config {path.name}: not YAML: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"config {path.name}: expected keys and values")
    if strange := sorted(map(str, set(config) - known)):
        raise ValueError(f"config {path.name}: {unknown(strange, sorted(known))}")
    for name in required:
        if name not in config:
            raise ValueError(f"config {path.name}: {name} is missing")
    return config


def read_data(entry: Any, folder: Path, process: LinearProcess | None) -> Distribution | torch.Tensor:
    """The points of a file, or the law, that an entry names."""
    if isinstance(entry, str) or (isinstance(entry, dict) and "file" in entry):
        return read_points_of("data", entry, folder)
    if isinstance(entry, dict) and set(entry) & set(NETWORKS):
        raise ValueError("data: expected a law or a file of points, got a network")
    law = read_score("data", entry, folder, process)
    assert not isinstance(law, ScoreModel)
    return law
