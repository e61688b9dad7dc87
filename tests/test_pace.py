"""Bars that move inside a block and say how long all takes, while the numbers stay what they are."""

from __future__ import annotations

import re

import pytest
import torch

import thermokern as tk
from thermokern.quantities.engine import pace as module
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.likelihood.patience import Watched

LAW = tk.GaussianMixture.ring()


class Clock:
    """Time that passes by what is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_pieces_take_about_a_second(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    pace, sizes = Pace(100_000, "path", "paths", True), []
    with pace.bar():
        for low, high in pace.pieces(0, 100_000):
            assert low == sum(sizes)
            if len(sizes) == 1:  # as the first piece tells
                assert pace.expected == pytest.approx(100.0)
            sizes.append(high - low)
            clock.now += 1e-3 * (high - low)
    assert sum(sizes) == 100_000
    assert sizes[0] == 256
    assert set(sizes[1:-1]) <= {999, 1000}
    assert "about 2 min in all" in capsys.readouterr().err
    whole = Pace(5000, "path", "", True, whole=True)
    assert list(whole.pieces(0, 5000)) == [(0, 5000)]
    silent = Pace(5000, "path", "", False)
    assert list(silent.pieces(0, 5000)) == [(0, 5000)]
    assert list(silent.pieces(3, 3)) == [(3, 3)]


def test_the_bar_moves_and_the_paths_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    model = tk.GaussianMixture.ring(std=0.3)
    options = {"n_paths": 3000, "n_steps": 50, "seed": 4}
    quiet = tk.taep(model, LAW, tk.VP(), **options)
    assert capsys.readouterr().err == ""
    loud = tk.taep(model, LAW, tk.VP(), progress=True, **options)
    shares = {int(found) for found in re.findall(r"(\d+)%", capsys.readouterr().err)}
    assert len(shares) >= 3, shares  # not from nothing to all
    assert torch.equal(quiet.values, loud.values)
    assert torch.equal(quiet.x_end, loud.x_end)


def test_likelihoods_and_entropy_production_too(capsys: pytest.CaptureFixture[str]) -> None:
    x = LAW.sample(600)
    quiet, loud = (tk.log_likelihood(LAW, x, tk.VP(), progress=progress) for progress in (False, True))
    assert "log-likelihood: 100%" in capsys.readouterr().err
    assert torch.equal(quiet.values, loud.values)
    assert len(list(Watched(None, True, 1).pieces(600))) == 5
    assert list(Watched(None, False, 1).pieces(600)) == [(0, 600)]
    force = tk.LinearForce([[1.0, 0.5], [-0.5, 1.0]])
    for backend in ("fused", "reference"):
        options = {"n_paths": 1000, "n_steps": 20, "backend": backend}
        quiet_one, loud_one = (
            tk.entropy_production(force, 1.0, tk.Gaussian([0.1, 0.2]), progress=progress, **options)
            for progress in (False, True)
        )
        assert "entropy production: 100%" in capsys.readouterr().err
        assert torch.equal(quiet_one.total.values, loud_one.total.values)
    assert tk.entropy_production(force, 1.0, tk.Gaussian([0.1, 0.2]), n_paths=0).bath.values.shape == (0,)
