"""Gradient noise against curvature: a small run that leaves files and goes on, its figure, page and file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tolerances import assert_exact

from thermokern.cli import main
from thermokern.papers.ding2026.image_training import train_unet
from thermokern.papers.ding2026.images import load_images
from thermokern.papers.ding2026.sgd_noise import QUICK_NOISE, QUICK_TRAINING, sgd_noise


def test_a_small_run_leaves_files_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact: the second run reads what the first one left, and gives the same numbers."""
    pytest.importorskip("diffusers", reason="diffusers is not installed: no U-Net to train")
    training = replace(QUICK_TRAINING, channels=(8, 8), batch_size=8, saved=(1, 2))
    noise = replace(
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
