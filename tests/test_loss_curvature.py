"""Curvature and gradient noise of losses on subsets of a network: closed forms, loops, differences, refusals."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from linear_gaussian_chain import MEAN, VARIANCE, LinearScore
from tolerances import assert_exact, assert_z
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import thermokern as tk
from thermokern.quantities.learning import gradient_noise, loss_curvature, parameter_subset, parameter_subsets
from thermokern.quantities.learning.gradient_noise import parts_of_covariance
from thermokern.quantities.learning.loss_curvature import placed, samples_of
from thermokern.quantities.learning.loss_samples import Samples, trajectory_samples
from thermokern.quantities.learning.subset_network import SubsetNetwork
from thermokern.quantities.learning.subsets import ParameterSubset, place_of

PROCESS = tk.VP()


def unet() -> nn.Module:
    """Attention in the second resolution, after which tensors lie channels last; one group norm in every block."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to differentiate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(
            sample_size=4,
            in_channels=1,
            out_channels=1,
            block_out_channels=(4, 8),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=2,
            attention_head_dim=8,
        )
    out: nn.Module = network.double().eval()
    return out


@pytest.fixture(scope="module")
def images() -> tuple[tk.ScoreModel, Tensor]:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to differentiate")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, clip_sample=False)
    data = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return tk.from_diffusers(unet(), scheduler), data


def perceptron(dim: int = 2, seed: int = 0) -> tk.ScoreModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = tk.ScoreMLP(dim, width=8, depth=2).double()
        for parameter in network.parameters():  # its last layer begins at zero
            nn.init.normal_(parameter, std=0.5)
    return tk.ScoreModel(network, PROCESS, "epsilon")


def points(n: int = 50, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def drawn(model: tk.ScoreModel, data: Tensor, n: int, loss: str = "epsilon", seed: int = 0) -> Samples:
    flat = data.flatten(1).double()
    return samples_of(model, flat, data.shape[1:], loss, n, None, 1, seed, 0)


def plain_losses(model: tk.ScoreModel, samples: Samples) -> Tensor:
    """Of the samples, with the network as it is."""
    assert isinstance(model.network, nn.Module)
    return samples.losses(model.network)


# --- closed forms -----------------------------------------------------------------------------------------------------


def squared(network: Any, rows: Tensor) -> Tensor:
    """Linear regression: the last number of a row is to be predicted from the others."""
    out: Tensor = (network(rows[:, :-1])[:, 0] - rows[:, -1]).square()
    return out


def regression(n: int, noise: float, seed: int = 3) -> tuple[nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    error = noise * torch.randn(n, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = network(x)[:, 0] + error
    return network, torch.cat([x, y[:, None]], 1)


def test_linear_regression_has_the_hessian_of_its_inputs() -> None:
    """Exact, 1e-12: ``H = 2 XᵀX/n``; halves are those of the halves of the data, at any chunk."""
    network, rows = regression(40, 1.0)
    subset = parameter_subset(network, "")
    found = loss_curvature(network, rows, subset, loss=squared, chunk=7)
    x = rows[:, :3]
    assert found.hessian is not None
    assert found.halves is not None
    assert (found.hessian - 2.0 * x.T @ x / 40).abs().max().item() < 1e-12
    for half, part in zip(found.halves, (x[:20], x[20:]), strict=True):
        assert (half - 2.0 * part.T @ part / 20).abs().max().item() < 1e-12
    assert found.held_out is not None
    quotient = found.vectors[:, 0] @ (2.0 * x[20:].T @ x[20:] / 20) @ found.vectors[:, 0]
    assert abs(found.held_out[0].item() - quotient.item()) < 1e-12


def test_linear_regression_has_the_gradient_noise_of_its_residuals() -> None:
    """Sampling, 4 standard errors: at the optimum ``C = 4 σ² Σ``, in the trace and along each axis."""
    network, rows = regression(20_000, 0.5)
    found = gradient_noise(network, rows, parameter_subset(network, ""), loss=squared, chunk=5000)
    expected = 4.0 * 0.25 * torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)
    assert_z(found.trace.z(expected.sum().item()), 4.0, "trace")
    error = (8.0 / 20_000) ** 0.5 * expected  # (e x)² has kurtosis 9: the variance of a square is 8
    assert_z(((found.covariance.diagonal() - expected) / error).tolist(), 4.0, "axes")


@pytest.mark.parametrize("predicts", ["epsilon", "score", "x0", "v"])
def test_a_score_linear_in_its_parameters_is_all_gauss_newton(predicts: str) -> None:
    """Exact, 1e-10 relative: no residual part; and by hand for two parameters, ``2 E w a² x xᵀ``."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2).double()

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            return out

    network = Linear()
    model = tk.ScoreModel(network, PROCESS, predicts)
    subset = parameter_subset(network, "layer")
    whole, part = (
        loss_curvature(model, points(), subset, part=part, n_samples=64, loss="likelihood", t_eps=0.1)
        for part in ("hessian", "gauss-newton")
    )
    assert whole.hessian is not None
    assert part.hessian is not None
    assert (whole.hessian - part.hessian).abs().max().item() < 1e-10 * part.hessian.abs().max().item()
    assert part.negative_share == 0.0 or part.eigenvalues.min().item() > -1e-12 * part.eigenvalues.max().item()
    x, _, a, *_ = samples_of(model, points(), torch.Size([2]), "likelihood", 64, 0.1, 1, 0, 0).parts
    by_hand = 2.0 * (a[:, 0] * x[:, 0, 0].square()).mean()
    assert abs(whole.hessian[0, 0].item() / by_hand.item() - 1.0) < 1e-10
    assert whole.trace is not None
    assert abs(whole.trace.value - whole.hessian.trace().item()) < 1e-9 * whole.trace.value


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


# --- the loop of double backward, and differences ---------------------------------------------------------------------

LAYERS = {
    "convolution": "up_blocks.1.resnets.0.conv1",
    "linear": "mid_block.resnets.0.time_emb_proj",
    "attention": "mid_block.attentions.0",
    "normalisation": "down_blocks.1.resnets.0.norm2",
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_are_those_of_the_loop_and_of_differences(kind: str, images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Rounding, 1e-8 and 1e-5 relative: batched rows, one by one without our attention and norm, and differences."""
    model, data = images
    assert isinstance(model.network, nn.Module)
    subset = parameter_subset(model.network.unet, LAYERS[kind], n=20)
    assert subset.kind == kind
    found = loss_curvature(model, data, subset, n_samples=8, split=False)
    assert found.hessian is not None
    samples = placed(drawn(model, data, 8), torch.zeros(1, dtype=torch.float64))
    named = dict(model.network.named_parameters())
    chosen = [(named[f"unet.{name}"], index) for name, index in subset.indices.items()]

    def slope(create: bool) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            loss = plain_losses(model, samples).mean()
            parts = torch.autograd.grad(loss, [p for p, _ in chosen], create_graph=create)
        return torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])

    own = slope(True)
    size = found.hessian.abs().max().item()
    flat = [(p, i) for p, index in chosen for i in index.tolist()]
    for row in range(0, len(own), 3):
        with sdpa_kernel(SDPBackend.MATH):
            parts = torch.autograd.grad(own[row], [p for p, _ in chosen], retain_graph=True)
        alone = torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])
        assert (found.hessian[row] - alone).abs().max().item() < 1e-8 * size
    for row in range(0, len(own), 3):
        parameter, entry = flat[row]
        ends = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                parameter.view(-1)[entry] += step
            ends.append(slope(False))
            with torch.no_grad():
                parameter.view(-1)[entry] -= step
        quotient = (ends[0] - ends[1]) / 2e-4
        assert (found.hessian[row] - quotient).abs().max().item() < 1e-5 * size


def test_the_sum_is_symmetric_before_it_is_made_so(images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Rounding, 1e-10 relative."""
    from thermokern.quantities.learning.products import hessian

    model, data = images
    assert isinstance(model.network, nn.Module)
    network = SubsetNetwork(model.network, parameter_subset(model.network.unet, LAYERS["attention"], n=30))
    whole = hessian(network, placed(drawn(model, data, 6), network.theta))
    assert (whole - whole.T).abs().max().item() < 1e-10 * whole.abs().max().item()


def test_gradients_of_samples_average_to_the_gradient_of_the_batch(images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Rounding, 1e-9 relative: every parameter of the U-Net, those after attention included."""
    from thermokern.quantities.learning.products import gradients

    model, data = images
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


def test_both_ways_to_a_jacobian_agree() -> None:
    """Rounding: reverse mode with many parameters, forward mode with few; against rows of the Jacobian by hand."""
    model, data = perceptron(), points()
    assert isinstance(model.network, nn.Module)
    many = parameter_subset(model, next(s.name for s in parameter_subsets(model) if len(s) > 20))
    whole = loss_curvature(model, data, many, part="gauss-newton", n_samples=16, split=False)
    one = ParameterSubset(many.name, many.kind, "", {name: index[:1] for name, index in [*many.indices.items()][:1]})
    alone = loss_curvature(model, data, one, part="gauss-newton", n_samples=16, split=False)
    assert whole.hessian is not None
    assert alone.hessian is not None
    assert abs(alone.hessian[0, 0].item() / whole.hessian[0, 0].item() - 1.0) < 1e-10
    samples = placed(drawn(model, data, 16), torch.zeros(1, dtype=torch.float64))
    x, t, a = samples.parts[:3]
    name, index = next(iter(one.indices.items()))
    parameter = dict(model.network.named_parameters())[name]
    total = 0.0
    for i in range(16):
        out = model.network(x[i], t[i])[0]
        rows = [torch.autograd.grad(number, parameter, retain_graph=True)[0].flatten()[index[0]] for number in out]
        total += 2.0 * a[i, 0].item() * sum(row.item() ** 2 for row in rows)
    assert abs(alone.hessian[0, 0].item() / (total / 16) - 1.0) < 1e-10


@pytest.mark.parametrize("part", ["hessian", "gauss-newton"])
def test_leading_vectors_are_those_of_the_whole_matrix(part: str) -> None:
    """Rounding, 1e-8 relative: Lanczos against the dense spectrum, in sample and held out."""
    model, data = perceptron(), points()
    subset = max(parameter_subsets(model), key=len)
    dense, few = (loss_curvature(model, data, subset, part=part, n_samples=64, top=top) for top in (None, 3))
    size = dense.eigenvalues[0].item()
    assert few.hessian is None
    assert (few.eigenvalues - dense.eigenvalues[:3]).abs().max().item() < 1e-8 * size
    assert few.held_out is not None
    assert dense.held_out is not None
    assert (few.held_out - dense.held_out[:3]).abs().max().item() < 1e-6 * size
    assert "held out" in few.summary()


def test_attention_of_pytorch_and_layer_norm(images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Rounding: a transformer's block of torch.nn, matched channels of q, k and v, against the loop."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            y = self.norm(x)
            out: Tensor = x + self.attention(y, y, y, need_weights=False)[0]
            return out

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Block().double().eval()
    model = tk.ScoreModel(network, PROCESS, "epsilon")
    data = points(20, 12).view(20, 3, 4)
    subset = parameter_subset(network, "attention", n=24)
    rows = subset.indices["attention.in_proj_bias"]
    assert len(rows) % 3 == 0
    assert_exact(rows[: len(rows) // 3] + 4, rows[len(rows) // 3 : 2 * len(rows) // 3])
    found = loss_curvature(model, data, subset, n_samples=8, split=False)
    samples = placed(drawn(model, data, 8), torch.zeros(1, dtype=torch.float64))
    chosen = [(dict(network.named_parameters())[name], index) for name, index in subset.indices.items()]
    with sdpa_kernel(SDPBackend.MATH):
        parts = torch.autograd.grad(plain_losses(model, samples).mean(), [p for p, _ in chosen], create_graph=True)
        own = torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])
        parts = torch.autograd.grad(own[2], [p for p, _ in chosen])
    alone = torch.cat([part.flatten()[index] for part, (_, index) in zip(parts, chosen, strict=True)])
    assert found.hessian is not None
    assert (found.hessian[2] - alone).abs().max().item() < 1e-10 * found.hessian.abs().max().item()


# --- noise ------------------------------------------------------------------------------------------------------------


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
    from thermokern.quantities.learning.products import gradients

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


# --- resumption, and what is left behind ------------------------------------------------------------------------------

KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_loss_curvature import curvature_of_a_run
curvature_of_a_run({folder!r}, {die})
"""


def curvature_of_a_run(folder: str | None, die_after: int | None) -> tk.Curvature:
    """A run that kills its own process in the middle of a batch."""
    model, data = perceptron(), points()
    assert isinstance(model.network, nn.Module)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if die_after is not None and calls > die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    model.network.register_forward_pre_hook(count)
    return loss_curvature(model, data, parameter_subsets(model)[1], n_samples=20, chunk=2, checkpoint=folder)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Exact, after kill -9; and another calculation is refused."""
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path), die=9)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert (tmp_path / "state.safetensors").is_file()
    again, whole = curvature_of_a_run(str(tmp_path), None), curvature_of_a_run(None, None)
    assert again.hessian is not None
    assert whole.hessian is not None
    assert_exact(again.hessian, whole.hessian)
    assert_exact(again.vectors, whole.vectors)
    assert again.trace == whole.trace
    model = perceptron(seed=1)
    with pytest.raises(ValueError, match="^checkpoint: .*other network"):
        loss_curvature(model, points(), parameter_subsets(model)[1], n_samples=20, chunk=2, checkpoint=tmp_path)


def test_the_network_is_left_as_it_was(images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Exact: parameters, mode, flags; after success and after an exception."""
    model, data = images
    network = model.network
    assert isinstance(network, nn.Module)
    network.requires_grad_(False)
    before, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    subset = parameter_subset(model, "unet.conv_out", n=10)

    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    loss_curvature(model, data, subset, n_samples=4)
    gradient_noise(model, data, subset, n_samples=4)
    handle = network.unet.conv_out.register_forward_hook(broken)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        loss_curvature(model, data, subset, n_samples=4)
    handle.remove()
    assert before.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert_exact(tensor, before[name], name)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert [module.training for module in network.modules()] == modes
    network.requires_grad_(True)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_networks_that_are_no_functions_are_refused_by_name() -> None:
    data = points()

    def model(*layers: nn.Module) -> tk.ScoreModel:
        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(2, 4), *layers, nn.Linear(4, 2)).double()

            def forward(self, x: Tensor, t: Tensor) -> Tensor:
                out: Tensor = self.layers(x)
                return out

        return tk.ScoreModel(Network(), PROCESS, "epsilon")

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x

    for layer, words in (
        (nn.Dropout(0.1), "training mode.*Dropout"),
        (nn.BatchNorm1d(4), "training mode.*BatchNorm"),
        (Noisy(), "random numbers"),
        (Counting(), "buffers layers.1.calls"),
    ):
        one = model(layer)
        subset = parameter_subset(one, "layers.0")
        for verb in (loss_curvature, gradient_noise):
            with pytest.raises(ValueError, match=f"^model: .*{words}"):
                verb(one, data, subset, n_samples=4)
    quiet = model(nn.Dropout(0.1))
    assert isinstance(quiet.network, nn.Module)
    quiet.network.eval()
    assert loss_curvature(quiet, data, parameter_subset(quiet, "layers.0"), n_samples=4).hessian is not None


def test_errors_name_the_argument(images: tuple[tk.ScoreModel, Tensor]) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no clipped scores")
    model, data = perceptron(), points()
    subset = parameter_subsets(model)[0]
    other = parameter_subset(images[0], "unet.conv_out")
    clipped = tk.from_diffusers(unet(), diffusers.DDPMScheduler(clip_sample=True))
    network, rows = regression(6, 1.0)
    own = parameter_subset(network, "")
    cases: list[tuple[str, Any]] = [
        ("^model: .*clipped", lambda: loss_curvature(clipped, images[1], other)),
        ("^model: expected a ScoreModel", lambda: loss_curvature(lambda x, t: x, data, subset)),  # type: ignore[arg-type]
        ("^subset: expected the parameters", lambda: loss_curvature(model, data, other)),
        ("^part: ", lambda: loss_curvature(model, data, subset, part="fisher")),
        ("^loss: ", lambda: loss_curvature(model, data, subset, loss="mse")),
        ("^loss: expected a tensor", lambda: loss_curvature(network, rows, own, loss=lambda net, x: net(x[:, :3]))),
        ('^part: "gauss-newton"', lambda: loss_curvature(network, rows, own, loss=squared, part="gauss-newton")),
        ("^n_samples: expected at most 6", lambda: loss_curvature(network, rows, own, loss=squared, n_samples=7)),
        ("^n_samples: expected at least 2", lambda: loss_curvature(model, data, subset, n_samples=1)),
        ("^n_samples: expected a multiple", lambda: gradient_noise(model, data, subset, n_samples=5)),
        ("^checkpoint: ", lambda: loss_curvature(model, data, subset, top=1, checkpoint="x")),
        ("^per: ", lambda: gradient_noise(model, data, subset, per="batch")),
        ("^name: expected a layer", lambda: parameter_subset(model, "nowhere")),
        ("^network: ", lambda: parameter_subset(lambda x: x, "nowhere")),  # type: ignore[arg-type]
        ("^size: ", lambda: gradient_noise(network, rows, own, loss=squared).per_batch(7, replacement=False)),
    ]
    for words, call in cases:
        with pytest.raises((ValueError, TypeError), match=words):
            call()


# --- subsets ----------------------------------------------------------------------------------------------------------


def test_subsets_are_structured(images: tuple[tk.ScoreModel, Tensor]) -> None:
    """Whole kernels, all pairs of some channels, the same channels of q, k and v; at most n numbers."""
    model, _ = images
    assert isinstance(model.network, nn.Module)
    named = dict(model.network.named_parameters())
    for subset in parameter_subsets(model, n=60):
        assert 0 < len(subset) <= 60, subset.name
        for name, index in subset.indices.items():
            assert len(index.unique()) == len(index), name
            where = torch.zeros(named[name].numel(), dtype=torch.bool)
            where[index] = True
            block = where.view(named[name].shape)
            if block.dim() > 1:
                pairs = block.flatten(2).any(2) if block.dim() > 2 else block
                assert torch.equal(pairs, pairs.any(1)[:, None] & pairs.any(0)[None]), name
                assert block.dim() == 2 or bool((block.flatten(2).all(2) == pairs).all()), name
                rows = pairs.any(1)
                if (bias := subset.indices.get(name.replace("weight", "bias"))) is not None:
                    assert torch.equal(rows.nonzero()[:, 0], bias), name
    subset = parameter_subset(model, "unet.mid_block.attentions.0", n=60)
    q, k, v = (subset.indices[f"unet.mid_block.attentions.0.to_{part}.weight"] for part in "qkv")
    assert torch.equal(q, k)
    assert torch.equal(q, v)
    again, other = (parameter_subset(model, "unet.conv_in", n=20, seed=seed) for seed in (0, 1))
    assert torch.equal(again.indices["unet.conv_in.weight"], other.indices["unet.conv_in.weight"]) is False


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("down_blocks.0.resnets.0.conv1", "encoder"),
        ("unet.mid_block.attentions.0", "bottleneck"),
        ("up_blocks.1.resnets.0.norm1", "decoder"),
        ("up_blocks.0.upsamplers.0.conv", "decoder"),
        ("down_blocks.0.downsamplers.0.conv", "encoder"),
        ("conv_out", "decoder"),
        ("time_embedding.linear_1", ""),
    ],
)
def test_places_are_read_off_names(name: str, place: str) -> None:
    assert place_of(name) == place


# --- the relation -----------------------------------------------------------------------------------------------------


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
