"""The training experiment: the result that ships, its correlations, and the whole course in small."""

from __future__ import annotations

import gzip
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats
from tolerances import assert_exact

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.correlation import bootstrap_correlation, permutation_p_value, ranks, spearman_coefficient
from thermokern.papers.ding2026 import PAPER, QUICK, REDUCED, load_images, shipped_course, train_unet, training_course
from thermokern.papers.ding2026.image_training import load_unet, make_unet
from thermokern.papers.ding2026.images import load_labels

F64 = torch.float64
TINY = replace(
    QUICK, channels=(8, 8), batch_size=16, saved=(2, 6, 12), n_paths=6, n_steps=9, n_generated=20, generation_steps=3
)


def test_rank_correlation_is_scipys() -> None:
    """Ties included; the p-value over all permutations."""
    a = torch.tensor([1.0, 2.0, 2.0, 5.0, 4.0, 7.0], dtype=F64)
    b = torch.tensor([2.0, 1.0, 3.0, 3.0, 9.0, 8.0], dtype=F64)
    assert_exact(ranks(a), torch.as_tensor(stats.rankdata(a.numpy())))
    assert abs(spearman_coefficient(a, b).item() - stats.spearmanr(a.numpy(), b.numpy()).statistic) < 1e-14
    expected = stats.permutation_test(
        (a.numpy(),),
        lambda x: stats.spearmanr(x, b.numpy()).statistic,
        permutation_type="pairings",
        n_resamples=math.inf,
    )
    assert abs(permutation_p_value(a, b) - expected.pvalue) < 1e-12
    assert abs(permutation_p_value(torch.arange(7.0), torch.arange(7.0)) - 2.0 / math.factorial(7)) < 1e-12
    many = permutation_p_value(torch.arange(20.0), torch.arange(20.0))
    assert 0.0 < many <= 2e-4
    assert math.isnan(permutation_p_value(torch.ones(4), torch.arange(4.0)))


def test_bootstrap_knows_how_sure_it_is() -> None:
    """Means far apart keep their order; means that are equal do not."""
    noise = torch.randn(5, 200, dtype=F64, generator=torch.Generator().manual_seed(0))
    apart, equal = noise + 10.0 * torch.arange(5, dtype=F64)[:, None], noise

    def error(values: torch.Tensor) -> float:
        return bootstrap_correlation(
            lambda paths, points: values[:, paths].mean(1),
            lambda paths, points: torch.arange(5.0, dtype=F64),
            n_paths=200,
            n_points=1,
            replicates=100,
        ).rho.stderr

    assert error(apart) == 0.0
    ties = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0], dtype=F64)  # ρ is no round number, the same in every sample
    tied = bootstrap_correlation(
        lambda paths, points: ties, lambda paths, points: ties.flip(0) - ties, n_paths=2, n_points=1
    )
    assert tied.rho.stderr == 0.0
    assert error(equal) > 0.05


def test_shipped_course_is_what_the_documents_say() -> None:
    course = shipped_course()
    assert course.settings["data"] == "digits"
    assert course.steps == QUICK.saved[:-1]
    assert course.values.shape == (len(course.steps), QUICK.n_paths)
    assert bool(course.values.isfinite().all())
    means = [estimate.value for estimate in course.means]
    assert means == sorted(means, reverse=True), "the mean falls at every checkpoint"
    assert all(estimate.value > 3.0 * estimate.stderr for estimate in course.means)
    found = course.correlations()
    assert found["step and mean"].rho.value == -1.0
    assert set(found) >= {"variance and coverage", "variance and mean"}
    for correlation in found.values():
        assert -1.0 <= correlation.rho.value <= 1.0
        assert 0.0 < correlation.p_value <= 1.0
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    assert course.tables() in page
    garments = shipped_course("fashion-mnist")
    assert garments.steps == REDUCED.saved[:-1]
    assert garments.tables() in page
    with pytest.raises(ValueError, match="^--data: expected digits or fashion-mnist with --profile shipped, got mnist"):
        shipped_course("mnist")


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")
def test_the_whole_course_in_small(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    images = load_images("digits")
    assert images.shape == (1797, 1, 8, 8)
    assert (images.min().item(), images.max().item()) == (-1.0, 1.0)
    paths = train_unet(TINY, images, tmp_path / "checkpoints", progress=False, log=lambda text: None)
    said: list[str] = []
    again = train_unet(TINY, images, tmp_path / "checkpoints", progress=False, log=said.append)
    assert (again, bool(said)) == (paths, True)
    losses = json.loads((tmp_path / "checkpoints" / "training.json").read_text())["loss_by_50_steps"]
    assert all(math.isfinite(loss) for loss in losses)
    course = training_course(TINY, images, paths, resume=tmp_path / "states", progress=False)
    resumed = training_course(TINY, images, paths, resume=tmp_path / "states", progress=False)
    assert_exact(resumed.values, course.values)
    assert course.values.shape == (2, 6)
    assert course.hits.shape == (2, 1797)
    assert [e.stderr > 0 for e in (*course.coverages, course.final_coverage)] == [True] * 3  # where nothing is hit too
    assert course.generated.shape == (3, 16, 1, 8, 8)
    course.save(tmp_path / "course.safetensors")
    loaded = tk.load(tmp_path / "course.safetensors")
    assert_exact(loaded.values, course.values)
    assert loaded.steps == course.steps
    for path in loaded.write(tmp_path / "report", "made by a test"):
        assert path.stat().st_size > 1000


def test_shipped_course_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "training", "--shipped", "--quiet", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "variance and coverage" in out
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "result.json",
        "result.safetensors",
        "training.png",
    }
    again = tmp_path / "again"
    assert main(["show", str(tmp_path / "result.safetensors"), "--out", str(again)]) == 0
    assert "variance and coverage" in capsys.readouterr().out
    assert {path.name for path in again.iterdir()} == {"report.html", "result.json", "training.png"}
    for path in again.iterdir():  # an experiment's result is shown by its own page; only the footer names the command
        shown, made = (each.read_bytes().split(b"<footer>")[0] for each in (path, tmp_path / path.name))
        assert shown == made, path.name
    assert main(["reproduce", "training", "--data", "cifar10", "--quiet", "--out", str(tmp_path)]) == 2
    assert "root: expected the folder" in capsys.readouterr().err


def test_images_from_files(tmp_path: Path) -> None:
    pixels = torch.arange(2 * 28 * 28, dtype=torch.int64).remainder(256).to(torch.uint8)
    raw = struct.pack(">4i", 2051, 2, 28, 28) + bytes(pixels.tolist())
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
    images = load_images("mnist", tmp_path)
    assert torch.equal(load_images("fashion-mnist", tmp_path), images), "the same format and name"
    assert images.shape == (2, 1, 32, 32)
    assert_exact(images[:, :, 2:-2, 2:-2], pixels.view(2, 1, 28, 28).float() / 127.5 - 1.0)
    assert (images[:, :, :2] == -1.0).all()
    assert_exact(load_images("fashion-mnist", tmp_path), images)
    labels = struct.pack(">2i", 2049, 2) + bytes([7, 3])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    assert load_labels("fashion-mnist", tmp_path).tolist() == [7, 3]
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels + b"x")
    with pytest.raises(ValueError, match="not a whole file of labels"):
        load_labels("mnist", tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw[:-1]))
    with pytest.raises(ValueError, match="not a whole file"):
        load_images("mnist", tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        record = bytes([i]) + bytes([10 * i] * 1024) + bytes([0] * 1024) + bytes([255] * 1024)
        (folder / f"data_batch_{i}.bin").write_bytes(2 * record)
    images = load_images("cifar10", tmp_path)
    assert images.shape == (10, 3, 32, 32)
    assert load_labels("cifar10", tmp_path).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert (images[:, 1] == -1.0).all()
    assert (images[:, 2] == 1.0).all()
    assert abs(images[2, 0, 0, 0].item() - (20 / 127.5 - 1.0)) < 1e-7
    (folder / "data_batch_3.bin").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"data_batch_3.bin: expected records of 3073 bytes"):
        load_images("cifar10", tmp_path)
    with pytest.raises(FileNotFoundError, match="expected train-images"):
        load_images("mnist", folder)
    with pytest.raises(ValueError, match="^data: expected one of"):
        load_images("imagenet", tmp_path)


@pytest.mark.long
def test_one_step_of_the_paper_s_network_on_cifar10(tmp_path: Path) -> None:
    """The reader on files made here, and one training step of the U-Net of Methods 2.1, of two images."""
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    generator = torch.Generator().manual_seed(4)
    for i in range(1, 6):
        pixels = torch.randint(256, (2, 3073), generator=generator, dtype=torch.uint8)
        (tmp_path / f"data_batch_{i}.bin").write_bytes(bytes(pixels.flatten().tolist()))
    images = load_images("cifar10", tmp_path)
    profile = replace(PAPER, batch_size=2, saved=(1,))
    (path,) = train_unet(profile, images, tmp_path / "checkpoints", progress=False, log=lambda text: None)
    trained, before = load_unet(profile, (3, 32, 32), path), make_unet(profile, (3, 32, 32))
    assert sum(parameter.numel() for parameter in trained.parameters()) == 35_746_307
    pairs = zip(trained.parameters(), before.parameters(), strict=True)
    moved = [bool((one != other).any()) for one, other in pairs]
    assert sum(moved) / len(moved) > 0.9, "nearly every parameter's gradient arrives"
    losses = json.loads((tmp_path / "checkpoints" / "training.json").read_text())["loss_by_50_steps"]
    assert 0.5 < losses[0] < 2.0, "of a network that predicts about 0 for noise of variance 1"
