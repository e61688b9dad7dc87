"""Checkpoints: what comes back is what went in, and nothing else is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import thermokern as tk
from thermokern.models import load_checkpoint, read_record, save_checkpoint
from thermokern.papers.ding2026.collapses import COLLAPSES, shipped_checkpoints
from thermokern.processes import PROCESSES


@pytest.fixture
def model() -> tk.ScoreModel:
    torch.manual_seed(1)
    return tk.ScoreModel(tk.ScoreMLP(3, width=12, depth=2, activation="tanh"), tk.VE(7.0), "epsilon")


def test_round_trip(tmp_path: Path, model: tk.ScoreModel) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, model, {"steps": 3})
    again = load_checkpoint(path)
    assert (again.process, again.predicts) == (tk.VE(7.0), "epsilon")
    x = torch.randn(5, 3)
    assert torch.equal(again(x, 0.4), model(x, 0.4))
    assert read_record(path) == {"steps": 3}


@pytest.mark.parametrize("kind", PROCESSES)
def test_every_process_round_trips(tmp_path: Path, kind: str) -> None:
    arguments = {"EDM": [7.0], "DiscreteVP": [[0.9, 0.7, 1.0 / 3.0]], "CosineVP": [0.1, 0.03], "VE": [3.3], "Flow": []}
    process = PROCESSES[kind](*arguments.get(kind, [1.0 / 3.0, 7.7]), **({"t_end": 0.7} if kind == "Flow" else {}))
    save_checkpoint(tmp_path / "net.safetensors", tk.ScoreModel(tk.ScoreMLP(1, width=3, depth=1), process))
    assert load_checkpoint(tmp_path / "net.safetensors").process == process


def test_a_flow_of_own_functions_cannot_be_saved(tmp_path: Path) -> None:
    own = tk.Flow(torch.ones_like, torch.square, t_end=1.0)
    with pytest.raises(ValueError, match="^model: only a process defined by numbers"):
        save_checkpoint(tmp_path / "net.safetensors", tk.ScoreModel(tk.ScoreMLP(1), own))


def test_a_bare_safetensors_file_needs_words(tmp_path: Path, model: tk.ScoreModel) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(model.network.state_dict(), path)
    words = {"process": tk.VE(7.0), "predicts": "epsilon", "architecture": model.network.architecture}
    x = torch.randn(5, 3)
    assert torch.equal(load_checkpoint(path, **words)(x, 0.4), model(x, 0.4))
    for missing in words:
        with pytest.raises(ValueError, match=f"^{missing}"):
            load_checkpoint(path, **{name: value for name, value in words.items() if name != missing})


def test_what_contradicts_the_file_is_an_error(tmp_path: Path, model: tk.ScoreModel) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, model)
    with pytest.raises(ValueError, match="^process"):
        load_checkpoint(path, process=tk.VP())
    with pytest.raises(ValueError, match="^predicts"):
        load_checkpoint(path, predicts="score")
    with pytest.raises(ValueError, match="^checkpoint net.safetensors: another architecture"):
        load_checkpoint(path, architecture={"width": 13})


def test_files_that_are_not_whole_safetensors_are_refused(tmp_path: Path, model: tk.ScoreModel) -> None:
    whole = tmp_path / "net.safetensors"
    save_checkpoint(whole, model)
    for size in (0, 4, 100, whole.stat().st_size - 1):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ValueError, match="^checkpoint cut.safetensors: not a whole safetensors file"):
            load_checkpoint(cut)
    with pytest.raises(FileNotFoundError, match="^checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


class Explosive:
    def __reduce__(self) -> tuple[object, ...]:
        return (exit, (3,))


def test_pickles_are_refused_and_never_run(tmp_path: Path, model: tk.ScoreModel) -> None:
    plain, zipped = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    plain.write_bytes(pickle.dumps(Explosive()))
    torch.save(model.network.state_dict(), zipped)
    for path in (plain, zipped):
        with pytest.raises(ValueError, match="pickles"):
            load_checkpoint(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, model: tk.ScoreModel) -> None:
    model.network.layers[0].bias.data[2] = float("nan")
    save_checkpoint(tmp_path / "nan.safetensors", model)
    with pytest.raises(ValueError, match=r"layers.0.bias holds NaN"):
        load_checkpoint(tmp_path / "nan.safetensors")


def test_only_perceptrons_of_ours_can_be_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="^model"):
        save_checkpoint(tmp_path / "x.safetensors", tk.ScoreModel(torch.nn.Identity(), tk.VP()))


def test_shipped_checkpoints_carry_the_paper_s_recipe() -> None:
    """Ding, Quan and Tu, Methods 1.2 and 1.3; under 3 MB in all."""
    folder = shipped_checkpoints()
    assert {path.stem for path in folder.glob("*.safetensors")} == {collapse.name for collapse in COLLAPSES}
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 3_000_000
    for collapse in COLLAPSES:
        path = folder / f"{collapse.name}.safetensors"
        record, model = read_record(path), load_checkpoint(path)
        recipe = {"n_steps": 50_000, "batch_size": 2048, "learning_rate": 1e-3, "gradient_clip": 1.0}
        assert {name: record[name] for name in recipe} == recipe
        assert record["data"]["ring"]["weights"] == pytest.approx(collapse.weights, abs=1e-15)
        assert model.network.architecture["width"] == 128
        assert model.network.architecture["depth"] == 3
        assert model.process == tk.VP(0.1, 20.0)
