"""Models and laws that the tests of rates, likelihoods and bounds share."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import torch
from torch import Tensor

import thermokern as tk

GAUSSIANS = [
    tk.Gaussian([0.7], 0.3),
    tk.Gaussian([0.3, -0.2], [0.5, 1.7]),
    tk.Gaussian(torch.linspace(-1.0, 1.0, 16), torch.linspace(0.2, 2.0, 16)),
]


def checkpoint() -> tk.ScoreModel:
    """A trained perceptron of the demonstration, for VP."""
    return tk.load_checkpoint(str(files("thermokern.papers.ding2026") / "checkpoints" / "m1_eps0.01.safetensors"))


def scaled(c: float, process: tk.VE) -> Callable[[Tensor, float], Tensor]:
    """``c`` times the score of N(0, 1) under VE."""

    def score(x: Tensor, t: float) -> Tensor:
        return -c * x / (1.0 + process.variance(t))

    return score


def closed_forms(law: tk.Gaussian, process: tk.VP, t: Tensor) -> dict[str, Tensor]:
    """Intrinsic, exchange and system rate of N(μ, Σ) diffused, by its eigenvalues."""
    m, f, d = process.mean_scale(t), process.f(t), 0.5 * process.g2(t)
    c = m[:, None].square() * law.eigenvalues[0] + process.variance(t)[:, None]
    q = f.square() * (c.sum(1) + m.square() * law.means[0].square().sum()) / d
    drift, heat = f * law.dim, d * (1.0 / c).sum(1)
    return {"intrinsic": q + 2.0 * drift + heat, "exchange": -q - drift, "system": drift + heat}
