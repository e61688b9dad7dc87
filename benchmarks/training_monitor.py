"""The monitor on a training of digits, in Lightning or with accelerate: its curves, and what it costs.

The reference is a checkpoint of `thermokern reproduce sgd-noise`, such as out/sgd-noise/checkpoints/step_0003200.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import thermokern as tk
from thermokern.models import ScoreModel
from thermokern.papers.ding2026 import load_images
from thermokern.papers.ding2026.image_training import QUICK, load_unet, make_scheduler, make_unet

PROFILE = replace(QUICK, attention=(False, True))


def loss_of(network: Any, batch: Tensor) -> Tensor:
    return tk.score_matching_loss(model_of(network), batch)


def model_of(network: Any) -> ScoreModel:
    found: ScoreModel = tk.from_diffusers(network, make_scheduler(PROFILE))
    return found


def with_lightning(monitor: tk.TrainingMonitor, network: Any, loader: Any, steps: int) -> None:
    import lightning

    class Digits(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, _: int) -> Tensor:
            return loss_of(self.network, batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), PROFILE.learning_rate)

    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[monitor.lightning()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Digits(), loader)


def with_accelerate(monitor: tk.TrainingMonitor, network: Any, loader: Any, steps: int) -> None:
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    optimiser = torch.optim.Adam(network.parameters(), PROFILE.learning_rate)
    model, optimiser, loader = accelerator.prepare(network, optimiser, loader)
    visit, step = monitor.accelerate(accelerator), 0
    while step < steps:
        for (batch,) in loader:
            optimiser.zero_grad()
            accelerator.backward(loss_of(model, batch))
            optimiser.step()
            step += 1
            visit(step, model)
            if step == steps:
                break


LOOPS = {"lightning": with_lightning, "accelerate": with_accelerate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loop", choices=tuple(LOOPS))
    parser.add_argument("reference", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=50)
    options = parser.parse_args()
    images = load_images("digits")
    reference = model_of(load_unet(PROFILE, tuple(images.shape[1:]), options.reference))
    network = make_unet(PROFILE, tuple(images.shape[1:])).train()
    monitor = tk.TrainingMonitor(
        images,
        reference,
        every=options.every,
        n_paths=64,
        n_steps=37,
        n_generated=100,
        generation_steps=9,
        as_model=lambda module: model_of(getattr(module, "network", module)),
    )
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(images)
    loader = torch.utils.data.DataLoader(data, batch_size=PROFILE.batch_size, shuffle=True, drop_last=True)
    LOOPS[options.loop](monitor, network, loader, options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    monitor.result.save(options.out / f"{options.loop}.safetensors")
    monitor.result.plot().savefig(options.out / f"{options.loop}.png")
    print(monitor.result.summary())


if __name__ == "__main__":
    main()
