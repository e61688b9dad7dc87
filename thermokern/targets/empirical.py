"""The empirical law of a data set."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops.checks import check_tensor, checked_array, checked_integer
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import ArrayLike, Distribution, transition

LEAST_BUDGET = 2**20  # bytes
_TILE = 2**18  # numbers of one tensor of a tile, and at least _ROWS points of it: more would leave the cache
_ROWS = 256
_COMPONENTS = 2048  # of a tile
_TENSORS = 8  # of a tile's size that are alive together, one in float64 counted twice


class Empirical(Distribution):
    """A data set as a law: equal weights on its points, diffused to ``(1/N) Σ_i N(m x_i, v I)``.

    The score of this law is what a network that memorises its training set computes.

    Parameters
    ----------
    points : array
        (N, d), the data.
    memory_budget : int
        Bytes that an evaluation may hold beside its inputs and outputs, at least 2^20.

    Notes
    -----
    There is no density, score or divergence at t = 0: asking for one is an error. Cost: about 3 d + 10 operations for
    each of n N pairs. Sums over the data run block by block, relative to the largest term so far: safe in far tails,
    and memory grows with neither n nor N. Differentiable once in x, without regard to the memory budget.
    """

    def __init__(self, points: ArrayLike, *, memory_budget: int = 256 * 2**20) -> None:
        self.points = checked_array("points", points)
        if self.points.dim() != 2 or 0 in self.points.shape:
            flat = "; images are flattened: points.flatten(1)" if self.points.dim() > 2 else ""
            raise ValueError(f"points: expected (N, d), got {tuple(self.points.shape)}{flat}")
        self.dim = self.points.shape[1]
        self._there = self.points  # on the device where scores were last asked for
        self.memory_budget = checked_integer("memory_budget", memory_budget, LEAST_BUDGET)

    def __repr__(self) -> str:
        return f"Empirical({len(self.points):,} points, dim={self.dim})"

    def settings(self) -> dict[str, object]:
        checksum = hashlib.sha256(self.points.contiguous().numpy().astype("<f8").tobytes()).hexdigest()[:16]
        return {"kind": "Empirical", "points": list(self.points.shape), "sha256": checksum}

    def entropy(self) -> float:
        """A ValueError: point masses have none."""
        raise ValueError(
            "entropy: an empirical law has point masses and no differential entropy; that of the law behind the points "
            "is what tk.kozachenko_leonenko(points) estimates"
        )

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        choice = ops.normals(n, 1, seed=seed, path_offset=path_offset, purpose="component")[:, 0]
        count = len(self.points)
        index = (torch.special.ndtr(choice.to(torch.float64)) * count).to(torch.int64)
        return self.points[index.clamp_max(count - 1)]

    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        check_tensor("x", x, "n", self.dim)
        m, v = transition(t, process)
        if v <= 0.0:
            raise ValueError(f"t: an empirical law has no density or score at t = {t:g}, where nothing is diffused yet")
        return equal_mixture_score(x, self.points_on(x.device), m, v, self.memory_budget)

    def points_on(self, device: torch.device) -> Tensor:
        """The data on this device, float64; kept there until another is asked for."""
        if self._there.device != device:
            self._there = self.points.to(device)
        return self._there


def equal_mixture_score(
    x: Tensor, points: Tensor, m: float, variance: float, memory_budget: int = 256 * 2**20
) -> ops.MixtureScore:
    """Score, its divergence and log density of ``(1/N) Σ_i N(m x_i, variance I)``, in the dtype of `x` (n, d)."""
    dim, count = x.shape[1], len(points)
    tile = min(max(_TILE, _ROWS * dim), memory_budget // (_TENSORS * x.element_size()))
    components = max(1, min(count, _COMPONENTS, tile // (4 * dim)))
    rows = max(1, (tile - components * dim) // (components + 4 * dim))
    parts = [_one_block(block, points, m, variance, components) for block in torch.split(x, rows)]
    pull, square, log_sum = (torch.cat(part) for part in zip(*parts, strict=True))
    score = pull / variance
    divergence = (square / variance - dim) / variance - score.square().sum(1)
    log_density = log_sum - math.log(count) - 0.5 * dim * math.log(2.0 * math.pi * variance)
    return ops.MixtureScore(score, divergence, log_density)


def equal_mixture_score_at(
    x: Tensor, points: Tensor, m: Tensor, variance: Tensor, memory_budget: int = 256 * 2**20
) -> Tensor:
    """Score (n, d) of ``(1/N) Σ_i N(m x_i, variance I)``, with `m` and `variance` (n,) of each point's own."""
    dim, count = x.shape[1], len(points)
    tile = min(max(_TILE, _ROWS * dim), memory_budget // (_TENSORS * x.element_size()))
    components = max(1, min(count, _COMPONENTS, tile // (4 * dim)))
    rows = max(1, (tile - components * dim) // (components + 4 * dim))
    scale, spread = m[:, None].to(x), variance[:, None].to(x)
    parts = []
    for low in range(0, len(x), rows):
        which = slice(low, low + rows)
        # N(x; m x_i, v) is N(x/m; x_i, v/m²) up to a factor that all i share: the points stay where they are.
        relative = spread[which] / scale[which].square()
        pull, _, _ = _one_block(x[which] / scale[which], points, 1.0, relative, components)
        parts.append(scale[which] * pull / spread[which])
    return torch.cat(parts) if parts else torch.empty_like(x)


def _one_block(
    x: Tensor, points: Tensor, m: float, variance: float | Tensor, components: int
) -> tuple[Tensor, Tensor, Tensor]:
    """``E[μ] − x`` (n, d), ``E|μ − x|²`` (n,) under the responsibilities, and the log of the sum of exponentials."""
    largest = x.new_full((len(x), 1), -math.inf)
    # Sums in float64 whatever the dtype: E[μ] − x cancels, and float32 sums would lose ten times what it does.
    wide = x.to(torch.float64)
    total, mean, square = wide.new_zeros(len(x), 1), torch.zeros_like(wide), wide.new_zeros(len(x), 1)
    for part in torch.split(points, components):
        means = (m * part).to(x)
        # Differences first, then squares: |x|² − 2 x·μ + |μ|² would cancel.
        distance2 = torch.cdist(x, means, compute_mode="donot_use_mm_for_euclid_dist").square()  # (n, components)
        exponent = distance2 * (-0.5 / variance)
        now = torch.maximum(largest, exponent.amax(1, keepdim=True)).detach()
        weight, kept = (exponent - now).exp().to(torch.float64), (largest - now).exp()
        total = total * kept + weight.sum(1, keepdim=True)
        mean = mean * kept + weight @ means.to(torch.float64)
        square = square * kept + (weight * distance2).sum(1, keepdim=True)
        largest = now
    pull, log_sum = mean / total - wide, (largest + total.log())[:, 0]
    return pull.to(x), (square / total)[:, 0].to(x), log_sum.to(x)
