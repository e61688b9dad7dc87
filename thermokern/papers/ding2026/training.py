"""Denoising score matching for small score networks."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from thermokern.processes import LinearProcess


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained. The defaults are those of Ding, Quan and Tu, Methods 1.2 and 1.3.

    The paper keeps an exponential moving average here without printing its decay; 0.9999 is what its Methods 2.3 prints
    for images. The average warms up: its decay is at most ``(1 + step)/(10 + step)``.
    """

    n_steps: int = 50_000
    batch_size: int = 2048
    learning_rate: float = 1e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.9999
    t_eps: float = 1e-3
    seed: int = 0

    def settings(self) -> dict[str, float]:
        return asdict(self)


def train_epsilon_network(
    network: nn.Module,
    process: LinearProcess,
    means: Tensor,
    stds: Tensor,
    weights: Tensor,
    recipe: TrainingRecipe,
    description: str = "training",
    progress: bool = True,
) -> tuple[nn.Module, float]:
    """Train `network` to predict the noise of ``x_t = m x_0 + √v ε`` with ``x_0`` from an isotropic mixture.

    The loss is ``E |network(x_t, t) − ε|²/d`` with ``t`` uniform on ``[t_eps, t_end]``.

    Parameters
    ----------
    means, stds, weights : Tensor
        (K, d), (K,) and (K,): the mixture that fresh data are drawn from at every step.

    Returns
    -------
    network, loss
        The moving average of the network, and the loss averaged over the last thousand steps.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    average = copy.deepcopy(network).requires_grad_(False)
    parameters: list[Tensor] = list(network.parameters())
    averages: list[Tensor] = list(average.parameters())
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    n, dim = recipe.batch_size, means.shape[1]
    recent = 0.0  # loss, averaged over about a thousand steps
    with tqdm(range(recipe.n_steps), desc=description, unit="step", disable=not progress, mininterval=1.0) as steps:
        for step in steps:
            component = torch.multinomial(weights, n, replacement=True, generator=generator)  # (n,)
            x_0 = means[component] + stds[component, None] * torch.randn(n, dim, generator=generator)  # (n, d)
            t = recipe.t_eps + (process.t_end - recipe.t_eps) * torch.rand(n, generator=generator)  # (n,)
            epsilon = torch.randn(n, dim, generator=generator)  # (n, d)
            x_t = process.mean_scale(t)[:, None] * x_0 + process.variance(t).sqrt()[:, None] * epsilon
            loss = (network(x_t, t) - epsilon).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
            optimiser.step()
            decay = min(recipe.ema_decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, parameters, 1.0 - decay)
            rate = max(1e-3, 1.0 / (step + 1))
            recent += rate * (loss.item() - recent)
            if step % 100 == 0:
                steps.set_postfix(loss=f"{recent:.4f}")
    return average, recent
