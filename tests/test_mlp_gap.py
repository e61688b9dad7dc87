"""Differences of a perceptron's scores in the kernel: PyTorch, a closed form, bits, bad inputs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

from thermokern import ops

F32, F64 = torch.float32, torch.float64
ACTIVATIONS = ("silu", "tanh", "relu", "gelu-tanh")


def problem(
    dim: int,
    n: int,
    conditions: int,
    widths: tuple[int, ...] = (16, 24, 16),
    *,
    activation: str = "silu",
    residual: bool = False,
    features: tuple[int, int] = (3, 2),
    key: int = 0,
) -> dict[str, Any]:
    """A perceptron, points about its centre at levels from clean to noise; float64.

    Every second layer sees level and condition, of so many `features`.
    """
    generator = torch.Generator().manual_seed(1000 * dim + 10 * n + conditions + key)

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=F64)

    sizes = [dim, *widths, dim]
    seen = [(rows, sum(features) if layer % 2 == 0 else 0) for layer, rows in enumerate(sizes[1:])]
    v = torch.linspace(1e-4, 1.0 - 1e-4, max(n, 2), dtype=F64)[:n]
    return {
        "from_centre": randn(dim, n),
        "weights": [randn(b, a) / math.sqrt(a) for a, b in itertools.pairwise(sizes)],
        "biases": [0.5 * randn(rows) for rows in sizes[1:]],
        "activation": activation,
        "context": [0.5 * randn(*size) for size in seen],
        "level": randn(features[0], n),
        "condition": randn(conditions, features[1], n),
        "enter": 0.5 + 0.5 * randn(dim, n).tanh(),
        "scale": randn(dim, n),
        "skip": 0.5 * randn(dim, n),
        "centre": randn(dim),
        "mean_scale": (1.0 - v).sqrt(),
        "root": v.sqrt(),
        "residual": residual,
    }


def cast(given: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(each) for each in value]
        return value.to(dtype) if isinstance(value, Tensor) else value

    return {name: one(value) for name, value in given.items()}


def rows_of(given: dict[str, Any], low: int, high: int) -> dict[str, Any]:
    """Points `low` … `high` alone."""
    names = ("from_centre", "level", "condition", "enter", "scale", "skip", "mean_scale", "root")
    return given | {name: given[name][..., low:high] for name in names}


def assert_near_pytorch(given: dict[str, Any], what: str) -> None:
    options = {"reference": 0.7, "seed": 3, "path_offset": 11}
    best = ops.mlp_gap_reference(**given, **options)
    found = ops.mlp_gap(**given, **options)
    n, conditions = given["from_centre"].shape[1], len(given["condition"])
    assert found.shape == (3, max(conditions - 1, 1), n), what
    if not n:
        return
    scale = max(rms(best), 1.0)
    assert rms(found - best) <= 128 * torch.finfo(F64).eps * scale, what
    single = cast(given, F32)
    plain = ops.mlp_gap_reference(**single, **options)
    layers = len(given["weights"])  # each rounds; of one point alone the plain error may be small by chance
    assert_rounding(ops.mlp_gap(**single, **options), plain, best, layers * scale, what)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("conditions", [1, 2, 3, 4, 7, 16])
def test_against_pytorch(activation: str, conditions: int) -> None:
    """Sizes about a register's, plain and residual, noise given or drawn."""
    shapes = {(5,): False, (16, 13, 8): False, (9, 20, 9): True, (8, 3, 8, 5, 8): True}
    for (widths, residual), (n, dim) in zip(shapes.items(), ((0, 1), (1, 3), (47, 2), (150, 13)), strict=True):
        given = problem(dim, n, conditions, widths, activation=activation, residual=residual)
        if residual:
            given["noise"] = ops.normals(n, dim, seed=5, dtype=F64).T.contiguous()
        assert_near_pytorch(given, f"{activation}, {conditions}, {widths}, n = {n}")


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    dim=st.sampled_from([1, 2, 5, 64]),
    n=st.integers(0, 200),
    conditions=st.integers(1, 5),
    blocks=st.integers(0, 3),
    width=st.integers(1, 40),
    features=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    key=st.integers(0, 9),
)
def test_any_shape(
    dim: int, n: int, conditions: int, blocks: int, width: int, features: tuple[int, int], key: int
) -> None:
    """Residual networks of any number of blocks that see any number of features, or none."""
    widths = (width, *([width + key, width] * blocks))
    given = problem(dim, n, conditions, widths, residual=True, features=features, key=key)
    assert_near_pytorch(given, "any shape")


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("conditions", [1, 2, 4])
def test_bits(conditions: int, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    """Threads, chunks and offsets change no bit, nor does the noise that is given instead of drawn."""
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    n, dim, first = 301, 5, 2**32 - 50
    given = cast(problem(dim, n, conditions, residual=True), dtype)
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(ops.mlp_gap(**given, seed=1, path_offset=first))
    assert_exact(found[1], found[0], "threads")
    parts = []
    for low, high in ((0, 1), (1, 50), (50, 180), (180, n)):
        parts.append(ops.mlp_gap(**rows_of(given, low, high), seed=1, path_offset=first + low))
    assert_exact(torch.cat(parts, dim=2), found[0], "chunks")
    noise = ops.normals(n, dim, seed=1, path_offset=first, dtype=dtype).T.contiguous()
    assert_exact(ops.mlp_gap(**given, noise=noise), found[0], "noise given")


def test_equal_conditions_differ_by_nothing() -> None:
    """Exactly: both scores come of the same operations."""
    given = problem(4, 90, 3, residual=True)
    given["condition"] = given["condition"][:1].expand(3, -1, -1)
    assert ops.mlp_gap(**given).abs().max().item() == 0.0


def test_gaussians_by_a_perceptron() -> None:
    """A rectified perceptron is linear where ``a = relu(a) − relu(−a)``: two Gaussians, as their own kernel has them.

    ``√v s = gain (x − m c)`` with gains and centres of each level and condition: the first layer has ± x and ∓ m times
    the centres, the features of the conditions; everything else is one number an axis and point.
    """
    generator = torch.Generator().manual_seed(4)
    dim, n = 5, 300
    x, centres = (torch.randn(dim, n, generator=generator, dtype=F64) for _ in range(2))
    variances = 0.1 + torch.rand(dim, generator=generator, dtype=F64)
    v = torch.linspace(1e-4, 1.0 - 1e-4, n, dtype=F64)
    m, root, eye = (1.0 - v).sqrt(), v.sqrt(), torch.eye(dim, dtype=F64)
    both = torch.cat([eye, -eye])
    gain = -root / (m.square() * variances[:, None] + v)  # (d, n)
    noise = torch.randn(dim, n, generator=generator, dtype=F64)
    given = torch.stack([-m * centres, torch.zeros_like(x)])  # of the condition, and of none, whose centre is zero
    out = ops.mlp_gap(
        x,
        [both, both.T.contiguous()],
        [torch.zeros(2 * dim, dtype=F64), torch.zeros(dim, dtype=F64)],
        "relu",
        [both, both.T[:, :0]],
        x[:0],
        given,
        torch.ones_like(x),
        gain,
        torch.zeros_like(x),
        torch.zeros(dim, dtype=F64),
        m,
        root,
        reference=0.6,
        noise=noise,
    )
    law = (eye, variances, variances, torch.zeros(dim, dtype=F64), m, root)
    known = ops.gaussian_gap(x - centres, x, *law, reference=0.6, noise=noise)
    assert rms(out[:, 0] - known) <= 64 * torch.finfo(F64).eps * rms(known)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from_centre": torch.zeros(65, 5)}, "from_centre: expected 1 to 64 axes, got 65"),
        ({"from_centre": torch.zeros(3, 5, dtype=torch.int64)}, "from_centre"),
        ({"activation": "sine"}, "activation"),
        ({"weights": [torch.zeros(16, 3)]}, "weights: expected at least 2"),
        ({"weights": [torch.zeros(300, 3), torch.zeros(3, 300)]}, "width of 1 to 256, got 300"),
        ({"biases": [torch.zeros(16)]}, "biases: expected one tensor for each of 4 layers"),
        ({"biases": [torch.zeros(17)] * 4}, r"biases\[0\]: expected \(16,\)"),
        ({"context": [torch.zeros(16, 5)]}, "context: expected one tensor for each of 4 layers"),
        ({"context": [torch.zeros(16, 4)] * 4}, r"context\[0\]: expected 5 columns, or none, got 4"),
        ({"level": torch.zeros(3, 4)}, r"level: expected \(features, 5\)"),
        ({"level": torch.zeros(255, 5)}, "level and condition: expected at most 256 features together, got 257"),
        ({"condition": torch.zeros(2, 5)}, r"condition: expected \(conditions, features, 5\)"),
        ({"condition": torch.zeros(17, 2, 5)}, "condition: expected 1 to 16 conditions, got 17"),
        ({"enter": torch.zeros(3, 4)}, r"enter: expected \(3, 5\)"),
        ({"centre": torch.zeros(2)}, r"centre: expected \(3,\)"),
        ({"root": torch.tensor(1.0)}, r"root: expected \(5,\)"),
        ({"noise": torch.zeros(5, 3)}, r"noise: expected \(3, 5\)"),
        ({"reference": 0.0}, "reference: expected a finite number above 0"),
        ({"seed": -1}, "seed"),
        ({"residual": 1}, "residual"),
        ({"scale": torch.zeros(3, 5, requires_grad=True)}, "scale requires a gradient"),
    ],
)
def test_bad_inputs(change: dict[str, Any], message: str) -> None:
    given = {**cast(problem(3, 5, 2), F32), **change}
    with pytest.raises((ValueError, TypeError), match=message):
        ops.mlp_gap(**given)


def test_residual_networks_that_are_none() -> None:
    for widths in ((8, 8), (8, 5, 9)):
        with pytest.raises(ValueError, match="weights: expected an even number of matrices of a residual network"):
            ops.mlp_gap(**problem(3, 5, 2, widths, residual=True))


def test_gradients_are_the_references() -> None:
    given = problem(2, 3, 2, (3, 4, 3), residual=True)
    names = ("from_centre", "level", "condition")
    lists = ("weights", "biases", "context")

    def call(*tensors: Tensor) -> Tensor:
        changed: dict[str, Any] = dict(zip(names, tensors, strict=False))
        rest = iter(tensors[len(names) :])
        changed |= {name: [next(rest) for _ in given[name]] for name in lists}
        return ops.mlp_gap_reference(**{**given, **changed}, seed=2)

    inputs = [*(given[name] for name in names), *(tensor for name in lists for tensor in given[name])]
    assert torch.autograd.gradcheck(call, [tensor.requires_grad_() for tensor in inputs])


@pytest.mark.filterwarnings("ignore")  # torch's own, about its tracing machinery
@pytest.mark.parametrize("drawn", [True, False])
def test_opcheck(drawn: bool) -> None:
    given = problem(3, 9, 3)
    axes = [given[name] for name in ("enter", "scale", "skip", "centre", "mean_scale", "root")]
    noise = None if drawn else torch.zeros(3, 9, dtype=F64)
    lists = [given[name] for name in ("weights", "biases", "context")]
    network = (given["from_centre"], "silu", *lists, given["level"], given["condition"], False)
    torch.library.opcheck(torch.ops.thermokern.mlp_gap.default, (*network, *axes, 1.0, noise, 1, 2))
