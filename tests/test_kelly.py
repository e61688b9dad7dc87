"""The experiments on 'Diffusion models are Kelly gamblers': laws, bets, what guidance does, and what is shipped."""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tolerances import assert_z, rms

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.ding2026.images import digit_labels, load_images
from thermokern.papers.experiments import EXPERIMENTS
from thermokern.papers.premkumar2025.autoencoder import (
    LATENTS,
    AutoencoderProfile,
    KellyAutoencoder,
    certified,
    kelly_autoencoder,
)
from thermokern.papers.premkumar2025.autoencoder import PROFILES as AUTOENCODER
from thermokern.papers.premkumar2025.bets import PROFILES as BETS
from thermokern.papers.premkumar2025.bets import THREE_CLASSES, kelly_bets
from thermokern.papers.premkumar2025.gaussian import PROFILES as GAUSSIAN
from thermokern.papers.premkumar2025.gaussian import GaussianProfile, KellyGaussian, kelly_gaussian, trained_scores
from thermokern.papers.premkumar2025.guidance import PROFILES as GUIDANCE
from thermokern.papers.premkumar2025.guidance import (
    RESOLUTIONS,
    KellyGuidance,
    guidance_row,
    guided_line,
    kelly_guidance,
    line_law,
)
from thermokern.papers.premkumar2025.images import PROFILES as IMAGES
from thermokern.papers.premkumar2025.images import kelly_images
from thermokern.papers.premkumar2025.labelled_unet import labelled_model, split
from thermokern.papers.premkumar2025.laws import PROCESS, entropy_left, flattened, full_rank, guided_law
from thermokern.papers.premkumar2025.shipped import shipped

OURS = [experiment for experiment in EXPERIMENTS if experiment.name.startswith("kelly-")]


@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_guided_pairs_have_the_information_and_the_law_of_guidance(weight: float) -> None:
    """Matrices that do not commute: information, Var(x|y), and E[x|y] of the turned y with the right covariance."""
    law = full_rank(0.6, dim=6, seen=3)
    exact, pairs = law.guided(weight), guided_law(law, weight)
    assert abs(pairs.mutual_information() - exact.information) < 1e-8
    assert (pairs.conditional_covariance - exact.covariance).abs().max().item() < 1e-9
    spread = law.x.covariances[0] - law.conditional_covariance  # Var E[x|y]
    moved = exact.gain @ spread @ exact.gain.T
    assert (pairs.x.covariances[0] - exact.covariance - moved).abs().max().item() < 1e-9


def test_guided_pairs_of_one_dimension_by_closed_form() -> None:
    """R = 4: I_w = 0.693147, 1.586071, 2.345674, 3.727649 at w = 0, 1, 2, 4."""
    for weight, value in ((0.0, 0.693147), (1.0, 1.586071), (2.0, 2.345674), (4.0, 3.727649)):
        assert abs(guided_law(line_law(), weight).mutual_information() - value) < 1e-6


def test_entropy_left_at_a_noise_level() -> None:
    """All of S_tot without noise, none in noise alone, and its slope is the rate of the score's own integral."""
    law = flattened(1e-2)
    assert abs(entropy_left(law, 60.0) - law.total_entropy()) < 1e-9
    assert entropy_left(law, -60.0) < 1e-12
    stored = tk.neural_entropy(law.x, law.x, PROCESS, evaluations=4096)
    for level in (-2.0, 1.0, 4.0):
        assert_z(stored.at(level).z(entropy_left(law, level)), 4.0, f"S at λ = {level}")


def test_the_exact_line_lies_above_every_resolved_line_and_has_no_plateau() -> None:
    rows = [guidance_row(5, weight, 512, 0) for weight in (0.0, 3.0, 6.0)]
    plain = rows[0].information
    for row in rows:
        assert row.information > max(row.resolved) - 1e-9
        assert list(row.resolved) == sorted(row.resolved)
        assert row.information > (1.0 + row.weight) * plain - 1e-9
        assert_z(row.measured.z(row.resolved[1]), 4.0, f"w = {row.weight}")
    exact = [row.information for row in rows]
    assert exact[2] - exact[1] > 2.9 * plain
    coarse = RESOLUTIONS.index(max(RESOLUTIONS))
    assert abs(rows[2].resolved[coarse] - rows[1].resolved[coarse]) < 0.05 * plain


def test_the_figure_has_the_exact_line_above_every_other() -> None:
    """The shipped one, by the numbers of its curves: to the end the exact line rises by I, the coarsest by nothing."""
    panels = shipped("guidance", KellyGuidance).figure().axes[1:]
    assert len(panels) == 3
    for panel in panels:
        lines = {str(line.get_label()): line.get_ydata() for line in panel.get_lines()}
        names = ("exact", *(f"seen from t = {t:g}" for t in RESOLUTIONS))
        exact, *resolved = (torch.tensor(lines[name], dtype=torch.float64) for name in names)
        assert len(resolved) == 3
        for line in resolved:
            assert ((exact - line) > -1e-9).all()
        rise = exact.diff()
        assert (rise > 0.95 * exact[0]).all()
        coarse = resolved[RESOLUTIONS.index(max(RESOLUTIONS))]
        assert coarse.diff()[-1] < 0.1 * rise[-1]


def test_guided_samples_follow_the_closed_form() -> None:
    line = guided_line(2.0, 200, 60, 1)
    assert abs(line.slope_exact - 1.5) < 1e-9
    assert abs(line.variance_exact - 1.0 / 64.0) < 1e-9
    assert abs(line.slope.value - 1.5) < 0.02
    assert abs(line.variance.value * 64.0 - 1.0) < 4.0 * math.sqrt(2.0 / 1800.0) + 0.03


def test_gamblers_who_know_the_law_grow_as_the_information_and_no_one_grows_faster() -> None:
    result = kelly_bets(replace(BETS["quick"], steps=60))
    for game in dict.fromkeys(each.game for each in result.gamblers):
        first, *others = result.of(game)
        assert_z(first.growth.z(first.limit), 4.0, game)
        for other in others:
            lost = result.lost(other)
            assert lost is not None
            assert lost.z(0.0) < 3.0, (game, other.name)
            if game != "three classes":
                assert lost.z(0.0) < -3.0, (game, other.name)
    assert result.lost(result.gamblers[0]) is None
    for each in result.of("three classes"):
        assert each.limit == THREE_CLASSES
        assert each.growth.z(each.limit) < 4.0
        # A posterior never bets more than everything on a label of probability 0.2.
        assert each.gains.max().item() <= math.log(5.0) + 1e-6


def test_gaussians_by_closed_form_and_by_exact_scores() -> None:
    result = kelly_gaussian(GaussianProfile("test", 512, (), 0, 0, 0), progress=False)
    assert len(result.rows) == 11
    for row in result.rows:
        assert_z(row.sampled.z(row.information), 4.0, f"{row.family} {row.parameter}")
        assert_z(row.sampled_entropy.z(row.entropy), 4.0, f"{row.family} {row.parameter}")
    flat = [row for row in result.rows if row.family == "sweep"]
    assert [row.entropy for row in flat] == sorted(row.entropy for row in flat)
    assert flat[-1].entropy > 100.0 > 5.0 > flat[-1].information


def test_a_network_s_loss_is_off_by_the_difference_of_its_scores_errors() -> None:
    """E loss = I + L_u − L_c for any network, here one hardly trained, whose loss is wrong by many standard errors."""
    law = full_rank(0.6, dim=4, seen=2)
    net = trained_scores(law, GaussianProfile("test", 4096, (), 2000, 30, 16), 0)
    seen = law.mutual_information(PROCESS.log_snr(1e-5)) - law.mutual_information(PROCESS.log_snr(1.0))
    wrong = net.loss.value - seen - (net.error.value - net.error_given.value)
    error = math.hypot(net.loss.stderr, net.error.stderr, net.error_given.stderr)
    assert_z(wrong / error, 4.0, "loss − I − (L_u − L_c)")
    assert abs(net.loss.z(seen)) > 8.0


def test_images_between_their_bounds(tmp_path: Path) -> None:
    """A U-Net that has learned next to nothing: its bets win nothing, and no verdict is broken unseen."""
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    tiny = replace(IMAGES["quick"], channels=(8, 8), steps=2, evaluations=64, bets=4)
    result = kelly_images(tiny, "digits", None, tmp_path, progress=False)
    information = result.information
    assert information.estimator == "loss"
    assert information.label_entropy is not None
    assert information.label_entropy.value < math.log(10.0)
    assert result.growth.value < 0.5
    assert len(result.bets.values) == 4
    outcomes = {verdict.statement: verdict.outcome for verdict in information.verdicts}
    assert set(outcomes) >= {"gap = loss", "gap ≤ H(Y)", "loss ≤ H(Y)"}
    assert "unknown" not in (outcomes["gap ≤ H(Y)"], outcomes["loss ≤ H(Y)"])
    written = (tmp_path / "unet.safetensors").stat().st_mtime_ns
    again = labelled_model(tiny, "digits", *_some_digits(), tmp_path, progress=False)
    assert (tmp_path / "unet.safetensors").stat().st_mtime_ns == written
    assert again.null == 10
    assert len(result.figure().axes) == 3


@pytest.mark.long  # half a minute
def test_a_u_net_on_digits(tmp_path: Path) -> None:
    """The quick profile: a gap beyond H(Y), which a verdict says, growth between 1.5 and H(Y), S_NN, batch-mates."""
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    result = kelly_images(IMAGES["quick"], "digits", None, tmp_path, progress=False)
    found, growth = result.information, result.growth
    assert found.label_entropy is not None
    assert found.gap.value > found.label_entropy.value + 4.0 * found.gap.stderr
    outcomes = {verdict.statement: verdict.outcome for verdict in found.verdicts}
    assert outcomes["gap ≤ H(Y)"] == "fails"
    assert outcomes["gap = loss"] == "fails"
    assert_z(found.orthogonality.z(found.loss.value - found.gap.value), 1e-6, "loss − gap")
    assert 1.5 < growth.value < found.label_entropy.value + 4.0 * growth.stderr
    assert result.hits.value > 0.8
    assert result.exact is not None
    assert_z(result.exact.value.z(2.302479), 4.0, "exact scores of all digits")
    assert abs(result.entropy.integral.value - 98.0) < 5.0
    x, y = _some_digits()
    model = labelled_model(IMAGES["quick"], "digits", x, y, tmp_path, progress=False)
    t = torch.tensor([1.0, 30.0, 400.0, 1000.0], dtype=torch.float64)
    whole = model.at(x[:4], t, y[:4])
    for i in range(4):
        alone = model.at(x[i : i + 1], t[i : i + 1], y[i : i + 1])
        assert rms(whole[i : i + 1] - alone) < 1e-5 * rms(alone), "batch-mates"
        other = model.at(x[i : i + 1], t[i : i + 1], (y[i : i + 1] + 1) % 10)
        assert rms(alone - other) > 1e-4 * rms(alone), "another label"


@pytest.mark.filterwarnings("ignore:.*effective pairs of evaluations")
@pytest.mark.long  # a minute
def test_every_full_profile_starts(tmp_path: Path) -> None:
    """Networks, batches and laws of the full size, for a step or two and few evaluations."""
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    gaussian = replace(GAUSSIAN["full"], steps=2, pairs=2000, evaluations=256)
    rows = kelly_gaussian(gaussian, progress=False).rows
    assert sum(row.network is not None for row in rows) == len(GAUSSIAN["full"].networks) == 10
    bets = kelly_bets(replace(BETS["full"], rounds=50, pairs=8, steps=1))
    assert len(bets.gamblers) == 13
    full = replace(AUTOENCODER["full"], taus=(0.1, 0.9), steps=1, score_steps=1, evaluations=64)
    assert len(kelly_autoencoder(full, progress=False).rows) == 3 * 2
    guided = kelly_guidance(replace(GUIDANCE["full"], evaluations=64, samples=10, steps=5), progress=False)
    assert len(guided.rows) == 3 * 7
    images = kelly_images(replace(IMAGES["full"], steps=1, evaluations=64, bets=2), "digits", None, tmp_path)
    assert len(images.bets.values) == 2


@pytest.mark.long  # a minute
@pytest.mark.parametrize("data", ["cifar10", "mnist"])
def test_images_of_made_files(data: str, tmp_path: Path) -> None:
    """Files in the format of CIFAR-10 or MNIST, of noise whose mean tells the label, by the command line."""
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    generator = torch.Generator().manual_seed(0)
    n, size = 200, (3, 32, 32) if data == "cifar10" else (28, 28)
    labels = torch.arange(n) % 10
    noise = torch.randint(0, 100, (n, *size), generator=generator)
    pixels = (noise + 15 * labels.view(-1, *[1] * len(size))).to(torch.uint8)
    if data == "cifar10":
        rows = torch.cat([labels.to(torch.uint8)[:, None], pixels.flatten(1)], dim=1)
        for i, part in enumerate(rows.chunk(5)):
            (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(part.numpy().tobytes())
    else:
        head = struct.pack(">iiii", 2051, n, 28, 28)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(head + pixels.numpy().tobytes())
        head = struct.pack(">ii", 2049, n)
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(head + labels.to(torch.uint8).numpy().tobytes())
        )
    tiny = replace(IMAGES["quick"], channels=(8, 8), steps=2, batch_size=8, evaluations=64, bets=2, held_out=0.5)
    result = kelly_images(tiny, data, tmp_path, tmp_path / "network", progress=False)
    assert result.data == data
    assert result.exact is None
    assert result.information.settings["data"]["points"] == [100, *((3, 32, 32) if data == "cifar10" else (1, 32, 32))]
    assert result.information.label_entropy is not None
    assert result.information.label_entropy.value <= math.log(10.0) + 1e-12
    assert len(result.bets.values) == 2
    assert data in result.summary()


def _some_digits() -> tuple[torch.Tensor, torch.Tensor]:
    used = split(1797, 0.2, 0).used
    return load_images("digits")[used], digit_labels()[used]


@pytest.mark.parametrize("experiment", OURS, ids=lambda experiment: experiment.name)
def test_what_is_shipped_makes_a_page(experiment: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = experiment.name  # type: ignore[attr-defined]
    assert main(["reproduce", name, "--profile", "shipped", "--quiet", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    result = tk.load(tmp_path / "result.safetensors")
    assert result.summary() in printed
    assert json.loads((tmp_path / "result.json").read_text())["experiment"] == name
    assert (tmp_path / result.picture).stat().st_size > 30_000
    assert "data:image/svg+xml;base64," in (tmp_path / "report.html").read_text()
    assert len(set(map(len, result.columns().values()))) == 1


def test_shipped_numbers_are_those_of_today() -> None:
    """Closed forms of the shipped files against the code as it is."""
    for row in shipped("gaussian", KellyGaussian).rows:
        assert abs(row.information - row.law.mutual_information()) < 1e-9
        assert abs(row.entropy - row.law.total_entropy()) < 1e-9
    rows = [row for row in shipped("guidance", KellyGuidance).rows if (row.seen, row.weight) in ((5, 6.0), (10, 1.0))]
    assert len(rows) == 2
    for row in rows:
        law = guided_law(full_rank(1.0, seen=row.seen), row.weight)
        assert abs(row.information - law.mutual_information()) < 1e-6
        for t, value in zip(RESOLUTIONS, row.resolved, strict=True):
            assert abs(law.mutual_information(PROCESS.log_snr(t)) - value) < 1e-6


def test_columns_of_latents_do_not_touch() -> None:
    table = shipped("autoencoder", KellyAutoencoder).tables()
    lines = [line for line in table.splitlines() if line.startswith(LATENTS)]
    assert len(lines) == 3 * 9
    assert all(len(re.split(" {2,}", line)) == 7 for line in lines), lines


def test_a_shipped_result_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="guidance"):
        shipped("guidance", KellyGaussian)
    assert torch.is_tensor(shipped("guidance", KellyGuidance).lines[0].x)


def test_latents_and_the_ceiling_of_those_made_of_x_tau() -> None:
    """What is made of x_τ tells at most I(X_τ;Y); what is made of x may tell more, and the digits themselves do."""
    pytest.importorskip("sklearn", reason="NOT RUN: scikit-learn is not installed")
    tiny = AutoencoderProfile("test", (0.6,), 10, 5, 256, latent=3)
    result = kelly_autoencoder(tiny, progress=False)
    assert [row.kind for row in result.rows] == list(LATENTS)
    ceiling = result.rows[0].ceiling
    assert ceiling.value < 0.3 < 2.0 < result.label_entropy
    made = result.of("semantic of x_τ")[0].growth
    assert made.value - ceiling.value < 4.0 * math.hypot(made.stderr, ceiling.stderr)
    x, y = load_images("digits").flatten(1)[:, ::2], digit_labels()
    rows = split(len(x), 0.3, 0)
    plain = certified(x[rows.used], y[rows.used], x[rows.held_out], y[rows.held_out])
    assert plain.z(ceiling.value) > 8.0
    assert plain.value < math.log(10.0)
    assert len(result.figure().axes) == 6
    assert result.planes.shape == (2, 300, 2)
