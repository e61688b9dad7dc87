"""Where Δs arises, fused: the reference, sums that add up, repeatability, torch's own checks, bad inputs."""

from __future__ import annotations

import pytest
import torch
from test_ops import MANY, PAIRS, generator, reweighted, source
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

from thermokern import ops
from thermokern.processes import VE, VP, LinearProcess, step_table

F64 = torch.float64
FIELDS = ops.TrajectoryParts._fields[1:]
SCHEMES = ("ito", "stratonovich", "backward-ito", "sampler")


def table_of(scheme: str, component: bool, process: LinearProcess | None = None) -> ops.PartTable:
    """Eleven steps in three stretches, of which the second has no node, and constants that are not zero."""
    process = process or VP()
    table = step_table(process, process.grid(11, 1e-2, "log-snr"), scheme, coarse=scheme != "sampler")
    stretch = torch.tensor([0] * 5 + [2] * 7)
    return ops.PartTable(table, torch.linspace(0.0, 0.3, 12, dtype=F64), stretch, 3, component)


def parts_of(
    parts: ops.PartTable, pair: tuple[str, str], dim: int, x: Tensor, fused: bool, offset: int = 5
) -> ops.TrajectoryParts:
    model = source(pair[0], parts.table, dim, "model")
    assert isinstance(model, ops.MixtureSource) or pair[1] != "shared"
    reference = reweighted(model) if pair[1] == "shared" else source(pair[1], parts.table, dim, "reference")
    run = ops.trajectory_parts if fused else ops.trajectory_parts_reference
    return run(x, parts, model, reference, seed=11, path_offset=offset)


@pytest.mark.parametrize(("pair", "dim"), [*zip(PAIRS, (1, 2, 3, 7, 16, 2, 3, 4), strict=True)])
@pytest.mark.parametrize(("scheme", "component"), [*zip(SCHEMES, (False, False, True, True), strict=True)])
def test_agree_with_their_reference(pair: tuple[str, str], dim: int, scheme: str, component: bool) -> None:
    """To rounding in float32, and to 1e-9 of the size of what is summed in float64."""
    parts = table_of(scheme, component, VE() if dim == 7 else VP())
    x = 2.0 * torch.randn(MANY, dim, generator=generator(pair, dim))
    fast = parts_of(parts, pair, dim, x, True)
    plain, exact = (parts_of(parts, pair, dim, points, False) for points in (x, x.to(F64)))
    double = parts_of(parts, pair, dim, x.to(F64), True)
    # Sums over paths and nodes may cancel: to the size of what is summed. Errors of A count twice in A², on every path.
    size = max(rms(exact.totals[form]) for form in range(ops.FORMS))
    scales = {"totals": size, "nodes": MANY * size, "cells": MANY * size}
    for name in FIELDS:
        a, b, c, d = (getattr(found, name) for found in (fast, plain, exact, double))
        assert a.shape == c.shape, name
        for form in range(ops.FORMS):
            assert_rounding(
                a[form].float(),
                b[form].float(),
                c[form],
                scales.get(name, 4.0 * MANY * size**2),
                f"{name} of form {form}",
            )
            assert (d[form] - c[form]).abs().max().item() < 1e-9 * (1.0 + c.abs().max().item()), name


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(("scheme", "component"), [*zip(SCHEMES, (False, False, True, True), strict=True)])
def test_sums_are_those_of_the_paths(scheme: str, component: bool, dtype: torch.dtype) -> None:
    """Paths are those of the op without parts, to the bit; parts of all kinds add up to their values."""
    parts = table_of(scheme, component)
    x = torch.randn(MANY, 2, generator=generator("sums"), dtype=dtype)
    found = parts_of(parts, ("diagonal", "isotropic"), 2, x, True)
    model, reference = (
        source(kind, parts.table, 2, role) for kind, role in (("diagonal", "model"), ("isotropic", "reference"))
    )
    assert_exact(found.sums, ops.trajectory(x, parts.table, model, reference, seed=11, path_offset=5))
    eps = 200.0 * torch.finfo(dtype).eps
    constants = 2.0 * parts.constant.sum().item() if scheme == "sampler" else 0.0
    assert rms(found.totals[ops.SCHEME].double() - constants - found.sums.value) < eps * rms(found.totals)
    for form in range(ops.FORMS):
        total, size = found.totals[form].double(), found.totals[form].abs().double().sum().item()
        for what, sums in (("nodes", found.nodes[form]), ("cells", found.cells[form])):
            assert abs(sums.sum().item() - total.sum().item()) < eps * size, (what, form)
        squares = total.square().sum().item()
        assert abs(found.products[form].sum().item() - squares) < eps * squares
        assert found.cells[form, 1].abs().max().item() == 0.0  # no node is there
        if not component:
            assert abs(found.squares[form].item() - squares) < eps * squares
    assert found.cells.shape == (4, 3, 2 if component else 1)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("n", [0, 1, 7, MANY, 5000])
def test_any_number_of_paths_and_threads(n: int, dtype: torch.dtype) -> None:
    parts = table_of("backward-ito", True)
    x = torch.randn(n, 2, generator=generator(n), dtype=dtype)
    torch.set_num_threads(1)
    one = parts_of(parts, ("diagonal", "shared"), 2, x, True)
    torch.set_num_threads(2)
    assert_exact(parts_of(parts, ("diagonal", "shared"), 2, x, True), one)
    assert bool((one.nodes == 0.0).all()) == (n == 0)
    low = n // 3
    rest = parts_of(parts, ("diagonal", "shared"), 2, x[low:], True, offset=5 + low)
    assert_exact(rest.totals, one.totals[:, low:])  # a path in other company


@pytest.mark.filterwarnings("ignore")  # torch's own, about its tracing machinery
def test_opcheck() -> None:
    parts = table_of("backward-ito", True)
    network, mixed = source("silu", parts.table, 2), source("diagonal", parts.table, 2)
    sources = network.kind, network.tensors(torch.float32), mixed.kind, mixed.tensors(torch.float32)
    x = torch.randn(9, 2, generator=generator("opcheck"))
    columns = parts.table.columns.float(), parts.columns.float()
    arguments = (x, *columns, *sources, 0.0, False, True, 3, True, 1, 0)
    torch.library.opcheck(torch.ops.thermokern.trajectory_parts.default, arguments)
    beyond = (x, *columns, *sources, 0.0, False, True, 2, True, 1, 0)
    with pytest.raises(
        ValueError, match="^parts: expected stretches in the last column that are whole numbers below 2"
    ):
        torch.ops.thermokern.trajectory_parts(*beyond)


def test_bad_tables_are_named() -> None:
    good = table_of("backward-ito", True)
    table, constant, stretch = good.table, good.constant, good.stretch
    for arguments, message in (
        ((table, constant[1:], stretch, 3, True), r"^constant: expected \(12,\)"),
        ((table, constant, stretch[1:], 3, True), r"^stretch: expected \(12,\) int64 below 3"),
        ((table, constant, stretch.float(), 3, True), "^stretch: expected"),
        ((table, constant, stretch, 2, True), "^stretch: expected .* below 2"),
        ((table, constant, stretch - 1, 3, True), "^stretch: expected"),
        ((step_table(VP(), VP().grid(11), "ito"), constant, stretch, 3, True), "^component: the divergence of"),
        ((step_table(VP(), VP().grid(11), "ito", "reverse"), constant, stretch, 3, False), "^table: expected forward"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.PartTable(*arguments)  # type: ignore[arg-type]
    x = torch.zeros(3, 2, requires_grad=True)
    with pytest.raises(ValueError, match="gradient"):
        parts_of(good, ("diagonal", "isotropic"), 2, x, True)
