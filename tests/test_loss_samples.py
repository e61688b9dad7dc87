"""Losses of single samples: by hand, as entropy production, as the training loss."""

from __future__ import annotations

import math

import pytest
import torch
from learning_cases import PROCESS, drawn, perceptron, plain_losses, points
from linear_gaussian_chain import MEAN, VARIANCE, LinearScore
from tolerances import assert_exact, assert_z

import thermokern as tk
from thermokern.quantities.learning import loss_curvature, parameter_subsets
from thermokern.quantities.learning.loss_samples import trajectory_samples


@pytest.mark.parametrize("loss", ["epsilon", "likelihood", "score"])
@pytest.mark.parametrize("predicts", ["epsilon", "score", "x0", "v"])
def test_the_loss_of_a_sample_is_that_of_its_noise(loss: str, predicts: str) -> None:
    """Rounding, 1e-10 relative: ``λ |s_θ(x_t, t) + ε/√v|²`` by hand, the data being one point so that x_t tells ε."""
    model = tk.ScoreModel(perceptron().network, PROCESS, predicts)
    point = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    samples = drawn(model, point, 40, loss)
    x, t = samples.points()
    m, v = PROCESS.mean_scale(t)[:, None], PROCESS.variance(t)[:, None]
    noise = (x - m * point) / v.sqrt()
    weight = {"epsilon": v / 2.0, "likelihood": 0.5 * (1.0 - 1e-3) * PROCESS.g2(t)[:, None], "score": 0.5 + 0.0 * v}
    by_hand = (weight[loss] * (model(x, t) + noise / v.sqrt()).square()).sum(1)
    found = plain_losses(model, samples)
    assert ((found - by_hand).abs() / (1e-6 + by_hand)).max().item() < 1e-9
    assert_z((noise.mean() * math.sqrt(80)).item(), 4.0, "noise")


def test_losses_of_trajectories_are_entropy_production(seed: int) -> None:
    """Sampling: against the exact score's, on the same paths, they obey the fluctuation theorem and Eq. 33."""
    law = tk.Gaussian([MEAN], [[VARIANCE]])
    data, times = law.sample(20_000, seed), PROCESS.grid(300, 0.01, "log-snr")
    losses = []
    for theta in ((0.2, 0.3), (0.0, 0.0)):
        model = tk.ScoreModel(LinearScore(theta), PROCESS)
        samples = trajectory_samples(model, data, torch.Size([1]), times, 3000, 1, seed, 0)
        losses.append(plain_losses(model, samples).detach())
    values = losses[0] - losses[1]
    direct = tk.taep(
        tk.ScoreModel(LinearScore((0.2, 0.3)), PROCESS),
        tk.ScoreModel(LinearScore((0.0, 0.0)), PROCESS),
        x0=data[:3000],
        times=times,
        scheme="backward-ito",
        seed=seed + 1,
    )
    theorem = tk.quantities.results.estimate.exponential_average(values, -1.0)
    assert_z(theorem.z(1.0), 4.0, "⟨e^−Δs⟩")
    error = math.hypot(values.std().item() / math.sqrt(3000), direct.mean.stderr)
    assert_z((values.mean().item() - direct.mean.value) / error, 4.0, "mean")
    spread = values.var().item() * math.sqrt(2.0 / 3000)
    assert abs(values.var().item() - direct.variance.value) < 4.0 * math.hypot(spread, direct.variance.stderr)
    assert direct.mean.value > 20.0 * direct.mean.stderr


@pytest.mark.parametrize("loss", ["epsilon", "likelihood", "score"])
@pytest.mark.parametrize("predicts", ["epsilon", "x0"])
def test_the_mean_of_the_samples_is_the_training_loss(loss: str, predicts: str, seed: int) -> None:
    """Sampling, 4 standard errors of the difference: the loss of the samples against `score_matching_loss`."""
    model = perceptron()
    model = tk.ScoreModel(model.network, PROCESS, predicts)
    data = points()
    mine = plain_losses(model, drawn(model, data, 4000, loss, seed)).detach()
    generator = torch.Generator().manual_seed(seed)
    many = [
        tk.score_matching_loss(
            model, data[torch.randint(50, (100,), generator=generator)], weighting=loss, generator=generator
        ).item()
        for _ in range(60)
    ]
    other = torch.tensor(many, dtype=torch.float64)
    spread = (mine.var() / len(mine) + other.var() / len(other)).sqrt()
    assert_z(((mine.mean() - other.mean()) / spread).item(), 4.0, loss)


def test_samples_depend_on_seed_and_number_alone() -> None:
    """Exact: the first of many are the few; rounding: in other batches."""
    model, data = perceptron(), points()
    few, many = drawn(model, data, 5), drawn(model, data, 50)
    for one, other in zip(few.parts, many.parts, strict=True):
        assert_exact(one, other[:5].contiguous())
    assert not torch.equal(drawn(model, data, 5, seed=1).parts[0], few.parts[0])
    subset = parameter_subsets(model)[1]
    one, two = (loss_curvature(model, data, subset, n_samples=20, chunk=chunk) for chunk in (3, 20))
    assert one.hessian is not None
    assert two.hessian is not None
    assert (one.hessian - two.hessian).abs().max().item() < 1e-12 * one.hessian.abs().max().item()
