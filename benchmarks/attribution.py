"""What it costs to resolve Δs in time and by component: pairs of runs with and without, fused or streamed.

    python benchmarks/attribution.py                            # mixtures and a perceptron, fused; half a minute
    python benchmarks/attribution.py --images EARLY LATE        # two checkpoints of `thermokern reproduce sgd-noise`

Every line has the median and the quartiles of the ratio of CPU times, of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import thermokern as tk

PROCESS = tk.VP()


def fused() -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """Model, reference and options of each row."""
    ring, collapsed = tk.GaussianMixture.ring(), tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
    torch.manual_seed(0)
    network = tk.ScoreModel(tk.ScoreMLP(2, width=64, depth=2), PROCESS)
    six = tk.GaussianMixture(torch.randn(6, 3, dtype=torch.float64), std=0.5)
    closer = tk.GaussianMixture(0.9 * six.means, std=0.5)
    many: dict[str, Any] = {"n_paths": 20_000, "n_steps": 200, "process": PROCESS, "backend": "fused"}
    return {
        "ring, 200 steps": (collapsed, ring, many),
        "ring, 1000 steps": (collapsed, ring, {**many, "n_steps": 1000}),
        "ring, float64": (collapsed, ring, {**many, "n_paths": 10_000, "dtype": torch.float64}),
        "six modes, three dimensions": (closer, six, many),
        "perceptron 2 × 64": (network, ring, {**many, "n_paths": 2000}),
    }


def images(early: Path, late: Path) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """A U-Net of the digits against a later one."""
    from thermokern.papers.ding2026 import load_images
    from thermokern.papers.ding2026.image_training import load_unet, make_scheduler
    from thermokern.papers.ding2026.sgd_noise import QUICK_TRAINING

    digits = load_images("digits")
    scheduler = make_scheduler(QUICK_TRAINING)
    models = [
        tk.from_diffusers(load_unet(QUICK_TRAINING, tuple(digits.shape[1:]), path), scheduler) for path in (early, late)
    ]
    return {"U-Net, digits, 49 steps, streamed": (*models, {"x0": digits[:48], "n_steps": 49})}


def ratio(model: Any, reference: Any, options: dict[str, Any], resolve: tuple[str, ...], rounds: int) -> list[float]:
    """Time with over time without, of pairs whose order alternates."""

    def seconds(**more: Any) -> float:
        start = time.process_time()
        tk.taep(model, reference, scheme="backward-ito", seed=1, **options, **more)
        return time.process_time() - start

    seconds(), seconds(resolve=resolve)
    found = []
    for i in range(rounds):
        if i % 2:
            without, resolved = seconds(), seconds(resolve=resolve)
        else:
            resolved, without = seconds(resolve=resolve), seconds()
        found.append(resolved / without)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs=2, metavar=("EARLY", "LATE"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that paths are few
    torch.set_num_threads(1)
    rows = images(*options.images) if options.images else fused()
    for name, (model, reference, settings) in rows.items():
        cells = []
        for resolve in (("time", "component"), ("time",)):
            low, middle, high = statistics.quantiles(ratio(model, reference, settings, resolve, options.rounds), n=4)
            cells.append(f"{' and '.join(resolve)} {middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"{name:36} {',  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
