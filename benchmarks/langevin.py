"""Time linear Langevin paths against PyTorch: `python benchmarks/langevin.py --help`.

From the first points to the bath's and the housekeeping entropy of every path, float32, one core; all contestants in
one process, one after another in every round. PyTorch runs the same sums, eager and compiled a step at a time, the
compiled one with its normals drawn outside. The ratio is the median rate over the best peer's; errors are against the
float64 reference on the same noise. Rows go to results.jsonl as those of run.py do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIMENSIONS = (2, 7)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--paths", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl", help="file that results are appended to")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    sys.path.insert(0, str(HERE))
    import harness
    import torch

    from thermokern import _core

    torch.set_num_threads(1)
    common = harness.environment(1, arguments.rounds, _core.instruction_set)
    for dim in DIMENSIONS:
        harness.store(run(dim, arguments.paths, arguments.steps, arguments.rounds, common), arguments.out)
    return 0


def run(dim: int, paths: int, steps: int, rounds: int, common: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    contestants, exact = _contestants(dim, paths, steps)
    errors = {name: (one(True) - exact).square().mean().sqrt().item() for name, one in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            start = time.perf_counter()
            one(False)
            times[name].append(time.perf_counter() - start)
    best = min(statistics.median(seconds) for name, seconds in times.items() if name.startswith("torch"))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rate = paths * steps / median
        speed = f"{rate / 1e6:>9.1f} M path·steps/s, {best / median:.2f} ×"
        print(f"d = {dim}  {name:<20}{speed}, error {errors[name]:.1e} nats")
        rows.append(
            {
                "row": f"langevin d = {dim}/{name}",
                "kind": "peer" if name.startswith("torch") else "thermokern",
                "tuning": "",
                "sizes": {"paths": paths, "steps": steps},
                "seconds_median": median,
                "seconds_quartiles": statistics.quantiles(seconds, n=4)[::2],
                "path_steps_per_second": rate,
                "error_rms_nats": errors[name],
                "ratio": best / median,
                "ratio_to": "best of torch",
                **common,
            }
        )
    return rows


def _contestants(dim: int, n: int, n_steps: int) -> tuple[dict[str, Callable[[bool], Any]], Any]:
    """Runs that return the housekeeping entropy (n,), with thermokern's noise where they are told so; the exact one."""
    import torch
    from torch import Tensor

    import thermokern as tk

    g = torch.Generator().manual_seed(dim)
    drift = torch.eye(dim) + 0.5 * torch.randn(dim, dim, generator=g) / dim**0.5
    force = tk.LinearForce(drift.double())
    identity = torch.eye(dim, dtype=torch.float64)
    heat = force.heat_matrix(identity).float()
    keep = (force.stationary_precision(identity) - force.heat_matrix(identity)).float()
    x0, h = torch.randn(n, dim, generator=g), 1.0 / n_steps
    noise = tk.ops.normals(n, n_steps * dim).view(n, n_steps, dim)

    def step(x: Tensor, z: Tensor, bath: Tensor, housekeeping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dx = (2.0 * h) ** 0.5 * z - h * (x @ drift.T)
        middle = x + 0.5 * dx
        return x + dx, bath - ((middle @ heat.T) * dx).sum(1), housekeeping + ((middle @ keep.T) * dx).sum(1)

    def by(one: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Callable[[bool], Tensor]:
        def run(same: bool) -> Tensor:
            x, bath, housekeeping = x0, torch.zeros(n), torch.zeros(n)
            for k in range(n_steps):
                z = noise[:, k].contiguous() if same else torch.randn(n, dim)
                x, bath, housekeeping = one(x, z, bath, housekeeping)
            return housekeeping

        return run

    def thermokern(backend: str, dtype: torch.dtype) -> Callable[[bool], Tensor]:
        def run(same: bool) -> Tensor:
            out = tk.entropy_production(force, 1.0, x0, n_steps=n_steps, backend=backend, dtype=dtype)
            assert out.housekeeping is not None
            return out.housekeeping.values.double()

        return run

    import warnings

    warnings.simplefilter("ignore", tk.FewPathsWarning)
    contestants = {
        "thermokern fused": thermokern("fused", torch.float32),
        "torch eager": by(step),
        "torch compiled": by(torch.compile(step)),
    }
    return contestants, thermokern("reference", torch.float64)(True)


if __name__ == "__main__":
    sys.exit(main())
