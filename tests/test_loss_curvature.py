"""The Hessian of a loss and its Gauss–Newton part: closed forms, the loop of double backward, differences."""

from __future__ import annotations

import pytest
import torch
from learning_cases import PROCESS, drawn, images, perceptron, plain_losses, points, regression, squared
from tolerances import assert_exact
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import thermokern as tk
from thermokern.quantities.learning import loss_curvature, parameter_subset, parameter_subsets
from thermokern.quantities.learning.loss_curvature import placed, samples_of
from thermokern.quantities.learning.products import hessian
from thermokern.quantities.learning.subset_network import SubsetNetwork
from thermokern.quantities.learning.subsets import ParameterSubset


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


LAYERS = {
    "convolution": "up_blocks.1.resnets.0.conv1",
    "linear": "mid_block.resnets.0.time_emb_proj",
    "attention": "mid_block.attentions.0",
    "normalisation": "down_blocks.1.resnets.0.norm2",
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_are_those_of_the_loop_and_of_differences(kind: str) -> None:
    """Rounding, 1e-8 and 1e-5 relative: batched rows, one by one without our attention and norm, and differences."""
    model, data = images()
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


def test_the_sum_is_symmetric_before_it_is_made_so() -> None:
    """Rounding, 1e-10 relative."""
    model, data = images()
    assert isinstance(model.network, nn.Module)
    network = SubsetNetwork(model.network, parameter_subset(model.network.unet, LAYERS["attention"], n=30))
    whole = hessian(network, placed(drawn(model, data, 6), network.theta))
    assert (whole - whole.T).abs().max().item() < 1e-10 * whole.abs().max().item()


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


def test_attention_of_pytorch_and_layer_norm() -> None:
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
