"""What summaries say in words: which law at which time, whether to trust, how large, and who is left short."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import thermokern as tk
from thermokern.quantities.results.estimate import Estimate, exponential_average
from thermokern.quantities.taep.conclusion import due_weight

RING = tk.GaussianMixture.ring()
SHARES = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.4], dtype=torch.float64)
SHORT = tk.GaussianMixture(RING.means, weights=SHARES / SHARES.sum(), std=RING.variances.flatten()[0].sqrt().item())


@pytest.fixture(scope="module")
def result() -> tk.TAEP:
    return tk.taep(SHORT, RING, tk.VP(), n_paths=2000, n_steps=200, seed=1)


def test_a_trustworthy_mean_its_size_and_the_mode_that_is_short(result: tk.TAEP) -> None:
    trust, size, short = result.conclusion()
    assert trust.startswith("Trustworthy: ⟨exp(−Δs)⟩ = ")
    assert f"{result.mean} nats, {result.mean.value / 2:.3g} nats per dimension" in size
    assert f"entropy of the data of {result.data_entropy:.2f} nats" in size
    exact = RING.entropy()
    assert abs(result.data_entropy.z(exact)) < 4.0
    due = 8.0 * 0.4 / SHARES.sum().item()
    worst = result.modes[7].fluctuation_theorem
    assert short.startswith(f"Mode 7 is under-covered: it gets {worst} of its due weight")
    assert abs(worst.value / due - 1.0) < 0.02  # of modes far apart: what the weights say
    assert result.summary().split("\n\n")[1].replace("\n", " ") == " ".join(result.conclusion())


def test_no_mode_is_named_where_all_have_their_weight() -> None:
    shares = torch.tensor([1.0] * 7 + [0.9], dtype=torch.float64)  # told apart by many paths, but a tenth is not much
    model = tk.GaussianMixture(RING.means, weights=shares / shares.sum(), std=RING.variances.flatten()[0].sqrt().item())
    result = tk.taep(model, RING, tk.VP(), n_paths=20_000, n_steps=100)
    assert result.modes[7].mean.value > result.mean.value + 5.0 * result.modes[7].mean.stderr
    assert result.conclusion()[-1] == "No mode gets noticeably less weight than is due."
    assert "most collapsed" not in result.summary()


def trust(result: tk.TAEP, **changed: object) -> str:
    return replace(result, **changed).conclusion()[0]


def test_reasons_for_doubt(result: tk.TAEP) -> None:
    n = 2000
    tail = torch.zeros(n, dtype=torch.float64)
    tail[0] = -30.0
    assert "The mean may be used, ⟨exp(−Δs)⟩ may not: 1.0 of 2000 paths" in trust(
        result, fluctuation_theorem=exponential_average(tail, -1.0)
    )
    low = exponential_average(torch.full((n,), 0.7, dtype=torch.float64) + 1e-2 * torch.randn(n), -1.0)
    assert "the model puts about 50% of its weight where no path goes" in trust(result, fluctuation_theorem=low)
    high = replace(low, value=1.4)
    assert trust(result, fluctuation_theorem=high).startswith("Doubtful: ")
    assert "need not be 1" in trust(result, reference_is_exact=False)
    step = replace(result.step_error, mean=Estimate(0.2, 0.01))
    assert trust(result, step_error=step).startswith("Not to be trusted yet: the step may move the mean by 0.2 nats")
    assert "differs from the score-matching integral by 0.300 ± 0.010 nats (z = +30.0)" in trust(
        result, consistency=Estimate(0.3, 0.01)
    )
    assert trust(result, values=result.values[:1]).startswith("Too few paths")


def test_due_weights_are_numbers_where_they_are_known_and_bounds_elsewhere(result: tk.TAEP) -> None:
    mode = result.modes[7]
    assert due_weight(mode) == str(mode.fluctuation_theorem)
    unsure = replace(mode, fluctuation_theorem=replace(mode.fluctuation_theorem, stderr=1.0), mean=Estimate(2.0, 0.1))
    assert due_weight(unsure) == f"at least {math.exp(-2.0):.2g}"


def test_the_worst_label_is_named() -> None:
    labels = torch.arange(1000) % 2
    x0 = RING.sample(1000)
    x0 = torch.where(labels[:, None] == 1, RING.means[7] + 0.1 * torch.randn(1000, 2), RING.means[1])
    result = tk.taep(SHORT, RING, tk.VP(), x0=x0, n_steps=60, resolve="time", labels=labels)
    assert result.conclusion()[2].startswith("Label 1 is served worst: ")


def laws() -> dict[str, tk.Result]:
    x = RING.sample(300)
    forward = tk.taep(SHORT, RING, tk.VP(), n_paths=300, n_steps=50)
    reverse = tk.taep(SHORT, RING, tk.VP(), n_paths=300, n_steps=50, direction="reverse")
    return {
        "the reference's law at t = 0.001, against": forward,
        "the law of the data points at t = 0.001": tk.taep(SHORT, RING, tk.VP(), x0=x, n_steps=50),
        "the model drives back from the reference's law at t = 1 to t = 0.001": reverse,
        "reverse process makes of the prior at t = 1": tk.taep(
            SHORT, RING, tk.VP(), n_paths=300, n_steps=50, from_prior=True
        ),
        "forward in time, and those that the model drives back": tk.overlap(forward, reverse),
        "reference's law forward in time": tk.detailed_fluctuation_theorem(forward, reverse),
        "carries the prior to at t = 1e-05": tk.log_likelihood(SHORT, x[:5], tk.VP()),
        "the stochastic sampler at t = 1e-05": tk.elbo(SHORT, x[:50], tk.VP()),
        "the deterministic sampler's (ode)": tk.limits(SHORT, RING, tk.VP(), n_paths=100, n_likelihood=20, n_steps=20),
        "the data's law from t = 1e-05": tk.entropy_rates(SHORT, RING, tk.VP(), n_paths=100, n_steps=20),
        "the two samples": tk.coverage(x, SHORT.sample(300)),
        "the points were drawn from": tk.entropy_table(x),
        "drawn from, as far as": tk.kozachenko_leonenko(x),
        "its paths, from t = 0 to 1": tk.entropy_production(
            tk.LinearForce([[1.0, 0.5], [-0.5, 1.0]]), 1.0, tk.Gaussian([0.1, 0.2]), n_paths=100, n_steps=20
        ),
        "whatever law they are from": tk.divergence(lambda x: -x, x[:5]),
    }


def test_every_summary_says_which_law_it_speaks_of() -> None:
    for words, one in laws().items():
        summary = " ".join(one.summary().split())
        assert "speaks of" in summary, type(one)
        assert words in summary, (words, summary)
        assert max(map(len, one.summary().split("\n\n")[-1].splitlines())) <= 140
        assert all(sentence.endswith(".") for sentence in one.conclusion()), one.conclusion()
        assert "nan" not in summary.replace("nanos", "")


def test_coverage_says_what_is_missing() -> None:
    x = RING.sample(3000)
    half = SHORT.sample(2000)
    half = half[half[:, 0] > 0.0]
    first = tk.coverage(x, half).conclusion()[0]
    assert first.startswith("Part of the real points is not reached: coverage is ")
    assert tk.coverage(x, RING.sample(2000, seed=5)).conclusion()[0].startswith("No real region is seen to be missing")
