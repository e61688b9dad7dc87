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


TREES = [KDTree, cKDTree]
MGRID = np.mgrid[0:5, 2:8].reshape(2, -1).T  # integers


@pytest.mark.parametrize("tree", TREES)
def test_the_examples_of_query(tree: type) -> None:
    """As SciPy's documentation shows them."""
    grid, y = tree(MGRID), [[0, 0], [2.2, 2.9]]
    for k, distances, indices in (
        (1, [2.0, 0.2236068], [0, 13]),
        ([1], [[2.0], [0.2236068]], [[0], [13]]),
        ([2], [[2.23606798], [0.80622577]], [[6], [19]]),
        (2, [[2.0, 2.23606798], [0.2236068, 0.80622577]], [[0, 6], [13, 19]]),
        ([1, 2], [[2.0, 2.23606798], [0.2236068, 0.80622577]], [[0, 6], [13, 19]]),
    ):
        found = grid.query(y, k=k)
        np.testing.assert_array_equal(found[1], indices)
        np.testing.assert_array_equal(np.round(found[0], 8), distances)


@pytest.mark.parametrize("tree", TREES)
def test_the_examples_of_balls_and_pairs(tree: type) -> None:
    points = np.mgrid[0:5, 0:5].reshape(2, -1).T
    assert sorted(tree(points).query_ball_point([2, 0], 1)) == [5, 10, 11, 15]
    assert [sorted(near) for near in tree(points).query_ball_point(points[:2], 1)] == [[0, 1, 5], [0, 1, 2, 6]]
    few = np.random.default_rng(107).random((20, 2))
    pairs = tree(few).query_pairs(r=0.2)
    assert pairs == {(i, j) for i in range(20) for j in range(i + 1, 20) if np.hypot(*(few[i] - few[j])) <= 0.2}
    one, two = tree(few[:5]), tree(few[5:])
    assert one.count_neighbors(two, 0.2) == sum(map(len, two.query_ball_point(few[:5], 0.2)))
    assert isinstance(one.count_neighbors(two, 0.2), int)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0, math.inf])
def test_every_argument_by_position_and_by_name(p: float) -> None:
    own, theirs, y = KDTree(X, 16), cKDTree(X, 16), Y[0]
    for found, expected in (
        (own.query(y, 3, 0.0, p, 0.9, 1), theirs.query(y, 3, 0.0, p, 0.9, 1)),
        (
            own.query(x=y, k=[2], eps=0.0, p=p, distance_upper_bound=0.9, workers=-1),
            theirs.query(x=y, k=[2], eps=0.0, p=p, distance_upper_bound=0.9, workers=-1),
        ),
    ):
        np.testing.assert_array_equal(found[1], expected[1])
        finite = np.isfinite(expected[0])
        np.testing.assert_array_max_ulp(found[0][finite], expected[0][finite], 8)
    for arguments, names in (((y, 0.8, p, 0.0, 1, True), {}), ((), {"x": Y, "r": 0.8, "p": p, "return_sorted": True})):
        balls, expected = own.query_ball_point(*arguments, **names), theirs.query_ball_point(*arguments, **names)
        assert balls.shape == expected.shape
        assert balls.tolist() == expected.tolist()
    radii = np.linspace(0.1, 1.0, 5)
    lengths = own.query_ball_point(y, radii, p, return_length=True)
    np.testing.assert_array_equal(lengths, theirs.query_ball_point(y, radii, p, return_length=True))
    assert own.query_pairs(0.3, p, 0.0, "set") == theirs.query_pairs(0.3, p, 0.0, "set")
    array = theirs.query_pairs(0.3, p, output_type="ndarray")
    np.testing.assert_array_equal(own.query_pairs(0.3, p, output_type="ndarray"), array[np.lexsort(array.T[::-1])])
    other, others = KDTree(Y.reshape(-1, 3)), cKDTree(Y.reshape(-1, 3))
    for cumulative in (True, False):
        found = own.count_neighbors(other, radii, p, None, cumulative)
        np.testing.assert_array_equal(found, theirs.count_neighbors(others, radii, p, None, cumulative))


def test_attributes_are_those_of_scipy() -> None:
    own, theirs = KDTree(X, leafsize=64), cKDTree(X, leafsize=64)
    for name in ("n", "m", "leafsize"):
        assert getattr(own, name) == getattr(theirs, name)
    for name in ("data", "mins", "maxes"):
        np.testing.assert_array_equal(getattr(own, name), getattr(theirs, name))
    with pytest.warns(DeprecationWarning, match="leafsize"):
        assert KDTree(X, leaf_size=65).leafsize == 128
    with pytest.warns(DeprecationWarning, match="x"):
        np.testing.assert_array_equal(own.query(y=X)[1], np.arange(len(X)))


def test_other_numbers_are_taken() -> None:
    """Integers, half, long doubles, other byte orders, backwards and read-only; float64 queries of float32 points."""
    expected = KDTree(X).query(Y, 2)
    frozen = X.copy()
    frozen.setflags(write=False)
    for x in (X.astype(">f8"), X.astype(np.longdouble), X[::-1][::-1], np.ma.array(X), frozen, X.tolist()):
        for found, wanted in zip(KDTree(x).query(Y.astype(">f8"), 2), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(KDTree(MGRID).query(MGRID[::-1])[1], np.arange(30)[::-1])
    single = X.astype(np.float32)
    for found, wanted in zip(KDTree(single).query(Y, 2), KDTree(single.astype(float)).query(Y, 2), strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(KDTree(X).query(single)[1], KDTree(X).query(single.astype(float))[1])
    half = KDTree(X.astype(np.float16)).neighbours(1)
    np.testing.assert_array_equal(half, KDTree(X.astype(np.float16).astype(np.float32)).neighbours(1))


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
