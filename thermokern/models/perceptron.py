"""The score network of the papers' Gaussian-mixture experiments."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from thermokern.ops.checks import MOST, checked_choice, checked_integer

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
}

_MOST_LAYERS, _MOST_NUMBERS = 2**16, 2**31


class SinusoidalEmbedding(nn.Module):
    """``[sin(ω_i τ), cos(ω_i τ)]`` with ``τ = 1000 t`` and ``ω_i = 10000^{−i/h}``, ``i < h = features/2``.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, App. B.
    """

    frequencies: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        features = checked_integer("features", features, 2, even=True)
        half = features // 2
        frequencies = 1000.0 * torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """``t`` (n,) to (n, features)."""
        angles = t[:, None] * self.frequencies.to(t.dtype)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class PlainTime(nn.Module):
    """The time itself, as one feature."""

    def forward(self, t: Tensor) -> Tensor:
        """``t`` (n,) to (n, 1)."""
        return t[:, None]


class ScoreMLP(nn.Module):
    """Perceptron ``(x, t) -> out`` on ``x`` beside a sinusoidal embedding of ``t``, or ``t`` itself.

    The network of Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, Methods 1.2:
    three hidden layers of width 128 with SiLU. What the output means (score or noise) is for
    :class:`thermokern.ScoreModel` to say.

    Parameters
    ----------
    dim : int
        Dimension of ``x``.
    width, depth : int
        Units per hidden layer and number of hidden layers.
    activation : {"silu", "tanh", "relu", "gelu-tanh"}
    time_features : int
        Length of the embedding, even; 1 is ``t`` itself, as Kodama and Hinczewski, App. G.3, have it.
    """

    def __init__(
        self, dim: int, width: int = 128, depth: int = 3, activation: str = "silu", time_features: int = 64
    ) -> None:
        super().__init__()
        dim, width, depth = (
            checked_integer(name, value, 1, MOST) for name, value in (("dim", dim), ("width", width), ("depth", depth))
        )
        checked_choice("activation", activation, ACTIVATIONS)
        time_features = checked_integer("time_features", time_features, 1, MOST)
        if time_features > 1:
            checked_integer("time_features", time_features, 2, even=True)
        checked_integer("depth", depth, 1, _MOST_LAYERS)
        numbers = width * (dim + time_features + (depth - 1) * width + dim)
        if numbers > _MOST_NUMBERS:  # before any of them is allocated
            raise ValueError(
                f"width: expected at most {_MOST_NUMBERS} weights in all, got {numbers} by dim={dim}, width={width}, "
                f"depth={depth}, time_features={time_features}"
            )
        self.sample_shape = (dim,)
        self.architecture: dict[str, int | str] = {
            "dim": dim,
            "width": width,
            "depth": depth,
            "activation": activation,
            "time_features": time_features,
        }
        self.embedding = PlainTime() if time_features == 1 else SinusoidalEmbedding(time_features)
        layers: list[nn.Module] = []
        fan_in = dim + time_features
        for _ in range(depth):
            layers += [nn.Linear(fan_in, width), ACTIVATIONS[activation]()]
            fan_in = width
        self.layers = nn.Sequential(*layers, nn.Linear(fan_in, dim))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """``x`` (n, dim) and ``t`` (n,) in process time to (n, dim)."""
        embedding = self.embedding(t)
        if (dtype := next(self.parameters()).dtype) in (torch.float16, torch.bfloat16):
            embedding = embedding.to(dtype)
        out: Tensor = self.layers(torch.cat([x, embedding], dim=1))
        return out
