"""Paths through any network: simulated first, scored many points at a time, contracted node by node."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from thermokern import ops
from thermokern._bars import Bar
from thermokern.ops.step_table import COLUMNS
from thermokern.quantities.engine.attribution import NodeSums
from thermokern.quantities.engine.batching import MAX_POINTS, Batches, points_within
from thermokern.quantities.engine.blocks import Rows, Sharing, run_blocks, streamed_block
from thermokern.quantities.engine.checkpoint import Checkpoint, Saved
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.engine.starts import Points

_TRIED = 8  # first paths that a network is tried out on
_REVERSE_NODES = 16  # of reverse paths between two states that can be saved or computed again
_SMALL_DIM = 64  # up to which the noise is drawn for many paths at a time rather than along each


@dataclass(frozen=True)
class Streaming:
    """Options of the streamed backend; see :func:`thermokern.taep`."""

    divergence: str = "auto"
    probes: int = 1
    memory_budget: int | None = None
    checkpoint: Path | None = None
    gradient: bool = False
    progress: bool = False
    resolved: NodeSums | None = None
    sharing: Sharing = field(default_factory=Sharing)
    device: torch.device | str = "cpu"  # where paths are run; those that are waiting are where they were given

    def needed_for(self, reference: bool = False) -> str:
        """Why only this backend serves (or, `reference` being another that does, only it), or nothing."""
        if self.divergence == "hutchinson":
            return 'divergence="hutchinson" is for streamed paths'
        if self.checkpoint is not None:
            return "checkpoint is for streamed paths"
        if self.gradient and not reference:
            return "the fused kernels have no gradient"
        return ""


class StreamedSums(NamedTuple):
    value: Tensor  # (n,) Δs, without end terms
    mismatch: Tensor  # (n,)
    x_last: Tensor  # (n, d)
    probe_difference: Tensor | None  # (n,) Δs by one set of probes minus that by the other
    coarse: Tensor | None  # (n, 2) Δs over every second and every fourth node, where the table has them


_COLUMNS = 7  # of the rows of a block: StreamedSums' five, the size of its batches, and how often they were halved


class State(NamedTuple):
    """Paths at a node that they are about to visit, and their sums so far (float64)."""

    x: Tensor  # (n, d)
    carried: Tensor  # (n, d) noise of the step that led here
    previous: Tensor  # (n, d) where that step began
    value: Tensor  # (n,)
    mismatch: Tensor  # (n,)
    difference: Tensor  # (n,)
    coarse: Tensor  # (n, 2), and what it needs to go on: see CoarseSums; all empty where there are none
    kept: Tensor
    moved: Tensor


class StreamedPaths:
    """Runs paths; called as ``(x, seed, path_offset)``.

    Parameters
    ----------
    table : StepTable
    model, reference : NodeScores
    options : Streaming
    """

    def __init__(self, table: ops.StepTable, model: NodeScores, reference: NodeScores, options: Streaming) -> None:
        self.table, self.model, self.reference, self.options = table, model, reference, options
        self.reverse = table.direction == "reverse"
        self.last = len(table.times) - 1
        self.drift = table.column("drift").tolist()
        # Weights of the divergence in the values, which are 2 V_h − V_{2h} where there are coarse sums.
        self.energy = (
            2.0 * table.column("energy") - table.column("energy_2") if table.coarse else table.column("energy")
        )
        self.batches = Batches(1)
        self.points, self.block, self.halved = 1, 1, 0

    def __call__(self, x: Points, seed: int, path_offset: int) -> StreamedSums:
        with contextlib.nullcontext() if self.options.gradient else torch.no_grad():
            return self._run(x, seed, path_offset)

    def settings(self) -> dict[str, object]:
        """How it ran, for the result."""
        divergence = f"model: {self.model.divergence}; reference: {self.reference.divergence}"
        return {
            "divergence": divergence if self.table.divergence_weight else "none",
            "block": self.block,
            "points_in_a_batch": self.points,
            "one_time_in_a_batch": not (self.model.mixed or self.reference.mixed),
            "halved_for_memory": self.halved,
        }

    def _run(self, x: Points, seed: int, path_offset: int) -> StreamedSums:
        n, ranks = len(x), self.options.sharing.ranks
        device, scores = torch.device(self.options.device), (self.model, self.reference)
        saved = store = None
        with ranks.guarded():
            for score in scores:
                score.seed = seed
                score.try_out(x[:_TRIED].to(device))
            if self.options.checkpoint is not None:
                store = Checkpoint(self.options.checkpoint, self.table, scores, x, seed, path_offset, device)
                saved = store.read()
        self.points, self.block = ranks.first(lambda: self._sizes(saved, x, path_offset))
        self.batches = Batches(self.points)
        if store is not None and saved is None and ranks.rank == 0:
            store.write(self.points, self.block, 0, 0, None, now=True)
        with Bar(
            total=n * (self.last + 1), progress=self.options.progress, unit="point", unit_scale=True, desc="TAEP"
        ) as bar:

            def compute(index: int, low: int, high: int) -> Rows:
                bar.n = low * (self.last + 1)
                bar.refresh()
                rows = _rows_before(saved, index)
                if rows is None and store is not None:
                    rows = store.read_block(index, self.block, self.points)
                if rows is None:
                    start = saved if saved is not None and saved.chunk == index and ranks.alone else None
                    rows = self._run_block(x[low:high].to(device), seed, path_offset + low, index, start, store, bar)
                    if store is not None:
                        store.write_block(index, self.block, self.points, rows)
                return tuple(rows)

            blocks = run_blocks(n, self.block, ranks, compute)
        return self._sums(blocks, x)

    def _run_block(
        self,
        x: Tensor,
        seed: int,
        path_offset: int,
        index: int,
        saved: Saved | None,
        store: Checkpoint | None,
        bar: Bar,
    ) -> list[Tensor]:
        """The rows that a block's paths `x` leave, from where they stood when they were saved."""
        n_nodes = _REVERSE_NODES if self.reverse else max(1, self.points // self.block)
        node, state = 0, _start(x, self.table.coarse)
        if saved is not None and saved.state is not None:
            node, state = saved.node, State(*(part.to(x.device) for part in saved.state))
            bar.update(node * len(x))
        resolved = None if self.options.resolved is None else self.options.resolved.fresh()
        if resolved is not None:
            resolved.begin(x)
        for first in range(node, self.last + 1, n_nodes):
            nodes = range(first, min(first + n_nodes, self.last + 1))
            state = self._block(state, nodes, seed, path_offset, resolved)
            bar.update(len(x) * len(nodes))
            if store is not None and nodes.stop <= self.last and self.options.sharing.ranks.alone:
                store.write(self.points, self.block, index, nodes.stop, tuple(state))
        if resolved is not None:
            resolved.end()
        counts = [torch.tensor([count], device="cpu") for count in (self.batches.size, self.batches.halved)]
        x_last = state.x if self.options.sharing.keep_ends else state.x[:, :0]
        rows = [state.value, state.mismatch, x_last, state.difference, state.coarse, *counts]
        return rows if resolved is None else rows + resolved.tensors()

    def _sums(self, blocks: list[Rows], x: Points) -> StreamedSums:
        """The rows of all blocks, put together."""
        if not blocks:  # another rank has them
            return StreamedSums(x[:0].new_zeros(0), x[:0].new_zeros(0), x[:0], None, None)
        for rows in blocks:
            if self.options.resolved is not None:
                self.options.resolved.merge(rows[_COLUMNS:])
        value, mismatch, x_last, difference, coarse, size, halved = (
            torch.cat([rows[column] for rows in blocks]) for column in range(_COLUMNS)
        )
        self.points, self.halved = int(size.min()), int(halved.max())
        drawn = any(scores.divergence.method == "hutchinson" for scores in (self.model, self.reference))
        sums = value.to(x.dtype), mismatch.to(x.dtype), x_last, difference if drawn else None
        return StreamedSums(*sums, coarse if self.table.coarse else None)

    def _sizes(self, saved: Saved | None, x: Points, path_offset: int) -> tuple[int, int]:
        """Points of a batch and paths of a block, as they were saved, or as the problem asks."""
        asked, n = self.options.sharing.block, len(x)
        if saved is not None:
            block = saved.block or max(1, min(n, saved.points))
            if asked is not None and asked != block:
                raise ValueError(
                    f"checkpoint: {self.options.checkpoint} belongs to a run in blocks of {block} paths, not {asked}; "
                    "pass another folder or remove this one"
                )
            return saved.points, block
        # Of parts that are smaller than a block as of the whole.
        points = self._points(x[:1].to(self.options.device), max(n, asked or 0) if n else 0, path_offset)
        return points, asked or streamed_block(n, self.last + 1, points, self.reverse)

    def _points(self, x: Tensor, n: int, path_offset: int) -> int:
        """Points of one batch of `n` paths, measured at the first node on the first path `x` (1, d)."""
        if not n:
            return 1

        def evaluate(points: int) -> None:
            few = x.expand(points, -1)
            for scores in (self.model, self.reference):
                pair = scores.at(few[None].contiguous(), range(1), path_offset, Batches(points))
                del pair
            torch.empty(8, *few.shape, dtype=x.dtype, device=x.device)  # paths, noise and scores of the block

        most = points_within(self.options.memory_budget, evaluate, MAX_POINTS, x.device)
        return min(most, n * (self.last + 1))

    def _block(
        self, state: State, nodes: range, seed: int, path_offset: int, resolved: NodeSums | None = None
    ) -> State:
        if self.reverse:
            visit = partial(self._reverse_block, state, nodes, seed, path_offset)
        else:
            visit = partial(self._forward_block, state, nodes, seed, path_offset, resolved)
        if self.options.gradient:
            return recompute(visit, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]
        return visit()

    def _forward_block(
        self, state: State, nodes: range, seed: int, path_offset: int, resolved: NodeSums | None
    ) -> State:
        """Simulate over the nodes, then score all of their points at once, then contract."""
        noise = self._noise(state, nodes, seed, path_offset)  # (K + 1, n, d)
        points, x = self._simulate(state.x, nodes, noise)  # (K, n, d)
        model, reference, divergences = self._scores(points, nodes, path_offset)
        sums = ops.trajectory_block(
            *(points, model, reference, self.table, nodes.start),
            noise=noise,
            divergence=None if divergences is None else divergences[0],
            previous=state.previous,
        )
        if resolved is not None:
            before = torch.cat([state.previous[None], points[:-1]]) if self.table.scheme == "sampler" else None
            divergence = None if divergences is None else divergences[0]
            resolved.add(nodes.start, model, reference, divergence, noise[:-1], noise[1:], before)
        return State(
            x=x,
            carried=noise[-1].clone(),
            previous=points[-1].clone(),
            value=state.value + sums.value.double().sum(0),
            mismatch=state.mismatch + sums.mismatch.double().sum(0),
            difference=self._differ(state, nodes, divergences),
            **self._coarse(state, nodes, model, reference, divergences, noise[1:]),
        )

    def _simulate(self, x: Tensor, nodes: range, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Where paths stand at the nodes (K, n, d), and at the next."""
        spread = self.table.columns[nodes.start : nodes.stop, COLUMNS.index("noise")]
        pushes = (spread.to(x)[:, None, None] * noise[1:]).unbind()
        points = []
        for node, push in zip(nodes, pushes, strict=True):  # the last node's step goes nowhere
            points.append(x)
            x = torch.add(push, x, alpha=self.drift[node])
        return torch.stack(points), x

    def _reverse_block(self, state: State, nodes: range, seed: int, path_offset: int) -> State:
        """Node after node: the model drives the paths."""
        # A path of many components draws its numbers along them, as it steps.
        noise = self._noise(state, nodes, seed, path_offset) if state.x.shape[1] <= _SMALL_DIM else None
        for i, k in enumerate(nodes):
            model, reference, divergences = self._scores(state.x[None], range(k, k + 1), path_offset)
            sums = ops.trajectory_step(
                *(state.x, model[0], reference[0], self.table, k),
                divergence=None if divergences is None else divergences[0][0],
                noise=None if noise is None or k == self.last else noise[i + 1],
                carried=state.carried,
                previous=state.previous,
                advance=k < self.last,
                seed=seed,
                path_offset=path_offset,
            )
            state = State(
                x=sums.x_next if k < self.last else state.x,
                carried=sums.noise,
                previous=state.x,
                value=state.value + sums.value,
                mismatch=state.mismatch + sums.mismatch,
                difference=self._differ(state, range(k, k + 1), divergences),
                **self._coarse(state, range(k, k + 1), model, reference, divergences, sums.noise[None]),
            )
        return state

    def _scores(
        self, points: Tensor, nodes: range, path_offset: int
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Both scores (K, n, d); mean over the sets of probes of the divergence of their difference, and A minus B."""
        model, one = self.model.at(points, nodes, path_offset, self.batches)
        reference, two = self.reference.at(points, nodes, path_offset, self.batches)
        if one is None or two is None:
            return model, reference, None
        first, second = one[0] - two[0], one[1] - two[1]
        return model, reference, (0.5 * (first + second), first - second)

    def _coarse(
        self,
        state: State,
        nodes: range,
        model: Tensor,
        reference: Tensor,
        divergences: tuple[Tensor, Tensor] | None,
        noise: Tensor,
    ) -> dict[str, Tensor]:
        """The sums over every second and every fourth node, the nodes added, where the table has them."""
        if not self.table.coarse:
            return {"coarse": state.coarse, "kept": state.kept, "moved": state.moved}
        before = ops.CoarseSums(state.coarse.T, state.kept, state.moved)
        divergence = None if divergences is None else divergences[0]
        after = ops.coarse_sums(before, self.table, nodes.start, model, reference, divergence, noise)
        return {"coarse": after.value.T, "kept": after.kept, "moved": after.moved}

    def _differ(self, state: State, nodes: range, divergences: tuple[Tensor, Tensor] | None) -> Tensor:
        """Δs by one set of probes minus that by the other, the nodes added, (n,)."""
        if divergences is None:
            return state.difference
        energy = self.energy[nodes.start : nodes.stop].to(state.difference)
        return state.difference + self.table.divergence_weight * (energy[:, None] * divergences[1]).sum(0)

    def _noise(self, state: State, nodes: range, seed: int, path_offset: int) -> Tensor:
        """Noise of the step to the nodes and of the steps that leave them, (K + 1, n, d), as the kernels number it."""
        x = state.x
        n, dim = x.shape
        steps = min(nodes.stop, self.last) - nodes.start  # none leaves the last node
        noise = x.new_zeros(len(nodes) + 1, n, dim)
        if not self.reverse:  # there each step returns it
            noise[0] = state.carried
        if steps:
            numbers = ops.normals(
                *(n, steps * dim),
                seed=seed,
                path_offset=path_offset,
                first=nodes.start * dim,
                purpose="reverse" if self.reverse else "noise",
                dtype=x.dtype,
                device=x.device,
            )
            noise[1 : steps + 1] = numbers.view(n, steps, dim).transpose(0, 1)
        return noise


def _rows_before(saved: Saved | None, index: int) -> list[Tensor] | None:
    """Of a block that was done when all of them were kept in one file."""
    held = [] if saved is None else saved.done[5 * index : 5 * index + 5]
    return (
        [*held, torch.tensor([saved.points], device="cpu"), torch.zeros(1, dtype=torch.int64, device="cpu")]
        if held and saved is not None
        else None
    )


def _start(x: Tensor, coarse: bool) -> State:
    zeros = torch.zeros_like(x)
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    more = ops.no_coarse_sums(x if coarse else x[:, :0])
    return State(x, zeros, zeros, sums, sums, sums, more.value.T, more.kept, more.moved)
