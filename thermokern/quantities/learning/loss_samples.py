"""Samples of a loss: data, times and noise, or whole trajectories, each from its own random numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreModel
from thermokern.models.loss import WEIGHTINGS, loss_weights
from thermokern.processes import DiscreteVP, step_table
from thermokern.quantities.engine.identity import bytes_of

Call = Callable[..., Tensor]  # the network, its parameters given
# (network, points (m, …)) to the losses (m,).
PointLoss = Callable[[Call, Tensor], Tensor]
LOSSES = WEIGHTINGS


@dataclass(frozen=True)
class Samples:
    """Losses of samples, given the network's output; each row of the tensors belongs to one sample.

    A score model's loss is quadratic in what its network says at K points of each sample,
    ``Σ_k a_k |out_k|² + b_k·out_k + c``: K is 1 for a denoising loss, and the number of steps for a trajectory. Any
    other loss is a function of the network and of its points.

    Attributes
    ----------
    parts : tuple of Tensor
        Quadratic: x (n, K, …), t (n, K), a (n, K), b (n, K, …), c (n,). Other: points (n, …).
    units : Tensor
        (n,) int64: which sample of the data each belongs to.
    n_units : int
    function : callable or None
    """

    parts: tuple[Tensor, ...]
    units: Tensor
    n_units: int
    function: PointLoss | None = None

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, rows: slice) -> Samples:
        return Samples(tuple(part[rows] for part in self.parts), self.units[rows], self.n_units, self.function)

    def losses(self, call: Call, parts: tuple[Tensor, ...] | None = None) -> Tensor:
        """Of each sample, (n,)."""
        parts = self.parts if parts is None else parts
        if self.function is not None:
            out = self.function(call, parts[0])
            if not isinstance(out, Tensor) or out.shape != parts[0].shape[:1]:
                raise ValueError(f"loss: expected a tensor ({len(parts[0])},), one number for each point")
            return out
        x, t, a, b, c = parts
        out = outputs(call, x, t)
        return (a * out.flatten(2).square().sum(2)).sum(1) + (b * out).flatten(1).sum(1) + c

    def points(self) -> tuple[Tensor, Tensor]:
        """What the network is given, (m, …) and times (m,)."""
        x, t = self.parts[:2]
        return x.flatten(0, 1), t.flatten()

    def digest(self) -> str:
        """Of all numbers."""
        out = hashlib.sha256()
        for part in (*self.parts, self.units):
            out.update(f"{tuple(part.shape)} {part.dtype}".encode())
            out.update(bytes_of(part))
        return out.hexdigest()


def outputs(call: Call, x: Tensor, t: Tensor) -> Tensor:
    """The network at x (n, K, …), t (n, K)."""
    out = call(x.flatten(0, 1), t.flatten())
    if out.shape != x.flatten(0, 1).shape:
        raise ValueError(f"model: expected an output of the shape of x, {tuple(x.shape[1:])}, got {tuple(out.shape)}")
    return out.reshape(x.shape)


def denoising_samples(
    model: ScoreModel,
    data: Tensor,
    shape: torch.Size,
    weighting: str,
    t_eps: float,
    n: int,
    draws: int,
    seed: int,
    offset: int,
) -> Samples:
    """Denoising losses ``λ |s_θ(x_t, t) + ε/√v|²``, `draws` times and noises for each of the data points drawn."""
    process, dim = model.process, data.shape[1]
    numbers = ops.normals(n, dim + 1, seed=seed, path_offset=offset, purpose="start", dtype=torch.float64)
    noise, uniform = numbers[:, :dim], torch.special.ndtr(numbers[:, dim])
    units, chosen = _chosen(data, n, draws, seed, offset)
    if isinstance(process, DiscreteVP):
        first = max(1, round(t_eps))
        t = first + (uniform * (round(process.t_end) - first + 1)).floor().clamp_max(round(process.t_end) - first)
    else:
        t = t_eps + (process.t_end - t_eps) * uniform
    m, v = process.mean_scale(t)[:, None], process.variance(t)[:, None]
    x = m * chosen + v.sqrt() * noise
    # √v s + ε = scale out + rest
    scale = v.sqrt() * model.output_scale(t)[:, None]
    rest = v.sqrt() * model.skip(t)[:, None] * x + noise
    weight = loss_weights(weighting, process, t, t_eps, dim)
    a = weight * scale[:, 0].square()
    b = 2.0 * weight[:, None] * scale * rest
    c = weight * rest.square().sum(1)
    points = (part.view(n, 1, *shape) for part in (x, b))
    x, b = next(points), next(points)
    return Samples((x, t[:, None], a[:, None], b, c), units, len(data))


def trajectory_samples(
    model: ScoreModel,
    data: Tensor,
    shape: torch.Size,
    times: Tensor,
    n: int,
    draws: int,
    seed: int,
    offset: int,
) -> Samples:
    """What of Δs depends on the model along forward paths, `draws` paths for each of the data points drawn.

    The backward-Itô sum ``Σ ½ Δq |S_θ|² + S_θ·Δy`` over the nodes that steps reach, as :func:`step_table` has it.
    """
    process, dim = model.process, data.shape[1]
    table = step_table(process, times, "backward-ito")
    steps = len(times) - 1
    numbers = ops.normals(n, dim * (steps + 1), seed=seed, path_offset=offset, purpose="start", dtype=torch.float64)
    z = numbers.view(n, steps + 1, dim)
    units, chosen = _chosen(data, n, draws, seed, offset)
    x = table.mean_scale[0] * chosen + table.variance[0].sqrt() * z[:, 0]
    drift, spread = table.column("drift"), table.column("noise")
    nodes = []
    for k in range(steps):
        x = drift[k] * x + spread[k] * z[:, k + 1]
        nodes.append(x)
    path = torch.stack(nodes, 1)  # (n, steps, d)
    energy, work = table.column("energy")[1:], table.column("work_carried")[1:]
    scale, skip = model.output_scale(times[1:]), model.skip(times[1:])
    rest = skip[:, None] * path  # s = scale out + rest
    a = (energy * scale.square()).expand(n, -1)
    b = scale[:, None] * (2.0 * energy[:, None] * rest + work[:, None] * z[:, 1:])
    c = (energy[:, None] * rest.square() + work[:, None] * rest * z[:, 1:]).sum((1, 2))
    points = (part.reshape(n, steps, *shape) for part in (path, b))
    path, b = next(points), next(points)
    return Samples((path, times[1:].expand(n, -1), a, b, c), units, len(data))


def given_samples(function: PointLoss, data: Tensor, shape: torch.Size, n: int | None) -> Samples:
    """Losses of the points themselves: the first n of them, in order."""
    n = len(data) if n is None else n
    if n > len(data):
        raise ValueError(f"n_samples: expected at most {len(data)}, the points that there are, got {n}")
    units = torch.arange(n, device="cpu")
    return Samples((data[:n].reshape(n, *shape),), units, len(data), function)


def _chosen(data: Tensor, n: int, draws: int, seed: int, offset: int) -> tuple[Tensor, Tensor]:
    """Which data point each sample has: number j of them belongs to samples j·draws … (j + 1)·draws − 1."""
    count = -(-n // draws)
    drawn = ops.normals(count, 1, seed=seed, path_offset=offset, purpose="component", dtype=torch.float64)
    index = (torch.special.ndtr(drawn[:, 0]) * len(data)).long().clamp_max(len(data) - 1)
    units = torch.arange(count, device="cpu").repeat_interleave(draws)[:n]
    return units, data[index[units]]
