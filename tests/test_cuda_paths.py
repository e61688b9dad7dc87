"""Averages over paths, the probability flow and Langevin paths on CUDA against the CPU's: emulated, and on a device."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cuda_emulated import DEVICE, DTYPES, EXACT, ORDERS, SIZES, Backend
from test_gaussian_gap import problem as gap_problem
from test_mlp_gap import cast
from test_mlp_gap import problem as mlp_problem
from test_ops import LANGEVIN, PAIRS, Case, generator, langevin_case, perceptron, reweighted, source
from test_probability_flow import mixture, source_of
from test_trajectory_parts import parts_of, table_of
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.processes import flow_table, rate_table, step_table

pytestmark = pytest.mark.timeout(900)  # the first test that needs the emulated module builds it

F64 = torch.float64
DIMS = (1, 2, 3, 7, 16)
BACKENDS = [*ORDERS, *([DEVICE] if DEVICE else [])]


def points(case: Case, n: int, dtype: torch.dtype) -> Tensor:
    rows = torch.randn(40, case.dim, dtype=F64, generator=generator(case.name))
    return rows[torch.arange(n) % 40].to(dtype)


def assert_agrees(actual: tuple[Tensor, ...], case: Case, x: Tensor, offset: int, exact: tuple[str, ...] = ()) -> None:
    """Equal bits where the CPU's multiply-adds are not fused either, else within rounding; integers always."""
    expected = case.fast(x, offset)
    best = case.fast(x.double(), offset)
    for name, a, b, c in zip(expected._fields, actual, expected, best, strict=True):
        what = f"{case.name}.{name}, n = {len(x)}"
        if not b.is_floating_point() or (EXACT and name in exact):
            assert_exact(a, b, what)
        elif b.dtype == torch.float32:
            assert_rounding(a, b, c, max(rms(c), 1.0) if c.numel() else None, what)
        elif b.numel():
            assert a.shape == b.shape, what
            assert rms(a - b) <= 256 * torch.finfo(F64).eps * max(rms(b), 1.0), what


# ---- Langevin paths


@pytest.mark.parametrize("n", SIZES)
def test_langevin_sizes(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, (dim, dtype) in enumerate(itertools.product(DIMS, DTYPES)):
        case = langevin_case(dim)
        x = points(case, n, dtype)
        actual = Backend(monkeypatch, list(ORDERS)[(n + i) % 3])(case, x, 2**33 - 5)
        assert_agrees(actual, case, x, 2**33 - 5, ("x_last", "work"))


@pytest.mark.parametrize("name", BACKENDS)
def test_langevin_battery(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for case, dtype in itertools.product(LANGEVIN, DTYPES):
        x = points(case, 70, dtype)
        assert_agrees(Backend(monkeypatch, name)(case, x, 5), case, x, 5, ("x_last", "work"))


# ---- scores of two Gaussians


@pytest.mark.parametrize("name", BACKENDS)
def test_gaussian_gap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels shared or not, noise given or drawn, blocks of 128 to 32 threads, in both precisions."""
    for dim, n, dtype in itertools.product((1, 3, 7, 25, 64), (1, 33, 150), DTYPES):
        shared, drawn = n == 33, dim != 7
        given = {key: part.to(dtype) for key, part in gap_problem(dim, n, 0 if shared else n).items()}
        if not drawn:
            given["noise"] = ops.normals(n, dim, seed=5, dtype=dtype).T.contiguous()

        def call(x: Tensor, offset: int, given: dict[str, Tensor] = given) -> tuple[Tensor, ...]:
            rest = {key: part.to(x) for key, part in given.items() if key != "from_first"}
            return (ops.gaussian_gap(x, **rest, reference=0.7, seed=3, path_offset=offset),)

        x, what = given["from_first"], f"{dim} axes, n = {n}, {dtype}"
        (actual,) = Backend(monkeypatch, name)(Case(what, dim, call, call), x, 2**33 - 5)
        (expected,), (best,) = call(x, 2**33 - 5), call(x.double(), 2**33 - 5)
        scale = max(rms(best), 1.0)
        if dtype == torch.float32:
            assert_rounding(actual, expected, best, scale, what)
        else:
            assert rms(actual - expected) <= 64 * torch.finfo(F64).eps * scale, what


@pytest.mark.parametrize("name", BACKENDS)
def test_mlp_gap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain and residual, noise given or drawn, one condition to many, in both precisions."""
    shapes = ((1, 1, (5,), False), (3, 2, (24, 9, 24), True), (7, 5, (16, 13), False), (64, 2, (40, 8, 40), True))
    for (dim, conditions, widths, residual), n, dtype in itertools.product(shapes, (1, 33, 150), DTYPES):
        given = mlp_problem(dim, n, conditions, widths, activation="tanh" if dim == 7 else "silu", residual=residual)
        given = cast(given, dtype)
        if residual:
            given["noise"] = ops.normals(n, dim, seed=5, dtype=dtype).T.contiguous()

        def call(x: Tensor, offset: int, given: dict[str, Any] = given) -> tuple[Tensor, ...]:
            rest = {**cast(given, x.dtype), "from_centre": x}
            return (ops.mlp_gap(**rest, reference=0.7, seed=3, path_offset=offset),)

        x, what = given["from_centre"], f"{dim} axes, n = {n}, {dtype}"
        (actual,) = Backend(monkeypatch, name)(Case(what, dim, call, call), x, 2**33 - 5)
        (expected,), (best,) = call(x, 2**33 - 5), call(x.double(), 2**33 - 5)
        scale = max(rms(best), 1.0)
        if EXACT:
            assert_exact(actual, expected, what)
        elif dtype == torch.float32:
            assert_rounding(actual, expected, best, scale, what)
        else:
            assert rms(actual - expected) <= 64 * torch.finfo(F64).eps * scale, what


# ---- the probability flow


def flow_case(dim: int, components: int, isotropic: bool, levels: int = 8) -> Case:
    table = flow_table(tk.VP(), 1e-3, levels)
    law = source_of(mixture(dim, components, isotropic), table)

    def call(x: Tensor, _: int) -> ops.FlowSums:
        return ops.probability_flow(x, table, law, rtol=1e-3, atol=1e-3)

    return Case(f"flow-{dim}-{components}-{isotropic}-{levels}", dim, call, call)


def network_flow_case(dim: int, widths: tuple[int, ...], activation: str) -> Case:
    """Biases and scales that move with time, so that a path at another path's node would show."""
    table = flow_table(tk.VP(), 1e-3, 9)
    time = table.times.float()
    weights, biases = perceptron(dim, widths, "flow", 2)
    biases = biases[0] + time[:, None] * biases[1]
    scale = 0.5 + time

    def call(x: Tensor, _: int) -> ops.FlowSums:
        on = [weight.to(x.device) for weight in weights], biases.to(x.device), activation
        model = ops.MlpSource(*on, scale.to(x.device), -scale.to(x.device))
        return ops.probability_flow(x, table, model, rtol=1e-3, atol=1e-3)

    return Case(f"flow-{dim}-{activation}-{widths}", dim, call, call)


FLOWS = [
    *(flow_case(dim, 5, isotropic) for dim, isotropic in zip(DIMS, itertools.cycle([True, False]), strict=False)),
    *(flow_case(dim, 9, not isotropic) for dim, isotropic in zip(DIMS, itertools.cycle([True, False]), strict=False)),
    network_flow_case(2, (16, 13, 8), "silu"),
    network_flow_case(1, (9,), "tanh"),
    network_flow_case(7, (24, 40), "gelu-tanh"),
    flow_case(2, 5, False, 4),  # whose levels do not serve every point
]


@pytest.mark.parametrize("case", FLOWS, ids=lambda case: case.name)
def test_flow(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 takes the CPU's steps, point by point; float32 as well, where its bits are the CPU's."""
    for i, n in enumerate((0, 1, 31, 33, 300)):
        for name in (list(ORDERS)[i % 3], *([DEVICE] if DEVICE else [])):
            # from near the middle to far out, so that points of one block stand at different nodes
            x = points(case, n, F64) * torch.logspace(-1.0, 1.0, 40, dtype=F64)[torch.arange(n) % 40, None]
            if n == 300:  # the first of a block arrive first
                x = x[x.norm(dim=1).argsort()]
            actual = Backend(monkeypatch, name)(case, x, 0)
            if n == 0:
                assert len(actual[0]) == 0
                continue
            if not EXACT:  # rounding may decide whether a point takes a step: then it differs by the tolerance
                expected = case.fast(x, 0)
                for a, b in zip(actual[:2], expected[:2], strict=True):
                    off, size = (a - b).abs().reshape(n, -1), max(rms(b), 1.0)
                    near = (off <= 4096 * torch.finfo(F64).eps * size).all(1)
                    assert near.double().mean().item() >= 0.9, case.name
                    assert bool((off <= 1e-5 * size).all()), case.name
                continue
            assert_agrees(actual, case, x, 0, tuple(ops.FlowSums._fields))
            if "(" in case.name and case.dim > 1 and n == 300:
                assert len(actual[2].unique()) > 1, "all points take the same steps"
            if EXACT:
                assert_exact(Backend(monkeypatch, name)(case, x.float(), 0), tuple(case.fast(x.float(), 0)), case.name)


@pytest.mark.parametrize("case", [FLOWS[1], FLOWS[10]], ids=lambda case: case.name)
def test_flow_in_float32(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points whose steps are the CPU's are as near to float64 as the CPU's are; there are few others."""
    x = points(case, 40, torch.float32)
    actual, expected = Backend(monkeypatch, "reverse")(case, x, 0), case.fast(x, 0)
    exact = case.fast(x.double(), 0)
    same = (actual[2] == expected[2]) & (expected[2] == exact[2])
    assert same.double().mean().item() > 0.8
    for i in (0, 1):
        assert_rounding(actual[i][same], expected[i][same], exact[i][same], max(1.0, rms(exact[i])), case.name)


def test_flow_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    table = flow_table(tk.VE(10.0), 1e-3, 5)
    n = len(table.times)
    weights = [torch.ones(4, 1), torch.full((1, 4), 1e38)]
    wild = ops.MlpSource(weights, torch.ones(n, 5), "silu", torch.full((n,), 1e30), torch.zeros(n))
    case = Case("wild", 1, lambda x, _: ops.probability_flow(x, table, wild), lambda x, _: ())
    assert Backend(monkeypatch, "forward")(case, torch.ones(40, 1), 0)[3].tolist() == [2] * 40


# ---- averages


def averages_case(dim: int, model: str, reference: str) -> Case:
    table = rate_table(tk.VP(), tk.VP().grid(7, 1e-2, "log-snr"))
    s_model = source(model, table, dim, "model")
    s_reference = reweighted(s_model) if reference == "shared" else source(reference, table, dim, "reference")

    def call(x: Tensor, offset: int) -> ops.TrajectoryAverages:
        return ops.trajectory_averages(x, table, s_model, s_reference, seed=11, path_offset=offset)

    return Case(f"averages-{dim}-{model}-{reference}", dim, call, call)


AVERAGES = [averages_case(dim, *pair) for pair, dim in zip(PAIRS, (1, 2, 3, 7, 16, 4, 3, 7), strict=True)]


@pytest.mark.parametrize("case", AVERAGES, ids=lambda case: case.name)
def test_averages(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, (n, dtype) in enumerate(itertools.product((2, 31, 33, 257), DTYPES)):
        for name in (list(ORDERS)[i % 3], *([DEVICE] if DEVICE else [])):
            x = points(case, n, dtype)
            actual = Backend(monkeypatch, name)(case, x, 2**33 - 5)
            assert_averages_agree(actual, case, x, 2**33 - 5)


def assert_averages_agree(actual: tuple[Tensor, ...], case: Case, x: Tensor, offset: int) -> None:
    """Paths as ever; averages of the same numbers in another order, to the rounding of float64 sums."""
    expected = ops.TrajectoryAverages(*case.fast(x, offset))
    got = ops.TrajectoryAverages(*actual)
    if EXACT:
        assert_exact(got.integrals, expected.integrals, case.name)
        assert_exact(got.x_last, expected.x_last, case.name)
    else:
        best = ops.TrajectoryAverages(*case.fast(x.double(), offset))
        eps = torch.finfo(x.dtype).eps
        size = rms(best.integrals.abs().max(1).values)
        assert rms(got.x_last.double() - expected.x_last.double()) <= 64 * eps * max(1.0, rms(best.x_last)), case.name
        assert rms(got.integrals.double() - expected.integrals.double()) <= 256 * eps * size, case.name
    eps = torch.finfo(F64).eps if EXACT else torch.finfo(x.dtype).eps
    for name in ("mean", "variance"):
        a, b = getattr(got, name), getattr(expected, name)
        size = b.abs().max(1, keepdim=True).values  # of the largest observable at the node
        assert bool(((a - b).abs() <= 256 * eps * size).all()), f"{case.name}.{name}, n = {len(x)}"


def test_averages_of_few_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    case = AVERAGES[1]
    for n in (0, 1):
        actual = ops.TrajectoryAverages(*Backend(monkeypatch, "forward")(case, points(case, n, F64), 0))
        assert bool(actual.variance.isnan().all())
        assert bool(actual.mean.isnan().all()) == (n == 0)


def test_averages_over_several_tiles_of_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 1024 tiles: of 128 paths, and of the one path that the widest network leaves room for."""
    table = rate_table(tk.VP(), tk.VP().grid(1, 1e-2))
    nodes = len(table.times)
    weights, biases = perceptron(16, (256,), "wide", nodes)
    network = ops.MlpSource(weights, biases, "relu", torch.ones(nodes), torch.zeros(nodes))
    for dim, n, model in ((2, 1024 * 128 + 200, source("diagonal", table, 2)), (16, 1024 + 300, network)):
        reference = source("diagonal", table, dim, "reference")
        case = Case(
            f"averages-{dim}-of-{n}",
            dim,
            lambda x, offset, model=model, reference=reference: ops.trajectory_averages(
                x, table, model, reference, path_offset=offset
            ),
            lambda x, _: (),
        )
        x = torch.randn(n, dim, generator=generator(n))
        assert_averages_agree(Backend(monkeypatch, DEVICE or "forward")(case, x, 3), case, x, 3)


# ---- where Δs arises


def parts_case(dim: int, pair: tuple[str, str], scheme: str) -> Case:
    parts = table_of(scheme, scheme in ("backward-ito", "sampler"))

    def call(x: Tensor, offset: int) -> tuple[Tensor, ...]:
        found = parts_of(parts, pair, dim, x, True, offset)
        return *found.sums, *found[1:]

    return Case(f"parts-{dim}-{'-'.join(pair)}-{scheme}", dim, call, call)


# Two kernels of the CPU share what mixtures have in common, which shows in the rounding of a divergence.
SCHEMES = ("backward-ito", "sampler", "ito", "stratonovich", "sampler", "ito", "backward-ito", "stratonovich")
PARTS = [parts_case(*each) for each in zip((1, 2, 3, 7, 16, 4, 3, 7), PAIRS, SCHEMES, strict=True)]


@pytest.mark.parametrize("case", PARTS, ids=lambda case: case.name)
def test_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, (n, dtype) in enumerate(itertools.product((0, 1, 33, 257), DTYPES)):
        for name in (list(ORDERS)[i % 3], *([DEVICE] if DEVICE else [])):
            x = points(case, n, dtype)
            assert_parts_agree(Backend(monkeypatch, name)(case, x, 2**33 - 5), case, x, 2**33 - 5)


def assert_parts_agree(actual: tuple[Tensor, ...], case: Case, x: Tensor, offset: int) -> None:
    """Of the same numbers, summed in another order: to the size of what is summed over paths."""
    expected = case.fast(x, offset)
    names = (*ops.TrajectorySums._fields, *ops.TrajectoryParts._fields[1:])
    eps, n = torch.finfo(x.dtype).eps, max(1, len(x))
    total = max(1.0, *(rms(form) for form in case.fast(x.double(), offset)[4])) if len(x) else 1.0
    if case.name.endswith(("-ito", "-stratonovich")) and "backward" not in case.name:
        total *= 16.0  # a divergence is |s|² less a number of its size
    sizes = {"nodes": n * total, "cells": n * total, "totals": total, "value": total, "coarse": total}
    for name, a, b in zip(names, actual, expected, strict=True):
        assert a.shape == b.shape, f"{case.name}.{name}"
        of_squares = name in ("node_squares", "products", "squares")
        size = n * total**2 if of_squares else sizes.get(name) or max(1.0, rms(b) if b.numel() else 1.0)
        off = rms(a.double() - b.double()) if a.numel() else 0.0
        assert off <= 256 * eps * size, f"{case.name}.{name}, n = {len(x)}: {off} of {size}"
        if EXACT and name in ("value", "totals") and not re.search("shared|isotropic-isotropic", case.name):
            # The last form is the sum of differences here, and on the CPU the difference of sums.
            kept = slice(None, 3) if name == "totals" else slice(None)
            assert_exact(a[kept], b[kept], f"{case.name}.{name}")


def test_parts_over_several_tiles_of_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 1024 tiles of 128 paths."""
    table = step_table(tk.VP(), tk.VP().grid(1, 1e-2), "backward-ito", coarse=True)
    parts = ops.PartTable(table, torch.zeros(2, dtype=F64), torch.tensor([0, 1]), 2, True)

    def call(x: Tensor, offset: int) -> tuple[Tensor, ...]:
        found = parts_of(parts, ("diagonal", "isotropic"), 2, x, True, offset)
        return *found.sums, *found[1:]

    case = Case("parts-of-many", 2, call, call)
    x = torch.randn(1024 * 128 + 200, 2, generator=generator("tiles"))
    assert_parts_agree(Backend(monkeypatch, DEVICE or "forward")(case, x, 3), case, x, 3)


BASELINE = """
import pytest, sys
chosen = "(test_sizes and 33-) or battery and forward or test_flow and flow-2-5 or test_averages and averages-2-silu"
chosen += " or test_parts and parts-7-"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", chosen, *{files!r}]))
"""


def test_same_bits_as_the_oldest_instruction_set() -> None:
    """A few cases once more, in a process whose CPU kernels have no fused multiply-adds: there bits must be equal."""
    if EXACT:
        return
    environment = {**os.environ, "THERMOKERN_ISA": "baseline", "OMP_NUM_THREADS": "1"}
    code = BASELINE.format(files=[str(Path(__file__)), str(Path(__file__).with_name("test_cuda_stream.py"))])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"1[0-9] passed", done.stdout), done.stdout[-300:]
