"""Limits: the counter-example, exact models, identities of trained networks, the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from rate_cases import checkpoint, scaled
from tolerances import assert_exact, assert_z

import thermokern as tk
from thermokern.cli import main
from thermokern.quantities.likelihood.rate_averages import quadrature
from thermokern.quantities.likelihood.verdicts import Claim, Relation, judge

RING = tk.GaussianMixture.ring()


# --- the counter-example --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("c", "expected"), [(0.9, (0.0219, 0.1479, 0.1557)), (1.1, (0.0270, -0.1635, -0.1557))])
def test_the_counter_example_by_quadrature(c: float, expected: tuple[float, float, float]) -> None:
    """NLL of the ODE, lower bound and plug-in NLL above S_data, by Gauss–Hermite nodes in x and the trapezoid in t."""
    process, law = tk.VE(10.0), tk.Gaussian([0.0], 1.0)
    model = scaled(c, process)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z, weight = torch.tensor(nodes)[:, None], torch.tensor(weights / weights.sum())
    t = process.grid(512, 1e-6, "log-snr")
    rule, _ = quadrature(process, t)
    spread, energy = torch.zeros_like(t), torch.zeros_like(t)
    for k, time in enumerate(t.tolist()):
        x = math.sqrt(1.0 + process.variance(time)) * z
        d = 0.5 * process.g2(time)
        spread[k] = d * -c / (1.0 + process.variance(time))  # D ∇·s_θ
        energy[k] = d * (weight @ model(x, time).square().sum(1))
    s_data = law.entropy()
    s_noise = 0.5 * math.log(2.0 * math.pi * math.e * (1.0 + process.variance(1.0)))
    start = math.sqrt(1.0 + process.variance(1e-6)) * z
    out = tk.log_likelihood(model, start, process, prior=law, t_eps=1e-6, rtol=1e-8, atol=1e-8)
    found = (
        -(weight @ out.values).item() - s_data,
        0.5 * (s_noise - s_data) - 0.5 * (rule @ energy).item(),
        s_noise - s_data + (rule @ spread).item(),
    )
    for value, truth in zip(found, expected, strict=True):
        assert abs(value - truth) < 1e-4, f"{found}"
    # And the closed form: δ = c − 1, L = log(1 + v(1)).
    delta, length = c - 1.0, math.log(1.0 + process.variance(1.0))
    closed = (
        -0.5 * delta * length + 0.5 * math.expm1(delta * length),
        -0.5 * delta * length - 0.25 * delta**2 * length,
        -0.5 * delta * length,
    )
    for value, truth in zip(found, closed, strict=True):
        assert abs(value - truth) < 2e-5, f"{found}, closed {closed}"


def test_the_counter_example_in_verdicts(seed: int) -> None:
    """What theory promises holds; each claim that it does not promise is seen to fail for one of the two models."""
    process, law = tk.VE(10.0), tk.Gaussian([0.0], 1.0)
    runs = {
        c: tk.limits(scaled(c, process), law, process, prior=law, n_paths=8000, n_steps=64, seed=seed)
        for c in (0.9, 1.1)
    }
    length = math.log(1.0 + process.variance(1.0))
    for c, out in runs.items():
        delta = c - 1.0
        assert out.kl_ode is not None
        assert out.squared_difference is not None
        assert_z(out.kl_ode.z(0.5 * (math.expm1(delta * length) - delta * length)), 4.0, "KL of the flow")
        assert_z(out.squared_difference.z(0.5 * delta**2 * length), 4.0, "squared difference")
        assert_z(
            out.verdict("NLL_ODE ≥ lower").margin.z(0.5 * math.expm1(delta * length) + 0.25 * delta**2 * length),
            4.0,
            "bound",
        )
        for verdict in out.verdicts:
            assert not verdict.promised or verdict.outcome in ("holds", "tight"), verdict.line()
    low, high = runs[0.9], runs[1.1]
    assert low.verdict("NLL_ODE ≥ lower").outcome == "fails"
    assert low.verdict("S_data ≤ 2 NLL_ODE").outcome == "fails"
    assert abs(low.verdict("S_data ≤ 2 NLL_ODE").margin.value + 0.252) < 0.05
    assert high.verdict("NLL_plugin ≥ S_data").outcome == "fails"
    assert high.verdict("KL_ODE ≤").outcome == "fails"
    assert {v.statement: (v.likelihood, v.promised) for v in low.verdicts} == {
        "NLL_ODE ≥ S_data": ("ODE", True),
        "NLL_plugin ≥ S_data": ("plug-in", False),
        "NLL_plugin ≥ lower bound (Eq. 6)": ("plug-in", True),
        "NLL_ODE ≥ lower bound (Eq. 6)": ("ODE", False),
        "S_data ≤ 2 NLL_ODE + ∫Ṡ_θ − S_noise": ("ODE", False),
        "S_data ≤ ELBO": ("SDE sampler", True),
        "KL_ODE ≤ ∫D E|s_θ − s_*|²dt + KL(p_T‖π)": ("ODE", False),
        "NLL_plugin = right-hand side of Eq. 8": ("plug-in", True),
        "ELBO with prior p_T = S_data + ⟨Δs_ta⟩": ("SDE sampler", True),
    }


# --- exact models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [tk.VE(10.0), tk.VP()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_an_exact_model_makes_all_bounds_tight(dim: int, process: tk.VP, seed: int) -> None:
    law = tk.Gaussian(torch.linspace(0.0, 0.5, dim), torch.linspace(0.5, 1.5, dim))
    out = tk.limits(law, law, process, prior=law, n_paths=3000, n_steps=64, seed=seed)
    assert abs(out.verdict("NLL_ODE ≥ S_data").margin.value) < 1e-3 * dim
    assert out.squared_difference is not None
    assert out.squared_difference.value < 1e-6
    assert out.data_entropy is not None
    assert_z(out.data_entropy.z(law.entropy()), 4.0, "S_data")
    for name in ("nll_ode", "nll_plugin", "nll_lower_bound", "elbo", "data_entropy_bound", "data_entropy_bound_plugin"):
        estimate = getattr(out, name)
        assert abs(estimate.value - law.entropy()) < 4.0 * estimate.stderr + 1e-3 * dim, name
    assert not any(verdict.outcome == "fails" for verdict in out.verdicts), out.summary()


def test_the_noise_entropy_is_that_of_the_data_and_not_the_prior(seed: int) -> None:
    """Of a box at σ = 10 it lies above the prior's; the prior mismatch is what is between them."""
    process, law = tk.VE(10.0), tk.UniformBox([0.0], [4.0])
    out = tk.limits(law, law, process, n_paths=4000, n_steps=32, n_likelihood=200, t_eps=1e-3, seed=seed)
    v = process.variance(1.0)
    x = torch.linspace(-50.0, 54.0, 200_001, dtype=torch.float64)
    log_p = law.log_prob(x[:, None], 1.0, process)
    truth = -torch.trapezoid(log_p.exp() * log_p, x).item()
    assert_z(out.noise_entropy.z(truth), 4.0, "S_noise")
    log_prior = -0.5 * (x.square() / v + math.log(2.0 * math.pi * v))
    mismatch = torch.trapezoid(log_p.exp() * (log_p - log_prior), x).item()
    assert_z(out.prior_mismatch.z(mismatch), 4.0, "KL(p_T‖π)")
    # The bound on S_data is the lower bound, rearranged: with S_noise, and not the prior, in both.
    assert out.nll_lower_bound is not None
    assert out.data_entropy is not None
    rearranged = out.data_entropy.value + 2.0 * (out.nll_plugin.value - out.nll_lower_bound.value)
    assert abs(out.data_entropy_bound_plugin.value - rearranged) < 1e-9
    assert out.kl_upper is not None  # of an exact score it is the prior mismatch alone
    assert_z(out.kl_upper.z(mismatch), 4.0, "upper bound on KL")
    assert truth - 0.5 * math.log(2.0 * math.pi * math.e * v) > 0.01


# --- a trained network ----------------------------------------------------------------------------------------------


def test_identities_of_a_trained_network(seed: int) -> None:
    """Eq. 8 and ELBO = S_data + ⟨Δs_ta⟩ with the prior p_T; ⟨Δs_ta⟩ is what tk.taep gives."""
    model = checkpoint()
    out = tk.limits(
        model, RING, n_paths=6000, n_steps=100, t_eps=1e-3, n_likelihood=40, rtol=1e-3, atol=1e-3, seed=seed
    )
    for statement in ("NLL_plugin = right", "ELBO with prior"):
        verdict = out.verdict(statement)
        assert verdict.outcome == "holds", verdict.line()
        assert verdict.margin.stderr < 0.3
    for verdict in out.verdicts:
        assert not verdict.promised or verdict.outcome in ("holds", "tight"), verdict.line()
    taep = tk.taep(model, RING, n_paths=4000, n_steps=500, t_eps=1e-3, spacing="log-snr", seed=seed + 1)
    assert out.squared_difference is not None
    error = math.hypot(taep.mean.stderr, out.squared_difference.stderr)
    assert abs(taep.mean.value - out.squared_difference.value) < 4.0 * error + 0.01


def test_points_in_place_of_a_law(seed: int) -> None:
    """S_data given; S(p_T) from the empirical law; what needs the true score is left out."""
    model, points = checkpoint(), RING.sample(2000, seed=seed)
    entropy = tk.Estimate(RING.entropy(), 0.01)
    options = dict(n_steps=32, t_eps=1e-3, n_likelihood=20, rtol=1e-3, atol=1e-3, seed=seed)
    out = tk.limits(model, points, data_entropy=entropy, **options)
    assert (out.kl_upper, out.kl_ode, out.squared_difference) == (None, None, None)
    assert out.nll_lower_bound is not None
    assert out.data_entropy is entropy
    assert abs(out.noise_entropy.value - math.log(2.0 * math.pi * math.e)) < 4.0 * out.noise_entropy.stderr + 0.01
    assert len(out.verdicts) == 6
    certain = tk.limits(model, points, data_entropy=entropy.value, **options)
    assert certain.nll_lower_bound is not None
    assert certain.nll_lower_bound.value == out.nll_lower_bound.value
    assert abs(out.nll_lower_bound.stderr**2 - certain.nll_lower_bound.stderr**2 - 0.005**2) < 1e-12
    bare = tk.limits(model, points, **options)
    assert (bare.data_entropy, bare.nll_lower_bound, bare.verdicts) == (None, None, ())
    assert bare.data_entropy_bound.value == out.data_entropy_bound.value


def test_the_prior_mismatch_adds_to_the_upper_bound() -> None:
    """Of an exact score the bound on KL is the mismatch alone, in the estimate and in the verdict."""
    out = tk.limits(
        RING, RING, tk.VP.from_sigma(3.0), n_paths=1000, n_steps=16, n_likelihood=1000, rtol=1e-3, atol=1e-3
    )
    assert out.kl_upper is not None
    assert out.prior_mismatch.z(0.0) > 6.0
    assert abs(out.kl_upper.value - out.prior_mismatch.value) < 1e-6
    assert abs(out.verdict("KL_ODE ≤").right.value - out.kl_upper.value) < 1e-9


def test_the_last_law_of_points_is_that_of_the_others() -> None:
    """The law that −log p_T is read from leaves out the points that it is read at, and the error counts these alone."""
    far = 1000.0 * torch.arange(8, dtype=torch.float64)[:, None]
    process = tk.VE(10.0)
    apart = tk.limits(lambda x, t: -x, far, process, n_steps=4, n_likelihood=1, rtol=1e-2, atol=1e-2)
    assert apart.noise_entropy.value > 1000.0
    near = tk.limits(RING, RING.sample(2000, seed=1), tk.VP(), n_steps=4, n_likelihood=1, rtol=1e-2, atol=1e-2)
    assert 0.8 < near.noise_entropy.stderr * math.sqrt(1000.0) < 1.25  # −log p of N(0, I) in the plane has variance 1


def test_it_is_stored_and_drawn(tmp_path) -> None:
    out = tk.limits(RING, RING, tk.VP(), n_paths=100, n_steps=16, n_likelihood=10)
    out.save(tmp_path / "l.safetensors")
    again = tk.load(tmp_path / "l.safetensors")
    assert again.summary() == out.summary()
    assert_exact(again.likelihood.values, out.likelihood.values)
    assert again.verdicts == out.verdicts
    json.dumps(out.to_json())
    out.plot().savefig(tmp_path / "l.png")
    with pytest.raises(ValueError, match="statement: expected"):
        out.verdict("nonsense")
    with pytest.raises(ValueError, match="n_likelihood: expected"):
        tk.limits(RING, RING, tk.VP(), n_likelihood=0)


def test_outcomes() -> None:
    one = tk.Estimate(1.0, 0.0)

    def outcome(relation: str, difference: float, stderr: float, slack: float = 0.0) -> str:
        claim = Claim("a", Relation(relation), "b", "ODE", True, "")
        verdict = judge(claim, one, one, tk.Estimate(difference, stderr), slack)
        assert verdict.statement == f"a {relation} b"
        return verdict.outcome

    assert outcome("≥", 0.4, 0.1) == "holds"
    assert outcome("≥", -0.2, 0.1) == "tight"
    assert outcome("≥", -0.4, 0.1) == "fails"
    assert outcome("≥", -0.4, 0.1, 0.2) == "tight"
    assert outcome("=", 0.4, 0.1) == "fails"
    assert outcome("=", -0.2, 0.1) == "holds"
    assert outcome("≥", math.nan, 0.1) == "unknown"
    assert outcome("≤", -0.4, 0.1) == "holds"
    assert outcome("≤", 0.4, 0.1) == "fails"


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_command(tmp_path, capsys) -> None:
    config = tmp_path / "limits.yaml"
    config.write_text(
        "model: {mixture: {means: [[1.0, 0.0], [-1.0, 0.0]], std: 0.5}}\n"
        "data: {mixture: {means: [[1.0, 0.0], [-1.0, 0.0]], std: 0.6}}\n"
        "process: {kind: VP}\nn_paths: 200\nn_steps: 16\nn_likelihood: 20\n"
    )
    assert main(["limits", str(config), "--quiet", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "verdicts:" in printed
    assert "plug-in" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"result.safetensors", "limits.png", "result.json", "report.html"}
    numbers = json.loads((tmp_path / "out" / "result.json").read_text())
    saved = tk.load(tmp_path / "out" / "result.safetensors")
    assert numbers["nll_ode"]["value"] == saved.nll_ode.value
    page = (tmp_path / "out" / "report.html").read_text()
    assert "NLL_ODE ≥ lower bound" in page
    np.save(tmp_path / "points.npy", RING.sample(100, seed=1).numpy())
    config.write_text(
        "model: {ring: {}}\ndata: points.npy\ndata_entropy: 1.5\nprocess: VP\nn_steps: 16\nn_likelihood: 10\n"
    )
    assert main(["limits", str(config), "--quiet"]) == 0
    config.write_text("model: {ring: {}}\nprocess: VP\n")
    assert main(["limits", str(config)]) == 2
    assert "data is missing" in capsys.readouterr().err
