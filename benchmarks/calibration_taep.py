"""Are the errors of a TAEP true? Many seeds of small ensembles: z = (estimate − truth)/√(sampling² + step²).

    python benchmarks/calibration_taep.py [--seeds 300] [--laws …] [--out FILE]

The truth needs no path: Δs in continuous time is the log ratio of densities at the ends, whose joint law is known, so
that its mean and variance come from a million pairs of ends. ⟨e^{−Δs}⟩ is 1. Prints a Markdown table of the mean and
standard deviation of z for mean, variance and ⟨e^{−Δs}⟩, without the step error too; all laws take some ten minutes on
one core.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from grids import LAWS, PROCESSES, narrow, ring
from harness import environment

import thermokern as tk
from thermokern.processes import LinearProcess
from thermokern.targets import Distribution

HERE = Path(__file__).parent
STATISTICS = ("mean", "variance", "fluctuation_theorem")


class Case(NamedTuple):
    """Two laws and a process, and the size of an ensemble."""

    model: Distribution
    reference: Distribution
    process: LinearProcess
    n_paths: int = 1000
    n_steps: int = 300
    scheme: str = "auto"


CASES: dict[str, Case] = {
    "ring, std 0.25, a rare mode": Case(*LAWS["ring, std 0.25"], PROCESSES["VP"]),
    "ring, std 0.05": Case(ring(0.055, True), ring(0.05, False), PROCESSES["VP"]),
    "narrow modes, d = 8": Case(*LAWS["narrow modes, d = 8"], PROCESSES["VE"]),
    "narrow modes, d = 64": Case(narrow(64, 0.11), narrow(64, 0.1), PROCESSES["VP"], 100, 200, "stratonovich"),
    "Swiss roll": Case(*LAWS["Swiss roll"], PROCESSES["sub-VP"], 2000, 200),
    "box": Case(*LAWS["box"], PROCESSES["cosine"], 200, 100),
    "Gaussian, std 3": Case(*LAWS["Gaussian, std 3"], PROCESSES["EDM"]),
    "Gaussian, std 0.25": Case(tk.Gaussian([0.0, 0.0], 0.08), tk.Gaussian([0.0, 0.0], 0.0625), PROCESSES["DDPM"]),
}


def truth(case: Case, n: int = 1_000_000, part: int = 50_000) -> dict[str, float]:
    """Mean and variance of Δs in continuous time, and what ``⟨e^{−Δs}⟩`` is."""
    process = case.process
    times = process.grid(2)
    first, last = times[0].item(), times[-1].item()
    m, v = process.mean_scale(times[[0, -1]]), process.variance(times[[0, -1]])
    sums = torch.zeros(3, dtype=torch.float64)
    for low in range(0, n, part):
        count = min(part, n - low)
        dim = case.reference.dim
        z = tk.ops.normals(count, 2 * dim, seed=991, path_offset=low, dtype=torch.float64)
        x = m[0] * case.reference.sample(count, 991, low) + v[0].sqrt() * z[:, :dim]
        factor = m[1] / m[0]
        y = factor * x + (v[1] - factor**2 * v[0]).sqrt() * z[:, dim:]
        value = _log_ratio(case, x, first) - _log_ratio(case, y, last)
        sums += torch.stack([torch.ones_like(value), value, value.square()]).sum(1)
    mean = (sums[1] / sums[0]).item()
    return {"mean": mean, "variance": (sums[2] / sums[0]).item() - mean**2, "fluctuation_theorem": 1.0}


def _log_ratio(case: Case, x: torch.Tensor, t: float) -> torch.Tensor:
    return case.reference.log_prob(x, t, case.process) - case.model.log_prob(x, t, case.process)


def runs(case: Case, seeds: int) -> Iterator[tk.TAEP]:
    """One small ensemble for each seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(seeds):
            yield tk.taep(*case[:3], n_paths=case.n_paths, n_steps=case.n_steps, scheme=case.scheme, seed=seed)


def calibrate(case: Case, seeds: int) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of z by statistic, with the step's error and without; and the Pareto shape."""
    expected = truth(case)
    z: dict[str, list[float]] = {name: [] for name in STATISTICS}
    plain: dict[str, list[float]] = {name: [] for name in STATISTICS}
    values: dict[str, list[float]] = {name: [] for name in STATISTICS}
    shapes = []
    for result in runs(case, seeds):
        for name in STATISTICS:
            found, step = getattr(result, name), getattr(result.step_error, name)
            off = found.value - expected[name]
            z[name].append(off / math.hypot(found.stderr, step.value))
            plain[name].append(off / found.stderr)
            values[name].append(found.value)
        shapes.append(result.fluctuation_theorem.pareto_shape)
    shape = torch.tensor(shapes).median().item()
    return {
        name: {
            "z_mean": _moments(z[name])[0],
            "z_sd": _moments(z[name])[1],
            "z_mean_sampling": _moments(plain[name])[0],
            "z_sd_sampling": _moments(plain[name])[1],
            "truth": expected[name],
            "value": _moments(values[name])[0],
            "spread": _moments(values[name])[1],
            "pareto_shape": shape,
        }
        for name in STATISTICS
    }


def line(law: str, found: dict[str, dict[str, float]]) -> str:
    """A row of the table."""
    cells = [
        f"{row['z_mean']:+.2f}, {row['z_sd']:.2f} ({row['z_mean_sampling']:+.2f}, {row['z_sd_sampling']:.2f})"
        for row in found.values()
    ]
    case = CASES[law]
    size = f"{type(case.process).__name__} | {case.n_paths} × {case.n_steps}"
    return f"| {law} | {size} | {found['mean']['pareto_shape']:.2f} | {' | '.join(cells)} |"


def _moments(values: list[float]) -> tuple[float, float]:
    column = torch.tensor(values, dtype=torch.float64)
    return column.mean().item(), column.std().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--laws", nargs="*", default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file of the rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    common = {**environment(options.threads, options.seeds, tk.info()["instruction set"])}
    rows = []
    print("| law | process | paths × steps | Pareto shape | mean | variance | ⟨e^{−Δs}⟩ |\n" + "|---" * 7 + "|")
    for law in options.laws:
        found = calibrate(CASES[law], options.seeds)
        print(line(law, found), flush=True)
        where = {"law": law, "paths": CASES[law].n_paths, "steps": CASES[law].n_steps}
        rows += [{**where, "statistic": name, **row, **common} for name, row in found.items()]
    if options.out:
        options.out.write_text("[" + ",\n".join(json.dumps(row) for row in rows) + "]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
