"""Points from files: .npy, .npz, .csv, .pt, none of which may run code, and folders of images."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = (".npy", ".npz", ".csv", ".pt")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_points(path: Path, key: str | None = None, option: str = "--key") -> Tensor:
    """The numbers in a file, as they are stored.

    ``.npy``: one array. ``.npz``: the array named `key`, or the only one. ``.csv``: numbers between commas, a first
    line of names skipped. ``.pt``: a tensor, or the tensor named `key` of a dictionary, read with ``weights_only``. A
    folder: its images in the order of their names, (n, channels, height, width) float32 on [−1, 1], as diffusion models
    mostly have them. Errors about names say which `option` gave the key.
    """
    if path.is_dir():
        return _images(path, key, option)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file: expected one of {', '.join(SUFFIXES)}, got {path.name}")
    if not path.is_file():
        raise FileNotFoundError(f"file: no such file {path}")
    if key is not None and path.suffix in (".npy", ".csv"):
        raise ValueError(f"{option}: {path.name} holds a single array")
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
    return _picked(path.name, found, key, option)


def _images(folder: Path, key: str | None, option: str) -> Tensor:
    if key is not None:
        raise ValueError(f"{option}: the folder {folder.name} holds images, not arrays with names")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(f"file: expected images ({', '.join(IMAGES)}) in the folder {folder.name}, found none")
    arrays = []
    for file in files:
        try:
            with Image.open(file) as image:
                grey = image.mode in ("1", "L", "I", "I;16", "F")
                array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32)
        except OSError as error:
            raise ValueError(f"file: {file.name} cannot be read as an image ({error})") from None
        arrays.append(array[None] if grey else array.transpose(2, 0, 1))
        if arrays[-1].shape != arrays[0].shape:
            raise ValueError(
                f"file: expected images of one size and kind in {folder.name}; {files[0].name} is {arrays[0].shape}, "
                f"{file.name} {arrays[-1].shape}"
            )
    return torch.from_numpy(np.stack(arrays)) / 127.5 - 1.0


def _picked(name: str, found: dict[str, object], key: str | None, option: str) -> Tensor:
    if key is None and len(found) != 1:
        raise ValueError(f"{option}: {name} holds {', '.join(map(str, found)) or 'nothing'}; name one of them")
    if key is not None and key not in found:
        raise ValueError(f"{option}: {name} has no {key!r}, only {', '.join(map(str, found))}")
    value = found[key] if key is not None else next(iter(found.values()))
    if not isinstance(value, Tensor | np.ndarray) or (
        isinstance(value, np.ndarray) and value.dtype.kind not in "biufc"
    ):
        what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ValueError(f"file: expected numbers in {name}, got {what}")
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
