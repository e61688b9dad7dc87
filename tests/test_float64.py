"""The kernels in float64 against their references: to 1e-9 of the scale, and in fact near rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import thermokern as tk
from thermokern import _core

RING = tk.GaussianMixture.ring()
BIASED = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
UNEQUAL = tk.GaussianMixture([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]], variances=[[0.3, 0.5, 0.1], [0.2, 0.9, 0.4]])
SHIFTED = tk.GaussianMixture([[0.1, 1.0, 2.0], [1.0, -1.0, 0.4]], variances=[[0.3, 0.4, 0.1], [0.2, 0.9, 0.5]])


@pytest.mark.parametrize("direction", tk.ops.DIRECTIONS)
@pytest.mark.parametrize("scheme", tk.ops.SCHEMES)
@pytest.mark.parametrize("pair", [(BIASED, RING), (SHIFTED, UNEQUAL)], ids=["shared", "diagonal"])
def test_mixture_paths(pair: tuple[tk.GaussianMixture, tk.GaussianMixture], scheme: str, direction: str) -> None:
    options = {"n_paths": 100, "n_steps": 200, "scheme": scheme, "direction": direction, "dtype": torch.float64}
    fused, exact = (tk.taep(*pair, tk.VP(), backend=backend, **options) for backend in ("fused", "reference"))
    assert fused.values.dtype == torch.float64
    for name in ("values", "x_start", "x_end"):
        a, b = getattr(fused, name), getattr(exact, name)
        assert (a - b).abs().max().item() < 1e-11 * (1.0 + b.abs().max().item())
    assert exact.values.std().item() > 0.1


@pytest.mark.parametrize("activation", ["silu", "tanh", "relu", "gelu-tanh"])
def test_network_paths(activation: str) -> None:
    torch.manual_seed(0)
    network = tk.ScoreMLP(2, width=21, depth=3, activation=activation).double()
    model = tk.ScoreModel(network, tk.VE(5.0), "score")
    options = {"n_paths": 40, "n_steps": 50, "dtype": torch.float64}
    fused, exact = (tk.taep(model, RING, backend=backend, **options) for backend in ("fused", "reference"))
    assert (fused.values - exact.values).abs().max().item() < 1e-11 * (1.0 + exact.values.abs().max().item())


def test_a_float32_network_runs_in_float64_paths() -> None:
    torch.manual_seed(0)
    model = tk.ScoreModel(tk.ScoreMLP(2, width=8, depth=1), tk.VP(), "score")
    wide = tk.taep(model, RING, n_paths=30, n_steps=30, dtype=torch.float64)
    narrow = tk.taep(model, RING, n_paths=30, n_steps=30)
    assert (wide.backend, narrow.backend) == ("fused", "fused")
    gap = (wide.values - narrow.values).abs().max().item()
    assert 0.0 < gap < 1e-4 * (1.0 + wide.values.abs().max().item())


def test_normals_and_scores() -> None:
    z = tk.ops.normals(3000, 5, seed=7, dtype=torch.float64)
    assert (z - tk.ops.normals_reference(3000, 5, seed=7)).abs().max().item() < 1e-13
    x = 3.0 * torch.randn(101, 3, dtype=torch.float64)
    parameters = UNEQUAL.means, UNEQUAL.variances, UNEQUAL.weights
    for got, expected in zip(
        tk.ops.mixture_score(x, *parameters), tk.ops.mixture_score_reference(x, *parameters), strict=True
    ):
        assert (got - expected).abs().max().item() < 1e-12 * (1.0 + expected.abs().max().item())


@pytest.mark.parametrize(
    ("name", "function", "low", "high", "bound"),
    [
        ("exp2", np.exp2, -1021.0, 1023.0, None),
        ("log", np.log, 1e-300, 1e300, 1e-15),
        ("tanh", np.tanh, -30.0, 30.0, 1e-15),
        ("sigmoid", lambda x: 1.0 / (1.0 + np.exp(-x)), -30.0, 30.0, 1e-15),
        ("sine", lambda w: np.sin(2 * np.pi * w / 2**32), 0.0, 2.0**32 - 1, 1e-15),
        ("cosine", lambda w: np.cos(2 * np.pi * w / 2**32), 0.0, 2.0**32 - 1, 1e-15),
    ],
)
def test_elementary_functions(name: str, function, low: float, high: float, bound: float | None) -> None:
    x = np.geomspace(low, high, 100_001) if name == "log" else np.linspace(low, high, 100_001)
    x = np.floor(x) if name in ("sine", "cosine") else x
    out = torch.empty(len(x), dtype=torch.float64)
    _core.evaluate(name, torch.from_numpy(x), out)
    expected = function(x)
    error = np.abs(out.numpy() - expected)
    if bound is None:  # relative
        assert (error / expected).max() < 1e-15
    else:
        assert (error / (1.0 + np.abs(expected))).max() < bound
