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
from thermokern._info import VERSION
from thermokern.models import ScoreModel
from thermokern.quantities.engine.identity import bytes_of, digest, versions
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.engine.starts import Points
from thermokern.targets import Distribution

_SHARE = 0.05  # of the time that may go into writing


class Saved(NamedTuple):
    points: int  # of a batch: the same batches give the same rounding
    block: int | None  # paths of a block; None in files from before they were named
    chunk: int  # the block that was being run
    node: int
    done: list[Tensor]  # sums of the blocks before it, in files from before each had its own
    state: list[Tensor] | None  # of this block's paths


class CheckpointWarning(UserWarning):
    """A state that could not be written: the run goes on, and would begin from an earlier one."""


class Checkpoint:
    """Files in `folder`, always whole: written beside and moved into place, with their checksums.

    Every block that is done has a file, found again by its number; ``state.safetensors`` says what run this is, and
    where in a block a process that has nobody to share with stands. Each file names the calculation part by part: all
    that its numbers depend on, the scores of a few fixed points included, since networks can differ in what no
    parameter holds. It is refused by any other calculation, which is told what differs.
    """

    def __init__(
        self,
        folder: Path,
        table: ops.StepTable,
        scores: Sequence[NodeScores],
        x: Points,
        seed: int,
        path_offset: int,
        device: torch.device,
    ) -> None:
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "state.safetensors"
        self.parts = parts_of(table, scores, x, seed, path_offset, device)
        self.before = _digest_before(table, scores, x, seed, path_offset) if isinstance(x, Tensor) else ""
        self._next = 0.0

    def read(self) -> Saved | None:
        """The last state, or None where there is none."""
        found = self._read(self.path, ("points", "chunk", "node", "done", "state"))
        if found is None:
            return None
        (points, chunk, node, count, held), tensors, about = found
        block = about.get("block")
        if block is not None and not (type(block) is int and block > 0):
            raise DamagedFile(f"checkpoint: {self.path} is not the state of a run (block {block!r}); remove it")
        try:
            done = [tensors[f"done.{i}"] for i in range(min(count, len(tensors) + 1))]
            state = [tensors[f"state.{i}"] for i in range(min(held, len(tensors) + 1))] or None
        except KeyError as error:
            raise DamagedFile(f"checkpoint: {self.path} is not the state of a run ({error}); remove it") from None
        return Saved(points, block, chunk, node, done, state)

    def write(
        self,
        points: int,
        block: int,
        chunk: int,
        node: int,
        state: tuple[Tensor, ...] | None,
        now: bool = False,
    ) -> None:
        """Write the state, if the last time is long enough ago for writing to cost little; `now`: in any case."""
        start = time.monotonic()
        if start < self._next and not now:
            return
        state = state or ()
        tensors = {f"state.{i}": tensor for i, tensor in enumerate(state)}
        numbers = {"points": points, "block": block, "chunk": chunk, "node": node, "done": 0, "state": len(state)}
        self._write(self.path, numbers, tensors)
        end = time.monotonic()
        self._next = end + (end - start) * (1.0 / _SHARE - 1.0)

    def read_block(self, index: int, block: int, points: int) -> list[Tensor] | None:
        """The sums of a block that is done, or None; a DamagedFile or ValueError where the file is another's."""
        path = self._block_path(index)
        found = self._read(path, ("index", "block", "points", "rows"))
        if found is None:
            return None
        numbers, tensors, _ = found
        if numbers[:3] != [index, block, points]:
            raise self._of_another(path, [f"blocks: {numbers[1]} paths, {numbers[2]} points in a batch"])
        try:
            return [tensors[f"row.{i}"] for i in range(min(numbers[3], len(tensors) + 1))]
        except KeyError as error:
            raise DamagedFile(f"checkpoint: {path} is not a block of a run ({error}); remove it") from None

    def write_block(self, index: int, block: int, points: int, rows: Sequence[Tensor]) -> None:
        """Keep the sums of a block that is done."""
        numbers = {"index": index, "block": block, "points": points, "rows": len(rows)}
        self._write(self._block_path(index), numbers, {f"row.{i}": row for i, row in enumerate(rows)})

    def _block_path(self, index: int) -> Path:
        return self.folder / f"block-{index:08d}.safetensors"

    def _read(self, path: Path, names: Sequence[str]) -> tuple[list[int], dict[str, Tensor], dict[str, object]] | None:
        """Whole numbers, tensors and all that a file says of itself, once it is known to be this calculation's."""
        remove_parts(path)
        if not path.is_file():
            return None
        try:
            tensors, metadata = unsealed(path.read_bytes(), ("about",))
            about = json.loads(metadata["about"])
            numbers = [about[name] for name in names]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise DamagedFile(f"expected whole numbers, got {numbers}")
            parts, before = about.get("parts"), about.get("digest")
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFile(f"checkpoint: {path} is not the state of a run ({error}); remove it") from None
        if isinstance(parts, dict):
            differ = [name for name, value in self.parts.items() if parts.get(name) != value]
        else:  # of before, when one digest stood for all that was compared
            differ = [] if before == self.before else ["networks, data, settings or versions"]
        if differ:
            raise self._of_another(path, differ)
        return numbers, tensors, about

    def _of_another(self, path: Path, differ: Sequence[str]) -> ValueError:
        return ValueError(
            f"checkpoint: {path} belongs to another calculation (other {', '.join(differ)}); "
            "pass another folder or remove this one"
        )

    def _write(self, path: Path, numbers: dict[str, int], tensors: dict[str, Tensor]) -> None:
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        try:
            write_whole(path, sealed(copies, {"about": json.dumps({"parts": self.parts, **numbers})}))
        except OSError as error:  # a full disk is no reason to lose what was computed
            warnings.warn(
                f"checkpoint: {path} could not be written ({error}): the run continues and keeps no state",
                CheckpointWarning,
                stacklevel=2,
            )


def parts_of(
    table: ops.StepTable,
    scores: Sequence[NodeScores],
    x: Points,
    seed: int,
    path_offset: int,
    device: torch.device,
) -> dict[str, str]:
    """All that the numbers of a run depend on, in words or as digests, by the name under which it is refused."""
    fixed = ops.normals(2, x.shape[1], seed=0, dtype=x.dtype, device=device)
    parts = {
        **versions(),
        "scheme": f"{table.scheme}, {table.direction}",
        "time grid or process": digest(table.times, table.columns),
        "starting points": f"{tuple(x.shape)} {x.dtype} {device.type} {digest(x)}",
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
            f"parameters of the {name}": f"{', '.join(state)} {digest(*state.values())}",
            f"scores of the {name} at fixed points": digest(item.fingerprint(fixed)),
        }
    return parts


def _digest_before(table: ops.StepTable, scores: Sequence[NodeScores], x: Tensor, seed: int, path_offset: int) -> str:
    """The one digest of states that were written before they named their parts."""
    out = hashlib.sha256()
    settings: list[object] = [VERSION, torch.__version__, table.scheme, table.direction, seed, path_offset]
    for tensor in (table.times, table.columns, x):
        settings.append(f"{tuple(tensor.shape)} {tensor.dtype}")
        out.update(bytes_of(tensor))
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
                out.update(bytes_of(tensor))
    out.update(json.dumps(settings, default=str).encode())
    return out.hexdigest()
