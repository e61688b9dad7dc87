"""Identities of entropy rates: Stein's, controlled and free, and the squared difference of two scores."""

from __future__ import annotations

import math

import pytest
import torch
from rate_cases import GAUSSIANS, checkpoint, closed_forms
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.likelihood.rate_averages import quadrature


@pytest.mark.parametrize("process", [tk.VP(), tk.VE(10.0), tk.SubVP()], ids=lambda p: type(p).__name__)
def test_the_stein_residual(process: tk.VP, seed: int) -> None:
    """It is what the two forms differ by, path by path; 0 of the true score, f d (1 − c) of c times it."""
    law, scale = GAUSSIANS[1], 0.7

    def model(x: Tensor, t: float) -> Tensor:
        return scale * law.score(x, t, process)

    out = tk.entropy_rates(model, law, process, n_paths=4000, n_steps=32, seed=seed)
    difference = out.system.values - out.system_sum.values
    size = out.intrinsic.values.abs() + out.exchange.values.abs() + out.system.values.abs()
    assert float(((difference - out.stein_residual.values) / size).abs().max()) < 1e-5
    exact = tk.entropy_rates(law, law, process, n_paths=4000, n_steps=32, seed=seed)
    if type(process) is tk.VE:
        assert not bool(out.stein_residual.values.any())
        return
    weights, _ = quadrature(process, out.t)
    expected = (1.0 - scale) * law.dim * (weights * process.f(out.t)).sum().item()
    assert_z(out.stein_residual.integral.z(expected), 4.0, "scaled")
    assert_z(exact.stein_residual.integral.z(0.0), 4.0, "exact")
    assert abs(out.stein_residual.integral.z(0.0)) > 6.0


def test_the_controlled_forward_process(seed: int) -> None:
    """Same intrinsic rate, ``Ṡ_e = −2 Ṡ_i − Ṡ_e(forward)``, opposite system rates; closed forms with drift."""
    law, process = GAUSSIANS[1], tk.VP()
    options = dict(n_paths=4000, n_steps=32, seed=seed)
    forward = tk.entropy_rates(law, law, process, **options)
    reverse = tk.entropy_rates(law, law, process, direction="reverse", **options)
    assert_exact(reverse.intrinsic.values, forward.intrinsic.values)
    truth = closed_forms(law, process, forward.t)
    expected = -2.0 * truth["intrinsic"] - truth["exchange"]
    assert_z(((reverse.exchange.values - expected) / reverse.exchange.stderr).tolist(), 4.0, "exchange")
    # Physics, from the drift b = −f x + 2 D s: −f² E|x|²/D + 3 f E[x·s] − 2 D E|s|².
    t, m = forward.t, process.mean_scale(forward.t)
    f, d = process.f(t), 0.5 * process.g2(t)
    c = m[:, None].square() * law.eigenvalues[0] + process.variance(t)[:, None]
    square = c.sum(1) + m.square() * law.means[0].square().sum()
    by_drift = -f.square() * square / d - 3.0 * f * law.dim - 2.0 * d * (1.0 / c).sum(1)
    assert float(((expected - by_drift) / by_drift).abs().max()) < 1e-9
    assert_exact(reverse.system.values, -forward.system.values)
    assert_exact(reverse.system_sum.values, -forward.system_sum.values)


def test_the_exchange_ratio(seed: int) -> None:
    """Without drift −2 for the true score alone and −2/c for c times it; with drift something else."""
    law, process = GAUSSIANS[1], tk.VE(10.0)
    options = dict(n_paths=4000, n_steps=32, seed=seed)
    exact = tk.entropy_rates(law, law, process, direction="reverse", **options)
    assert_z(exact.exchange_ratio.z(-2.0), 4.0, "true score")
    assert exact.exchange_ratio.stderr < 0.05
    for scale in (0.8, 1.25):

        def model(x: Tensor, t: float, scale: float = scale) -> Tensor:
            return scale * law.score(x, t, process)

        out = tk.entropy_rates(model, law, process, direction="reverse", **options)
        assert_z(out.exchange_ratio.z(-2.0 / scale), 4.0, f"{scale} of the score")
        assert abs(out.exchange_ratio.z(-2.0)) > 8.0
        assert out.cross is not None
        by_stein = -2.0 * out.cross.integral.value / out.score_energy.integral.value
        assert abs(by_stein - out.exchange_ratio.value) < 0.1
    drifting = tk.VP(0.1, 4.0)
    out = tk.entropy_rates(law, law, drifting, direction="reverse", **options)
    t, m = out.t, drifting.mean_scale(out.t)
    f, d = drifting.f(t), 0.5 * drifting.g2(t)
    c = m[:, None].square() * law.eigenvalues[0] + drifting.variance(t)[:, None]
    weights, _ = quadrature(drifting, t)
    spread = (weights * (-f * law.dim - 2.0 * d * (1.0 / c).sum(1))).sum()
    intrinsic = (weights * closed_forms(law, drifting, t)["intrinsic"]).sum()
    assert_z(out.exchange_ratio.z((spread / intrinsic).item()), 4.0, "with drift")
    over_time = (-f * law.dim - 2.0 * d * (1.0 / c).sum(1)) / closed_forms(law, drifting, t)["intrinsic"]
    assert float((out.exchange_ratio_values / over_time - 1.0).abs().max()) < 0.1, "over time"
    assert abs(out.exchange_ratio.value + 2.0) > 1.0


def test_steins_identity_of_a_trained_network(seed: int) -> None:
    """``E[∇·s_θ] = −E[s_θ·s_*]`` for any s_θ, over time and integrated, paired path by path."""
    law, model = tk.GaussianMixture.ring(), checkpoint()
    out = tk.entropy_rates(model, law, n_paths=3000, n_steps=40, t_eps=1e-3, seed=seed)
    assert out.cross is not None
    total = out.divergence.values + out.cross.values
    z = total / (out.divergence.stderr + out.cross.stderr)
    assert_z(z.tolist(), 4.5, "over time")
    size = abs(out.cross.integral.value)
    assert abs(out.divergence.integral.value + out.cross.integral.value) < 0.02 * size
    assert out.mismatch is not None
    assert out.mismatch.integral.value > 0.0


def test_steins_identity_on_the_swiss_roll(seed: int) -> None:
    """Of a law with layers, by its exact score; that of a roll 6 % noisier than the data misses it near the data."""
    process, roll = tk.VP(), tk.SwissRoll()
    options = dict(n_paths=20_000, n_steps=16, seed=seed)
    out = tk.entropy_rates(roll, roll, process, **options)
    assert out.backend == "fused"
    assert_z(out.stein_residual.integral.z(0.0), 4.0, "residual")
    assert_z((out.stein_residual.values / out.stein_residual.stderr).tolist(), 4.5, "residual over time")

    def balance(rates: tk.EntropyRates) -> list[float]:
        """Of ``E[∇·s] + E|s|²``, over time."""
        total = rates.divergence.values + rates.score_energy.values
        return (total / (rates.divergence.stderr + rates.score_energy.stderr)).tolist()

    assert_z(balance(out), 4.5, "divergence and square")
    noisier = tk.entropy_rates(tk.SwissRoll(0.53), roll.sample(20_000, seed), process, **options)
    assert abs(balance(noisier)[0]) > 6.0, balance(noisier)


def test_the_squared_difference_two_ways(seed: int) -> None:
    """Kodama and Hinczewski, App. H.4: directly, and from |s_θ|², |s_*|² and their product."""
    law, model = tk.GaussianMixture.ring(), checkpoint()
    options = dict(n_paths=2000, n_steps=40, t_eps=1e-3, dtype=torch.float64)
    double = tk.ScoreModel(model.network.double(), model.process, model.predicts)
    network = tk.entropy_rates(double, law, seed=seed, **options)
    exact = tk.entropy_rates(law, law, model.process, seed=seed, **options)
    assert network.mismatch is not None
    assert network.cross is not None
    direct = network.mismatch.integral.value
    energies = network.score_energy.integral.value + exact.score_energy.integral.value
    assert abs(energies - 2.0 * network.cross.integral.value - direct) < 1e-9 * energies, "on the same paths"
    other = tk.entropy_rates(double, law, seed=seed + 1, **options)
    assert other.mismatch is not None
    error = math.hypot(network.mismatch.integral.stderr, other.mismatch.integral.stderr)
    assert_z((direct - other.mismatch.integral.value) / error, 4.0, "on other paths")
