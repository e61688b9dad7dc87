"""Small models that the tests of ranks, of blocks and of parts share."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

import thermokern as tk

PROCESS = tk.VP()
RING = tk.GaussianMixture.ring()


def perceptron(shift: float = 0.0, predicts: str = "epsilon") -> tk.ScoreModel:
    torch.manual_seed(3)
    network = tk.ScoreMLP(2, width=24, depth=2).requires_grad_(False)
    with torch.no_grad():
        network.layers[0].bias += shift
    return tk.ScoreModel(network, PROCESS, predicts)


def streamed(**options: object) -> dict[str, object]:
    return {"n_steps": 12, "backend": "streamed", **options}


class Counted(nn.Module):
    """A network that takes its time and counts its calls."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.network, self.delay, self.calls = perceptron().network, delay, 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(self.delay)
        return self.network(x, t)
