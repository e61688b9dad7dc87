"""Networks trained side by side, sweeps that can be killed, and the results that come with the package."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from matplotlib.figure import Figure
from tolerances import assert_exact
from torch import Tensor

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.correlation import pearson, spearman
from thermokern.papers.kodama2025 import (
    PROFILES,
    CapacitySweep,
    LimitsSweep,
    PenaltySweep,
    Profile,
    shipped_capacity,
    shipped_limits,
    shipped_penalty,
)
from thermokern.papers.kodama2025.ensemble import EnsembleRecipe, Member, _batches, state_belongs, train_ensemble
from thermokern.papers.kodama2025.evaluation import Likelihoods, evaluate_network
from thermokern.papers.kodama2025.penalty import PenaltyProfile, penalty_sweep
from thermokern.papers.kodama2025.sweep import (
    WIDTHS,
    Run,
    capacity_runs,
    evaluate_sweep,
    evaluation_key,
    evaluator,
    limits_runs,
    read_network,
    train_sweep,
)

ROOT = Path(__file__).resolve().parents[1]
RECIPE = EnsembleRecipe(n_steps=150, batch_size=32, width=8, depth=2)
MEMBERS = [
    Member(tk.Gaussian([0.0, 1.0]), tk.VE(10.0), 3),
    Member(tk.SwissRoll(), tk.VP(), 7, penalty=0.3),
    Member(tk.UniformBox([0.0, 0.0], [1.0, 1.0]), tk.VP.from_sigma(10.0), 5),
]


def weights(model: tk.ScoreModel) -> tuple[Tensor, ...]:
    assert isinstance(model.network, tk.ScoreMLP)
    return tuple(parameter.detach() for parameter in model.network.parameters())


def last(members: list[Member], recipe: EnsembleRecipe = RECIPE, **settings: Any) -> list[tk.ScoreModel]:
    *_, (step, models, losses) = train_ensemble(members, recipe, progress=False, **settings)
    assert step == recipe.n_steps
    assert len(losses) == len(members)
    return models


# ---- ensembles


def test_each_network_is_trained_as_it_would_be_alone() -> None:
    """By batched products in company, and by one ScoreMLP, torch's Adam and the loss written out: rounding."""
    together = last(MEMBERS)
    for member, model in zip(MEMBERS, together, strict=True):
        torch.manual_seed(RECIPE.seed * 1_000_003 + member.stream)
        network = tk.ScoreMLP(2, RECIPE.width, RECIPE.depth, time_features=1)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for start in range(0, RECIPE.n_steps, 50):
            x, epsilon, _ = _batches([member], RECIPE, start)
            for k in range(50):
                t = x[k, 0, :, 2]
                std, g = member.process.variance(t).sqrt(), member.process.g2(t).sqrt()
                control = network(x[k, 0, :, :2], t)
                loss = 0.5 * (control * (std / g)[:, None] + epsilon[k, 0]).square().sum(1).mean()
                loss = loss + member.penalty * 0.5 * control.square().sum(1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        for ours, theirs in zip(weights(model), network.parameters(), strict=True):
            assert (ours - theirs).abs().max().item() < 2e-4  # 0.15 is how far 150 steps of Adam may go
            assert not ours.equal(torch.zeros_like(ours))


def test_batches_are_those_of_the_diffused_law() -> None:
    """``(x_t − √v ε)/m`` are the law's own points, and no two steps share a number."""
    member = MEMBERS[1]
    x, epsilon, weight = _batches([member], RECIPE, 50)
    t = x[:, 0, :, 2:]
    data = (x[:, 0, :, :2] - member.process.variance(t).sqrt() * epsilon[:, 0]) / member.process.mean_scale(t)
    expected = member.law.sample(50 * 32, 0, 7 * 2**32 + 50 * 32).float().reshape(50, 32, 2)
    far = (member.process.mean_scale(t) > 0.1).expand_as(data)  # elsewhere m has rounded the data away
    assert (data - expected)[far].abs().max().item() < 1e-4
    assert abs(t.mean().item() - 0.5) < 0.03
    assert len(torch.unique(epsilon)) > 0.999 * epsilon.numel()
    ratio = (member.process.variance(t) / member.process.g2(t)).sqrt()
    assert (weight[:, 0] - ratio).abs().max().item() < 1e-6


def test_a_small_network_learns_a_gaussian() -> None:
    """The loss falls to its floor: ``∫D E|s_θ − s_*|²`` of 1-D N(0, 1) under VE, 0.5 nats before training."""
    law = tk.Gaussian([0.0])
    recipe = EnsembleRecipe(n_steps=1500, width=16)
    (model,) = last([Member(law, tk.VE(10.0), 0)], recipe)
    found = evaluate_network(model, law, n_paths=500, n_likelihood=50)
    assert found.squared_difference.value < 0.03


def test_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = last(MEMBERS)
    state = tmp_path / "state"
    for step, models, _ in train_ensemble(MEMBERS, RECIPE, state=state, save_every=50, snapshots=[100], progress=False):
        assert step == 100
        assert not torch.equal(weights(models[0])[0], weights(whole[0])[0])
        break  # stopped, with a state of 50 steps
    assert state_belongs(state, MEMBERS, RECIPE)
    assert not state_belongs(state, MEMBERS[:2], RECIPE)
    rest = last(MEMBERS, state=state, save_every=50)
    for a, b in zip(whole, rest, strict=True):
        assert_exact(weights(b), weights(a))
    assert not state.exists()
    (tmp_path / "other").write_bytes(b"")
    *_, _ = train_ensemble(MEMBERS[:1], RECIPE, state=state, progress=False)
    with pytest.raises(ValueError, match="^n_steps"):
        last(MEMBERS, EnsembleRecipe(n_steps=70))
    with pytest.raises(ValueError, match="^members"):
        last([MEMBERS[0], Member(tk.Gaussian([0.0]), tk.VP(), 0)])


# ---- sweeps


def test_every_run_has_numbers_of_its_own() -> None:
    full = PROFILES["full"]
    runs = limits_runs(full) + capacity_runs(full)
    assert len(limits_runs(full)) == 2 * 5 * (10 + 10 + 7)
    assert len(capacity_runs(full)) == 7 * 5
    assert len({run.name for run in runs}) == len({run.stream for run in runs}) == len(runs)
    assert (full.n_steps, full.replicates, full.seeds, full.swiss_widths) == (100_000, 10, 5, WIDTHS)
    reduced = PROFILES["reduced"]
    assert (reduced.n_steps, reduced.replicates, reduced.seeds) == (20_000, 3, 3)


TINY = Profile(name="tiny", n_steps=200, replicates=1, seeds=2, swiss_widths=(4,), points=20, paths=50)
RUNS = [Run("swiss-roll", "VP", None, width, r) for width in (4, 8) for r in range(2)]


def test_a_sweep_goes_on_where_it_was_and_does_nothing_twice(tmp_path: Path) -> None:
    train_sweep(RUNS[:1], TINY, tmp_path, progress=False)
    first = tmp_path / "networks" / f"{RUNS[0].name}.safetensors"
    stamp, bytes_before = first.stat().st_mtime_ns, first.read_bytes()
    train_sweep(RUNS, TINY, tmp_path, progress=False)
    assert (first.stat().st_mtime_ns, first.read_bytes()) == (stamp, bytes_before)
    assert sorted(path.name for path in (tmp_path / "networks").iterdir()) == sorted(
        f"{run.name}.safetensors" for run in RUNS
    )
    calls: list[str] = []

    def evaluate(run: Run, model: tk.ScoreModel) -> Likelihoods:
        calls.append(run.name)
        return evaluator(TINY)(run, model)

    networks = evaluate_sweep(RUNS, tmp_path, evaluate, evaluation_key(TINY), progress=False)
    assert calls == [run.name for run in RUNS]
    assert evaluate_sweep(RUNS, tmp_path, evaluate, evaluation_key(TINY), progress=False) == networks
    assert len(calls) == len(RUNS)
    evaluate_sweep(RUNS[:1], tmp_path, evaluate, {"paths": 1}, progress=False)  # another key
    assert len(calls) == len(RUNS) + 1
    longer = replace(TINY, n_steps=250)
    train_sweep(RUNS[:1], longer, tmp_path, progress=False)
    assert first.read_bytes() != bytes_before
    result = CapacitySweep(TINY, networks)
    assert result.widths() == [4, 8]
    assert abs(result.data_entropy - 1.41968) < 1e-5
    assert "tiny: 200 training steps" in result.summary()
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert tuple(read_network(row) for row in again["rows"]) == networks
    result.save(tmp_path / "result.safetensors")
    assert tk.load(tmp_path / "result.safetensors").networks == networks


def test_a_killed_sweep_gives_the_same_networks(tmp_path: Path) -> None:
    """SIGKILL in the middle of training, then the same call: bit for bit what one call gives."""
    profile = replace(TINY, n_steps=4000)
    train_sweep(RUNS[:2], profile, tmp_path / "whole", progress=False)
    script = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path\n"
        "from thermokern.papers.kodama2025.sweep import Profile, Run, train_sweep\n"
        "runs = [Run('swiss-roll', 'VP', None, 4, r) for r in range(2)]\n"
        "train_sweep(runs, Profile('tiny', 4000, 1, 2, (4,), 20, 50), Path(sys.argv[1]), progress=False)\n"
    )
    out = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", script, str(out)])
    state = out / "networks" / ".swiss-roll_w4.state"
    deadline = time.monotonic() + 120.0
    while not state.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert state.exists()
    assert not list((out / "networks").glob("swiss*.safetensors"))
    train_sweep(RUNS[:2], profile, out, progress=False)
    for run in RUNS[:2]:
        a, b = (
            weights(tk.load_checkpoint(folder / "networks" / f"{run.name}.safetensors"))
            for folder in (tmp_path / "whole", out)
        )
        assert_exact(b, a)


def test_penalised_twins_share_all_but_the_penalty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = PenaltyProfile(
        name="tiny", penalties=(0.0, 0.5), replicates=2, snapshots=(50, 150), width=8, paths=40, points=20
    )
    result = penalty_sweep(profile, tmp_path, progress=False)
    assert len(result.snapshots) == 2 * 2 * 2
    plain, penalised = (result.values(penalty, 150, "dissipation") for penalty in (0.0, 0.5))
    assert plain != penalised
    gap = result.difference(0.5, 150, "dissipation")
    assert abs(gap.value - 0.5 * sum(b - a for a, b in zip(plain, penalised, strict=True))) < 1e-12
    assert result.steps_needed(0.0, 0, 1e9) == 50
    assert result.steps_needed(0.0, 0, -1e9) is None
    assert "0.5" in result.summary()
    assert len(result.plot().axes) == 4
    monkeypatch.setattr("thermokern.papers.kodama2025.penalty.train_ensemble", None)  # nothing is trained again
    assert penalty_sweep(profile, tmp_path, progress=False).snapshots == result.snapshots


# ---- what is read off a network


@pytest.mark.parametrize("c", [0.9, 1.1])
def test_the_counter_example_in_closed_form(c: float) -> None:
    """1-D N(0, 1), VE, s_θ = c s_*: every row, with the process's prior N(0, v); sampling and quadrature."""
    process = tk.VE(10.0)
    variance = process.variance(1.0)
    log = math.log(1.0 + variance)

    def network(x: Tensor, t: Tensor) -> Tensor:
        return -c * x / (1.0 + process.variance(t))[:, None]

    found = evaluate_network(tk.ScoreModel(network, process), tk.Gaussian([0.0]), n_paths=20_000, n_likelihood=4000)
    flow = 0.5 * math.log(variance) + 0.5 * math.exp(c * log) / variance - 0.5 * c * log - 0.5
    prior = 0.5 * (math.log(variance / (1.0 + variance)) + (1.0 + variance) / variance - 1.0)
    energy, mismatch = 0.5 * (c * c - 1.0) * log, 0.5 * (c - 1.0) ** 2 * log
    expected = {
        "kl_ode": flow,
        "kl_plugin": 0.5 * (mismatch - energy),
        "lower_bound": -0.5 * energy,
        "elbo": mismatch + prior,
        "entropy_bound": 2.0 * flow + energy,
        "entropy_bound_plugin": mismatch,
        "gap_ode": flow + 0.5 * energy,
        "gap_plugin": 0.5 * mismatch,
        "squared_difference": mismatch,
        "prior_mismatch": prior,
        "stein": 0.0,
        "polarisation": 0.0,
    }
    for name, value in expected.items():
        got = getattr(found, name)
        assert abs(got.value - value) < 4.0 * got.stderr + 2e-4 * (1.0 + abs(value)), (name, got, value)
    assert (found.gap_ode.z(0.0) < -3.0) == (c < 1.0)  # where the bound on the ODE's NLL fails
    assert abs(found.data_entropy - 0.5 * math.log(2.0 * math.pi * math.e)) < 1e-12
    in_bits = found.bits(found.kl_ode, above=True)
    assert abs(in_bits.value - (found.data_entropy + found.kl_ode.value) / math.log(2.0)) < 1e-12


def test_correlations_against_scipy() -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(60, generator=g)
    y = (x + torch.randn(60, generator=g)).mul(4.0).round()  # with ties
    a, b = x.double().numpy(), y.double().numpy()
    assert abs(pearson(x, y).value - scipy.stats.pearsonr(a, b).statistic) < 1e-12
    assert abs(spearman(x, y).value - scipy.stats.spearmanr(a, b).statistic) < 1e-12
    assert abs(pearson(x, y).stderr / ((1.0 - pearson(x, y).value ** 2) / math.sqrt(60.0)) - 1.0) < 0.3
    with pytest.raises(ValueError, match="^y"):
        pearson(x, y[:5])


def test_the_correlations_of_a_sweep_against_scipy() -> None:
    """Over all networks and over those of one data set, from the rows' own numbers."""
    sweep = shipped_limits()
    for data in (None, "uniform"):
        rows = [network.found for network in sweep.networks if data in (None, network.run.data)]
        nll = [(row.data_entropy + row.kl_ode.value) / (row.dim * math.log(2.0)) for row in rows]
        gap = [row.gap_ode.value / (row.dim * math.log(2.0)) for row in rows]
        found = sweep.correlations(data=data)
        assert abs(found["pearson"].value - scipy.stats.pearsonr(nll, gap).statistic) < 1e-5  # float32 there
        assert abs(found["spearman"].value - scipy.stats.spearmanr(nll, gap).statistic) < 1e-6


# ---- the results that come with the package


def fenced(page: str) -> list[str]:
    """Contents of the fenced blocks of a page."""
    return [block.strip("\n") for block in page.split("```")[1::2]]


@pytest.mark.parametrize("result", [shipped_limits, shipped_capacity, shipped_penalty])
def test_the_page_shows_the_shipped_results(result: Callable[[], LimitsSweep | CapacitySweep | PenaltySweep]) -> None:
    """The tables of the page are those of the shipped numbers, letter for letter."""
    page = (ROOT / "docs" / "reproduction.md").read_text()
    assert result().tables() in [block.removeprefix("text\n") for block in fenced(page)]


def test_one_network_far_off_does_not_flatten_the_figure() -> None:
    """The largest 'upper bound' of the shipped ones is 33 bits; the others, and the entropies, lie within 2 of it."""
    result = shipped_capacity()
    rows = [network.found for network in result.networks]
    assert max(row.bits(row.entropy_bound, above=True).value for row in rows) > 30.0
    low, high = result.plot().axes[0].get_ylim()
    assert 1.0 < low < 1.2
    assert 2.5 < high < 3.0


def test_the_shipped_results_are_whole() -> None:
    limits, capacity = shipped_limits(), shipped_capacity()
    for result in (limits, capacity):
        assert {network.training["n_steps"] for network in result.networks} == {result.profile.n_steps}
        for network in result.networks:
            for value in vars(network.found).values():
                if isinstance(value, tk.Estimate):
                    assert math.isfinite(value.value)
                    assert math.isfinite(value.stderr)
            # Stein's identity, and I_diff by polarisation (App. H.4), on trained networks
            for value in (network.found.stein, network.found.polarisation):
                assert abs(value.value) < 4.5 * value.stderr + 1e-3 * network.found.dim, (network.name, value)
    assert [network.name for network in limits.networks] == [run.name for run in limits_runs(limits.profile)]
    assert capacity.widths() == list(WIDTHS)


@pytest.mark.parametrize("name", ["limits", "capacity", "entropy-penalty"])
def test_the_command_shows_shipped_results(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", name, "--profile", "shipped", "--out", str(tmp_path)]) == 0
    assert "training step" in capsys.readouterr().out
    picture = f"{name.replace('-', '_')}.png"
    saved = {"result.safetensors"} if name == "limits" else set()
    assert {path.name for path in tmp_path.iterdir()} == {picture, "result.json", "report.html", *saved}
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["experiment"] == name


@pytest.mark.parametrize("result", [shipped_limits, shipped_capacity, shipped_penalty])
def test_sweeps_are_results(result: Callable[[], LimitsSweep | CapacitySweep | PenaltySweep], tmp_path: Path) -> None:
    """Saved and loaded bit for bit; one figure of several panels; JSON has an estimate in one shape."""
    sweep = result()
    sweep.save(tmp_path / "result.safetensors")
    assert tk.load(tmp_path / "result.safetensors").to_json() == sweep.to_json()
    assert set(sweep.to_json()["rows"][0]["kl_ode"]) == {"value", "stderr", "unit"}
    with pytest.raises(ValueError, match="^ax: "):
        sweep.plot(Figure().subplots())


def test_evaluations_of_before_are_read(tmp_path: Path) -> None:
    """Files and results that hold an estimate as a pair are what they were: nothing is evaluated again."""
    train_sweep(RUNS[:1], TINY, tmp_path, progress=False)
    key = evaluation_key(TINY)
    (network,) = evaluate_sweep(RUNS[:1], tmp_path, evaluator(TINY), key, progress=False)
    path = tmp_path / "evaluations" / f"{RUNS[0].name}.json"
    row = json.loads(path.read_text())
    assert len(row.pop("sha256")) == 64
    pairs = {name: [e["value"], e["stderr"]] for name, e in row.items() if isinstance(e, dict) and "stderr" in e}
    assert len(pairs) == 13
    path.write_text(json.dumps({**row, **pairs}))

    def evaluate(run: Run, model: tk.ScoreModel) -> Likelihoods:
        raise AssertionError("evaluated again")

    assert evaluate_sweep(RUNS[:1], tmp_path, evaluate, key, progress=False) == (network,)
