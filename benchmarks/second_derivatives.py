"""Cost of rows of a Hessian of the digits U-Net: ours in batches, a loop of double backward, other libraries.

The checkpoint is one of `thermokern reproduce sgd-noise`. Every route computes the same rows of the same samples, one
after the other in turns; other libraries are tried as they are, and their errors are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import thermokern as tk
from thermokern.papers.ding2026 import load_images
from thermokern.papers.ding2026.image_training import QUICK, load_unet, make_scheduler
from thermokern.quantities.learning.loss_curvature import placed, samples_of
from thermokern.quantities.learning.products import gauss_newton, gradients, hessian
from thermokern.quantities.learning.subset_network import SubsetNetwork

LAYERS = ("mid_block.attentions.0", "mid_block.resnets.0.conv1", "up_blocks.0.resnets.0.norm2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--parameters", type=int, default=64)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    profile = replace(QUICK, attention=(False, True))
    images = load_images("digits")
    unet = load_unet(profile, tuple(images.shape[1:]), options.checkpoint).requires_grad_(True)
    model = tk.from_diffusers(unet, make_scheduler(profile))
    flat = images.flatten(1).double()
    for name in LAYERS:
        subset = tk.parameter_subset(unet, name, n=options.parameters)
        network = SubsetNetwork(model.network, subset)
        samples = samples_of(model, flat, images.shape[1:], "epsilon", options.samples, None, 1, 0, 0)
        samples = placed(samples, network.theta)
        known = dict(unet.named_parameters())
        chosen = [(known[parameter], index) for parameter, index in subset.indices.items()]

        def loop(samples: Any = samples, chosen: Any = chosen) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):
                loss = samples.losses(model.network).sum()
                parts = torch.autograd.grad(loss, [p for p, _ in chosen], create_graph=True)
                slope = torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])
                rows = []
                for number in slope:
                    parts = torch.autograd.grad(number, [p for p, _ in chosen], retain_graph=True)
                    rows.append(
                        torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])
                    )
            return torch.stack(rows)

        routes: dict[str, Callable[[], object]] = {
            "in batches of 16 rows": lambda network=network, samples=samples: hessian(network, samples),
            "loop of double backward": loop,
            "Gauss-Newton": lambda network=network, samples=samples: gauss_newton(network, samples),
            "gradients of samples": lambda network=network, samples=samples: gradients(network, samples),
        }
        spent: dict[str, list[float]] = {route: [] for route in routes}
        for _ in range(options.rounds):
            for route, call in routes.items():
                start = time.process_time()
                call()
                spent[route].append(time.process_time() - start)
        ours, theirs = hessian(network, samples), loop()
        error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        print(f"{name}: {len(subset)} parameters, {len(samples)} samples; rows agree to {error:.1e}")
        for route, seconds in spent.items():
            middle = sorted(seconds)[len(seconds) // 2]
            each = 1e3 * middle / len(samples) / (1 if route == "gradients of samples" else len(subset))
            unit = "a sample" if route == "gradients of samples" else "a parameter and sample"
            print(f"  {route:<26} {each:8.3f} CPU ms {unit}")
    others(model, samples, options.samples)


def others(model: tk.ScoreModel, samples: Any, n: int) -> None:
    """PyHessian and curvlinops on the whole network, which is what they take."""

    class Pairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.network

        def forward(self, rows: Tensor) -> Tensor:
            out: Tensor = self.network(rows[:, :-1].view(-1, *samples.parts[0].shape[2:]), rows[:, -1])
            return out.flatten(1)

    x, t = samples.points()
    rows, target = torch.cat([x.flatten(1), t[:, None]], 1), torch.zeros_like(x).flatten(1)
    whole, loss = Pairs().eval(), torch.nn.MSELoss()
    for name in ("PyHessian", "curvlinops"):
        for backend in (None, SDPBackend.MATH):
            setting = "as it is" if backend is None else "with sdpa_kernel(MATH)"
            start = time.process_time()
            try:
                products = _product(name, whole, loss, rows, target, backend)
                each = 1e3 * (time.process_time() - start) / products / n
                print(f"{name}, {setting}: {each:.3f} CPU ms a product and sample, of the whole network alone")
            except Exception as error:
                print(f"{name}, {setting}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")


def _product(name: str, network: Any, loss: Any, rows: Tensor, target: Tensor, backend: Any) -> int:
    import contextlib

    with contextlib.nullcontext() if backend is None else sdpa_kernel(backend):
        if name == "PyHessian":
            from pyhessian import hessian as of_network

            of_network(network, loss, data=(rows, target), cuda=False).trace(maxIter=4, tol=0.0)
            return 4
        from curvlinops import HessianLinearOperator

        parameters = [p for p in network.parameters() if p.requires_grad]
        operator = HessianLinearOperator(network, loss, parameters, [(rows, target)], check_deterministic=False)
        operator @ torch.randn(operator.shape[1])
        return 1


if __name__ == "__main__":
    main()
