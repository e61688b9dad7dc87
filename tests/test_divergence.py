"""Divergence of any field: closed forms, both modes, probes and their errors."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_exact, assert_z, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.quantities.engine.divergence import Divergence

F64 = torch.float64


def field(x: Tensor) -> Tensor:
    """Not symmetric, not linear; its divergence is known."""
    rolled = x.roll(1, dims=1)
    return x.square() * rolled + rolled.sin()


def known(x: Tensor) -> Tensor:
    return (2.0 * x * x.roll(1, dims=1)).flatten(1).sum(1)


@pytest.mark.parametrize("dim", [2, 3, 7, 64])
def test_exact_divergence(dim: int) -> None:
    x = torch.randn(11, dim, dtype=F64, generator=torch.Generator().manual_seed(dim))
    found = tk.divergence(field, x)
    assert (found.mode, found.reason) == ("forward", "")
    assert rms(found.values - known(x)) < 1e-12 * dim
    assert_exact(found.stderr, torch.zeros(11, dtype=F64))
    small = tk.divergence(field, x, memory_budget=4000)
    assert rms(small.values - found.values) < 1e-12 * dim


def test_images_and_times() -> None:
    x = torch.randn(5, 2, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.9, 5, dtype=F64)
    found = tk.divergence(lambda y, s: s.view(-1, 1, 1, 1) * y * y, x, t)
    assert rms(found.values - 2.0 * t * x.flatten(1).sum(1)) < 1e-12
    law = tk.GaussianMixture.ring()
    points = torch.randn(6, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    model = tk.ScoreModel(lambda y, s: law.score(y, s[0].item(), tk.VP()), tk.VP())
    assert rms(tk.divergence(model, points, 0.3).values - law.divergence(points, 0.3, tk.VP())) < 1e-10


def test_a_perceptron_has_the_fused_kernels_divergence() -> None:
    torch.manual_seed(0)
    model = tk.ScoreModel(tk.ScoreMLP(3, width=16).double().requires_grad_(False), tk.VP(), "epsilon")
    x = torch.randn(9, 3, dtype=F64)
    times = torch.full((9,), 0.4, dtype=F64)
    from thermokern.models import fuse

    _, expected = fuse(model, times[:1], 3, F64)(x, 0)
    assert rms(tk.divergence(model, x, 0.4).values - expected) < 1e-10


@pytest.mark.parametrize("kind", ops.PROBES)
def test_probes_estimate_the_trace_and_know_their_error(kind: str, seed: int) -> None:
    """Over many points the errors are standard normal: mean 0, variance 1; and Rademacher probes have the known one."""
    dim, probes = 6, 40
    matrix = torch.randn(dim, dim, dtype=F64, generator=torch.Generator().manual_seed(2))
    x = torch.zeros(3000, dim, dtype=F64)
    found = tk.divergence(lambda y: y @ matrix.T, x, method="hutchinson", probes=probes, kind=kind, seed=seed)
    error = found.values - matrix.trace()
    assert_z((error.mean() / (error.std() / math.sqrt(len(x)))).item(), 4.0, "mean")
    assert_z(((error / found.stderr).square().mean() - (probes - 1) / (probes - 3)).item() / 0.04, 4.0, "errors")
    symmetric = 0.5 * (matrix + matrix.T)
    spread = {
        "rademacher": 2.0 * (symmetric.square().sum() - symmetric.diagonal().square().sum()),
        "gaussian": 2.0 * symmetric.square().sum(),
        "sphere": 2.0 * dim / (dim + 2.0) * (symmetric.square().sum() - matrix.trace() ** 2 / dim),
    }[kind] / probes
    assert_z((error.square().mean() / spread - 1.0).item() / math.sqrt(2.0 / len(x)), 4.0, "variance")
    few = tk.divergence(lambda y: y @ matrix.T, x, method="hutchinson", probes=3, kind=kind, seed=seed).stderr.square()
    expected = spread * probes / 3.0
    assert_z(((few.mean() - expected) / few.std() * math.sqrt(len(x))).item(), 4.0, "squared error of three probes")


def test_one_probe_has_no_error_and_a_diagonal_jacobian_no_spread() -> None:
    x = torch.randn(4, 5, dtype=F64)
    one = tk.divergence(lambda y: y**3, x, method="hutchinson")
    assert bool(one.stderr.isnan().all())
    assert rms(one.values - 3.0 * x.square().sum(1)) < 1e-12  # Rademacher: v_i² = 1


def test_points_keep_their_probes_in_any_company() -> None:
    x = torch.randn(9, 5, dtype=F64)
    options = {"method": "hutchinson", "probes": 3, "seed": 4}
    whole = tk.divergence(field, x, path_offset=2, **options)
    part = tk.divergence(field, x[4:6], path_offset=6, **options)
    assert rms(whole.values[4:6] - part.values) < 1e-12
    in_batches = tk.divergence(field, x, path_offset=2, memory_budget=1, **options)
    assert rms(whole.values - in_batches.values) < 1e-12


class Cube(torch.autograd.Function):
    """An operation without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3.0 * grad * x**2


def test_reverse_mode_where_there_is_no_forward_mode() -> None:
    x = torch.randn(3, 6, dtype=F64, generator=torch.Generator().manual_seed(5))
    found = tk.divergence(lambda y: Cube.apply(y) * y.roll(1, 1), x)
    assert found.mode == "reverse"
    assert found.reason
    expected = (3.0 * x**2 * x.roll(1, 1)).sum(1)
    assert rms(found.values - expected) < 1e-12
    probed = tk.divergence(lambda y: Cube.apply(y) * y.roll(1, 1), x, method="hutchinson", probes=400, seed=1)
    assert probed.mode == "reverse"
    assert_z(((probed.values - expected) / probed.stderr).tolist(), 4.5, "reverse probes")


def test_lost_tangents_are_found_out() -> None:
    """A custom op with a registered backward alone gives zero tangents without a word."""

    @torch.library.custom_op("thermokern_tests::cube", mutates_args=())
    def cube(x: Tensor) -> Tensor:
        return x**3

    cube.register_autograd(
        lambda ctx, grad: grad * 3.0 * ctx.x**2, setup_context=lambda ctx, inputs, output: setattr(ctx, "x", inputs[0])
    )
    x = torch.randn(4, 3, dtype=F64)
    found = tk.divergence(lambda y: cube(y), x)
    assert found.mode == "reverse"
    assert rms(found.values - 3.0 * x.square().sum(1)) < 1e-12


def test_divergence_is_differentiable_in_the_parameters() -> None:
    weight = torch.tensor(1.5, dtype=F64, requires_grad=True)
    x = torch.randn(4, 3, dtype=F64)
    for method in ("exact", "hutchinson"):
        value = tk.divergence(lambda y: weight**2 * y**3, x, method=method).values.sum()
        (grad,) = torch.autograd.grad(value, weight)
        assert abs(grad.item() - (2.0 * 1.5 * 3.0 * x.square().sum()).item()) < 1e-10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "both"}, "^method: expected one of"),
        ({"kind": "signs"}, "^kind: expected one of"),
        ({"probes": 0}, "^probes: expected an integer of at least 1"),
        ({"seed": -1}, "^seed"),
        ({"x": torch.zeros(3)}, r"^x: expected a tensor \(n, …\) of float32 or float64, got \(3,\)"),
    ],
)
def test_bad_inputs(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tk.divergence(**{"field": field, "x": torch.zeros(3, 2), **change})
    with pytest.raises(TypeError, match="^field: a distribution knows"):
        tk.divergence(tk.GaussianMixture.ring(), torch.zeros(3, 2))
    assert isinstance(tk.divergence(field, torch.zeros(0, 2)), Divergence)
