"""Gradient noise against curvature: the result that is shipped, and a small run with its figure, page and file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_exact

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.ding2026.image_training import train_unet
from thermokern.papers.ding2026.images import load_images
from thermokern.papers.ding2026.sgd_noise import QUICK_NOISE, QUICK_TRAINING, SgdNoise, sgd_noise, shipped_noise

TINY_TRAINING = replace(QUICK_TRAINING, channels=(8, 8), batch_size=8, saved=(1, 2))
TINY_NOISE = replace(
    QUICK_NOISE,
    budget=6,
    exact_budget=4,
    course_budget=4,
    n_curvature=8,
    n_exact=8,
    n_course=8,
    n_noise=128,
    top=2,
    course=(1,),
    n_trajectories=4,
    n_paths=4,
    n_steps=3,
)


def test_the_shipped_slopes() -> None:
    """Sampling: the held-out Gauss–Newton slope of twelve layers, its error, and what the Hessian adds."""
    found = shipped_noise()
    slope, in_sample = found.gauss_newton.held_out["all layers"], found.gauss_newton.in_sample["all layers"]
    assert len(found.gauss_newton.layers) == 12
    assert {layer.kind for layer in found.gauss_newton.layers} == {
        *("linear", "attention", "convolution", "normalisation")
    }
    assert abs(slope.value - 0.77) < 0.15
    assert 0.0 < slope.stderr <= 0.1
    assert abs(slope.value - in_sample.value) < 0.05
    assert len(found.exact.layers) == 4
    assert math.isfinite(found.exact.held_out["all layers"].value)
    assert all(0.0 <= layer.negative_share < 1.0 for layer in found.exact.layers)
    assert all(layer.negative_share == 0.0 or layer.negative_share < 0.5 for layer in found.gauss_newton.layers)
    text = found.summary()
    assert "below zero" in text
    assert "2L/d" in text


def test_the_shipped_noise_falls_with_the_batch() -> None:
    """Sampling: ``B tr C_B`` for batches of 1, 8 and 64."""
    one, *others = shipped_noise().batches.traces
    for other in others:
        assert abs(other.value / one.value - 1.0) < 0.1
        assert abs(other.value - one.value) < 3.0 * math.hypot(one.stderr, other.stderr) < one.value - one.value / 8.0


def test_the_shipped_reverse_paths_obey_the_theorem() -> None:
    """Sampling: wherever the weights can be trusted, ``⟨e^{−Δs}⟩ = 1`` of the reference's own sampler."""
    rows = shipped_noise().ratios()
    theorems = [theorem for *_, theorem in rows]
    assert all(abs(theorem.z(1.0)) < 4.0 or not theorem.is_reliable for theorem in theorems)
    assert theorems[0].value < 1e-50, "96 paths of a model that far away have no weight"
    assert not theorems[0].is_reliable
    assert [step for step, *_ in rows] == list(QUICK_TRAINING.saved[:-1])


def test_shipped_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "sgd-noise", "--profile", "shipped", "--quiet", "--out", str(tmp_path)]) == 0
    assert "all layers" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {"report.html", "result.json", "result.safetensors", "sgd_noise.png"} <= names
    body = json.loads((tmp_path / "result.json").read_text())
    assert body["gauss_newton"]["slope"]["value"] == shipped_noise().gauss_newton.held_out["all layers"].value
    assert isinstance(tk.load(tmp_path / "result.safetensors"), SgdNoise)


def test_a_small_run_leaves_files_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact: the second run reads what the first one left, and gives the same numbers."""
    pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to train")
    training, noise = TINY_TRAINING, TINY_NOISE
    images = load_images("digits")[:40]
    checkpoints = train_unet(training, images, tmp_path / "checkpoints", progress=False, log=lambda _: None)
    first = sgd_noise(training, noise, images, checkpoints, tmp_path / "curvature", progress=False)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "curvature").rglob("*noise*.safetensors")}
    assert files
    again = sgd_noise(training, noise, images, checkpoints, tmp_path / "curvature", progress=False)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert again.gauss_newton.held_out == first.gauss_newton.held_out or math.isnan(
        first.gauss_newton.held_out["all layers"].value
    )
    assert_exact(again.reverse, first.reverse)
    assert_exact(again.forward, first.forward)
    assert len(first.figure().axes) == 4
    assert torch.isfinite(first.reverse).all()
    first.save(tmp_path / "result.safetensors")
    capsys.readouterr()
    assert main(["show", str(tmp_path / "result.safetensors"), "--out", str(tmp_path / "page")]) == 0
    assert "Var/(2 mean) forward" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"report.html", "result.json", "sgd_noise.png"}
    body = json.loads((tmp_path / "page" / "result.json").read_text())
    assert len(body["gauss_newton"]["layers"]) == len(first.gauss_newton.layers) == 12
    assert [row["step"] for row in body["half_variance_ratios"]] == [1]


@pytest.mark.long  # half a minute: 3,072 rows of a Jacobian for each sample of twelve layers
def test_cifar10_in_the_place_of_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command reads the binary files, here made up, and leaves figures of a network with three channels."""
    pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to train")
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(1, 6):
        rows = generator.integers(0, 256, (8, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        rows.tofile(folder / f"data_batch_{number}.bin")
    monkeypatch.setattr("thermokern.papers.ding2026.sgd_noise.QUICK_TRAINING", TINY_TRAINING)
    monkeypatch.setattr("thermokern.papers.ding2026.sgd_noise.QUICK_NOISE", TINY_NOISE)
    command = ["reproduce", "sgd-noise", "--profile", "quick", "--data", "cifar10", "--root", str(tmp_path)]
    assert main([*command, "--quiet", "--out", str(tmp_path / "out")]) == 0
    assert "all layers" in capsys.readouterr().out
    found = tk.load(tmp_path / "out" / "result.safetensors")
    assert found.settings["data"] == "cifar10"
    assert len(found.gauss_newton.layers) == 12
    assert torch.isfinite(found.reverse).all()
