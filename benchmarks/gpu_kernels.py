"""Trajectories on one device: the fused kernels against PyTorch, eager and compiled. One JSON row a contestant.

`--small` runs every kernel once on little work, for compute-sanitizer. `--device cpu` tries the script without a GPU.
The peers step through time in Python, draw all normals of a step with torch outside what is compiled, and use the
formulas of the ops' references. Contestants take turns; a row holds the median and quartiles of the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import gpu_rows
import torch
from gpu_rows import ring
from torch import Tensor

import thermokern
from thermokern import KDTree, ops
from thermokern.processes import VP, flow_table, rate_table, step_table

Run = Callable[[], object]


def network(nodes: int, width: int, like: Tensor) -> ops.MlpSource:
    """Three layers of a width, random, for points like those (n, d)."""
    g = torch.Generator().manual_seed(1)
    sizes = [like.shape[1], width, width, width, like.shape[1]]
    weights = [(torch.randn(b, a, generator=g) / math.sqrt(a)).to(like) for a, b in itertools.pairwise(sizes)]
    biases = 0.1 * torch.randn(nodes, sum(sizes[1:]), generator=g)
    return ops.MlpSource(weights, biases.to(like), "silu", torch.ones(nodes), torch.zeros(nodes))


def stepped(x: Tensor, table: ops.StepTable, scores: Callable[..., tuple[Tensor, ...]], compiled: bool) -> Run:
    """The Itô increments of a trajectory, one step at a time in PyTorch."""
    columns = table.columns.to(x)

    def step(x: Tensor, value: Tensor, carried: Tensor, z: Tensor, row: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        model, model_divergence, reference, reference_divergence = scores(x, k)
        delta = model - reference
        energy = (delta * (model + reference)).sum(1) + 2.0 * (model_divergence - reference_divergence)
        value = value + row[2] * energy + (delta * (row[3] * carried + row[4] * z)).sum(1)
        return row[0] * x + row[1] * z, value, z

    function = torch.compile(step) if compiled else step

    def run() -> Tensor:
        state, value, carried = x, x.new_zeros(len(x)), torch.zeros_like(x)
        for k in range(len(columns)):
            z = torch.randn_like(state)
            state, value, carried = function(state, value, carried, z, columns[k], torch.tensor(k, device=x.device))
        return value

    return run


def mixture_scores(table: ops.StepTable, x: Tensor, *sources: ops.MixtureSource) -> Callable[..., tuple[Tensor, ...]]:
    m, v = table.mean_scale.to(x), table.variance.to(x)
    held = [[t.to(x) for t in (s.means, s.variances, s.weights)] for s in sources]

    def scores(x: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        out: list[Tensor] = []
        for means, variances, weights in held:
            at = ops.mixture_score_reference(x, m[k] * means, m[k] * m[k] * variances + v[k], weights)
            out += [at.score, at.divergence]
        return tuple(out)

    return scores


def network_scores(
    table: ops.StepTable, x: Tensor, net: ops.MlpSource, mixed: ops.MixtureSource
) -> Callable[..., tuple[Tensor, ...]]:
    """Forward mode by hand: value and both derivatives as three columns of one product."""
    of_mixture, splits = mixture_scores(table, x, mixed), [w.shape[0] for w in net.weights]

    def scores(x: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        biases = torch.split(net.biases[k], splits)
        h = torch.cat([x[:, None, :], torch.eye(2).to(x).expand(len(x), 2, 2)], 1)  # (n, 3, 2)
        for weight, bias in zip(net.weights[:-1], biases[:-1], strict=True):
            a = h @ weight.T
            value = a[:, 0] + bias
            gate = torch.sigmoid(value)
            slope = gate * (1.0 + value * (1.0 - gate))
            h = torch.cat([(value * gate)[:, None], a[:, 1:] * slope[:, None]], 1)
        out = h @ net.weights[-1].T
        return out[:, 0] + biases[-1], out[:, 1, 0] + out[:, 2, 1], *of_mixture(x, k)

    return scores


def stream(device: torch.device, small: bool) -> tuple[int, dict[str, Run]]:
    """One node of paths of images, scores given: read three states and the noise before, write one."""
    n, dim = (33, 300) if small else (8192, 3072)
    table = step_table(VP(), VP().grid(10), "backward-ito")
    x, model, reference, carried = (ops.normals(n, dim, seed=i, device=device) for i in range(4))
    row = table.columns[3].to(x)

    def step(x: Tensor, model: Tensor, reference: Tensor, carried: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        delta = model - reference
        energy = (delta * (model + reference)).sum(1)
        value = row[2] * energy + (delta * (row[3] * carried + row[4] * z)).sum(1)
        return value, row[5] * delta.square().sum(1), row[0] * x + row[1] * z

    compiled = torch.compile(step)
    out: dict[str, Run] = {
        "thermokern fused": lambda: ops.trajectory_step(x, model, reference, table, 3, carried=carried),
    }
    if not small:
        out["torch eager"] = lambda: step(x, model, reference, carried, torch.randn_like(x))
        out["torch.compile"] = lambda: compiled(x, model, reference, carried, torch.randn_like(x))
    return n, out


def works(device: torch.device, small: bool) -> dict[str, tuple[int, dict[str, Run]]]:
    """Path·steps and contestants of each piece of work."""
    steps = 4 if small else 200
    table = step_table(VP(), VP().grid(steps), "ito")
    model, target = ring(table, [1.0, *[7.0] * 7]), ring(table, [1.0] * 8)
    out: dict[str, tuple[int, dict[str, Run]]] = {}
    for name, n in {"mixtures": 300 if small else 1_000_000, "network": 300 if small else 100_000}.items():
        x = ops.normals(n, 2, purpose="start", device=device)
        first = model if name == "mixtures" else network(steps + 1, 24 if small else 128, x)
        if name == "mixtures":
            scores = mixture_scores(table, x, model, target)
        else:
            scores = network_scores(table, x, first, target)
        contestants: dict[str, Run] = {
            "thermokern fused": lambda x=x, first=first: ops.trajectory(x, table, first, target),
        }
        if isinstance(first, ops.MlpSource):
            for products in ops.PRODUCTS[1:]:
                source = replace(first, products=products)
                contestants[f"thermokern {products}"] = lambda x=x, source=source: ops.trajectory(
                    x, table, source, target
                )
        if not small:
            contestants["torch eager"] = stepped(x, table, scores, False)
            contestants["torch.compile"] = stepped(x, table, scores, True)
        out[name] = n * steps, contestants
    out["stream"] = stream(device, small)
    return out


def split_paths(x: Tensor, table: ops.StepTable, model: ops.Source, reference: ops.Source) -> None:
    """Where Δs of forward paths arises: two stretches of time, by component where the scheme has such parts."""
    nodes = len(table.times)
    constant, stretch = torch.zeros(nodes, dtype=torch.float64), 2 * torch.arange(nodes) // nodes
    parts = ops.PartTable(table, constant, stretch, 2, not table.divergence_weight)
    ops.trajectory_parts(x, parts, model, reference)


def every_kernel(device: torch.device) -> None:
    """What the works leave out: both precisions, other dimensions, schemes, directions and statistics."""
    for dtype in (torch.float32, torch.float64):
        for dim in (1, 2, 3, 4, 7):
            x = ops.normals(150, dim, dtype=dtype, device=device)
            means = torch.linspace(-1, 1, 3 * dim, dtype=torch.float64).reshape(3, dim)
            weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
            for variances in (torch.ones_like(means), 1.5 + means):
                ops.mixture_score(x, means, variances, weights)
                for scheme in ops.SCHEMES:
                    table = step_table(VP(), VP().grid(3), scheme)
                    source = ops.MixtureSource(means, variances, weights, table.mean_scale, table.variance)
                    other = ops.MixtureSource(means, variances, weights.flip(0), table.mean_scale, table.variance)
                    out = ops.trajectory(x, table, source, other)
                    ops.moments(out.value)
                    ops.exponential_sums(out.value, -1.0)
                    split_paths(x, table, source, other)
                    for products in ops.PRODUCTS:
                        ops.trajectory(x, table, replace(network(4, 24, x), products=products), source)
                rates, grid = rate_table(VP(), VP().grid(3)), flow_table(VP(), 1e-2, 4)
                for table in (rates, grid):
                    source = ops.MixtureSource(means, variances, weights, table.mean_scale, table.variance)
                    perceptron = network(len(table.mean_scale), 24, x)
                    if isinstance(table, ops.RateTable):
                        ops.trajectory_averages(x, table, source, source)
                        ops.trajectory_averages(x, table, perceptron, source)
                        split_paths(x, step_table(VP(), VP().grid(3), "backward-ito"), perceptron, source)
                    else:
                        ops.probability_flow(x, table, source, rtol=0.1, atol=0.1)
                        ops.probability_flow(x, table, perceptron, rtol=0.1, atol=0.1)
            matrix = torch.eye(dim)
            ops.langevin(x, matrix, matrix, matrix, torch.full((3,), 0.1))
            rows, level = x.T.contiguous(), torch.tensor(0.5)
            ops.gaussian_gap(rows, -rows, matrix, *3 * [torch.ones(dim)], level, level)
            layers = 2 * [torch.eye(dim)], 2 * [torch.ones(dim)], "silu", 2 * [torch.eye(dim)]
            ops.mlp_gap(
                rows,
                *layers,
                rows[:0],
                torch.stack([rows, -rows]),
                *3 * [rows],
                torch.ones(dim),
                *2 * [level.expand(rows.shape[1])],
            )
        for dim in (1, 7, 64, 300, 4100):
            rows = ops.normals(33, dim, dtype=dtype, device=device)
            for kind in ops.PROBES:
                ops.hutchinson(rows, kind=kind)
            for scheme, direction in itertools.product(ops.SCHEMES, ops.DIRECTIONS):
                table = step_table(VP(), VP().grid(3), scheme, direction)
                kept = {"divergence": rows[:, 0], "carried": rows, "previous": rows}
                ops.trajectory_step(rows, rows, -rows, table, 1, **kept)
                if direction == "forward":
                    nodes = rows.expand(4, *rows.shape)
                    kept = {"divergence": nodes[:3, :, 0], "noise": nodes, "previous": rows}
                    ops.trajectory_block(nodes[:3], nodes[:3], -nodes[:3], table, 1, **kept)
        for dim, method in itertools.product((1, 2, 3, 7, 40), ("tree", "brute")):
            points, others = (ops.normals(n, dim, seed=n, dtype=dtype, device=device) for n in (700, 70))
            tree = KDTree(points, method=method)
            for k, p in ((5, 2.0), (20, math.inf)):
                tree.neighbours(k, p=p, indices=True)
                tree.query(others, k, p=p)
            tree.count_within(others, torch.ones(70, dtype=dtype, device=device))


def seconds(run: Run, device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def race(contestants: dict[str, Run], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, in turn, after one that compiles and allocates."""
    for run in contestants.values():
        seconds(run, device)
    times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, run in contestants.items():
            times[contestant].append(seconds(run, device))
    return times


def difference(sums: object, plain: object) -> float:
    """RMS of Δs against that of the float32 kernel, relative to the RMS of Δs."""
    assert isinstance(sums, ops.TrajectorySums)
    assert isinstance(plain, ops.TrajectorySums)
    return ((sums.value - plain.value).square().mean() / plain.value.square().mean()).sqrt().item()


def row_of(name: str, measured: list[float], items: int, device: torch.device) -> dict[str, object]:
    median = statistics.median(measured)
    return {
        "row": name,
        "seconds_median": median,
        "seconds_quartiles": statistics.quantiles(measured, n=4)[::2] if len(measured) > 1 else [median, median],
        "items_per_second": items / median,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"thermokern": thermokern.__version__, "torch": torch.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="file that rows are appended to, each as soon as it is known")
    arguments = parser.parse_args()
    device, rounds = arguments.device, 1 if arguments.small else arguments.rounds

    def keep(row: dict[str, object]) -> None:
        share = row.get("fraction_of_roofline")
        of = "" if share is None else f", {share:.0%} of the roofline"
        print(f"{row['row']:34} {row['seconds_median']:10.4g} s {row['items_per_second']:10.3g}/s{of}", flush=True)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    if arguments.small:
        every_kernel(device)
    limits = gpu_rows.limits(device)
    for name, (work, run) in gpu_rows.kernels(device, arguments.small).items():
        measured = race({"": run}, device, rounds)[""]
        row = row_of(f"{name}/thermokern", measured, work.items, device)
        keep(row | {"fraction_of_roofline": work.least_seconds(limits) / statistics.median(measured), **limits})
    for name, (path_steps, contestants) in works(device, arguments.small).items():
        times = race(contestants, device, rounds)
        fused = statistics.median(times["thermokern fused"])
        for contestant, measured in times.items():
            row = row_of(f"{name}/{contestant}", measured, path_steps, device)
            if contestant.removeprefix("thermokern ") in ops.PRODUCTS:
                row["relative_difference"] = difference(contestants[contestant](), contestants["thermokern fused"]())
            keep(row | {"times_slower_than_fused": statistics.median(measured) / fused})


if __name__ == "__main__":
    main()
