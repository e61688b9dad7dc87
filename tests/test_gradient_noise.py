"""Covariance of the gradients' noise: closed forms, batches, errors, and its relation to curvature."""

from __future__ import annotations

import math
import warnings
from itertools import combinations

import pytest
import torch
from learning_cases import PROCESS, drawn, images, perceptron, plain_losses, points, regression, squared
from tolerances import assert_z
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.learning import gradient_noise, loss_curvature, parameter_subset, parameter_subsets
from thermokern.quantities.learning.gradient_noise import parts_of_covariance
from thermokern.quantities.learning.loss_curvature import placed
from thermokern.quantities.learning.products import gradients
from thermokern.quantities.learning.subset_network import SubsetNetwork
from thermokern.quantities.learning.subsets import ParameterSubset


def test_linear_regression_has_the_gradient_noise_of_its_residuals() -> None:
    """Sampling, 4 standard errors: at the optimum ``C = 4 σ² Σ``, in the trace and along each axis."""
    network, rows = regression(20_000, 0.5)
    found = gradient_noise(network, rows, parameter_subset(network, ""), loss=squared, chunk=5000)
    expected = 4.0 * 0.25 * torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)
    assert_z(found.trace.z(expected.sum().item()), 4.0, "trace")
    error = (8.0 / 20_000) ** 0.5 * expected  # (e x)² has kurtosis 9: the variance of a square is 8
    assert_z(((found.covariance.diagonal() - expected) / error).tolist(), 4.0, "axes")


def test_trajectories_of_a_shifted_gaussian_have_unit_noise(seed: int) -> None:
    """Sampling: ``∂Δs/∂a`` of q_a = N(a, 1) has variance 1 at any a, nearly all of it of where paths start."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.a * PROCESS.mean_scale(t.double()).view(-1, 1) - x

    data = torch.randn(4000, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    model = tk.ScoreModel(Shifted(), PROCESS)
    subset = ParameterSubset("", "linear", "", {"a": torch.tensor([0])})
    found = gradient_noise(model, data, subset, per="trajectory", n_samples=1000, n_steps=100, seed=seed)
    assert_z(found.trace.z(data.var().item()), 4.0, "trace")
    assert abs(found.data_share - 1.0) < 0.02


def test_gradients_of_samples_average_to_the_gradient_of_the_batch() -> None:
    """Rounding, 1e-9 relative: every parameter of the U-Net, those after attention included."""
    model, data = images()
    assert isinstance(model.network, nn.Module)
    samples = placed(drawn(model, data, 5), torch.zeros(1, dtype=torch.float64))
    named = dict(model.network.named_parameters())
    whole = dict(
        zip(named, torch.autograd.grad(plain_losses(model, samples).mean(), list(named.values())), strict=True)
    )
    size = max(part.abs().max().item() for part in whole.values())
    seen = set()
    for subset in parameter_subsets(model, n=10**9):
        found = gradients(SubsetNetwork(model.network, subset), samples).mean(0)
        expected = torch.cat([whole[name].flatten()[index] for name, index in subset.indices.items()])
        assert (found - expected).abs().max().item() < 1e-9 * size, subset.name
        seen |= set(subset.indices)
    assert seen == set(named)


def test_a_batch_without_replacement_is_that_of_all_batches() -> None:
    """Exact, 1e-12: the covariance over all 20 batches of 3 of 6 points; and with replacement C/B."""
    network, rows = regression(6, 1.0)
    found = gradient_noise(network, rows, parameter_subset(network, ""), loss=squared)
    with torch.no_grad():
        each = 2.0 * (network(rows[:, :3])[:, 0] - rows[:, 3])[:, None] * rows[:, :3]
    means = torch.stack([each[list(batch)].mean(0) for batch in combinations(range(6), 3)])
    covariance = torch.cov(means.T, correction=0)
    size = covariance.abs().max().item()
    assert (found.per_batch(3, replacement=False) - covariance).abs().max().item() < 1e-12 * size
    assert (found.per_batch(6, replacement=False)).abs().max().item() < 1e-12 * size
    assert (found.per_batch(3) - torch.cov(each.T) / 3).abs().max().item() < 1e-12 * size


def test_noise_of_batches_falls_with_their_size(seed: int) -> None:
    """Sampling: ``B tr C_B`` over batches of 1, 8 and 64 fresh samples is the trace that single samples give."""
    model, data = perceptron(), points()
    subset = max(parameter_subsets(model), key=len)
    found = gradient_noise(model, data, subset, n_samples=4096, draws=1, seed=seed, chunk=512)
    network = SubsetNetwork(model.network, subset)  # type: ignore[arg-type]

    rows = gradients(network, placed(drawn(model, data, 4096, seed=seed + 1), network.theta)).double()
    for size in (1, 8, 64):
        means = rows.view(-1, size, rows.shape[1]).mean(1)
        squares = (means - means.mean(0)).square().sum(1) * len(means) / (len(means) - 1.0)
        each = tk.Estimate(size * squares.mean().item(), size * squares.std().item() / math.sqrt(len(means)))
        error = math.hypot(each.stderr, found.trace.stderr)
        assert_z((each.value - found.trace.value) / error, 4.0, f"batches of {size}")
        assert abs(size * found.per_batch(size).trace().item() / found.trace.value - 1.0) < 1e-12


def test_parts_of_the_covariance_are_without_bias(seed: int) -> None:
    """Sampling: groups with variance 2 between and 3 within."""
    generator = torch.Generator().manual_seed(seed)
    draws, groups = 3, 20_000
    centre = math.sqrt(2.0) * torch.randn(groups, 1, 1, generator=generator, dtype=torch.float64)
    rows = centre + math.sqrt(3.0) * torch.randn(groups, draws, 1, generator=generator, dtype=torch.float64)
    between, within = parts_of_covariance(rows.view(-1, 1), draws)
    total = 2.0 + 1.0
    assert_z((between.item() - 2.0) / (total * math.sqrt(2.0 / groups)), 4.0, "between")
    assert_z((within.item() - 3.0) / (3.0 * math.sqrt(2.0 / (groups * (draws - 1)))), 4.0, "within")


def test_the_error_of_the_trace_covers_a_longer_run() -> None:
    """Sampling: at 2 standard errors, in at least 90 of 100 seeds."""
    model, data = perceptron(), points()
    subset = parameter_subset(model, parameter_subsets(model)[-1].name)
    truth = gradient_noise(model, data, subset, n_samples=8192, seed=1000, chunk=2048).trace.value
    covered = 0
    for seed in range(100):
        found = gradient_noise(model, data, subset, n_samples=512, seed=seed, chunk=512).trace
        covered += abs(found.z(truth)) < 2.0
    assert covered >= 90


def test_slopes_of_planted_layers() -> None:
    """Exact: noise proportional to a power of the curvature has that slope, everywhere, without error."""
    model, data = perceptron(), points()
    subsets = parameter_subsets(model)[:3]
    curvatures = [loss_curvature(model, data, s, part="gauss-newton", n_samples=32) for s in subsets]
    noises = []
    for curvature, subset in zip(curvatures, subsets, strict=True):
        noise = gradient_noise(model, data, subset, n_samples=32)
        power = curvature.eigenvalues.clamp_min(1e-30) ** 1.5
        planted = curvature.vectors @ torch.diag(power) @ curvature.vectors.T
        noises.append(type(noise)(**{**noise.__dict__, "covariance": planted}))
    found = tk.noise_curvature(curvatures, noises, top=3)
    assert abs(found.in_sample["all layers"].value - 1.5) < 1e-6
    assert found.in_sample["all layers"].stderr < 1e-6
    assert set(found.held_out) == set(found.in_sample)
    assert found.held_out["all layers"].value != found.in_sample["all layers"].value
    text = found.summary()
    assert "2L/d" in text
    with pytest.raises(ValueError, match="^noises: expected one for each"):
        tk.noise_curvature(curvatures, noises[:2])
    with pytest.raises(ValueError, match="^noises: expected the subset"):
        tk.noise_curvature(curvatures, noises[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.plot()
