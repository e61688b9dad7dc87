"""The state of a long run in a folder, from which it goes on after it was killed, to the same bits."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from thermokern import ops
from thermokern._info import VERSION
from thermokern.models import ScoreModel
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.results.storage import write_whole
from thermokern.targets import Distribution

_SHARE = 0.05  # of the time that may go into writing


class Saved(NamedTuple):
    points: int  # of a batch: the same batches give the same rounding
    chunk: int
    node: int
    done: list[Tensor]  # sums of the chunks before
    state: list[Tensor] | None  # of this chunk's paths


class Checkpoint:
    """One file in `folder`, always whole: written beside and moved into place.

    It names the calculation by a digest of all that its numbers depend on, networks included, and is refused by any
    other.
    """

    def __init__(
        self,
        folder: Path,
        table: ops.StepTable,
        scores: Sequence[NodeScores],
        x: Tensor,
        seed: int,
        path_offset: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "state.safetensors"
        self.digest = _digest(table, scores, x, seed, path_offset)
        self._next = 0.0

    def read(self) -> Saved | None:
        """The last state, or None where there is none."""
        for part in self.path.parent.glob(f".{self.path.name}.*.part"):  # what a kill left half written
            part.unlink(missing_ok=True)
        if not self.path.is_file():
            return None
        try:
            with safe_open(str(self.path), framework="pt") as file:
                about = json.loads((file.metadata() or {})["about"])
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"checkpoint: {self.path} is not the state of a run ({error}); remove it") from None
        if about["digest"] != self.digest:
            raise ValueError(
                f"checkpoint: {self.path} belongs to another calculation (other networks, data, settings or versions); "
                "give another folder or remove it"
            )
        done = [tensors[f"done.{i}"] for i in range(about["done"])]
        state = [tensors[f"state.{i}"] for i in range(about["state"])] or None
        return Saved(about["points"], about["chunk"], about["node"], done, state)

    def write(
        self,
        points: int,
        chunk: int,
        node: int,
        done: list[Tensor],
        state: tuple[Tensor, ...] | None,
        now: bool = False,
    ) -> None:
        """Write, if the last time is long enough ago for writing to cost little; `now`: in any case."""
        start = time.monotonic()
        if start < self._next and not now:
            return
        state = state or ()
        tensors = {f"done.{i}": tensor for i, tensor in enumerate(done)}
        tensors |= {f"state.{i}": tensor for i, tensor in enumerate(state)}
        about = {
            "digest": self.digest,
            "points": points,
            "chunk": chunk,
            "node": node,
            "done": len(done),
            "state": len(state),
        }
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_whole(self.path, serialize(copies, {"about": json.dumps(about)}))
        end = time.monotonic()
        self._next = end + (end - start) * (1.0 / _SHARE - 1.0)


def _digest(table: ops.StepTable, scores: Sequence[NodeScores], x: Tensor, seed: int, path_offset: int) -> str:
    out = hashlib.sha256()
    settings: list[object] = [VERSION, torch.__version__, table.scheme, table.direction, seed, path_offset]
    for tensor in (table.times, table.columns, x):
        settings.append(f"{tuple(tensor.shape)} {tensor.dtype}")
        out.update(_bytes(tensor))
    for item in scores:
        settings += [item.shape, item.probes, str(item.divergence), type(item.score).__name__]
        if isinstance(item.score, Distribution):
            settings.append(item.score.settings())
        elif isinstance(item.score, ScoreModel):
            settings += [repr(item.score.process), item.score.predicts]
        network = item.score.network if isinstance(item.score, ScoreModel) else item.score
        if isinstance(network, nn.Module):
            for name, tensor in network.state_dict().items():
                settings.append(name)
                out.update(_bytes(tensor))
    out.update(json.dumps(settings, default=str).encode())
    return out.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()) if tensor.numel() else b""
