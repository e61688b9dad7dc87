"""Bars that move inside a block and say how long all takes, while the numbers stay what they are."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerances import rms

import thermokern as tk
from thermokern import _core
from thermokern._bars import Bar
from thermokern.cli import main
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


# --- bars of functions whose work is not paths -----------------------------------------------------------------------


def shares(text: str, name: str) -> set[int]:
    """The percentages that a bar went through."""
    return {int(found) for found in re.findall(rf"{name}: +(\d+)%", text)}


@pytest.fixture
def every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars drawn at each update: the work of a test is too short for their own interval."""
    plain = Bar.__init__

    def eager(self: Bar, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **{"mininterval": 0.0, "miniters": 1, **kwargs})

    monkeypatch.setattr(Bar, "__init__", eager)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(tk.elbo.__module__), "launch_block", lambda *_: 100)


X, Y = LAW.sample(3000), LAW.sample(2500, seed=7)
OTHERS: dict[str, Callable[..., Any]] = {
    "coverage": lambda **options: tk.coverage(X, Y, **options),
    "divergence": lambda **options: tk.knn_divergence(X, Y, **options),
    "bound": lambda **options: tk.elbo(LAW, X[:200], tk.VP(), repeats=4, **options),
    "bound of chains": lambda **options: tk.elbo(
        LAW, X[:250], tk.VP(), method="ddpm", n_steps=10, backend="reference", repeats=2, **options
    ),
    "divergence of fields": lambda **options: tk.divergence(
        lambda x: x.sin(), X[:800], memory_budget=50_000, **options
    ),
}


@pytest.mark.usefixtures("every_update", "small_blocks")
@pytest.mark.parametrize("name", OTHERS)
def test_bars_move_and_numbers_stay(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = OTHERS[name]()
    assert capsys.readouterr().err == ""
    loud = OTHERS[name](progress=True)
    passed = shares(capsys.readouterr().err, name.split(" of ")[0])
    assert len(passed) >= 4, passed
    assert max(passed) == 100
    assert quiet.to_json() == loud.to_json()
    for field in ("values", "hits", "local"):
        if hasattr(quiet, field):
            assert torch.equal(getattr(quiet, field), getattr(loud, field))


def network() -> tk.ScoreModel:
    """Long enough a kernel that it says in between how far it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tk.ScoreModel(tk.ScoreMLP(2, width=64, depth=3), tk.VP(), "epsilon")


@pytest.mark.usefixtures("every_update")
def test_the_bar_of_fused_rates_moves_inside_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    """A block cannot be dealt in pieces: which paths are summed together decides the last bits."""
    options: dict[str, Any] = {"n_paths": 3000, "n_steps": 100}
    model = network()
    quiet, loud = (tk.entropy_rates(model, LAW, **options, progress=progress) for progress in (False, True))
    assert quiet.backend == "fused"
    passed = shares(capsys.readouterr().err, "rates")
    assert len(passed) >= 4, passed
    assert max(passed) == 100
    assert quiet.to_json() == loud.to_json()
    blocks = tk.entropy_rates(model, LAW, **options, progress=True, block=1000)
    passed = shares(capsys.readouterr().err, "rates")
    assert {33, 67, 100} <= passed, passed
    assert blocks.intrinsic.integral.z(quiet.intrinsic.integral.value) == pytest.approx(0.0, abs=1e-6)
    tk.limits(model, LAW, n_paths=256, n_likelihood=64, n_steps=20, progress=True, rtol=1e-2, atol=1e-2)
    said_there = capsys.readouterr().err
    assert "rates: 100%" in said_there
    assert "log-likelihood: 100%" in said_there


def test_an_error_of_who_watches_ends_the_kernel_and_is_raised() -> None:
    def fails(share: float) -> None:
        raise LookupError(f"at {share:.0%}")

    options: dict[str, Any] = {"n_paths": 3000, "n_steps": 100}
    _core.watch(fails)
    try:
        with pytest.raises(LookupError, match=r"^at \d+%$"):
            tk.entropy_rates(network(), LAW, **options)
    finally:
        _core.watch(None)
    assert tk.entropy_rates(network(), LAW, **options).backend == "fused"


@pytest.mark.usefixtures("small_blocks")
def test_blocks_of_a_chain_are_one_chain() -> None:
    """More points than a block has: each as in any company."""
    x = LAW.sample(250)
    options: dict[str, Any] = {"method": "ddpm", "n_steps": 30, "backend": "reference", "seed": 3}
    whole = tk.elbo(LAW, x, tk.VP(), **options)
    part = tk.elbo(LAW, x[240:], tk.VP(), path_offset=240, **options)
    assert rms(whole.values[240:] - part.values) < 1e-6 * rms(part.values)  # rounding of float32


# --- a word where no bar is shown ------------------------------------------------------------------------------------


def test_the_log_says_once_how_long_silent_work_takes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def run(seconds: float) -> list[int]:
        pace = Pace(100_000, "path", "TAEP", False)
        sizes = []
        with pace.bar():
            for low, high in pace.pieces(0, 100_000):
                sizes.append(high - low)
                clock.now += seconds * (high - low)
        return sizes

    assert run(1e-3) == [100_000]  # nobody listens
    with caplog.at_level(logging.INFO, logger="thermokern"):
        assert run(1e-3) == [256, 99_744]
        run(1e-6)
    assert [record.getMessage() for record in caplog.records] == ["TAEP: about 2 min in all"]


def test_a_bar_that_is_not_shown_counts_for_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr("thermokern._bars.time", clock)
    with caplog.at_level(logging.INFO, logger="thermokern"), Bar(total=50, progress=False, desc="samples") as bar:
        for _ in range(50):
            clock.now += 0.5
            bar.update()
    with caplog.at_level(logging.INFO, logger="thermokern"), Bar(total=10, progress=False, desc="quick") as bar:
        clock.now += 2.0
        bar.update(10)
    assert [record.getMessage() for record in caplog.records] == ["samples: about 25 s in all"]
    assert capsys.readouterr().err == ""


def said(err: str) -> list[str]:
    """Lines that are no warnings."""
    return [line for line in err.splitlines() if not line.startswith("warning: ")]


def test_commands_show_no_bars_in_a_file_but_say_what_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: {ring: {std: 0.3}}\nreference: {ring: {}}\nprocess: {kind: VP}\nn_paths: 600\n")
    assert main(["taep", str(config)]) == 0
    assert said(capsys.readouterr().err) == []
    monkeypatch.setattr("thermokern._bars.LONG", 0.0)
    assert main(["taep", str(config), "--quiet"]) == 0
    (line,) = said(capsys.readouterr().err)
    assert re.fullmatch(r"TAEP: about \d s in all", line)
    assert not logging.getLogger("thermokern").handlers
