"""Information by the fused kernel of perceptrons: which scores take it, and that the numbers are PyTorch's."""

from __future__ import annotations

import pytest
import torch
from information_cases import F64, case_b
from tolerances import rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.models import network_under_conditions
from thermokern.quantities.information.gaussian import FusedRates
from thermokern.quantities.information.integral import Batch, Data
from thermokern.quantities.information.integrands import information_rates, reference_rates

VP = tk.VP()
SHAPE = torch.Size([3])
OPTIONS = {"evaluations": 1024, "ends": False}
pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")  # of networks hardly trained


def model_of(kind: str, seed: int = 0) -> tuple[tk.ConditionalModel | tk.ScoreModel, Tensor, Tensor | None]:
    """A network that is hardly trained, and pairs; case B, its conditions as they are, as three labels, or none."""
    x, y = case_b().sample(400, seed)
    given: Tensor | None = y
    if kind == "labels":
        given = (y[:, 0] > 0.0).long() + (y[:, 1] > 0.0).long()
    elif kind == "none":
        given = None
    return tk.fit_scores(x, given, steps=30, width=24, depth=2, process=VP, seed=seed), x, given


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_rates_are_those_of_the_network(kind: str, double: bool) -> None:
    """The same points, levels and noise; in float64 to rounding, in float32 to that of the network's own precision."""
    model, x, y = model_of(kind)
    if double:
        model.network.double()
    assert y is not None
    t = VP.times_at(torch.linspace(-8.0, 9.0, len(x), dtype=F64))
    m, root = VP.mean_scale(t), VP.variance(t).sqrt()
    noise = ops.normals(len(x), 3, seed=4, dtype=F64)
    data = Data(x, noise, y, m, root, t)
    batch = Batch(m[:, None] * x + root[:, None] * noise, t, noise, root[:, None], y)
    fixed = model.given(y[0])
    integrands = {
        "information": information_rates(model, model.unconditional, VP, SHAPE, 0.8),
        "of one condition": information_rates(model, fixed, VP, SHAPE),
        "entropy of a condition": reference_rates(model, VP, SHAPE, 0.8),
        "entropy of one condition": reference_rates(fixed, VP, SHAPE, 0.8),
    }
    for what, rates in integrands.items():
        assert isinstance(rates, FusedRates), what
        found, plain = rates.fused(data), rates(batch)
        assert found.dtype == F64, what
        assert found.shape == plain.shape, what
        eps = torch.finfo(F64 if double else torch.float32).eps
        error = (found - plain).square().mean(0).sqrt() / plain.square().mean(0).sqrt()
        assert bool((error < 64 * eps).all()), (what, error)


def test_a_model_without_conditions() -> None:
    model, x, _ = model_of("none")
    found = tk.neural_entropy(model, x, **OPTIONS)
    assert found.settings["scores"] == "kernel"


@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_quantities_through_the_kernel_are_those_of_pytorch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation by evaluation, to the rounding of float32: information, growth, pairs and candidates, entropy."""
    model, x, y = model_of(kind)
    assert y is not None

    def estimate() -> list[Tensor]:
        information = tk.mutual_information(model, None, x, y, **OPTIONS)
        pairs = tk.pointwise_mutual_information(model, None, x[:6], y[:6], evaluations=16)
        tried = y[:20] if kind == "numbers" else torch.arange(3)  # more than one call of the kernel takes
        candidates = tk.pointwise_mutual_information(model, None, x[:6], candidates=tried, evaluations=16)
        entropy = tk.neural_entropy(model, x, condition=y, **OPTIONS)
        sources.append((information.settings["scores"], entropy.settings["scores"]))
        grown = torch.tensor([0.0 if information.growth is None else information.growth.value], dtype=F64)
        return [information.values, pairs.values, candidates.values, entropy.values, 1.0 + grown]

    sources: list[tuple[object, object]] = []
    fused = estimate()
    for module in ("integrands", "growth"):
        name = f"thermokern.quantities.information.{module}.network_rates"
        monkeypatch.setattr(name, lambda plain, *_, **__: plain)
    plain = estimate()
    assert sources == [("kernel", "kernel"), ("PyTorch", "PyTorch")]
    for one, other in zip(fused, plain, strict=True):
        assert one.shape == other.shape
        assert rms(one - other) < 64 * torch.finfo(torch.float32).eps * rms(other)


def test_what_the_kernel_does_not_take() -> None:
    """Another network or law beside it, other processes, dimensions and outputs, hooks, guidance, own classes."""
    model, _, y = model_of("numbers")
    other, _, _ = model_of("numbers", 1)
    assert y is not None
    assert network_under_conditions(model, model.unconditional, VP, 3) is not None
    network = model.network

    class Own(type(network)):  # type: ignore[misc]
        pass

    changed = Own.__new__(Own)
    changed.__dict__ = network.__dict__
    refused = {
        "two networks": (model, other.unconditional, VP, 3),
        "a law": (model, tk.Gaussian([0.0, 0.0, 0.0], 1.0), VP, 3),
        "a law first": (case_b(), model.unconditional, VP, 3),
        "a function": (model, lambda x, t: -x, VP, 3),
        "another process": (model, model.unconditional, tk.VP(0.2, 20.0), 3),
        "another dimension": (model, model.unconditional, VP, 1),
        "a condition of each on both sides": (model, model, VP, 3),
        "guidance": (model.guided(1.0), model.unconditional, VP, 3),
        "another output": (tk.ConditionalModel(network, VP, "score", model.null), None, VP, 3),
        "no condition": (tk.ScoreModel(network, VP, "epsilon"), None, VP, 3),
        "a class of the caller's": (tk.ConditionalModel(changed, VP, "epsilon"), None, VP, 3),
    }
    for what, arguments in refused.items():
        assert network_under_conditions(*arguments) is None, what
    hook = network.leave.register_forward_hook(lambda *_: None)
    assert network_under_conditions(model, None, VP, 3) is None
    hook.remove()
    assert network_under_conditions(model, None, VP, 3) is not None
    points = torch.randn(50, 2)
    for options in ({"width": 300, "depth": 1}, {"width": 8, "depth": 8}):
        assert network_under_conditions(tk.fit_scores(points, steps=2, **options), None, VP, 2) is None
    labels = torch.arange(50) * 6  # 295 with the null, beside the nine features of a level
    assert network_under_conditions(tk.fit_scores(points, labels, steps=2, width=8), None, VP, 2) is None
