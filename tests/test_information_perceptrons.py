"""Information by the fused kernel of perceptrons: which scores take it, and that the numbers are PyTorch's.

``fit_scores``' network is known by its class; others of three dimensions and conditions of two are read when called.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from information_cases import F64, case_b
from tolerances import assert_rounding, rms
from torch import Tensor, nn
from torch.nn import functional

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
        "a network that is no module": (tk.ConditionalModel(lambda x, t, y: -x, VP), None, VP, 3),
        "no parameters": (tk.ScoreModel(torch.nn.Identity(), VP), None, VP, 3),
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


# ---- networks of one's own


class Beside(nn.Module):
    """Time and condition stand beside x; no condition is NaN."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 + 2 + 1 + 2, 20), activation(), nn.Linear(20, 12), activation(), nn.Linear(12, 3)
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        absent = y.isnan().any(1, keepdim=True)
        level = torch.stack([t.log(), torch.sin(3.0 * t)], 1)
        return self.layers(torch.cat([x, level, absent.to(x), torch.where(absent, 0.0, y)], 1))


class Embedded(nn.Module):
    """Embeddings of time and label, added in two layers; x at the output."""

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        self.label, self.time = nn.Embedding(4, width), nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, width))
        self.first, self.second, self.last = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen = self.time(t[:, None].log()) + self.label(y)
        h = torch.tanh(self.first(x) + seen)
        h = torch.tanh(self.second(h) - 0.5 * self.label(y))
        return 0.3 * x + t[:, None] * self.last(h)


class Both(nn.Module):
    """Narrow features into every layer, and a factor that follows the time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 9), nn.Linear(12, 9), nn.Linear(9, 3)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        y = y.nan_to_num(7.0)
        h = functional.relu(self.first(torch.cat([x, y], 1)))
        h = functional.relu(self.second(torch.cat([h, y * t[:, None], t[:, None]], 1)))
        return self.last(h) * (1.0 + t[:, None]) / 2.0


OWN = {"beside": Beside, "embedded": Embedded, "both": Both, "gelu": lambda: Beside(partial(nn.GELU, "tanh"))}


def own_model(name: str, predicts: str = "epsilon") -> tuple[tk.ConditionalModel, Tensor, Tensor]:
    torch.manual_seed(0)
    x, y = case_b().sample(400, 0)
    if name == "embedded":
        return tk.ConditionalModel(OWN[name](), VP, predicts, null=3), x, (y[:, 0] > 0.0).long()
    return tk.ConditionalModel(OWN[name](), VP, predicts, null=torch.full((2,), torch.nan)), x, y


def points_of(x: Tensor, y: Tensor | None) -> tuple[Data, Batch]:
    """At levels from noise to data."""
    t = VP.times_at(torch.linspace(-8.0, 9.0, len(x), dtype=F64))
    m, root = VP.mean_scale(t), VP.variance(t).sqrt()
    noise = ops.normals(len(x), 3, seed=4, dtype=F64)
    batch = Batch(m[:, None] * x + root[:, None] * noise, t, noise, root[:, None], y)
    return Data(x, noise, y, m, root, t), batch


@pytest.mark.parametrize("predicts", ["score", "epsilon", "x0", "v", "flow"])
@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_rates_of_ones_own_network(name: str, predicts: str) -> None:
    """Those of PyTorch to rounding, in both precisions: information, and the entropy of one condition."""
    model, x, y = own_model(name, predicts)
    data, batch = points_of(x, y)
    for make in (
        lambda: information_rates(model, model.unconditional, VP, SHAPE, 0.8),
        lambda: reference_rates(model.given(y[0]), VP, SHAPE, 0.8),
    ):
        found = {}
        for dtype in (torch.float32, F64):
            model.network.to(dtype)
            rates = make()
            assert isinstance(rates, FusedRates)
            fused = rates.fused(data)
            assert fused is not None, rates.refused
            found[dtype] = fused, rates(batch)
        (single, plain), (double, exact) = found[torch.float32], found[F64]
        for k, column in enumerate(exact.unbind(1)):
            # From x_0 a score is made by dividing by √v, here 0.011.
            assert rms(double[:, k] - column) < 4096 * torch.finfo(F64).eps * rms(column), k
            assert_rounding(single[:, k].float(), plain[:, k].float(), column, what=f"column {k}")


class Normalised(Beside):
    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(functional.layer_norm(x, (3,)), t, y)


class Scaled(Beside):
    """The condition is a factor of x."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(x * y.nan_to_num(1.0)[:, :1].abs().mean(), t, y)


class Gated(Beside):
    """The condition is a factor of the output."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, t, y) * y.nan_to_num(1.0)[:, :1]


class TwoWays(Beside):
    """Another function of what is no tensor."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, t, y) * (2.0 if isinstance(x, Tensor) else 1.0)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 257), nn.Linear(257, 3)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x) + y[:, :1].nan_to_num()))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Normalised, "operation layer_norm"),
        (Scaled, "matrices depend on the condition"),
        (Gated, "factor of its output depends on the condition"),
        (TwoWays, "does not reproduce"),
        (Wide, "at most 256 units"),
        (partial(Embedded, 40), "enter by 80 numbers"),
    ],
)
def test_what_turns_out_not_to_be_a_perceptron(make: type[nn.Module], reason: str) -> None:
    """The numbers are PyTorch's own, and the settings say so; nothing else is tried again."""
    torch.manual_seed(0)
    network = make()
    _, x, y = own_model("embedded" if isinstance(network, Embedded) else "beside")
    null = 3 if isinstance(network, Embedded) else torch.full((2,), torch.nan)
    model = tk.ConditionalModel(network, VP, "epsilon", null=null)
    rates = information_rates(model, model.unconditional, VP, SHAPE)
    data, _ = points_of(x, y)
    assert isinstance(rates, FusedRates)
    for _ in range(2):
        assert rates.fused(data) is None
    assert rates.refused is not None
    assert reason in rates.refused
    found = tk.mutual_information(model, None, x, y, **OPTIONS)
    assert found.settings["scores"] == "PyTorch"


def test_ones_own_network_through_mutual_information(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, so that the growth rate's bets are on more conditions than two; evaluation by evaluation."""
    model, x, y = own_model("embedded")
    found = tk.mutual_information(model, None, x, y, **OPTIONS)
    assert found.settings["scores"] == "kernel"
    for module in ("integrands", "growth"):
        name = f"thermokern.quantities.information.{module}.network_rates"
        monkeypatch.setattr(name, lambda plain, *_, **__: plain)
    plain = tk.mutual_information(model, None, x, y, **OPTIONS)
    assert plain.settings["scores"] == "PyTorch"
    assert rms(found.values - plain.values) < 64 * torch.finfo(torch.float32).eps * rms(plain.values)
    assert found.growth is not None
    assert plain.growth is not None
    assert abs(found.growth.value - plain.growth.value) < 1e-5
