"""Score networks on disk: safetensors with the architecture and the training record as metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from thermokern._files import DamagedFile, sealed, unsealed, write_whole
from thermokern.models.perceptron import ScoreMLP
from thermokern.models.score_model import PREDICTIONS, ScoreModel
from thermokern.ops.checks import check_kind, checked_choice, checked_integer, checked_path
from thermokern.processes import PROCESSES, LinearProcess

_OURS: dict[str, type[Any]] = {"architecture": dict, "process": dict, "predicts": str, "record": dict}


def save_checkpoint(path: str | Path, model: ScoreModel, record: dict[str, Any] | None = None) -> None:
    """Write a :class:`ScoreMLP` model as safetensors.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``.
    model : ScoreModel
        Around a :class:`ScoreMLP`. Of flows, only the rectified one: functions cannot be stored.
    record : dict, optional
        How it was trained; stored as JSON and returned by :func:`read_record`.
    """
    path = checked_path("path", path)
    if path.is_dir() or not path.name:
        raise IsADirectoryError(f"path: expected a file, got the folder {path}")
    check_kind("model", model, ScoreModel)
    if not isinstance(model.network, ScoreMLP):
        raise TypeError(f"model: expected a ScoreMLP network, got {type(model.network).__name__}")
    if model.process.settings().keys() & {"a", "b"}:
        raise ValueError(f"model: only a process defined by numbers can be saved, got {model.process}")
    metadata = {
        "architecture": model.network.architecture,
        "process": {"kind": type(model.process).__name__, **model.process.settings()},
        "predicts": model.predicts,
        "record": {} if record is None else record,
    }
    tensors = {name: value.contiguous() for name, value in model.network.state_dict().items()}
    try:
        words = {key: json.dumps(value) for key, value in metadata.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f"record: expected what JSON can say, got {error}") from None
    write_whole(path, sealed(tensors, words))


def read_record(path: str | Path) -> dict[str, Any]:
    """The training record of a checkpoint that :func:`save_checkpoint` wrote."""
    _, metadata = _read(checked_path("path", path))
    record: dict[str, Any] = metadata.get("record", {})
    return record


def load_checkpoint(
    path: str | Path,
    *,
    process: LinearProcess | None = None,
    predicts: str | None = None,
    architecture: dict[str, Any] | None = None,
) -> ScoreModel:
    """Read a :class:`ScoreMLP` checkpoint, safetensors only: a pickle could run code.

    Parameters
    ----------
    path : path
    process, predicts, architecture : optional
        For a file that :func:`save_checkpoint` did not write; what the file says must agree with what is given.

    Raises
    ------
    ValueError
        Naming the file: not safetensors, truncated, or of another architecture.
    """
    path = checked_path("path", path)
    if process is not None:
        check_kind("process", process, LinearProcess)
    if predicts is not None:
        checked_choice("predicts", predicts, PREDICTIONS)
    if architecture is not None:
        check_kind("architecture", architecture, dict)
    tensors, metadata = _read(path)
    if "process" in metadata:
        stored = dict(metadata["process"])
        kind = stored.pop("kind", None)
        if kind not in PROCESSES:
            raise ValueError(f"checkpoint {path.name}: unknown process {kind!r}")
        try:
            own = PROCESSES[kind](**stored)
        except (TypeError, ValueError) as error:
            raise DamagedFile(f"checkpoint {path.name}: its process is not a valid {kind} ({error})") from None
        if process is not None and process != own:
            raise ValueError(f"process: the checkpoint {path.name} was trained for {own}, got {process}")
        process = own
    if process is None:
        raise ValueError(f"process: the checkpoint {path.name} does not say for which process it was trained")
    stored_predicts = metadata.get("predicts")
    if predicts is not None and stored_predicts not in (None, predicts):
        raise ValueError(f"predicts: the checkpoint {path.name} predicts {stored_predicts!r}, got {predicts!r}")
    predicts = predicts or stored_predicts
    if predicts is None:
        raise ValueError(f"predicts: the checkpoint {path.name} does not say which of {PREDICTIONS} it predicts")
    architecture = {**metadata.get("architecture", {}), **(architecture or {})}
    if "dim" not in architecture:
        raise ValueError(f"architecture: the checkpoint {path.name} has none; pass dim, width, depth, …")
    # Nothing is allocated before the file is known to hold as much: 100 bytes can ask for 10⁷ layers.
    try:
        layers = 2 * (checked_integer("depth", architecture.get("depth", 3), 1) + 1)
        if layers != len(tensors):
            raise ValueError(f"expected {layers} tensors, got {len(tensors)}")
        with torch.device("meta"):
            network = ScoreMLP(**architecture)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"checkpoint {path.name}: another architecture than {architecture} ({error})") from None
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        lines = ", ".join(f"{name}: expected {expected.get(name)}, got {found.get(name)}" for name in wrong[:4])
        raise ValueError(f"checkpoint {path.name}: another architecture than {architecture} ({lines})")
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"checkpoint {path.name}: {name} holds NaN or infinite numbers")
    network = ScoreMLP(**architecture)
    network.load_state_dict(tensors)
    return ScoreModel(network.eval().requires_grad_(False), process, predicts)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no such file at the path {path}")
    content = path.read_bytes()
    try:
        # Files of others have metadata of their own and no checksum; ours have one, or are from before it.
        tensors, words = unsealed(content, _OURS)
        metadata = {key: json.loads(value) for key, value in words.items() if key in _OURS}
        for key, value in metadata.items():
            if not isinstance(value, _OURS[key]):
                raise DamagedFile(f"not a network's file ({key} is a {type(value).__name__})")
    except (DamagedFile, ValueError, RecursionError) as error:
        raise DamagedFile(
            f"checkpoint {path.name}: {error}; pickles (.pt, .pkl) are refused, "
            "since reading one can run code: convert it with safetensors.torch.save_file"
        ) from None
    return tensors, metadata
