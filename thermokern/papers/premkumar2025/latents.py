"""Diffusion autoencoders with a latent for little noise and one for much: Premkumar, App. F, Eq. 66 to 74."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thermokern.models import ConditionalModel
from thermokern.models.conditional_mlp import ConditionalMLP
from thermokern.papers.premkumar2025.laws import PROCESS

FIRST = 1e-3  # the least time of the loss
_HIDDEN = 96
_BATCH = 256
_RATE = 2e-3


class Encoder(nn.Module):
    """``q(z|x) = N(μ(x), diag σ²(x))``, Eq. 68."""

    def __init__(self, dim: int, latent: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU())
        self.mean, self.log_std = nn.Linear(_HIDDEN, latent), nn.Linear(_HIDDEN, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.mean(h), self.log_std(h).clamp(-6.0, 2.0)

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (n, latent), and ``KL(q(z|x) ‖ N(0, 1))`` of each point, nats."""
        mean, log_std = self(x)
        z = mean + log_std.exp() * torch.randn(mean.shape, generator=generator, device="cpu")
        return z, 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(1)


@dataclass(frozen=True)
class Autoencoder:
    """Trained networks: `semantic` sees to t ≥ τ and `perceptual` to t < τ; `blurred`: the former sees x_τ, not x."""

    tau: float
    blurred: bool
    semantic: Encoder
    perceptual: Encoder
    decoder: ConditionalModel


def blur(x: Tensor, tau: float, generator: torch.Generator) -> Tensor:
    """``x_τ = m x + √v ε``."""
    noise = torch.randn(x.shape, generator=generator, device="cpu")
    return PROCESS.mean_scale(tau) * x + math.sqrt(PROCESS.variance(tau)) * noise


def train_autoencoder(
    x: Tensor, tau: float, latent: int, steps: int, weight: float, *, blurred: bool = False, seed: int = 0
) -> Autoencoder:
    """Train both encoders and the decoder on points (n, d) by the split loss of Eq. 74.

    The denoising part is ``∫ ½ E|ε̂ − ε|² dλ``, in nats, from t = FIRST to 1; the price of both latents is `weight`
    times their KL from N(0, 1), a price that rises from zero over the first half: from the start, no latent would be
    used before the decoder has learned to read it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        semantic, perceptual = Encoder(x.shape[1], latent), Encoder(x.shape[1], latent)
        unit = torch.zeros(latent), torch.ones(latent)
        decoder = ConditionalMLP(PROCESS, x.mean(0), x.std(0), condition=unit, width=_HIDDEN, depth=2)
    networks = nn.ModuleList([semantic, perceptual, decoder])
    optimiser = torch.optim.Adam(networks.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    low, high = PROCESS.log_snr(PROCESS.t_end), PROCESS.log_snr(FIRST)
    for step in range(steps):
        points = x[torch.randint(len(x), (_BATCH,), generator=generator, device="cpu")]
        share = (torch.randperm(_BATCH, generator=generator, device="cpu") + 0.5) / _BATCH
        t = PROCESS.times_at(low + (high - low) * share.double())
        noise = torch.randn(points.shape, generator=generator, device="cpu")
        m, root = PROCESS.mean_scale(t)[:, None].float(), PROCESS.variance(t).sqrt()[:, None].float()
        z_s, price_s = semantic.draw(blur(points, tau, generator) if blurred else points, generator)
        z_p, price_p = perceptual.draw(points, generator)
        out = decoder(m * points + root * noise, t, torch.where(t[:, None] >= tau, z_s, z_p))
        price = weight * min(1.0, 2.0 * step / steps) * (price_s + price_p).mean()
        loss = 0.5 * (high - low) * (out - noise).square().sum(1).mean() + price
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 100.0)
        optimiser.step()
        schedule.step()
    networks.eval().requires_grad_(False)
    model = ConditionalModel(decoder, PROCESS, "epsilon", shape=(x.shape[1],))
    return Autoencoder(tau, blurred, semantic, perceptual, model)


def train_gaussian_decoder(
    x: Tensor, latent: int, steps: int, weight: float, seed: int = 0
) -> tuple[Encoder, nn.Module]:
    """A variational autoencoder whose decoder is N(f(z), σ²) with σ learned, Eq. 70: the encoder and f."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(x.shape[1], latent)
        decoder = nn.Sequential(nn.Linear(latent, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU())
        decoder.append(nn.Linear(_HIDDEN, x.shape[1]))
        log_std = nn.Parameter(torch.zeros(()))
    parameters = [*encoder.parameters(), *decoder.parameters(), log_std]
    optimiser = torch.optim.Adam(parameters, _RATE)
    for _ in range(steps):
        points = x[torch.randint(len(x), (_BATCH,), generator=generator, device="cpu")]
        z, price = encoder.draw(points, generator)
        miss = (points - decoder(z)).square().sum(1)
        loss = (0.5 * miss * (-2.0 * log_std).exp() + x.shape[1] * log_std + weight * price).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return encoder.eval().requires_grad_(False), decoder.eval().requires_grad_(False)
