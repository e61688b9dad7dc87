"""Threads: what share of each row is serial, what two threads gain, and what Amdahl's law makes of it on more cores.

    python benchmarks/threads.py            # two threads against one, taking turns: needs two idle cores, 2 minutes
    python benchmarks/threads.py --serial   # the serial shares alone, by CPU time; a busy machine makes them larger

The serial share is the CPU time of a call on one thread that is not spent in native kernels, which deal their work to
threads: Python, PyTorch (which deals some of its work too) and statistics of few values. On p cores a row is at most
1 / (s + (1 − s) T(p)) times as fast, where T(p) is the share of the tiles of paths that the most loaded thread gets.
Rows that are bound by memory stop at its bandwidth before that. Threads wait as OpenMP lets them by default; with
OMP_WAIT_POLICY=passive a short call waits longer for the other thread to wake than it gains.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import problems
import streams
import torch

import thermokern as tk
from thermokern import _core, ops
from thermokern.ops import registry
from thermokern.processes import step_table

Run = Callable[[], object]
CORES = (2, 8, 64)
LANES = 16  # paths of a tile, AVX-512 in float32
LEAST_DEALT = 2**16  # values below which one thread makes statistics: csrc/cpu/statistics.hpp


def works() -> dict[str, tuple[Run, int | None]]:
    """Each row, and the tiles that its kernel deals, where they are of paths."""
    out: dict[str, tuple[Run, int | None]] = {}
    for problem in [*problems.work_a(False), *problems.work_b(False)]:
        out[problem.name] = _trajectory(problem), -(-problem.n // LANES)
    points = ops.normals(10**6, 2)
    out["C/1000000x2"] = lambda: tk.KDTree(points).neighbours(10), None
    streams.keep_freed_memory()
    n, dim = streams.N, streams.DIM
    table = step_table(tk.VP(), tk.VP().grid(10), "ito")
    x, model, reference, noise = (ops.normals(n, dim, seed=seed) for seed in range(4))
    zero = torch.zeros(n)
    out["E/noise drawn"] = (
        lambda: ops.trajectory_step(x, model, reference, table, 4, divergence=zero),
        n // LANES,
    )
    out["E/noise given"] = (
        lambda: ops.trajectory_step(x, model, reference, table, 4, divergence=zero, noise=noise),
        n // LANES,
    )
    out["N/1024x1024"] = lambda: ops.normals(1024, 1024), 1024 // LANES
    law = tk.GaussianMixture.ring()
    start = law.sample(2000, seed=1)
    out["L1/likelihood"] = lambda: tk.log_likelihood(law, start, tk.VP(), rtol=1e-6, atol=1e-6, t_eps=1e-4), None
    path = files("thermokern.papers.ding2026") / "checkpoints" / "m1_eps0.01.safetensors"
    network = tk.load_checkpoint(str(path))
    few = start[:512]
    out["L2/likelihood"] = (
        lambda: tk.log_likelihood(network, few, tk.VP(), rtol=1e-4, atol=1e-4, t_eps=1e-2, dtype=torch.float32),
        None,
    )
    force = tk.LinearForce(torch.tensor([[1.0, 0.5], [-0.5, 1.5]], dtype=torch.float64))
    at = ops.normals(20_000, 2)
    out["langevin d = 2"] = lambda: tk.entropy_production(force, 1.0, at, n_steps=200), 20_000 // LANES
    many = 100_000
    out["taep, whole"] = lambda: tk.taep(law, law, process=tk.VP(), n_paths=many, n_steps=100), many // LANES
    return out


def _trajectory(problem: problems.Problem) -> Run:
    table = problem.table()
    return lambda: ops.trajectory(problem.x, table, problem.model, problem.target, seed=1)


class Timed:
    """The native module with the CPU time that its calls take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(_core, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> object:
            if name in ("moments", "exponential_sums") and len(arguments[0]) < LEAST_DEALT:
                return found(*arguments)
            start = time.process_time()
            try:
                return found(*arguments)
            finally:
                self.seconds += time.process_time() - start

        return call


def serial_share(run: Run, rounds: int) -> float:
    """Median over rounds."""
    kept, shares = registry._core, []
    timed = Timed()
    registry._core = timed  # type: ignore[assignment]
    try:
        run()
        for _ in range(rounds):
            timed.seconds, start = 0.0, time.process_time()
            run()
            shares.append(1.0 - timed.seconds / (time.process_time() - start))
    finally:
        registry._core = kept
    return statistics.median(shares)


def gain(run: Run, rounds: int) -> float:
    """How many times faster on two threads than on one, the median of pairs."""
    ratios = []
    for _ in range(rounds + 1):
        times = []
        for count in (1, 2):
            torch.set_num_threads(count)
            run()  # threads that are new, or were sent away, wake here
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    torch.set_num_threads(1)
    return statistics.median(ratios[1:])


def modelled(share: float, tiles: int | None, cores: int) -> float:
    """Amdahl's law with whole tiles."""
    longest = 1.0 / cores if tiles is None else math.ceil(tiles / cores) / tiles
    return 1.0 / (share + (1.0 - share) * longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serial", action="store_true", help="the serial shares alone")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="file to append rows to, as JSON lines")
    options = parser.parse_args()
    warnings.simplefilter("ignore", tk.FewPathsWarning)
    torch.set_num_threads(1)
    common = harness.environment(2, options.rounds, _core.instruction_set)
    print(f"{common['machine']['cpu']}, load {common['load']}, commit {common['commit']}")
    print(f"{'row':26} {'serial':>8} {'two threads':>12}   modelled on {', '.join(map(str, CORES))} cores")
    for name, (run, tiles) in works().items():
        if options.only not in name:
            continue
        share = serial_share(run, options.rounds)
        measured = None if options.serial else gain(run, options.rounds)
        model = [modelled(share, tiles, cores) for cores in CORES]
        shown = "" if measured is None else f"{measured:.2f}"
        print(f"{name:26} {share:8.2%} {shown:>12}   {', '.join(f'{m:.1f}' for m in model)}", flush=True)
        row = {"row": f"threads/{name}", "serial_share": share, "two_threads": measured, "modelled": model}
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "cores": CORES, **common}) + "\n")


if __name__ == "__main__":
    main()
