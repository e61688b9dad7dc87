"""Which networks the fused kernels recognise, and what is said of the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import thermokern as tk
from thermokern.models import exact_divergence, fuse
from thermokern.models.score_model import PREDICTIONS
from thermokern.ops.checks import NotFusable

TIMES = tk.VP().grid(4)


class FourierNet(nn.Module):
    """Random Fourier features of log t, a time branch added after every layer, functional activations."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(5))
        self.first, self.second, self.last = nn.Linear(2, 16), nn.Linear(16, 12), nn.Linear(12, 2)
        self.time = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Linear(16, 28))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t.log().unsqueeze(-1) * self.frequencies
        shift = self.time(torch.cat([angle.sin(), angle.cos()], -1))
        h = torch.tanh(self.first(x) + shift[:, :16])
        return self.last(torch.tanh(self.second(h) - shift[:, 16:]))


class Preconditioned(nn.Module):
    """EDM-like: a time-dependent skip and output factor around a perceptron on [x, log t]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out = self.body(torch.cat((x, t[:, None].log() / 4), dim=1))
        return (1.0 - t)[:, None] * x / 2 + t[:, None] ** 2 * out


class Casting(Preconditioned):
    """Numbers of time that it makes in float64 and casts to what x is."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = x.to(dtype=x.dtype)
        return self.body(torch.cat((x, t.double().square()[:, None].to(x)), dim=1)) * t.double().type_as(x)[:, None]


class Coarse(Preconditioned):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x.to(torch.bfloat16).to(x.dtype), t)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = functional.relu(self.a(x))
        return self.c(functional.relu(self.b(h)) + h)


class Branching(nn.Module):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Hooked(tk.ScoreMLP):
    """A layer that a hook changes."""

    def __init__(self) -> None:
        super().__init__(2, width=8, depth=1)
        self.layers[0].register_forward_hook(lambda module, inputs, output: 2.0 * output)


class Switching(tk.ScoreMLP):
    """Another function from a time on."""

    def __init__(self) -> None:
        super().__init__(2, width=8, depth=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x, t) if t.max() < 0.4 else -super().forward(x, t)


class TwoWays(tk.ScoreMLP):
    """Another function of what is no tensor."""

    def __init__(self) -> None:
        super().__init__(2, width=8, depth=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x, t) * (2.0 if isinstance(x, Tensor) else 1.0)


def small(*layers: nn.Module) -> nn.Module:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.layers(x)

    return Small()


RECOGNISED = {
    "ScoreMLP": lambda: tk.ScoreMLP(2, width=20, depth=2),
    "tanh": lambda: tk.ScoreMLP(2, width=9, depth=4, activation="tanh"),
    "Fourier": FourierNet,
    "preconditioned": Preconditioned,
    "casts": Casting,
    "hook": Hooked,
    "no time": lambda: small(nn.Linear(2, 7), nn.ReLU(), nn.Dropout(0.5).eval(), nn.Linear(7, 2, bias=False)),
}
REFUSED = {
    "ELU": (lambda: small(nn.Linear(2, 4), nn.ELU(), nn.Linear(4, 2)), "do not know the operation elu"),
    "exact GELU": (lambda: small(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2)), "operation gelu"),
    "wide": (lambda: tk.ScoreMLP(2, width=257, depth=1), "at most 256 units"),
    "mixed": (lambda: small(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), "mixes"),
    "coarser": (Coarse, "casts x to another precision"),
    "residual": (Residual, "skips a layer"),
    "control flow": (Branching, "do not know the operation sum"),
    "linear": (lambda: small(nn.Linear(2, 2)), "last hidden layer"),
    "float64": (lambda: tk.ScoreMLP(2).double(), "in float64 and the paths are not"),
    "a way chosen by the time": (Switching, "depends on the value of t"),
    "two ways": (TwoWays, "does not reproduce"),
    "normalised": (lambda: small(nn.Linear(2, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2)), "operation layer_norm"),
}


@pytest.mark.parametrize("predicts", PREDICTIONS)
@pytest.mark.parametrize("make", RECOGNISED.values(), ids=RECOGNISED.keys())
def test_recognised_networks_give_the_network_s_score_and_divergence(make, predicts: str) -> None:
    torch.manual_seed(0)
    model = tk.ScoreModel(make().eval(), tk.VP(), predicts)
    source = fuse(model, TIMES, 2)
    x = 2.0 * torch.randn(9, 2)
    for node, t in enumerate(TIMES.tolist()):
        score, divergence = source(x, node)
        expected, trace = exact_divergence(lambda y, t=t: model(y, t), x)
        scale = 1.0 + expected.abs().max().item() + trace.abs().max().item()
        assert (score - expected).abs().max().item() < 1e-5 * scale
        assert (divergence - trace).abs().max().item() < 1e-5 * scale
    target = tk.GaussianMixture.ring()
    fused, plain = (tk.taep(model, target, n_paths=64, n_steps=20, backend=b) for b in ("auto", "reference"))
    assert fused.backend == "fused"
    assert (fused.values - plain.values).abs().max().item() < 1e-4 * (1.0 + plain.values.abs().max().item())


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_other_networks_are_refused_with_the_reason(make, reason: str) -> None:
    torch.manual_seed(0)
    model = tk.ScoreModel(make(), tk.VP())
    with pytest.raises(NotFusable, match=reason):
        fuse(model, TIMES, 2)


def test_what_cannot_be_fused_is_streamed_and_says_why() -> None:
    torch.manual_seed(0)
    model = tk.ScoreModel(Residual(), tk.VP())
    result = tk.taep(model, tk.GaussianMixture.ring(), n_paths=10, n_steps=5)
    assert result.backend == "streamed"
    assert result.backend_reason == "model: one of its connections skips a layer"
    assert "skips a layer" in result.summary()
    with pytest.raises(ValueError, match="^backend"):
        tk.taep(model, tk.GaussianMixture.ring(), n_paths=10, n_steps=5, backend="fused")
    plain = tk.taep(lambda x, t: -x, tk.Gaussian([0.0, 0.0]), tk.VP(), n_paths=10, n_steps=5)
    assert plain.backend == "streamed"
