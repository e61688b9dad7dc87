"""What runs the paths: the fused kernels where they know both scores, streams for other networks, or the reference."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel, exact_divergence, fuse
from thermokern.models.evaluate import examine_score, score_of
from thermokern.ops.checks import MAX_DIM, NotFusable, checked_choice, checked_device
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.attribution import NodeSums
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.engine.streamed import StreamedPaths, Streaming
from thermokern.targets import Distribution, GaussianMixture

BACKENDS = ("auto", "fused", "streamed", "reference")
UNSTREAMED = ("auto", "fused", "reference")  # of quantities whose PyTorch backend takes networks as they are


class OneCall(Protocol):
    """Runs paths of one block."""

    def __call__(self, x: Tensor, seed: int, path_offset: int, resolved: NodeSums | None = None) -> ops.TrajectorySums:
        """The sums along each path that begins at x (n, d); what they leave at nodes is added to `resolved`."""


Runner = OneCall | StreamedPaths


def choose_backend(
    backend: str,
    model: ScoreLike,
    reference: ScoreLike,
    process: LinearProcess,
    table: ops.StepTable,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    streaming: Streaming,
    device: torch.device | str = "cpu",
) -> tuple[Runner, str, str]:
    """The function that runs paths, its name, and why the fused kernels did not serve."""
    device = checked_device(device)
    checked_choice("backend", backend, BACKENDS)
    dim = math.prod(shape)
    reason = f'backend="{backend}" was asked for'
    if backend in ("auto", "fused"):
        try:
            if wanted := streaming.needed_for():
                raise NotFusable(wanted)
            first, second = (
                source_of(role, score, table, dim, dtype)
                for role, score in (("model", model), ("reference", reference))
            )
            return _fused(table, first, second), "fused", ""
        except NotFusable as error:
            reason = str(error)
            if backend == "fused":
                raise ValueError(f'backend: "fused" cannot run this: {reason}') from None
    networks = any(not isinstance(score, Distribution) for score in (model, reference))
    if backend == "streamed" or (backend == "auto" and (networks or streaming.needed_for())):
        options = (streaming.divergence, streaming.probes, 0)
        scores = [
            NodeScores(score, process, table, shape, *options, name=role)
            for role, score in (("model", model), ("reference", reference))
        ]
        return StreamedPaths(table, scores[0], scores[1], replace(streaming, device=device)), "streamed", reason
    if device.type != "cpu":
        raise ValueError(f'device: backend="reference" runs on the CPU, not on {device}; "streamed" does ({reason})')
    if wanted := streaming.needed_for(reference=True):
        raise ValueError(f'backend: "reference" cannot run this: {wanted}')
    first_score = _node_score(model, process, table, shape)
    second_score = _node_score(reference, process, table, shape)

    def run(x: Tensor, seed: int, path_offset: int, resolved: NodeSums | None = None) -> ops.TrajectorySums:
        first, divergence = table.times[0].item(), table.divergence_weight != 0.0
        for role, score in (("model", model), ("reference", reference)):
            examine_score(role, score, process, x, first, torch.Size(shape), derivative=divergence)
        observe = None if resolved is None else resolved.visit
        if resolved is not None:
            resolved.begin(x)
        with contextlib.nullcontext() if streaming.gradient else torch.no_grad():
            sums = ops.trajectory_reference(
                *(x, table, first_score, second_score), seed=seed, path_offset=path_offset, observe=observe
            )
        if resolved is not None:
            resolved.end()
        return sums

    return run, "reference", reason


def _fused(table: ops.StepTable, model: ops.Source, reference: ops.Source) -> Runner:
    def run(x: Tensor, seed: int, path_offset: int, resolved: NodeSums | None = None) -> ops.TrajectorySums:
        if resolved is None:
            return ops.trajectory(x, table, model, reference, seed=seed, path_offset=path_offset)
        found = ops.trajectory_parts(x, resolved.parts, model, reference, seed=seed, path_offset=path_offset)
        resolved.take(found)
        return found.sums

    return run


def source_of(role: str, score: ScoreLike, table: ops.StepTable, dim: int, dtype: torch.dtype) -> ops.Source:
    """What the kernels read of a score at the nodes of a table, or :class:`NotFusable` with the reason."""
    try:
        if isinstance(score, GaussianMixture):
            if dim > MAX_DIM:
                raise NotFusable(f"the kernels take at most {MAX_DIM} dimensions, not {dim}")
            return score.source(table)
        if isinstance(score, ScoreModel):
            return fuse(score, table.times, dim, dtype)
        raise NotFusable(f"only the reference knows scores of the kind {type(score).__name__}")
    except NotFusable as error:
        raise NotFusable(f"{role}: {error}") from None


def _node_score(
    score: ScoreLike, process: LinearProcess, table: ops.StepTable, shape: tuple[int, ...]
) -> ops.NodeScore:
    times = table.times.tolist()

    def at(x: Tensor, node: int) -> Tensor:
        return score_of(score, process, x, times[node], torch.Size(shape))

    def closed_form(x: Tensor, node: int) -> tuple[Tensor, Tensor]:
        assert isinstance(score, Distribution)
        out = score.evaluate(x, times[node], process)
        return out.score, out.divergence

    def by_network(x: Tensor, node: int) -> tuple[Tensor, Tensor | None]:
        if table.divergence_weight == 0.0:
            return at(x, node), None
        return exact_divergence(lambda points: at(points, node), x, gradient=torch.is_grad_enabled())

    return closed_form if isinstance(score, Distribution) else by_network
