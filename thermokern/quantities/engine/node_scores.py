"""Scores, and where a scheme asks for them divergences, of many paths at many nodes at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel
from thermokern.models.evaluate import score_of
from thermokern.models.jacobian import Jacobian, choose_mode, products, trace
from thermokern.models.trial import examine
from thermokern.ops.contexts import plain_precision
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.batching import Batches
from thermokern.targets import Distribution

EXACT_DIM = 16  # up to which the exact divergence is cheap enough to be chosen
SETS = 2  # independent sets of probes, which tell how much of the variance is theirs


@dataclass(frozen=True)
class NodeDivergence:
    """How the divergence of one score is computed: not at all, in closed form, exactly, or from probes."""

    method: str  # "none", "closed form", "exact" or "hutchinson"
    way: Jacobian | None = None

    def __str__(self) -> str:
        if self.way is None:
            return self.method
        reason = f" ({self.way.reason})" if self.way.reason else ""
        return f"{self.method}, {self.way.mode} mode{reason}"


class NodeScores:
    """A score at the nodes of a table.

    Parameters
    ----------
    score : Distribution, ScoreModel or callable ``(x, t) -> score``
        A ScoreModel is evaluated on points of many nodes in one batch; the others one node at a time.
    process : LinearProcess
    table : StepTable
    shape : tuple of int
        Of one state, which the paths hold flattened.
    divergence : {"auto", "exact", "hutchinson"}
    probes : int
        Of each of the two sets.
    seed : int
        Of the probes.
    name : str
        Of the score, for messages.
    """

    def __init__(
        self,
        score: ScoreLike,
        process: LinearProcess,
        table: ops.StepTable,
        shape: tuple[int, ...],
        divergence: str,
        probes: int,
        seed: int,
        name: str = "model",
    ) -> None:
        self.name = name
        self.score, self.process, self.table, self.shape = score, process, table, shape
        self.dim, self.probes, self.seed = math.prod(shape), probes, seed
        self.times = table.times.tolist()
        self.divergence = self._choose(divergence)
        self.chunk = self.dim  # axes differentiated at once
        self.mixed = isinstance(score, ScoreModel)  # whether points of several times may share a batch

    def _choose(self, divergence: str) -> NodeDivergence:
        if not self.table.divergence_weight:
            return NodeDivergence("none")
        if isinstance(self.score, Distribution):
            return NodeDivergence("closed form")
        exact = divergence == "exact" or (divergence == "auto" and self.dim <= EXACT_DIM)
        return NodeDivergence("exact" if exact else "hutchinson")

    def try_out(self, x: Tensor) -> None:
        """See on points of the paths what the score is, whether times may mix in a batch, and the way of derivatives.

        A network that reads one time for all its points would be wrong without a word: two points at two times must
        have the scores together that they have alone.
        """
        if not len(x) or isinstance(self.score, Distribution):
            return
        first, network = self.table.times[:1], getattr(self.score, "network", self.score)
        examine(self.name, lambda points: self._field(points, first.expand(len(points))), x, network)
        if self.mixed:
            with torch.no_grad():
                pair = x[:1].expand(2, -1).contiguous()
                t = self.table.times[[0, len(self.times) // 2]]
                together = self._field(pair, t)
                alone = torch.cat([self._field(pair[i : i + 1], t[i : i + 1]) for i in range(2)])
            self.mixed = bool(((together - alone).abs() <= 1e-3 * (1.0 + alone.abs().amax())).all())
        if self.divergence.method in ("exact", "hutchinson") and self.divergence.way is None:
            way = choose_mode(self._field, x, first.expand(len(x)), self.name, network)
            self.divergence = NodeDivergence(self.divergence.method, way)

    def at(
        self, x: Tensor, nodes: range, path_offset: int, batches: Batches
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Scores (K, n, d) of `x` (K, n, d) at K nodes, and the divergence (K, n) by either set of probes, or None."""
        count, n = x.shape[:2]
        if not n:
            return torch.zeros_like(x), None if self.divergence.method == "none" else (x.new_zeros(count, n),) * 2
        if self.mixed:
            times = self.table.times[nodes.start : nodes.stop].repeat_interleave(n)
            flat = x.reshape(count * n, self.dim)
            v = self._probes(nodes, n, path_offset, x)
            parts = batches.run(
                count * n,
                lambda low, high: self.points(flat[low:high], times[low:high], None if v is None else v[:, low:high]),
            )
            return self._contracted(parts, nodes, (count, n), path_offset)
        results = [self._node(x[i], node, path_offset, batches) for i, node in enumerate(nodes)]
        scores = torch.stack([score for score, _ in results])
        if self.divergence.method == "none":
            return scores, None
        one, other = zip(*(pair for _, pair in results if pair is not None), strict=True)
        return scores, (torch.stack(one), torch.stack(other))

    def fingerprint(self, x: Tensor) -> Tensor:
        """Scores (3, n, d) of points (n, d) at the first, the middle and the last node, which tell networks apart."""
        nodes = [0, len(self.times) // 2, len(self.times) - 1]
        if isinstance(self.score, Distribution):
            return torch.stack([self.score.evaluate(x, self.times[k], self.process).score for k in nodes])
        with torch.no_grad():
            times = [self.table.times[k : k + 1].expand(len(x)) for k in nodes]
            if self.mixed:
                return self._field(x.repeat(len(nodes), 1), torch.cat(times)).reshape(len(nodes), *x.shape)
            return torch.stack([self._field(x, t) for t in times])

    def points(self, x: Tensor, t: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Scores (p, d) of points at times of their own; and their divergence (p,), or products of probes (q, p, d)."""
        way = self.divergence.way
        if way is None:
            return self._field(x, t), None
        if v is None:
            return trace(self._field, x, t, way, self.chunk)
        value, out = products(self._field, x, t, v, way)
        return value, out

    def _field(self, x: Tensor, t: Tensor | None) -> Tensor:
        assert t is not None
        if not isinstance(self.score, ScoreModel):
            return score_of(self.score, self.process, x, t[0].item(), torch.Size(self.shape))
        with plain_precision():
            return self.score.at(x.reshape(len(x), *self.shape), t).reshape(x.shape)

    def _node(
        self, x: Tensor, node: int, path_offset: int, batches: Batches
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        nodes, n = range(node, node + 1), len(x)
        if isinstance(self.score, Distribution):
            out = self.score.evaluate(x, self.times[node], self.process)
            return out.score, None if self.divergence.method == "none" else (out.divergence, out.divergence)
        times = self.table.times[node : node + 1].expand(n)
        v = self._probes(nodes, n, path_offset, x)
        parts = batches.run(
            n, lambda low, high: self.points(x[low:high], times[low:high], None if v is None else v[:, low:high])
        )
        score, pair = self._contracted(parts, nodes, (1, n), path_offset)
        return score[0], None if pair is None else (pair[0][0], pair[1][0])

    def _first(self, node: int, which: int) -> int:
        """Number in a path's stream of probes where one of a node begins: every node has probes of its own."""
        return (node * SETS * self.probes + which) * self.dim

    def _probes(self, nodes: range, n: int, path_offset: int, x: Tensor) -> Tensor | None:
        """Rademacher probes of every node, (2 · probes, K · n, d)."""
        if self.divergence.method != "hutchinson":
            return None
        draw = partial(ops.probes, n, self.dim, seed=self.seed, path_offset=path_offset, dtype=x.dtype, device=x.device)
        sets = range(SETS * self.probes)
        rows = [torch.cat([draw(first=self._first(node, which)) for node in nodes]) for which in sets]
        return torch.stack(rows)

    def _contracted(
        self, parts: list[tuple[Tensor, Tensor | None]], nodes: range, size: tuple[int, int], path_offset: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        scores = torch.cat([score for score, _ in parts]).reshape(*size, self.dim)
        found = [extra for _, extra in parts if extra is not None]
        if not found:
            return scores, None
        if self.divergence.method == "exact":
            exact = torch.cat(found).reshape(size)
            return scores, (exact, exact)
        pushed = torch.cat(found, dim=1).reshape(SETS * self.probes, *size, self.dim)
        sets = []
        for first in range(0, SETS * self.probes, self.probes):
            traces = [
                [
                    ops.hutchinson(
                        pushed[which, i], seed=self.seed, path_offset=path_offset, first=self._first(node, which)
                    )
                    for i, node in enumerate(nodes)
                ]
                for which in range(first, first + self.probes)
            ]
            sets.append(torch.stack([torch.stack(row) for row in traces]).mean(0))  # (K, n)
        return scores, (sets[0], sets[1])
