"""Variational bounds: of exact models, of the counter-example, in discrete time, repeats and their errors."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from rate_cases import checkpoint, scaled
from tolerances import assert_z

import thermokern as tk

RING = tk.GaussianMixture.ring()


@pytest.mark.parametrize("process", [tk.VP(), tk.VE(10.0), tk.SubVP(), tk.EDM()], ids=lambda p: type(p).__name__)
def test_the_continuous_bound_of_an_exact_model_is_the_likelihood(process: tk.VP, seed: int) -> None:
    """Point by point, within the error that it states."""
    law = tk.GaussianMixture([[1.0, 0.0], [-1.0, 0.5]], variances=[[0.1, 0.4], [0.3, 0.2]], weights=[0.7, 0.3])
    x = law.sample(300, seed=1)
    out = tk.elbo(law, x, process, prior=law, seed=seed)
    exact = tk.log_likelihood(law, x, process, prior=law).values
    error = out.values - exact
    assert_z(float(error.mean() / out.stderr.square().mean().sqrt() * math.sqrt(300)), 4.0, "mean")
    assert 0.6 < float(error.square().mean() / out.stderr.square().mean()) < 1.5
    own = tk.elbo(law, x, process, repeats=4, n_times=8, seed=seed)  # the process's prior: lower by its mismatch
    mismatch = tk.log_likelihood(law, x, process).prior_mismatch
    assert mismatch is not None
    assert bool((own.stderr > 0).all())


def test_a_late_first_time_is_drawn_back_to_the_data(seed: int) -> None:
    """With m far from 1 and an exact score all are the entropy there, less d log m; the ELBO has a mismatch more."""
    process, law = tk.VP.from_sigma(3.0), tk.Gaussian([0.3, -0.2], [0.5, 1.7])
    t_eps = 0.4

    def variances(t: float) -> torch.Tensor:
        return process.mean_scale(t) ** 2 * law.eigenvalues[0] + process.variance(t)

    entropy = 0.5 * (2.0 * math.pi * math.e * variances(t_eps)).log().sum().item()
    entropy -= 2.0 * math.log(process.mean_scale(t_eps))
    last, mean = variances(1.0), process.mean_scale(1.0) * law.means[0]
    mismatch = 0.5 * (last + mean.square() - 1.0 - last.log()).sum().item()
    assert process.mean_scale(t_eps) < 0.85
    out = tk.limits(law, law, process, t_eps=t_eps, n_paths=4000, n_steps=32, n_likelihood=100, seed=seed)
    for name in ("data_entropy", "nll_plugin", "nll_lower_bound", "data_entropy_bound_plugin"):
        estimate = getattr(out, name)
        assert abs(estimate.value - entropy) < 4.0 * estimate.stderr + 1e-3, name
        assert estimate.stderr < 0.05, name
    bound = tk.elbo(law, law.sample(4000, seed=seed), process, t_eps=t_eps, n_times=16, seed=seed)
    assert_z(bound.nll.z(entropy + mismatch), 4.0, "ELBO")


def test_repeats_are_independent_and_know_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spread between seeds is the error stated; chains draw anew for each repeat; pieces change nothing."""
    law, process = tk.Gaussian([0.3, -0.2], [0.5, 1.7]), tk.VP()
    x = law.sample(400, seed=1)
    one, two = (tk.elbo(law, x, process, repeats=6, n_times=4, seed=s) for s in (0, 1))
    ratio = (one.values - two.values).square().mean() / (one.stderr.square() + two.stderr.square()).mean()
    assert 0.7 < float(ratio) < 1.4
    assert bool((tk.elbo(law, x[:9], process, method="ddpm", n_steps=20, repeats=2).stderr > 0.0).all())
    monkeypatch.setattr(sys.modules["thermokern.quantities.likelihood.elbo"], "_BATCH", 2 * 4 * 64)
    pieces = tk.elbo(law, x, process, repeats=6, n_times=4, seed=0)
    assert float((pieces.values - one.values).abs().max()) < 1e-9


def test_the_bound_of_the_counter_example(seed: int) -> None:
    """S_data + ½δ²L of c times the score: less than the flow's NLL for c = 1.1, more than the SDE sampler's."""
    process, law = tk.VE(10.0), tk.Gaussian([0.0], 1.0)
    x = law.sample(4000, seed=seed)
    length = math.log(1.0 + process.variance(1.0))
    for c in (0.9, 1.1):
        out = tk.elbo(scaled(c, process), x, process, prior=law, seed=seed)
        exact = law.log_prob(x, 1e-5, process)
        gap = (exact - out.values).mean().item()
        error = (exact - out.values).std().item() / math.sqrt(4000)
        assert_z((gap - 0.5 * (c - 1.0) ** 2 * length) / error, 4.0, f"c = {c}")


@pytest.mark.parametrize("method", ["ddpm", "ddpm-large", "euler-maruyama"])
def test_the_discrete_bound_is_the_sampler_scheme(method: str) -> None:
    """−bound is Δs of the sampler scheme with the prior, less log p(x_start), path by path."""
    process = tk.VP()
    law, model = RING, checkpoint()
    x = law.sample(50, seed=1)
    out = tk.elbo(model, x, process, method=method, n_steps=100, t_eps=1e-3, seed=3, dtype=torch.float64)
    taep = tk.taep(
        model,
        law,
        process,
        x0=x,
        n_steps=100,
        t_eps=1e-3,
        spacing="log-snr",
        scheme="sampler",
        chain=method,
        from_prior=True,
        seed=3,
        dtype=torch.float64,
    )
    shift = 2.0 * math.log(process.mean_scale(1e-3))
    expected = law.log_prob(taep.x_start, 1e-3, process) - taep.values + shift
    # Starting noise comes in float32 there, in float64 here.
    assert float((out.values - expected).abs().max()) < 1e-2
    assert float((out.values - expected).abs().mean()) < 1e-3
    assert bool(out.stderr.isnan().all())
    assert out.settings["n_steps"] == 100


def test_the_discrete_bound_falls_with_steps(seed: int) -> None:
    law, process = tk.Gaussian([0.3, -0.2], [0.5, 1.7]), tk.VP()
    x = law.sample(4000, seed=1)
    nll = [tk.elbo(law, x, process, method="ddpm", n_steps=n, prior=law, seed=seed).nll.value for n in (50, 200, 800)]
    exact = tk.log_likelihood(law, x, process, prior=law).nll.value
    assert nll[0] > nll[1] > nll[2] > exact
    assert nll[2] - exact < 0.3


def test_bounds_of_one_point_do_not_depend_on_the_others() -> None:
    x = RING.sample(40, seed=1)
    for options in (dict(), dict(method="ddpm", n_steps=20)):
        whole = tk.elbo(RING, x, tk.VP(), **options)
        part = tk.elbo(RING, x[10:], tk.VP(), path_offset=10, **options)
        assert float((part.values - whole.values[10:]).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(method="no"), "method: expected"),
        (dict(n_times=3), "n_times: expected"),
        (dict(repeats=0), "repeats: expected"),
        (dict(backend="gpu"), "backend: expected"),
        (dict(x=torch.zeros(3)), "x: expected"),
    ],
)
def test_bad_arguments_of_a_bound_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"x": torch.zeros(3, 2), **change}
    with pytest.raises(ValueError, match=message):
        tk.elbo(RING, arguments.pop("x"), tk.VP(), **arguments)
