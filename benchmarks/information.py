"""The long form of the tests of information: calibration over 300 seeds, errors by sampling, digits, trained scores.

``python benchmarks/information.py [calibration | sampling | digits | trained | digits-trained] [--seeds 300]`` prints
Markdown tables; without a name all of them, in about half an hour on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import torch

import thermokern as tk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from information_cases import case_a, case_b, case_c, case_d, three_classes

VP = tk.VP()
HIGH, LOW = VP.log_snr(1e-5), VP.log_snr(1.0)


def calibration(seeds: int) -> None:
    """Mean and standard deviation of z over seeds, at 2048 evaluations."""
    print("| law | sampling | estimator | mean of z | sd of z | mean s.e. |\n|---|---|---|---|---|---|")
    for name, law in (("A", case_a()), ("B", case_b())):
        inside = law.mutual_information(HIGH) - law.mutual_information(LOW)
        for sampling in ("adaptive", "log-snr", "uniform"):
            rows = []
            for seed in range(seeds):
                found = tk.mutual_information(law, process=VP, evaluations=2048, sampling=sampling, seed=seed)
                parts = (found.gap, found.loss, found.difference)
                rows.append([(part.z(inside), part.stderr) for part in parts])
            table = torch.tensor(rows, dtype=torch.float64)
            for k, part in enumerate(("gap", "loss", "difference")):
                z, error = table[:, k, 0], table[:, k, 1].mean().item()
                print(f"| {name} | {sampling} | {part} | {z.mean():+.2f} | {z.std():.2f} | {error:.4f} |", flush=True)
    law, rows = case_b(), []
    for seed in range(seeds):
        x, y = law.sample(300, 10_000 + seed)
        found = tk.mutual_information(law, None, x, y, VP, evaluations=2400, seed=seed)
        rows.append((found.value.z(law.mutual_information()), found.value.stderr))
    table = torch.tensor(rows, dtype=torch.float64)
    line = f"{table[:, 0].mean():+.2f} | {table[:, 0].std():.2f} | {table[:, 1].mean():.4f}"
    print(f"| B, 300 points | adaptive | gap | {line} |")


def sampling() -> None:
    """Standard errors at 65,536 evaluations, and z."""
    print("| law | sampling | I (true) | gap | loss | difference | S_tot (true) | S_tot |")
    print("|---|---|---|---|---|---|---|---|")
    laws = {"B": case_b(), "C(1e-3)": case_c(1e-3), "C(1e-4)": case_c(1e-4), "D(.05)": case_d(0.05)}
    for name, law in laws.items():
        for kind in ("adaptive", "log-snr", "uniform"):
            found = tk.mutual_information(law, process=VP, sampling=kind)
            stored = tk.neural_entropy(law.x, law.x, VP, sampling=kind)
            inside = law.mutual_information(HIGH) - law.mutual_information(LOW)
            print(
                f"| {name} | {kind} | {inside:.4f} | {found.gap} | {found.loss} | {found.difference} | "
                f"{law.total_entropy():.4f} | {stored.value} |",
                flush=True,
            )


def digits() -> None:
    """The empirical law of scikit-learn's digits, with exact scores."""
    from sklearn.datasets import load_digits

    data = load_digits()
    law = tk.Labelled.from_points(torch.tensor(data.data) / 8.0 - 1.0, torch.tensor(data.target))
    for evaluations in (4096, 16_384, 65_536):
        print(tk.mutual_information(law, process=VP, evaluations=evaluations).summary(), flush=True)
    print(tk.neural_entropy(law.marginal, law.marginal, VP, evaluations=4096).summary())


def trained() -> None:
    """Scores trained on pairs, and nearest neighbours on as many."""
    print("| law | pairs | steps | I | loss | gap | loss − gap | KSG | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, law in (("B", case_b()), ("three classes", three_classes())):
        truth = law.mutual_information() if isinstance(law, tk.JointGaussian) else 0.879519
        x, y = law.sample(20_000, 1)
        ksg = f"{tk.ksg_mutual_information(x, y)}" if y.is_floating_point() else ""
        for steps in (600, 3000):
            start = time.perf_counter()
            model = tk.fit_scores(x, y, steps=steps, process=VP)
            assert isinstance(model, tk.ConditionalModel)
            rows = model.network.history.held_out  # type: ignore[union-attr]
            found = tk.mutual_information(model, None, x[rows], y[rows])
            spent = time.perf_counter() - start
            print(
                f"| {name} | 20,000 | {steps} | {truth:.4f} | {found.loss} | {found.gap} | {found.orthogonality} | "
                f"{ksg} | {spent:.0f} |",
                flush=True,
            )


def trained_on_digits() -> None:
    """A small perceptron on 64 pixels: what the verdicts and the growth rate say of it."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data) / 8.0 - 1.0, torch.tensor(data.target)
    model = tk.fit_scores(x, y, steps=1500, width=192, depth=2, batch_size=256, null_share=0.3)
    rows = model.network.history.held_out  # type: ignore[union-attr]
    print(tk.mutual_information(model, None, x[rows], y[rows], evaluations=16_384).summary())


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=("calibration", "sampling", "digits", "trained", "digits-trained"))
    parser.add_argument("--seeds", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
    parts = {
        "calibration": lambda: calibration(options.seeds),
        "sampling": sampling,
        "digits": digits,
        "trained": trained,
        "digits-trained": trained_on_digits,
    }
    for name, part in parts.items():
        if options.part in (None, name):
            print(f"\n## {name}\n")
            part()


if __name__ == "__main__":
    main()
