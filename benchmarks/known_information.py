"""Trained scores and nearest neighbours on pairs whose information is known: `python benchmarks/known_information.py`.

The tasks are those of Czyż et al., *Beyond normal: on the evaluation of mutual information estimators*, 2023, written
from their definitions (tests/known_tasks.py). One budget for all: 20,000 pairs; a network is trained on either half of
them for 600 steps of 1,024 pairs, and judged on the other half with 16,384 evaluations. The value is the mean of both
losses, each with what lies beyond both ends; "halves" is their difference in its own standard errors, which hold the
errors of sampling and not that of training. "scores": each coordinate is replaced by the normal quantile of its rank,
which leaves the information as it is (and makes each image of the Gaussian the Gaussian again). Nearest neighbours
(KSG, k = 3) take all pairs at once. A value is within when it is off by less than 5 % or 0.05 nats. One thread; times
are CPU seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor

import thermokern as tk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from known_tasks import TASKS, normal_scores

PAIRS, STEPS, BATCH, EVALUATIONS = 20_000, 600, 1_024, 16_384


def by_halves(x: Tensor, y: Tensor, steps: int, width: int) -> list[tk.MutualInformation]:
    """What the network of either half says of the other."""
    parts, found = torch.arange(len(x)).chunk(2), []
    for seed, (train, judged) in enumerate((parts, parts[::-1])):
        model = tk.fit_scores(
            x[train], y[train], steps=steps, width=width, batch_size=BATCH, validation=0.02, seed=seed
        )
        found.append(tk.mutual_information(model, None, x[judged], y[judged], evaluations=EVALUATIONS, seed=seed))
    return found


def apart(first: tk.Estimate, second: tk.Estimate) -> float:
    """The difference of two independent estimates in standard errors."""
    return (first.value - second.value) / (first.stderr**2 + second.stderr**2) ** 0.5


def mean(first: tk.Estimate, second: tk.Estimate) -> tk.Estimate:
    """Of two independent estimates."""
    return tk.Estimate(0.5 * (first.value + second.value), 0.5 * (first.stderr**2 + second.stderr**2) ** 0.5)


def within(value: float, truth: float) -> str:
    """Whether a value is within 5 % or 0.05 nats, and by how much it misses."""
    off = value - truth
    return "yes" if abs(off) < max(0.05, 0.05 * truth) else f"no: {off:+.2f}"


def main() -> None:
    """A row for each task, as it is given and by normal scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help="names; all when left out")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
    print("| task | I | coordinates | loss | within | halves | gap | KSG | within | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.tasks:
        task = TASKS[name]
        x, y = task.draw(options.pairs, 0)
        for kind in ("given", "scores") if name.startswith(("Student", "additive")) else ("given",):
            if kind == "scores":
                x, y = normal_scores(x), normal_scores(y)
            start = time.process_time()
            one, two = by_halves(x, y, options.steps, options.width)
            spent = time.process_time() - start
            loss, ksg = mean(one.value, two.value), tk.ksg_mutual_information(x, y)
            cells = [name, f"{task.information:.4f}", kind, str(loss), within(loss.value, task.information)]
            cells += [f"{apart(one.value, two.value):+.1f}", str(mean(one.gap, two.gap)), f"{ksg}"]
            cells += [within(ksg.value, task.information), f"{spent:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
