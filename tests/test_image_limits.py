"""What is said of the bound on images of unknown law, held to laws that are known; and the experiment in small."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.kodama2025 import image_limits as experiment
from thermokern.papers.kodama2025.image_limits import FIT, ImageLimits, shipped_image_limits
from thermokern.papers.kodama2025.image_limits_runs import (
    QUICK_DIGITS,
    ImageNetwork,
    compared,
    dequantised,
    mean_score,
    measure,
)

DOCS = Path(__file__).parents[1] / "docs"
PROCESS = tk.VP()
PROFILE = replace(QUICK_DIGITS, n_likelihood=400, rate_steps=96)
TRUTH = tk.Gaussian([0.0] * 4, 0.2)  # a law, whose points stand for images
MODELS = {variance: tk.Gaussian([0.0] * 4, variance) for variance in (0.15, 0.3, 0.23)}
N = 1000


def divergence(variance: float, t: float) -> float:
    """KL of the truth from a Gaussian, both diffused to t, nats."""
    m2, v = PROCESS.mean_scale(t) ** 2, PROCESS.variance(t)
    ratio = (0.2 * m2 + v) / (variance * m2 + v)
    return 0.5 * 4 * (ratio - 1.0 - math.log(ratio))


def mismatch(variance: float) -> float:
    """``∫D E|s_θ − s|²dt``: what the KL divergence falls by, both laws being diffused."""
    return divergence(variance, 1e-5) - divergence(variance, PROCESS.t_end)


def distance(variance: float) -> float:
    """``∫D E|s_θ − s_last|²dt`` by the trapezoid rule in log t."""
    t = torch.logspace(-5.0, 0.0, 4001, dtype=torch.float64)
    m2, v, d = PROCESS.mean_scale(t) ** 2, PROCESS.variance(t), 0.5 * PROCESS.g2(t)
    slopes = 1.0 / (variance * m2 + v) - 1.0 / (0.23 * m2 + v)
    return torch.trapezoid(4.0 * d * slopes.square() * (0.2 * m2 + v) * t, t.log()).item()


@pytest.fixture(scope="module")
def known() -> ImageLimits:
    """Three Gaussians in the place of networks, the last of them in the place of the last network."""
    held, seen = (TRUTH.sample(N, seed=seed).reshape(N, 1, 2, 2) for seed in (1, 2))
    *others, last = MODELS.values()
    means = [mean_score(other, last, PROCESS, held.shape[1:]) for other in others]
    against = tk.taep([*others, *means], last, PROCESS, x0=held, n_steps=100, scheme="backward-ito")
    found = [
        measure(f"step {i + 1}", i + 1, model, PROCESS, held, seen, PROFILE, 0)
        for i, model in enumerate(MODELS.values())
    ]
    found[:-1] = [compared(*each) for each in zip(found[:-1], against[:2], against[2:], strict=True)]
    return ImageLimits(tuple(found), 4, 0.01, 0.0, {"data": "a law", "name": "test", "n_held": N})


def close(estimate: tk.Estimate, expected: float, numerical: float = 0.003) -> bool:
    return abs(estimate.value - expected) < 4.0 * estimate.stderr + numerical


def test_what_is_measured_is_what_the_laws_say(known: ImageLimits) -> None:
    """ELBO = S_data + M, excess = M − M_last, and the plug-in NLL = ½(S_data + ELBO) − ½(…): Eq. 8."""
    entropy = TRUTH.entropy()
    last = mismatch(0.23)
    for variance, found in zip(MODELS, known.networks, strict=True):
        own = mismatch(variance)
        assert own > 0.01
        assert close(found.elbo, entropy + own)
        assert close(found.elbo_seen, entropy + own)
        assert close(found.nll_ode, entropy + divergence(variance, 1e-5))
        gap = found.nll_plugin.value - (found.half_rate.value + 0.5 * entropy)
        assert abs(gap - 0.5 * own) < 4.0 * (found.nll_plugin.stderr + found.half_rate.stderr), "½M is the gap"
        assert close(found.excess, own - last)
        assert close(found.distance, distance(variance))
        surplus = divergence(variance, 1e-5) + entropy - found.nll_plugin.value
        assert abs(found.surplus.value - surplus) < 4.0 * (found.surplus.stderr + found.nll_plugin.stderr)


def test_the_truth_lies_where_it_is_said_to_lie(known: ImageLimits) -> None:
    entropy, last = TRUTH.entropy(), mismatch(0.23)
    *others, final = known.networks
    assert known.ceiling.value > entropy - 4.0 * known.ceiling.stderr
    assert known.ceiling.value < final.elbo.value, "what the others show lowers it"
    for variance, found in zip(MODELS, known.networks, strict=True):
        low, high = known.gap(found)
        truth = 0.5 * mismatch(variance) / (4.0 * math.log(2.0))
        assert low.value - 4.0 * low.stderr < truth < high.value + 4.0 * high.stderr
        own = known.bits(tk.Estimate(0.5 * found.excess.value, 0.0), 0.0).value
        assert low.value > own, "that the last network has a gap of its own adds to that of all"
        low, high = known.bound(found)
        bound = known.bits(tk.Estimate(found.half_rate.value + 0.5 * entropy, 0.0)).value
        assert abs(bound - low.value - 0.5 * known.bits(tk.Estimate(entropy, 0.0)).value) < 1e-9, "½ S_data above it"
        assert bound < high.value + 4.0 * high.stderr
    # Gaussians that differ from the truth almost along one line: the shown mismatch is nearly all of it.
    for found in others:
        assert 0.5 * last < found.least.value + 4.0 * found.least.stderr
        assert found.least.value - 4.0 * found.least.stderr < last
        assert found.least.value > 3.0 * found.least.stderr


def test_outcomes_follow_from_the_entropy_that_is_asked_for(known: ImageLimits) -> None:
    """The bound holds on NLL_ODE exactly where S_data ≤ 2 NLL_ODE + ∫Ṡ_θ − S(p_T)."""
    first = known.networks[0]

    def outcome(entropy: float, surplus: float) -> str:
        changed: ImageNetwork = replace(
            first, entropy_bound=tk.Estimate(entropy, 0.01), surplus=tk.Estimate(surplus, 0.01)
        )
        return known.outcome(changed)

    floor = 4.0 * math.log(0.01)
    assert outcome(floor - 1.0, -1.0) == "fails", "no image has an entropy below 0"
    assert outcome(floor + 1.0, -1.0) == "unknown"
    assert outcome(floor + 1.0, 1.0) == "holds", "then it is above the ELBO, which no entropy is"
    assert outcome(known.ceiling.value + 1.0, -1.0) == "holds"


def test_noise_fills_the_bins() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    spread = dequantised(images, 0.1, 50, seed=3)
    assert spread.shape == (150, 1, 2, 2)
    offsets = spread - images.repeat(50, 1, 1, 1)
    assert offsets.abs().max() <= 0.05 + 1e-6
    assert abs(offsets.var().item() - 0.01 / 12.0) < 1e-4
    assert not torch.equal(spread[:3], spread[3:6])


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.StepTooLongWarning")
def test_the_experiment_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    training = replace(QUICK_DIGITS.training, channels=(8, 8), batch_size=8, saved=(1, 4))
    small = replace(QUICK_DIGITS, training=training, n_held=4, n_likelihood=2, rate_steps=4, n_steps=9, copies=1)
    monkeypatch.setitem(experiment.PROFILES, "quick", (small, small))
    command = ["reproduce", "limits", "--data", "digits", "--profile", "quick", "--quiet", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "S_data lies between 0 and" in capsys.readouterr().out
    found = tk.load(tmp_path / "result.safetensors")
    assert [network.name for network in found.networks] == [FIT, "step 1", "step 4"]
    assert found.dim == 64
    assert found.width == 1.0 / 8.0
    assert all(math.isfinite(network.nll_ode.value) for network in found.networks)
    assert (tmp_path / "image_limits.png").stat().st_size > 10_000
    assert main([*command, "--root", str(tmp_path), "--profile", "full"]) == 2
    assert "--profile: expected shipped, quick or reduced with --data, got full" in capsys.readouterr().err
    assert main(["reproduce", "limits", "--profile", "quick", "--root", str(tmp_path), "--quiet"]) == 2
    assert "--root: expected only with --data" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_shipped_results_are_what_the_page_says(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shipped_image_limits(data)
    assert found.settings["data"] == data
    assert found.tables() in (DOCS / "image_limits.md").read_text()
    command = ["reproduce", "limits", "--data", data, "--profile", "shipped", "--quiet", "--out", str(tmp_path)]
    assert main(command) == 0
    assert found.summary() in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"image_limits.png", "report.html", "result.json"}
    fit, *networks = found.networks
    assert fit.name == FIT
    assert [network.step for network in networks] == sorted(network.step for network in networks)
    # The Gaussian's score is linear, and its moments are the images' own: its three likelihoods are one number.
    for other in (fit.nll_plugin, fit.elbo):
        assert abs(other.value - fit.nll_ode.value) < 4.0 * math.hypot(other.stderr, fit.nll_ode.stderr)
    with pytest.raises(ValueError, match="^--data: expected digits or fashion-mnist with --profile shipped, got"):
        shipped_image_limits("cifar10")
