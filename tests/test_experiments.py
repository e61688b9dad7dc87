"""The mode-collapse experiment: theory, exact score fields and trained networks side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tolerances import assert_z

import thermokern as tk
from thermokern.papers.ding2026 import COLLAPSES, PANELS, Collapse, ModeCollapse, TrainingRecipe, mode_collapse
from thermokern.papers.ding2026.collapses import PROCESS, train
from thermokern.quantities.results.estimate import mean_estimate, variance_estimate


@pytest.fixture(scope="module")
def result() -> ModeCollapse:
    return mode_collapse(exact_paths=20_000, network_paths=4000, progress=False)


def test_the_paper_s_numbers() -> None:
    """Fig. 2 (c): KL 0.2077 and 0.2079, variance 0.768 and 0.445."""
    one, four = PANELS["c"]
    assert (round(one.kl, 4), round(four.kl, 4)) == (0.2077, 0.2079)
    assert (round(one.variance, 3), round(four.variance, 3)) == (0.768, 0.445)
    assert [c.epsilon for c in PANELS["a"]] == [0.09, 0.05, 0.02, 0.01, 0.005]
    assert [c.m for c in PANELS["b"]] == [1, 2, 3, 4, 5]
    assert len(COLLAPSES) == 10
    for collapse in COLLAPSES:
        assert math.isclose(sum(collapse.weights), 1.0, abs_tol=1e-15)


def test_exact_score_fields_meet_theory(result: ModeCollapse) -> None:
    """Mean and variance of every model within 3 of their total errors of what paths that end at t = 1 have."""
    for collapse, evaluation in result.evaluations.items():
        exact, step = evaluation.exact, evaluation.exact.step_error
        assert step is not None
        mean, _ = collapse.moments(1.0)
        assert_z((exact.mean.value - mean) / math.hypot(exact.mean.stderr, step.mean.value), 3.0, "mean")
        assert_z(evaluation.variance_z(), 3.0, f"variance, {collapse}")
        assert_z(exact.fluctuation_theorem.z(1.0), 3.5, "fluctuation theorem")


def test_eq_55_is_for_ends_that_tell_nothing_of_the_mode() -> None:
    """Pairs of ends agree with the quadrature for paths that end at t = 1, and not with Eq. 55, 6e-4 nats² above it."""
    collapse, n = Collapse(4, 0.01), 1_000_000
    mean, variance = collapse.moments(1.0)
    assert 5e-4 < collapse.variance - variance < 7e-4
    assert 1.1e-4 < collapse.kl - mean < 1.4e-4
    target, first = tk.GaussianMixture.ring(8, 4.0, 0.25), PROCESS.default_t_eps
    z = tk.ops.normals(n, 4, seed=5, dtype=torch.float64)
    m, v = PROCESS.mean_scale(first), PROCESS.variance(first)
    x = m * target.sample(n, 5) + v**0.5 * z[:, :2]
    factor = PROCESS.mean_scale(1.0) / m
    y = factor * x + (PROCESS.variance(1.0) - factor**2 * v) ** 0.5 * z[:, 2:]
    ratios = [
        target.log_prob(at, t, PROCESS) - collapse.mixture.log_prob(at, t, PROCESS) for at, t in ((x, first), (y, 1.0))
    ]
    found = ratios[0] - ratios[1]
    assert_z([variance_estimate(found).z(variance), mean_estimate(found).z(mean)], 3.5, "pairs of ends")
    assert abs(variance_estimate(found).z(collapse.variance)) > 8.0


def test_networks_meet_the_fluctuation_theorem_and_rank_as_theory_does(result: ModeCollapse) -> None:
    for evaluation in result.evaluations.values():
        network = evaluation.network
        assert network.backend == "fused"
        assert abs(network.fluctuation_theorem.z(1.0)) < 3.5
        assert abs(evaluation.theorem.slope.z(1.0)) < 3.5
        assert abs(evaluation.theorem.intercept.z(0.0)) < 3.5
        gap = network.mean.value - network.score_matching.value
        assert abs(gap) < 3.5 * network.mean.stderr
    for panel in "ab":
        variances = [result.evaluations[collapse].network.variance.value for collapse in PANELS[panel]]
        assert variances == sorted(variances)
    one, four = (result.evaluations[collapse].network for collapse in PANELS["c"])
    assert one.variance.value - four.variance.value > 5.0 * math.hypot(one.variance.stderr, four.variance.stderr)
    assert abs(one.mean.value - four.mean.value) < 4.0 * math.hypot(one.mean.stderr, four.mean.stderr)


def test_report_is_whole(result: ModeCollapse, tmp_path: Path) -> None:
    picture, numbers, page = result.write(tmp_path / "deep" / "out", "footer")
    models = json.loads(numbers.read_text())["models"]
    assert len(models) == 10
    first = result.evaluations[COLLAPSES[0]]
    assert models[0]["network"]["variance"]["value"] == first.network.variance.value
    assert models[0]["training"]["n_steps"] == 50_000
    text = page.read_text()
    assert "data:image/svg+xml;base64," in text
    assert "http" not in text.replace("http-equiv", "")
    assert str(first.exact.mean) in text
    assert picture.stat().st_size > 50_000
    assert str(first.exact.mean) in result.summary()
    result.save(tmp_path / "result.safetensors")
    loaded = tk.load(tmp_path / "result.safetensors")
    assert loaded.summary() == result.summary()
    assert list(loaded.evaluations) == list(COLLAPSES)
    assert len(loaded.plot().axes) == len(result.plot().axes)


def test_training_learns_a_gaussian(tmp_path: Path) -> None:
    """The recipe at 300 steps halves the loss of predicting no noise at all, and the record says what was done."""
    path = tmp_path / "net.safetensors"
    train(Collapse(1, 0.02), path, TrainingRecipe(n_steps=300, batch_size=256, seed=3), progress=False)
    from thermokern.models import read_record

    record = read_record(path)
    assert record["loss"] < 0.6
    assert (record["n_steps"], record["seed"], record["torch"]) == (300, 3, torch.__version__)
    again = tmp_path / "again.safetensors"
    train(Collapse(1, 0.02), again, TrainingRecipe(n_steps=300, batch_size=256, seed=3), progress=False)
    first, second = tk.load_checkpoint(path), tk.load_checkpoint(again)
    assert torch.equal(first(torch.ones(1, 2), 0.5), second(torch.ones(1, 2), 0.5))
