"""Laws with conditions: closed forms against tables, integrands against closed forms by exact quadrature, guidance."""

from __future__ import annotations

import math

import pytest
import torch
from information_cases import (
    CASES,
    F64,
    case_a,
    case_b,
    case_c,
    exact_average,
    integral_over_levels,
    log_ratio,
    three_classes,
)
from tolerances import assert_exact, assert_z, rms

import thermokern as tk
from thermokern.processes import LinearProcess
from thermokern.quantities.information.integral import Batch
from thermokern.quantities.information.integrands import information_rates, product_rates, reference_rates
from thermokern.targets import law_score_at
from thermokern.targets.guided_gaussian import axis_gain, guided_by_axes, guided_by_integration
from thermokern.targets.marginals import marginal_law

VP = tk.VP()
LOW, HIGH = VP.log_snr(1.0), VP.log_snr(1e-5)
# I, gap and S_tot on [1e-5, 1], S_tot, total correlation: determined by other means, in float64.
TABLE = {
    "A": (0.413339, 0.413326, 0.0, 0.0, 0.0),
    "B": (2.493854, 2.493788, 0.673534, 0.673537, 0.673537),
    "C(1e-1)": (9.727131, 9.726927, 10.519327, 10.519388, 7.426366),
    "C(1e-2)": (6.624005, 6.623805, 27.113041, 27.113776, 23.068320),
    "C(1e-3)": (6.136823, 6.136623, 44.308176, 44.315665, 40.162014),
    "C(1e-4)": (6.084565, 6.084365, 61.503616, 61.578303, 57.413688),
    "D(1)": (17.975107, 17.974714, 0.866512, 0.866514, 0.0),
    "D(.6)": (25.051618, 25.051039, 0.866512, 0.866514, 0.0),
    "D(.25)": (37.885055, 37.883245, 0.866512, 0.866514, 0.0),
    "D(.05)": (61.964024, 61.926859, 0.866512, 0.866514, 0.0),
    "E": (2.998160, 2.998021, 72.301442, 72.303404, 52.459479),
}
ROUNDED = 1e-6  # the table's own last digit


def within(actual: float, expected: float, bound: float, what: str = "value") -> None:
    assert abs(actual - expected) <= bound, f"{what}: {actual:.9g}, expected {expected:.9g} ± {bound:g}"


@pytest.mark.parametrize("name", list(CASES))
def test_closed_forms(name: str) -> None:
    law = CASES[name]()
    information, gap, _, entropy, correlation = TABLE[name]
    within(law.mutual_information(), information, ROUNDED, "I")
    within(law.mutual_information(HIGH) - law.mutual_information(LOW), gap, ROUNDED, "gap")
    within(law.total_entropy(), entropy, ROUNDED, "S_tot")
    within(law.total_correlation(), correlation, ROUNDED, "TC")


@pytest.mark.parametrize("name", list(CASES))
def test_rates_integrate_to_the_closed_forms(name: str) -> None:
    """Gap, loss and difference of entropies, and S_tot, on [1e-5, 1]: the table, and the closed form to 1e-9."""
    law = CASES[name]()
    _, gap, produced, _, _ = TABLE[name]
    shape = torch.Size([law.dim])
    rates = information_rates(law, law.x, VP, shape)
    for value in integral_over_levels(rates, law.joint, law.dim, VP, LOW, HIGH).tolist():
        within(value, gap, ROUNDED)
        within(value, law.mutual_information(HIGH) - law.mutual_information(LOW), 1e-9)
    stored = reference_rates(law.x, VP, shape, 1.0)
    within(integral_over_levels(stored, law.x, law.dim, VP, LOW, HIGH).item(), produced, ROUNDED, "S_tot")


def test_the_difference_is_that_of_two_entropies_point_by_point(seed: int) -> None:
    """On the same points S(X|Y) − S(X), whatever the reference: its average alone would not tell one from another."""
    law, t = case_b(), torch.linspace(0.01, 1.0, 40, dtype=F64)
    (x0, y), noise = law.sample(40, seed), tk.ops.normals(40, 3, seed=seed, dtype=F64)
    for process, std in ((VP, 1.0), (tk.EDM(), 2.0)):
        m, root = process.mean_scale(t)[:, None], process.variance(t).sqrt()[:, None]
        batch = Batch(m * x0 + root * noise, t, noise, root, y)
        difference = information_rates(law, law.x, process, torch.Size([3]), std)(batch)[:, 2]
        one, other = (reference_rates(part, process, torch.Size([3]), std)(batch)[:, 0] for part in (law, law.x))
        assert rms(difference - (one - other)) < 1e-12 * rms(one)


@pytest.mark.parametrize("process", [tk.EDM(), tk.CosineVP(), tk.Flow(), tk.SubVP()], ids=repr)
def test_between_equal_levels_every_process_gives_the_same(process: LinearProcess) -> None:
    law = case_b()
    low, high = -4.0, 6.0
    rates = information_rates(law, law.x, process, torch.Size([3]))
    expected = law.mutual_information(high) - law.mutual_information(low)
    for value in integral_over_levels(rates, law.joint, 3, process, low, high, nodes=48).tolist():
        within(value, expected, 1e-9)


@pytest.mark.parametrize(
    ("scales", "gap", "loss"), [((1.1, 1.0), 0.550375, 0.358943), ((1.0, 1.1), 0.463576, 0.463576)]
)
def test_wrong_scores(scales: tuple[float, float], gap: float, loss: float, seed: int) -> None:
    """Gap and loss of scores that are off by a tenth; loss = I + L_u − L_c, with L computed apart."""
    law = case_a()
    wrong = tk.ConditionalModel(lambda x, t, y: scales[0] * law.score_at(x, t, y, VP), VP)
    plain = tk.ScoreModel(lambda x, t: scales[1] * law_score_at(law.x, x, t, VP), VP)
    found = integral_over_levels(information_rates(wrong, plain, VP, torch.Size([1])), law.joint, 1, VP, LOW, HIGH)
    within(found[0].item(), gap, ROUNDED, "gap")
    within(found[1].item(), loss, ROUNDED, "loss")
    rates = reference_rates(plain, VP, torch.Size([1]), 1.0, law.x)
    l_u = integral_over_levels(rates, law.x, 1, VP, LOW, HIGH)[1].item()
    # L_c: the wrong conditional score against the exact one, whose difference is a tenth of the exact one.
    tenth = tk.ConditionalModel(lambda x, t, y: (scales[0] - 1.0) * law.score_at(x, t, y, VP), VP)
    zero = tk.ScoreModel(lambda x, t: torch.zeros_like(x), VP)
    l_c = integral_over_levels(information_rates(tenth, zero, VP, torch.Size([1])), law.joint, 1, VP, LOW, HIGH)[0]
    within(found[1].item(), TABLE["A"][1] + l_u - l_c.item(), 2 * ROUNDED, "I + L_u − L_c")
    sampled = tk.mutual_information(wrong, plain, law, evaluations=16_384, seed=seed)
    assert_z([sampled.gap.z(gap), sampled.loss.z(loss)], 4.0, "gap and loss by sampling")
    assert_z(sampled.orthogonality.z(loss - gap), 4.0, "loss − gap: −0.191432 where s_c is off")
    assert sampled.orthogonality.stderr < 0.03


def test_product_of_marginals() -> None:
    """Total correlation, its chain rule over blocks, and two blocks as mutual information."""
    law = case_b()

    def between(target: tk.Gaussian, blocks: list[list[int]]) -> float:
        marginals = [marginal_law(target, block) for block in blocks]
        rates = product_rates(target, marginals, blocks, VP, torch.Size([target.dim]))
        return integral_over_levels(rates, target, target.dim, VP, LOW, HIGH).item()

    whole = between(law.x, [[0], [1], [2]])
    within(whole, TABLE["B"][2], ROUNDED)
    pair = marginal_law(law.x, [0, 2])
    assert isinstance(pair, tk.Gaussian)
    within(between(law.x, [[0, 2], [1]]) + between(pair, [[0], [1]]), whole, 1e-9, "chain rule")
    within(between(law.joint, [[0, 1, 2], [3, 4]]), 2.493838, ROUNDED, "I(X_ε;Y_ε) − I(X_T;Y_T)")
    within(between(case_a().joint, [[0], [1]]), 0.413338, ROUNDED)


@pytest.mark.parametrize("name", list(CASES))
def test_the_rates_at_both_ends_are_what_lies_beyond_them(name: str) -> None:
    """I(X;Y) − I(X_ε;Y) and I(X_T;Y): to a hundredth; with them D(.05) is 61.9639 of 61.9640."""
    law = CASES[name]()
    rates = information_rates(law, law.x, VP, torch.Size([law.dim]))
    ends = exact_average(rates, law.joint, law.dim, VP, torch.tensor([LOW, HIGH], dtype=F64))[:, 0]
    above, below = ends.tolist()
    within(above / law.mutual_information(LOW), 1.0, 0.01, "above t_end")
    within(below / (law.mutual_information() - law.mutual_information(HIGH)), 1.0, 0.01, "below t_eps")
    if name == "D(.05)":
        inside = integral_over_levels(rates, law.joint, law.dim, VP, LOW, HIGH)[0].item()
        within(above + inside + below, 61.964024, 1.2e-4)  # 0.0372 without them
    if name == "C(1e-2)":
        within(below, 9.24e-5, 1e-7)
        within(above, 1.07e-4, 5e-7)


def joint_against_conditionals(law: tk.JointGaussian) -> tk.ConditionalModel:
    """``[s(x_t|y_0), s(y_t|x_0)]`` of z = [x, y], whose condition is z itself without noise."""
    d = law.dim
    x_of_y = tk.Gaussian(torch.zeros(d), law.conditional_covariance)
    gain = law.joint.covariances[0][d:, :d] @ torch.linalg.inv(law.x.covariances[0])  # E[y|x] = gain x
    rest = law.y.covariances[0] - gain @ law.joint.covariances[0][:d, d:]
    y_of_x = tk.Gaussian(torch.zeros(law.dim_y), 0.5 * (rest + rest.T))

    def score(z: torch.Tensor, t: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
        m = VP.mean_scale(t)[:, None]
        x_given = law_score_at(x_of_y, z[:, :d] - m * law.conditional_mean(z0[:, d:]), t, VP)
        y_given = law_score_at(y_of_x, z[:, d:] - m * (z0[:, :d] @ gain.T), t, VP)
        return torch.cat([x_given, y_given], dim=1)

    return tk.ConditionalModel(score, VP)


def joint_against_conditionals_exactly(law: tk.JointGaussian) -> float:
    """``½ Δ[ln|Σ⁻¹ + γ| − ln|Σ_{x|y}⁻¹ + γ| − ln|Σ_{y|x}⁻¹ + γ|]`` from λ = LOW to HIGH, γ = e^λ."""
    precision = torch.linalg.inv(law.joint.covariances[0])
    d, size = law.dim, law.dim + law.dim_y
    total = 0.0
    for sign, level in ((1.0, HIGH), (-1.0, LOW)):
        shifted = precision + math.exp(level) * torch.eye(size, dtype=F64)
        parts = (shifted, shifted[:d, :d], shifted[d:, d:])  # blocks of Σ⁻¹ are the conditional laws' precisions
        whole, one, other = (torch.logdet(part).item() for part in parts)
        total += 0.5 * sign * (whole - one - other)
    return total


@pytest.mark.parametrize(("name", "value"), [("A", 0.413315), ("B", 2.493644)])
def test_the_joint_score_against_both_conditional_ones(name: str, value: float, seed: int) -> None:
    """MINDE's j: by quadrature on [1e-5, 1], and by `mutual_information` of z = [x, y] whose condition is z itself."""
    law = CASES[name]()
    within(joint_against_conditionals_exactly(law), value, ROUNDED, "closed form")
    pair, size = joint_against_conditionals(law), law.dim + law.dim_y
    rates = information_rates(pair, law.joint, VP, torch.Size([size]))

    def of_noise_alone(batch: Batch) -> torch.Tensor:
        z0 = (batch.x - batch.root * batch.noise) / VP.mean_scale(batch.t)[:, None]
        return rates(batch._replace(y=z0))

    found = integral_over_levels(of_noise_alone, law.joint, size, VP, LOW, HIGH)[:2]  # gap and loss
    for each in found.tolist():
        within(each, joint_against_conditionals_exactly(law), 1e-9)
    z = law.joint.sample(16_384, seed)
    sampled = tk.mutual_information(pair, law.joint, z, z, estimator="gap", evaluations=16_384, seed=seed)
    assert_z(sampled.gap.z(value), 4.0, "on [1e-5, 1]")
    assert_z(sampled.value.z(law.mutual_information()), 4.0, "with both ends")
    assert_z(sampled.orthogonality.z(0.0), 4.0, "loss − gap")
    assert sampled.gap.stderr < 0.02 * value


def test_scores_at_times_of_their_own(seed: int) -> None:
    """All at once as one after the other: mixtures, empirical laws, and a law without a way of its own."""
    full = tk.GaussianMixture(
        [[0.0, 1.0], [2.0, -1.0]],
        covariances=[[[1.0, 0.6], [0.6, 0.5]], [[0.3, -0.1], [-0.1, 0.4]]],
        weights=[0.3, 0.7],
    )
    laws = [
        full,
        tk.GaussianMixture.ring(),
        tk.Empirical(full.sample(500, seed)),
        tk.UniformBox([0.0, 0.0], [1.0, 2.0]),
    ]
    t = torch.linspace(0.02, 1.0, 9, dtype=F64)
    for process in (VP, tk.EDM()):
        x = full.sample(9, seed + 1) + process.variance(t).sqrt()[:, None] * full.sample(9, seed + 2)
        for law in laws:
            out = law_score_at(law, x, t, process)
            one = torch.cat([law.score(x[i : i + 1], t[i].item(), process) for i in range(9)])
            assert rms(out - one) < 1e-11 * rms(one), type(law).__name__
            assert law_score_at(law, x[:0], t[:0], process).shape == (0, 2)


def test_conditional_scores_are_those_of_one_condition(seed: int) -> None:
    law = case_b()
    x, y = law.sample(7, seed)
    t = torch.linspace(0.01, 1.0, 7, dtype=F64)
    out = law.score_at(x, t, y, VP)
    one = torch.cat([law.given(y[i]).score(x[i : i + 1], t[i].item(), VP) for i in range(7)])
    assert rms(out - one) < 1e-11 * rms(one)
    labelled = three_classes()
    x, k = labelled.sample(50, seed)
    out = labelled.score_at(x, torch.full((50,), 0.3, dtype=F64), k, VP)
    one = torch.cat([labelled.given(int(k[i])).score(x[i : i + 1], 0.3, VP) for i in range(50)])
    assert rms(out - one) < 1e-12


def test_samples(seed: int) -> None:
    """Means and products of pairs; the density's ratio has I for its mean and √Σρ² for its spread; point by point."""
    law = case_b()
    x, y = law.sample(40_000, seed)
    ratio = log_ratio(law, x, y)
    error = 1.3374 / math.sqrt(len(ratio))
    assert_z((ratio.mean().item() - law.mutual_information()) / error, 4.0, "mean of ln p(x|y)/p(x)")
    within(ratio.std().item(), 1.3374, 0.03, "its spread")
    assert_exact(law.sample(10, seed, path_offset=5)[0], x[5:15].contiguous())
    labelled = three_classes()
    x, k = labelled.sample(40_000, seed)
    share = torch.bincount(k) / len(k)
    assert_z(
        ((share - labelled.weights) / (labelled.weights * (1 - labelled.weights) / len(k)).sqrt()).tolist(), 4.0, "y"
    )
    means = torch.stack([x[k == j].mean() for j in range(3)])
    spread = torch.stack([x[k == j].std() / (k == j).sum().sqrt() for j in range(3)])
    assert_z(((means - torch.tensor([-2.0, 0.0, 3.0])) / spread).tolist(), 4.0, "x given y")
    assert_exact(labelled.sample(10, seed, path_offset=5)[0], x[5:15].contiguous())


def test_guidance_in_one_dimension() -> None:
    """R = 4; then the closed gains at w = 2 and without end, and no information in a direction that is not seen."""
    law = tk.JointGaussian([4.0], [[1.0]], math.sqrt(4.0 / 3.0))
    for w, information, gain in ((0, 0.693147, 1.0), (1, 1.586071, 1.380173), (2, 2.345674, 1.5), (4, 3.727649, 1.5)):
        found = law.guided(w)
        within(found.information, information, ROUNDED)
        within(found.gain.item(), gain, ROUNDED)
        within(found.covariance.item(), 4.0**-w, 1e-12)
    ratio = torch.tensor([1.0, 1.0 + 1e-9, 2.5, 1e6], dtype=F64)
    assert ((axis_gain(ratio, 2.0) - (ratio + 2.0) / ratio).abs() < 1e-9).all()
    within(axis_gain(torch.tensor([4.0], dtype=F64), 60.0).item(), 4.0 / 3.0, 0.02)


def test_guidance_of_matrices() -> None:
    """Axes add up; the flow's equation, integrated, agrees; where nothing commutes it alone serves."""
    ratios = torch.tensor([4.0, 2.5], dtype=F64)
    whole, part = torch.diag(ratios), torch.eye(2, dtype=F64)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=F64)
    law = tk.JointGaussian(turn @ whole @ turn.T, turn.T, (ratios / (ratios - 1.0)).sqrt())
    within(law.guided(2.0).information, 4.068680, ROUNDED)
    for one, other in zip(guided_by_axes(whole, part, 2.0), guided_by_integration(whole, part, 2.0), strict=True):
        assert (one - other).abs().max() < 1e-6
    mixed = case_b()
    within(mixed.guided(0.0).information, mixed.mutual_information(), 1e-6, "no guidance")
    assert mixed.guided(3.0).information > 3.5 * mixed.mutual_information()


def test_guided_samples(seed: int) -> None:
    """The probability flow with the guided score, R = 4, w = 2: E(x|y) = 1.5 of the law's, Var = 1/64, by three paths.

    The flow of a Gaussian is linear, so that they show it without sampling; and 400 samples from the prior agree.
    """
    law = tk.JointGaussian([1.0], [[1.0]], math.sqrt(1.0 / 3.0))
    start = torch.tensor([[-1.0], [0.0], [1.0]], dtype=F64)  # N(0, 1) by its sigma points
    for method, n_steps, bound in (("probability-flow", 1000, 0.03), ("heun", 200, 0.005)):
        options = {"method": method, "n_steps": n_steps, "t_eps": 1e-5, "dtype": F64}
        means = []
        for y in (-2.0, 2.0):
            guided = tk.guided(law.given(y), law.x, 2.0, VP)
            low, mean, high = tk.sample(guided, VP, 3, x_end=start, **options)[:, 0].tolist()
            within(0.25 * (high - low) ** 2, 1.0 / 64.0, bound / 64.0, f"{method}: variance")
            means.append((mean, law.given(y).means.item()))
        within((means[1][0] - means[0][0]) / (means[1][1] - means[0][1]), 1.5, 0.02, f"{method}: slope")
    x = tk.sample(guided, VP, 400, seed=seed, **options)
    assert_z(((x.mean() - mean) / (x.std() / 20.0)).item(), 4.0, "mean of samples")
    assert_z((64.0 * x.var().item() - 1.0) / math.sqrt(2.0 / 400.0), 4.0, "their variance")


def test_labels_of_points(seed: int) -> None:
    x = three_classes().sample(300, seed)
    law = tk.Labelled.from_points(*x)
    assert isinstance(law.marginal, tk.Empirical)
    assert law.marginal.points.shape == (300, 1)
    within(law.label_entropy, -(law.weights * law.weights.log()).sum().item(), 1e-15)


def test_bad_arguments() -> None:
    gaussian = tk.Gaussian([0.0], 1.0)
    for match, call in {
        "^A: expected": lambda: tk.JointGaussian([1.0], [1.0], 1.0),
        "^covariance_x: expected": lambda: tk.JointGaussian([1.0], [[1.0, 2.0]], 1.0),
        "^noise: expected a positive": lambda: tk.JointGaussian([1.0], [[1.0]], 0.0),
        "^mean: expected": lambda: tk.JointGaussian([1.0], [[1.0]], 1.0, [0.0, 1.0]),
        "^y: expected": lambda: case_b().given([1.0]),
        "^w: expected": lambda: case_a().guided(-1.0),
        "^laws: expected at least": lambda: tk.Labelled([]),
        "^laws: expected dimension": lambda: tk.Labelled([gaussian, tk.Gaussian([0.0, 0.0], 1.0)]),
        "^weights: expected positive": lambda: tk.Labelled([gaussian, gaussian], [0.5, 0.6]),
        "^labels: expected every": lambda: tk.Labelled.from_points([[0.0], [1.0]], torch.tensor([0, 2])),
        "^y: expected a label": lambda: three_classes().given(3),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="^laws: expected mixtures"):
        tk.Labelled([gaussian, tk.UniformBox([0.0], [1.0])])
    with pytest.raises(TypeError, match="^marginals: those of a UniformBox"):
        marginal_law(tk.UniformBox([0.0], [1.0]), [0])
    assert case_c(1e-2).settings()["kind"] == "JointGaussian"
