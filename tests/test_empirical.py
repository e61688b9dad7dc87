"""The empirical law of a data set: its score, memory, samples, and what it does not have."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_exact, assert_z
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import thermokern as tk
from thermokern.ops import MixtureScore, mixture_score_reference

F64 = torch.float64


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_empirical_law_is_the_equal_mixture(monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    """In blocks of every size, far tails included."""
    law, x = tk.Empirical(randn(700, dim, seed=1)), randn(300, dim, seed=2)
    x[:5] *= 1000.0
    process, t = tk.VP(), 0.1
    m, v = process.mean_scale(t), process.variance(t)
    weights = torch.full((700,), 1.0 / 700.0, dtype=F64)
    expected = mixture_score_reference(x, m * law.points, torch.full_like(law.points, v), weights)
    for components in (2048, 100, 7):
        monkeypatch.setattr("thermokern.targets.empirical._COMPONENTS", components)
        for one, other in zip(law.evaluate(x, t, process), expected, strict=True):
            size = expected.score.square().sum(1) if other.dim() == 1 else other.norm(dim=1, keepdim=True)
            assert ((one - other).abs() / (1.0 + other.abs() + size)).max().item() < 1e-13
    assert law.evaluate(x[:0], t, process).score.shape == (0, dim)


class Largest(TorchDispatchMode):
    """The most bytes in one tensor that any operation made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return out


def test_memory_is_bounded() -> None:
    """4·10^7 pairs of points: no tensor of more than a quarter of the budget; the law of the points the same."""
    points, x = randn(20_000, 2, seed=1), randn(2_000, 2, seed=2)
    outcomes: list[MixtureScore] = []
    for budget in (2**20, 2**24):
        law = tk.Empirical(points, memory_budget=budget)
        with Largest() as largest:
            outcomes.append(law.evaluate(x, 0.5, tk.VP()))
        assert largest.bytes <= budget / 4
    for one, other in zip(*outcomes, strict=True):
        assert (one - other).abs().max().item() < 1e-12 * (1.0 + other.abs().max().item())
    with Largest() as largest:
        tk.SwissRoll().evaluate(x, 0.5, tk.VP())
    assert largest.bytes <= 8 * 2**18


def test_empirical_samples_are_its_points(seed: int) -> None:
    """Sampling: each of seven points has its share, |z| at most 4."""
    law, n = tk.Empirical(torch.arange(7.0)[:, None]), 70_000
    x = law.sample(n, seed=seed)
    share = torch.bincount(x[:, 0].long(), minlength=7).double() / n
    assert_z(((share - 1 / 7) / math.sqrt(6 / 49 / n)).tolist(), 4.0, "shares")
    assert_exact(law.sample(50, seed=seed, path_offset=70), x[70:120])


def test_empirical_law_has_no_density_at_the_data() -> None:
    law = tk.Empirical([[0.0], [1.0]])
    for method in (law.score, law.divergence, law.log_prob):
        with pytest.raises(ValueError, match="^t: an empirical law has no density or score at t = 0"):
            method(torch.zeros(1, 1), 0.0, tk.VP())
    with pytest.raises(ValueError, match="^entropy: .* tk.kozachenko_leonenko"):
        law.entropy()
    result = tk.taep(tk.Gaussian([0.5]), law, tk.VP(), n_paths=20, n_steps=5)
    assert (result.backend, result.backend_reason) == (
        "reference",
        "reference: only the reference knows scores of the kind Empirical",
    )
