"""The command line end to end, in this process and by its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import thermokern as tk
from thermokern.cli import command_parser, main
from thermokern.papers.experiments import EXPERIMENTS

CONFIG = """
model:
  checkpoint: own.safetensors
  predicts: epsilon
  architecture: {dim: 2, width: 16, depth: 2}
reference:
  ring: {std: 0.25}
process: {kind: VP, beta_max: 18}
data: points.npy
n_steps: 50
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    save_file(tk.ScoreMLP(2, width=16, depth=2).state_dict(), tmp_path / "own.safetensors")
    np.save(tmp_path / "points.npy", tk.GaussianMixture.ring().sample(300).numpy())
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


def test_own_checkpoint_and_own_points(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    assert main(["taep", str(folder / "run.yaml"), "--out", str(out), "--quiet", "--seed", "4", "--threads", "1"]) == 0
    printed, complaint = capsys.readouterr()
    assert complaint.startswith("warning: the standard error of")  # the network is untrained
    assert "TAEP of 300 forward paths, 50 steps of VP(beta_min=0.1, beta_max=18)" in printed
    result = json.loads((out / "result.json").read_text())
    assert (result["backend"], result["settings"]["seed"], result["n_paths"]) == ("fused", 4, 300)
    network = tk.load_checkpoint(
        folder / "own.safetensors",
        process=tk.VP(0.1, 18.0),
        predicts="epsilon",
        architecture={"dim": 2, "width": 16, "depth": 2},
    )
    points = np.load(folder / "points.npy")
    with pytest.warns(tk.FewPathsWarning):
        direct = tk.taep(network, tk.GaussianMixture.ring(), x0=points, n_steps=50, seed=4)
    assert result["mean"]["value"] == direct.mean.value
    page = (out / "report.html").read_text()
    assert "data:image/svg+xml;base64," in page
    assert "http://" not in page
    assert "https://" not in page
    assert (out / "taep.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_steps: 50", "n_step: 50", "unknown n_step"),
        ("n_steps: 50", "n_steps: 0", "n_steps"),
        ("n_steps: 50", "n_steps: ten", "n_steps"),
        ("points.npy", "nothing.npy", "nothing.npy"),
        ("kind: VP", "kind: OU", "process.kind"),
        ("kind: VP", "kind: EDM", "process: "),
        ("kind: VP, beta_max: 18", "kind: Flow, a: cos, b: sin", "process: a: expected a callable"),
        ("kind: VP, beta_max: 18", "kind: CosineVP, s: -1", "s: expected"),
        ("ring: {std: 0.25}", "ring: {sigma: 0.25}", "reference.ring"),
        ("ring: {std: 0.25}", "circle: {}", "reference"),
        ("width: 16", "width: 17", "another architecture"),
        ("model:", "model: [", "not YAML"),
        ("predicts: epsilon", "predicts: noise", "predicts"),
    ],
)
def test_mistakes_in_a_config_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    (folder / "run.yaml").write_text(CONFIG.replace(old, new))
    assert main(["taep", str(folder / "run.yaml"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("swiss-roll: {noise: 0.7}", "fused"),
        ("gaussian: {mean: [0, 0], covariance: [[2, 0.5], [0.5, 1]]}", "fused"),
        ("box: {low: [-1, -1], high: [1, 2]}", "reference"),
        ("empirical: {points: points.npy}", "reference"),
        ("empirical: {points: [[0, 0], [1, 2.5]]}", "reference"),
    ],
)
def test_laws_in_a_config(folder: Path, capsys: pytest.CaptureFixture[str], model: str, backend: str) -> None:
    config = f"model: {{{model}}}\nreference: {{swiss-roll: {{}}}}\nprocess: VP\nn_paths: 20\nn_steps: 5\n"
    (folder / "laws.yaml").write_text(config)
    assert main(["taep", str(folder / "laws.yaml"), "--out", str(folder / "out"), "--quiet"]) == 0
    capsys.readouterr()
    result = json.loads((folder / "out" / "result.json").read_text())
    assert result["backend"] == backend
    assert result["settings"]["reference"] == {"kind": "SwissRoll", "noise": 0.5}


@pytest.mark.parametrize(
    ("entry", "printed"),
    [
        ("{kind: VP.from_sigma, sigma: 10}", "VP(beta_min=0.461512, beta_max=8.76873)"),
        ("{kind: SubVP, beta_max: 18}", "SubVP(beta_min=0.1, beta_max=18)"),
        ("CosineVP", "CosineVP(s=0.008, alpha_bar_min=0.0001)"),
        ("{kind: EDM, sigma_max: 20}", "EDM(sigma_max=20)"),
        ("{kind: DiscreteVP, alphas_cumprod: [0.9, 0.5, 0.1]}", "DiscreteVP(3 steps, alphas_cumprod 0.9 to 0.1)"),
        ("{kind: Flow, t_end: 0.9}", "Flow(t_end=0.9)"),
    ],
)
def test_every_kind_of_process(folder: Path, capsys: pytest.CaptureFixture[str], entry: str, printed: str) -> None:
    config = "model: {ring: {std: 0.3}}\nreference: {ring: {}}\nn_paths: 50\nn_steps: 5\nspacing: log-snr\n"
    (folder / "run.yaml").write_text(f"{config}process: {entry}\n")
    assert main(["taep", str(folder / "run.yaml"), "--quiet"]) == 0
    assert f"TAEP of 50 forward paths, 5 steps of {printed}" in capsys.readouterr().out


def test_points_that_are_pickles_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "points.npy", np.array([{"a": 1}], dtype=object))
    assert main(["taep", str(folder / "run.yaml"), "--quiet"]) == 2
    assert "points.npy" in capsys.readouterr().err


def test_info_names_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert tk.info()["instruction set"] in printed
    assert "cuda" in printed


def test_threads_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


def test_each_experiment_writes_to_a_folder_of_its_own_and_no_other_command_writes_unasked() -> None:
    """Commands share the options of a parent parser: the default of one must not become that of all."""
    parser = command_parser()
    for arguments in (["taep", "a.yaml"], ["limits", "a.yaml"], ["entropy", "a.npy"], ["show", "a.safetensors"]):
        assert parser.parse_args(arguments).out is None, arguments
    assert parser.parse_args(["demo"]).out == Path("out/demo")
    for experiment in EXPERIMENTS:
        assert parser.parse_args(["reproduce", experiment.name]).out == Path("out") / experiment.name


def test_a_command_without_out_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", tk.SwissRoll().sample(300).numpy())
    assert main(["entropy", "points.npy", "--quiet"]) == 0
    assert "wrote" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["points.npy"]


def test_profiles_of_experiments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every experiment names its profiles; flags of before select one and say so."""
    parser = command_parser()
    assert len({experiment.name for experiment in EXPERIMENTS}) == len(EXPERIMENTS)
    for experiment in EXPERIMENTS:
        assert set(experiment.profiles) <= {"shipped", "quick", "reduced", "full"}
        assert experiment.default is None or experiment.default in experiment.profiles
        for profile in experiment.profiles:
            assert parser.parse_args(["reproduce", experiment.name, "--profile", profile]).profile == profile
    with pytest.raises(SystemExit):
        parser.parse_args(["reproduce", "table1", "--profile", "reduced"])
    assert "--profile" in capsys.readouterr().err
    options = ["reproduce", "training", "--quiet", "--out", str(tmp_path)]
    assert main([*options, "--shipped"]) == 0
    old, said = capsys.readouterr()
    assert said == "warning: --shipped is deprecated; use --profile shipped\n"
    assert main([*options, "--profile", "shipped"]) == 0
    new, said = capsys.readouterr()
    assert said == ""
    assert old.split("\nin ")[0] == new.split("\nin ")[0]
    assert main([*options, "--profile", "full", "--data", "digits"]) == 2
    assert "--data: expected mnist, fashion-mnist or cifar10" in capsys.readouterr().err
