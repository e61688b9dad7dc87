"""The two ops with gradients: agreement with their references, repeatability, and every way of differentiating them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tolerances import assert_exact, assert_rounding, assert_z, rms
from torch import Tensor
from torch.autograd import forward_ad

import thermokern as tk
from thermokern import ops
from thermokern.ops.routes import Route, route
from thermokern.processes import step_table

F64 = torch.float64
PROCESS = tk.VP()
CASES = list(itertools.product(ops.SCHEMES, ops.DIRECTIONS))


def table(scheme: str, direction: str) -> ops.StepTable:
    return step_table(PROCESS, PROCESS.grid(6), scheme, direction)


def points(n: int, dim: int, dtype: torch.dtype = F64, count: int = 6) -> list[Tensor]:
    g = torch.Generator().manual_seed(100 * n + dim)
    return [torch.randn(n, dim, dtype=F64, generator=g).to(dtype) for _ in range(count)]


def options(given: list[Tensor], scheme: str, direction: str, node: int) -> dict[str, object]:
    """What the node before leaves to this one."""
    kept: dict[str, object] = {"divergence": given[5][:, 0], "seed": 3, "path_offset": 7}
    if direction == "reverse" and node:
        kept["carried"] = given[3]
    if scheme == "sampler" and node:
        kept["previous"] = given[4]
    return kept


@pytest.mark.parametrize(("scheme", "direction"), CASES)
@pytest.mark.parametrize("dim", [1, 3, 64, 515])
def test_step_agrees_with_its_reference(scheme: str, direction: str, dim: int, device: str) -> None:
    """Each node of the table, first and last included; 515 numbers are more than a tile and no whole registers."""
    steps = table(scheme, direction)
    for node in (0, 3, 6):
        exact = points(21, dim)
        for dtype in (F64, torch.float32):
            given = [tensor.to(dtype) for tensor in exact]
            there = [tensor.to(device) for tensor in given]
            got = ops.trajectory_step(*there[:3], steps, node, **options(there, scheme, direction, node))
            got = got._make(part.cpu() for part in got)
            plain = ops.trajectory_step_reference(*given[:3], steps, node, **options(given, scheme, direction, node))
            truth = ops.trajectory_step_reference(*exact[:3], steps, node, **options(exact, scheme, direction, node))
            for name, one, other, best in zip(got._fields, got, plain, truth, strict=True):
                assert one.shape == other.shape
                if dtype == F64:
                    assert (one - other).abs().sum().item() <= 1e-11 * (1.0 + other.abs().sum().item()), name
                else:
                    assert_rounding(one, other, best, what=f"{name} at node {node}")


@pytest.mark.parametrize(("scheme", "direction"), CASES)
def test_step_draws_the_numbers_of_normals(scheme: str, direction: str) -> None:
    """Noise drawn inside, along a path's components, has the bits of `ops.normals`, across paths where short."""
    steps, node = table(scheme, direction), 3
    purpose = "reverse" if direction == "reverse" else "noise"
    for dim, dtype in itertools.product((1, 2, 7, 70, 1030), (F64, torch.float32)):
        given = points(5, dim, dtype)
        kept = options(given, scheme, direction, node)
        drawn = ops.trajectory_step(*given[:3], steps, node, **kept)
        numbers = [
            ops.normals(5, dim, seed=3, path_offset=7, first=k * dim, purpose=purpose, dtype=dtype) for k in (2, 3)
        ]
        kept = {"carried": numbers[0], **kept}
        assert_exact(ops.trajectory_step(*given[:3], steps, node, noise=numbers[1], **kept), drawn)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_long_rows_of_normals_have_the_bits_of_short_ones(dtype: torch.dtype) -> None:
    """Many numbers are drawn along each path, few across paths; whatever the first."""
    for first in (0, 5, 4094):
        rows = ops.normals(19, 1043, seed=8, path_offset=3, first=first, dtype=dtype)
        for low, count in ((0, 1), (3, 7), (511, 9), (1036, 7)):
            few = ops.normals(19, count, seed=8, path_offset=3, first=first + low, dtype=dtype)
            assert_exact(rows[:, low : low + count].contiguous(), few, f"{first} + {low}")


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_steps_add_up_to_the_trajectory(dtype: torch.dtype) -> None:
    """Node after node, with scores of two laws in closed form: what the fused kernels make of the whole path."""
    first, second = tk.GaussianMixture.ring(), tk.GaussianMixture.ring(weights=[0.3] + [0.1] * 7)
    for scheme, direction in CASES:
        steps = step_table(PROCESS, PROCESS.grid(20), scheme, direction)
        x = second.sample(40).to(dtype)
        whole = ops.trajectory(x, steps, first.source(steps), second.source(steps), seed=5, path_offset=2)
        value, mismatch = torch.zeros(40, dtype=F64), torch.zeros(40, dtype=F64)
        carried = previous = None
        for node, t in enumerate(steps.times.tolist()):
            s, r = (law.evaluate(x, t, PROCESS) for law in (first, second))
            out = ops.trajectory_step(
                *(x, s.score, r.score, steps, node),
                divergence=s.divergence - r.divergence,
                carried=carried if direction == "reverse" else None,
                previous=previous,
                seed=5,
                path_offset=2,
            )
            value, mismatch = value + out.value, mismatch + out.mismatch
            previous, carried = x, out.noise
            x = out.x_next if node < 20 else x
        tolerance = 1e-10 if dtype == F64 else 2e-5
        for name, got, expected in zip(whole._fields[:3], (value, mismatch, x), whole[:3], strict=True):
            assert rms(got - expected.double()) <= tolerance * (1.0 + rms(expected)), (scheme, direction, name)


def test_bits_do_not_depend_on_threads_or_on_other_paths() -> None:
    steps = table("stratonovich", "forward")
    given = points(67, 130, torch.float32)
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(ops.trajectory_step(*given[:3], steps, 2, divergence=given[5][:, 0], seed=1, path_offset=9))
    assert_exact(runs[1], runs[0])
    part = [tensor[40:43] for tensor in given]
    alone = ops.trajectory_step(*part[:3], steps, 2, divergence=part[5][:, 0], seed=1, path_offset=49)
    for got, expected in zip(alone[:3], runs[0][:3], strict=True):
        assert_exact(got, expected[40:43])
    products = given[0]
    assert_exact(ops.hutchinson(products[40:43], path_offset=49), ops.hutchinson(products, path_offset=9)[40:43])


def test_step_of_no_paths_and_strided_inputs() -> None:
    steps = table("ito", "forward")
    empty = torch.zeros(0, 5)
    assert ops.trajectory_step(empty, empty, empty, steps, 1, divergence=torch.zeros(0)).value.shape == (0,)
    given = points(6, 9)
    turned = [tensor.T.contiguous().T for tensor in given[:3]]
    expected = ops.trajectory_step(*given[:3], steps, 1, divergence=given[5][:, 0])
    assert_exact(ops.trajectory_step(*turned, steps, 1, divergence=given[5][:, 0]), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3)}, r"^x: expected \(n, d\) float32 or float64, got \(3,\)"),
        ({"x": torch.zeros(3, 2, dtype=torch.float16)}, "^x: expected .* float16"),
        ({"model": torch.zeros(3, 1)}, r"^model: expected \(3, 2\) float32 as x is, got \(3, 1\)"),
        ({"reference": torch.zeros(3, 2, dtype=F64)}, "^reference: expected .* got .* float64"),
        ({"node": 7}, r"^node: expected an integer in \[0, 7\), got 7"),
        ({"divergence": None}, "^divergence: the scheme 'ito' needs it"),
        ({"table": table("sampler", "forward")}, "^previous: the sampler scheme needs x"),
        ({"table": table("ito", "reverse")}, "^carried: reverse paths need"),
        ({"seed": -1}, "^seed: expected an integer"),
    ],
)
def test_bad_inputs_of_a_step(change: dict[str, object], message: str) -> None:
    x = torch.zeros(3, 2)
    given = {"x": x, "model": x, "reference": x, "table": table("ito", "forward"), "node": 2, "divergence": x[:, 0]}
    with pytest.raises(ValueError, match=message):
        ops.trajectory_step(**{**given, **change})


# ---- Hutchinson


@pytest.mark.parametrize("kind", ops.PROBES)
@pytest.mark.parametrize("dim", [1, 5, 64, 700])
def test_hutchinson_contracts_with_the_probes(kind: str, dim: int, device: str) -> None:
    products = points(19, dim)[0]
    got = ops.hutchinson(products.to(device), kind=kind, seed=2, path_offset=4, first=3 * dim).cpu()
    plain = ops.hutchinson_reference(products, kind=kind, seed=2, path_offset=4, first=3 * dim)
    assert (got - plain).abs().max().item() < 1e-11 * dim
    v = ops.probes(19, dim, kind=kind, seed=2, path_offset=4, first=3 * dim, dtype=F64)
    assert ((v * products).sum(1) - got).abs().max().item() < 1e-11 * dim
    single = [call(products.float(), kind=kind) for call in (ops.hutchinson, ops.hutchinson_reference)]
    assert_rounding(*single, ops.hutchinson_reference(products, kind=kind), what=kind, scale=rms(products) * dim**0.5)


def test_probes_are_what_they_say(seed: int) -> None:
    """Signs; length √d; and for all kinds the mean of v vᵀ is the identity."""
    n, dim = 40_000, 5
    for kind in ops.PROBES:
        v = ops.probes(n, dim, kind=kind, seed=seed, dtype=F64)
        if kind == "rademacher":
            assert bool((v.abs() == 1.0).all())
        if kind == "sphere":
            assert (v.square().sum(1) - dim).abs().max().item() < 1e-12
        outer = v[:, :, None] * v[:, None, :]
        error = outer.std(0) / math.sqrt(n) + 1e-15
        assert_z(((outer.mean(0) - torch.eye(dim, dtype=F64)) / error).flatten().tolist(), 4.5, kind)


def test_bad_inputs_of_hutchinson() -> None:
    with pytest.raises(ValueError, match="^kind: expected one of"):
        ops.hutchinson(torch.zeros(3, 2), kind="signs")
    with pytest.raises(ValueError, match=r"^products: expected \(n, d\) float32"):
        ops.hutchinson(torch.zeros(3))
    with pytest.raises(ValueError, match="^kind"):
        ops.probes(3, 2, kind="sign")


# ---- derivatives


def step_values(scheme: str, direction: str, node: int = 3):
    """The step as a function of its six tensors alone, all outputs that there are."""
    steps = table(scheme, direction)

    def call(x: Tensor, s: Tensor, r: Tensor, z: Tensor, c: Tensor, p: Tensor) -> tuple[Tensor, ...]:
        kept = {"previous": p} if scheme == "sampler" and direction == "forward" else {}
        out = ops.trajectory_step(x, s, r, steps, node, divergence=x[:, 0] * 0.0 + 1.0, noise=z, carried=c, **kept)
        return tuple(out if direction == "reverse" else out[:3])

    return call


@pytest.mark.parametrize(("scheme", "direction"), CASES)
def test_step_passes_gradcheck(scheme: str, direction: str) -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in points(2, 3))
    call = step_values(scheme, direction)
    assert torch.autograd.gradcheck(call, inputs, check_forward_ad=True, check_batched_grad=False)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("kind", ops.PROBES)
def test_hutchinson_passes_gradcheck(kind: str) -> None:
    products = points(3, 4)[0].requires_grad_()

    def call(p: Tensor) -> Tensor:
        return ops.hutchinson(p, kind=kind, seed=1, first=8)

    assert torch.autograd.gradcheck(call, (products,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda p: call(p).square(), (products,))


@pytest.mark.parametrize(("scheme", "direction"), [("stratonovich", "forward"), ("sampler", "reverse")])
def test_step_under_every_transform(scheme: str, direction: str) -> None:
    """torch.func.grad, vmap, jvp, vmap of grad and dual numbers agree with the reference's own derivatives."""
    call = step_values(scheme, direction)
    inputs, tangents = points(4, 3), points(4, 4)[:6]
    tangents = [tensor[:, :3] for tensor in tangents]

    def loss(x: Tensor) -> Tensor:
        return sum(((i + 1) * out).square().sum() for i, out in enumerate(call(x, *inputs[1:])))

    leaf = inputs[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    assert rms(torch.func.grad(loss)(inputs[0]) - expected) < 1e-12
    batch = torch.stack([inputs[0], 2.0 * inputs[0]])
    assert rms(torch.func.vmap(torch.func.grad(loss))(batch)[0] - expected) < 1e-12
    for got, one in zip(torch.func.vmap(lambda x: call(x, *inputs[1:]))(batch), call(*inputs), strict=True):
        assert rms(got[0] - one) < 1e-12
    _, pushed = torch.func.jvp(call, tuple(inputs), tuple(tangents))
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, b) for a, b in zip(inputs, tangents, strict=True)]
        dual_tangents = [forward_ad.unpack_dual(value).tangent for value in call(*duals)]
    eps = 1e-6
    ahead, behind = (call(*(a + sign * eps * b for a, b in zip(inputs, tangents, strict=True))) for sign in (1, -1))
    for one, two, a, b in zip(pushed, dual_tangents, ahead, behind, strict=True):
        numeric = (a - b) / (2.0 * eps)
        assert two is not None, "a dual number lost its tangent"
        assert rms(one - numeric) < 1e-6 * (1.0 + rms(numeric))
        assert rms(two - one) < 1e-12 * (1.0 + rms(one))


def test_hutchinson_under_every_transform() -> None:
    products, v = points(5, 6)[0], ops.probes(5, 6, dtype=F64)
    grad = torch.func.grad(lambda p: ops.hutchinson(p).sum())(products)
    assert rms(grad - v) < 1e-12
    batch = torch.stack([products, -products])
    assert rms(torch.func.vmap(ops.hutchinson)(batch)[1] + ops.hutchinson(products)) < 1e-12
    _, pushed = torch.func.jvp(ops.hutchinson, (products,), (products,))
    assert rms(pushed - ops.hutchinson(products)) < 1e-12
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(ops.hutchinson(forward_ad.make_dual(products, v))).tangent
    assert tangent is not None
    assert rms(tangent - 6.0) < 1e-12


def test_transforms_of_transforms() -> None:
    """Jacobians and Hessians by torch.func are those of autograd; every route that a transform takes is known."""
    call = step_values("sampler", "reverse")
    inputs = points(2, 3)

    def loss(s: Tensor) -> Tensor:
        value, mismatch, *_ = call(inputs[0], s, *inputs[2:])
        return (value.square() + mismatch).sum() + ops.hutchinson(s, seed=1).square().sum()

    expected = torch.autograd.functional.hessian(loss, inputs[1])
    assert rms(expected) > 0.0
    assert rms(torch.func.hessian(loss)(inputs[1]) - expected) < 1e-12 * (1.0 + rms(expected))
    jacobian = torch.func.jacfwd(lambda s: call(inputs[0], s, *inputs[2:])[0])(inputs[1])
    assert rms(jacobian - torch.func.jacrev(lambda s: call(inputs[0], s, *inputs[2:])[0])(inputs[1])) < 1e-12


def test_without_torchs_question_about_transforms_the_reference_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is private: where it is gone, every eager call is taken for one under a transform, and stays right."""
    steps, given = table("ito", "forward"), points(4, 3)
    kernel = ops.trajectory_step(*given[:3], steps, 2, divergence=given[5][:, 0])
    monkeypatch.delattr(torch._C, "_are_functorch_transforms_active")
    assert route(given[0]) is Route.REFERENCE
    again = ops.trajectory_step(*given[:3], steps, 2, divergence=given[5][:, 0])
    for one, other in zip(again[:3], kernel[:3], strict=True):
        assert rms(one - other) < 1e-12 * (1.0 + rms(other))


def test_both_pass_opcheck() -> None:
    x = points(3, 5, torch.float32)
    row = table("sampler", "reverse").columns[3].float()
    op = torch.ops.thermokern
    inside = (True, False, True, True, True, 1, 2, 15)
    torch.library.opcheck(op.trajectory_step.default, (*x[:3], row, None, x[3], None, *inside))
    given = (False, False, False, False, False, 0, 0, 0)
    torch.library.opcheck(op.trajectory_step.default, (*x[:3], row, *x[3:6], *given))
    torch.library.opcheck(op.hutchinson.default, (x[0], 2, 1, 2, 3))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo itself does that
def test_both_compile_whole() -> None:
    """torch.compile(fullgraph=True), forward alone and with gradients."""
    steps = table("ito", "forward")
    given = points(4, 5, torch.float32)

    def loss(x: Tensor, s: Tensor) -> Tensor:
        out = ops.trajectory_step(x, s, given[2], steps, 2, divergence=ops.hutchinson(s, seed=3), seed=1)
        return out.value.sum() + (out.x_next * given[3]).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert rms(compiled(given[0], given[1]) - loss(given[0], given[1])) < 1e-5
    grads = []
    for function in (loss, compiled):
        leaves = [tensor.clone().requires_grad_() for tensor in given[:2]]
        grads.append(torch.autograd.grad(function(*leaves), leaves))
    for one, other in zip(*grads, strict=True):
        assert rms(one - other) < 1e-5
        assert rms(one) > 0.0


@pytest.mark.parametrize("dim", [4096, 4100, 515])  # all rows aligned to registers, some, hardly any
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_steps_of_large_tensors_have_the_bits_of_small_ones(dim: int, direction: str) -> None:
    """From 4 MiB on the next points are written past the caches."""
    n, table = 2**21 // dim, step_table(tk.VP(), tk.VP().grid(6), "backward-ito", direction)
    x, model, reference, carried = (ops.normals(n, dim, seed=seed) for seed in range(4))

    def step(part: slice) -> ops.StepSums:
        given = (x[part], model[part], reference[part], table, 2)
        return ops.trajectory_step(*given, carried=carried[part], seed=3, path_offset=part.start)

    assert x.nbytes > 2**22
    whole, middle = step(slice(0, n)), n // 3
    parts = [step(slice(first, first + middle)) for first in (0, middle)]
    parts.append(step(slice(2 * middle, n)))
    for name, tensor in whole._asdict().items():
        assert torch.equal(tensor, torch.cat([getattr(part, name) for part in parts])), name
