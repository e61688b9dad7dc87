"""Neighbours on CUDA against the CPU's: under the emulator always, on a device where there is one.

Where all arithmetic is exact, and against CPU kernels without fused multiply-adds, every bit must be equal; otherwise
distances within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_emulation import emulated, passed_on_the_oldest_instruction_set
from test_neighbours import points
from tolerances import assert_exact
from torch import Tensor

import thermokern as tk
from thermokern import KDTree, _core
from thermokern._info import cuda_absence
from thermokern.ops import registry

pytestmark = pytest.mark.timeout(900)  # the first test that needs the emulated module builds it

F32, F64, INF = torch.float32, torch.float64, math.inf
SIZES = (0, 1, 31, 32, 33, 257, 4099)
DIMS = (1, 2, 3, 7, 16, 64)
ORDERS = {"forward": 0, "reverse": 1, "random": 2}
PLACES = (*ORDERS, *([] if cuda_absence() else ["cuda"]))
METHODS = ("tree", "brute")
BASELINE = _core.instruction_set == "baseline"

Answers = list[Tensor]


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A context in which CPU tensors go to the emulated kernels, in an order of threads."""

    @contextmanager
    def within(order: str) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(registry, "backend", lambda _: (emulated(), 0))
            emulated().set_order(ORDERS[order], 5)
            yield

    return within


@pytest.fixture
def run(emulation: Callable[[str], Any]) -> Callable[..., Answers]:
    """What `ask` makes of tensors in a place, by the kernels under test; on the CPU again."""

    def on(place: str, ask: Callable[..., Answers], *tensors: Tensor) -> Answers:
        if place == "cuda":
            return [answer.cpu() for answer in ask(*(tensor.cuda() for tensor in tensors))]
        with emulation(place):
            return ask(*tensors)

    return on


def asked(method: str, p: float, ks: tuple[int, ...] = (1, 5, 16, 17, 70)) -> Callable[..., Answers]:
    """Own neighbours and those of other points with and without indices, with bounds, and counts within radii."""

    def ask(x: Tensor, y: Tensor, radius: Tensor) -> Answers:
        tree = KDTree(x, method=method)
        answers = []
        for k in ks:
            answers += [*tree.neighbours(k, p=p, indices=True), tree.neighbours(k, p=p)]
            for upper in (INF, 1.5):
                answers += tree.query(y, [*range(1, k + 1)], p=p, distance_upper_bound=upper)
        for strict in (False, True):
            answers.append(tree.count_within(y, radius, p=p, strict=strict))
        return answers

    return ask


def assert_answers(actual: Answers, expected: Answers, exact: bool) -> None:
    """Equal bits; or distances within 8 eps, twice what tests/test_neighbours.py allows sums of 64 squares."""
    for a, b in zip(actual, expected, strict=True):
        if exact:
            assert_exact(a, b)
        elif b.is_floating_point():
            assert_exact(a.isinf(), b.isinf())
            finite = ~b.isinf()
            bound = 8.0 * torch.finfo(b.dtype).eps
            assert bool(((a - b)[finite].abs() <= bound * b[finite]).all())


@pytest.mark.parametrize("d", DIMS)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n: int, d: int, run: Callable[..., Answers]) -> None:
    """Points on a grid, where all is exact and ties are many, and normal ones; float32 and float64, both norms."""
    for i, (kind, dtype, p) in enumerate(
        [("grid", F32, 2.0), ("grid", F64, INF), ("normal", F32, INF), ("normal", F64, 2.0), ("copies", F32, 2.0)]
    ):
        if n == 4099 and (i == 2 or (d > 3 and i > 0)):
            continue
        ks = (1, 5, 16, 17, 70) if n < 4099 else (6,)
        x, y = points(kind, n, d).to(dtype), points(kind, 70, d, 1).to(dtype)
        radius = torch.arange(70).to(dtype).remainder(5) if kind == "grid" else torch.rand(70, dtype=dtype) * d**0.5
        method = METHODS[(i + n + d) % 2]
        ask = asked(method, p, ks)
        place = list(ORDERS)[(i + n) % 3]
        assert_answers(run(place, ask, x, y, radius), ask(x, y, radius), kind == "grid" or BASELINE)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", METHODS)
def test_ties_go_to_the_lower_index(method: str, place: str, run: Callable[..., Answers]) -> None:
    """Few distinct points, so that lists are cut within ties: in registers and in heaps, and for every leaf size."""
    x = torch.randint(0, 3, (300, 2), generator=torch.Generator().manual_seed(1)).float()

    def ask(x: Tensor) -> Answers:
        found = []
        for leaf in (64, 128, 256):
            tree = KDTree(x, method=method, leafsize=leaf)
            found += [answer for k in (3, 16, 40, 64) for answer in tree.neighbours(k, indices=True)]
        return found

    assert_answers(run(place, ask, x), ask(x), True)


@pytest.mark.parametrize("place", PLACES)
def test_radii_that_are_distances(place: str, run: Callable[..., Answers]) -> None:
    """< and ≤ differ at a distance that was found, to the bit."""
    for d, p, method in ((1, 2.0, "tree"), (2, 2.0, "tree"), (3, 2.0, "brute"), (5, INF, "tree"), (20, 2.0, "brute")):
        x = points("normal", 260, d).float()

        def ask(x: Tensor, method: str = method, p: float = p) -> Answers:
            tree = KDTree(x, method=method)
            every = tree.query(x, [*range(1, 261)], p=p)[0]  # (260, 260)
            counts = []
            for column in (0, 100, 259):
                radius = every[:, column].contiguous()
                counts += [(every < radius[:, None]).sum(1), tree.count_within(x, radius, p=p, strict=True)]
                counts += [(every <= radius[:, None]).sum(1), tree.count_within(x, radius, p=p)]
            return counts

        counts = run(place, ask, x)
        for expected, counted in zip(counts[::2], counts[1::2], strict=True):
            assert_exact(counted, expected)


def test_special_radii_and_bounds(run: Callable[..., Answers]) -> None:
    x = points("copies", 200, 2).float()

    def ask(x: Tensor) -> Answers:
        trees = [KDTree(x, method=method) for method in METHODS]
        counts = [
            tree.count_within(x, radius, strict=strict)
            for tree in trees
            for radius in (0.0, -1.0, INF, 1e38)
            for strict in (False, True)
        ]
        bounded = [
            tree.query(x, [1, 2, 3], distance_upper_bound=upper) for tree in trees for upper in (0.0, 1e-30, 1e38)
        ]
        return counts + [answer for pair in bounded for answer in pair]

    assert_answers(run("random", ask, x), ask(x), True)


def test_large_k_and_dimensions(run: Callable[..., Answers]) -> None:
    """Longer lists than there are points, and more axes than come through shared memory at once."""
    for n, d, k in ((90, 2, 150), (130, 33, 20), (70, 100, 3)):
        x = points("grid", n, d)
        for method in METHODS:
            ask = asked(method, 2.0, (k,))
            tensors = x, points("grid", 30, d, 1), torch.full((30,), 4.0, dtype=F64)
            assert_answers(run("reverse", ask, *tensors), ask(*tensors), True)


def test_same_bits_for_methods_orders_and_permutations(run: Callable[..., Answers]) -> None:
    x = points("normal", 500, 3).float()
    shuffle = torch.randperm(500, generator=torch.Generator().manual_seed(3))
    ask = asked("tree", 2.0, (4, 20))
    radius = torch.full((70,), 0.7)
    whole = run("forward", ask, x, x[:70], radius)
    for place in ("reverse", "random"):
        assert_answers(run(place, ask, x, x[:70], radius), whole, True)
    assert_answers(run("forward", asked("brute", 2.0, (4, 20)), x, x[:70], radius), whole, True)
    moved = run("forward", ask, x[shuffle], x[:70], radius)
    assert_exact(moved[0][torch.argsort(shuffle)], whole[0])


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_the_tree_holds_its_points(d: int, emulation: Callable[[str], Any]) -> None:
    """Every point once; each node's box that of its points; boxes of siblings apart along the side that was split."""
    for n, kind, leaf in (
        (1, "normal", 64),
        (64, "normal", 64),
        (65, "copies", 64),
        (1000, "normal", 64),
        (700, "far", 128),
    ):
        x = points(kind, n, d)
        with emulation("random"):
            stored, order, bounds = torch.ops.thermokern.neighbours_build(x, leaf, True, 2.0, 1)
        assert_exact(order.long().sort().values, torch.arange(n))
        flat = stored.transpose(1, 2).reshape(-1, d)
        assert_exact(flat[:n], 2.0 * x[order.long()])
        assert bool(flat[n:].isinf().all())

        def check(
            node: int, first: int, last: int, flat: Tensor = flat[:n], leaf: int = leaf, b: Tensor = bounds
        ) -> int:
            inside = flat[first * leaf : last * leaf]
            assert_exact(b[node], torch.stack([inside.amin(0), inside.amax(0)]))
            if last - first == 1:
                return node + 1
            middle = first + (last - first + 1) // 2
            axis = (b[node, 1] - b[node, 0]).argmax()
            left, right = inside[: (middle - first) * leaf, axis], inside[(middle - first) * leaf :, axis]
            assert left.amax().float() <= right.amin().float()
            return check(check(node + 1, first, middle), middle, last)

        assert check(0, 0, len(stored)) == len(bounds)


def test_a_tree_looks_at_few_pairs(emulation: Callable[[str], Any]) -> None:
    """Otherwise nothing is gained by it, and no result would say so."""
    x = points("uniform", 4099, 2).float()
    with emulation("forward"):
        tree = KDTree(x, method="tree")
        looked = tree._search(None, 3, False, False, INF, 1)[2].item()
        every = KDTree(x, method="brute")._search(None, 3, False, False, INF, 1)[2].item()
    assert every == 4099 * 65 * 64
    assert looked < 0.25 * every
    assert tree.method == "tree"


def test_choice_is_made_by_the_same_model(emulation: Callable[[str], Any]) -> None:
    for x, method in (
        (points("normal", 100, 2), "brute"),
        (points("normal", 900, 2), "tree"),
        (points("normal", 900, 30), "brute"),
    ):
        with emulation("forward"):
            chosen = KDTree(x)
        assert chosen.method == method, chosen.method_reason


def test_estimators_have_the_numbers_of_the_cpu(emulation: Callable[[str], Any]) -> None:
    """Entropy, coverage, divergence and information with their neighbours from CUDA's kernels."""
    x, y = points("normal", 400, 2), points("uniform", 300, 2)

    def ask() -> list[float]:
        entropy = tk.kozachenko_leonenko(x)
        covered = tk.coverage(x, y, stderr=False)
        divergence = tk.knn_divergence(x, x.flip(1) + 0.1, stderr=False)
        shared = [tk.ksg_mutual_information(x[:, 0], x[:, 1] + x[:, 0], variant=variant) for variant in (1, 2)]
        return [
            entropy.value,
            entropy.stderr,
            entropy.bias.value,
            covered.coverage.value,
            covered.recall.value,
            divergence.value,
            *(estimate.value for estimate in shared),
            *(estimate.stderr for estimate in shared),
        ]

    expected = ask()
    with emulation("random"):
        actual = ask()
    for a, b in zip(actual, expected, strict=True):
        assert a == b if BASELINE else math.isclose(a, b, rel_tol=1e-10), (a, b)


def test_same_bits_as_the_oldest_instruction_set() -> None:
    if BASELINE:
        return
    chosen = "sizes or radii or numbers_of_the_cpu"
    last = passed_on_the_oldest_instruction_set(str(Path(__file__)), chosen)
    assert f"{len(SIZES) * len(DIMS) + 2 + len(PLACES)} passed" in last, last


def test_bad_inputs_are_refused() -> None:
    """By the native functions, as on the CPU."""
    x = torch.zeros(6, 2)
    out = torch.empty(1, 2, 64), torch.empty(6, dtype=torch.int32), torch.empty(1, 2, 2)
    for module in (_core, emulated()):
        with pytest.raises(ValueError, match=r"^x: expected .* not contiguous$"):
            module.neighbours_build(torch.zeros(6, 4)[:, ::2], 1.0, *out, 1)
        with pytest.raises(ValueError, match="^points: expected the sizes of x"):
            module.neighbours_build(x[:5], 1.0, *out, 1)
        with pytest.raises(ValueError, match="^bounds: expected a box for each node"):
            module.neighbours_build(x, 1.0, *out[:2], torch.empty(2, 2, 2), 1)
    if cuda_absence():
        with pytest.raises(ValueError, match="on cpu or cuda, got torch.float32 on meta"):
            KDTree(x.to("meta"))
