"""Every result is a Result: its numbers are JSON, its rows a table, its figure one call away, and old files load."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors import safe_open
from tolerances import assert_exact

import thermokern as tk
from thermokern.cli import main
from thermokern.quantities.results import Result, storage
from thermokern.quantities.results.result import encoded

# Saved by commit b9a2058, before results had a base class.
FILES = sorted((Path(__file__).parent / "data" / "results").glob("*.safetensors"))
RESULTS = [path for path in FILES if isinstance(tk.load(path), Result)]
PARTS = {
    *("estimate", "exponential-average", "mode", "probe-noise", "verdict", "entropy-part", "rank-correlation"),
    *("schedule-nodes", "schedule-comparison", "attribution-split", "attribution-label"),
    *("step-error", "endpoint-error", "information-curve", "path-derivatives"),
    *("parameter-subset", "layer-relation", "training-measurement"),
}
ONE_PANEL = {
    "bartlett",
    "curvature",
    "gradient-noise",
    "overlap",
    "pointwise-mutual-information",
    "coverage",
    "divergence",
    "elbo",
    "entropy-rate",
    "sample-estimate",
}


def theorem() -> tk.DetailedFluctuationTheorem:
    options: dict[str, Any] = {"n_paths": 50, "n_steps": 4}
    model, target = tk.GaussianMixture.ring(3, weights=[0.2, 0.3, 0.5]), tk.GaussianMixture.ring(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        forward, reverse = (tk.taep(model, target, tk.VP(), direction=way, **options) for way in ("forward", "reverse"))
    return tk.detailed_fluctuation_theorem(forward, reverse)


@pytest.fixture(params=[*RESULTS, None], ids=lambda path: path.stem if path else "theorem")
def result(request: pytest.FixtureRequest) -> Result:
    loaded = theorem() if request.param is None else tk.load(request.param)
    assert isinstance(loaded, Result)
    return loaded


def contents(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(str(path), framework="pt") as handle:
        return json.loads(handle.metadata()["result"]), {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


def held(body: Any, before: Any) -> Any:
    """What a body of today has of the entries of one of before."""
    if isinstance(before, dict):
        return {name: held(body[name], entry) for name, entry in before.items()}
    if isinstance(before, list):
        return [held(*pair) for pair in zip(body, before, strict=True)]
    return body


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_yesterday_is_read_and_written_again(path: Path, tmp_path: Path) -> None:
    loaded = tk.load(path)
    assert storage.kind_of(loaded) == path.stem
    storage.save(loaded, tmp_path / "again")
    (body, tensors), (expected, before) = contents(tmp_path / "again"), contents(path)
    assert held(body, expected) == expected  # and fields of today at their defaults
    assert tensors.keys() == before.keys()
    for name, tensor in before.items():
        assert_exact(tensors[name], tensor, name)


def test_every_kind_has_a_file_and_every_result_is_a_result() -> None:
    """The kinds of papers have their own; a new one of quantities wants a file of its first day here."""
    kinds = {kind for kind, of in storage._KINDS.items() if of.__module__.startswith("thermokern.quantities")}
    assert {path.stem for path in FILES} >= kinds
    assert {kind for kind in kinds if not issubclass(storage._KINDS[kind], Result)} == PARTS & kinds


def test_numbers_are_json(result: Result) -> None:
    text = json.dumps(result.to_json(), allow_nan=False)

    def estimates(value: object) -> None:
        """An estimate has value, stderr and unit wherever it stands."""
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            estimates(item)
        if isinstance(value, dict) and not isinstance(value.get("value", {}), dict):
            assert {"value", "stderr", "unit"} <= value.keys()

    estimates(json.loads(text))
    assert result.title
    assert result.summary()


def test_an_estimate_has_one_shape_and_what_is_not_finite_is_null() -> None:
    assert encoded(tk.Estimate(1.0, math.nan)) == {"value": 1.0, "stderr": None, "unit": "nats"}
    unknown = {"pareto_shape": None, "largest_share": None}
    average = tk.quantities.ExponentialAverage(math.inf, 0.5, "", 3.0, 7)
    plain = {"value": None, "stderr": 0.5, "unit": "", "effective_sample_size": 3.0, "n": 7}
    assert encoded(average) == {**plain, **unknown}
    assert encoded(torch.tensor([1.0, -math.inf])) == [1.0, None]
    assert encoded((1, True, "a", {"b": math.nan})) == [1, True, "a", {"b": None}]
    with pytest.raises(TypeError, match="^to_json: expected numbers.*, got complex"):
        encoded([1j])


def test_it_is_saved_and_loaded(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "file")
    again = tk.load(tmp_path / "file")
    assert type(again) is type(result)
    assert again.to_json() == result.to_json()


def test_one_panel_is_drawn_where_it_is_told_and_several_refuse(result: Result) -> None:
    ax = Figure().subplots()
    if storage.kind_of(result) in ONE_PANEL:
        assert result.plot(ax) is ax.figure
        assert ax.get_title()
        (alone,) = result.plot().axes
        canvas = FigureCanvasAgg(alone.figure)
        canvas.draw()
        title = alone.title.get_window_extent(canvas.get_renderer())
        assert 0 <= title.x0 < title.x1 <= canvas.get_width_height()[0]
    else:
        with pytest.raises(ValueError, match="^ax: this figure has [2-4] panels"):
            result.plot(ax)
        assert len(result.plot().axes) > 1


def test_an_ax_of_a_subfigure_belongs_to_the_whole_figure() -> None:
    figure = Figure()
    ax = figure.subfigures(1, 2)[0].subfigures(2, 1)[1].subplots()
    assert tk.divergence(lambda x: -x, torch.eye(3)).plot(ax) is figure


def test_a_result_without_a_figure_or_rows_says_so() -> None:
    class Plain(tk.Divergence):
        __module__ = "thermokern.quantities.taep.plain"
        columns = Result.columns

    plain = Plain(torch.ones(2), torch.ones(2), "exact", "forward", "")
    with pytest.raises(TypeError, match="^plot: a Plain has no figure"):
        plain.plot()
    with pytest.raises(TypeError, match="^to_frame: a Plain has no natural rows"):
        plain.to_frame()


def test_columns_have_one_length(result: Result) -> None:
    (length,) = {len(column) for column in result.columns().values()}
    assert length


def test_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    divergence = tk.divergence(lambda x: -x, torch.eye(3))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'thermokern\[pandas\]'"):
        divergence.to_frame()
    monkeypatch.setitem(sys.modules, "pandas", ModuleType("pandas"))
    monkeypatch.setattr(sys.modules["pandas"], "DataFrame", dict, raising=False)
    frame = divergence.to_frame()
    assert {name: column.tolist() for name, column in frame.items()} == {"value": [-3.0] * 3, "value_stderr": [0.0] * 3}
    table = tk.load(next(path for path in FILES if path.stem == "entropy-table"))
    frame = table.to_frame()
    assert [*frame] == ["estimator", "nats", "nats_stderr", "bias_nats", "bias_nats_stderr"]
    assert (frame["nats"][0], frame["nats_stderr"][0]) == (table.rows()[0][1].value, table.rows()[0][1].stderr)


def test_frames_of_pandas_itself(result: Result) -> None:
    pandas = pytest.importorskip("pandas")
    frame = result.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(next(iter(result.columns().values())))


def test_show_opens_every_kind(result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "file.safetensors", tmp_path / "out"
    result.save(file)
    assert main(["show", str(file), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(result.summary() + "\n")
    kind = storage.kind_of(result)
    assert sorted(path.name for path in out.iterdir()) == sorted([f"{kind}.png", "report.html", "result.json"])
    assert json.loads((out / "result.json").read_text()) == result.to_json()
    page = (out / "report.html").read_text()
    assert f"<h1>{result.title}</h1>" in page
    assert "data:image/svg+xml;base64," in page
    words = re.sub("</?a[^>]*>", "", page)  # without the glossary's links
    for name, value in result.numbers().items():
        if isinstance(value, tk.Estimate) and math.isfinite(value.stderr):
            assert f'<th scope="row">{name.replace("_", " ")}</th><td data-label="estimate">{value}</td>' in words
    if "settings" in result.numbers():
        assert "<h2>Settings</h2>" in page


def test_what_is_not_finite_reaches_a_page_and_its_json(tmp_path: Path) -> None:
    broken = replace(
        tk.load(next(path for path in RESULTS if path.stem == "taep")), mean=tk.Estimate(math.nan, math.inf)
    )
    broken.save(tmp_path / "file")
    assert main(["show", str(tmp_path / "file"), "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["mean"] == {"value": None, "stderr": None, "unit": "nats"}


def test_an_experiment_result_loads_before_experiments_are_imported() -> None:
    (file,) = (path for path in FILES if path.stem == "rank-correlation")
    code = (
        "import sys, thermokern; assert 'thermokern.papers' not in sys.modules;"
        f"print(type(thermokern.load({str(file)!r})).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "RankCorrelation", run.stderr
