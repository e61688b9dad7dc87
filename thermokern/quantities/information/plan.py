"""At which noise levels an integral over the log signal-to-noise ratio is evaluated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern import ops
from thermokern.processes import LinearProcess

SAMPLINGS = ("adaptive", "log-snr", "uniform")
BINS = 32
REACH = 2  # bins on either side whose rates tell what a bin may hold that the pilot has not met
FLOOR = 0.1  # the share of evaluations that is spread evenly whatever the pilot saw


class Density(NamedTuple):
    """A density over λ = ln(m²/v), constant on bins of one width."""

    edges: Tensor  # (BINS + 1,) float64, increasing
    mass: Tensor  # (BINS,) of sum 1


class Levels(NamedTuple):
    """Noise levels and what each stands for: ``∫ r dλ ≈ (1/n) Σ weight · r``."""

    log_snr: Tensor  # (n,) float64, increasing
    weight: Tensor  # (n,)


def even_density(low: float, high: float) -> Density:
    """Every λ in [low, high] alike."""
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64, device="cpu")
    return Density(edges, torch.full((BINS,), 1.0 / BINS, dtype=torch.float64, device="cpu"))


def adapted_density(pilot: Levels, rates: Tensor, edges: Tensor) -> Density:
    """The density of least variance as a pilot sees it: ∝ √E r² of its rates (n,), over a floor.

    A bin has at least half of its neighbour's √E r², and a quarter of the next one's: where large rates are rare, the
    pilot meets none of them in most bins, and the one that the evaluations then meet would count hundredfold.
    """
    which = (torch.bucketize(pilot.log_snr, edges) - 1).clamp(0, BINS - 1)
    count = torch.zeros(BINS, dtype=torch.float64, device="cpu").index_add_(0, which, torch.ones_like(rates))
    square = torch.zeros(BINS, dtype=torch.float64, device="cpu").index_add_(0, which, rates.square())
    size = (square / count.clamp_min(1.0)).sqrt()
    for _ in range(REACH):
        beside = torch.nn.functional.pad(size, (1, 1))
        size = torch.maximum(size, 0.5 * torch.maximum(beside[:-2], beside[2:]))
    total = size.sum()
    shape = size / total if total > 0.0 else torch.full_like(size, 1.0 / BINS)
    return Density(edges, FLOOR / BINS + (1.0 - FLOOR) * shape)


def stratified(density: Density, jitter: Tensor) -> Levels:
    """One level in each of n strata of equal mass, or in each row of them; `jitter` (…, n) uniform on (0, 1)."""
    n = jitter.shape[-1]
    share = (torch.arange(n, dtype=torch.float64, device="cpu") + jitter) / n
    below = torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), density.mass.cumsum(0)])
    below = below / below[-1]
    which = (torch.searchsorted(below, share.contiguous(), right=True) - 1).clamp(0, BINS - 1)
    mass, width = below.diff()[which], density.edges.diff()[which]
    inside = ((share - below[which]) / mass).clamp(0.0, 1.0)
    return Levels(density.edges[which] + inside * width, width / mass)


def uniform_times(process: LinearProcess, t_eps: float, u: Tensor) -> Levels:
    """Independent times uniform on [t_eps, t_end], as the literature has them: ``dλ = (g²/v) dt``; `u` (n,)."""
    length = process.t_end - t_eps
    t = (t_eps + length * u).sort(descending=True).values
    return Levels(process.log_snr(t), length * process.g2(t) / process.variance(t))


def uniforms(n: int, seed: int, offset: int, per: int = 1) -> Tensor:
    """Uniform numbers, (n,) or (n, per), of evaluations `offset` …, by Philox: of a stream that no noise comes from."""
    z = ops.normals(n, per, seed=seed, path_offset=offset, purpose="probe", dtype=torch.float64)
    u: Tensor = torch.special.ndtr(z)
    return u[:, 0] if per == 1 else u
