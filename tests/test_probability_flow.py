"""The probability-flow op: its rule, its grid, the kernel against the reference point by point, bits in any company."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_exact, assert_rounding
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.models import fuse
from thermokern.ops import flow_table as layout
from thermokern.ops.probability_flow import _ERROR, _STAGES
from thermokern.processes import flow_table

PROCESSES = [tk.VP(), tk.VE(12.0), tk.SubVP(), tk.CosineVP(), tk.EDM(), tk.Flow()]
NODES = (0.0, *layout.FRACTIONS, 1.0, 1.0)


def mixture(dim: int, components: int, isotropic: bool) -> tk.GaussianMixture:
    means = 1.5 * ops.normals(components, dim, seed=3, dtype=torch.float64)
    spread = 0.3 + ops.normals(components, dim, seed=4, dtype=torch.float64).square()
    weights = torch.arange(1.0, components + 1.0)
    if components > 2:
        weights[1] = 0.0
    variances = spread[:, :1].expand(-1, dim) if isotropic else spread
    return tk.GaussianMixture(means, variances=variances, weights=weights / weights.sum())


def source_of(law: tk.GaussianMixture, table: ops.FlowTable) -> ops.MixtureSource:
    return ops.MixtureSource(law.means, law.eigenvalues, law.weights, table.mean_scale, table.variance)


def field_of(source: ops.Source) -> ops.FlowField:
    def field(x: Tensor, node: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        score, divergence = source(x, node)
        return score, divergence[:, None]

    return field


def network(dim: int, activation: str = "silu", predicts: str = "epsilon") -> tk.ScoreModel:
    torch.manual_seed(5)
    net = tk.ScoreMLP(dim, width=20, depth=2, activation=activation, time_features=4)
    return tk.ScoreModel(net.double().requires_grad_(False), tk.VP(), predicts)


# --- the rule and the grid ------------------------------------------------------------------------------------------


def test_the_rule_meets_the_order_conditions() -> None:
    """Rows sum to the nodes, the solution satisfies the conditions of quadrature to order 5, the other one to 4."""
    b = [*_STAGES[-1], 0.0]
    other = [weight - error for weight, error in zip(b, _ERROR, strict=True)]
    for row, node in zip(_STAGES, NODES[1:], strict=True):
        assert abs(sum(row) - node) < 1e-15
    for weights, order in ((b, 5), (other, 4)):
        for power in range(order):
            total = sum(w * c**power for w, c in zip(weights, NODES, strict=True))
            assert abs(total - 1.0 / (power + 1)) < 1e-15, f"power {power}"
    # Σ b_i a_ij c_j = 1/6 and Σ b_i a_ij c_j² = 1/12: what quadrature does not see.
    for power, expected in ((1, 1.0 / 6.0), (2, 1.0 / 12.0), (3, 1.0 / 20.0)):
        total = 0.0
        for i, row in enumerate(_STAGES):
            total += b[i + 1] * sum(a * NODES[j] ** power for j, a in enumerate(row))
        assert abs(total - expected) < 1e-15


def test_nodes_stand_where_steps_look_for_them() -> None:
    u = torch.cat([layout.level_positions(level) for level in range(6)])
    for level in range(6):
        for index in range(2**level):
            expected = [(index + c) / 2**level for c in NODES[:6]]
            assert (
                max(abs(u[node].item() - e) for node, e in zip(layout.step_nodes(index, level), expected, strict=True))
                < 1e-15
            )
    assert layout.first_node(6) == len(u)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_the_table_is_the_equation(process: tk.VP) -> None:
    """Ends at t_eps and t_end; dx/du over dt/du is f x − D s, with dt/du by differences."""
    table = flow_table(process, 0.01, 5)
    u = torch.cat([layout.level_positions(level) for level in range(6)])
    order = u.argsort()
    times = table.times[order]
    assert times[0].item() == 0.01
    assert times[-1].item() == process.t_end
    log_snr = process.log_snr(table.times)
    assert float((log_snr - (log_snr[0] + u * (log_snr[1] - log_snr[0]))).abs().max()) < 1e-9
    inside = table.times[(u > 0) & (u < 1)]
    h = 1e-6 * inside
    slope = (process.log_snr(inside + h) - process.log_snr(inside - h)) / (2.0 * h * (log_snr[1] - log_snr[0]))  # du/dt
    columns = table.columns[(u > 0) & (u < 1)] * slope[:, None]
    expected = torch.stack([process.f(inside), -0.5 * process.g2(inside)], dim=1)
    assert float(((columns - expected) / (1.0 + expected.abs())).abs().max()) < 1e-6


def test_a_level_does_not_depend_on_the_number_of_levels() -> None:
    coarse, fine = flow_table(tk.VP(), 1e-4, 4), flow_table(tk.VP(), 1e-4, 7)
    for name in ("times", "columns", "mean_scale", "variance"):
        assert_exact(getattr(fine, name)[: len(coarse.times)].contiguous(), getattr(coarse, name), name)


# --- kernel against reference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dim", "components", "isotropic"), [(1, 1, True), (2, 9, True), (3, 5, False), (16, 3, False)]
)
def test_mixture_kernel_agrees_with_the_reference(dim: int, components: int, isotropic: bool, device: str) -> None:
    table = flow_table(tk.VP(), 1e-4, 9)
    source = source_of(mixture(dim, components, isotropic), table)
    x = 1.5 * ops.normals(40, dim, seed=1, dtype=torch.float64)
    fast = ops.probability_flow(x.to(device), table, source, rtol=1e-5, atol=1e-6)
    fast = fast._make(part.cpu() for part in fast)
    slow = ops.probability_flow_reference(x, table, field_of(source), rtol=1e-5, atol=1e-6)
    assert not fast.status.any()
    assert_exact(fast.evaluations, slow.evaluations, "evaluations")
    scale = 1.0 + slow.divergence.abs().max().item()
    assert float((fast.divergence - slow.divergence[:, 0]).abs().max()) < 1e-12 * scale
    assert float((fast.x_last - slow.x_last).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("dim", "activation", "predicts"),
    [(1, "tanh", "score"), (2, "silu", "epsilon"), (3, "relu", "v"), (5, "gelu-tanh", "entropy")],
)
def test_network_kernel_agrees_with_the_reference(dim: int, activation: str, predicts: str, device: str) -> None:
    model = network(dim, activation, predicts)
    table = flow_table(model.process, 1e-3, 9)
    source = fuse(model, table.times, dim, torch.float64)
    x = ops.normals(20, dim, seed=1, dtype=torch.float64)
    fast = ops.probability_flow(x.to(device), table, source, rtol=1e-3, atol=1e-3)
    fast = fast._make(part.cpu() for part in fast)
    slow = ops.probability_flow_reference(x, table, field_of(source), rtol=1e-3, atol=1e-3)
    assert not fast.status.any()
    assert_exact(fast.evaluations, slow.evaluations, "evaluations")
    assert float((fast.divergence - slow.divergence[:, 0]).abs().max()) < 1e-11 * (1.0 + slow.divergence.abs().max())
    assert float((fast.x_last - slow.x_last).abs().max()) < 1e-11


def test_float32_rounds_as_pytorch_does() -> None:
    table = flow_table(tk.VP(), 1e-3, 8)
    source = source_of(mixture(2, 5, False), table)
    x = 1.5 * ops.normals(500, 2, seed=1)
    fast = ops.probability_flow(x, table, source, rtol=1e-2, atol=1e-2)
    plain, exact = (
        ops.probability_flow_reference(points, table, field_of(source), rtol=1e-2, atol=1e-2)
        for points in (x, x.double())
    )
    assert_rounding(fast.divergence, plain.divergence[:, 0], exact.divergence[:, 0], what="divergence")
    assert_rounding(fast.x_last, plain.x_last, exact.x_last, what="x_last")


# --- bits in any company --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["mixture", "network"])
def test_a_point_gives_the_same_bits_in_any_company(kind: str, dtype: torch.dtype) -> None:
    """Alone, in another order, in pieces, on two threads: points that differ much in how stiff they are."""
    table = flow_table(tk.VP(), 1e-4, 9)
    model = network(2)
    source: ops.Source = source_of(mixture(2, 5, False), table)
    if kind == "network":
        source = fuse(model, table.times, 2, torch.float64)
    x = (ops.normals(257, 2, seed=1) * torch.logspace(-2, 1, 257)[:, None]).to(dtype)

    def run(points: Tensor) -> ops.FlowSums:
        return ops.probability_flow(points.contiguous(), table, source, rtol=1e-4, atol=1e-4)

    whole = run(x)
    assert len(whole.evaluations.unique()) > 3
    assert_exact(
        tuple(torch.cat(parts) for parts in zip(run(x[:7]), run(x[7:8]), run(x[8:]), strict=True)), tuple(whole)
    )
    for i in (0, 100, 256):
        assert_exact(tuple(run(x[i : i + 1])), tuple(part[i : i + 1] for part in whole), f"point {i}")
    order = torch.randperm(257, generator=torch.Generator().manual_seed(0))
    assert_exact(tuple(run(x[order])), tuple(part[order] for part in whole))
    torch.set_num_threads(2)
    assert_exact(tuple(run(x)), tuple(whole))
    assert [tuple(part.shape) for part in run(x[:0])] == [(0, 2), (0,), (0,), (0,)]


def test_deeper_tables_change_no_bit() -> None:
    law = mixture(2, 5, False)
    x = 1.5 * ops.normals(30, 2, seed=1, dtype=torch.float64)
    shallow, deep = (
        ops.probability_flow(x, table, source_of(law, table), rtol=1e-6, atol=1e-6)
        for table in (flow_table(tk.VP(), 1e-4, 5), flow_table(tk.VP(), 1e-4, 10))
    )
    assert not deep.status.any()
    done = shallow.status == 0
    assert 0 < int(done.sum()) < 30, "the shallow table should serve some points and not others"
    assert set(shallow.status.tolist()) == {0, 1}
    assert_exact(tuple(part[done] for part in shallow), tuple(part[done] for part in deep))


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_what_stops_being_finite_is_said() -> None:
    table = flow_table(tk.VE(10.0), 1e-3, 8)
    law = tk.Gaussian([0.0], 1.0)
    good = source_of(law, table)

    def field(x: Tensor, node: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        score, divergence = good(x, node)
        return torch.where(x > 3.0, math.nan, score), divergence[:, None]

    x = torch.tensor([[0.5], [4.0]], dtype=torch.float64)
    out = ops.probability_flow_reference(x, table, field)
    assert out.status.tolist() == [0, 2]
    weights = [torch.ones(4, 1), torch.full((1, 4), 1e38)]
    n = len(table.times)
    wild = ops.MlpSource(weights, torch.ones(n, 5), "silu", torch.full((n,), 1e30), torch.zeros(n))
    assert ops.probability_flow(torch.ones(3, 1), table, wild).status.tolist() == [2, 2, 2]


def test_bad_inputs_name_their_argument() -> None:
    table = flow_table(tk.VP(), 1e-3, 5)
    source = source_of(mixture(2, 3, True), table)
    x = torch.zeros(3, 2)
    for bad, message in (
        (dict(rtol=0.0), "rtol: expected"),
        (dict(atol=2.0), "atol: expected"),
        (dict(x=torch.zeros(3)), "x: expected"),
        (dict(x=torch.full((3, 2), math.nan)), "x: expected finite"),
        (dict(x=torch.zeros(3, 4)), "model.means: expected"),
        (dict(x=torch.zeros(3, 2, requires_grad=True)), "x requires a gradient"),
    ):
        arguments = {"x": x, "table": table, "model": source, **bad}
        with pytest.raises(ValueError, match=message):
            ops.probability_flow(**arguments)
    with pytest.raises(ValueError, match="t_eps: expected"):
        flow_table(tk.VP(), 0.0, 5)


def test_opcheck() -> None:
    table = flow_table(tk.VP(), 1e-3, 4)
    source = source_of(mixture(2, 3, True), table)
    x = ops.normals(5, 2, seed=1, dtype=torch.float64)
    arguments = (x, table.columns, table.levels, source.kind, source.tensors(torch.float64), 1e-3, 1e-3)
    torch.library.opcheck(torch.ops.thermokern.probability_flow.default, arguments)
