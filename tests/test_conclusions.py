"""What summaries say in words: which law at which time, whether to trust, how large, and who is left short."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch

import thermokern as tk
from thermokern.papers.ding2026.sgd_noise import shipped_noise
from thermokern.papers.ding2026.training_course import shipped_course
from thermokern.papers.experiment import ExperimentResult
from thermokern.papers.kodama2025.capacity import shipped_capacity
from thermokern.papers.kodama2025.limits import shipped_limits
from thermokern.papers.kodama2025.penalty import shipped_penalty
from thermokern.papers.premkumar2025 import autoencoder, bets, gaussian, guidance, images
from thermokern.papers.premkumar2025.shipped import shipped
from thermokern.quantities.information.verdicts import certain_in_words, information_in_words
from thermokern.quantities.learning.training_log import TrainingLog, TrainingMeasurement
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
    x, y = RING.means[7].tolist()  # a hundred paths of width 0.25 know it to 0.03
    found = re.match(r"Mode 7, at \((\S+), (\S+)\), is", short)
    assert found
    assert max(abs(float(found[1]) - x), abs(float(found[2]) - y)) < 0.1
    assert short.removeprefix(found[0]).startswith(f" under-covered: it gets {worst} of its due weight")
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
    average = exponential_average(tail, -1.0)
    few = trust(result, fluctuation_theorem=average)
    assert few.startswith("The mean may be used, ⟨exp(−Δs)⟩ = ")
    assert average.doubts()[-1] == "about 1.0 of 2000 paths carry it; use more paths"
    assert f"may not, and so tests nothing: {average.doubts()[0]}. " in few
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


def test_without_ends_there_are_words_all_the_same() -> None:
    torch.manual_seed(0)
    models = [tk.ScoreModel(tk.ScoreMLP(2, width=8, depth=1), tk.VP(), "epsilon") for _ in range(2)]
    result = tk.taep(*models, x0=RING.sample(300), n_steps=9, scheme="backward-ito", keep_ends=False)
    assert len(result.x_start) == 0
    assert "nats per dimension" in result.conclusion()[1]
    assert "at (" not in result.summary()


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
        "against that of samples by ddpm-optimal": schedules(),
        "no law: costs of": schedules(sampler="probability-flow"),
        "the paths of the TAEP, from t = 0.001 to 1": resolved().attribution,
        **learned(),
    }


def schedules(**options: object) -> tk.Schedules:
    options = {"n_paths": 200, "n_times": 30, "n_steps": (3, 8)} | options
    return tk.optimal_schedule(SHORT, RING, tk.VP(), **options)


def resolved(**options: object) -> tk.TAEP:
    options = {"n_steps": 40, "scheme": "backward-ito", "resolve": ("time", "component")} | options
    return tk.taep(SHORT, RING, tk.VP(), **({} if "x0" in options else {"n_paths": 500}), **options)


@cache
def learned() -> dict[str, tk.Result]:
    torch.manual_seed(0)
    model = tk.ScoreModel(tk.ScoreMLP(2, width=8, depth=2), tk.VP(), "epsilon")
    monitor, x = tk.TrainingMonitor(RING, every=1, n_paths=16, n_steps=10, n_generated=50), RING.sample(64).float()
    subset = next(iter(tk.parameter_subsets(model.network, 20)))
    for step in (1, 2):
        monitor(step, model)
    curvature = tk.loss_curvature(model, x, subset, n_samples=32)
    noise = tk.gradient_noise(model, x, subset, n_samples=64)
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    shifted = tk.taep(
        lambda x, t: weight - x, tk.Gaussian([0.0]), tk.VP(), n_paths=300, n_steps=300, scheme="sampler", gradient=True
    )
    return {
        "what the model of each step makes of the paths' ends": monitor.result,
        "at the network's present parameters": curvature,
        "over data, times and noise, at the network's": noise,
        "the loss over data, times and noise": tk.noise_curvature(curvature, noise, top=5),
        "for which ⟨exp(−Δs)⟩ = 1 whatever the parameters": tk.bartlett(
            tk.path_derivatives(shifted, weight, torch.ones(()))
        ),
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


def kinds() -> Iterator[type[tk.Result]]:
    """Every class of results that is no base of others."""
    for module in pkgutil.walk_packages(tk.__path__, "thermokern."):
        if not module.name.endswith(("__main__", "_core", "_cuda", "metrics")):
            importlib.import_module(module.name)
    found: list[type[tk.Result]] = [tk.Result]
    for kind in found:
        found += [one for one in kind.__subclasses__() if one.__module__.startswith("thermokern")]
    return (kind for kind in found if not kind.__subclasses__())


def test_every_kind_of_result_has_words_of_its_own() -> None:
    silent = [k.__name__ for k in kinds() if k.law is tk.Result.law or k.conclusion is tk.Result.conclusion]
    assert not silent
    assert len(set(kinds())) >= 35


def test_experiments_say_what_came_out() -> None:
    """Of those that come with the package; each has its law and its sentences in summary, on its page and in words."""
    shipped_ones: list[ExperimentResult] = [
        *(shipped_noise(), shipped_course(), shipped_limits(), shipped_capacity(), shipped_penalty()),
        shipped("autoencoder", autoencoder.KellyAutoencoder),
        shipped("bets", bets.KellyBets),
        shipped("gaussian", gaussian.KellyGaussian),
        shipped("guidance", guidance.KellyGuidance),
        shipped("images", images.KellyImages),
    ]
    for one in shipped_ones:
        text = " ".join(one.summary().split())
        assert one.law() in text
        assert 1 <= len(one.conclusion()) <= 3
        for sentence in one.conclusion():
            assert sentence in text
            assert sentence.endswith((".", ")."))
            assert "nan" not in sentence.split()
    assert "the smallest bound is 1.192 ± 0.018 bits per dimension, below the entropy 1.4197" in text_of(
        shipped_ones[3]
    )
    assert "in 10 of 90 networks" in text_of(shipped_ones[2])


def text_of(result: tk.Result) -> str:
    return " ".join(result.conclusion())


def test_schedules_say_what_the_best_one_gains() -> None:
    assert "is as good within the error" in text_of(schedules())
    found = schedules(n_paths=4000)
    few = text_of(found)
    other = min(found.compare(3), key=lambda each: each.bound.value)
    assert f"With 3 steps the bound is {found.bound(3)} nats, {found.bound(3).value / 2:.3g} per dimension" in few
    assert f"{other.name}, the best in common use, gives up {other.excess} nats more" in few
    assert other.excess.z(0.0) > 3.0
    assert "nothing is bounded" in text_of(schedules(sampler="probability-flow"))


def test_an_attribution_says_when_and_which() -> None:
    """A model whose second component alone is wrong, and at small noise alone."""
    model = tk.GaussianMixture([[0.0, 0.0]], variances=[[1.0, 0.5]])
    law = tk.Gaussian([0.0, 0.0])
    options = {"n_steps": 60, "scheme": "backward-ito", "resolve": ("time", "component")}
    result = tk.taep(model, law, tk.VP(), n_paths=4000, **options)
    parts = result.attribution
    agree, when, which = parts.conclusion()
    assert agree.startswith("Trustworthy: ")
    assert which.startswith("Component 1 has 100% of it")
    so_far = parts.squared.nodes.cumsum(0) / parts.squared.nodes.sum()
    low, high = (parts.times[int((so_far < share).sum())].item() for share in (0.25, 0.75))
    assert f"from t = {low:.3g} to {high:.3g}" in when
    shifted = tk.taep(model, tk.Gaussian([0.0, 0.7]), tk.VP(), x0=law.sample(4000), **options).attribution
    assert "the reference is not the score of the law" in shifted.conclusion()[0]
    assert shifted.chain.total.z(0.0) < -3.0
    assert "It is negative" in shifted.conclusion()[1]
    nothing = tk.taep(law, law, tk.VP(), n_paths=100, **options).attribution
    assert "cannot be told from 0" in text_of(nothing)
    images = tk.GaussianMixture([[0.0] * 20], variances=[[0.5] * 2 + [1.0] * 18])
    wide = tk.taep(images, tk.Gaussian([0.0] * 20), tk.VP(), n_paths=500, **options).attribution
    assert "The tenth of the 20 components that have most of it has 100%" in wide.conclusion()[-1]


def test_a_training_log_says_whether_training_goes_on() -> None:
    values = torch.linspace(1.0, 3.0, 50)

    def visit(step: int, shift: float, spread: float) -> TrainingMeasurement:
        moved = values + shift + spread * torch.linspace(-1.0, 1.0, 50).roll(7)
        mean = Estimate(moved.mean().item(), 0.1)
        return TrainingMeasurement(step, mean, mean, None, mean, Estimate(0.1 * step, 0.01, ""), 0.1, moved)

    falls = TrainingLog((visit(1, 4.0, 0.1), visit(2, 2.0, 0.1), visit(3, 1.0, 0.2)), math.nan, {})
    assert "between the last two visits it still falls, by 1.00" in text_of(falls)
    assert "Coverage of the data goes from 0.100 ± 0.010 to 0.300 ± 0.010." in text_of(falls)
    still = TrainingLog((visit(1, 4.0, 0.1), visit(2, 2.0, 1.0), visit(3, 1.99, 0.0)), math.nan, {})
    assert "it stands still" in text_of(still)
    assert "One visit" in text_of(TrainingLog(falls.measurements[:1], math.nan, {}))


def test_curvature_and_noise_say_what_they_are_worth() -> None:
    found = learned()
    curvature = next(one for one in found.values() if isinstance(one, tk.Curvature))
    top = curvature.eigenvalues[0].item()
    held = torch.full_like(curvature.eigenvalues, 0.9 * top)
    assert f"{top:.4g} on the samples that its vector comes from" in text_of(curvature)
    assert "it may be trusted" in text_of(replace(curvature, held_out=held))
    assert "take the second number" in text_of(replace(curvature, held_out=0.1 * held))
    assert "split=True" in text_of(replace(curvature, held_out=None))
    noise = next(one for one in found.values() if isinstance(one, tk.GradientNoise))
    p, n = len(noise.mean), noise.settings["n_samples"]
    loud = replace(noise, mean=torch.full((p,), (noise.trace.value * (0.1 + 1.0 / n) / p) ** 0.5, dtype=torch.float64))
    assert "The noise of a batch of about 10 is as large as the mean gradient." in text_of(loud)
    assert f"cannot be told from zero by {n} samples" in text_of(replace(noise, mean=0.0 * noise.mean))


def test_identities_of_derivatives_are_judged() -> None:
    found = next(one for one in learned().values() if isinstance(one, tk.Bartlett))
    assert text_of(found).startswith("Trustworthy: ")
    assert "the second (z = +10.0) is broken" in text_of(replace(found, second=Estimate(1.0, 0.1)))


def test_a_divergence_says_how_exact_it_is() -> None:
    x = RING.sample(20)
    assert text_of(tk.divergence(lambda x: -x, x)) == "Every value is exact, to rounding."
    assert "One probe" in text_of(tk.divergence(lambda x: -x, x, method="hutchinson"))
    mixed = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    many = tk.divergence(lambda x: x @ mixed, x, method="hutchinson", probes=8)
    error = many.stderr.square().mean().sqrt().item()
    assert error > 0.1
    assert f"a standard error of {error:.3g}" in text_of(many)


def test_bets_that_earn_nothing_certify_nothing() -> None:
    """A growth rate that is not above zero bounds no information from below."""
    for value, word in (
        (-8.0, "Nothing is certain"),
        (0.1, "Nothing is certain"),
        (2.1, "At least 2.100 ± 0.062 nats"),
    ):
        said = certain_in_words(tk.Estimate(value, 0.062))
        assert said.startswith(word)


def test_information_that_is_not_seen_is_not_told() -> None:
    nothing = tk.Estimate(0.0, 0.0)
    for value, words in ((-2.0, "No information is seen: -2.0 ± 1.4 nats."), (2.9, "y tells 2.9 ± 1.4 nats of x.")):
        assert information_in_words(tk.Estimate(value, 1.4), None, (), nothing, nothing)[1] == words
