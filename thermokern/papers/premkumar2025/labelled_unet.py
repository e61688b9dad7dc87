"""Training of diffusers' U-Net on images with labels, which are left out now and then."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from thermokern.models import ConditionalModel, from_diffusers
from thermokern.papers.ding2026.image_training import ImageProfile, make_scheduler, make_unet
from thermokern.papers.ding2026.images import CLASSES
from thermokern.quantities.results.storage import stored


@stored("kelly-images-profile")
@dataclass(frozen=True)
class LabelledProfile:
    """Network, training and evaluation.

    Attributes
    ----------
    channels, layers : tuple of int, int
        Of the U-Net: width of each resolution, residual blocks in each.
    steps, batch_size, learning_rate
        Of Adam.
    null_share : float
        How often the label is left out.
    held_out : float
        Share of the images that is not trained on; at most 5,000 of them are evaluated.
    evaluations, bets : int
        Of the integrals over noise levels, and images whose label is bet on.
    """

    name: str
    channels: tuple[int, ...] = (16, 32)
    layers: int = 1
    batch_size: int = 64
    learning_rate: float = 2e-3
    null_share: float = 0.3
    held_out: float = 0.2
    steps: int = 250
    evaluations: int = 1024
    bets: int = 64

    def unet(self, data: str, seed: int) -> ImageProfile:
        """The same as the profile of an unconditional U-Net."""
        attention = (False,) * len(self.channels)
        return ImageProfile(data=data, channels=self.channels, layers=self.layers, attention=attention, seed=seed)


class Split(NamedTuple):
    """Which images are trained on, and which are not."""

    used: Tensor
    held_out: Tensor


def split(n: int, share: float, seed: int) -> Split:
    """A random split of n images."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")
    count = round(share * n)
    return Split(order[count:], order[:count])


def labelled_model(
    profile: LabelledProfile,
    data: str,
    images: Tensor,
    labels: Tensor,
    folder: Path,
    *,
    seed: int = 0,
    progress: bool = True,
) -> ConditionalModel:
    """Train on images (n, channels, height, width) and labels (n,), or read what was trained before in `folder`.

    The loss is that of Ho, Jain and Abbeel, 2020, Eq. 14, with the label replaced by none in a share of the samples (Ho
    and Salimans, 2021, Algorithm 1); the weights are a moving average.
    """
    settings = profile.unet(data, seed)
    path, done = folder / "unet.safetensors", folder / "training.json"
    record = json.dumps({**asdict(profile), "evaluations": 0, "bets": 0, "data": data, "seed": seed, "n": len(images)})
    network = make_unet(settings, tuple(images.shape[1:]), CLASSES)
    if not (done.is_file() and path.is_file() and done.read_text() == record):
        folder.mkdir(parents=True, exist_ok=True)
        _train(network, profile, settings, images, labels, progress)
        save_file(network.state_dict(), str(path))
        done.write_text(record)
    network.load_state_dict(load_file(str(path)))
    frozen = network.eval().requires_grad_(False)
    return from_diffusers(frozen, make_scheduler(settings), condition="class_labels", null=CLASSES)


def _train(
    average: nn.Module,
    profile: LabelledProfile,
    settings: ImageProfile,
    images: Tensor,
    labels: Tensor,
    progress: bool,
) -> None:
    """Train a copy of a network and leave its moving average in the network."""
    generator = torch.Generator().manual_seed(settings.seed)
    scheduler, network = make_scheduler(settings), copy.deepcopy(average).train()
    average.requires_grad_(False).eval()
    parameters: list[Tensor] = list(network.parameters())
    averages: list[Tensor] = list(average.parameters())
    optimiser = torch.optim.Adam(parameters, lr=profile.learning_rate, fused=True)
    for step in tqdm(range(1, profile.steps + 1), desc="training", unit="step", disable=not progress, mininterval=1):
        which = torch.randint(len(images), (profile.batch_size,), generator=generator)
        batch, given = images[which], labels[which].clone()
        given[torch.rand(len(which), generator=generator) < profile.null_share] = CLASSES
        k = torch.randint(settings.T, (len(which),), generator=generator)
        noise = torch.randn(batch.shape, generator=generator)
        out = network(scheduler.add_noise(batch, noise, k), k, class_labels=given).sample
        loss = (out - noise).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1.0 - min(settings.ema_decay, (1 + step) / (10 + step)))
