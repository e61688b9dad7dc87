"""Long runs that stop and go on: killed at any moment, from the middle of every block, and never another's state."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from tolerances import assert_exact
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.engine import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")

PROCESS = tk.VP()
RING = tk.GaussianMixture.ring()


def perceptron() -> tk.ScoreModel:
    torch.manual_seed(3)
    return tk.ScoreModel(tk.ScoreMLP(2, width=24, depth=2).requires_grad_(False), PROCESS, "epsilon")


class Slow(nn.Module):
    def __init__(self, delay: float, stop_after: int | None = None) -> None:
        super().__init__()
        self.network = perceptron().network
        self.delay, self.stop_after, self.calls = delay, stop_after, 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        time.sleep(self.delay)
        return self.network(x, t)


def slow_run(
    folder: Path | None, network: Slow, scheme: str, direction: str, budget: int = 60_000, divergence: str = "auto"
) -> tk.TAEP:
    model = tk.ScoreModel(network, PROCESS, "epsilon")
    options = {"n_paths": 24, "n_steps": 30, "scheme": scheme, "direction": direction, "memory_budget": budget}
    return tk.taep(model, RING, backend="streamed", checkpoint=folder, divergence=divergence, **options)


def written(folder: Path) -> tuple[int, int] | None:
    """Which state lies there."""
    path = folder / "state.safetensors"
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


@pytest.mark.parametrize(
    ("scheme", "direction", "budget", "delay"),
    [("stratonovich", "forward", 60_000, 0.02), ("backward-ito", "reverse", 8_000, 0.002)],
)
def test_a_run_killed_ten_times_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, direction: str, budget: int, delay: float
) -> None:
    """Killed at random moments, before the first state and after new ones; no signal handler helps against SIGKILL."""
    monkeypatch.setattr(checkpoint, "_SHARE", 1.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    whole = Slow(0.0)
    expected = slow_run(None, whole, scheme, direction, budget)
    draw = random.Random(5)
    for life in range(10):
        before = written(tmp_path)
        child = os.fork()
        if child == 0:
            try:
                slow_run(tmp_path, Slow(delay), scheme, direction, budget)
            finally:
                os._exit(0)
        while life % 3 and written(tmp_path) == before:
            time.sleep(0.001)
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "ended without a new state"
        time.sleep(draw.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "ended before it was killed"
    network = Slow(0.0)
    resumed = slow_run(tmp_path, network, scheme, direction, budget)
    assert network.calls < whole.calls, "nothing was kept"
    for name in ("values", "x_start", "x_end"):
        assert_exact(getattr(resumed, name), getattr(expected, name), name)
    assert_exact(resumed.score_matching.value, expected.score_matching.value)
    network = Slow(0.0)
    assert_exact(slow_run(tmp_path, network, scheme, direction, budget).values, expected.values)
    assert network.calls < 20, "it was done: to be read, not run"


@pytest.mark.parametrize(
    ("scheme", "direction", "divergence"),
    [
        ("stratonovich", "forward", "auto"),
        ("sampler", "forward", "auto"),
        ("backward-ito", "reverse", "auto"),
        ("ito", "forward", "hutchinson"),
    ],
)
def test_a_run_goes_on_from_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, direction: str, divergence: str
) -> None:
    """Stopped at one evaluation after another, each time with a state on disk; all of a state matters."""
    monkeypatch.setattr(checkpoint, "_SHARE", 1.0)  # write at every block
    monkeypatch.setattr(os, "fsync", lambda _: None)  # power does not fail here, and disks are slow
    budget = 8_000 if direction == "reverse" else 60_000  # many blocks, each with a state of its own
    whole = Slow(0.0)
    expected = slow_run(None, whole, scheme, direction, budget, divergence)
    stopped = 0
    for _ in range(200):
        network = Slow(0.0, stop_after=max(16, whole.calls // 5))
        try:
            result = slow_run(tmp_path, network, scheme, direction, budget, divergence)
            break
        except KeyboardInterrupt:
            stopped += 1
            assert (tmp_path / "state.safetensors").is_file()
    assert stopped >= 2
    assert_exact(result.values, expected.values)
    assert_exact(result.score_matching.value, expected.score_matching.value)
    assert (result.probe_noise is None) == (divergence == "auto")
    assert result.probe_noise == expected.probe_noise


def test_the_state_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"n_paths": 5, "n_steps": 4, "backend": "streamed", "checkpoint": tmp_path, "scheme": "backward-ito"}
    tk.taep(perceptron(), RING, **options)
    with pytest.raises(ValueError, match=r"^checkpoint: .* another calculation \(other starting points, seed"):
        tk.taep(perceptron(), RING, seed=1, **options)
    changed = perceptron()
    with torch.no_grad():
        changed.network.layers[0].weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match="other parameters of the model"):
        tk.taep(changed, RING, **options)
    with pytest.raises(ValueError, match="other settings of the model, scores of the model"):
        tk.taep(tk.ScoreModel(perceptron().network, PROCESS, "v"), RING, **options)
    with monkeypatch.context() as patch:
        patch.setenv("THERMOKERN_PRODUCTS", "tf32")
        with pytest.raises(ValueError, match=r"another calculation \(other products\)"):
            tk.taep(perceptron(), RING, **options)
        assert tk.taep(perceptron(), RING, n_paths=2, n_steps=2).settings["products"] == tk.info()["products"] == "tf32"
    (tmp_path / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="^checkpoint: .* is not the state of a run"):
        tk.taep(perceptron(), RING, **options)
