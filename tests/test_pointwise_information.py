"""Information of single pairs, by losses and along paths: closed forms, orders, laws."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from information_cases import F64, case_a, case_b, log_ratio, three_classes
from scipy import stats
from tolerances import assert_exact, assert_z, rms

import thermokern as tk
from thermokern.quantities.information import growth

VP = tk.VP()
Z = 4.0


def test_growth_with_many_pairs(seed: int) -> None:
    """512 pairs: the posterior is nearly exact, its growth rate nearly I, and no more than I."""
    law = three_classes()
    x, y = law.sample(512, seed)
    found = tk.pointwise_mutual_information(law, None, x, y, VP, candidates=torch.arange(3), evaluations=512, seed=seed)
    assert found.growth is not None
    assert found.posterior is not None
    assert_z(found.growth.z(0.8755), Z, "growth")
    assert found.growth.z(law.label_entropy) < Z
    logs = torch.stack([law.given(k).log_prob(x, 0.0, VP) for k in range(3)], dim=1)
    exact = (law.weights.log() + logs).softmax(1)
    assert (found.posterior - exact).abs().mean().item() < 0.03
    less = (exact.log() - found.posterior.log()).gather(1, y[:, None])[:, 0]  # what the bets lose, paired
    error = less.std().item() / math.sqrt(len(less))
    assert_z((less.mean().item() - 0.004) / error, Z, "lost to the exact posterior")
    won = (found.posterior.log() - law.weights.log()).gather(1, y[:, None]).mean().item()
    assert abs(found.growth.value - won) < 1e-12
    assert error < 0.004
    assert rms(found.posterior.sum(1) - 1.0) < 1e-12


@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")
def test_bets_do_not_look_at_the_labels(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The same labels in another order change no bet, bit for bit: else their growth would be no lower bound."""
    law, seen = three_classes(), []
    x, y = law.sample(200, seed)
    estimate = growth.growth_estimate

    def spied(values: torch.Tensor, own: torch.Tensor, weights: torch.Tensor) -> tk.Estimate:
        seen.append((values, own))
        return estimate(values, own, weights)

    monkeypatch.setattr(growth, "growth_estimate", spied)
    posteriors = []
    for labels in (y, y.roll(1)):
        tk.mutual_information(law, None, x, labels, VP, evaluations=512, seed=seed)
        tried = {"candidates": torch.arange(3), "evaluations": 8, "seed": seed}
        posteriors.append(tk.pointwise_mutual_information(law, None, x, labels, VP, **tried).posterior)
    (one, own), (other, others) = seen
    assert (own != others).any()
    assert_exact(other, one)
    assert_exact(posteriors[1], posteriors[0])


def test_pointwise_losses_are_unbiased_for_every_point(seed: int) -> None:
    """The z of 200 pairs is standard normal; that of the gap, which only averages to I, is not."""
    law = case_b()
    x, y = law.sample(200, seed)
    truth = log_ratio(law, x, y)
    found = tk.pointwise_mutual_information(law, None, x, y, VP, evaluations=512, seed=seed)
    z = (found.values - truth) / found.stderr
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert_z(found.mean.z(law.mutual_information()), Z, "mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        gaps = [
            tk.mutual_information(law, None, x[i, None], y[i, None], VP, evaluations=1024, seed=seed).gap
            for i in range(0, 200, 8)
        ]
    wrong = [gap.z(each) for gap, each in zip(gaps, truth[::8].tolist(), strict=True)]
    assert stats.kstest(wrong, "norm").pvalue < 1e-6
    off = torch.tensor([gap.value for gap in gaps]) - truth[::8]
    assert rms(off) > 4.0 * rms(found.values[::8] - truth[::8])


def test_pointwise_along_paths(seed: int) -> None:
    """Order of the error in the step, extrapolated: 1½ for Stratonovich, ½ for Itô; the mean for one y is a KL.

    Over five halvings of the step, and over the last four of them for Itô.
    """
    law = case_b()
    y = law.sample(1, seed)[1]
    x = law.given(y[0]).sample(500, seed)
    steps = (25, 50, 100, 200, 400, 800)

    def ratio(points: torch.Tensor, t: float) -> torch.Tensor:
        return law.given(y[0]).log_prob(points, t, VP) - law.x.log_prob(points, t, VP)

    for scheme, order, first in (("stratonovich", 1.5, 0), ("ito", 0.5, 1)):
        errors = []
        for n in steps:
            found = tk.pointwise_mutual_information(
                law, None, x, y.expand(500, -1), VP, method="path", scheme=scheme, n_steps=n, t_eps=1e-3, seed=seed
            )
            assert found.x_start is not None
            assert found.x_end is not None
            errors.append(math.log(rms(found.values - ratio(found.x_start, 1e-3) + ratio(found.x_end, 1.0))))
        slope = stats.linregress([math.log(1.0 / n) for n in steps[first:]], errors[first:]).slope
        assert abs(slope - order) < 0.1, f"{scheme}: {slope:.3f}"
    line = case_a()
    centres = torch.tensor([0.0, 1.0, -1.5], dtype=F64).repeat_interleave(1000)[:, None]
    points = torch.cat([line.given(value).sample(1000, seed, 1000 * k) for k, value in enumerate((0.0, 1.0, -1.5))])
    found = tk.pointwise_mutual_information(
        line, None, points, centres, VP, method="path", n_steps=400, t_eps=1e-4, seed=seed
    )
    for k, truth in enumerate((0.13209, 0.41334, 0.76490)):
        part = found.values[1000 * k : 1000 * (k + 1)]
        assert_z(((part.mean() - truth) / (part.std() / math.sqrt(1000))).item(), Z, f"y number {k}")


def test_paths_that_step_too_far_are_told_once_and_where_they_were_asked_for(seed: int) -> None:
    law = case_b()
    x, y = law.sample(200, seed)
    with pytest.warns(tk.StepTooLongWarning, match="^a step of the grid") as caught:
        tk.pointwise_mutual_information(
            law, None, x, y[:2].repeat(100, 1), VP, method="path", n_steps=10, t_eps=1e-3, seed=seed
        )
    assert len({str(each.message) for each in caught}) == len(caught)
    assert {each.filename for each in caught} == {__file__}


def test_shuffled_pairs_obey_the_fluctuation_theorem(seed: int) -> None:
    """⟨e^{i(x;y)}⟩ = 1 over independent pairs, by values along paths and, of each pair, by closed form."""
    law = tk.JointGaussian(1.0, 0.6, 0.8)
    y = torch.tensor([[-1.2], [-0.4], [0.5], [1.3]], dtype=F64)  # the theorem holds for each
    x = law.x.sample(20_000, seed)
    found = tk.pointwise_mutual_information(
        law, None, x, y.repeat(5000, 1), VP, method="path", n_steps=200, t_eps=1e-3, seed=seed
    )
    weights = found.values.exp()
    error = weights.std().item() / math.sqrt(len(weights))
    assert error < 0.0053
    assert_z((weights.mean().item() - 1.0) / error, Z, "⟨e^i⟩ along paths")
    for k in range(4):
        own = weights[k::4]
        assert_z(((own.mean() - 1.0) / (own.std() / math.sqrt(5000))).item(), Z, f"⟨e^i⟩, y = {y[k].item()}")
    x, y = law.sample(100, seed)
    few = y.roll(1, 0)
    z = tk.pointwise_mutual_information(law, None, x, few, VP, evaluations=256, seed=seed)
    assert_z(((z.values - log_ratio(law, x, few)) / z.stderr).mean().item() * 10.0, Z, "estimates")
