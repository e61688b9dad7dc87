"""Averages that say what they hide: Pareto shapes, missing overlap, Bennett's estimate."""

from __future__ import annotations

import math
import re
import warnings

import pytest
import torch
from tolerances import assert_z

import thermokern as tk
from thermokern.quantities.results.estimate import exponential_average
from thermokern.quantities.results.pareto import UNRELIABLE, pareto_shape
from thermokern.quantities.taep.overlap import bennett

F64 = torch.float64


def normals(n: int, d: int, seed: int) -> torch.Tensor:
    return tk.ops.normals(n, d, seed=seed, dtype=F64)


def relaxation_weights(s0: float, t: float, seed: int) -> torch.Tensor:
    """``−Δs_tot`` of Ornstein–Uhlenbeck paths from N(0, s0²), whose e^{−Δs} has no variance for s0² < 1/2."""
    z = normals(5000, 2, seed)
    decay = math.exp(-t)
    x0 = s0 * z[:, 0]
    x1 = decay * x0 + math.sqrt(1.0 - decay**2) * z[:, 1]
    spread = decay**2 * s0**2 + 1.0 - decay**2
    system = 0.5 * (x1.square() / spread - x0.square() / s0**2) + 0.5 * math.log(spread / s0**2)
    return -(system - 0.5 * (x1.square() - x0.square()))


def gaussian_weights(d: int, seed: int, scale: float) -> torch.Tensor:
    """``log N(x; 0, scale²)/N(x; 0, 1)`` of x from N(0, I): without variance for scale² ≥ 2."""
    square = normals(5000, d, seed).square().sum(1)
    return 0.5 * square * (1.0 - scale**-2) - d * math.log(scale)


def test_shape_flags_weights_without_variance_and_no_others() -> None:
    heavy = [relaxation_weights(s0, t, seed) for s0 in (0.2, 0.3) for t in (0.1, 1.0, 2.0) for seed in range(3)]
    heavy += [gaussian_weights(d, seed, 2.0) for d in (2, 8) for seed in range(4)]
    good = [gaussian_weights(d, seed, scale) for d in (1, 2) for seed in range(5) for scale in (0.8, 1.1)]
    assert len(heavy) == 26
    assert len(good) == 20
    assert sum(exponential_average(weights, 1.0).has_heavy_tail for weights in heavy) >= 22
    assert sum(exponential_average(weights, 1.0).has_heavy_tail for weights in good) <= 1


def test_a_rare_mode_is_no_heavy_tail() -> None:
    """Forty of 2,000 equal weights, far above the others: a large shape, and a variance that is known well enough."""
    weights = torch.zeros(2000, dtype=F64)
    weights[:40] = math.log(6.0)
    average = exponential_average(weights, 1.0)
    assert average.pareto_shape > UNRELIABLE
    assert average.is_reliable


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.8, 1.2])
def test_shape_of_a_pareto_law(shape: float) -> None:
    """Exact quantiles of a generalised Pareto law have its shape, up to the prior of ten observations at ½."""
    n = 40_000
    u = (torch.arange(n, dtype=F64) + 0.5) / n
    weights = 1.0 + (u.pow(-shape) - 1.0) / shape
    size = math.ceil(3.0 * math.sqrt(n))
    expected = (size * shape + 5.0) / (size + 10.0)
    assert abs(pareto_shape(weights.log()) - expected) < 0.05


def test_shape_of_few_or_equal_weights() -> None:
    assert math.isnan(pareto_shape(torch.zeros(10)))
    assert pareto_shape(torch.zeros(1000)) == -math.inf
    weights = torch.linspace(0.0, 1.0, 1000, dtype=F64)
    assert abs(pareto_shape(weights) - pareto_shape(weights + 500.0)) < 1e-9


def test_the_tail_is_of_three_roots_of_n_weights_and_few_average_as_they_are() -> None:
    """600 of 40,000 weights are of a Pareto law and the others alike; eight alike are no tail, though each is large."""
    u = (torch.arange(600, dtype=F64) + 0.5) / 600
    tail = 1.0 + (u.pow(-0.8) - 1.0) / 0.8
    weights = torch.cat([tail, torch.ones(39_400, dtype=F64)])
    assert abs(pareto_shape(weights.log()) - (600 * 0.8 + 5.0) / 610.0) < 0.05
    assert not exponential_average(torch.zeros(8, dtype=F64), 1.0).has_heavy_tail


def both(model: object, target: object, n: int, seed: int = 0) -> tuple[tk.TAEP, tk.TAEP]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        forward, reverse = (
            tk.taep(model, target, tk.VP(), n_paths=n, n_steps=200, direction=direction, seed=seed)
            for direction in ("forward", "reverse")
        )
    return forward, reverse


def test_an_invented_mode_is_missing_overlap_and_no_doubt_of_the_mean() -> None:
    target = tk.Gaussian([0.0, 0.0], 1.0)
    model = tk.GaussianMixture([[0.0, 0.0], [12.0, 0.0]], std=1.0, weights=[0.5, 0.5])
    forward, reverse = both(model, target, 20_000)
    found = tk.overlap(forward, reverse)
    assert abs(found.missing.value - 0.5) < 0.004
    assert_z([found.outside.z(0.5), found.bennett.z(0.0)], 4.0, "outside, Bennett")
    assert found.forward.is_reliable
    assert "not called into doubt" in found.summary()
    assert "missing overlap" in forward.summary()
    assert abs(forward.mean.value - math.log(2.0)) < 0.01


def test_bennett_is_calibrated_where_the_forward_average_is_not() -> None:
    """N(0, 2²) against N(0, 1) in eight dimensions: weights without variance."""
    missed = 0
    for seed in range(4):
        forward, reverse = both(tk.Gaussian([0.0] * 8, 4.0), tk.Gaussian([0.0] * 8, 1.0), 3000, seed)
        found = tk.overlap(forward, reverse)
        assert abs(found.bennett.z(0.0)) < 3.0
        assert not found.forward.is_reliable
        assert "Bennett" in found.verdict()
        missed += abs(forward.fluctuation_theorem.z(1.0)) > 3.0
    assert missed >= 1


@pytest.mark.parametrize(("n_forward", "n_reverse"), [(20_000, 2_000), (2_000, 20_000)])
def test_bennett_weighs_samples_of_different_sizes(n_forward: int, n_reverse: int) -> None:
    """Closed form: N(μ, 2μ) forward and N(−μ, 2μ) reverse obey p_F(a) = eᵃ p_R(a), and leave nothing to estimate."""
    mu = 1.5
    width = math.sqrt(2.0 * mu)
    found = bennett(mu + width * normals(n_forward, 1, 1)[:, 0], -mu + width * normals(n_reverse, 1, 2)[:, 0])
    assert_z([found.z(0.0)], 4.0, "Bennett")
    assert found.stderr < 0.1


def test_unreliable_averages_are_told() -> None:
    with pytest.warns(tk.FewPathsWarning, match="Pareto shape"):
        tk.taep(tk.Gaussian([0.0] * 8, 4.0), tk.Gaussian([0.0] * 8, 1.0), tk.VP(), n_paths=3000, n_steps=100)


def test_entropy_production_tells_of_weights_without_variance() -> None:
    """An Ornstein–Uhlenbeck process from N(0, 0.2²): 7.6 % of the paths carry an average whose variance is infinite."""
    force, options = tk.LinearForce([[1.0]]), {"n_paths": 5000, "t_end": 2.0, "n_steps": 200}
    with pytest.warns(tk.FewPathsWarning) as told:
        result = tk.entropy_production(force, 1.0, tk.Gaussian([0.0], 0.04), **options)
    assert {re.search(r"of the (\w+) entropy.*Pareto shape", str(each.message))[1] for each in told} == {
        "total",
        "nonadiabatic",
    }
    average = result.total.fluctuation_theorem
    assert average.effective_sample_size > 0.01 * average.n  # which says nothing
    assert "error unreliable" in result.summary()
    assert "error unreliable" in result.plot().axes[0].get_title()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = tk.entropy_production(force, 1.0, tk.Gaussian([0.0], 0.8), **options)
    assert "unreliable" not in good.summary() + good.plot().axes[0].get_title()


def test_overlap_is_saved_and_refuses_what_does_not_belong_together(tmp_path) -> None:
    forward, reverse = both(tk.Gaussian([0.1], 1.0), tk.Gaussian([0.0], 1.0), 500)
    found = tk.overlap(forward, reverse)
    found.save(tmp_path / "overlap.safetensors")
    assert tk.load(tmp_path / "overlap.safetensors").summary() == found.summary()
    with pytest.raises(ValueError, match="^forward: expected forward paths"):
        tk.overlap(reverse, forward)
