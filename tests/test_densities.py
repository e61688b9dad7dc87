"""Estimators of densities, given samples that have none: never a small error beside a wrong number."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from tolerances import assert_z

import thermokern as tk

N = 3000
DRAW = np.random.default_rng(20)
NORMALS = DRAW.normal(size=(N, 2))
COUPLED = NORMALS @ np.array([[1.0, 0.8], [0.0, 0.6]])
LEVELS = DRAW.integers(0, 256, size=(N, 2))
INFORMATION = (tk.ksg_mutual_information, lambda x, y, **more: tk.knn_total_correlation(np.c_[x, y], **more))
JITTERS = "leave the estimate open by .*, more than its standard error .* Remedies: jitter=h"


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("estimate", INFORMATION)
@pytest.mark.parametrize("sample", [LEVELS, NORMALS.round(2), np.c_[NORMALS[:, 0], NORMALS[:, 1].round(1)]])
def test_rounded_columns_are_refused(estimate: Callable[..., tk.Estimate], sample: np.ndarray, variant: int) -> None:
    """Independent columns, of which 0.37 ± 0.02 was said; no two points need coincide."""
    with pytest.raises(ValueError, match=f"^x: .*{JITTERS}"):
        estimate(sample[:, 0], sample[:, 1], variant=variant)
    with pytest.raises(ValueError, match=f"^x: .*{JITTERS}"):
        estimate(sample[:, 0], sample[:, 1], variant=variant, stderr=False, bias=False)


@pytest.mark.parametrize("variant", [1, 2])
def test_jitter_is_the_remedy(variant: int) -> None:
    spread = tk.ksg_mutual_information(LEVELS[:, 0], LEVELS[:, 1], variant=variant, jitter=1.0)
    assert_z(spread.z(0.0), 3.0, "independent levels, spread")


@pytest.mark.parametrize("estimate", INFORMATION)
def test_a_variable_of_itself_has_infinite_information(estimate: Callable[..., tk.Estimate]) -> None:
    with pytest.raises(ValueError, match="^x: columns of different groups depend on each other linearly"):
        estimate(NORMALS[:, 0], NORMALS[:, 0])
    with pytest.warns(tk.BiasWarning):  # a curve, which no plane holds
        assert estimate(NORMALS[:, 0], NORMALS[:, 0] ** 3).bias.value < -1.0


def test_columns_of_one_group_may_depend() -> None:
    """X in a plane of three dimensions has the information of the plane."""
    plane = np.c_[NORMALS[:, 0], NORMALS[:, 0], NORMALS[:, 0]]
    assert_z(tk.ksg_mutual_information(plane, COUPLED[:, 1]).z(-0.5 * math.log(0.36)), 3.0, "a plane")


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_columns_that_the_radius_does_not_see_are_refused(unit: float, variant: int) -> None:
    """10⁶ between the columns was 0.0 ± 0.01 for 0.51."""
    for estimate in INFORMATION:
        with pytest.raises(ValueError, match=r"^x: the radius .* does not see that column. Remedies: standardise=True"):
            estimate(COUPLED[:, 0], unit * COUPLED[:, 1], variant=variant)
        remedied = estimate(COUPLED[:, 0], unit * COUPLED[:, 1], variant=variant, standardise=True)
        assert_z(remedied.z(-0.5 * math.log(0.36)), 3.0, "standardised")


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_divergence_of_a_sample_from_itself_is_refused(k: int) -> None:
    """−0.49 ± 0.03 at k = 3; the truth of two samples of one law is 0."""
    other = DRAW.normal(size=(N, 2))
    for y in (NORMALS, np.r_[NORMALS[: N // 2], other]):
        with pytest.raises(ValueError, match=r"^x: .*coincid.* Remedies: jitter=h"):
            tk.knn_divergence(NORMALS, y, k)
    with pytest.raises(ValueError, match=f"^x: .*{JITTERS}"):
        tk.knn_divergence(NORMALS.round(1), other.round(1), max(k, 3) + 12)


def test_divergences_of_rounded_or_narrow_samples_have_remedies() -> None:
    other = np.random.default_rng(3).normal(size=(N, 2))
    jittered = tk.knn_divergence(NORMALS.round(1), other.round(1), jitter=0.1)
    assert_z(jittered.z(0.0), 3.0, "two rounded samples of one law, spread")
    narrow = np.array([1.0, 1e-6])
    with pytest.raises(ValueError, match=r"^x: the radius .* in column 1, .* Remedies: standardise=True"):
        tk.knn_divergence(NORMALS * narrow, 1.5 * other * narrow)
    standardised = tk.knn_divergence(NORMALS * narrow, 1.5 * other * narrow, standardise=True)
    assert_z(standardised.z(1.0 / 2.25 - 1.0 + math.log(2.25)), 3.0, "standardised")


def test_entropy_counts_ties_at_every_rank() -> None:
    """No two points coincide, and yet neighbours are equally far: a lattice with a third of its points."""
    taken = np.random.default_rng(1).permutation(90 * 90)[:N]
    lattice = np.c_[taken // 90, taken % 90]
    with pytest.raises(ValueError, match=f"^x: .*{JITTERS}"):
        tk.kozachenko_leonenko(lattice)
    rare = np.r_[NORMALS, NORMALS[:3]]
    assert math.isfinite(tk.kozachenko_leonenko(rare, duplicates="keep").stderr), "a few copies may be kept"


def test_the_bias_of_many_dimensions_is_said() -> None:
    """Ten dimensions: 1.71 ± 0.06 for 1.28, without a word."""
    draw = np.random.default_rng(4)
    x, y, truth = (
        draw.normal(size=(2000, 10)),
        1.5 * draw.normal(size=(2000, 10)),
        5.0 * (1 / 2.25 - 1 + math.log(2.25)),
    )
    with pytest.warns(tk.BiasWarning, match="the bias of this divergence"):
        found = tk.knn_divergence(x, y)
    assert found.z(truth) > 3.0
    assert_z((found.value - found.bias.value - truth) / math.hypot(found.stderr, found.bias.stderr), 3.0, "less bias")
    assert "estimated bias" in found.summary()
    assert found.to_json()["bias"]["value"] == found.bias.value
    assert math.isnan(tk.knn_divergence(x, y, stderr=False, bias=False).bias.value)
