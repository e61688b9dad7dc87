"""Which time grid a TAEP should take: errors of its mean at several numbers of steps, laws, processes and spacings.

Every pair of laws has exact densities, so that the paths' own end points say what each value is in continuous time.
Prints a Markdown table of the paired error of the mean and of the RMS of a path, in nats: `python benchmarks/grids.py`.
"""

from __future__ import annotations

import argparse
import warnings

import torch

import thermokern as tk
from thermokern.processes import LinearProcess
from thermokern.targets import Distribution

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
PROCESSES: dict[str, LinearProcess] = {
    "VP": tk.VP(),
    "VE": tk.VE(),
    "sub-VP": tk.SubVP(),
    "cosine": tk.CosineVP(),
    "EDM": tk.EDM(),
    "DDPM": tk.DiscreteVP((1.0 - BETAS).cumprod(0)),
    "flow": tk.Flow(),
}
STEPS = (50, 100, 300, 1000)


def narrow(dim: int, std: float) -> tk.GaussianMixture:
    """Ten modes whose means are standard normal."""
    generator = torch.Generator().manual_seed(1)
    return tk.GaussianMixture(torch.randn(10, dim, generator=generator, dtype=torch.float64), std=std)


def ring(std: float, rare: bool) -> tk.GaussianMixture:
    """Eight modes on a circle, all alike or one of them rare."""
    return tk.GaussianMixture.ring(std=std, weights=[0.02] + [0.14] * 7 if rare else None)


# (model, reference)
LAWS: dict[str, tuple[Distribution, Distribution]] = {
    "ring, std 0.25": (ring(0.25, True), ring(0.25, False)),
    "ring, std 0.05": (ring(0.06, True), ring(0.05, False)),
    "ring, std 0.02": (ring(0.024, True), ring(0.02, False)),
    "narrow modes, d = 8": (narrow(8, 0.12), narrow(8, 0.1)),
    "narrow modes, d = 64": (narrow(64, 0.12), narrow(64, 0.1)),
    "Swiss roll": (tk.SwissRoll(0.6), tk.SwissRoll(0.5)),
    "box": (tk.UniformBox([-1.1, -1.1], [1.1, 1.1]), tk.UniformBox([-1.0, -1.0], [1.0, 1.0])),
    "Gaussian, std 3": (tk.Gaussian([0.0, 0.0], 16.0), tk.Gaussian([0.0, 0.0], 9.0)),
    "Gaussian, std 0.05": (tk.Gaussian([0.0, 0.0], 0.0036), tk.Gaussian([0.0, 0.0], 0.0025)),
}


def row(law: str, process: str, spacing: str, scheme: str, n_paths: int, n_steps: tuple[int, ...], plain: bool) -> str:
    model, reference = LAWS[law]
    cells = []
    for steps in n_steps:
        options = {"n_paths": n_paths, "n_steps": steps, "spacing": spacing, "scheme": scheme, "dtype": torch.float64}
        result = tk.taep(model, reference, PROCESSES[process], extrapolate=not plain, **options)
        error = result.endpoint_error
        assert error is not None
        cells.append(f"{error.mean} / {error.rms.value:.2g}")
    return f"| {law} | {process} | {spacing} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--scheme", default="stratonovich")
    parser.add_argument("--laws", nargs="*", default=list(LAWS))
    parser.add_argument("--processes", nargs="*", default=list(PROCESSES))
    parser.add_argument("--spacings", nargs="*", default=["uniform", "log-snr", "mixed"])
    parser.add_argument("--steps", nargs="*", type=int, default=list(STEPS))
    parser.add_argument("--plain", action="store_true", help="sums that are not extrapolated")
    options = parser.parse_args()
    print(f"| law | process | spacing | {' | '.join(f'{n} steps' for n in options.steps)} |")
    print(f"|---|---|---|{'---|' * len(options.steps)}")
    steps = tuple(options.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for law in options.laws:
            for process in options.processes:
                for spacing in options.spacings:
                    print(row(law, process, spacing, options.scheme, options.paths, steps, options.plain), flush=True)


if __name__ == "__main__":
    main()
