"""Averages over paths at every node: the reference, closed forms of a Gaussian, laws, repeatability."""

from __future__ import annotations

import math

import pytest
import torch
from test_ops import MANY, PAIRS, generator, reweighted, source
from tolerances import assert_exact, assert_rounding, assert_z, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.processes import LinearProcess, rate_table

F64 = torch.float64
COLUMN = {name: i for i, name in enumerate(ops.OBSERVABLES)}


def averages(process: LinearProcess, pair: tuple[str, str], dim: int, x: Tensor, fused: bool) -> ops.TrajectoryAverages:
    table = rate_table(process, process.grid(11, 1e-2, "log-snr"))
    model = source(pair[0], table, dim, "model")
    assert isinstance(model, ops.MixtureSource) or pair[1] != "shared"
    reference = reweighted(model) if pair[1] == "shared" else source(pair[1], table, dim, "reference")
    run = ops.trajectory_averages if fused else ops.trajectory_averages_reference
    return run(x, table, model, reference, seed=11, path_offset=5)


@pytest.mark.parametrize("process", [tk.VP(), tk.VE()], ids=repr)
@pytest.mark.parametrize(("pair", "dim"), [*zip(PAIRS, (1, 2, 3, 7, 16, 2, 3, 4), strict=True)])
def test_agree_with_their_reference(pair: tuple[str, str], dim: int, process: LinearProcess, device: str) -> None:
    """To rounding; squares and products of scores to the rounding of |s|², of which they are differences."""
    x = 2.0 * torch.randn(MANY, dim, generator=generator(pair, dim))
    fast = averages(process, pair, dim, x.to(device), True)
    fast = fast._make(part.cpu() for part in fast)
    plain, exact = (averages(process, pair, dim, points, False) for points in (x, x.to(F64)))
    assert_rounding(fast.x_last, plain.x_last, exact.x_last, what="x_last")
    for part in ("integrals", "mean", "variance"):
        for i, name in enumerate(ops.OBSERVABLES):
            a, b, c = (getattr(out, part)[:, i] for out in (fast, plain, exact))
            scale = rms(c)
            if name == "divergence":  # a difference of numbers of the size of |s|²
                scale = max(scale, rms(getattr(exact, part)[:, COLUMN["score_squared"]]))
            elif name == "mismatch":  # |δ|², where δ is off by what s is
                scale = max(scale, math.sqrt(scale * rms(getattr(exact, part)[:, COLUMN["score_squared"]])))
            assert_rounding(a.float(), b.float(), c, scale, f"{part} of {name}")
    double = averages(process, pair, dim, x.to(F64), True)
    for part in ("mean", "variance", "integrals", "x_last"):
        a, c = getattr(double, part), getattr(exact, part)
        assert (a - c).abs().max().item() < 1e-9 * (1.0 + c.abs().max().item()), part


@pytest.mark.parametrize("n", [0, 1, 7, MANY, 5000])
def test_any_number_of_paths_and_threads(n: int) -> None:
    x = torch.randn(n, 2, generator=generator(n))
    one = averages(tk.VP(), ("diagonal", "isotropic"), 2, x, True)
    torch.set_num_threads(2)
    assert_exact(averages(tk.VP(), ("diagonal", "isotropic"), 2, x, True), one)
    assert bool(torch.isnan(one.mean).all()) == (n == 0)
    assert bool(torch.isnan(one.variance).all()) == (n < 2)
    if n > 1:
        double, exact = (averages(tk.VP(), ("diagonal", "isotropic"), 2, x.to(F64), fused) for fused in (True, False))
        for part in ("mean", "variance"):
            a, b = getattr(double, part), getattr(exact, part)
            assert ((a - b).abs() <= 1e-11 * (1.0 + b.abs())).all(), part


def test_a_path_does_not_depend_on_its_company() -> None:
    x = torch.randn(MANY, 3, generator=generator("company"))
    table = rate_table(tk.VP(), tk.VP().grid(9, 1e-2))
    model, reference = (source("diagonal", table, 3, key) for key in (1, 2))
    whole = ops.trajectory_averages(x, table, model, reference, seed=1)
    part = ops.trajectory_averages(x[100:], table, model, reference, seed=1, path_offset=100)
    assert_exact(part.integrals, whole.integrals[100:])
    assert_exact(part.x_last, whole.x_last[100:])


def gaussian_case(process: LinearProcess) -> tuple[tk.Gaussian, ops.TrajectoryAverages, Tensor]:
    """An off-centre, anisotropic Gaussian with its exact score on a coarse grid, 200,000 paths."""
    law = tk.Gaussian([1.0, -0.5, 0.2], [0.5, 2.0, 0.05])
    times = process.grid(6, 0.02, "log-snr")
    table = rate_table(process, times)
    n = 200_000
    start = table.mean_scale[0] * law.sample(n, 3) + table.variance[0].sqrt() * ops.normals(n, 3, seed=4)
    return law, ops.trajectory_averages(start, table, law.source(table), law.source(table), seed=3), table.times


@pytest.mark.parametrize("process", [tk.VP(), tk.VE(5.0), tk.SubVP(), tk.EDM(10.0)], ids=repr)
def test_closed_forms_of_a_gaussian(process: LinearProcess) -> None:
    """``q = f²(tr C + m²|μ|²)/D``, ``E|s|² = tr C⁻¹``, ``Ṡ_i = q + 2 f d + D tr C⁻¹`` on a coarse grid."""
    law, out, times = gaussian_case(process)
    n, d = 200_000, 3
    m, v, f, g2 = (getattr(process, name)(times) for name in ("mean_scale", "variance", "f", "g2"))
    diffusion = 0.5 * g2
    variances = m[:, None] ** 2 * law.variances + v[:, None]  # (nodes, d)
    traces = (1.0 / variances).sum(1)
    q = f**2 * (variances.sum(1) + m**2 * law.means.square().sum()) / diffusion
    truth = {
        "score_squared": traces,
        "divergence": -traces,
        "score_overlap": traces,
        "mismatch": torch.zeros_like(traces),
        "current_squared": diffusion * (q + 2.0 * f * d + diffusion * traces),
        "force_score": -f * d,  # Stein's identity
        "force_current": diffusion * (q + f * d),
    }
    for name, expected in truth.items():
        mean, variance = out.mean[:, COLUMN[name]], out.variance[:, COLUMN[name]]
        if name in ("divergence", "mismatch") or not bool(expected.any()):
            assert bool((variance <= (1e-12 * expected).square()).all()), f"{name} is the same on every path"
            assert (mean - expected).abs().max().item() < 1e-6 * (1.0 + expected.abs().max().item())
        else:
            assert_z(((mean - expected) / (variance / n).sqrt()).tolist(), 4.5, name)
    # |s|² of a Gaussian is a sum of squares of normals: variance 2 Σ 1/C²
    spread = out.variance[:, 0] / (2.0 * variances.pow(-2).sum(1)) - 1.0
    assert spread.abs().max().item() < 0.05


@pytest.mark.parametrize("process", [tk.VP(), tk.VE(5.0)], ids=repr)
def test_integrals_are_sums_over_nodes(process: LinearProcess) -> None:
    """The mean over paths of each integral is Σ w × factor × mean at the node; with weights of one's own too."""
    times = process.grid(10, 0.01, "log-snr")
    own = torch.linspace(1.0, 2.0, len(times), dtype=F64)
    for weights in (None, own):
        table = rate_table(process, times, weights)
        model, reference = (source("diagonal", table, 2, key) for key in (1, 2))
        x = torch.randn(MANY, 2, dtype=F64, generator=generator("integrals"))
        out = ops.trajectory_averages(x, table, model, reference)
        h = times.diff()
        w = own if weights is not None else 0.5 * (torch.cat([h, h[:0].new_zeros(1)]) + torch.cat([h.new_zeros(1), h]))
        diffusion = 0.5 * process.g2(times)
        factors = torch.stack([*[diffusion] * 4, 1.0 / diffusion, torch.ones_like(w), 1.0 / diffusion], dim=1)
        expected = (w[:, None] * factors * out.mean).sum(0)
        assert ((out.integrals.mean(0) - expected).abs() <= 1e-12 * expected.abs() + 1e-13).all()


def test_the_integral_of_the_mismatch_is_that_of_a_trajectory() -> None:
    """On the Euler–Maruyama chain, the mismatch that trajectories collect is the one averaged here."""
    process = tk.VE(5.0)  # whose Euler–Maruyama steps have no drift
    law, model = tk.Gaussian([0.0, 0.0], 0.5), tk.Gaussian([0.2, 0.0], [0.5, 0.7])
    times = process.grid(400, 1e-3)
    table = rate_table(process, times)
    x = law.sample(4000, 1)
    out = ops.trajectory_averages(x, table, model.source(table), law.source(table), seed=2)
    taep = tk.taep(model, law, process, x0=x, n_steps=400, t_eps=1e-3, seed=2, dtype=F64)
    ours = out.integrals[:, COLUMN["mismatch"]]
    assert abs(ours.mean().item() - taep.score_matching.value) < 0.02 * taep.score_matching.value


def test_what_is_wrong_is_named() -> None:
    times = tk.VP().grid(4)
    with pytest.raises(ValueError, match=r"^weights: expected \(5,\) finite numbers, got \(4,\)"):
        rate_table(tk.VP(), times, torch.ones(4))
    with pytest.raises(ValueError, match="^weights: expected"):
        rate_table(tk.VP(), times, torch.full((5,), math.nan))
    with pytest.raises(ValueError, match="^times: expected finite increasing"):
        rate_table(tk.VP(), times.flip(0))
    with pytest.raises(ValueError, match="^times: expected times at which the process diffuses"):
        rate_table(tk.SubVP(), torch.tensor([0.0, 0.5, 1.0]))
    table = rate_table(tk.VP(), times)
    law = tk.Gaussian([0.0, 0.0]).source(table)
    with pytest.raises(ValueError, match="^model.means"):
        ops.trajectory_averages(torch.zeros(3, 3), table, law, law)
    with pytest.raises(ValueError, match="^x requires a gradient"):
        ops.trajectory_averages(torch.zeros(3, 2, requires_grad=True), table, law, law)
    with pytest.raises(ValueError, match="^seed"):
        ops.trajectory_averages(torch.zeros(3, 2), table, law, law, seed=-1)
