"""Information from trained scores: bounds, the errors over data halves, pairs whose information is known; digits."""

from __future__ import annotations

import math
import time
import warnings

import pytest
import torch
from information_cases import F64, case_b
from known_tasks import IMAGES, TASKS, normal_scores
from tolerances import assert_exact, assert_z

import thermokern as tk
from thermokern.papers.ding2026.images import digit_labels, load_images

VP = tk.VP()
Z = 4.0


def test_known_tasks(seed: int) -> None:
    """The closed forms against means of ln p(x, y)/p(x)p(y); images are monotone; normal scores undo them."""
    x, y = TASKS["Student 5 × 5, ν = 2"].draw(40_000, seed)
    radius = torch.stack([x.square().sum(1), y.square().sum(1)])

    def log_density(square: torch.Tensor, dim: int) -> torch.Tensor:
        return math.lgamma(1.0 + 0.5 * dim) - (1.0 + 0.5 * dim) * (0.5 * square).log1p()

    ratio = log_density(radius.sum(0), 10) - log_density(radius, 5).sum(0)
    error = ratio.std().item() / math.sqrt(len(ratio))
    assert_z((ratio.mean().item() - TASKS["Student 5 × 5, ν = 2"].information) / error, Z, "Student")
    assert error < 0.01
    for name, value in (("Gaussian 5 × 5, dense", 0.592812), ("Student 5 × 5, ν = 2", 0.448151)):
        assert abs(TASKS[name].information - value) < 1e-6
    plain = tuple(normal_scores(part) for part in TASKS["Gaussian 1 × 1"].draw(500, seed))
    for name, functions in IMAGES.items():
        assert all((f(torch.linspace(-5.0, 5.0, 20_001, dtype=F64)).diff() > 0.0).all() for f in functions), name
        assert_exact(tuple(normal_scores(part) for part in TASKS[name].draw(500, seed)), plain)
    for name in ("additive noise ±0.75", "additive noise ±0.1", "its wiggly image"):
        found = tk.ksg_mutual_information(*TASKS[name].draw(3000, seed))
        assert_z(found.z(TASKS[name].information), Z, name)


@pytest.mark.parametrize("samples", [24, pytest.param(300, marks=pytest.mark.long)])  # the latter: half a minute
def test_errors_of_a_network_cover_the_spread_over_data_halves(samples: int, seed: int) -> None:
    """Samples of 600 points, each cut in two: differences of the halves in standard errors, gap, loss and residual.

    The network is hardly trained: what its scores are worth is no part of the error.
    """
    law, rows = case_b(), []
    model = tk.fit_scores(*law.sample(2000, seed), steps=100, width=32, depth=1, process=VP, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        for k in range(samples):
            x, y = law.sample(600, seed + 1 + k)
            first, second = (
                tk.mutual_information(model, None, x[half], y[half], evaluations=1024, seed=seed + 100 * k + one)
                for one, half in enumerate((slice(0, 300), slice(300, 600)))
            )
            pairs = zip(
                (first.gap, first.loss, first.orthogonality),
                (second.gap, second.loss, second.orthogonality),
                strict=True,
            )
            rows.append([(one.value - two.value) / math.hypot(one.stderr, two.stderr) for one, two in pairs])
    scores = torch.tensor(rows, dtype=F64)
    assert_z((scores.mean(0) * math.sqrt(samples)).tolist(), Z, "mean of z")
    assert ((scores.std(0) - 1.0).abs() < Z / math.sqrt(2 * samples)).all(), scores.std(0)


def test_a_network_on_digits_passes_its_bound_and_is_told_so(seed: int) -> None:
    """The gap of a perceptron on 64 pixels lies above H(Y), which a verdict says; its bets grow by less than H(Y)."""
    pytest.importorskip("sklearn", reason="NOT RUN: scikit-learn is not installed")
    x, y = load_images("digits").flatten(1), digit_labels()
    model = tk.fit_scores(x, y, steps=700, width=96, depth=2, batch_size=128, null_share=0.3, process=VP, seed=seed)
    assert isinstance(model, tk.ConditionalModel)
    rows = model.network.history.held_out
    found = tk.mutual_information(model, None, x[rows], y[rows], estimator="gap", evaluations=4096, seed=seed)
    assert found.label_entropy is not None
    assert found.growth is not None
    assert found.gap.value > found.label_entropy.value + Z * found.gap.stderr
    outcomes = {verdict.statement: verdict.outcome for verdict in found.verdicts}
    assert outcomes["gap ≤ H(Y)"] == "fails"
    assert 1.5 < found.growth.value < found.label_entropy.value + Z * found.growth.stderr
    assert found.label_entropy.value < math.log(10.0)


@pytest.mark.long  # a quarter of a minute
def test_the_empirical_law_of_digits(seed: int) -> None:
    """I = H(Y) = 2.302479 and its curve, by exact scores; S_tot without end: 64 directions of no width."""
    pytest.importorskip("sklearn", reason="NOT RUN: scikit-learn is not installed")
    law = tk.Labelled.from_points(load_images("digits").flatten(1).double(), digit_labels())
    assert abs(law.label_entropy - 2.302479) < 1e-6
    found = tk.mutual_information(law, process=VP, seed=seed)
    assert_z(found.value.z(2.302479), Z, "I")
    assert found.value.stderr < 0.03
    assert found.effective_sample_size > 100.0  # 19 where the pilot gives nothing to bins it has met nothing in
    known = {-4.0: (0.0710, 4e-4), -2.0: (0.4851, 0.0025), -1.0: (1.1188, 0.0044), 0.0: (1.9365, 0.0036)}
    for log_snr, (value, error) in {**known, 1.0: (2.2856, 7e-4)}.items():
        read = found.at(log_snr)
        assert_z((read.value - value) / math.hypot(read.stderr, error), Z, f"I at λ = {log_snr}")
    assert found.growth is not None
    assert found.growth.z(2.302479) < Z
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        stored = tk.neural_entropy(law.marginal, law.marginal, VP, evaluations=1024, seed=seed)
    assert stored.below.value == math.inf
    assert stored.collapsed_directions.value > 60.0
    assert_z(stored.collapsed_directions.z(64.0), Z, "directions")


@pytest.mark.long  # up to a minute and a half each
@pytest.mark.parametrize(
    ("name", "truth", "bound", "pairs", "steps"),
    [
        ("B", 2.493854, 0.10, 20_000, 600),
        ("Gaussian 5 × 5, dense", 0.592812, 0.03, 100_000, 2000),
        ("Student 5 × 5, ν = 2", 0.448151, 0.05, 200_000, 5000),
    ],
)
def test_trained_on_pairs_whose_information_is_known(
    name: str, truth: float, bound: float, pairs: int, steps: int, seed: int
) -> None:
    """Within two minutes of one core; Student's law, whose moments are infinite, by normal scores of coordinates."""
    x, y = case_b().sample(pairs, seed) if name == "B" else TASKS[name].draw(pairs, seed)
    if name.startswith("Student"):
        x, y = normal_scores(x), normal_scores(y)
    start = time.process_time()
    model = tk.fit_scores(x, y, steps=steps, batch_size=1024, process=VP, seed=seed)
    assert isinstance(model, tk.ConditionalModel)
    rows = model.network.history.held_out
    found = tk.mutual_information(model, None, x[rows], y[rows], evaluations=65_536, seed=seed)
    assert time.process_time() - start < 120.0
    assert abs(found.loss.value - truth) < bound, f"{found.loss} for {truth}"
    assert found.loss.stderr < bound
    assert found.orthogonality.stderr < bound


def test_rates_that_do_not_fall_towards_noise_leave_finite_values(seed: int) -> None:
    """Exact scores of N(0, 1), the unconditional one off by 2 at much noise: above t_end its rate, as error."""

    def network(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        off = 2.0 * (y.isnan().any(1) & (t > 0.3))
        return VP.variance(t).sqrt()[:, None] * x + off[:, None]

    model = tk.ConditionalModel(network, VP, "epsilon", null=torch.full((1,), math.nan), shape=(1,))
    x, y = tk.ops.normals(20_000, 2, seed=seed, dtype=F64).split(1, dim=1)
    found = tk.mutual_information(model, None, x, y, evaluations=8192, seed=seed)
    assert abs(found.above.value - 2.0) < 0.005  # ½ c², with little noise since ε is all but x at t_end
    assert found.above.stderr >= abs(found.above.value)
    assert math.isfinite(found.value.value)
    assert_z(found.value.value - found.loss.value - found.below.value - found.above.value, 1e-9, "sum")
