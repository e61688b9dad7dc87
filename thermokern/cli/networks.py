"""Networks and laws that a configuration file names."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from thermokern.cli.points import read_points
from thermokern.models import ConditionalModel, ScoreModel, from_diffusers, load_checkpoint
from thermokern.ops.checks import checked_choice
from thermokern.processes import DDPM, PROCESSES, VP, LinearProcess
from thermokern.targets import Distribution, Empirical, Gaussian, GaussianMixture, SwissRoll, UniformBox

_PROCESSES: dict[str, Callable[..., LinearProcess]] = {**PROCESSES, "VP.from_sigma": VP.from_sigma, "DDPM": DDPM}
LAWS: dict[str, Callable[..., Distribution]] = {
    "ring": GaussianMixture.ring,
    "mixture": GaussianMixture,
    "gaussian": Gaussian,
    "box": UniformBox,
    "swiss-roll": SwissRoll,
    "empirical": Empirical,
}
NETWORKS = ("checkpoint", "diffusers", "factory")


def read_process(entry: Any) -> LinearProcess | None:
    """The process that an entry names, in capitals or not."""
    if entry is None:
        return None
    arguments = {"kind": entry} if isinstance(entry, str) else dict(entry)
    kind = arguments.pop("kind", None)
    kind = {name.casefold(): name for name in _PROCESSES}.get(str(kind).casefold(), kind)
    checked_choice("process.kind", kind, _PROCESSES)
    return called("process", _PROCESSES[kind], arguments)  # type: ignore[no-any-return]


def read_score(name: str, entry: Any, folder: Path, process: LinearProcess | None) -> ScoreModel | Distribution:
    """The network or the law that an entry names; files in it are relative to `folder`.

    - ``checkpoint: FILE``, with ``predicts`` and ``architecture`` where the file does not say
    - ``diffusers: FOLDER``, a pipeline as ``save_pretrained`` writes it, with the arguments of
      :func:`thermokern.from_diffusers`
    - ``factory: "module:function"``, which returns a network or a ScoreModel, with ``arguments`` for it, ``weights``,
      a file of its parameters (safetensors, or .pt with tensors alone), ``predicts`` and ``shape``. The module is
      looked for beside the configuration too; its code is run.
    - a law and its arguments
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{name}: expected {', '.join(NETWORKS)}, {', '.join(LAWS)} and arguments, got {entry!r}")
    found = [kind for kind in NETWORKS if kind in entry]
    if found:
        arguments = dict(entry)
        kind, value = found[0], arguments.pop(found[0])
        if kind == "factory":
            return _built(name, value, arguments, folder, process)
        if kind == "diffusers":
            return _as_score(name, called(name, from_diffusers, {"unet": folder / value, **arguments}), process)
        return called(name, load_checkpoint, {"path": folder / value, "process": process, **arguments})  # type: ignore[no-any-return]
    known = (*NETWORKS, *LAWS)
    if len(entry) != 1 or next(iter(entry)) not in LAWS:
        given = ", ".join(map(str, entry))
        close = difflib.get_close_matches(str(next(iter(entry), "")), known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {given}{hint}")
    kind, arguments = next(iter(entry.items()))
    if kind == "empirical" and isinstance(arguments, dict) and isinstance(arguments.get("points"), str | dict):
        points = read_points_of(f"{name}.empirical.points", arguments["points"], folder)
        arguments = {**arguments, "points": points.flatten(1)}
    return called(f"{name}.{kind}", LAWS[kind], arguments or {})  # type: ignore[no-any-return]


def read_points_of(name: str, entry: Any, folder: Path) -> torch.Tensor:
    """Points (n, …) float64 of the file or the folder of images that an entry names, a word or ``{file, key}``."""
    arguments = {"file": entry} if isinstance(entry, str) else entry
    if not isinstance(arguments, dict) or not isinstance(arguments.get("file"), str):
        raise ValueError(f"{name}: expected a file, or file: and key:, got {entry!r}")
    if set(arguments) - {"file", "key"}:
        raise ValueError(f"{name}: expected the keys file and key, got {', '.join(map(str, arguments))}")
    file = folder / arguments["file"]
    points = read_points(file, arguments.get("key"))
    if points.dim() < 2:
        raise ValueError(f"{name} {file.name}: expected points (n, …), got {tuple(points.shape)}")
    return points.double()


def _built(
    name: str, place: Any, arguments: dict[str, Any], folder: Path, process: LinearProcess | None
) -> ScoreModel | Distribution:
    module, _, function = str(place).partition(":")
    if not module or not function:
        raise ValueError(f'{name}.factory: expected "module:function", got {place!r}')
    given = {key: arguments.pop(key, None) for key in ("weights", "arguments", "predicts", "shape")}
    if arguments:
        raise ValueError(f"{name}: unknown {', '.join(arguments)} beside factory; known are {', '.join(given)}")
    sys.path.insert(0, str(folder.resolve()))
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name}.factory: {place} cannot be imported ({error})") from None
    finally:
        sys.path.remove(str(folder.resolve()))
    built = called(f"{name}.factory", make, given["arguments"] or {})
    network = built.network if isinstance(built, ScoreModel) else built
    if given["weights"] is not None:
        _load(name, network, folder / given["weights"])
    if isinstance(network, nn.Module):
        network.eval().requires_grad_(False)
    if not isinstance(built, nn.Module) or isinstance(built, ScoreModel | ConditionalModel):
        return _as_score(name, built, process)
    if process is None:
        raise ValueError(f"process: the network of {place} carries none; give one, such as process: VP")
    shape = None if given["shape"] is None else tuple(given["shape"])
    return ScoreModel(built, process, given["predicts"] or "score", shape, {"factory": str(place)})


def _as_score(name: str, built: object, process: LinearProcess | None) -> ScoreModel | Distribution:
    if not isinstance(built, ScoreModel | Distribution):
        raise ValueError(f"{name}: expected a network, a ScoreModel or a law, got {type(built).__name__}")
    if process is not None and isinstance(built, ScoreModel) and built.process != process:
        raise ValueError(f"process: the {name} has {built.process}, not {process}; leave the key out")
    return built


def _load(name: str, network: object, file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{name}.weights: no such file {file}")
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name}.weights: the factory made no module that takes weights")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # of the file's format, or of what does not fit: one message for all
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{name}.weights: {file.name} does not fit the network ({reason})") from None


def called(name: str, function: Any, arguments: dict[str, Any]) -> Any:
    """The function's value, a wrong argument being an error that names the entry."""
    try:
        return function(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
