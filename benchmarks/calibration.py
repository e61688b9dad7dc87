"""Are the standard errors true? Many samples of known laws: how often value ± 1.96 stderr covers.

    python benchmarks/calibration.py [--replicates 400] [--points 2000] [--only entropy] [--out calibration.json]

Rows of a table and a law replace those that the file has of them. All of it takes about a quarter of an hour on one
idle core.

Intervals are held against the estimator's own mean over the replicates, so that its bias, which is another matter, does
not enter; that is shown beside, with the bias that the estimate itself reports. 'naive' is what the standard deviation
of the local terms over √n would cover.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import environment
from torch import Tensor

import thermokern as tk
from thermokern.targets import Distribution

HERE = Path(__file__).parent
Sample = Callable[[int, int], tuple[Tensor, ...]]  # (points, seed) to one sample or two
Outcome = dict[str, tuple[float, float, float, float]]  # name to value, stderr, naive stderr, estimated bias


def law(distribution: Distribution) -> Sample:
    return lambda n, seed: (distribution.sample(n, seed),)


def pair(first: Distribution, second: Distribution) -> Sample:
    return lambda n, seed: (first.sample(n, seed), second.sample(n, seed + 500_000))


def correlated(rho: float, dims: int = 1) -> Sample:
    """Two samples of `dims` columns each, correlated column by column."""

    def sample(n: int, seed: int) -> tuple[Tensor, ...]:
        z = tk.ops.normals(n, 2 * dims, seed=seed, dtype=torch.float64)
        return z[:, :dims], rho * z[:, :dims] + math.sqrt(1.0 - rho * rho) * z[:, dims:]

    return sample


def gaussian(dim: int, std: float = 1.0, shift: float = 0.0) -> tk.Gaussian:
    return tk.Gaussian([shift] + [0.0] * (dim - 1), std**2 * torch.eye(dim))


RING = tk.GaussianMixture.ring()
UNEQUAL = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
LINE = tk.GaussianMixture([[-1.0], [3.0]], std=[[0.1], [0.5]], weights=[0.7, 0.3])

LAWS: dict[str, Distribution] = {
    **{f"gaussian, d = {d}": gaussian(d) for d in (1, 2, 5, 10)},
    **{f"uniform, d = {d}": tk.UniformBox([0.0] * d, [1.0] * d) for d in (1, 2, 3)},
    "mixture of two, d = 1": LINE,
    "ring of eight, d = 2": RING,
    "swiss roll, d = 2": tk.SwissRoll(),
}


def entropy(samples: tuple[Tensor, ...]) -> Outcome:
    (x,) = samples
    results = {f"knn, k = {k}": tk.kozachenko_leonenko(x, k, bias=k == 3) for k in (1, 3, 10)}
    if x.shape[1] <= 2:
        results["histogram, knuth"] = tk.histogram_entropy(x)
    return {name: _row(r, r.bias.value) for name, r in results.items()}


def information(samples: tuple[Tensor, ...]) -> Outcome:
    x, y = samples
    return {f"ksg {v}, k = 3": _row(tk.ksg_mutual_information(x, y, 3, v)) for v in (1, 2)}


def total_correlation(samples: tuple[Tensor, ...]) -> Outcome:
    return {f"ksg {v}, k = 3": _row(tk.knn_total_correlation(samples[0], 3, v)) for v in (1, 2)}


def divergence(samples: tuple[Tensor, ...]) -> Outcome:
    return {f"knn, k = {k}": _row(tk.knn_divergence(*samples, k)) for k in (1, 3)}


def covering(samples: tuple[Tensor, ...]) -> Outcome:
    result = tk.coverage(*samples)
    naive = {
        "coverage": (result.hits > 0).double(),
        "density": result.hits.double() / 5.0,
        "precision": result.precise.double(),
        "recall": result.recalled.double(),
    }
    out = {}
    for name, terms in naive.items():
        estimate = getattr(result, name)
        out[name] = (estimate.value, estimate.stderr, terms.std().item() / math.sqrt(len(terms)), math.nan)
    return out


def _row(result: tk.SampleEstimate, bias: float = math.nan) -> tuple[float, float, float, float]:
    return result.value, result.stderr, result.local.std().item() / math.sqrt(len(result.local)), bias


SHIFTED = 0.5 * 0.5**2
TABLES: dict[str, tuple[Callable[[tuple[Tensor, ...]], Outcome], dict[str, tuple[Sample, float]]]] = {
    "entropy": (entropy, {name: (law(p), p.entropy()) for name, p in LAWS.items()}),
    "mutual information": (
        information,
        {
            **{f"gaussian, ρ = {r}": (correlated(r), -0.5 * math.log(1 - r * r)) for r in (0.0, 0.6, 0.9)},
            "gaussian, ρ = 0.6, 2 + 2": (correlated(0.6, 2), -math.log(1 - 0.36)),
        },
    ),
    "total correlation": (
        total_correlation,
        {
            "gaussian, three columns": (
                law(tk.Gaussian([0.0] * 3, 0.5 * torch.eye(3) + 0.5)),
                -0.5 * math.log(torch.linalg.det(0.5 * torch.eye(3) + 0.5).item()),
            )
        },
    ),
    "divergence": (
        divergence,
        {
            "one gaussian, d = 2": (pair(gaussian(2), gaussian(2)), 0.0),
            "gaussians, shift 0.5, d = 1": (pair(gaussian(1), gaussian(1, shift=0.5)), SHIFTED),
            "gaussians, std 1.5, d = 3": (
                pair(gaussian(3), gaussian(3, std=1.5)),
                3.0 * (math.log(1.5) + 0.5 / 1.5**2 - 0.5),
            ),
            "rings, one mode rare": (pair(RING, UNEQUAL), math.nan),
        },
    ),
    "coverage": (
        covering,
        {
            "one gaussian, d = 2": (pair(gaussian(2), gaussian(2)), math.nan),
            "one gaussian, d = 5": (pair(gaussian(5), gaussian(5)), math.nan),
            "gaussians, shift 1, d = 2": (pair(gaussian(2), gaussian(2, shift=1.0)), math.nan),
            "rings, one mode rare": (pair(RING, UNEQUAL), math.nan),
        },
    ),
}


def calibrate(sample: Sample, estimate: Callable[[tuple[Tensor, ...]], Outcome], replicates: int, points: int) -> Any:
    """Rows by estimator for one law: share covered, how large the error is beside the spread, bias."""
    outcomes = [estimate(sample(points, seed)) for seed in range(1, replicates + 1)]
    rows = {}
    for name in outcomes[0]:
        value, stderr, naive, bias = torch.tensor([o[name] for o in outcomes], dtype=torch.float64).unbind(1)
        off = (value - value.mean()).abs()
        rows[name] = {
            "covered": (off < 1.96 * stderr).double().mean().item(),
            "covered_naive": (off < 1.96 * naive).double().mean().item(),
            "stderr_over_spread": (stderr.square().mean().sqrt() / value.std()).item(),
            "naive_over_spread": (naive.square().mean().sqrt() / value.std()).item(),
            "mean": value.mean().item(),
            "spread": value.std().item(),
            "estimated_bias": bias.mean().item(),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--only", choices=tuple(TABLES), help="one table")
    parser.add_argument("--laws", nargs="+", help="some laws of it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "calibration.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", tk.BiasWarning)
    common = environment(options.threads, options.replicates, tk.info()["instruction set"])
    for table, (estimate, laws) in TABLES.items():
        if options.only not in (None, table):
            continue
        print(f"\n{table}: {options.replicates} samples of {options.points} points")
        head = f"{'covered':>8} {'naive':>7} {'s.e./sd':>8} {'naive':>7} {'mean − truth':>13} {'reported':>9}"
        print(f"  {'law':28}{'estimator':20}{head}")
        for name, (sample, truth) in laws.items():
            if options.laws and name not in options.laws:
                continue
            where = {"table": table, "law": name, "truth": truth, "points": options.points}
            rows = []
            for estimator, row in calibrate(sample, estimate, options.replicates, options.points).items():
                rows.append({**where, "estimator": estimator, **row, **common})
                print(
                    f"  {name:28}{estimator:20}{row['covered']:8.1%} {row['covered_naive']:7.1%} "
                    f"{row['stderr_over_spread']:8.3f} {row['naive_over_spread']:7.3f} "
                    f"{row['mean'] - truth:13.4f} {row['estimated_bias']:9.4f}",
                    flush=True,
                )
            store(rows, options.out)


def store(rows: list[dict[str, Any]], path: Path) -> None:
    """Put rows into the file, in place of those that it has of their table and law."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    made = {(row["table"], row["law"]) for row in rows}
    lines = [
        json.dumps(row).replace("NaN", "null")
        for row in [*(row for row in kept if (row["table"], row["law"]) not in made), *rows]
    ]
    path.write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
