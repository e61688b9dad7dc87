"""The CUDA step of a stream and Hutchinson's contraction against the CPU's: emulated, and on a device."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from test_cuda_emulated import DEVICE, DTYPES, EXACT, ORDERS, SIZES, Backend
from test_ops import Case, generator
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

from thermokern import ops
from thermokern.processes import VP, step_table

pytestmark = pytest.mark.timeout(900)  # the first test that needs the emulated module builds it

F64 = torch.float64
DIMS = (1, 2, 3, 7, 16, 64)
LONG = (300, 1030, 4096, 4100, 9001)  # groups of several warps, and rows of more chunks than one
CASES = list(itertools.product(ops.SCHEMES, ops.DIRECTIONS))
BACKENDS = [*ORDERS, *([DEVICE] if DEVICE else [])]
INSIDE = ("x_next", "noise")  # what holds no sum along a row


def numbers(n: int, dim: int, *key: object) -> Tensor:
    """(n, dim) float64, forty rows again and again, so that a row does not depend on n."""
    rows = torch.randn(40, dim, dtype=F64, generator=generator("numbers", dim, *key))
    return rows[torch.arange(n) % 40]


def step_case(dim: int, scheme: str, direction: str, node: int = 3, given: bool = False) -> Case:
    """A node whose noise is drawn, or given; in both cases as the path's own counters say."""
    table = step_table(VP(), VP().grid(6), scheme, direction)

    def call(step: object, x: Tensor, offset: int) -> ops.StepSums:
        others = [numbers(len(x), dim, name).to(x) for name in ("model", "reference", "carried", "previous")]
        kept: dict[str, object] = {"divergence": others[0].sum(1), "seed": 2**40 + 3, "path_offset": offset}
        settings = {"seed": 2**40 + 3, "path_offset": offset, "dtype": x.dtype, "device": x.device}
        if direction == "reverse" and node:
            kept["carried"] = others[2]
        elif given and node:
            kept["carried"] = ops.normals(*x.shape, first=(node - 1) * dim, **settings)
        if given:
            purpose = "reverse" if direction == "reverse" else "noise"
            kept["noise"] = ops.normals(*x.shape, first=node * dim, purpose=purpose, **settings)
        if scheme == "sampler" and node:
            kept["previous"] = others[3]
        return step(x, *others[:2], table, node, **kept)

    return Case(
        f"trajectory_step-{dim}-{scheme}-{direction}-{node}",
        dim,
        lambda x, offset: call(ops.trajectory_step, x, offset),
        lambda x, offset: call(ops.trajectory_step_reference, x, offset),
    )


def block_case(dim: int, scheme: str, first: int) -> Case:
    """Three nodes of a table's, all noise given; each row of x is a path, which stands elsewhere at every node."""
    table = step_table(VP(), VP().grid(6), scheme, "forward")

    def call(block: object, x: Tensor, _: int) -> ops.BlockSums:
        points, model, reference = (torch.stack([x * k, x + k, x - k]) for k in (1.0, 0.5, 0.25))
        noise = torch.stack([numbers(len(x), dim, "noise", k).to(x) for k in range(4)])
        previous = numbers(len(x), dim, "previous").to(x) if scheme == "sampler" and first else None
        divergence = points.sum(2)
        return block(points, model, reference, table, first, noise=noise, divergence=divergence, previous=previous)

    return Case(
        f"trajectory_block-{dim}-{scheme}-{first}",
        dim,
        lambda x, offset: call(ops.trajectory_block, x, offset),
        lambda x, offset: call(ops.trajectory_block_reference, x, offset),
    )


def probe_case(dim: int, kind: str, first: int = 0) -> Case:
    settings = {"kind": kind, "seed": 9, "first": first}
    return Case(
        f"hutchinson-{dim}-{kind}",
        dim,
        lambda x, offset: (ops.hutchinson(x, path_offset=offset, **settings),),
        lambda x, offset: (ops.hutchinson_reference(x, path_offset=offset, **settings),),
    )


def assert_agrees(actual: tuple[Tensor, ...], case: Case, x: Tensor, offset: int) -> None:
    """Sums along a row within rounding, since the CPU adds in another order.

    All else to the bit, where the CPU's multiply-adds are not fused.
    """
    expected = case.fast(x, offset)
    exact = case.fast(x.double(), offset)
    for name, a, b, c in zip(getattr(expected, "_fields", ("out",)), actual, expected, exact, strict=True):
        what = f"{case.name}.{name}, n = {len(x)}"
        if EXACT and name in INSIDE:
            assert_exact(a, b, what)
        elif x.dtype == torch.float32:
            # A row's sum is of numbers of about one size, and one row is no sample for a yardstick.
            assert_rounding(a, b, c, max(rms(c), math.sqrt(case.dim)) if c.numel() else None, what)
        elif b.numel():
            assert a.shape == b.shape, what
            assert rms(a - b) <= 64 * torch.finfo(F64).eps * max(rms(b), math.sqrt(case.dim)), what


def cases_of(dim: int) -> list[Case]:
    steps = [step_case(dim, *schemes, node) for schemes in CASES for node in (0, 3)]
    blocks = [block_case(dim, scheme, first) for scheme in ops.SCHEMES for first in (0, 4)]
    return steps + blocks + [probe_case(dim, kind, 5 * dim) for kind in ops.PROBES]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size by every dimension in both precisions, each case in one order of threads; of many rows every third."""
    for i, case in enumerate(cases_of(dim)):
        if n > 1000 and i % 3:
            continue
        run = Backend(monkeypatch, list(ORDERS)[(n + dim + i) % 3])
        x = numbers(n, dim, case.name).to(DTYPES[i % 2] if n > 1000 else torch.float32)
        assert_agrees(run(case, x, 2**33 - 5), case, x, 2**33 - 5)
        if n <= 1000:
            assert_agrees(run(case, x.double(), 2**33 - 5), case, x.double(), 2**33 - 5)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dim", LONG)
def test_long_rows(dim: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Backend(monkeypatch, name)
    for case in (step_case(dim, "sampler", "reverse"), step_case(dim, "stratonovich", "forward"), *cases_of(dim)[-3:]):
        for dtype in DTYPES:
            x = numbers(3, dim, case.name).to(dtype)
            assert_agrees(run(case, x, 7), case, x, 7)


@pytest.mark.parametrize(("scheme", "direction"), CASES)
def test_drawn_noise_is_that_of_normals(scheme: str, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, wherever a row begins within a block of random numbers."""
    run = Backend(monkeypatch, "random")
    for dim, dtype in itertools.product((1, 2, 3, 7, 16, 70, 4099), DTYPES):
        for node in (1, 2, 3):
            x = numbers(5, dim).to(dtype)
            drawn = run(step_case(dim, scheme, direction, node), x, 2**32 - 2)
            assert_exact(run(step_case(dim, scheme, direction, node, given=True), x, 2**32 - 2), drawn, f"{dim}")


@pytest.mark.parametrize("dim", [4, 16, 301, 4100])
def test_a_row_has_its_bits_in_any_company_and_on_any_address(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Backend(monkeypatch, "forward")
    for case in (step_case(dim, "sampler", "reverse"), step_case(dim, "ito", "forward"), probe_case(dim, "sphere")):
        for dtype in DTYPES:
            x = numbers(37, dim).to(dtype)
            whole = forward(case, x, 1000)
            for order in ("reverse", "random"):
                assert_exact(Backend(monkeypatch, order)(case, x, 1000), whole)
            storage = torch.empty(1 + x.numel(), dtype=dtype)
            moved = storage[1:].view_as(x).copy_(x)  # contiguous, and not on sixteen bytes
            assert moved.data_ptr() % 16 != 0
            assert_exact(forward(case, moved, 1000), whole)
            assert_exact(forward(case, x[:5], 1000), tuple(rows[:5] for rows in whole))
    probes = probe_case(dim, "gaussian")
    x = numbers(80, dim)
    assert_exact(forward(probes, x[40:47], 40), tuple(rows[40:47] for rows in forward(probes, x, 0)))


def test_rows_without_components(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Backend(monkeypatch, "forward")
    empty = torch.zeros(5, 0)
    (total,) = run(probe_case(0, "gaussian"), empty, 0)
    assert_exact(total, torch.zeros(5))


@pytest.mark.parametrize("direction", ops.DIRECTIONS)
def test_derivatives_go_through_the_kernel(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward pass by the kernel, backward in PyTorch: gradients are those of the reference."""
    case, x = step_case(7, "sampler", direction), numbers(33, 7)
    weights = [numbers(33, 1, "value")[:, 0], numbers(33, 1, "mismatch")[:, 0], numbers(33, 7, "next")]
    grads = []
    for call in (lambda leaf: Backend(monkeypatch, "random")(case, leaf, 3), lambda leaf: case.reference(leaf, 3)):
        leaf = x.clone().requires_grad_()
        loss = sum((weight * part).sum() for weight, part in zip(weights, call(leaf), strict=False))
        grads.append(torch.autograd.grad(loss, leaf)[0])
    assert rms(grads[1]) > 0.1
    assert rms(grads[0] - grads[1]) <= 1e-13 * rms(grads[1])
