"""``thermokern entropy`` and ``reproduce table1`` end to end, by their files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import thermokern as tk
from thermokern.cli import main
from thermokern.cli.points import read_points
from thermokern.papers.kodama2025 import shipped_capacity, table1
from thermokern.papers.kodama2025.table1 import PAPER
from thermokern.quantities.samples.figures import table_figure

POINTS = tk.SwissRoll().sample(600, 1).numpy()


def save_as(path: Path, points: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, points)
    elif path.suffix == ".npz":
        np.savez(path, points=points)
    elif path.suffix == ".csv":
        np.savetxt(path, points, delimiter=",", header="x,z", comments="")
    else:
        torch.save(torch.from_numpy(points), path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".pt"])
def test_every_kind_of_file_holds_the_same_points(tmp_path: Path, suffix: str) -> None:
    read = read_points(save_as(tmp_path / f"points{suffix}", POINTS))
    assert torch.equal(read, torch.from_numpy(POINTS))


def test_files_of_several_arrays_want_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=POINTS, b=2 * POINTS)
    torch.save({"a": torch.from_numpy(POINTS), "b": torch.ones(3, 1)}, tmp_path / "two.pt")
    for name in ("two.npz", "two.pt"):
        assert torch.equal(read_points(tmp_path / name, "a"), torch.from_numpy(POINTS))
        with pytest.raises(ValueError, match="--key: two.* holds a, b"):
            read_points(tmp_path / name)
        with pytest.raises(ValueError, match="has no 'c', only a, b"):
            read_points(tmp_path / name, "c")
    np.save(tmp_path / "big.npy", POINTS.astype(">f8"))
    assert torch.equal(read_points(tmp_path / "big.npy"), torch.from_numpy(POINTS))
    bare = tmp_path / "bare.csv"
    bare.write_text("1,2\n3,4\n")
    assert read_points(bare).tolist() == [[1.0, 2.0], [3.0, 4.0]]


class Planted:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('ran', 'w')",)


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Planted()}, "evil.pt")
    np.save("evil.npy", np.array([Planted()], dtype=object), allow_pickle=True)
    Path("text.csv").write_text("a,b\n1,x\n")
    Path("short.npy").write_bytes(b"\x93NUMPY")
    np.save("words.npy", np.array(["a", "b"]))
    torch.save([1, 2], "list.pt")
    for name in ("evil.pt", "evil.npy", "text.csv", "short.npy"):
        with pytest.raises(ValueError, match=f"file: {name} cannot be read as numbers"):
            read_points(Path(name))
    assert not Path("ran").exists()
    with pytest.raises(ValueError, match="expected numbers in words.npy"):
        read_points(Path("words.npy"))
    with pytest.raises(ValueError, match="expected a tensor or a dictionary of tensors in list.pt, got a list"):
        read_points(Path("list.pt"))
    with pytest.raises(ValueError, match="expected one of .npy, .npz, .csv, .pt, got points.txt"):
        read_points(Path("points.txt"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_points(Path("nothing.npy"))


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = save_as(tmp_path / "roll.npy", POINTS), tmp_path / "deep" / "out"
    assert main(["entropy", str(file), "--out", str(out), "--quiet", "--ks", "1", "10", "--bins", "20"]) == 0
    printed, complaint = capsys.readouterr()
    assert complaint == ""
    assert "entropy of 600 points in 2 dimensions" in printed
    direct = tk.entropy_table(POINTS, ks=(1, 10), bins=20)
    assert printed.startswith(direct.summary() + "\n")
    assert sorted(path.name for path in out.iterdir()) == [
        "entropy-table.png",
        "report.html",
        "result.json",
        "result.safetensors",
    ]
    numbers = json.loads((out / "result.json").read_text())
    assert [row["estimator"] for row in numbers["rows"]][:3] == ["k-NN, k = 1", "k-NN, k = 3", "k-NN, k = 10"]
    assert numbers["knn"]["value"] == direct.knn.value
    assert tk.load(out / "result.safetensors").summary() == direct.summary()
    page = (out / "report.html").read_text()
    assert "data:image/svg+xml;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "roll.npy: 600 points in 2 dimensions" in page
    assert (out / "entropy-table.png").stat().st_size > 20_000


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save_as(tmp_path / "roll.npy", np.concatenate([POINTS, POINTS[:1]]))
    for arguments, message in (
        ([str(file)], "2 of 601 points coincide"),
        ([str(file), "--k", "601"], "k: expected fewer neighbours"),
        ([str(file), "--ks", "0"], "ks: expected an integer"),
        ([str(file), "--bins", "many", "--jitter", "0.01"], "bins: expected"),
        ([str(tmp_path / "none.npy")], "no such file"),
    ):
        assert main(["entropy", *arguments, "--quiet"]) == 2
        assert message in capsys.readouterr().err
    assert main(["entropy", str(file), "--jitter", "0.01", "--quiet"]) == 0
    assert "601 points" in capsys.readouterr().out


def test_table1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exact line is the quadrature; the neighbours meet it; the histogram says why it does not."""
    result = table1(n=4000, seed=1, progress=False, model_bound=tk.Estimate(2.0, 0.01))
    rows = {row.name: row for row in result.rows()}
    assert abs(result.exact_bits - 1.41968) < 5e-6
    assert rows["model-based bound, NLL of the flow"].paper == PAPER["model"]
    assert "model-based bound, plug-in NLL" not in rows
    assert [k for k, _ in result.table.over_k] == list(range(1, 21))
    knn = result.table.knn
    assert abs((knn.value - knn.bias.value - result.exact) / math.hypot(knn.stderr, knn.bias.stderr)) < 3.0
    assert result.table.histogram is not None
    assert result.table.histogram.bias_exceeds_error
    assert abs(rows["Gaussian of the same covariance"].value.value - PAPER["gaussian"]) < 0.03
    assert main(["reproduce", "table1", "--points", "2000", "--quiet", "--out", str(tmp_path)]) == 0
    assert "noisy Swiss roll, 2,000 points" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "result.json").read_text())
    assert numbers["exact_nats"] == result.exact
    assert len(numbers["bits_per_dim"]) == 28
    page = (tmp_path / "report.html").read_text()
    for printed in ("1.432", "1.415", "2.472", "2.487", "1.41967"):
        assert printed in page
    assert main(["reproduce", "table1", "--points", "50", "--quiet", "--out", str(tmp_path)]) == 2
    assert "--points" in capsys.readouterr().err


def test_table1_has_the_bounds_of_trained_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The package's own, or those of a sweep of one's own: the numbers that the sweep itself prints."""
    options = ["reproduce", "table1", "--points", "500", "--quiet", "--out"]
    assert main([*options, str(tmp_path / "shipped")]) == 0
    printed = capsys.readouterr().out
    sweep = shipped_capacity()
    numbers = json.loads((tmp_path / "shipped" / "result.json").read_text())
    found = {row["estimator"]: row for row in numbers["bits_per_dim"]}
    for likelihood, name in (("ode", "NLL of the flow"), ("plugin", "plug-in NLL")):
        bound, _ = sweep.model_based_bound(likelihood)
        row = found[f"model-based bound, {name}"]
        assert abs(row["value"] - bound.value) < 1e-12
        assert abs(row["stderr"] - bound.stderr) < 1e-12
        assert f"{bound}" in printed
    assert found["model-based bound, plug-in NLL"]["value"] > found["exact, by quadrature"]["value"]
    assert "model-based: the smallest of 21 networks, 20,000 training steps each" in printed
    assert "20,000 training steps each" in (tmp_path / "shipped" / "report.html").read_text()

    own = tmp_path / "capacity"
    own.mkdir()
    everything = sweep.to_json()
    one = {**everything, "rows": everything["rows"][:1], "profile": {**everything["profile"], "n_steps": 70}}
    (own / "result.json").write_text(json.dumps(one))
    assert main([*options, str(tmp_path / "own"), "--capacity", str(own)]) == 0
    assert "the smallest of 1 networks, 70 training steps each" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "own" / "result.json").read_text())
    found = {row["estimator"]: row for row in numbers["bits_per_dim"]}
    first = sweep.networks[0].found
    bound = first.entropy_bound.value + first.data_entropy
    assert abs(found["model-based bound, NLL of the flow"]["value"] - bound / 2.0 / math.log(2.0)) < 1e-12

    (own / "result.json").write_text(json.dumps({"experiment": "limits"}))
    for folder, message in ((own, "expected the result of"), (tmp_path / "none", "no such file")):
        assert main([*options, str(tmp_path / "bad"), "--capacity", str(folder)]) == 2
        assert f"capacity: {message}" in capsys.readouterr().err


def test_figures_are_not_clipped() -> None:
    result = table1(n=1000, progress=False)
    figure = table_figure(result.table, result.points, truth=result.exact)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    assert len(figure.axes) == 4  # the map has a colour bar
    for axes in figure.axes:
        box = axes.get_tightbbox(canvas.get_renderer())
        assert box is not None
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
