"""Neighbour search by the tree and by all pairs, against brute force and against exact numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_exact
from torch import Tensor

from thermokern import KDTree, _core, ops

F32, F64, INF = torch.float32, torch.float64, math.inf
METHODS = ("tree", "brute")
KINDS = ("normal", "uniform", "grid", "clusters", "line", "copies", "far")


def points(kind: str, n: int, d: int, key: int = 0) -> Tensor:
    """(n, d) float64 that float32 holds exactly."""
    g = torch.Generator().manual_seed(7919 * key + 31 * n + d)
    x = torch.randn(n, d, generator=g)
    if kind == "uniform":
        x = torch.rand(n, d, generator=g)
    elif kind == "grid":
        x = torch.randint(0, 5, (n, d), generator=g).float()
    elif kind == "clusters":
        x = 1e-3 * x + 10.0 * torch.randint(0, 4, (n, 1), generator=g)
    elif kind == "line":
        x = torch.randn(n, 1, generator=g).expand(n, d).clone()
    elif kind == "copies":
        x = x[torch.randint(0, max(1, n // 5), (n,), generator=g)] if n else x
    elif kind == "far":
        x = x + 1000.0
    return x.to(F64)


def long(x: Tensor) -> np.ndarray:
    return x.numpy().astype(np.longdouble)


def exact_distances(x: Tensor, y: Tensor, p: float) -> np.ndarray:
    """(m, n) in extended precision."""
    difference = np.abs(long(y)[:, None] - long(x)[None])
    return difference.max(2, initial=0) if p == INF else np.sqrt((difference**2).sum(2))


def ulps(actual: Tensor, exact: np.ndarray) -> float:
    """Largest error in units in the last place of the exact values."""
    rounded = exact.astype(actual.numpy().dtype)
    finite = np.isfinite(exact)
    assert (np.isinf(actual.numpy()) == ~finite).all()
    unit = np.spacing(np.maximum(rounded, np.finfo(rounded.dtype).tiny))[finite].astype(np.longdouble)
    return float((np.abs(long(actual)[finite] - exact[finite]) / unit).max(initial=0.0))


def padded(sorted_rows: np.ndarray, k: int) -> np.ndarray:
    """The first k columns, infinity where there are fewer."""
    m, n = sorted_rows.shape
    return np.concatenate([sorted_rows[:, :k], np.full((m, max(0, k - n)), np.inf, dtype=sorted_rows.dtype)], axis=1)


# ---- distances


@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(0, 200),
    d=st.one_of(st.integers(1, 4), st.integers(1, 64)),
    k=st.one_of(st.integers(1, 20), st.integers(1, 150)),
    p=st.sampled_from([2.0, INF]),
    dtype=st.sampled_from([F32, F64]),
    method=st.sampled_from(METHODS),
    key=st.integers(0, 100),
)
def test_distances_within_ulps(
    kind: str, n: int, d: int, k: int, p: float, dtype: torch.dtype, method: str, key: int
) -> None:
    x, y = points(kind, n, d, key), points(kind, 20, d, key + 1)
    tree = KDTree(x.to(dtype), method=method)
    own = exact_distances(x, x, p)
    own[np.arange(n), np.arange(n)] = np.inf
    bound = 2.0 + d / 32.0
    exact = padded(np.sort(own, axis=1), k)
    assert ulps(tree.neighbours(k, p=p), exact) <= bound
    got, index = tree.query(y.to(dtype), [*range(1, k + 1)], p=p)
    cross = exact_distances(x, y, p)
    assert ulps(got, padded(np.sort(cross, axis=1), k)) <= bound
    found = index[:, : min(k, n)].numpy()
    assert ulps(got[:, : min(k, n)], np.take_along_axis(cross, found, axis=1)) <= bound  # of the points it names
    assert all(len(set(row)) == len(row) for row in found.tolist())
    assert (index[:, n:] == n).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 8, 9, 17, 33])
@pytest.mark.parametrize("p", [2.0, INF])
def test_integers_are_exact(d: int, p: float, dtype: torch.dtype) -> None:
    """Distances, indices under ties, bounds and counts equal the reference's to the bit."""
    for n in (0, 1, 7, 257):
        x, y = points("grid", n, d).to(dtype), points("grid", 70, d, 1).to(dtype)
        radius = torch.arange(70).to(dtype).remainder(5)
        for method in METHODS:
            tree = KDTree(x, method=method)
            for k in (1, 17, 70):
                expected = ops.neighbours_reference(x, k, p=p)
                assert_exact(tuple(tree.neighbours(k, p=p, indices=True)), tuple(expected))
                assert_exact(tree.neighbours(k, p=p), expected.distances)
                expected = ops.neighbours_reference(x, k, y, p=p, distance_upper_bound=2.0)
                found = tree.query(y, [*range(1, k + 1)], p=p, distance_upper_bound=2.0)
                assert_exact(found, tuple(expected))
            for strict in (False, True):
                expected = ops.count_within_reference(x, y, radius, p=p, strict=strict)
                assert_exact(tree.count_within(y, radius, p=p, strict=strict), expected)


def fused(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """a² + s of float32 as the kernels round it: once where the machine fuses, else twice."""
    if _core.instruction_set == "baseline":
        return a * a + s
    return (a.astype(np.longdouble) ** 2 + s.astype(np.longdouble)).astype(np.float32)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8, 9, 16, 20, 50])
def test_same_arithmetic_same_bits(d: int) -> None:
    """Brute force in NumPy with the sums in the order that is documented."""
    x = points("normal", 257, d).float()
    total = np.zeros((257, 257), dtype=np.float32)
    e = x.numpy()[:, None] - x.numpy()[None]
    for first in range(0, d, 8):
        part = np.zeros_like(total)
        for axis in range(first, min(first + 8, d)):
            part = fused(e[:, :, axis], part)
        total = total + part
    distances = np.sqrt(total)
    distances[np.arange(257), np.arange(257)] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :20]
    for method in METHODS:
        found, index = KDTree(x, method=method).neighbours(20, indices=True)
        assert_exact(found, torch.from_numpy(np.take_along_axis(distances, order, axis=1)))
        assert_exact(index, torch.from_numpy(order))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_sizes_of_coordinates_do_not_matter(scale: float, dtype: torch.dtype) -> None:
    """Squares of 1e-30 and 1e30 are outside of float32."""
    x = (scale * points("normal", 200, 3)).to(dtype)
    exact = np.sort(exact_distances(x.to(F64), x.to(F64), 2.0), axis=1)[:, 1:6]
    assert ulps(KDTree(x).neighbours(5), exact) <= 2.1
    factor = 2.0**-20
    assert_exact(KDTree(x * factor).neighbours(5), KDTree(x).neighbours(5) * factor)


# ---- the same bits


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", ["normal", "grid", "line", "copies"])
@pytest.mark.parametrize("d", [1, 2, 3, 20])
def test_same_bits_for_methods_threads_leaves_and_permutations(d: int, kind: str, dtype: torch.dtype) -> None:
    n = 700
    x = points(kind, n, d).to(dtype)
    shuffle = torch.randperm(n, generator=torch.Generator().manual_seed(d))
    place = torch.argsort(shuffle)
    for p, k in ((2.0, 10), (INF, 3), (2.0, 90)):
        torch.set_num_threads(1)
        whole = KDTree(x, method="tree")
        distances, indices = whole.neighbours(k, p=p, indices=True)
        radius = distances[:, -1]
        counts = whole.count_within(x, radius, p=p)
        assert (counts >= k + 1).all()  # a distance found is a radius that holds it
        assert (whole.count_within(x, radius, p=p, strict=True) <= k + (kind == "copies") * n).all()
        for method, leaf, threads in (("tree", 256, 2), ("brute", None, 2), ("brute", None, 1), ("auto", None, 2)):
            torch.set_num_threads(threads)
            other = KDTree(x, method=method, leafsize=leaf)
            assert_exact(other.neighbours(k, p=p), distances)
            assert_exact(other.neighbours(k, p=p, indices=True)[1], indices)
            assert_exact(other.count_within(x, radius, p=p), counts)
            moved = KDTree(x[shuffle], method=method, leafsize=leaf)
            assert_exact(moved.neighbours(k, p=p)[place], distances)


def test_workers_do_not_matter() -> None:
    x, y = points("normal", 3000, 3), points("normal", 1000, 3, 1)
    torch.set_num_threads(2)
    one, two, every = (KDTree(x).query(y, 4, workers=workers) for workers in (1, 2, -1))
    assert_exact(two, one)
    assert_exact(every, one)


# ---- counts


@given(kind=st.sampled_from(KINDS), n=st.integers(0, 300), d=st.integers(1, 12), key=st.integers(0, 100))
def test_counts_compare_distances(kind: str, n: int, d: int, key: int) -> None:
    """Radii that are distances of the set, to the bit, so that < and ≤ differ."""
    x, y = points(kind, n, d, key).float(), points(kind, 30, d, key).float()
    for p, method in ((2.0, "tree"), (INF, "tree"), (2.0, "brute")):
        tree = KDTree(x, method=method)
        every = tree.query(y, [*range(1, n + 2)], p=p)[0]  # (30, n + 1), infinity last
        for radius in (every[:, n // 2], every[:, 0], torch.nextafter(every[:, 0], torch.tensor(INF)), every[:, -1]):
            below, within = (every < radius[:, None]).sum(1), (every <= radius[:, None])[:, :n].sum(1)
            assert_exact(tree.count_within(y, radius, p=p, strict=True), below)
            assert_exact(tree.count_within(y, radius, p=p), within)


@pytest.mark.parametrize("method", METHODS)
def test_counts_of_special_radii(method: str) -> None:
    x = points("copies", 500, 2).float()
    tree = KDTree(x, method=method)
    same = (x[:, None] == x[None]).all(2).sum(1)
    assert_exact(tree.count_within(x, 0.0), same)
    assert_exact(tree.count_within(x, 0.0, strict=True), torch.zeros(500, dtype=torch.int64))
    assert_exact(tree.count_within(x, -1.0), torch.zeros(500, dtype=torch.int64))
    assert_exact(tree.count_within(x, INF), torch.full((500,), 500))
    assert_exact(tree.count_within(x, 1e38), torch.full((500,), 500))


# ---- the choice


def test_choice_is_reported_and_can_be_forced() -> None:
    for x, method in (
        (points("normal", 100, 2), "brute"),
        (points("normal", 3000, 2), "tree"),
        (points("normal", 3000, 30), "brute"),
        (points("line", 3000, 30), "tree"),  # many axes, one dimension
    ):
        chosen = KDTree(x)
        assert chosen.method == method, chosen.method_reason
        assert re.search(r"\d", chosen.method_reason)
        for forced in METHODS:
            assert (KDTree(x, method=forced).method, KDTree(x, method=forced).method_reason) == (forced, "asked for")


# ---- input


def test_input_may_be_strided_or_an_array() -> None:
    x, y = points("normal", 300, 3), points("normal", 20, 3, 1)
    expected, found = KDTree(x).neighbours(3, indices=True), KDTree(x).query(y, 3)
    wide = torch.full((600, 7), math.nan, dtype=F64)
    wide[::2, 1:4] = x
    assert_exact(KDTree(wide[::2, 1:4]).neighbours(3, indices=True), expected)
    assert_exact(KDTree(x).query(y.T.contiguous().T, 3), found)
    arrays = KDTree(x.numpy()).neighbours(3, indices=True)
    assert all(isinstance(array, np.ndarray) for array in arrays)
    assert_exact(tuple(map(torch.from_numpy, arrays)), expected)
    arrays = KDTree(x.numpy()).query(np.asfortranarray(y.numpy()), 3)
    assert_exact(tuple(map(torch.from_numpy, arrays)), found)


X = points("normal", 50, 3)
REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("x", lambda: KDTree(X * 1j)),
    ("x", lambda: KDTree([["a", "b"]])),
    ("x", lambda: KDTree(np.ma.masked_less(X.numpy(), 0.0))),
    ("x", lambda: KDTree(X[0])),
    ("x", lambda: KDTree(X[:, :0])),
    ("x", lambda: KDTree(X * math.nan)),
    ("x", lambda: KDTree(X / 0.0)),
    ("method", lambda: KDTree(X, method="ball")),
    ("leafsize", lambda: KDTree(X, leafsize=0)),
    ("x", lambda: KDTree(X).query(X[:, :2])),
    ("x", lambda: KDTree(X).query(X * math.nan)),
    ("x", lambda: KDTree(X).query(1e200 * X)),
    ("eps", lambda: KDTree(X).query(X, 1, -1.0)),
    ("r", lambda: KDTree(X).query_ball_point(X, [1.0, 2.0])),
    ("r", lambda: KDTree(X).count_neighbors(KDTree(X), [2.0, 1.0], cumulative=False)),
    ("other", lambda: KDTree(X).count_neighbors(X, 1.0)),
    ("weights", lambda: KDTree(X).count_neighbors(KDTree(X), 1.0, 2.0, X)),
    ("output_type", lambda: KDTree(X).query_pairs(1.0, output_type="list")),
    ("k", lambda: KDTree(X).neighbours(10**9)),
    ("k", lambda: KDTree(X).query(X, [10**9])),
    ("y", lambda: KDTree(X).count_within(X[0], 1.0)),
    ("k", lambda: KDTree(X).query(X, 0)),
    ("k", lambda: KDTree(X).query(X, [])),
    ("k", lambda: KDTree(X).query(X, [0, 1])),
    ("k", lambda: KDTree(X).query(X, 1.5)),
    ("k", lambda: KDTree(X).neighbours(0)),
    ("p", lambda: KDTree(X).query(X, p=0.9)),
    ("p", lambda: KDTree(X).neighbours(1, p=math.nan)),
    ("p", lambda: KDTree(X).count_within(X, 1.0, p=0.5)),
    ("distance_upper_bound", lambda: KDTree(X).query(X, distance_upper_bound=-1.0)),
    ("distance_upper_bound", lambda: KDTree(X).query(X, distance_upper_bound=math.nan)),
    ("workers", lambda: KDTree(X).query(X, workers=0)),
    ("radius", lambda: KDTree(X).count_within(X, torch.ones(3))),
    ("radius", lambda: KDTree(X).count_within(X, math.nan)),
]


@pytest.mark.parametrize(("name", "call"), [pytest.param(*item, id=f"{i}-{item[0]}") for i, item in enumerate(REFUSED)])
def test_bad_inputs_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{name}: expected"):
        call()


def test_wanted_gradients_are_refused() -> None:
    wanting = X.clone().requires_grad_(True)
    for call in (lambda: KDTree(wanting), lambda: KDTree(X).query(wanting)):
        with pytest.raises(ValueError, match="requires a gradient"):
            call()
