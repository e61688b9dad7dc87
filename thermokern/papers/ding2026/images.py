"""Images to train on: scikit-learn's digits, which ship with it; (Fashion-)MNIST or CIFAR-10 from files at hand."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DATA = ("digits", "mnist", "fashion-mnist", "cifar10")


def load_images(data: str, root: Path | None = None) -> Tensor:
    """Images (n, channels, height, width), float32 in [−1, 1], in the order of their files.

    Parameters
    ----------
    data : {"digits", "mnist", "fashion-mnist", "cifar10"}
        ``digits``: 1797 of 8 × 8, from scikit-learn. ``mnist``, ``fashion-mnist``: ``train-images-idx3-ubyte``, gzipped
        or not, which is the name in both, padded from 28 × 28 to 32 × 32. ``cifar10``: ``data_batch_1.bin`` …
        ``data_batch_5.bin`` of the binary version, in `root` or in ``cifar-10-batches-bin`` below it; the Python
        version is a pickle, which could run code.
    root : path, optional
        Folder of the files; ``digits`` needs none.
    """
    if data not in DATA:
        raise ValueError(f"data: expected one of {DATA}, got {data!r}")
    if data == "digits":
        return _digits()
    if root is None:
        raise ValueError(f"root: expected the folder of {data}'s files")
    return _mnist(root) if "mnist" in data else _cifar10(root)


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
    name = "train-images-idx3-ubyte"
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"root: expected {name} or {name}.gz in {root}")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    magic, n, height, width = struct.unpack(">4i", raw[:16]) if len(raw) >= 16 else (0, 0, 0, 0)
    if magic != 2051 or len(raw) != 16 + n * height * width:
        raise ValueError(f"{path.name}: not a whole file of images in IDX format")
    pixels = torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).view(n, 1, height, width)
    return torch.nn.functional.pad(_scaled(pixels), (2, 2, 2, 2), value=-1.0)


def _cifar10(root: Path) -> Tensor:
    folder = root / "cifar-10-batches-bin" if (root / "cifar-10-batches-bin").is_dir() else root
    record = 1 + 3 * 32 * 32  # label, then red, green and blue
    parts = []
    for i in range(1, 6):
        path = folder / f"data_batch_{i}.bin"
        if not path.is_file():
            raise FileNotFoundError(f"root: expected {path.name} of CIFAR-10's binary version in {folder}")
        raw = path.read_bytes()
        if not raw or len(raw) % record:
            raise ValueError(f"{path.name}: expected records of {record} bytes, got {len(raw)} bytes")
        rows = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, record)
        parts.append(rows[:, 1:].reshape(-1, 3, 32, 32))
    return _scaled(torch.cat(parts))


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1.0
