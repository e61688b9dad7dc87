"""What sharing costs and gains: CPU seconds of a rank, by itself and in the world that started it.

    torchrun --nproc-per-node 2 benchmarks/ranks.py

CPU seconds, not the clock: on a machine that others use, the ratio of a rank's CPU seconds alone to the largest of a
rank in the world is what the clock would show were every rank alone on its core. Waiting costs the clock and no CPU;
the blocks left over at the end are stated as the share of the blocks that the busiest rank did.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

import thermokern as tk

REPEATS = 5


class Small(nn.Module):
    """A convolutional network on 8 × 8 images."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 32, 1)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noise of images x (n, 1, 8, 8) at times t (n,)."""
        for layer in self.layers[:-1]:
            x = torch.nn.functional.silu(layer(x) + t.view(-1, 1, 1, 1))
        return self.layers[-1](x)


def calls() -> dict[str, Callable[[object], tk.TAEP]]:
    """What is timed."""
    torch.manual_seed(0)
    perceptron = tk.ScoreModel(tk.ScoreMLP(2).requires_grad_(False), tk.VP(), "epsilon")
    images = tk.ScoreModel(Small().requires_grad_(False), tk.VP(), "epsilon")
    ring, x0 = tk.GaussianMixture.ring(), torch.randn(1024, 1, 8, 8)
    return {
        "kernels, 20,000 paths": lambda group: tk.taep(perceptron, ring, n_paths=20_000, n_steps=200, group=group),
        "streamed perceptron, 500 paths": lambda group: tk.taep(
            perceptron, ring, n_paths=500, n_steps=100, backend="streamed", group=group
        ),
        "streamed images, 128 paths": lambda group: tk.taep(
            images, lambda x, t: -x, x0=x0[:128], n_steps=50, block=16, group=group
        ),
        "streamed images, 1,024 paths": lambda group: tk.taep(
            images, lambda x, t: -x, x0=x0, n_steps=50, block=64, group=group
        ),
    }


def main() -> None:
    """Time each call alone and shared, in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    for name, call in calls().items():
        alone, shared = [], []
        for _ in range(REPEATS + 1):
            for group, times in ((None, alone), ("world", shared)):
                dist.barrier()
                start = time.process_time()
                call(group)
                times.append(time.process_time() - start)
        every: list[object] = [None] * size
        dist.all_gather_object(every, (alone[1:], shared[1:]))  # the first warms up
        if rank == 0:
            ones = [statistics.median(one) for one, _ in every]
            worst = [max(times) for times in zip(*(other for _, other in every), strict=True)]
            ratio = statistics.median(ones) / statistics.median(worst)
            print(f"{name:<36} alone {min(ones):.2f} to {max(ones):.2f} s, ", end="")
            print(
                f"busiest of {size}: {min(worst):.2f} to {max(worst):.2f} s, ratio of medians {ratio:.2f}", flush=True
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
