"""Images at scale: points read when they are needed, networks in other precision, compiled or channels last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_exact, rms
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import thermokern as tk

VP = tk.VP()
SHAPE = (1, 8, 8)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.last = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(torch.nn.functional.silu(self.first(x) + t.view(-1, 1, 1, 1)))


def model() -> tk.ScoreModel:
    return tk.ScoreModel(Convolutions().requires_grad_(False), VP, "epsilon", SHAPE)


def standard(x: Tensor, t: float) -> Tensor:
    return -x


def images(n: int = 21) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(6)).clamp(-1.0, 1.0)


class Counting(Dataset[Tensor]):
    """Notes which items were asked for."""

    def __init__(self, points: Tensor) -> None:
        self.points, self.most = points, 0

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Tensor:
        self.most = max(self.most, index)
        return self.points[index]


def test_stored_points_give_the_bits_of_those_in_memory(tmp_path: Path) -> None:
    """A memory-mapped array, a dataset, one with labels; ends kept or not; checkpoints too."""
    x0, options = images(), {"n_steps": 6, "block": 4, "seed": 2}
    whole = tk.taep(model(), standard, x0=x0, **options)
    np.save(tmp_path / "x0.npy", x0.numpy())
    mapped = np.load(tmp_path / "x0.npy", mmap_mode="r")
    labelled = TensorDataset(x0, torch.arange(21))
    for source in (mapped, Counting(x0), labelled):
        found = tk.taep(model(), standard, x0=source, **options)
        for name in ("values", "x_start", "x_end"):
            assert_exact(getattr(found, name), getattr(whole, name), name)
        assert found.to_json() == whole.to_json()
    few = tk.taep(model(), standard, x0=mapped, keep_ends=False, **options)
    assert_exact(few.values, whole.values)
    assert few.x_start.shape == few.x_end.shape == (0, *SHAPE)
    for source in (x0, mapped):  # a folder of either goes on with the other
        kept = tk.taep(model(), standard, x0=source, checkpoint=tmp_path / "run", **options)
        assert_exact(kept.values, whole.values)


def test_what_cannot_be_read_is_named() -> None:
    bad = images()
    bad[7, 0, 0, 0] = torch.nan
    for x0, error in (
        (Counting(bad), "^x0: .*(NaN|finite)"),
        (Counting(images()[:0]), "^x0: expected at least one point"),
    ):
        with pytest.raises(ValueError, match=error):
            tk.taep(model(), standard, x0=x0, n_steps=4, block=4)


def test_precision_is_recorded_with_its_effect() -> None:
    """Plain arithmetic changes no bit here; bfloat16 changes values, by what the result says."""
    options = {"x0": images(80), "n_steps": 12, "block": 16}
    plain = tk.taep(model(), standard, **options)
    exact = tk.taep(model(), standard, precision="fp32", **options)
    assert_exact(exact.values, plain.values)
    assert exact.settings["model"]["precision"] == "fp32"
    assert "precision_effect" not in exact.settings
    rough = tk.taep(model(), standard, precision="bf16", **options)
    effect = rough.settings["precision_effect"]
    difference = rough.values[:64] - plain.values[:64]
    assert effect["paths"] == 64
    assert abs(effect["rms"] - rms(difference)) <= 1e-6 * rms(difference)
    assert 1e-5 * rms(plain.values) < rms(difference) < 0.03 * rms(plain.values)
    assert abs(rough.mean.value / plain.mean.value - 1.0) < 0.01
    assert abs(rough.variance.value / plain.variance.value - 1.0) < 0.03
    assert "against fp32" in rough.summary()
    assert rough.values.dtype == torch.float32


def test_channels_last_changes_rounding_alone() -> None:
    options = {"x0": images(), "n_steps": 6, "block": 4}
    plain, other = (tk.taep(model(), standard, channels_last=last, **options) for last in (False, True))
    assert rms(plain.values - other.values) < 1e-5 * rms(plain.values)
    assert other.settings["model"]["channels_last"] is True


@pytest.mark.long
def test_compiled_networks_give_the_same_to_rounding() -> None:
    options = {"x0": images(), "n_steps": 6, "block": 7}
    plain, other = (tk.taep(model(), standard, compile=asked, **options) for asked in (False, True))
    assert rms(plain.values - other.values) < 1e-5 * rms(plain.values)


def test_what_is_asked_of_networks_needs_one() -> None:
    ring = tk.GaussianMixture.ring()
    with pytest.raises(ValueError, match="^precision, compile, channels_last: neither score is a network"):
        tk.taep(ring, ring, VP, n_paths=4, n_steps=4, precision="bf16")
    with pytest.raises(ValueError, match="^precision: "):
        tk.taep(model(), standard, x0=images(), n_steps=4, precision="fp16")


class Noted(Convolutions):
    """Counts points."""

    def __init__(self) -> None:
        super().__init__()
        self.points = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.points += len(x)
        return super().forward(x, t)


def test_many_models_share_the_reference_s_evaluations(tmp_path: Path) -> None:
    """The bits of a call for each; the reference sees each point of the paths once."""
    models = [model(), model(), model()]
    for number, each in enumerate(models):
        each.network.last.bias += 0.1 * number
    options = {"x0": images(), "n_steps": 6, "block": 4, "seed": 2}
    network = Noted().requires_grad_(False)
    reference = tk.ScoreModel(network, VP, "epsilon", SHAPE)
    alone = [tk.taep(each, reference, **options) for each in models]
    network.points = 0
    together = tk.taep(models, reference, **options)
    of_trials = network.points - 21 * 7
    assert 0 < of_trials < 21 * 7, "the paths of three models, and trials"
    for found, expected in zip(together, alone, strict=True):
        for name in ("values", "x_start", "x_end"):
            assert_exact(getattr(found, name), getattr(expected, name), name)
        assert found.mean == expected.mean
    np.save(tmp_path / "x0.npy", images().numpy())
    options["x0"] = np.load(tmp_path / "x0.npy", mmap_mode="r")
    stored = tk.taep(models[:2], reference, checkpoint=tmp_path / "run", **options)
    assert_exact(stored[1].values, alone[1].values)
    for name, refused in {"direction": "reverse", "gradient": True, "resolve": ("time",), "gather": "rank0"}.items():
        with pytest.raises(ValueError, match=f"^{name}: several models are for .* alone; call taep for each"):
            tk.taep(models, reference, x0=images(), n_steps=4, **{name: refused})
    with pytest.raises(ValueError, match="^model: expected a score or a sequence"):
        tk.taep([], reference, **options)


def test_neighbours_of_memory_mapped_points(tmp_path: Path) -> None:
    """Read-only arrays of a file are points as others are; queries in chunks give the same bits."""
    points = tk.GaussianMixture.ring().sample(3000, seed=3).float().numpy()
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    tree, other = tk.KDTree(mapped), tk.KDTree(points)
    expected = other.neighbours([1, 2, 3, 4, 5])
    assert np.array_equal(tree.neighbours([1, 2, 3, 4, 5]), expected)
    chunks = [tree.query(mapped[low : low + 700], 6)[0][:, 1:] for low in range(0, 3000, 700)]
    assert np.array_equal(np.concatenate(chunks), expected)
