"""Saved results: the same bits back, whole or not at all, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
import pickle
import struct
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tolerances import assert_exact

import thermokern as tk
from thermokern import _core, _files
from thermokern.quantities.results import storage

TARGET = tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)


@pytest.fixture(scope="module")
def result() -> tk.TAEP:
    return tk.taep(MODEL, TARGET, tk.VP(), n_paths=257, n_steps=20, seed=5)


@pytest.fixture
def file(result: tk.TAEP, tmp_path: Path) -> Path:
    path = tmp_path / "result.safetensors"
    result.save(path)
    return path


def assert_same(actual: Any, expected: Any, what: str = "result") -> None:
    """Equal bit for bit, through dataclasses, tuples, lists and dictionaries; NaN by its bits."""
    assert type(actual) is type(expected), f"{what}: {type(actual).__name__} for {type(expected).__name__}"
    if hasattr(expected, "__dataclass_fields__"):
        for field in fields(expected):
            assert_same(getattr(actual, field.name), getattr(expected, field.name), f"{what}.{field.name}")
    elif isinstance(expected, dict):
        assert list(actual) == list(expected), what
        for key, value in expected.items():
            assert_same(actual[key], value, f"{what}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), what
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, f"{what}.{i}")
    elif isinstance(expected, float):
        assert struct.pack(">d", actual) == struct.pack(">d", expected), f"{what}: {actual!r} is not {expected!r}"
    else:
        assert_exact(actual, expected, what)


def edit(path: Path, **changes: str | None) -> None:
    """Rewrite the metadata of a saved result; None takes a key away."""
    with safe_open(str(path), framework="pt") as handle:
        metadata = {**handle.metadata(), "sha256": None, **changes}
    save_file(load_file(path), path, {key: value for key, value in metadata.items() if value is not None})


@pytest.mark.parametrize(
    "options",
    [
        {"n_paths": 100},
        {"n_paths": 0},
        {"n_paths": 1},
        {"n_paths": 40, "backend": "reference", "dtype": torch.float64},
        {"x0": TARGET.sample(50), "scheme": "backward-ito"},
    ],
    ids=["plain", "no-paths", "one-path", "float64", "own-points"],
)
def test_what_is_saved_is_what_is_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    saved = tk.taep(MODEL, TARGET, tk.VP(), n_steps=20, **options)
    saved.save(tmp_path / "a.safetensors")
    assert_same(tk.load(tmp_path / "a.safetensors"), saved)


def test_nan_infinity_and_negative_zero_keep_their_bits(result: tk.TAEP, tmp_path: Path) -> None:
    strange_nan = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    values = result.values.clone()
    values[:4] = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    saved = replace(
        result,
        values=values,
        mean=tk.Estimate(strange_nan, math.inf),
        variance=tk.Estimate(-math.inf, -0.0, "nats²"),
        endpoint_log_ratio=None,
        settings={"a": [1, 2.5, None, True, math.nan, {"b": (5e-324, 0.1 + 0.2)}], "é\n\ud800": "‰", "": 2**70},
    )
    saved.save(str(tmp_path / "a.safetensors"))
    assert_same(tk.load(str(tmp_path / "a.safetensors")), saved)


def test_tensors_that_share_memory_or_have_strides_are_saved(result: tk.TAEP, tmp_path: Path) -> None:
    both = torch.arange(12.0).reshape(3, 4)
    saved = replace(result, x_start=both.T, x_end=both.T, values=both[0])
    saved.save(tmp_path / "a.safetensors")
    loaded = tk.load(tmp_path / "a.safetensors")
    assert_exact(loaded.x_end, both.T.contiguous())
    loaded.x_end.zero_()
    assert_exact(loaded.x_start, both.T.contiguous())
    replace(result, x_start=both, x_end=both, values=both[0]).save(tmp_path / "a.safetensors")
    assert_exact(tk.load(tmp_path / "a.safetensors").values, both[0])


def test_a_file_says_what_made_it(file: Path, result: tk.TAEP) -> None:
    """Readable without thermokern: tensors by their field names, JSON beside them."""
    with safe_open(str(file), framework="pt") as handle:
        metadata = handle.metadata()
        names = set(handle.keys())
    assert names == {"values", "x_start", "x_end", "endpoint_log_ratio", "start_component", "mismatch", "coarser"}
    assert (metadata["format"], metadata["format_version"], metadata["kind"]) == ("thermokern.result", "1", "taep")
    versions = {"thermokern": tk.__version__, "torch": torch.__version__}
    assert json.loads(metadata["versions"]) == {**versions, "instruction_set": _core.instruction_set}
    assert json.loads(metadata["result"])["mean"]["value"] == result.mean.value


def test_every_truncation_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^path: expected .* result\.safetensors, which is not a whole"):
            tk.load(file)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle ran",)


def test_other_files_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"values": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"other\.pt.*pickles"):
        tk.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"other\.pt.*pickles"):
        tk.load(path)
    save_file({"values": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"other\.pt, which holds something else"):
        tk.load(path)
    tk.save_checkpoint(path, tk.ScoreModel(tk.ScoreMLP(2, width=4, depth=1), tk.VP(), "epsilon"))
    with pytest.raises(ValueError, match=r"other\.pt.*load_checkpoint reads it"):
        tk.load(path)
    with pytest.raises(FileNotFoundError, match="^path: no such file .*none"):
        tk.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="^path: no such file"):
        tk.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": "2"}, "format version 2, and thermokern .* reads up to 1: use a newer"),
        ({"format_version": "one"}, "no valid format version"),
        ({"format_version": "0"}, "no valid format version"),
        ({"format_version": None}, "no valid format version"),
        ({"format": "thermokern.other"}, "holds something else"),
        ({"kind": "tape"}, "holds a 'tape'"),
        ({"kind": "estimate"}, "not a whole one .*TAEP under the name estimate"),
        ({"result": None}, "not a whole one"),
        ({"result": "{"}, "not a whole one"),
        ({"result": "[" * 100_000}, "not a whole one"),
        ({"result": '{"$kind": "taep"}'}, "not a whole one .*missing"),
        ({"result": '{"$kind": "taep", "values": {"$tensor": "nothing"}}'}, "not a whole one .*nothing"),
        ({"result": '{"$kind": "taep", "colour": 1}'}, "not a whole one .*colour"),
        ({"result": '{"$bits": "00"}'}, "not a whole one"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(file: Path, changes: dict[str, str | None], message: str) -> None:
    edit(file, **changes)
    with pytest.raises(ValueError, match=f"^path: .*result\\.safetensors.*{message}"):
        tk.load(file)


def test_files_from_before_a_field_was_there_are_read(file: Path) -> None:
    with safe_open(str(file), framework="pt") as handle:
        body = json.loads(handle.metadata()["result"])
    del body["start_component"], body["modes"]
    edit(file, result=json.dumps(body))
    loaded = tk.load(file)
    assert loaded.start_component is None
    assert loaded.modes == ()


def test_a_failed_save_leaves_the_old_file_and_no_other(
    file: Path, result: tk.TAEP, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(_files.os, broken, full_disk)
            with pytest.raises(OSError, match="no space left"):
                replace(result, backend="other").save(file)
        assert file.read_bytes() == before
        assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_saved_file_has_the_rights_of_any_other(file: Path) -> None:
    plain = file.with_name("plain")
    plain.write_text("")
    assert file.stat().st_mode == plain.stat().st_mode


def test_a_loaded_result_outlives_its_file(file: Path, result: tk.TAEP) -> None:
    loaded = tk.load(file)
    file.write_bytes(b"\0" * file.stat().st_size)
    assert_same(loaded, result)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"a": {"b": object()}}, r"settings\.a\.b"),
        ({"a": {1: 2}}, r"settings\.a"),
        ({"a": {"$tensor": "values"}}, r"settings\.a"),
        ({"a": [1 + 2j]}, r"settings\.a\.0"),
        ({"a": torch.eye(2).to_sparse()}, r"settings\.a"),
    ],
)
def test_what_cannot_be_saved_is_named(result: tk.TAEP, settings: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"^{where}: expected"):
        replace(result, settings=settings).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_folders_that_are_not_there_are_named(result: tk.TAEP, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="^path: no such folder"):
        result.save(tmp_path / "none" / "a")
    with pytest.raises(IsADirectoryError, match="^path: expected a file"):
        result.save(tmp_path)


def test_only_frozen_dataclasses_under_names_of_their_own_are_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^kind: 'taep' is taken by TAEP"):
        storage.stored("taep")(dataclass(frozen=True)(type("Other", (), {})))
    with pytest.raises(TypeError, match="expected a frozen dataclass"):
        storage.stored("thawed")(dataclass(type("Thawed", (), {})))
    with pytest.raises(TypeError, match="^result: expected one of .*taep.*, got dict"):
        storage.save({}, tmp_path / "a")
