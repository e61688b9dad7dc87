"""Training of diffusers' U-Net on images, with checkpoints along the way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm


@dataclass(frozen=True)
class ImageProfile:
    """Network, training and evaluation of one run; the defaults are the quick one, for digits.

    Attributes
    ----------
    channels, layers, attention : tuple, int, tuple
        Of the U-Net: width and self-attention of each resolution, residual blocks in each.
    saved : tuple of int
        Training steps at which a checkpoint is kept; the last of them ends the training and is the reference.
    n_paths, n_steps : int
        Of the TAEP. The network was trained on the whole times 1 … T, and steps that divide T − 1 stay on them.
    n_generated, generation_steps, sampler
        Samples for the coverage, the steps that make each, and the method of :func:`thermokern.sample`.
    n_real : int or None
        The first images, that samples should cover; all where it is left out.
    """

    data: str = "digits"
    channels: tuple[int, ...] = (16, 32)
    layers: int = 1
    attention: tuple[bool, ...] = (False, False)
    batch_size: int = 64
    learning_rate: float = 2e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    saved: tuple[int, ...] = (50, 100, 150, 250, 400, 700, 1200, 2000, 3200)
    T: int = 1000
    n_paths: int = 256
    n_steps: int = 111
    n_generated: int = 500
    generation_steps: int = 37
    sampler: str = "probability-flow"
    n_real: int | None = None
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        return asdict(self)


# Fields that training does not depend on.
_OF_EVALUATION = ("n_paths", "n_steps", "n_generated", "generation_steps", "sampler", "n_real")
QUICK = ImageProfile()
# Ding, Quan and Tu, Methods 2: 500 epochs of 390 batches.
PAPER = ImageProfile(
    data="cifar10",
    channels=(128, 256, 256, 256),
    layers=2,
    attention=(False, True, False, False),
    batch_size=128,
    learning_rate=2e-4,
    ema_decay=0.9999,
    saved=(1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 195_000),
    n_paths=1000,
    n_steps=999,
    n_generated=10_000,
    generation_steps=999,
    sampler="ancestral",
)
# A quarter of an hour of a processor, of images that take the paper's settings a GPU.
REDUCED = ImageProfile(
    data="fashion-mnist",
    batch_size=32,
    saved=(25, 50, 100, 200, 400, 800, 1600),
    n_paths=128,
    n_generated=400,
    n_real=1000,
)
PAPER_MNIST = replace(PAPER, data="mnist", saved=tuple(step * 468 // 390 for step in PAPER.saved))


def make_scheduler(profile: ImageProfile) -> Any:
    """DDPM's linear betas, 1e-4 to 2e-2, as Ho, Jain and Abbeel, 2020, have them; no clipping."""
    diffusers = _diffusers()
    return diffusers.DDPMScheduler(
        num_train_timesteps=profile.T, beta_schedule="linear", beta_start=1e-4, beta_end=2e-2, clip_sample=False
    )


def make_unet(profile: ImageProfile, shape: tuple[int, ...], labels: int = 0) -> nn.Module:
    """An untrained ``UNet2DModel`` for images of `shape` (channels, height, width), and for `labels` and none of them.

    Where there are labels, ``class_labels`` are 0 … `labels`, of which the last stands for none.
    """
    down = tuple("AttnDownBlock2D" if here else "DownBlock2D" for here in profile.attention)
    up = tuple("AttnUpBlock2D" if here else "UpBlock2D" for here in reversed(profile.attention))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(profile.seed)
        network: nn.Module = _diffusers().UNet2DModel(
            sample_size=shape[-1],
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=profile.channels,
            layers_per_block=profile.layers,
            down_block_types=down,
            up_block_types=up,
            norm_num_groups=8 if min(profile.channels) < 32 else 32,
            add_attention=any(profile.attention),
            num_class_embeds=labels + 1 if labels else None,
        )
    return network


def train_unet(
    profile: ImageProfile, images: Tensor, folder: Path, *, progress: bool = True, log: Callable[[str], None] = print
) -> list[Path]:
    """Train, and write the moving average of the network at each step of ``profile.saved``; the files written.

    The loss is that of Ho, Jain and Abbeel, 2020, Eq. 14: ``E |network(x_t, k) − ε|²/d`` with k uniform. Checkpoints
    of the same profile that are there already are kept when all of them are.
    """
    paths = [folder / f"step_{step:07d}.safetensors" for step in profile.saved]
    record = json.dumps({key: value for key, value in profile.settings().items() if key not in _OF_EVALUATION})
    done = folder / "training.json"
    if done.is_file() and json.loads(done.read_text())["profile"] == record and all(path.is_file() for path in paths):
        log(f"trained before: {folder}")
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(profile.seed)
    scheduler, place = make_scheduler(profile), training_device()
    network = make_unet(profile, tuple(images.shape[1:])).train().to(place)
    average = copy.deepcopy(network).requires_grad_(False).eval()
    parameters: list[Tensor] = list(network.parameters())
    averages: list[Tensor] = list(average.parameters())
    optimiser = torch.optim.Adam(parameters, lr=profile.learning_rate, fused=True)
    losses: list[float] = []
    order = torch.empty(0, dtype=torch.int64)
    for step in tqdm(
        range(1, profile.saved[-1] + 1), desc="training", unit="step", disable=not progress, mininterval=1
    ):
        if len(order) < profile.batch_size:  # an epoch; its last batch, not whole, is dropped
            order = torch.randperm(len(images), generator=generator)
        batch, order = images[order[: profile.batch_size]], order[profile.batch_size :]
        k = torch.randint(profile.T, (len(batch),), generator=generator)
        noise = torch.randn(batch.shape, generator=generator).to(place)
        batch, k = batch.to(place), k.to(place)
        loss = (network(scheduler.add_noise(batch, noise, k), k).sample - noise).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, profile.gradient_clip)
        optimiser.step()
        torch._foreach_lerp_(averages, parameters, 1.0 - min(profile.ema_decay, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if step in profile.saved:
            save_file(average.state_dict(), str(paths[profile.saved.index(step)]))
    thinned = [sum(part) / len(part) for part in (losses[i : i + 50] for i in range(0, len(losses), 50))]
    done.write_text(json.dumps({"profile": record, "loss_by_50_steps": thinned, "torch": torch.__version__}))
    return paths


def load_unet(profile: ImageProfile, shape: tuple[int, ...], path: Path) -> nn.Module:
    """The network of a checkpoint, its parameters frozen."""
    network = make_unet(profile, shape)
    network.load_state_dict(load_file(str(path)))
    return network.eval().requires_grad_(False)


def training_device() -> torch.device:
    """Where networks of images are trained: on the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError:
        raise ValueError("diffusers: not installed; pip install 'thermokern[diffusers]'") from None
    return diffusers
