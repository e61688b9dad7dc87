"""Neighbours where numbers, indices, ranks and threads leave the range in which the kernels serve."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_exact

from thermokern import KDTree
from thermokern.ops import neighbours_reference

F64 = torch.float64


def normal(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


X = normal(50, 3)


@pytest.mark.parametrize("far", [1.0, 1e18, -1e30])
@pytest.mark.parametrize("p", [2.0, math.inf])
def test_a_wide_range_of_float32_keeps_its_distances(far: float, p: float) -> None:
    """Small differences beside a large coordinate were distances 0, and counted as within a radius of 0."""
    x = torch.cat([1e-20 * normal(40, 2).float(), torch.tensor([[far, 0.0]])])
    y = torch.cat([1e-20 * normal(7, 2, 1).float(), torch.zeros(1, 2)])
    tree, deep = KDTree(x), neighbours_reference(x.double(), 3, p=p)
    distances, indices = tree.neighbours(3, p=p, indices=True)
    assert_exact(indices, deep.indices)
    assert_exact(distances, deep.distances.float())
    found, expected = tree.query(y, 3, p=p), neighbours_reference(x.double(), 3, y.double(), p=p)
    assert_exact(found, (expected.distances.float(), expected.indices))
    assert int((distances == 0).sum()) == 0
    assert_exact(tree.count_within(y, 0.0, p=p), torch.zeros(8, dtype=torch.int64))
    assert_exact(tree.count_within(y, found[0][:, 2], p=p), torch.full((8,), 3))
    assert_exact(tree.count_within(y, found[0][:, 2], p=p, strict=True), torch.full((8,), 2))


def test_a_small_query_among_ordinary_points() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    for size in (1e-25, 1e-38):
        assert_exact(KDTree(x).query(torch.tensor([[size, 0.0]]))[0], torch.tensor([size]))


def test_ranks_by_number_are_those_of_a_query() -> None:
    tree = KDTree(X)
    every = tree.neighbours(5, indices=True)
    assert_exact(tree.neighbours([3]), every[0][:, [2]])
    assert_exact(tree.neighbours([5, 1], indices=True), (every[0][:, [4, 0]], every[1][:, [4, 0]]))


def test_more_threads_than_the_machine_has_are_not_started() -> None:
    assert_exact(KDTree(X).query(X, 2, workers=50_000), KDTree(X).query(X, 2))


@pytest.mark.parametrize("k", [1, 20, 70])  # one register, several, a heap
@pytest.mark.parametrize("p", [2.0, math.inf])
@pytest.mark.parametrize("dim", [1, 3, 5])
def test_copies_of_a_point_cost_what_other_points_do(dim: int, p: float, k: int) -> None:
    """A tree looked at all n² pairs of n copies, since any could have had a lower index. Ties go to the lowest."""
    n = 6_000
    uniform = torch.rand(n, dim, generator=torch.Generator().manual_seed(0))
    mixed = uniform.clone()
    mixed[::2] = 0.5
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    expected = torch.arange(k + 1).expand(n, -1)
    own = torch.arange(n)[:, None]
    expected = expected[expected != own.clamp(max=k)].reshape(n, k)  # the lowest but oneself
    looked_at = {}
    for name, x in {"uniform": uniform, "copies": torch.ones(n, dim), "mixed": mixed[order]}.items():
        tree = KDTree(x, method="tree")
        distances, indices, pairs = tree._search(None, k, True, p == math.inf, math.inf, 1)
        looked_at[name] = int(pairs)
        if name == "copies":
            assert_exact((distances, indices), (torch.zeros(n, k), expected))
            ranks = list(range(1, k + 1))
            queried = tree.query(x[:9], ranks, p=p)
            assert_exact((queried[0], queried[1]), (torch.zeros(9, k), torch.arange(k).expand(9, -1)))
    assert looked_at["copies"] <= 3 * looked_at["uniform"], looked_at
    assert looked_at["mixed"] <= 8 * looked_at["uniform"], looked_at
    some = (8 * mixed[order][:700]).round()  # on a lattice, where every sum is exact
    found, reference = KDTree(some, method="tree").neighbours(k, p=p, indices=True), neighbours_reference(some, k, p=p)
    assert_exact((found[0], found[1]), (reference.distances, reference.indices))


def sets() -> list[torch.Tensor]:
    return [part.clone() for part in (*KDTree(X)._set, *KDTree(X)._set)]


def search(*parts: torch.Tensor, threads: int = 1, k: int = 2) -> object:
    return torch.ops.thermokern.neighbours_search(*parts, False, k, True, False, 1.0, math.inf, threads)


def count(*parts: torch.Tensor, threads: int = 1) -> object:
    return torch.ops.thermokern.neighbours_count(*parts, torch.ones(50, dtype=F64), False, False, 1.0, threads)


@pytest.mark.parametrize("call", [search, count])
def test_low_level_ops_refuse_what_would_leave_memory(call: Callable[..., object]) -> None:
    """An order out of range was a crash, NaN an endless build."""
    call(*sets())
    for which, name in ((1, "order"), (4, "query_order")):
        for wrong in (-1, 50, 2**31 - 1):
            parts = sets()
            parts[which][7] = wrong
            with pytest.raises(ValueError, match=rf"^{name}: expected indices in \[0, 50\)"):
                call(*parts)
    for which, name in ((0, "points"), (2, "bounds"), (3, "query_points"), (5, "query_bounds")):
        parts = sets()
        parts[which].view(-1)[3] = math.nan
        with pytest.raises(ValueError, match=f"^{name}: expected numbers, got NaN"):
            call(*parts)
    for which in (0, 3):
        parts = sets()
        parts[which] = parts[which][:-1]
        with pytest.raises(ValueError, match="points: expected leaves for 50 points"):
            call(*parts)
    for threads in (0, -1, 50_000):
        with pytest.raises(ValueError, match="^threads: expected"):
            call(*sets(), threads=threads)
    with pytest.raises(ValueError, match="^k: expected"):
        search(*sets(), k=10**9)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x", (X * math.nan, 64, True, 1.0, 1)),
        ("x", (X[0], 64, True, 1.0, 1)),
        ("leaf", (X, 0, True, 1.0, 1)),
        ("leaf", (X, 65, True, 1.0, 1)),
        ("leaf", (X, 2**20, True, 1.0, 1)),
        ("scale", (X, 64, True, math.nan, 1)),
        ("threads", (X, 64, True, 1.0, 50_000)),
    ],
)
def test_a_build_refuses_what_would_not_end(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        torch.ops.thermokern.neighbours_build(*arguments)
