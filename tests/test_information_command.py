"""``thermokern information`` end to end, by its files."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from information_cases import case_a, three_classes

import thermokern as tk
from thermokern.cli import main
from thermokern.cli.information import run_information


def test_numbers_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    x, y = case_a().sample(1000, seed)
    np.savez(tmp_path / "pairs.npz", x=x.numpy(), y=y.numpy())
    out = tmp_path / "out"
    command = ["information", str(tmp_path / "pairs.npz"), "--steps", "150", "--evaluations", "2048", "--quiet"]
    assert main([*command, "--out", str(out), "--seed", str(seed)]) == 0
    printed = capsys.readouterr().out
    assert "Mutual information under VP" in printed
    assert "nearest neighbours" in printed
    assert {"mutual-information.png", "report.html", "result.json", "result.safetensors"} <= {
        p.name for p in out.iterdir()
    }
    numbers = json.loads((out / "result.json").read_text())
    assert abs(numbers["value"]["value"] - 0.41334) < 0.3
    assert numbers["settings"]["data"]["points"] == [200, 1]
    page = (out / "report.html").read_text()
    assert "200 of them held out" in page
    assert "gap = loss" in page
    assert "nearest neighbours" in page
    assert tk.load(out / "result.safetensors").n_evaluations == 2048
    assert main(["show", str(out / "result.safetensors")]) == 0


def test_labels_by_a_config(tmp_path: Path, seed: int) -> None:
    x, k = three_classes().sample(800, seed)
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "labels.npy", k.numpy())
    config = tmp_path / "run.yaml"
    config.write_text("x: x.npy\ny: labels.npy\nprocess: EDM\nt_eps: 0.01\nsteps: 60\nevaluations: 512\nwidth: 16\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        result, neighbours, lead = run_information(config, seed=seed, progress=False)
    assert neighbours is None
    assert result.settings["process"] == "EDM(sigma_max=80)"
    assert result.growth is not None
    assert "160 of them held out" in lead


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "half.npz", x=np.zeros((30, 2)))
    assert main(["information", str(tmp_path / "half.npz")]) == 2
    assert "error: --y: half.npz has no 'y', only x" in capsys.readouterr().err
    assert main(["information", str(tmp_path / "half.npz"), "--x", "data"]) == 2
    assert "error: --x: half.npz has no 'data', only x" in capsys.readouterr().err
    np.savez(tmp_path / "names.npz", x=np.zeros((30, 2)), y=np.array(["a"] * 30))
    assert main(["information", str(tmp_path / "names.npz")]) == 2
    assert "expected numbers in names.npz, got an array of <U1" in capsys.readouterr().err
    config = tmp_path / "run.yaml"
    config.write_text("x: x.npy\n")
    np.save(tmp_path / "x.npy", np.zeros((30, 2)))
    assert main(["information", str(config)]) == 2
    assert "y is missing" in capsys.readouterr().err
    torch.save({"x": torch.zeros(3, 2), "y": torch.zeros(3)}, tmp_path / "few.pt")
    assert main(["information", str(tmp_path / "few.pt")]) == 2
    assert "x: expected (n, d) with n at least 16" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")
def test_labels_stored_as_numbers_are_told(tmp_path: Path, seed: int) -> None:
    """Whole numbers, each often, are labels as a rule; truth values are two labels."""
    x, k = three_classes().sample(400, seed)
    how = {"steps": 2, "evaluations": 64, "seed": seed, "progress": False}
    for y in (k.double().numpy(), k[:, None].numpy()):
        np.savez(tmp_path / "pairs.npz", x=x.numpy(), y=y)
        with pytest.warns(UserWarning, match="^y: its 3 different whole numbers are taken as numbers; store integers"):
            result, _, _ = run_information(tmp_path / "pairs.npz", **how)
        assert result.label_entropy is None
    np.savez(tmp_path / "pairs.npz", x=x.numpy(), y=(k > 0).numpy())
    result, _, _ = run_information(tmp_path / "pairs.npz", **how)
    assert result.label_entropy is not None
    assert result.label_entropy.value < math.log(2.0)


def test_what_the_estimate_would_refuse_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained first")

    monkeypatch.setattr("thermokern.cli.information.fit_scores", trained)
    np.savez(tmp_path / "pairs.npz", x=np.zeros((30, 2)), y=np.zeros((30, 1)))
    config = tmp_path / "run.yaml"
    for line, match in (
        ("estimator: best", "^estimator: expected one of"),
        ("evaluations: 10", "^evaluations: expected an integer of at least 64"),
        ("sampling: path", "^sampling: expected one of"),
        ("growth: maybe", "^growth: "),
        ("t_eps: 3.0", "^t_eps: "),
        ("seed: -1", "^seed: "),
    ):
        config.write_text(f"data: pairs.npz\n{line}\n")
        with pytest.raises((ValueError, TypeError), match=match):
            run_information(config, progress=False)
