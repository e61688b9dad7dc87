"""Which time grid a TAEP should take: errors of its mean at several numbers of steps, laws, processes and spacings.

Where both laws have exact densities the paths' own end points say what each value is in continuous time: a cell is the
paired error of the mean / the RMS error of a path, in nats. A network's density is not known: there a cell is the mean;
what it is more than ∫ D |δ|² dt of the same paths. Prints a Markdown table: `python benchmarks/grids.py`. The U-Net is
read from the checkpoints of `thermokern reproduce training --profile quick --out DIR`:

    python benchmarks/grids.py --laws "U-Net of digits" --unet DIR/checkpoints/step_0001200.safetensors --paths 64
"""

from __future__ import annotations

import argparse
import warnings
from importlib.resources import files
from pathlib import Path

import torch

import thermokern as tk
from thermokern.models import ScoreLike, from_diffusers
from thermokern.papers.ding2026.image_training import QUICK, load_unet, make_scheduler
from thermokern.papers.ding2026.images import load_images
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


NETWORKS = ("Empirical of digits", "perceptron", "U-Net of digits")


def digits(count: int) -> torch.Tensor:
    """The first of scikit-learn's digits, (count, 64) in [−1, 1]."""
    return load_images("digits").flatten(1)[:count].double()


class Flat(torch.nn.Module):
    """A network of images that takes them as rows."""

    casts_itself = True

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.network(x.reshape(-1, 1, 8, 8), t).flatten(1)


def pair(law: str, unet: Path | None) -> tuple[ScoreLike, Distribution]:
    """Model and reference; those of networks are loaded when they are asked for."""
    if law == "Empirical of digits":
        return tk.GaussianMixture(digits(100), std=0.05), tk.Empirical(digits(100))
    if law == "perceptron":
        folder = files("thermokern.papers.ding2026") / "checkpoints"
        return tk.load_checkpoint(str(folder / "m1_eps0.09.safetensors")), ring(0.25, False)
    if law == "U-Net of digits":
        if unet is None:
            raise SystemExit("--unet: expected a checkpoint of `thermokern reproduce training`")
        model = from_diffusers(load_unet(QUICK, (1, 8, 8), unet), make_scheduler(QUICK))
        return tk.ScoreModel(Flat(model.network), model.process, model.predicts, (64,)), tk.Empirical(digits(1797))
    return LAWS[law]


def row(law: str, process: str, spacing: str, n_steps: tuple[int, ...], options: argparse.Namespace) -> str:
    model, reference = pair(law, options.unet)
    network = not isinstance(model, Distribution)
    given = {"n_paths": options.paths, "spacing": None if spacing == "default" else spacing}
    cells = []
    for steps in n_steps:
        result = tk.taep(
            *(model, reference, model.process if isinstance(model, tk.ScoreModel) else PROCESSES[process]),
            **given,
            n_steps=steps,
            scheme=options.scheme,
            dtype=None if network else torch.float64,
            extrapolate=not options.plain,
        )
        error = result.endpoint_error
        if error is None:
            cells.append(f"{result.mean}; {result.consistency}")
        else:
            cells.append(f"{error.mean} / {error.rms.value:.2g}")
    return f"| {law} | {process} | {spacing} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--scheme", default="stratonovich", help="the U-Net's rows take backward-ito")
    parser.add_argument("--laws", nargs="*", default=list(LAWS), help=f"also: {', '.join(NETWORKS)}")
    parser.add_argument("--processes", nargs="*", default=list(PROCESSES))
    parser.add_argument("--spacings", nargs="*", default=["uniform", "log-snr", "mixed"], help="also: default")
    parser.add_argument("--steps", nargs="*", type=int, default=list(STEPS))
    parser.add_argument("--unet", type=Path, help="checkpoint of the U-Net of digits")
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
                    print(row(law, process, spacing, steps, options), flush=True)


if __name__ == "__main__":
    main()
