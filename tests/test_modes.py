"""The TAEP mode by mode: closed forms for modes far apart, shares that sum to one, calibrated errors, names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from tolerances import assert_exact, assert_z

import thermokern as tk
from thermokern.quantities.results.estimate import mean_estimate, variance_estimate
from thermokern.quantities.taep.modes import Mode, collapse_line, collapsed_modes, mode_breakdown

# Three rare modes, each of another weight, not beside each other.
RARE = {1: 0.02, 4: 0.005, 6: 0.05}
WEIGHTS = [RARE.get(c, (1.0 - sum(RARE.values())) / 5) for c in range(8)]
TARGET = tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=WEIGHTS)
LOG_RATIO = [math.log(0.125 / weight) for weight in WEIGHTS]
KL = sum(LOG_RATIO) / 8
VARIANCE = sum((x - KL) ** 2 for x in LOG_RATIO) / 8


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest) -> tk.TAEP:
    return tk.taep(MODEL, TARGET, tk.VP(), n_paths=40_000, seed=int(request.config.getoption("--seed")))


def test_each_mode_meets_its_closed_form(result: tk.TAEP) -> None:
    """Mean log((1/K)/w_c), exponential average K w_c and share (Δ_c − KL)²/(K Var), for T → ∞ and small steps.

    Sampling: z below 4, beside a bias of step and finite time of at most 0.3 % of a value (0.003 where it is small).
    """
    assert [mode.index for mode in result.modes] == list(range(8))
    for mode, log_ratio, weight in zip(result.modes, LOG_RATIO, WEIGHTS, strict=True):
        share = (log_ratio - KL) ** 2 / (8 * VARIANCE)
        for estimate, truth in (
            (mode.mean, log_ratio),
            (mode.fluctuation_theorem, 8 * weight),
            (mode.share_of_variance, share),
        ):
            bias = 0.003 * max(1.0, abs(truth))
            assert abs(estimate.value - truth) < 4.0 * estimate.stderr + bias, f"mode {mode.index}: {estimate}, {truth}"
        assert mode.weight == 0.125
        assert_z((mode.n_paths - 5000) / math.sqrt(40_000 * 0.125 * 0.875), 4.0, f"paths of mode {mode.index}")


def test_modes_add_up_to_the_whole(result: tk.TAEP) -> None:
    assert sum(mode.n_paths for mode in result.modes) == 40_000
    assert abs(sum(mode.share_of_variance.value for mode in result.modes) - 1.0) < 1e-12
    for whole, part in ((result.mean, "mean"), (result.fluctuation_theorem, "fluctuation_theorem")):
        total = sum(getattr(mode, part).value * mode.n_paths for mode in result.modes) / 40_000
        assert abs(total - whole.value) < 1e-12 * max(1.0, abs(whole.value))


def test_the_statistics_are_those_of_the_mode_s_paths(result: tk.TAEP) -> None:
    values = result.values.double()
    for mode in result.modes:
        own = values[result.start_component == mode.index]
        assert_exact(mode.mean, mean_estimate(own.float()))
        share = (own - values.mean()).square().sum() / (values - values.mean()).square().sum()
        assert abs(mode.share_of_variance.value - share.item()) < 1e-12


def test_paths_start_in_the_component_that_was_drawn(result: tk.TAEP) -> None:
    seed = result.settings["seed"]
    assert result.start_component is not None
    assert_exact(result.start_component, TARGET.component(40_000, seed))
    nearest = (result.x_start[:, None].double() - TARGET.means).square().sum(2).argmin(1)
    assert_exact(result.start_component, nearest)
    part = tk.taep(MODEL, TARGET, tk.VP(), n_paths=300, n_steps=5, seed=seed, path_offset=1000)
    assert part.start_component is not None
    assert_exact(part.start_component, result.start_component[1000:1300])


@pytest.mark.parametrize("process", [tk.VP(), tk.VE()], ids=["VP", "VE"])
@pytest.mark.parametrize("t", [0.0, 1e-3, 0.4])
def test_most_probable_component_has_the_largest_responsibility(process: tk.VP | tk.VE, t: float) -> None:
    """Generic where it hurts: three dimensions, unequal weights (one zero) and spreads, modes that overlap."""
    generator = np.random.default_rng(3)
    means, std = generator.normal(size=(5, 3)), generator.uniform(0.2, 1.5, size=(5, 3))
    weights = [0.4, 0.05, 0.3, 0.0, 0.25]
    law = tk.GaussianMixture(means, std=std, weights=weights)
    m, v = (process.mean_scale(t), process.variance(t)) if t else (1.0, 0.0)
    x = m * law.sample(500, seed=1) + math.sqrt(v) * torch.from_numpy(generator.normal(size=(500, 3)))
    densities = [
        weight * stats.multivariate_normal.pdf(x.numpy(), m * mean, np.diag(m * m * spread**2 + v))
        for weight, mean, spread in zip(weights, means, std, strict=True)
    ]
    found = law.most_probable_component(x, t, process)
    assert_exact(found, torch.from_numpy(np.argmax(densities, axis=0)))
    assert {0, 1, 2, 4} == set(found.tolist()) or t == 0.4
    assert law.most_probable_component(x[:0], t, process).shape == (0,)


def test_own_points_belong_to_their_most_probable_mode() -> None:
    """Where modes are far apart that is the component they were drawn from; at t_eps, not at the data."""
    points, component = TARGET.sample(400, seed=3), TARGET.component(400, seed=3)
    result = tk.taep(MODEL, TARGET, tk.VP(), x0=points, n_steps=5)
    assert result.start_component is not None
    assert_exact(result.start_component, component)
    # Unequal spreads: late, the wide component takes points that were the narrow one's at t = 0.
    law = tk.GaussianMixture([[0.0, 0.0], [1.0, 0.0]], std=[0.2, 2.0], weights=[0.3, 0.7])
    late = tk.taep(law, law, tk.VP(), x0=law.sample(400), n_steps=5, t_eps=0.3)
    assert late.start_component is not None
    assert_exact(late.start_component, law.most_probable_component(late.x_start, 0.3, tk.VP()))
    assert not torch.equal(late.start_component, law.most_probable_component(late.x_start, 0.0, tk.VP()))


def test_of_equally_probable_components_the_first_is_taken() -> None:
    law = tk.GaussianMixture([[1.0], [1.0], [-1.0]], std=0.5, weights=[0.25, 0.25, 0.5])
    found = law.most_probable_component(torch.tensor([[1.2], [-0.9]]), 0.0, tk.VP())
    assert found.tolist() == [0, 2]


def test_standard_error_of_a_share_against_replicates() -> None:
    """4,000 replicates of 400 paths in three modes, skewed within: squared standard errors average to the variance.

    Leaving out the error of the overall mean would be seen: the claim for the first share would be twice as large.
    """
    generator = np.random.default_rng(11)
    law = tk.GaussianMixture([[0.0], [4.0], [8.0]], std=1.0, weights=[0.1, 0.3, 0.6])
    shares, errors = np.empty((4000, 3)), np.empty((4000, 3))
    centres, scales = np.array([2.0, 0.3, -0.5]), np.array([0.5, 0.2, 0.4])
    for i in range(4000):
        component = generator.choice(3, size=400, p=[0.1, 0.3, 0.6])
        values = centres[component] + scales[component] * generator.gamma(2.0, size=400)
        modes = mode_breakdown(torch.from_numpy(values), torch.from_numpy(component), law)
        shares[i] = [mode.share_of_variance.value for mode in modes]
        errors[i] = [mode.share_of_variance.stderr for mode in modes]
    ratio = (errors**2).mean(0) / shares.var(0)
    assert np.abs(ratio - 1.0).max() < 4.0 * math.sqrt(2.0 / 4000) + 0.02, ratio


def test_the_collapsed_modes_are_named(result: tk.TAEP) -> None:
    """Above KL = 0.49: the three rare modes, worst first. The summary names the worst with its share."""
    assert [mode.index for mode in collapsed_modes(result.modes, result.mean)] == [4, 1, 6]
    worst = result.modes[4]
    line = next(line for line in result.summary().splitlines() if "most collapsed mode" in line)
    assert f"4: mean {worst.mean} nats" in line
    assert f"{worst.n_paths / 40_000:.1%} of the paths, {worst.share_of_variance.value:.1%} of the variance" in line
    assert [mode["index"] for mode in result.to_json()["modes"]] == list(range(8))


def test_what_does_not_stand_out_is_not_named() -> None:
    assert "most collapsed" not in tk.taep(TARGET, TARGET, tk.VP(), n_paths=200, n_steps=5).summary()
    mean = tk.Estimate(1.0, 0.06)

    def mode(value: float, stderr: float, n_paths: int = 100) -> Mode:
        average = tk.taep(TARGET, TARGET, tk.VP(), n_paths=0, n_steps=1).fluctuation_theorem
        return Mode(3, 0.1, n_paths, tk.Estimate(value, stderr), tk.Estimate(0.5, 0.1, ""), average)

    # The standard error of the difference is 0.1: three of them are 0.3.
    line = collapse_line([mode(1.32, 0.08), mode(0.9, 0.04, n_paths=300)], mean)
    assert line == "3: mean 1.320 ± 0.080 nats, 25.0% of the paths, 50.0% of the variance"
    assert collapse_line([mode(1.28, 0.08)], mean) is None
    # However well it is known, a fifth of the weight is no collapse: ln 1.25 = 0.223.
    assert collapse_line([mode(1.21, 0.001)], tk.Estimate(1.0, 0.001)) is None
    assert collapse_line([mode(1.23, 0.001)], tk.Estimate(1.0, 0.001)) is not None
    assert collapse_line([mode(0.5, 0.04)], mean) is None
    assert collapse_line([mode(9.0, 0.04, n_paths=9)], mean) is None
    assert collapse_line([mode(math.nan, math.nan)], mean) is None
    assert collapse_line([], mean) is None


def test_modes_are_known_for_mixtures_only() -> None:
    points = TARGET.sample(20)
    for reference in (tk.Gaussian([0.0, 0.0], 4.0), tk.ScoreModel(lambda x, t: -x, tk.VP())):
        result = tk.taep(MODEL, reference, tk.VP(), x0=points, n_steps=5)
        assert result.start_component is None
        assert result.modes == ()


def test_modes_without_paths_say_that_they_do_not_know() -> None:
    none = tk.taep(MODEL, TARGET, tk.VP(), n_paths=0, n_steps=5)
    assert none.start_component is not None
    assert none.start_component.shape == (0,)
    one = tk.taep(MODEL, TARGET, tk.VP(), x0=[[4.0, 0.0]] * 2, n_steps=5)
    assert [mode.n_paths for mode in one.modes] == [2] + [0] * 7
    for mode in (*none.modes, *one.modes[1:]):
        assert math.isnan(mode.mean.value)
        assert math.isnan(mode.fluctuation_theorem.value)
    assert math.isnan(none.modes[0].share_of_variance.value)
    assert (one.modes[0].share_of_variance.value, one.modes[1].share_of_variance.value) == (1.0, 0.0)
    still = tk.taep(TARGET, TARGET, tk.VP(), n_paths=50, n_steps=5)
    assert math.isnan(still.modes[0].share_of_variance.value)


def test_a_path_that_is_not_finite_spoils_its_mode_and_the_shares_in_sight() -> None:
    values = torch.tensor([1.0, 2.0, math.nan, 4.0])
    modes = mode_breakdown(values, torch.tensor([0, 0, 1, 2]), tk.GaussianMixture([[0.0], [1.0], [2.0]], std=1.0))
    assert (modes[0].mean.value, modes[2].mean.value) == (1.5, 4.0)
    assert math.isnan(modes[1].mean.value)
    assert all(math.isnan(mode.share_of_variance.value) for mode in modes)


def test_variance_of_the_whole_from_the_modes(result: tk.TAEP) -> None:
    """Within-mode plus between-mode variance, from the modes' own numbers, is the variance: share by share."""
    n, whole = len(result.values), variance_estimate(result.values).value
    for mode in result.modes:
        own = result.values[result.start_component == mode.index]
        within = variance_estimate(own).value * (mode.n_paths - 1)
        between = mode.n_paths * (mode.mean.value - result.mean.value) ** 2
        assert abs((within + between) / (whole * (n - 1)) - mode.share_of_variance.value) < 1e-10
