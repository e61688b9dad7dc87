"""Peak memory of the entropy of 10⁷ points, over that of the points: `python benchmarks/entropy_memory.py [DIM]`."""

from __future__ import annotations

import resource
import sys

import torch

import thermokern as tk


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    x = torch.randn(10**7, int(sys.argv[1]) if len(sys.argv) > 1 else 2, generator=torch.Generator().manual_seed(1))
    before, size = peak(), x.numel() * x.element_size()
    result = tk.kozachenko_leonenko(x, 3)
    print(
        f"{result.summary()}\npeak beyond what was there, points included: {(peak() - before) / size + 1:.2f} of them"
    )


if __name__ == "__main__":
    main()
