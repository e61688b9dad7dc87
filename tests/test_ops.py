"""The battery that every op goes through: its reference, repeatability, torch's own checks, layouts, bad inputs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

from thermokern import ops
from thermokern.ops.registry import PURPOSES
from thermokern.processes import VE, VP, LinearProcess, step_table

F64 = torch.float64
DIMS = (1, 2, 3, 4, 7, 16)
COMPONENTS = (1, 3, 8, 9, 20)
ACTIVATIONS = ("silu", "tanh", "relu", "gelu-tanh")
WIDTHS = ((5,), (13, 5), (16, 13, 8), (5, 24, 13, 7))
KINDS = ("isotropic", "diagonal", "zero-weight")
MANY = 257  # no multiple of a lane count


def generator(*key: object) -> torch.Generator:
    return torch.Generator().manual_seed(sum(ord(c) * 31**i for i, c in enumerate(str(key))) % 2**31)


# ---- score sources


def mixture(dim: int, components: int, kind: str = "diagonal", key: object = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Means (K, d), variances (K, d) and weights (K,), float64, all unequal."""
    g = generator(dim, components, kind, key)
    means = 2.0 * torch.randn(components, dim, dtype=F64, generator=g)
    columns = dim if kind == "diagonal" else 1
    variances = 0.05 + torch.rand(components, columns, dtype=F64, generator=g)
    weights = 0.2 + torch.rand(components, dtype=F64, generator=g)
    if kind == "zero-weight" and components > 1:
        weights[0] = 0.0
        weights[components // 2] = 0.0
    weights = weights / weights.sum()
    return means, variances.expand(components, dim).contiguous(), weights


def perceptron(dim: int, widths: tuple[int, ...], key: object = 0, nodes: int = 1) -> tuple[list[Tensor], Tensor]:
    """Weights and biases (nodes, units), float32."""
    g = generator(dim, widths, key)
    sizes = [dim, *widths, dim]
    weights = [torch.randn(b, a, generator=g) / math.sqrt(a) for a, b in itertools.pairwise(sizes)]
    return weights, 0.5 * torch.randn(nodes, sum(sizes[1:]), generator=g)


def source(kind: str, table: ops.StepTable, dim: int, key: object = 0) -> ops.Source:
    nodes = len(table.times)
    if kind in ACTIVATIONS:
        weights, biases = perceptron(dim, WIDTHS[len(kind) % 4], key, nodes)
        slope = torch.linspace(0.5, 1.5, nodes)
        return ops.MlpSource(weights, biases, kind, slope, -0.3 * slope)
    components, name = (9, "isotropic") if kind == "isotropic" else (3, kind)
    return ops.MixtureSource(*mixture(dim, components, name, key), table.mean_scale, table.variance)


def reweighted(given: ops.MixtureSource) -> ops.MixtureSource:
    """The same components with other weights."""
    weights = given.weights.flip(0) + 0.1
    return ops.MixtureSource(given.means, given.variances, weights / weights.sum(), given.mean_scale, given.variance)


# ---- the ops of the battery


@dataclasses.dataclass(frozen=True)
class Case:
    """An op of points x (n, dim), each with its own path, that returns tensors of n rows."""

    name: str
    dim: int
    fast: Callable[[Tensor, int], tuple[Tensor, ...]]
    reference: Callable[[Tensor, int], tuple[Tensor, ...]]  # in the dtype of x
    spread: float = 3.0

    def x(self, n: int) -> Tensor:
        return self.spread * torch.randn(MANY, self.dim, generator=generator(self.name))[:n]


def normals_case(dim: int, purpose: str, first: int) -> Case:
    settings = {"seed": 2**40 + 17, "first": first, "purpose": purpose}
    return Case(
        f"normals-{dim}-{purpose}",
        dim,
        lambda x, offset: (ops.normals(len(x), dim, path_offset=offset, device=x.device, **settings),),
        lambda x, offset: (ops.normals_reference(len(x), dim, path_offset=offset, dtype=x.dtype, **settings),),
    )


def mixture_case(dim: int, components: int, kind: str) -> Case:
    numbers = mixture(dim, components, kind)
    return Case(
        f"mixture_score-{dim}-{components}-{kind}",
        dim,
        lambda x, _: ops.mixture_score(x, *numbers),
        lambda x, _: ops.mixture_score_reference(x, *numbers),
    )


def mlp_case(dim: int, widths: tuple[int, ...], activation: str) -> Case:
    weights, biases = perceptron(dim, widths)
    rest = (activation, 1.5, -0.25)
    return Case(
        f"mlp_score_divergence-{dim}-{activation}-{'x'.join(map(str, widths))}",
        dim,
        lambda x, _: ops.mlp_score_divergence(x, [w.to(x.device) for w in weights], biases[0].to(x.device), *rest),
        lambda x, _: ops.mlp_score_divergence_reference(x, weights, biases[0], *rest),
    )


def trajectory_case(dim: int, process: LinearProcess, scheme: str, model: str, reference: str) -> Case:
    by: dict[str, object] = {"integrator": "euler-maruyama"}
    if scheme == "stratonovich":  # on the exact clock, with the sums over coarser grids
        by = {"coarse": True}
    elif scheme == "sampler":
        by = {"forward": "euler-maruyama"}
    table = step_table(process, process.grid(11, 1e-2, "log-snr"), scheme, **by)
    s_model = source(model, table, dim, "model")
    s_reference = reweighted(s_model) if reference == "shared" else source(reference, table, dim, "reference")
    return Case(
        f"trajectory-{dim}-{type(process).__name__}-{scheme}-{model}-{reference}",
        dim,
        lambda x, offset: ops.trajectory(x, table, s_model, s_reference, seed=11, path_offset=offset),
        lambda x, offset: ops.trajectory_reference(x, table, s_model, s_reference, seed=11, path_offset=offset),
    )


def langevin_case(dim: int) -> Case:
    g = generator("langevin", dim)
    drift, factor, turn = (torch.randn(dim, dim, dtype=F64, generator=g) / dim for _ in range(3))
    drift = drift + torch.eye(dim, dtype=F64)
    steps = 0.05 + 0.05 * torch.rand(13, dtype=F64, generator=g)
    rest = (drift, factor.tril() + torch.eye(dim, dtype=F64), turn - turn.T + 0.1, steps)
    return Case(
        f"langevin-{dim}",
        dim,
        lambda x, offset: ops.langevin(x, *rest, seed=13, path_offset=offset),
        lambda x, offset: ops.langevin_reference(x, *rest, seed=13, path_offset=offset),
    )


PAIRS = [
    ("isotropic", "shared"),
    ("diagonal", "shared"),
    ("isotropic", "isotropic"),
    ("diagonal", "zero-weight"),
    ("zero-weight", "shared"),
    ("silu", "isotropic"),
    ("diagonal", "tanh"),
    ("relu", "gelu-tanh"),
]
_dims = itertools.cycle(DIMS)
NORMALS = [normals_case(d, p, first) for d, p, first in zip(DIMS, itertools.cycle(PURPOSES), (0, 3, 1, 4, 6, 1001))]
MIXTURES = [mixture_case(*sizes) for sizes in itertools.product(DIMS, COMPONENTS, KINDS)]
MLPS = [mlp_case(next(_dims), w, a) for w, a in 2 * list(itertools.product(WIDTHS, ACTIVATIONS))]
TRAJECTORIES = [
    trajectory_case(next(_dims), process, scheme, *pair)
    for pair, process, scheme in itertools.product(PAIRS, (VP(), VE()), ops.SCHEMES)
]
TRAJECTORIES += [trajectory_case(d, VP(), "ito", *pair) for pair, d in itertools.product(PAIRS[:4], DIMS)]
LANGEVIN = [langevin_case(dim) for dim in DIMS]
# one or two of everything, for the checks that do not look at the numbers
FEW = [*NORMALS[2:4], *MIXTURES[::17], *MLPS[::9], *TRAJECTORIES[::7], *LANGEVIN[1:5:3]]
ALL = [*NORMALS, *MIXTURES, *MLPS, *{case.name: case for case in TRAJECTORIES}.values(), *LANGEVIN]


def on(device: str, case: Case, x: Tensor, offset: int) -> tuple[Tensor, ...]:
    """The fast path on a device, its results brought back."""
    out = case.fast(x.to(device), offset)
    return out._make(t.cpu() for t in out) if hasattr(out, "_make") else tuple(t.cpu() for t in out)


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


# ---- agreement


@each(ALL)
def test_agrees_with_its_reference(case: Case, device: str) -> None:
    x = case.x(MANY)
    fast, plain, exact = on(device, case, x, 5), case.reference(x, 5), case.reference(x.to(F64), 5)
    assert len(fast) == len(exact)
    names = getattr(fast, "_fields", range(len(fast)))
    for name, a, b, c in zip(names, fast, plain, exact, strict=True):
        # a mixture's divergence is the small difference of |s|² and another number of its size
        scale = rms(exact.score.square().sum(1)) if name == "divergence" else None
        assert_rounding(a, b, c, scale, f"{case.name}.{name}")


@pytest.mark.parametrize("size", [1e2, 1e3, 1e4])
@each([mixture_case(d, k, kind) for d, k, kind in [(1, 3, "isotropic"), (2, 8, "diagonal"), (7, 9, "zero-weight")]])
def test_far_tails(case: Case, size: float, device: str) -> None:
    x = torch.nn.functional.normalize(case.x(MANY)) * size
    fast, plain, exact = on(device, case, x, 0), case.reference(x, 0), case.reference(x.to(F64), 0)
    squared_score = rms(exact.score.square().sum(1))  # the divergence is a difference of two such numbers
    for name, scale in {"score": None, "divergence": squared_score, "log_density": None}.items():
        assert_rounding(getattr(fast, name), getattr(plain, name), getattr(exact, name), scale, name)


@pytest.mark.parametrize("kind", KINDS)
def test_near_the_data(kind: str, device: str) -> None:
    """Narrow modes far from the origin, where expanded squares would lose digits."""
    means, variances, weights = mixture(3, 9, kind)
    numbers = 10.0 * means, 1e-4 * variances, weights
    noise = torch.randn(MANY, 3, dtype=F64, generator=generator("near"))
    x = (numbers[0] + numbers[1].sqrt() * noise[:, None]).flatten(0, 1)[::9].float()
    fast, plain = ops.mixture_score(x.to(device), *numbers), ops.mixture_score_reference(x, *numbers)
    for name, a, b, c in zip(fast._fields, fast, plain, ops.mixture_score_reference(x.to(F64), *numbers), strict=True):
        assert_rounding(a.cpu(), b, c, what=name)


@pytest.mark.parametrize("process", [VP(), VE(25.0)], ids=repr)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_ring_path_by_path(process: LinearProcess, scheme: str, device: str) -> None:
    """The mode-collapse experiment at its own size: 8 modes, one of them at weight 0.02, 200 steps."""
    angle = 2.0 * math.pi * torch.arange(8, dtype=F64) / 8
    means = 4.0 * torch.stack([angle.cos(), angle.sin()], 1)
    table = step_table(process, process.grid(200), scheme)
    collapsed = torch.full((8,), 0.98 / 7, dtype=F64)
    collapsed[0] = 0.02
    model, target = (
        ops.MixtureSource(means, torch.full_like(means, 0.0625), weights, table.mean_scale, table.variance)
        for weights in (collapsed, torch.full((8,), 0.125, dtype=F64))
    )
    n = 2000
    x = (means[torch.arange(n) % 8] + 0.25 * ops.normals(n, 2, purpose="start")).float()
    fast = ops.trajectory(x.to(device), table, model, target, seed=3)
    fast = fast._make(part.cpu() for part in fast)
    plain = ops.trajectory_reference(x, table, model, target, seed=3)
    exact = ops.trajectory_reference(x.to(F64), table, model, target, seed=3)
    for name in ("value", "mismatch", "x_last"):
        a, b, c = (getattr(out, name) for out in (fast, plain, exact))
        assert_rounding(a, b, c, what=name)
        assert (a - c).abs().max().item() < 5e-5 * c.std().item(), name


def test_path_indices_past_32_bits() -> None:
    offset = 2**32 - 17
    a, b, c = (
        ops.normals(40, 7, path_offset=offset),
        ops.normals_reference(40, 7, path_offset=offset, dtype=torch.float32),
        ops.normals_reference(40, 7, path_offset=offset),
    )
    assert_rounding(a, b, c)
    assert_exact(a[17:], ops.normals(23, 7, path_offset=2**32))
    assert not torch.equal(a[17:], ops.normals(23, 7))
    case = next(case for case in TRAJECTORIES if case.dim == 3)
    assert_rounding(
        *(
            out[0]
            for out in (
                case.fast(case.x(40), offset),
                case.reference(case.x(40), offset),
                case.reference(case.x(40).to(F64), offset),
            )
        )
    )


# ---- the same bits


@each(FEW)
def test_same_bits_for_any_batch_threads_and_chunks(case: Case, device: str) -> None:
    x = case.x(MANY)
    torch.set_num_threads(1)
    whole = on(device, case, x, 1000)
    torch.set_num_threads(2)
    for _ in range(2):
        assert_exact(on(device, case, x, 1000), whole)
    for n in (0, 1, 7):
        assert_exact(tuple(on(device, case, x[:n], 1000)), tuple(rows[:n] for rows in whole))
    for begin, end in ((0, 100), (100, 101), (101, MANY)):
        assert_exact(tuple(on(device, case, x[begin:end], 1000 + begin)), tuple(rows[begin:end] for rows in whole))


@each(FEW)
def test_same_bits_for_two_threads_at_work(case: Case) -> None:
    x = case.x(MANY).repeat(400, 1)  # enough for both threads to be inside a kernel at once
    torch.set_num_threads(1)
    alone = case.fast(x, 0)
    torch.set_num_threads(2)
    assert_exact(case.fast(x, 0), alone)


@each(FEW)
def test_no_rows(case: Case, device: str) -> None:
    fast = partial(on, device, case)
    for function, dtype in ((fast, torch.float32), (case.reference, torch.float32), (case.reference, F64)):
        out, like = function(case.x(0).to(dtype), 0), function(case.x(1).to(dtype), 0)
        assert [(t.shape[1:], t.dtype) for t in out] == [(t.shape[1:], t.dtype) for t in like]
        assert all(len(t) == 0 for t in out)


@each([case for case in FEW if "normals" not in case.name])
def test_strided_points(case: Case, device: str) -> None:
    x = case.x(MANY).to(device)
    expected = on(device, case, x, 0)
    wide = torch.full((2 * MANY, case.dim + 3), math.nan, device=device)
    wide[::2, 1 : 1 + case.dim] = x
    assert_exact(on(device, case, wide[::2, 1 : 1 + case.dim], 0), expected)
    assert_exact(on(device, case, x.T.contiguous().T, 0), expected)


def strided(tensor: Tensor) -> Tensor:
    """The same numbers with a gap of NaN behind each."""
    gaps = torch.full((*tensor.shape, 2), math.nan, dtype=tensor.dtype)
    gaps[..., 0] = tensor
    return gaps[..., 0]


def test_strided_parameters() -> None:
    x = 2.0 * torch.randn(20, 3, generator=generator(1))
    numbers = mixture(3, 9)
    assert_exact(ops.mixture_score(x, *map(strided, numbers)), ops.mixture_score(x, *numbers))
    assert_exact(
        ops.mixture_score(x, *(t.float() for t in numbers)), ops.mixture_score(x, *(t.float().to(F64) for t in numbers))
    )
    weights, biases = perceptron(3, (13, 5))
    gaps = [strided(weight) for weight in weights]
    assert_exact(
        ops.mlp_score_divergence(x, gaps, strided(biases[0]), "silu"),
        ops.mlp_score_divergence(x, weights, biases[0], "silu"),
    )


# ---- torch's own checks


def opcheck_calls() -> dict[str, tuple[object, tuple[object, ...]]]:
    lib = torch.ops.thermokern
    x = torch.randn(9, 2, generator=generator(2))
    table = step_table(VP(), VP().grid(4), "ito", coarse=True)
    network, mixed = source("silu", table, 2), source("diagonal", table, 2)
    weights, biases = perceptron(2, (5,))
    sources = network.kind, network.tensors(torch.float32), mixed.kind, mixed.tensors(torch.float32)
    columns, rates = table.columns.float(), torch.rand(5, 5, generator=generator(3))
    points = lib.neighbours_build(x, 64, True, 1.0, 1)
    return {
        "normals": (lib.normals, (5, 3, 1, 2, 0, 1, torch.float32)),
        "mixture_score": (lib.mixture_score, (x, *mixture(2, 3))),
        "mlp_score_divergence": (lib.mlp_score_divergence, (x, weights, biases[0], "tanh", 1.0, 0.5)),
        "trajectory": (lib.trajectory, (x, columns, *sources, 2.0, False, False, True, 1, 0)),
        "trajectory_averages": (lib.trajectory_averages, (x, columns, rates, *sources, 1, 0)),
        "langevin": (lib.langevin, (x, *3 * [torch.eye(2)], torch.full((4, 2), 0.1), 1, 0)),
        "neighbours_build": (lib.neighbours_build, (x, 64, True, 2.0, 1)),
        "neighbours_search": (lib.neighbours_search, (*points, *points, True, 2, True, False, 1.0, math.inf, 1)),
        "neighbours_count": (lib.neighbours_count, (*points, *points, x[:, 0].abs(), False, False, 1.0, 1)),
    }


# Ops whose opcheck stands in the file of their own.
ELSEWHERE = {
    "gaussian_gap": "test_gaussian_gap.py",
    "hutchinson": "test_stream_ops.py",
    "mlp_gap": "test_mlp_gap.py",
    "probability_flow": "test_probability_flow.py",
    "trajectory_block": "test_trajectory_block.py",
    "trajectory_parts": "test_trajectory_parts.py",
    "trajectory_step": "test_stream_ops.py",
}


@pytest.mark.filterwarnings("ignore")  # torch's own, about its tracing machinery
@pytest.mark.parametrize("name", sorted(opcheck_calls()))
def test_opcheck(name: str) -> None:
    op, arguments = opcheck_calls()[name]
    torch.library.opcheck(op.default, arguments)


def test_every_op_is_in_the_battery() -> None:
    registered = {
        name.split("::")[1].split(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("thermokern::")
    }
    assert registered == set(opcheck_calls()) | set(ELSEWHERE)
    for name, file in ELSEWHERE.items():
        text = (Path(__file__).parent / file).read_text()
        assert "opcheck(" in text, file
        assert f".{name}.default" in text, f"{file} does not check {name}"
