"""Images to train on, and their labels: scikit-learn's digits, and (Fashion-)MNIST or CIFAR-10 from files at hand."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DATA = ("digits", "mnist", "fashion-mnist", "cifar10")
CLASSES = 10  # of each of them


def load_images(data: str, root: Path | None = None) -> Tensor:
    """Images (n, channels, height, width), float32 in [−1, 1], in the order of their files.

    Parameters
    ----------
    data : {"digits", "mnist", "fashion-mnist", "cifar10"}
        ``digits``: 1797 of 8 × 8, from scikit-learn. ``mnist``, ``fashion-mnist``: ``train-images-idx3-ubyte``, gzipped
        or not, padded from 28 × 28 to 32 × 32; Debian's package dataset-fashion-mnist has the latter's files.
        ``cifar10``: ``data_batch_1.bin`` … ``data_batch_5.bin`` of the binary version, in `root` or in
        ``cifar-10-batches-bin`` below it; the Python version is a pickle, which could run code.
    root : path, optional
        Folder of the files; ``digits`` needs none.
    """
    if data not in DATA:
        raise ValueError(f"data: expected one of {DATA}, got {data!r}")
    if data == "digits":
        return _digits()
    if root is None:
        raise ValueError(f"root: expected the folder of {data}'s files")
    return _cifar10(root)[0] if data == "cifar10" else _mnist(root)


def load_labels(data: str, root: Path | None = None) -> Tensor:
    """The label of each image of :func:`load_images`, (n,) int64, 0 … 9; arguments as there."""
    if data not in DATA:
        raise ValueError(f"data: expected one of {DATA}, got {data!r}")
    if data == "digits":
        return digit_labels()
    if root is None:
        raise ValueError(f"root: expected the folder of {data}'s files")
    return _cifar10(root)[1] if data == "cifar10" else _idx(root, "train-labels-idx1-ubyte").long()


def digit_labels() -> Tensor:
    """The digit of each image of ``digits``, (n,) int64."""
    return torch.as_tensor(_sklearn_digits().target, dtype=torch.int64)


def _digits() -> Tensor:
    images = torch.as_tensor(_sklearn_digits().images, dtype=torch.float32)  # (n, 8, 8), 0 … 16
    return (images / 8.0 - 1.0)[:, None]


def _sklearn_digits() -> Any:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        raise ValueError("data: 'digits' come with scikit-learn, which is missing: pip install scikit-learn") from None
    return load_digits()


def _mnist(root: Path) -> Tensor:
    pixels = _idx(root, "train-images-idx3-ubyte")[:, None]
    return torch.nn.functional.pad(_scaled(pixels), (2, 2, 2, 2), value=-1.0)


def _idx(root: Path, name: str) -> Tensor:
    """The bytes of a file in IDX format, in its shape."""
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"root: expected {name} or {name}.gz in {root}")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = 3 if "idx3" in name else 1
    head = 4 * (1 + axes)
    magic, *shape = struct.unpack(f">{1 + axes}i", raw[:head]) if len(raw) >= head else (0, 0)
    if magic != 2048 + axes or len(raw) != head + math.prod(shape):
        raise ValueError(f"{path.name}: not a whole file of {'images' if axes == 3 else 'labels'} in IDX format")
    return torch.frombuffer(bytearray(raw[head:]), dtype=torch.uint8).view(*shape)


def _cifar10(root: Path) -> tuple[Tensor, Tensor]:
    folder = root / "cifar-10-batches-bin" if (root / "cifar-10-batches-bin").is_dir() else root
    record = 1 + 3 * 32 * 32  # label, then red, green and blue
    parts, labels = [], []
    for i in range(1, 6):
        path = folder / f"data_batch_{i}.bin"
        if not path.is_file():
            raise FileNotFoundError(f"root: expected {path.name} of CIFAR-10's binary version in {folder}")
        raw = path.read_bytes()
        if not raw or len(raw) % record:
            raise ValueError(f"{path.name}: expected records of {record} bytes, got {len(raw)} bytes")
        rows = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, record)
        parts.append(rows[:, 1:].reshape(-1, 3, 32, 32))
        labels.append(rows[:, 0].long())
    return _scaled(torch.cat(parts)), torch.cat(labels)


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1.0
