"""Information from scores by sampling: known values, laws, calibration, what wrong models are told."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from information_cases import CASES, F64, case_a, case_b, case_c, case_d, log_ratio, ring, three_classes
from tolerances import assert_exact, assert_z, rms

import thermokern as tk
from thermokern.papers.premkumar2025.laws import flattened
from thermokern.quantities.information.estimates import _local_mean, beyond, level_estimate, recurring, warn_of_few
from thermokern.quantities.information.plan import FLOOR, Levels, adapted_density
from thermokern.targets import law_score_at

VP = tk.VP()
# The long form of every check here, more seeds and more laws, is benchmarks/information.py.
Z = 4.0


def test_mutual_information_of_a_flat_gaussian(seed: int) -> None:
    """25 dimensions, 15 of them 1e-3 wide: z, the size of the error, and what uniform times would cost."""
    law = case_c(1e-3)
    found = tk.mutual_information(law, process=VP, seed=seed)
    assert_z(found.value.z(law.mutual_information()), Z, "I")
    assert found.estimator == "gap"
    assert found.value.stderr < 0.025
    assert_z([found.orthogonality.z(0.0), found.drift_orthogonality.z(0.0)], Z, "orthogonality")
    assert_z([found.loss.z(6.136623), found.difference.z(6.136623)], Z, "loss, difference")
    uniform = tk.mutual_information(law, process=VP, seed=seed, sampling="uniform", ends=False)
    assert_z(uniform.value.z(6.136623), Z, "uniform times")
    assert uniform.value.stderr > 2.0 * found.value.stderr
    stored = tk.neural_entropy(law.x, law.x, VP, seed=seed)
    assert_z(stored.value.z(44.315665), Z, "S_tot")
    plain = tk.neural_entropy(law.x, law.x, VP, seed=seed, sampling="uniform", ends=False)
    assert plain.value.stderr > 5.0 * stored.value.stderr


def test_both_missing_ends(seed: int) -> None:
    """Weak noise: what lies below t_eps and above t_end, read off the rates there."""
    law = case_d(0.05)
    found = tk.mutual_information(law, process=VP, seed=seed)
    assert found.value.stderr < 0.15
    uniform = tk.mutual_information(law, process=VP, seed=seed, sampling="uniform", ends=False)
    assert uniform.value.stderr > 0.5
    for name, end, truth, bound in (
        ("below", found.below, law.mutual_information() - law.mutual_information(VP.log_snr(1e-5)), 0.03),
        ("above", found.above, law.mutual_information(VP.log_snr(1.0)), 0.05),
    ):
        assert abs(end.value / truth - 1.0) < bound, f"{name}: {end} for {truth:.4g}"
    assert_z(found.value.z(61.964024), Z, "I")
    assert_z(found.gap.z(61.926859), Z, "on [1e-5, 1]")


def test_paired_difference_of_entropies(seed: int) -> None:
    found = tk.mutual_information(case_c(1e-4), process=VP, seed=seed)
    assert_z(found.difference.z(6.084365), Z, "S(X|Y) − S(X)")
    assert found.difference.stderr < 0.06


def test_standard_errors_are_calibrated(seed: int) -> None:
    """48 seeds at 2048 evaluations, of new points and of 300 that recur: the spread of z within 4 of its own errors."""
    law, fresh, recurring = case_b(), [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        for k in range(48):
            found = tk.mutual_information(law, process=VP, evaluations=2048, seed=seed + k)
            fresh.append((found.value.z(2.493854), found.loss.z(2.493788), found.orthogonality.z(0.0)))
            x, y = law.sample(300, seed + 1000 + k)
            again = tk.mutual_information(law, None, x, y, VP, evaluations=2048, seed=seed + k)
            recurring.append((again.value.z(2.493854), again.loss.z(2.493788)))
    for scores in (torch.tensor(fresh, dtype=F64), torch.tensor(recurring, dtype=F64)):
        assert_z((scores.mean(0) * math.sqrt(48)).tolist(), Z, "mean of z")
        spread = scores.std(0)
        assert ((spread - 1.0).abs() < 4.0 / math.sqrt(2 * 48)).all(), spread


@pytest.mark.long  # a minute
@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")  # of some seeds
@pytest.mark.parametrize("name", ["A", "B", "D(1)", "three classes"])
def test_standard_errors_are_calibrated_over_300_seeds(name: str, seed: int) -> None:
    """At 2048 evaluations the spread of z is within [0.88, 1.12] and its mean within ¼, of every estimator."""
    law, truth, inside = (three_classes(), 0.879519, math.nan) if name == "three classes" else (CASES[name](), 0.0, 0.0)
    if isinstance(law, tk.JointGaussian):
        truth = law.mutual_information()
        inside = law.mutual_information(VP.log_snr(1e-5)) - law.mutual_information(VP.log_snr(1.0))
    rows = []
    for k in range(300):
        found = tk.mutual_information(law, process=VP, evaluations=2048, growth=False, seed=seed + k)
        parts = [] if math.isnan(inside) else [found.gap, found.loss, found.difference]
        rows.append([found.value.z(truth), *(part.z(inside) for part in parts)])
    scores = torch.tensor(rows, dtype=F64)
    assert (scores.mean(0).abs() < 0.25).all(), scores.mean(0)
    assert ((scores.std(0) > 0.88) & (scores.std(0) < 1.12)).all(), scores.std(0)


def test_points_that_recur_do_not_shrink_the_error(seed: int) -> None:
    """Ten times the evaluations of the same 200 points: the error stays near that of 200 values of i(x;y)."""
    law = case_b()
    x, y = law.sample(200, seed)
    errors = [
        tk.mutual_information(law, None, x, y, VP, evaluations=n, seed=seed, estimator="loss").value.stderr
        for n in (4_096, 40_960)
    ]
    floor = log_ratio(law, x, y).std().item() / math.sqrt(200)
    assert 0.8 * floor < errors[1] < 1.3 * floor
    assert errors[1] > 0.5 * errors[0]


def test_labels(seed: int) -> None:
    """Three classes: I, its curve over noise levels, each label's own, growth; then rings, to H(Y) and far below it."""
    law = three_classes()
    found = tk.mutual_information(law, process=VP, seed=seed)
    assert_z(found.value.z(0.879519), Z, "I")
    assert found.value.stderr < 0.008
    for log_snr, truth in ((-2.0, 0.172266), (0.0, 0.558817), (2.0, 0.819054)):
        assert_z(found.at(log_snr).z(truth), Z, f"I at λ = {log_snr}")
    assert_z(found.at(99.0).z(found.value.value - found.below.value), 1e-9, "the last level is the whole integral")
    edge = found.curve.log_snr[17].item()
    assert abs(found.at(edge).value - found.curve.cumulative[17].item()) < 1e-12
    mean = sum(weight * item.value for weight, item in zip(law.weights.tolist(), found.per_label, strict=True))
    assert abs(mean - found.gap.value) < 1e-9
    assert found.label_entropy is not None
    assert abs(found.label_entropy.value - 1.029653) < 1e-6
    assert found.growth is not None
    assert found.growth.z(0.879519) < Z
    assert {v.outcome for v in found.verdicts} <= {"holds", "tight"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)  # of some seeds: large gaps are rare here
        apart = tk.mutual_information(ring(4.0, 0.25), process=VP, seed=seed, growth=False)
    assert_z(apart.value.z(2.0794415), Z, "ring whose labels are told without doubt: ln 8")
    near = tk.mutual_information(ring(1.0, 0.5), process=VP, seed=seed, growth=False)
    assert_z(near.value.z(1.037450), Z, "ring")
    assert max(apart.value.stderr, near.value.stderr) < 0.03
    assert near.growth is None


@pytest.mark.parametrize("law", [case_a(), case_b()], ids=["A", "B"])
def test_exact_scores_are_orthogonal(law: tk.JointGaussian, seed: int) -> None:
    """``E[δ·(s_c − τ)] = 0`` and ``E[δ·(s_u − s_eq)] = 0``, with errors that would show a hundredth of I."""
    found = tk.mutual_information(law, process=VP, seed=seed)
    assert_z([found.orthogonality.z(0.0), found.drift_orthogonality.z(0.0)], Z, "loss − gap, difference − gap")
    assert max(found.orthogonality.stderr, found.drift_orthogonality.stderr) < 0.03 * found.value.value
    assert_z(found.value.z(law.mutual_information()), Z, "I")


def test_scores_that_err_apart_are_found_out(seed: int) -> None:
    """Ripples on both scores, unlike each other: the gap passes H(Y), which a verdict says; loss and growth stand."""
    law = three_classes()

    def ripple(x: torch.Tensor, t: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        return 0.35 * torch.sin(30.0 * x + phase[:, None]) / VP.variance(t.double()).sqrt()[:, None]

    def rough(x: torch.Tensor, t: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return law.score_at(x, t.double(), k, VP) + ripple(x, t, 1.0 + k)

    plain = tk.ScoreModel(
        lambda x, t: law_score_at(law.marginal, x, t.double(), VP) + ripple(x, t, torch.full((len(x),), 5.0)), VP
    )
    found = tk.mutual_information(tk.ConditionalModel(rough, VP), plain, law, evaluations=16_384, seed=seed)
    assert found.label_entropy is not None
    assert found.growth is not None
    assert found.gap.value > found.label_entropy.value + 4.0 * found.gap.stderr
    outcomes = {verdict.statement: verdict.outcome for verdict in found.verdicts}
    assert outcomes["gap ≤ H(Y)"] == "fails"
    assert outcomes["gap = loss"] == "fails"
    assert outcomes["loss ≤ H(Y)"] in ("holds", "tight")
    assert found.orthogonality.z(0.0) < -5.0
    assert found.growth.z(0.879519) < Z


def test_total_correlation(seed: int) -> None:
    """Both routes; shift and scale of the axes do not matter to the product; a nearly flat law."""
    law, truth = case_b().x, 0.673537
    found = tk.total_correlation(law, process=VP, seed=seed)
    assert found.route == "product"
    assert_z(found.value.z(truth), Z, "product")
    assert found.value.stderr < 0.008
    entropies = tk.total_correlation(law, process=VP, route="entropy", evaluations=16_384, seed=seed)
    assert_z(entropies.value.z(truth), Z, "entropies")
    assert_z([h.z(0.5 * math.log(2 * math.pi * math.e)) for h in entropies.axis_entropies], Z, "axes")
    scale = torch.tensor([2.0, 1.0, 0.5], dtype=F64).sqrt()
    moved = tk.Gaussian([2.0, 0.0, 1.0], law.covariances[0] * scale[:, None] * scale)
    for process in (VP, tk.EDM()):
        assert_z(tk.total_correlation(moved, process=process, seed=seed).value.z(truth), Z, repr(process))
    flat = tk.total_correlation(case_c(1e-3).x, process=VP, seed=seed)
    assert_z(flat.value.z(40.162014), Z, "flat")
    assert flat.value.stderr < 0.15
    shared = tk.ConditionalModel(lambda x, t, y: law_score_at(tk.Gaussian([0.0], 1.0), x, t, VP), VP)
    again = tk.total_correlation(law, shared, process=VP, seed=seed)
    assert abs(again.value.value - found.value.value) < 1e-9
    points = tk.total_correlation(
        law, None, law.sample(500, seed), VP, evaluations=4096, blocks=[[0, 1], [2]], seed=seed
    )
    assert points.settings["blocks"] == 2
    assert points.points is not None


def test_neural_entropy(seed: int) -> None:
    """KL from N(0, 1), with what lies below t_eps; directions without width; another process and reference; a model."""
    for law, truth, inside in (
        (tk.Gaussian([0.5], 0.09), 0.873973, 0.873963),
        (tk.Gaussian([0.0], 1e-4), 4.105220, 4.100241),
    ):
        found = tk.neural_entropy(law, law, VP, seed=seed)
        assert_z([found.value.z(truth), found.integral.z(inside)], Z, repr(truth))
        assert found.mismatch is None
    assert abs(found.below.value / 0.004979 - 1.0) < 0.15
    flat = tk.Empirical(torch.cat([tk.Gaussian([0.0], 1.0).sample(200, seed), torch.zeros(200, 2, dtype=F64)], 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        collapsed = tk.neural_entropy(flat, flat, VP, t_eps=1e-7, evaluations=4096, seed=seed)
        own = flattened(1.0, 50, 10, 8).x  # the reference itself, in other axes: rounding is not read as a rate
        assert abs(tk.neural_entropy(own, own, VP, evaluations=256, seed=seed).value.value) < 1e-12
    assert collapsed.below.value == math.inf
    assert_z(collapsed.collapsed_directions.z(3.0), Z, "directions of a set of points")
    wide = tk.Gaussian([0.5], 0.09)
    edm = tk.neural_entropy(wide, wide, tk.EDM(), reference_std=2.0, seed=seed)
    truth = 0.5 * (0.09 / 4 + 0.25 / 4 - 1.0 - math.log(0.09 / 4))
    assert_z(edm.value.z(truth), Z, "KL from N(0, 4), EDM")
    model = tk.ScoreModel(lambda x, t: 1.1 * law_score_at(wide, x, t, VP), VP)
    learned = tk.neural_entropy(model, wide, seed=seed, evaluations=16_384)
    exact = tk.neural_entropy(tk.ScoreModel(lambda x, t: law_score_at(wide, x, t, VP), VP), wide, evaluations=4096)
    assert learned.mismatch is not None
    assert exact.mismatch is not None
    assert learned.mismatch.value > 5.0 * learned.mismatch.stderr
    assert abs(exact.mismatch.value) < 1e-20


def test_the_conditional_entropy_less_the_entropy_is_the_information(seed: int) -> None:
    """E_y S(X|Y) − S(X) of two calculations, which share data, levels and noise where they are told to."""
    law = case_b()
    both = [tk.neural_entropy(model, law, VP, seed=seed, sampling="log-snr") for model in (law, law.x)]
    difference = both[0].integral.value - both[1].integral.value
    error = math.hypot(both[0].integral.stderr, both[1].integral.stderr)
    assert_z((difference - 2.493788) / error, Z, "S(X|Y) − S(X)")


@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")
def test_bits(seed: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The same for one thread and two and in batches of any size; another seed gives another."""
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    law, pairs = three_classes(), case_b()
    x, k = law.sample(300, seed)
    model = tk.fit_scores(x, k, steps=5, width=16, depth=1, process=VP, seed=seed)

    def run(key: int) -> list[tk.MutualInformation | tk.NeuralEntropy | tk.TotalCorrelation]:
        return [
            tk.mutual_information(law, process=VP, evaluations=2048, seed=key),
            tk.mutual_information(pairs, process=VP, evaluations=2048, seed=key),
            tk.mutual_information(model, None, x, k, evaluations=2048, seed=key),
            tk.neural_entropy(pairs.x, pairs.x, VP, evaluations=1024, seed=key),
            tk.total_correlation(law.marginal, [law.marginal], process=VP, evaluations=1024, seed=key),
        ]

    torch.set_num_threads(1)
    one = run(seed)
    torch.set_num_threads(2)
    two = run(seed)
    monkeypatch.setattr("thermokern.quantities.information.integral._MOST_ROWS", 100)
    for first, *others in zip(one, two, run(seed), strict=True):
        for other in others:
            assert_exact((other.values, other.value), (first.values, first.value))
    assert_exact([each.growth for each in two[:3:2]], [each.growth for each in one[:3:2]])
    assert run(seed + 1)[0].value != one[0].value


def test_stored_and_shown(tmp_path: Path, seed: int) -> None:
    law = three_classes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        results = [
            tk.mutual_information(law, process=VP, evaluations=2048, seed=seed),
            tk.neural_entropy(law.marginal, law.marginal, VP, evaluations=1024, seed=seed),
            tk.total_correlation(case_b().x, process=VP, evaluations=1024, seed=seed),
            tk.pointwise_mutual_information(law, None, *law.sample(50, seed), VP, evaluations=8, seed=seed),
        ]
    for result in results:
        result.save(tmp_path / "result.safetensors")
        again = tk.load(tmp_path / "result.safetensors")
        assert type(again) is type(result)
        assert again.summary() == result.summary()
        assert_exact(again.values, result.values)
        panels = result.plot().axes
        legend = [text for panel in panels for _, text in zip(*panel.get_legend_handles_labels(), strict=True)]
        if isinstance(result, tk.PointwiseMutualInformation):
            assert legend == ["mean", "± s.e. of one value"]
        else:
            assert legend.count("not evaluated") == 1
            assert panels[1].get_xlim()[1] > result.curve.log_snr[-1].item()
        assert again.to_json() == result.to_json()
        assert {len(column) for column in result.columns().values()} == {len(next(iter(result.columns().values())))}


def test_ends_of_rates() -> None:
    """Falling as e^{−kλ}: k = 1 leaves the rate itself, k = ½ twice as much, no fall an infinity."""
    noise = 1.0 + 0.01 * tk.ops.normals(512, 2, seed=1, dtype=F64)
    for exponent, expected in ((1.0, 1.0), (0.5, 2.0), (2.0, 0.5)):
        found = beyond(noise[:, 0], math.exp(1.5 * exponent) * noise[:, 1])
        assert abs(found.value - expected) < 0.02 * expected
    assert beyond(noise[:, 0], noise[:, 1]).value == math.inf
    assert beyond(torch.zeros(64, dtype=F64), torch.zeros(64, dtype=F64)).value == 0.0


def test_errors_by_neighbours() -> None:
    """A slope costs no error; points that recur, all alike, have the error of as many as there are."""
    line = torch.linspace(0.0, 1.0, 1000, dtype=F64)
    noise = tk.ops.normals(1000, 1, seed=3, dtype=F64)[:, 0]
    assert level_estimate(100.0 * line + 1e-3 * noise).stderr < 0.01
    assert abs(level_estimate(100.0 * line + noise, independent=True).stderr / (28.9 / math.sqrt(1000)) - 1.0) < 0.1
    many = tk.ops.normals(20_000, 1, seed=5, dtype=F64)[:, 0]
    assert abs(level_estimate(many).stderr * math.sqrt(20_000) - 1.0) < 0.04
    which = torch.arange(1000) % 50
    own = tk.ops.normals(50, 1, seed=4, dtype=F64)[which, 0]
    assert abs(level_estimate(own, which).stderr / (own[:50].std().item() / math.sqrt(50)) - 1.0) < 0.1
    assert_exact(recurring(7 * which + 3), which)
    assert recurring(which[:50]) is None
    assert recurring(None) is None
    for n in (2, 63, 64, 1000, 1003):  # means over blocks of neighbours, some of one value more
        parts = torch.tensor_split(many[:n], max(1, n // 64))
        blocks = torch.cat([part.mean().expand(len(part)) for part in parts])
        assert rms(_local_mean(many[:n]) - blocks) < 1e-14


def test_few_evaluations_are_told(seed: int) -> None:
    """A class as far as four standard deviations of its neighbours: rarely seen gaps carry everything."""
    with pytest.warns(tk.FewEvaluationsWarning, match="effective pairs") as caught:
        tk.mutual_information(ring(4.0, 0.02), process=VP, evaluations=512, growth=False, seed=seed)
    assert caught[0].filename == __file__


def test_a_bin_that_the_pilot_did_not_see_is_told() -> None:
    """One bin of λ with more than half of the variance."""
    even = torch.full((32,), 1.0 / 32.0, dtype=F64)
    warn_of_few("f", 100.0, even)
    with pytest.warns(tk.FewEvaluationsWarning, match="^f: one of 32 bins of λ holds 60 % of the variance"):
        warn_of_few("f", 100.0, torch.cat([even[:31] * 0.4 * 32 / 31, torch.tensor([0.6], dtype=F64)]))


def test_bad_arguments(seed: int) -> None:
    law, labels = case_b(), three_classes()
    x, y = law.sample(20, seed)
    model = tk.ConditionalModel(lambda x, t, y: x, VP)
    for match, call in {
        "^process: none of the models": lambda: tk.mutual_information(law),
        "^process: .* differ": lambda: tk.mutual_information(model, law.x, x, y, tk.EDM()),
        "^null: this model": lambda: tk.mutual_information(model, None, x, y),
        "^x: a model needs": lambda: tk.mutual_information(model, law.x),
        "^y: expected the condition": lambda: tk.mutual_information(law, None, x, process=VP),
        "^y: expected one condition for each of the 20": lambda: tk.mutual_information(law, None, x, y[:3], VP),
        "^estimator: expected": lambda: tk.mutual_information(law, process=VP, estimator="all"),
        "^evaluations: expected": lambda: tk.mutual_information(law, process=VP, evaluations=10),
        "^sampling: expected": lambda: tk.mutual_information(law, process=VP, sampling="path"),
        "^t_eps: expected": lambda: tk.mutual_information(law, process=VP, t_eps=2.0),
        "^reference_std: ": lambda: tk.neural_entropy(law.x, law.x, tk.EDM()),
        "^condition: a conditional model": lambda: tk.neural_entropy(law, x, VP),
        "^condition: expected none": lambda: tk.neural_entropy(law.x, x, VP, condition=y),
        "^blocks: expected every axis": lambda: tk.total_correlation(law.x, process=VP, blocks=[[0, 1]]),
        "^route: expected": lambda: tk.total_correlation(law.x, process=VP, route="best"),
        "^marginals: expected 3": lambda: tk.total_correlation(law.x, [law.x], process=VP),
        "^data: a model needs": lambda: tk.total_correlation(tk.ScoreModel(lambda x, t: x, VP)),
        "^seed: .*0.25": lambda: tk.neural_entropy(law.x, x, VP, seed=0.25),  # type: ignore[arg-type]
        "^seed: .*None": lambda: tk.total_correlation(law.x, data=x, process=VP, seed=None),  # type: ignore[arg-type]
        "^method: expected": lambda: tk.pointwise_mutual_information(law, None, x, y, VP, method="gap"),
        "^evaluations: expected an even": lambda: tk.pointwise_mutual_information(law, None, x, y, VP, evaluations=7),
        "^y: expected the condition of": lambda: tk.pointwise_mutual_information(law, None, x, None, VP),
        "^y: expected each": lambda: tk.pointwise_mutual_information(
            labels, None, x[:, :1], torch.full((20,), 2), VP, candidates=torch.arange(2), evaluations=8
        ),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="^conditional: expected"):
        tk.mutual_information(law.x, process=VP)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^x: expected points or a conditional law"):
        tk.mutual_information(law, None, law.x, process=VP)
    bad = tk.ConditionalModel(lambda x, t, y: x / 0.0, VP)
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        tk.mutual_information(bad, law.x, x, y)


def test_a_pilot_gives_to_bins_beside_those_in_which_it_met_large_rates() -> None:
    """Shares above the floor: all, a half and a quarter of the largest; none further away; the masses add up to one."""
    edges = torch.linspace(0.0, 32.0, 33, dtype=F64)
    at = torch.linspace(0.05, 31.95, 320, dtype=F64)
    density = adapted_density(Levels(at, torch.ones_like(at)), torch.where(at.long() == 10, 3.0, 0.0).to(F64), edges)
    above = density.mass - FLOOR / 32
    assert abs(density.mass.sum().item() - 1.0) < 1e-12
    expected = torch.zeros(32, dtype=F64)
    expected[8:13] = torch.tensor([0.25, 0.5, 1.0, 0.5, 0.25], dtype=F64)
    assert (above - (1.0 - FLOOR) * expected / 2.5).abs().max().item() < 1e-12
