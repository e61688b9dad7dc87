"""KDTree in place of scipy.spatial.cKDTree, and as a long call: signals, memory."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from thermokern import KDTree

X = np.random.default_rng(3).standard_normal((400, 3))
Y = np.random.default_rng(4).standard_normal((4, 5, 3))


@pytest.mark.parametrize("k", [1, 2, 7, [1], [2, 5], range(1, 4), 401, [400, 401, 500]])
@pytest.mark.parametrize("y", [Y, Y[0], Y[0, 0], Y[:, :0], Y[..., :0, :]], ids=lambda y: str(y.shape))
def test_shapes_and_values_are_those_of_scipy(y: np.ndarray, k: object) -> None:
    """Random points have no ties, so indices agree; distances are compared at 4 units in the last place."""
    for settings in ({}, {"p": math.inf}, {"distance_upper_bound": 0.5}, {"workers": 2}):
        distances, indices = KDTree(X).query(y, k, **settings)
        expected, expected_indices = cKDTree(X).query(y, list(k) if isinstance(k, range) else k, **settings)
        assert np.shape(distances) == np.shape(expected)
        assert np.shape(indices) == np.shape(expected_indices)
        np.testing.assert_array_equal(indices, expected_indices)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(distances), finite)
        np.testing.assert_array_max_ulp(np.asarray(distances)[finite], np.asarray(expected)[finite], 4)


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_counts_are_those_of_scipy(p: float) -> None:
    y, radius = Y.reshape(-1, 3), np.linspace(0.0, 3.0, 20)
    expected = cKDTree(X).query_ball_point(y, radius, p=p, return_length=True)
    np.testing.assert_array_equal(KDTree(X).count_within(y, radius, p=p), expected)


@pytest.mark.parametrize(("method", "dim"), [("tree", 20), ("brute", 20)])
def test_interrupt_ends_a_long_search(method: str, dim: int) -> None:
    code = f"""
import signal, threading, time
import torch, thermokern as tk
signal.signal(signal.SIGINT, signal.default_int_handler)
tree = tk.KDTree(torch.randn(300_000, {dim}), method={method!r})
threading.Timer(0.7, lambda: print("running", flush=True)).start()
try:
    tree.neighbours(10)
    print("finished too early")
except KeyboardInterrupt:
    print("interrupted", time.monotonic(), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "running"
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30.0)
    finally:
        process.kill()
    assert out.startswith("interrupted"), out
    assert float(out.split()[1]) - sent < 2.0


def test_memory_of_a_tree() -> None:
    """What stays beside the points: a copy, 4 bytes a point, a box every 32 points."""
    n, dim = 100_000, 2
    x = torch.randn(n, dim)
    tracemalloc.start()
    tree = KDTree(x, method="tree")
    kept = sum(tensor.numel() * tensor.element_size() for tensor in tree._set)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    given = x.numel() * x.element_size()
    # The builder holds another copy and another order: with the input, 2 · kept + given.
    assert 2 * kept + given + python <= 6 * given
