"""Networks, samples and losses of the tests of curvature and gradient noise."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.learning.loss_curvature import samples_of
from thermokern.quantities.learning.loss_samples import Samples

PROCESS = tk.VP()


def unet() -> nn.Module:
    """Attention in the second resolution, after which tensors lie channels last; one group norm in every block."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to differentiate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(
            sample_size=4,
            in_channels=1,
            out_channels=1,
            block_out_channels=(4, 8),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=2,
            attention_head_dim=8,
        )
    out: nn.Module = network.double().eval()
    return out


@cache
def images() -> tuple[tk.ScoreModel, Tensor]:
    """A U-Net with attention, untrained, and ten images."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to differentiate")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, clip_sample=False)
    data = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return tk.from_diffusers(unet(), scheduler), data


def perceptron(dim: int = 2, seed: int = 0) -> tk.ScoreModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = tk.ScoreMLP(dim, width=8, depth=2).double()
        for parameter in network.parameters():  # its last layer begins at zero
            nn.init.normal_(parameter, std=0.5)
    return tk.ScoreModel(network, PROCESS, "epsilon")


def points(n: int = 50, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def drawn(model: tk.ScoreModel, data: Tensor, n: int, loss: str = "epsilon", seed: int = 0) -> Samples:
    flat = data.flatten(1).double()
    return samples_of(model, flat, data.shape[1:], loss, n, None, 1, seed, 0)


def plain_losses(model: tk.ScoreModel, samples: Samples) -> Tensor:
    """Of the samples, with the network as it is."""
    assert isinstance(model.network, nn.Module)
    return samples.losses(model.network)


def squared(network: Any, rows: Tensor) -> Tensor:
    """Linear regression: the last number of a row is to be predicted from the others."""
    out: Tensor = (network(rows[:, :-1])[:, 0] - rows[:, -1]).square()
    return out


def regression(n: int, noise: float, seed: int = 3) -> tuple[nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    error = noise * torch.randn(n, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = network(x)[:, 0] + error
    return network, torch.cat([x, y[:, None]], 1)
