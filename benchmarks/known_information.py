"""Trained scores and nearest neighbours on pairs whose information is known: `python benchmarks/known_information.py`.

The tasks are those of Czyż et al., *Beyond normal: on the evaluation of mutual information estimators*, 2023, written
from their definitions (tests/known_tasks.py). One budget for all: 200,000 pairs; a network of width 128 is trained on
either half of them for 5,000 steps of 1,024 pairs, and judged on the other half with 65,536 evaluations. The budget was
chosen on pairs of another seed. The value is the mean of both losses over [1e-5, 1], beyond which these tasks hold less
than 0.01 nats; "halves" is their difference in its own standard errors, which hold the errors of sampling and not that
of training. "scores": each coordinate is replaced by the normal quantile of its rank, which leaves the information as
it is (and makes each image of the Gaussian the Gaussian again). Nearest neighbours (KSG, k = 3) take all pairs at once,
or 20,000 where they have more than ten components. A value is within when it is off by less than 5 % or 0.05 nats, and
this is open where its standard error is as large. One thread; times are CPU seconds of both trainings and estimates.
The budget for many dimensions: ``--pairs 1000000 --width 256 --steps 3000``, five CPU minutes.
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

PAIRS, STEPS, BATCH, EVALUATIONS = 200_000, 5_000, 1_024, 65_536
NEIGHBOURS, MANY = 20_000, 10  # pairs for nearest neighbours where x has more components than these


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


def within(found: tk.Estimate, truth: float) -> str:
    """Whether a value is within 5 % or 0.05 nats, and by how much it misses."""
    off, bound = found.value - truth, max(0.05, 0.05 * truth)
    if found.stderr > bound:
        return "open"
    return "yes" if abs(off) < bound else f"no: {off:+.2f}"


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
            few = len(x) if x.shape[1] <= MANY else NEIGHBOURS
            loss, ksg = mean(one.loss, two.loss), tk.ksg_mutual_information(x[:few], y[:few])
            cells = [name, f"{task.information:.4f}", kind, str(loss), within(loss, task.information)]
            cells += [f"{apart(one.loss, two.loss):+.1f}", str(mean(one.gap, two.gap)), f"{ksg}"]
            cells += [within(ksg, task.information), f"{spent:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
