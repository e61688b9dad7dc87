"""The state of a long run in a folder, from which it goes on after it was killed, to the same bits."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from thermokern import ops
from thermokern._files import DamagedFile, remove_parts, sealed, unsealed, write_whole
from thermokern._info import VERSION, instruction_set
from thermokern.models import ScoreModel
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.targets import Distribution

_SHARE = 0.05  # of the time that may go into writing


class Saved(NamedTuple):
    points: int  # of a batch: the same batches give the same rounding
    chunk: int
    node: int
    done: list[Tensor]  # sums of the chunks before
    state: list[Tensor] | None  # of this chunk's paths


class CheckpointWarning(UserWarning):
    """A state that could not be written: the run goes on, and would begin from an earlier one."""


class Checkpoint:
    """One file in `folder`, always whole: written beside and moved into place, with its checksum.

    It names the calculation part by part: all that its numbers depend on, the scores of a few fixed points included,
    since networks can differ in what no parameter holds. It is refused by any other calculation, which is told what
    differs.
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
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "state.safetensors"
        self.parts = _parts(table, scores, x, seed, path_offset)
        self.before = _digest_before(table, scores, x, seed, path_offset)
        self._next = 0.0

    def read(self) -> Saved | None:
        """The last state, or None where there is none."""
        remove_parts(self.path)
        if not self.path.is_file():
            return None
        try:
            tensors, metadata = unsealed(self.path.read_bytes(), ("about",))
            about = json.loads(metadata["about"])
            numbers = [about[name] for name in ("points", "chunk", "node", "done", "state")]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise DamagedFile(f"expected whole numbers, got {numbers}")
            points, chunk, node, count, held = numbers
            done = [tensors[f"done.{i}"] for i in range(min(count, len(tensors) + 1))]
            state = [tensors[f"state.{i}"] for i in range(min(held, len(tensors) + 1))] or None
            parts, before = about.get("parts"), about.get("digest")
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFile(f"checkpoint: {self.path} is not the state of a run ({error}); remove it") from None
        if isinstance(parts, dict):
            differ = [name for name, value in self.parts.items() if parts.get(name) != value]
        else:  # of before, when one digest stood for all that was compared
            differ = [] if before == self.before else ["networks, data, settings or versions"]
        if differ:
            raise ValueError(
                f"checkpoint: {self.path} belongs to another calculation (other {', '.join(differ)}); "
                "pass another folder or remove this one"
            )
        return Saved(points, chunk, node, done, state)

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
            "parts": self.parts,
            "points": points,
            "chunk": chunk,
            "node": node,
            "done": len(done),
            "state": len(state),
        }
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        try:
            write_whole(self.path, sealed(copies, {"about": json.dumps(about)}))
        except OSError as error:  # a full disk is no reason to lose what was computed
            warnings.warn(
                f"checkpoint: {self.path} could not be written ({error}): the run continues and keeps no state",
                CheckpointWarning,
                stacklevel=2,
            )
        end = time.monotonic()
        self._next = end + (end - start) * (1.0 / _SHARE - 1.0)


def _parts(
    table: ops.StepTable, scores: Sequence[NodeScores], x: Tensor, seed: int, path_offset: int
) -> dict[str, str]:
    """All that the numbers of a run depend on, in words or as digests, by the name under which it is refused."""
    fixed = ops.normals(2, x.shape[1], seed=0, dtype=x.dtype, device=x.device)
    parts = {
        "version of thermokern": VERSION,
        "version of torch": torch.__version__,
        "instruction set": instruction_set(),
        "scheme": f"{table.scheme}, {table.direction}",
        "time grid or process": _digest(table.times, table.columns),
        "starting points": f"{tuple(x.shape)} {x.dtype} {x.device.type} {_digest(x)}",
        "seed": f"{seed}, {path_offset}",
    }
    for name, item in zip(("model", "reference"), scores, strict=True):
        settings = [item.shape, item.probes, str(item.divergence), type(item.score).__name__]
        if isinstance(item.score, Distribution):
            settings.append(item.score.settings())
        elif isinstance(item.score, ScoreModel):
            settings += [repr(item.score.process), item.score.predicts]
        network = item.score.network if isinstance(item.score, ScoreModel) else item.score
        state = network.state_dict() if isinstance(network, nn.Module) else {}
        parts |= {
            f"settings of the {name}": json.dumps(settings, default=str),
            f"parameters of the {name}": f"{', '.join(state)} {_digest(*state.values())}",
            f"scores of the {name} at fixed points": _digest(item.fingerprint(fixed)),
        }
    return parts


def _digest(*tensors: Tensor) -> str:
    out = hashlib.sha256()
    for tensor in tensors:
        out.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        out.update(_bytes(tensor))
    return out.hexdigest()


def _digest_before(table: ops.StepTable, scores: Sequence[NodeScores], x: Tensor, seed: int, path_offset: int) -> str:
    """The one digest of states that were written before they named their parts."""
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
