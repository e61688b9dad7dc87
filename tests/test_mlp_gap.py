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
    key: int = 0,
) -> dict[str, Any]:
    """A perceptron, points about its centre at levels from clean to noise; every second bias a point's own; float64."""
    generator = torch.Generator().manual_seed(1000 * dim + 10 * n + conditions + key)

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=F64)

    sizes = [dim, *widths, dim]
    own = [(conditions, rows, n) if layer % 2 == 0 else (rows,) for layer, rows in enumerate(sizes[1:])]
    v = torch.linspace(1e-4, 1.0 - 1e-4, max(n, 2), dtype=F64)[:n]
    return {
        "from_centre": randn(dim, n),
        "weights": [randn(b, a) / math.sqrt(a) for a, b in itertools.pairwise(sizes)],
        "biases": [0.5 * randn(*size) for size in own],
        "activation": activation,
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
    part = {**given, "biases": [bias[..., low:high] if bias.dim() == 3 else bias for bias in given["biases"]]}
    names = ("from_centre", "enter", "scale", "skip", "mean_scale", "root")
    return part | {name: given[name][..., low:high] for name in names}


def assert_near_pytorch(given: dict[str, Any], what: str) -> None:
    options = {"reference": 0.7, "seed": 3, "path_offset": 11}
    best = ops.mlp_gap_reference(**given, **options)
    found = ops.mlp_gap(**given, **options)
    n, conditions = given["from_centre"].shape[1], len(given["biases"][0])
    assert found.shape == (3, max(conditions - 1, 1), n), what
    if not n:
        return
    scale = max(rms(best), 1.0)
    assert rms(found - best) <= 128 * torch.finfo(F64).eps * scale, what
    single = cast(given, F32)
    plain = ops.mlp_gap_reference(**single, **options)
    assert_rounding(ops.mlp_gap(**single, **options), plain, best, scale, what)


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
    key=st.integers(0, 9),
)
def test_any_shape(dim: int, n: int, conditions: int, blocks: int, width: int, key: int) -> None:
    """Residual networks of any number of blocks."""
    widths = (width, *([width + key, width] * blocks))
    assert_near_pytorch(problem(dim, n, conditions, widths, residual=True, key=key), "any shape")


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
    given["biases"] = [bias[:1].expand_as(bias) if bias.dim() == 3 else bias for bias in given["biases"]]
    assert ops.mlp_gap(**given).abs().max().item() == 0.0


def test_gaussians_by_a_perceptron() -> None:
    """A rectified perceptron is linear where ``a = relu(a) − relu(−a)``: two Gaussians, as their own kernel has them.

    ``√v s = gain (x − m c)`` with gains and centres of each level and condition: the first layer has ± x beside its
    biases, the centres; everything else is one number an axis and point.
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
    own = torch.stack([-m * centres, torch.zeros_like(x)])  # of the condition, and of none, whose centre is zero
    out = ops.mlp_gap(
        x,
        [both, both.T.contiguous()],
        [torch.cat([own, -own], 1), torch.zeros(dim, dtype=F64)],
        "relu",
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
        ({"biases": [torch.zeros(2, 16, 5)]}, "biases: expected one tensor for each of 4 layers"),
        ({"biases": [torch.zeros(16)] * 4}, r"biases\[0\]: expected \(conditions, 16, 5\)"),
        ({"biases": [torch.zeros(17, 16, 5)] * 4}, r"biases\[0\]: expected 1 to 16 conditions, got 17"),
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
    first, *others = (bias.requires_grad_() for bias in given["biases"])

    def call(x: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
        weights, biases = [*rest[:4]], [first, *others]
        return ops.mlp_gap_reference(**{**given, "from_centre": x, "weights": weights, "biases": biases}, seed=2)

    weights = [weight.requires_grad_() for weight in given["weights"]]
    assert torch.autograd.gradcheck(call, [given["from_centre"].requires_grad_(), first, *weights])


@pytest.mark.filterwarnings("ignore")  # torch's own, about its tracing machinery
@pytest.mark.parametrize("drawn", [True, False])
def test_opcheck(drawn: bool) -> None:
    given = problem(3, 9, 3)
    shaped = [bias if bias.dim() == 3 else bias[None, :, None] for bias in given["biases"]]
    axes = [given[name] for name in ("enter", "scale", "skip", "centre", "mean_scale", "root")]
    noise = None if drawn else torch.zeros(3, 9, dtype=F64)
    network = (given["from_centre"], "silu", given["weights"], shaped, False)
    torch.library.opcheck(torch.ops.thermokern.mlp_gap.default, (*network, *axes, 1.0, noise, 1, 2))
