"""What the costs of all steps are made of, from one batch of evaluations of the score at every node."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models import ScoreLike
from thermokern.quantities.engine.batching import Batches
from thermokern.quantities.engine.problem import Problem
from thermokern.quantities.schedules.pairs import EULER, Nodes
from thermokern.targets import Distribution

_POINTS = 4096  # that a network sees at once, until memory runs out

# (x (n, d) float64, node) -> score (n, d) float64.
NodeScore = Callable[[Tensor, int], Tensor]


class Samples(NamedTuple):
    """What costs are linear in, for every sample, with its own noise at every node, and the ends' part of the bound."""

    products: Tensor  # (n, M, c): |δ|², or all of GRAM
    chance: Tensor  # (n, M) (|ε|² − d)/v, whose mean is 0
    x_first: Tensor  # (n, d) at the first node
    x_last: Tensor  # (n, d) at the last


def node_score(model: ScoreLike, problem: Problem, nodes: Nodes, dtype: torch.dtype) -> NodeScore:
    """The score of a model at nodes, evaluated in `dtype` and in batches."""
    times = nodes.times.tolist()
    batches = Batches(_POINTS)

    def evaluate(x: Tensor, node: int) -> Tensor:
        def part(low: int, high: int) -> Tensor:
            points = x[low:high].to(dtype)
            if isinstance(model, Distribution):
                return model.score(points, times[node], problem.process)
            out: Tensor = model(points.reshape(-1, *problem.shape), times[node])
            return out.reshape(points.shape)

        with torch.no_grad():
            return torch.cat(batches.run(len(x), part)).double()

    return evaluate


def samples_of(problem: Problem, sampler: str, nodes: Nodes, score: NodeScore, progress: bool) -> Samples:
    """One evaluation for each data point and node."""
    n, dim = problem.points.shape
    products, chance = [], []
    ends = []
    for k in Bar(range(len(nodes.times)), progress=progress, unit="node", desc="schedule"):
        m, v = nodes.mean_scale[k], nodes.variance[k]
        z = ops.normals(
            *(n, dim), seed=problem.seed, path_offset=problem.path_offset, first=k * dim, dtype=torch.float64
        )
        x, e = m * problem.points + v.sqrt() * z, z / v.sqrt()
        delta = score(x, k) + e
        if not bool(delta.isfinite().all()):
            raise FloatingPointError(f"model: its score at t = {nodes.times[k].item():g} is not finite everywhere")
        rows = [(x, x), (x, e), (x, delta), (e, e), (e, delta), (delta, delta)] if sampler == EULER else [(delta,) * 2]
        products.append(torch.stack([(one * other).sum(1) for one, other in rows], dim=1))
        chance.append((z.square().sum(1) - dim) / v)
        if k in (0, len(nodes.times) - 1):
            ends.append(x)
    return Samples(torch.stack(products, dim=1), torch.stack(chance, dim=1), ends[0], ends[-1])


def slope(samples: Samples) -> Tensor:
    """The regression of |δ|² on the chance of the noise, (M,): what is taken off to make the means quieter."""
    square, chance = samples.products[:, :, -1], samples.chance
    centred = chance - chance.mean(0)
    return (centred * (square - square.mean(0))).sum(0) / centred.square().sum(0)


def quieter(samples: Samples, factor: Tensor) -> Tensor:
    """The products (n, M, c), the last less `factor` (M,) times the chance of the noise; their means are the same."""
    products = samples.products.clone()
    products[:, :, -1] -= factor * samples.chance
    return products


def isotonic(values: Tensor) -> Tensor:
    """The increasing sequence next to `values` (M,) in least squares, by pooling adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (low, many), (high, more) = blocks[-2:]
            blocks[-2:] = [((low * many + high * more) / (many + more), many + more)]
    return torch.cat([torch.full((count,), value, dtype=values.dtype, device="cpu") for value, count in blocks])


def smoothed(moments: Tensor, nodes: Nodes) -> Tensor:
    """Means (M, c) whose ``v² E|δ|²/m²``, the square error of the denoised data, grows with the noise level."""
    factor = nodes.variance.square() / nodes.mean_scale.square()
    out = moments.clone()
    out[:, -1] = isotonic(factor * moments[:, -1]) / factor
    return out
