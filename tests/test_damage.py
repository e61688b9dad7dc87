"""Files that were damaged, and folders that others use: one named error or a warning, never a number as if right."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tolerances import assert_exact
from torch import Tensor, nn

import thermokern as tk
from thermokern import _core, _files
from thermokern.models import load_checkpoint, save_checkpoint
from thermokern.papers.kodama2025.sweep import read_entries, write_entries
from thermokern.quantities.engine import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")

RING = tk.GaussianMixture.ring()
PROCESS = tk.VP()
FLIPS = 400  # of each kind of file
OPTIONS = {"n_paths": 5, "n_steps": 4, "backend": "streamed", "scheme": "backward-ito"}
ENTRIES = ("key", "rows")


def perceptron(activation: str = "silu", dim: int = 2) -> tk.ScoreModel:
    torch.manual_seed(3)
    network = tk.ScoreMLP(dim, width=24, depth=2, activation=activation).requires_grad_(False)
    return tk.ScoreModel(network, PROCESS, "epsilon")


def run(folder: Path, model: object = None) -> tk.TAEP:
    return tk.taep(perceptron() if model is None else model, RING, PROCESS, checkpoint=folder, **OPTIONS)


def saved_result(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = folder / "result.safetensors"
    tk.taep(RING, RING, PROCESS, n_paths=40, n_steps=4).save(path)
    return path, lambda: tk.load(path)


def saved_network(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = folder / "network.safetensors"
    save_checkpoint(path, perceptron(), {"steps": 3})
    return path, lambda: load_checkpoint(path)


def saved_state(folder: Path) -> tuple[Path, Callable[[], object]]:
    path, model = folder / "state.safetensors", perceptron()
    run(folder, model)
    return path, lambda: run(folder, model)


def saved_entries(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = folder / "rows.json"
    write_entries(path, {"key": {"paths": 5}, "rows": [{"value": 0.25 + i} for i in range(20)]})
    return path, lambda: read_entries(path, ENTRIES)


KINDS = {"result": saved_result, "network": saved_network, "state": saved_state, "entries": saved_entries}


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_loads_as_if_right(kind: str, tmp_path: Path) -> None:
    """A third of the flips in the header. Before: 82 of 410 states, 185 of 390 results, 155 of 391 networks loaded."""
    path, read = KINDS[kind](tmp_path)
    read()
    whole, draw = path.read_bytes(), random.Random(7)
    header = 8 + int.from_bytes(whole[:8], "little") if kind != "entries" else len(whole)
    for flip in range(FLIPS if kind != "state" else FLIPS // 2):
        at = draw.randrange(header if flip % 3 == 0 else len(whole))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(tk.DamagedFile, match=path.name):
            read()


@pytest.mark.parametrize("kind", KINDS)
def test_other_damage_is_named(kind: str, tmp_path: Path) -> None:
    path, read = KINDS[kind](tmp_path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-1], whole + b"\0", b"[1, 2]", b"null", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(tk.DamagedFile, match=path.name):
            read()


@pytest.mark.parametrize("kind", ["result", "network", "state"])
def test_files_from_before_the_checksum_are_read(kind: str, tmp_path: Path) -> None:
    path, read = KINDS[kind](tmp_path)
    expected = read()
    with safe_open(str(path), framework="pt") as handle:
        metadata = handle.metadata()
    del metadata["sha256"]
    if kind == "state":  # which had one digest for all
        about = json.loads(metadata["about"])
        about.pop("parts")
        about["digest"] = _digest_of_before(tmp_path)
        metadata["about"] = json.dumps(about)
    save_file(load_file(path), path, metadata)
    if kind == "network":
        x = torch.randn(4, 2)
        assert_exact(read()(x, 0.3), expected(x, 0.3))
    else:
        assert_exact(read().values, expected.values)


def _digest_of_before(folder: Path) -> str:
    found: list[str] = []

    class Seen(checkpoint.Checkpoint):
        def read(self) -> None:
            found.append(self.before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thermokern.quantities.engine.streamed.Checkpoint", Seen)
        run(folder)
    return found[0]


def test_entries_from_before_the_checksum_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps({"key": 1, "rows": []}, indent=1))
    assert read_entries(tmp_path / "rows.json", ENTRIES) == {"key": 1, "rows": []}
    (tmp_path / "rows.json").write_text(json.dumps({"key": 1}))
    with pytest.raises(tk.DamagedFile, match=r"rows\.json: .* without rows; remove it"):
        read_entries(tmp_path / "rows.json", ENTRIES)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"modes": {"$tuple": [', '"modes": {"$tuple": [3'), ('"backend": "', '"backend": 5, "nothing": "')],
)
def test_fields_of_another_type_are_refused(old: str, new: str, tmp_path: Path) -> None:
    """In a file without a checksum too."""
    path, read = saved_result(tmp_path)
    with safe_open(str(path), framework="pt") as handle:
        metadata = handle.metadata()
    del metadata["sha256"]
    metadata["result"] = metadata["result"].replace(old, new, 1)
    save_file(load_file(path), path, metadata)
    with pytest.raises(tk.DamagedFile, match="result.safetensors is a result, but not a whole one"):
        read()


class Scaled(nn.Module):
    """A network that differs in what no parameter holds."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.network, self.factor = perceptron().network, factor

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.factor * self.network(x, t)


def plain(factor: float) -> Callable[[Tensor, float], Tensor]:
    def score(x: Tensor, t: float) -> Tensor:
        return -factor * x

    return score


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (perceptron("silu"), perceptron("relu")),
        (plain(1.0), plain(1.001)),
        (tk.ScoreModel(Scaled(1.0), PROCESS, "epsilon"), tk.ScoreModel(Scaled(1.001), PROCESS, "epsilon")),
    ],
    ids=["activation", "plain functions", "attribute"],
)
def test_a_state_of_another_network_is_refused(tmp_path: Path, one: object, other: object) -> None:
    expected = run(tmp_path, one)
    with pytest.raises(ValueError, match="another calculation .*scores of the model at fixed points"):
        run(tmp_path, other)
    assert_exact(run(tmp_path, one).values, expected.values)


def test_a_state_of_another_instruction_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    monkeypatch.setattr(_core, "instruction_set", "another")
    with pytest.raises(ValueError, match=r"another calculation \(other instruction set\)"):
        run(tmp_path)


def test_parts_of_living_processes_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as living:
        names = {who: tmp_path / f".{path.name}.{_files._host()}-{who}-ab.part" for who in (living.pid, os.getpid())}
        foreign = tmp_path / f".{path.name}.otherhost-1-ab.part"
        for part in (*names.values(), foreign):
            part.write_bytes(b"half")
        _files.remove_parts(path)
        assert all(part.exists() for part in (*names.values(), foreign))
        living.kill()
    _files.remove_parts(path)
    assert not names[living.pid].exists()
    past = time.time() - 2 * 3600
    os.utime(foreign, (past, past))
    _files.remove_parts(path)
    assert not foreign.exists()


def test_a_full_disk_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tk.taep(perceptron(), RING, PROCESS, **OPTIONS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full)
    with pytest.warns(checkpoint.CheckpointWarning, match="could not be written .*No space left"):
        assert_exact(run(tmp_path).values, expected.values)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_is_that_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network leaves the directory at its first call, while it is tried out."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def wanders(x: Tensor, t: float) -> Tensor:
        os.chdir(tmp_path / "elsewhere")
        return -x

    run(Path("run"), wanders)
    assert (tmp_path / "run" / "state.safetensors").is_file()


@pytest.mark.parametrize(
    ("sizes", "name"), [({"depth": 2**31}, "depth"), ({"width": 2**40}, "width"), ({"time_features": 2**39}, "width")]
)
def test_sizes_are_checked_before_anything_is_built(sizes: dict[str, int], name: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        tk.ScoreMLP(2, **sizes)
    path, read = saved_network(tmp_path)
    with safe_open(str(path), framework="pt") as handle:
        metadata = handle.metadata()
    del metadata["sha256"]
    architecture = {**json.loads(metadata["architecture"]), **sizes}
    for asked in (architecture, {**architecture, "depth": 10**7}, {**architecture, "dim": 10**9}):
        save_file(load_file(path), path, {**metadata, "architecture": json.dumps(asked)})
        with pytest.raises(ValueError, match="^checkpoint network.safetensors: another architecture"):
            read()
    assert time.monotonic() - start < 2.0
