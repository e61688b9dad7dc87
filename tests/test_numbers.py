"""Estimates as numbers, and results as loggers, prompts and notebooks show them."""

from __future__ import annotations

import copy
import json
import math
import operator
import pickle

import numpy as np
import pytest
import torch

import thermokern as tk
from thermokern.quantities.results.estimate import Estimate, ExponentialAverage

INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module")
def result() -> tk.TAEP:
    return tk.taep(tk.Gaussian([0.1, 0.0]), tk.GaussianMixture.ring(), tk.VP(), n_paths=300, n_steps=200)


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.31649, 0.0132, "0.316 ± 0.013"),
        (123.4, 12.0, "123 ± 12"),
        (3.1e-34, 2.3e-34, "3.1e-34 ± 2.3e-34"),
        (1976515035489221214208.0, 19432e15, "1.977e+21 ± 1.9e+19"),
        (0.02003341, NAN, "0.0200334 ± ?"),
        (0.02003341, INF, "0.0200334 ± ?"),
        (INF, NAN, "∞"),
        (-INF, 1.0, "−∞"),
        (NAN, 0.1, "unknown"),
        (1.0, 0.0, "1 ± 0"),
    ],
)
def test_an_estimate_is_written_for_people(value: float, stderr: float, text: str) -> None:
    assert str(Estimate(value, stderr)) == text
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("", "0.316 ± 0.013"),
        (".2f", "0.32 ± 0.01"),
        ("+.1e", "+3.2e-01 ± 1.3e-02"),
        (">18", "     0.316 ± 0.013"),
        ("*^17.1f", "****0.3 ± 0.0****"),
        ("s", "0.316 ± 0.013"),
    ],
)
def test_format_specifications(spec: str, text: str) -> None:
    assert format(Estimate(0.3163, 0.0132), spec) == text
    assert f"{Estimate(INF, NAN):.2f}" == "∞"
    assert f"{Estimate(0.25, NAN):.3f}" == "0.250 ± ?"
    with pytest.raises(ValueError, match=r"[Ff]ormat"):
        format(Estimate(0.3, 0.1), ".2q")


def test_an_estimate_is_a_number() -> None:
    one, two = Estimate(0.5, 0.1), Estimate(2.0, 0.1, "bits")
    assert float(one) == 0.5
    assert math.sqrt(two) == math.sqrt(2.0)
    assert np.float64(one) == 0.5
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        for other in (0.4, 0.5, 0.6, two, torch.tensor(0.5), np.float32(0.5)):
            assert compare(one, other) == compare(0.5, float(other)), (compare, other)
            assert compare(0.5 if isinstance(other, Estimate) else float(other), one) == compare(
                0.5 if isinstance(other, Estimate) else float(other), 0.5
            )
    assert max([one, two]) is two
    assert (-2.0 * one + 1.0, 1.0 - one, one / -2, abs(-one)) == (
        Estimate(0.0, 0.2),
        Estimate(0.5, 0.1),
        Estimate(-0.25, 0.05),
        one,
    )
    average = ExponentialAverage(1.0, 0.1, "", 5.0, 10)
    assert average < 1.5
    assert average > one
    with pytest.raises(TypeError, match="compared with numbers"):
        one < "0.6"  # noqa: B015
    with pytest.raises(TypeError, match="unsupported operand"):
        one + two
    for same in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert same == one
        assert hash(same) == hash(one)
    assert one != Estimate(0.5, 0.2)


def test_loggers_get_flat_numbers(result: tk.TAEP) -> None:
    flat = result.to_dict()
    assert all(isinstance(value, bool | int | float) for value in flat.values())
    assert flat["mean"] == result.mean.value
    assert flat["mean_stderr"] == result.mean.stderr
    assert flat["fluctuation_theorem_effective_sample_size"] == result.fluctuation_theorem.effective_sample_size
    assert flat["modes/3/mean"] == result.modes[3].mean.value
    assert flat["step_error/mean_stderr"] == result.step_error.mean.stderr
    assert flat["n_paths"] == 300
    assert not [name for name in flat if "settings" in name or "backend" in name]


def test_reprs_are_short(result: tk.TAEP) -> None:
    assert repr(result).startswith(f"TAEP(mean = {result.mean} nats, variance = ")
    assert len(repr(result)) < 250
    part = tk.entropy_production(
        tk.LinearForce([[1.0, 0.5], [-0.5, 1.0]]), 1.0, tk.Gaussian([0.1, 0.2]), n_paths=500, n_steps=20
    )
    for shown in (repr(part), repr(part.total), repr(tk.kozachenko_leonenko(torch.rand(500, 2)))):
        assert len(shown) < 500, shown
    assert "float" in repr(part.total)
    model = tk.ScoreModel(tk.ScoreMLP(2), tk.VP(), "epsilon")
    assert repr(model) == "ScoreModel(ScoreMLP, 41,858 parameters, VP(beta_min=0.1, beta_max=20), 'epsilon', (2,))"


def test_notebooks_show_a_table(result: tk.TAEP) -> None:
    shown = result._repr_html_()
    assert f"<td>{result.mean}</td>" in shown
    assert "&lt;exp(-TAEP)&gt;" in shown
    assert result.mean._repr_html_() == f"{result.mean} nats"
    json.dumps(result.to_dict())
