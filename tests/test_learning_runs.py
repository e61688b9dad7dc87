"""Runs over the parameters of a network: kills, memory, what is left behind, refusals, subsets."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from learning_cases import PROCESS, images, perceptron, points, regression, squared, unet
from tolerances import assert_exact
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.engine.batching import peak_bytes
from thermokern.quantities.learning import gradient_noise, loss_curvature, parameter_subset, parameter_subsets
from thermokern.quantities.learning.subsets import place_of

KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_learning_runs import curvature_of_a_run
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


@pytest.mark.parametrize("part", ["hessian", "gauss-newton", "noise"])
def test_batches_fit_the_memory_they_are_given(part: str) -> None:
    """Rounding, 1e-12 relative: a smaller budget makes smaller batches, within it, and the same matrix."""
    model, data = images()
    subset = parameter_subset(model, "unet.mid_block.attentions.0", n=12)

    def run(budget: int | None) -> tuple[Tensor, int]:
        if part == "noise":
            noise = gradient_noise(model, data, subset, n_samples=16, memory_budget=budget)
            return noise.covariance, noise.settings["chunk"]
        found = loss_curvature(model, data, subset, part=part, n_samples=16, memory_budget=budget)
        assert found.hessian is not None
        return found.hessian, found.settings["chunk"]

    expected, _ = run(None)
    sizes = []
    for budget in (3 * 2**20, 6 * 2**20):
        kept: list[tuple[Tensor, int]] = []
        assert peak_bytes(lambda budget=budget, kept=kept: kept.append(run(budget))) < 1.2 * budget
        found, size = kept[0]
        assert (found - expected).abs().max().item() < 1e-12 * expected.abs().max().item()
        sizes.append(size)
    assert 1 < sizes[0] < sizes[1]


def test_the_network_is_left_as_it_was() -> None:
    """Exact: parameters, mode, flags; after success and after an exception."""
    model, data = images()
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


def test_errors_name_the_argument() -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: no clipped scores")
    model, data = perceptron(), points()
    subset = parameter_subsets(model)[0]
    other = parameter_subset(images()[0], "unet.conv_out")
    clipped = tk.from_diffusers(unet(), diffusers.DDPMScheduler(clip_sample=True))
    network, rows = regression(6, 1.0)
    own = parameter_subset(network, "")
    cases: list[tuple[str, Any]] = [
        ("^model: .*clipped", lambda: loss_curvature(clipped, images()[1], other)),
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


def test_subsets_are_structured() -> None:
    """Whole kernels, all pairs of some channels, the same channels of q, k and v; at most n numbers."""
    model, _ = images()
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
