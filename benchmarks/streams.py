"""Time the stream step and streamed paths: `python benchmarks/streams.py --help`.

E: one node of 1024 paths of 3072 numbers, float32, one thread: both scores and x read, the noise of the step drawn
(normals of one's own; the peers' outside torch.compile, which draws them slowly) or given, the next x written, Δs and
mismatch of each path summed. Contestants take turns, each running twice and timed once, and the C library keeps what is
freed: else page faults decide, some 5 ms for a result whose memory the contestant before gave back to the system.
Medians; the limit is the copy of arrays too large for the caches. Bytes counted: x, two scores, next x, and the noise
where it is given.

Batches: streamed TAEP of a perceptron that the kernels do not know, many times in one batch against one time a batch
(the step loop), 64 paths. Outside: share of the time of a U-Net's streamed TAEP that is not the network's.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

import thermokern as tk
from thermokern import _core, ops
from thermokern.models import ScoreModel
from thermokern.processes import step_table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import harness  # noqa: E402

N, DIM = 1024, 3072
PARTS = ("step", "batches", "outside")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the stream step and streamed paths.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, help="file to append rows to, as JSON lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    common = harness.environment(1, options.rounds, _core.instruction_set)
    rows, missing = run(options.rounds, common, options.only.split(","))
    if options.out is not None:
        harness.store(rows, options.out)
    print("\n".join(f"NOT RUN {line}" for line in missing))


def run(
    rounds: int, common: dict[str, Any], only: Sequence[str], quick: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, and what was not run; `quick`: a fifth of the steps of batches."""
    warnings.simplefilter("ignore", tk.FewPathsWarning)
    keep_freed_memory()
    work = {
        "step": stream_step,
        "batches": lambda rounds: many_times_in_a_batch(rounds, 200 if quick else 1000),
        "outside": outside_the_network,
    }
    rows: list[dict[str, Any]] = []
    missing = []
    for name in only:
        try:
            rows += [{**row, **common} for row in work[name](rounds)]
        except ImportError as error:  # diffusers, for the U-Net
            missing.append(f"{name}: {error}")
    return rows, missing


def keep_freed_memory() -> None:
    """Neither give freed memory back to the system nor take that of up to 32 MB, the library's limit, apart (glibc)."""
    trim_threshold, map_threshold = -1, -3  # malloc.h
    c = ctypes.CDLL(None)
    if hasattr(c, "mallopt"):
        c.mallopt(trim_threshold, 2**31 - 1)
        c.mallopt(map_threshold, 2**25)


def stream_step(rounds: int) -> list[dict[str, object]]:
    process = tk.VP()
    table = step_table(process, process.grid(10), "ito")
    g = torch.Generator().manual_seed(0)
    x, model, reference = (torch.randn(N, DIM, generator=g) for _ in range(3))
    zero = torch.zeros(N)
    given = ops.normals(N, DIM)
    large, copied = (torch.zeros(3 * N, DIM) for _ in range(2))
    drift, noise, energy, work, spread = (
        float(table.column(name)[4]) for name in ("drift", "noise", "energy", "work_drawn", "mismatch")
    )

    def plain(x: Tensor, s: Tensor, r: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        delta = s - r
        value = (energy * delta * (s + r) + work * delta * z).sum(1)
        return drift * x + noise * z, value, spread * delta.square().sum(1)

    compiled = torch.compile(plain, dynamic=False)
    contestants: dict[str, Callable[[], object]] = {
        "copy": lambda: copied.copy_(large),
        "thermokern, noise drawn": lambda: ops.trajectory_step(x, model, reference, table, 4, divergence=zero),
        "thermokern, noise given": lambda: ops.trajectory_step(
            x, model, reference, table, 4, divergence=zero, noise=given
        ),
        "torch.compile, normals outside": lambda: compiled(x, model, reference, torch.randn(N, DIM)),
        "torch.compile, noise given": lambda: compiled(x, model, reference, given),
        "torch eager": lambda: plain(x, model, reference, torch.randn(N, DIM)),
        "torch eager, noise given": lambda: plain(x, model, reference, given),
    }
    times = race(contestants, rounds)
    copy = 2 * large.nbytes / times["copy"]
    print(f"E, {N} x {DIM}: copy {1e-9 * copy:.1f} GB/s")
    rows: list[dict[str, object]] = []
    for name, seconds in list(times.items())[1:]:
        peer = "torch.compile, noise given" if "given" in name else "torch.compile, normals outside"
        moved = (5 if "given" in name else 4) * x.nbytes / seconds
        share, ratio = moved / copy, times[peer] / seconds
        print(f"  {name:34} {1e3 * seconds:8.2f} ms  {share:6.0%} of copy  {ratio:6.2f} x {peer}")
        kind = "thermokern" if name.startswith("thermokern") else "peer"
        rows.append(
            {
                "row": f"E/{name}",
                "kind": kind,
                "sizes": {"paths": N, "dim": DIM},
                "seconds_median": seconds,
                "share_of_copy": share,
                "ratio": ratio if kind == "thermokern" else None,
                "ratio_to": peer,
            }
        )
    return rows


class Wavy(nn.Module):
    """A perceptron with an activation that the fused kernels do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 64), nn.Linear(64, 64), nn.Linear(64, 2)])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = torch.cat([x, t[:, None]], 1)
        for layer in self.layers[:-1]:
            h = torch.nn.functional.softplus(layer(h))
        return self.layers[-1](h)


def many_times_in_a_batch(rounds: int, steps: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    model = ScoreModel(Wavy().requires_grad_(False), tk.VP(), "epsilon")
    other = ScoreModel(Wavy().requires_grad_(False), tk.VP(), "epsilon")
    options = {"x0": torch.randn(64, 2), "n_steps": steps, "scheme": "backward-ito", "backend": "streamed"}
    # A budget that holds 64 points is one time a batch; the reference backend is a step loop as people write it.
    small = _budget_for(model, other, options, 64)
    loop = dict(options, backend="reference")
    times = race(
        {
            "many times in a batch": lambda: tk.taep(model, other, **options),
            "one time a batch": lambda: tk.taep(model, other, memory_budget=small, **options),
            "step loop in PyTorch": lambda: tk.taep(model, other, **loop),
        },
        max(3, rounds // 3),
    )
    first = times["many times in a batch"]
    print(f"batches, 64 paths of {steps} steps, 2 hidden layers of 64:")
    for name, seconds in times.items():
        print(f"  {name:34} {1e3 * seconds:8.1f} ms  {seconds / first:6.2f} x many times in a batch")
    best = min(seconds for name, seconds in times.items() if name != "many times in a batch")
    return [
        {
            "row": "streamed/many times in a batch",
            "kind": "thermokern",
            "sizes": {"paths": 64, "steps": steps},
            "seconds_median": first,
            "ratio": best / first,
            "ratio_to": "the faster step loop",
        }
    ]


def _budget_for(model: ScoreModel, other: ScoreModel, options: dict[str, object], points: int) -> int:
    low, high = 1, 2**30
    while high - low > 1:
        middle = (low + high) // 2
        result = tk.taep(model, other, memory_budget=middle, **{**options, "n_steps": 1})
        low, high = (middle, high) if result.settings["points_in_a_batch"] <= points else (low, middle)
    return low


def outside_the_network(rounds: int) -> list[dict[str, object]]:
    from thermokern.papers.ding2026 import QUICK
    from thermokern.papers.ding2026.image_training import make_scheduler, make_unet

    spent = 0.0

    class Timed(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arguments: Tensor) -> object:
            nonlocal spent
            start = time.perf_counter()
            out = self.network(*arguments)
            spent += time.perf_counter() - start
            return out

    unet = Timed(make_unet(QUICK, (1, 8, 8)).eval().requires_grad_(False))
    model = tk.from_diffusers(unet, make_scheduler(QUICK))
    shares = []
    for _ in range(max(3, rounds // 5)):
        spent, start = 0.0, time.perf_counter()
        tk.taep(model, model, x0=torch.randn(64, 1, 8, 8), n_steps=37)
        total = time.perf_counter() - start
        shares.append(1.0 - spent / total)
    print(f"outside, U-Net of digits, 64 paths of 37 steps: {median(shares):.1%} of the time is not the network's")
    return [
        {
            "row": "streamed/outside the network",
            "kind": "thermokern",
            "sizes": {"paths": 64, "steps": 37},
            "share_outside": median(shares),
            "ratio": None,
        }
    ]


def race(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    return {name: median(seconds) for name, seconds in harness.take_turns(contestants, rounds).items()}


if __name__ == "__main__":
    main()
