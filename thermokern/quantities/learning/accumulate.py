"""Sums over batches of samples, which a killed run goes on with, to the same bits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern._bars import Bar
from thermokern._files import DamagedFile, remove_parts, sealed, unsealed, write_whole
from thermokern._info import VERSION, instruction_set

_SHARE = 0.05  # of the time that may go into writing


class Batch(NamedTuple):
    """What a batch of samples gives: a matrix that is added to the others of its name, and numbers of its own."""

    name: str
    total: Tensor | None  # added up in float64
    rows: Tensor  # (…, ), kept side by side


class Sums(NamedTuple):
    totals: dict[str, Tensor]
    rows: list[Tensor]  # of each batch


def accumulate(
    work: Callable[[int, int], Batch],
    ranges: list[tuple[int, int]],
    *,
    folder: str | Path | None,
    about: dict[str, object],
    per_sample: int,
    progress: bool,
    unit: str,
) -> Sums:
    """The batches of all ranges of samples, added up in order.

    Parameters
    ----------
    work : callable
        ``work(low, high)``.
    ranges : list of pairs
    folder : path or None
        Keeps what is done; a run with other `about` is refused.
    per_sample : int
        Units of progress of each sample.
    """
    store = None if folder is None else _Store(Path(folder), about, ranges)
    sums = Sums({}, []) if store is None else store.read()
    total = sum(high - low for low, high in ranges) * per_sample
    before = sum(high - low for low, high in ranges[: len(sums.rows)]) * per_sample
    with Bar(total=total, initial=before, progress=progress, unit=unit, unit_scale=True) as bar:
        for low, high in ranges[len(sums.rows) :]:
            batch = work(low, high)
            if batch.total is not None:
                add = batch.total.to("cpu", torch.float64)
                sums.totals[batch.name] = sums.totals[batch.name] + add if batch.name in sums.totals else add
            sums.rows.append(batch.rows.cpu())
            bar.update((high - low) * per_sample)
            if store is not None:
                store.write(sums, now=len(sums.rows) == len(ranges))
    return sums


class _Store:
    """One file in a folder, always whole; it names the calculation part by part, and no other may go on with it."""

    def __init__(self, folder: Path, about: dict[str, object], ranges: list[tuple[int, int]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "state.safetensors"
        self.about = {
            **{name: str(value) for name, value in about.items()},
            "version of thermokern": VERSION,
            "version of torch": str(torch.__version__),
            "instruction set": str(instruction_set()),
            "batches": str(ranges),
        }
        self._next = 0.0

    def read(self) -> Sums:
        remove_parts(self.path)
        if not self.path.is_file():
            return Sums({}, [])
        try:
            tensors, metadata = unsealed(self.path.read_bytes(), ("about", "batches"))
            about, count = json.loads(metadata["about"]), int(metadata["batches"])
            rows = [tensors[f"rows.{i}"] for i in range(count)]
            totals = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("total.")}
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedFile(f"checkpoint: {self.path} is not the state of a run ({error}); remove it") from None
        differ = [name for name, value in self.about.items() if about.get(name) != value]
        if differ:
            raise ValueError(
                f"checkpoint: {self.path} belongs to another calculation (other {', '.join(differ)}); "
                "give another folder or remove it"
            )
        return Sums(totals, rows)

    def write(self, sums: Sums, now: bool) -> None:
        start = time.monotonic()
        if start < self._next and not now:
            return
        tensors = {f"rows.{i}": rows.contiguous() for i, rows in enumerate(sums.rows)}
        tensors |= {f"total.{name}": total.contiguous() for name, total in sums.totals.items()}
        metadata = {"about": json.dumps(self.about), "batches": str(len(sums.rows))}
        write_whole(self.path, sealed(tensors, metadata))
        end = time.monotonic()
        self._next = end + (end - start) * (1.0 / _SHARE - 1.0)
