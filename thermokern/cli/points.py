"""Points from files: .npy, .npz, .csv and .pt, none of which may run code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".npy", ".npz", ".csv", ".pt")


def read_points(path: Path, key: str | None = None) -> Tensor:
    """The numbers in a file, as they are stored.

    ``.npy``: one array. ``.npz``: the array named `key`, or the only one. ``.csv``: numbers between commas, a first
    line of names skipped. ``.pt``: a tensor, or the tensor named `key` of a dictionary, read with ``weights_only``.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file: expected one of {', '.join(SUFFIXES)}, got {path.name}")
    if not path.is_file():
        raise FileNotFoundError(f"file: no such file {path}")
    if key is not None and path.suffix in (".npy", ".csv"):
        raise ValueError(f"--key: {path.name} holds a single array")
    try:
        if path.suffix == ".csv":
            return torch.from_numpy(_csv(path))
        if path.suffix == ".pt":
            held = torch.load(path, map_location="cpu", weights_only=True)
            found = {"": held} if isinstance(held, Tensor) else held
        else:
            array = np.load(path, allow_pickle=False)
            found = {"": array} if isinstance(array, np.ndarray) else {name: array[name] for name in array.files}
    except (ValueError, EOFError, RuntimeError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"file: {path.name} cannot be read as numbers ({reason})") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"file: expected a tensor or a dictionary of tensors in {path.name}, got a {type(held).__name__}"
        )
    return _picked(path.name, found, key)


def _picked(name: str, found: dict[str, object], key: str | None) -> Tensor:
    if key is None and len(found) != 1:
        raise ValueError(f"--key: {name} holds {', '.join(map(str, found)) or 'nothing'}; name one of them")
    if key is not None and key not in found:
        raise ValueError(f"--key: {name} has no {key!r}, only {', '.join(map(str, found))}")
    value = found[key] if key is not None else next(iter(found.values()))
    if not isinstance(value, Tensor | np.ndarray) or (
        isinstance(value, np.ndarray) and not np.issubdtype(value.dtype, np.number)
    ):
        raise ValueError(f"file: expected numbers in {name}, got a {type(value).__name__}")
    native = value if isinstance(value, Tensor) else value.astype(value.dtype.newbyteorder("="))
    return torch.as_tensor(native, device="cpu")


def _csv(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8") as file:
        first = file.readline().strip()
    try:
        [float(cell) for cell in first.split(",")]
        names = 0
    except ValueError:
        names = 1
    return np.loadtxt(path, delimiter=",", skiprows=names, ndmin=2, encoding="utf-8")
