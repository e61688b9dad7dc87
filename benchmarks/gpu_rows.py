"""One piece of work for each kernel, and the least time that a device's arithmetic and memory allow for the work.

Operations and bytes are those that docs/cuda.md counts, under *Rooflines*; a multiply-add counts as two operations and
any other instruction as one of the two that its slot could have made.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from thermokern import VP, KDTree, ops
from thermokern.processes import flow_table, rate_table, step_table

Run = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """How much is done, and what an item of the work takes at least."""

    items: int
    operations: float  # per item
    bytes: float  # per item

    def least_seconds(self, limits: dict[str, float]) -> float:
        """By the roofline."""
        arithmetic = self.items * self.operations / (1e9 * limits["peak_gflops"])
        return max(arithmetic, self.items * self.bytes / (1e9 * limits["copy_gb_per_s"]))


def limits(device: torch.device) -> dict[str, float]:
    """Float32 peak (units times the highest clock; on a CPU torch's matrix product) and measured rate of a copy."""
    source = torch.ones(1 << 26 if device.type == "cuda" else 1 << 22, device=device)
    target = torch.empty_like(source)
    a = torch.randn(512, 512, device=device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        lanes = 64 if (properties.major, properties.minor) in ((7, 5), (8, 0)) else 128  # of a multiprocessor
        query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
        megahertz = float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])
        peak = 2e-3 * properties.multi_processor_count * lanes * megahertz
    else:
        peak = 2e-9 * 512**3 / fastest(lambda: a @ a, device)
    return {"peak_gflops": peak, "copy_gb_per_s": 2e-9 * source.nbytes / fastest(lambda: target.copy_(source), device)}


def fastest(run: Run, device: torch.device) -> float:
    """Seconds, the least of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def ring(table: ops.StepTable | ops.RateTable | ops.FlowTable, weights: list[float]) -> ops.MixtureSource:
    angle = 2.0 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    means = 4.0 * torch.stack([angle.cos(), angle.sin()], 1)
    w = torch.tensor(weights, dtype=torch.float64)
    return ops.MixtureSource(means, torch.full_like(means, 0.0625), w / w.sum(), table.mean_scale, table.variance)


def kernels(device: torch.device, small: bool) -> dict[str, tuple[Work, Run]]:
    """Each kernel's work, at a size that fills a device, or tiny."""

    def size(full: int) -> int:
        return max(64, full // 4096) if small else full

    steps = 4 if small else 100
    one, other = [1.0, *[7.0] * 7], [1.0] * 8
    n = size(1 << 20)
    x = ops.normals(n, 2, purpose="start", device=device)
    path, rates, flow = (
        step_table(VP(), VP().grid(steps), "ito"),
        rate_table(VP(), VP().grid(steps)),
        flow_table(VP(), 1e-3, 8),
    )
    rows, long = size(8192), 3072
    wide = ops.normals(rows, long, device=device)
    values = ops.normals(size(1 << 24), 1, device=device)[:, 0].contiguous()
    mixture = ring(path, other)
    still = mixture.means, mixture.variances, mixture.weights
    matrix = torch.eye(2)
    few = ops.normals(size(100_000), 2, seed=1, device=device)
    brute, tree = KDTree(few, method="brute"), KDTree(x)
    shared, target, field = (
        (ring(path, one), ring(path, other)),
        (ring(rates, one), ring(rates, other)),
        ring(flow, other),
    )
    stretches = 8
    split = ops.PartTable(
        step_table(VP(), VP().grid(steps), "backward-ito"),
        torch.zeros(steps + 1, dtype=torch.float64),
        torch.arange(steps + 1) * stretches // (steps + 1),
        stretches,
        True,
    )
    parted = ring(split.table, one), ring(split.table, other)
    pair = ops.normals(50, n, seed=2, device=device).reshape(2, 25, n)
    ones, level = torch.ones(25, device=device), torch.full((n,), 0.5, device=device)
    gap = (torch.eye(25, device=device), ones, 2.0 * ones, ones, level, level)
    sizes = [25, *7 * [128], 25]
    layers = (
        [ops.normals(b, a, seed=a, device=device) / a**0.5 for a, b in itertools.pairwise(sizes)],
        [torch.zeros(b, device=device) for b in sizes[1:]],
        "silu",
        [torch.zeros(b, 15 if k in (0, 1, 3, 5) else 0, device=device) for k, b in enumerate(sizes[1:])],
        torch.zeros(9, n, device=device),
        torch.zeros(2, 6, n, device=device),
    )
    return {
        "normals": (Work(rows * long, 120, 4), lambda: ops.normals(rows, long, device=device)),
        "mixture_score": (Work(n, 8 * 37, 24), lambda: ops.mixture_score(x, *still)),
        "trajectory": (Work(n * steps, 592, 20 / steps), lambda: ops.trajectory(x, path, *shared)),
        "trajectory_averages": (
            Work(n * steps, 592, 40 / steps),
            lambda: ops.trajectory_averages(x, rates, *target),
        ),
        "trajectory_parts": (  # every cell of two components is set to zero, read and written
            Work(n * steps, 592 + 2 * 40, (20 + 12 * ops.FORMS * stretches * 2) / steps),
            lambda: ops.trajectory_parts(x, split, *parted),
        ),
        "probability_flow": (
            Work(n, 16 * 6 * 8 * 37, 40),  # at least sixteen steps of six scores
            lambda: ops.probability_flow(x, flow, field, rtol=1e-3, atol=1e-3),
        ),
        "langevin": (
            Work(n * steps, 300, 20 / steps),
            lambda: ops.langevin(x, matrix, 0.5 * matrix, 0.0 * matrix, torch.full((steps,), 0.01)),
        ),
        "gaussian_gap": (
            Work(n, 2 * 2 * 25**2 + 25 * (30 + 40), 2 * 4 * 25 + 20),
            lambda: ops.gaussian_gap(pair[0], pair[1], *gap),
        ),
        "mlp_gap": (
            Work(n, 2 * 2 * 6 * 128**2 + 2 * 7 * 40 * 128, 4 * (9 + 2 * 6) + 4 * 4 * 25),
            lambda: ops.mlp_gap(pair[0], *layers, *3 * [pair[1]], ones, level, level, residual=True),
        ),
        "hutchinson": (Work(rows * long, 130, 4), lambda: ops.hutchinson(wide)),
        "moments": (Work(len(values), 0, 4), lambda: ops.moments(values)),
        "neighbours, all pairs": (Work(len(few) ** 2, 14, 0), lambda: brute.neighbours(5)),
        "neighbours, tree": (Work(n, 0, 8 + 20), lambda: tree.neighbours(5)),
        "neighbours, build": (Work(n, 0, 14 * 12 * 16), lambda: KDTree(x)),
    }
