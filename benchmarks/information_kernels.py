"""Information of a Gaussian pair in the kernel beside PyTorch, eager and compiled: per point, and to a given error.

``python benchmarks/information_kernels.py [product | points | error] [--rounds 7]``, one thread. ``product``: the dense
product of the kernel alone, as a share of what the core's multiply-adds can do. ``points``: work M, 25 + 25 dimensions,
10⁵ paths at each of many times, gap, loss and difference of entropies summed; every contestant takes the paths in
blocks of the size that suits it best. ``error``: what a standard error of 0.1 % costs on 25 × 15 dimensions, with data
drawn and noise levels chosen by each.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import limits
import torch
from torch import Tensor

import thermokern as tk
from thermokern import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from information_cases import case_d

VP = tk.VP()
DIM, PATHS, NODES = 25, 100_000, 500
TIMES = VP.times_at(torch.linspace(VP.log_snr(1.0), VP.log_snr(1e-5), NODES, dtype=torch.float64))
BLOCKS = (1_008, 2_016, 4_032, 19_968, 39_936, PATHS)

Round = Callable[[int, int], None]  # one round over a block of paths: block size, times


def pair() -> tk.JointGaussian:
    """25 dimensions seen through 25, of unlike axes; fixed numbers."""
    i = torch.arange(DIM, dtype=torch.float64)
    matrix = torch.cos(0.7 * i[:, None] + 1.3 * i * i[:, None] / DIM)
    covariance = matrix @ matrix.T / DIM + 0.2 * torch.eye(DIM, dtype=torch.float64)
    return tk.JointGaussian(covariance, torch.sin(i[:, None] + 2.0 * i + i[:, None] * i), 1.0)


class Problem:
    """Points, centres and matrices of every time, float32: of the data's axes, and of the axes of Σ_x."""

    def __init__(self) -> None:
        law = pair()
        x, y = law.sample(PATHS, 1)
        part = law.given(law.y.means[0])
        assert part.eigenvectors is not None
        assert law.x.eigenvectors is not None
        axes = law.x.eigenvectors[0]
        centre = law.conditional_mean(y)
        self.x, self.centre = x.float(), centre.float()
        self.turned_x, self.turned_centre = (x @ axes).float().contiguous(), (centre @ axes).float().contiguous()
        own = part.eigenvectors[0]
        self.from_centre, self.from_x = ((z @ own).T.float().contiguous() for z in (x - centre, x))
        self.rotation = (axes.T @ own).float().contiguous()
        self.narrow, self.wide = part.eigenvalues[0].float(), law.x.eigenvalues[0].float()
        self.zero = torch.zeros(DIM)
        self.m, self.root = VP.mean_scale(TIMES), VP.variance(TIMES).sqrt()
        m2, v, one = self.m.square()[:, None, None], self.root.square()[:, None, None], torch.eye(DIM).double()
        self.pull_x = torch.linalg.inv(m2 * law.x.covariances[0] + v * one).float()
        self.pull_y = torch.linalg.inv(m2 * law.conditional_covariance + v * one).float()
        self.turned_y = (axes.T @ self.pull_y.double() @ axes).float().contiguous()
        self.gains = (1.0 / (m2[:, 0] * law.x.eigenvalues + v[:, 0])).float()
        self.noise = ops.normals(PATHS, DIM, seed=9)
        self.noise_rows = self.noise.T.contiguous()


def _columns(one: Tensor, other: Tensor, rest: Tensor, noise: Tensor) -> Tensor:
    apart, both = one - other, one + other
    return 0.5 * torch.stack(
        [(apart * apart).sum(1), -(apart * (both + 2.0 * noise)).sum(1), (apart * (both - 2.0 * rest)).sum(1)]
    )


def three_products(x: Tensor, centre: Tensor, z: Tensor, m: Tensor, root: Tensor, by_x: Tensor, by_y: Tensor) -> Tensor:
    """Both scores by their matrices, as one writes them."""
    point = m * x + root * z
    scores = -root * ((point - m * centre) @ by_y), -root * (point @ by_x)
    return _columns(*scores, -root * point, z)


def one_product(x: Tensor, centre: Tensor, z: Tensor, m: Tensor, root: Tensor, by_x: Tensor, by_y: Tensor) -> Tensor:
    """The same in the axes of Σ_x, where one of the scores is a division: the least that PyTorch can do."""
    point = m * x + root * z
    scores = -root * ((point - m * centre) @ by_y), -root * (point * by_x)
    return _columns(*scores, -root * point, z)


def contestants(p: Problem) -> dict[str, tuple[bool, Round]]:
    """By name: whether normals are drawn inside, and a round."""

    def torch_round(function: Callable[..., Tensor], turned: bool, drawn: bool) -> Round:
        x, centre = (p.turned_x, p.turned_centre) if turned else (p.x, p.centre)
        by_x, by_y = (p.gains, p.turned_y) if turned else (p.pull_x, p.pull_y)
        m, root = p.m.float(), p.root.float()

        def run(block: int, times: int) -> None:
            total = torch.zeros(3, block)
            for k in range(times):
                z = torch.randn(block, DIM) if drawn else p.noise[:block]
                total += function(x[:block], centre[:block], z, m[k], root[k], by_x[k], by_y[k])

        return run

    def kernel_round(drawn: bool, shared: bool = True) -> Round:
        m, root = p.m.float()[:, None], p.root.float()[:, None]
        own = torch.arange(PATHS) % NODES  # the node of each point
        cut: dict[int, list[Tensor]] = {}

        def run(block: int, times: int) -> None:
            if block not in cut:
                rows = (p.from_centre, p.from_x, p.noise_rows)
                cut[block] = [part[:, :block].contiguous() for part in rows]
            from_centre, from_x, noise = cut[block]
            total = torch.zeros(3, block)
            pair = (from_centre, from_x, p.rotation, p.narrow, p.wide, p.zero)
            levels = m[own[:block], 0], root[own[:block], 0]
            for k in range(times):  # without the checks of ops.gaussian_gap, which cost 0.1 ms a call
                level = (m[k], root[k]) if shared else levels
                given = (*pair, *level, shared, 1.0, None if drawn else noise, k, 0)
                total += torch.ops.thermokern.gaussian_gap(*given)

        return run

    compiled = {name: torch.compile(f) for name, f in (("three", three_products), ("one", one_product))}
    return {
        "kernel": (False, kernel_round(False)),
        "kernel, a level of its own for each point": (False, kernel_round(False, shared=False)),
        "torch.compile, one product": (False, torch_round(compiled["one"], True, False)),
        "torch.compile, three products": (False, torch_round(compiled["three"], False, False)),
        "eager, three products": (False, torch_round(three_products, False, False)),
        "kernel, drawn": (True, kernel_round(True)),
        "kernel, a level of its own for each point, drawn": (True, kernel_round(True, shared=False)),
        "torch.compile, one product, drawn": (True, torch_round(compiled["one"], True, True)),
        "torch.compile, three products, drawn": (True, torch_round(compiled["three"], False, True)),
        "eager, three products, drawn": (True, torch_round(three_products, False, True)),
    }


def timed(run: Callable[[], None]) -> float:
    """CPU seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def product(rounds: int) -> None:
    """GFLOP/s of the kernel's product alone, and of multiply-adds in registers, in turn in every round."""
    peak, alone = limits.fma(), limits.gap_product()
    assert not isinstance(peak, str), peak
    assert not isinstance(alone, str), alone
    dims = (8, 16, DIM, 32, 64)
    found = [(peak(), [alone(dim) for dim in dims]) for _ in range(rounds)]
    print("| dimensions | GFLOP/s | least and most | of the peak |")
    print("|---|---|---|---|")
    peaks = [at_best for at_best, _ in found]
    rows = [("multiply-adds in registers", peaks)]
    rows += [(str(dim), [speeds[k] for _, speeds in found]) for k, dim in enumerate(dims)]
    for name, speeds in rows:
        share = statistics.median(a / b for a, b in zip(speeds, peaks, strict=True))
        print(f"| {name} | {statistics.median(speeds):.0f} | {min(speeds):.0f}–{max(speeds):.0f} | {share:.0%} |")


@torch.no_grad()
def points(rounds: int, budget: int = 400_000) -> None:
    """Nanoseconds of CPU for each point of a path, every contestant in its best block, all in turn in every round."""
    problem = Problem()
    entries: dict[tuple[bool, str, int], tuple[Round, list[float]]] = {}
    for name, (drawn, run) in contestants(problem).items():
        tuned = {}
        for block in BLOCKS:
            run(block, 2)
            tuned[block] = min(timed(partial(run, block, max(2, budget // block))) for _ in range(3))
        best = min(BLOCKS, key=lambda block: tuned[block])
        for block in sorted({best, PATHS}):
            entries[drawn, name.replace(", drawn", ""), block] = (run, [])
    peak = limits.fma()
    assert not isinstance(peak, str), peak
    peaks = []
    for _ in range(rounds):
        for (_, _, block), (run, found) in entries.items():
            times = max(2, budget // block)
            found.append(1e9 * timed(partial(run, block, times)) / (block * times))
        peaks.append(peak())
    print(f"FMA peak {max(peaks):.0f} GFLOP/s (the best of {rounds})")
    print("| normals | who | paths at once | ns a point | least and most | × the kernel's |")
    print("|---|---|---|---|---|---|")
    for (drawn, name, block), (_, found) in entries.items():
        base = next(times for (d, who, _), (_, times) in entries.items() if d == drawn and who == "kernel")
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        print(
            f"| {'drawn' if drawn else 'given'} | {name} | {block:,} | {statistics.median(found):.0f} | "
            f"{min(found):.0f}–{max(found):.0f} | {ratio:.1f} |"
        )
    flops = 2.0 * DIM * DIM
    least = min(min(found) for (drawn, name, _), (_, found) in entries.items() if name == "kernel" and not drawn)
    print(f"kernel: the {flops:.0f} operations of its dense product and all else in {least:.0f} ns")


def uniform_times(law: tk.JointGaussian, n: int) -> tuple[float, float]:
    """The gap as the literature takes it: uniform times, eager float32, in batches; the value and its error."""
    root_x = torch.linalg.cholesky(law.x.covariances[0]).float()
    part = law.conditional_covariance
    values, vectors = torch.linalg.eigh(part)
    wide, axes = torch.linalg.eigh(law.x.covariances[0])
    gain = law.conditional_mean(torch.eye(law.dim_y, dtype=torch.float64)) - law.conditional_mean(
        torch.zeros(1, law.dim_y, dtype=torch.float64)
    )
    gain, values, vectors, wide, axes, a = (m.float() for m in (gain, values, vectors, wide, axes, law.A))
    sums, squares, noise_y = 0.0, 0.0, law.noise.float()
    for low in range(0, n, 4096):
        size = min(4096, n - low)
        x = torch.randn(size, law.dim) @ root_x.T
        y = x @ a.T + noise_y * torch.randn(size, law.dim_y)
        t = 1e-5 + (1.0 - 1e-5) * torch.rand(size, 1)
        b = t * (0.1 + 0.5 * t * 19.9)
        m, v = torch.exp(-0.5 * b), -torch.expm1(-b)
        point = m * x + v.sqrt() * torch.randn(size, law.dim)
        apart = point - m * (y @ gain)
        one = ((apart @ vectors) / (m * m * values + v)) @ vectors.T
        other = ((point @ axes) / (m * m * wide + v)) @ axes.T
        rate = 0.5 * (0.1 + t[:, 0] * 19.9) * (one - other).square().sum(1)
        sums, squares = sums + rate.sum().item(), squares + rate.double().square().sum().item()
    mean = sums / n
    return mean, math.sqrt((squares / n - mean**2) / n)


def along_paths(law: tk.JointGaussian, paths: int, nodes: int = 64) -> tuple[float, float]:
    """The gap summed along walks of 64 nodes, even in λ, by exact transitions, eager float32; value and error."""
    root_x = torch.linalg.cholesky(law.x.covariances[0]).float()
    levels = torch.linspace(VP.log_snr(1e-5), VP.log_snr(1.0), nodes, dtype=torch.float64)
    weight = torch.full((nodes,), (levels[0] - levels[-1]).item() / (nodes - 1), dtype=torch.float64)
    weight[0] = weight[-1] = 0.5 * weight[1]
    t = VP.times_at(levels)
    m, v = VP.mean_scale(t), VP.variance(t)
    eye = torch.eye(law.dim, dtype=torch.float64)
    by_y, by_x = (
        torch.linalg.inv(m[:, None, None] ** 2 * c + v[:, None, None] * eye).float()
        for c in (law.conditional_covariance, law.x.covariances[0])
    )
    found = []
    for low in range(0, paths, 4096):
        size = min(4096, paths - low)
        x = torch.randn(size, law.dim) @ root_x.T
        y = x @ law.A.float().T + law.noise.float() * torch.randn(size, law.dim_y)
        centre, total = law.conditional_mean(y.double()).float(), torch.zeros(size)
        for k in range(nodes):
            ratio = 1.0 if k == 0 else (m[k] / m[k - 1]).item()
            scale, added = (m[0].item(), v[0].item()) if k == 0 else (ratio, (v[k] - ratio**2 * v[k - 1]).item())
            x = scale * x + math.sqrt(added) * torch.randn(size, law.dim)
            apart = (x - m[k].item() * centre) @ by_y[k] - x @ by_x[k]
            total += 0.5 * (weight[k] * v[k]).item() * apart.square().sum(1)
        found.append(total)
    values = torch.cat(found).double()
    return values.mean().item(), (values.std() / math.sqrt(paths)).item()


@torch.no_grad()
def error(rounds: int) -> None:
    """CPU seconds to a standard error of 0.1 %, by what a run costs and the error that it states."""
    law = case_d(1.0)
    truth = law.mutual_information(VP.log_snr(1e-5)) - law.mutual_information(VP.log_snr(1.0))

    def ours(sampling: str, evaluations: int) -> tuple[float, float]:
        found = tk.mutual_information(law, process=VP, evaluations=evaluations, sampling=sampling, ends=False)
        return found.gap.value, found.gap.stderr

    sizes: dict[str, tuple[Callable[[], tuple[float, float]], int]] = {
        "`mutual_information`, adaptive": (lambda: ours("adaptive", 131_072), 131_072),
        "`mutual_information`, even in λ": (lambda: ours("log-snr", 131_072), 131_072),
        "`mutual_information`, uniform times": (lambda: ours("uniform", 131_072), 131_072),
        "eager, uniform times": (lambda: uniform_times(law, 131_072), 131_072),
        "eager, along paths of 64 nodes": (lambda: along_paths(law, 4_096), 4_096 * 64),
    }
    spent: dict[str, list[float]] = {name: [] for name in sizes}
    results = {}
    for k in range(rounds + 1):
        for name, (run, _) in sizes.items():
            start = time.process_time()
            results[name] = run()
            if k:
                spent[name].append(time.process_time() - start)
    print(f"I from t = 1e-5 to 1: {truth:.4f}")
    print("| | evaluations | value | evaluations to 0.1 % | CPU s to 0.1 % | × |\n|---|---|---|---|---|---|")
    base = None
    for name, (_, evaluations) in sizes.items():
        value, stderr = results[name]
        factor = (stderr / (1e-3 * truth)) ** 2
        seconds = statistics.median(spent[name]) * factor
        base = seconds if base is None else base
        print(
            f"| {name} | {evaluations:,} | {value:.3f} ± {stderr:.3f} | {evaluations * factor:,.0f} | {seconds:.2f} | "
            f"{seconds / base:.0f} |"
        )


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"product": product, "points": points, "error": error}
    parser.add_argument("part", nargs="?", choices=parts)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, part in parts.items():
        if options.part in (None, name):
            print(f"\n## {name}\n")
            part(options.rounds)


if __name__ == "__main__":
    main()
