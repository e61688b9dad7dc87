"""What the choices of `thermokern.KDTree` rest on: leaves of 64 against 192, and all pairs against the tree.

    python benchmarks/search_choice.py

Normals, float32, k = 10, one thread, median seconds of five searches. `share` is that of the pairs of both ends which
the tree looks at; where all pairs take as long as the tree, it is the border at which a tree no longer pays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

import thermokern as tk

K = 10


def normals(n: int, dim: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(20).standard_normal((n, dim), dtype=np.float32))


def seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    torch.set_num_threads(1)
    for dim in (3, 4, 5, 8):
        x = normals(100_000, dim)
        trees = [tk.KDTree(x, method="tree", leafsize=leaf) for leaf in (64, 192)]
        small, large = (seconds(lambda tree=tree: tree.neighbours(K)) for tree in trees)
        print(f"100,000 points, d = {dim}: leaves of 64 {small:.3f} s, of 192 {large:.3f} s")
    for n in (3000, 10_000, 30_000):
        for dim in range(8, 14):
            x = normals(n, dim)
            tree, pairs = tk.KDTree(x, method="tree"), tk.KDTree(x, method="brute")
            looked_at = int(tree._search(None, K, False, False, math.inf, 1)[2])
            share = looked_at / (n * tree._set.points[:, 0].numel())
            ratio = seconds(lambda pairs=pairs: pairs.neighbours(K)) / seconds(lambda tree=tree: tree.neighbours(K))
            print(f"{n:,} points, d = {dim}: share {share:.2f}, all pairs take {ratio:.2f} x the tree's time")


if __name__ == "__main__":
    main()
