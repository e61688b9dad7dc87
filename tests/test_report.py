"""Figures and pages: what they show is what the result says, nothing is clipped, and matplotlib waits until asked."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from safetensors.torch import save_file
from tolerances import assert_exact

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.ding2026 import PANELS, mode_collapse
from thermokern.papers.ding2026.mode_collapse_figure import theorems_figure
from thermokern.quantities.results import storage
from thermokern.report import results, write_result

TARGET = tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
MANY = tk.GaussianMixture.ring(50, radius=12.0)


@pytest.fixture(scope="module")
def result() -> tk.TAEP:
    return tk.taep(MODEL, TARGET, tk.VP(), n_paths=4000, n_steps=100)


@pytest.fixture(scope="module")
def many() -> tk.TAEP:
    weights = torch.linspace(1.0, 3.0, 50, dtype=torch.float64)
    return tk.taep(
        tk.GaussianMixture.ring(50, radius=12.0, weights=weights / weights.sum()),
        MANY,
        tk.VP(),
        n_paths=2000,
        n_steps=50,
    )


def plain(n_paths: int = 300) -> tk.TAEP:
    return tk.taep(tk.Gaussian([0.0], 2.0), tk.Gaussian([0.3], 2.0), tk.VP(), n_paths=n_paths, n_steps=20)


def test_the_detailed_theorem_is_drawn() -> None:
    """Both densities integrate to one, the points are the bins that both ensembles reach, the line has slope 1."""
    options = {"n_paths": 3000, "n_steps": 100}
    theorem = tk.detailed_fluctuation_theorem(
        tk.taep(MODEL, TARGET, tk.VP(), **options), tk.taep(MODEL, TARGET, tk.VP(), direction="reverse", **options)
    )
    densities, ratio = theorem.plot().axes
    for patch in densities.patches:
        values, edges, _ = patch.get_data()
        assert abs((values * (edges[1:] - edges[:-1])).sum() - 1.0) < 1e-9
    known = theorem.log_ratio.isfinite()
    lines = {line.get_label(): line for line in ratio.lines}
    assert lines["theorem"].get_xdata().tolist() == lines["theorem"].get_ydata().tolist()
    drawn = ratio.containers[0].lines[0].get_ydata()
    assert drawn.tolist() == theorem.log_ratio[known].tolist()
    assert f"slope {theorem.slope}" in ratio.get_title()
    apart = replace(
        theorem, log_ratio=torch.full_like(theorem.log_ratio, math.nan), slope=tk.Estimate(math.nan, math.nan)
    )
    assert {line.get_label() for line in apart.plot().axes[1].lines} >= {"theorem"}


def test_matplotlib_waits_until_a_figure_is_asked_for() -> None:
    code = (
        "import sys, thermokern; print([name for name in ('matplotlib', 'matplotlib.figure') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_draws_its_modes(result: tk.TAEP) -> None:
    """A bar for each mode as high as its mean, 2 s.e. to each side, red where collapsed, full where it counts most."""
    figure = result.plot()
    assert isinstance(figure, Figure)
    density, shares, modes = figure.axes
    assert density.get_xlabel() == shares.get_xlabel() == "Δs (nats)"
    bars = modes.patches
    assert [bar.get_height() for bar in bars] == [mode.mean.value for mode in result.modes]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(range(8))
    (segments,) = (item.get_segments() for item in modes.collections)
    for segment, mode in zip(segments, result.modes, strict=True):
        low, high = sorted(segment[:, 1].tolist())
        assert (high + low) / 2 == pytest.approx(mode.mean.value, abs=1e-12)
        assert (high - low) / 4 == pytest.approx(mode.mean.stderr, rel=1e-6)
    red, *blue = (bar.get_facecolor() for bar in bars)
    assert red == pytest.approx(to_rgba("#c53030"))  # mode 0 has most of the variance: the full colour
    assert all(bar[:3] == pytest.approx(to_rgb("#2b6cb0")) for bar in blue)
    assert all(0.15 < bar[3] < 0.25 for bar in blue)  # pale: two per cent of the variance each
    assert [text.get_text() for text in modes.texts] == [f"{m.share_of_variance.value:.0%}" for m in result.modes]
    assert "red: collapsed" in modes.get_title()


def test_figures_without_modes_have_two_panels() -> None:
    assert len(plain().plot().axes) == 2
    no_paths = plain(0).plot()
    assert [axes.texts[0].get_text() for axes in no_paths.axes] == ["no paths", "no paths"]


def test_degenerate_results_can_be_drawn() -> None:
    """No variance; one path; a mode without paths; a path that is not finite."""
    still = tk.taep(TARGET, TARGET, tk.VP(), n_paths=50, n_steps=5).plot()
    assert "red" not in still.axes[2].get_title()
    assert all(text.get_text() == "" for text in still.axes[2].texts)
    lone = tk.taep(MODEL, TARGET, tk.VP(), x0=[[4.0, 0.0]], n_steps=5)
    assert len(lone.plot().axes[2].patches) == 1
    values = lone.values.clone()
    values[0] = math.nan
    assert replace(lone, values=values).plot().axes[0].texts[0].get_text() == "no paths"
    for figure in (still, lone.plot()):
        FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize("which", ["result", "many", "plain"])
def test_nothing_is_clipped_and_titles_do_not_meet(which: str, request: pytest.FixtureRequest) -> None:
    figure = plain().plot() if which == "plain" else request.getfixturevalue(which).plot()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    for text in figure.findobj(Text):
        box = text.get_window_extent(canvas.get_renderer())
        if text.get_text() and text.get_visible() and box.width > 0:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            outside_ticks = text.get_text().replace("−", "").replace(".", "").isdigit()  # ticks beyond the limits
            assert inside or outside_ticks, f"{text.get_text()!r} at {box} in {width} x {height}"
    boxes = [axes.title.get_window_extent(canvas.get_renderer()) for axes in figure.axes]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0


def rows(page: str) -> list[list[str]]:
    """Cells of every table row of a page."""
    found = re.findall(r'<tr>(<th scope="row">.*?)</tr>', page)
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in found]


def test_page_has_a_row_for_each_mode(result: tk.TAEP, tmp_path: Path) -> None:
    picture, numbers, page = write_result(result, tmp_path / "out", "footer")
    text = page.read_text()
    table = rows(text.split("Mode by mode")[1].split("</section>")[0])
    assert [row[0] for row in table] == [str(c) for c in range(8)]
    for row, mode in zip(table, result.modes, strict=True):
        centre = result.x_start[result.start_component == mode.index].double().mean(0)
        place = [float(number) for number in row[1].strip("()").split(", ")]
        assert (torch.tensor(place) - centre).abs().max() < 0.01
        assert (centre - TARGET.means[mode.index]).norm() < 0.1
        assert row[2:5] == ["0.125", f"{mode.n_paths:,}", str(mode.mean)]
        share = mode.share_of_variance
        assert row[5] == f"{tk.Estimate(100 * share.value, 100 * share.stderr)} %"
        assert row[6:] == [str(mode.fluctuation_theorem), "collapsed" if mode.index == 0 else ""]
    assert "http" not in text
    assert picture.stat().st_size > 10_000
    saved = json.loads(numbers.read_text())["modes"]
    assert saved[0]["mean"]["value"] == result.modes[0].mean.value
    assert saved[0]["share_of_variance"]["stderr"] == result.modes[0].share_of_variance.stderr
    settings = text.split("<h2>Settings</h2>")[1].split("</section>")[0]
    short = dict(rows(settings))
    rest = json.loads(settings.split('<pre tabindex="0">')[1].split("</pre>")[0].replace("&quot;", '"'))
    assert {name.replace(" ", "_") for name in short} | set(rest) == set(result.settings) - {"chain", "forward"}
    assert all(value == result.settings[name] for name, value in rest.items())
    assert short["n steps"] == "100"
    assert short["from prior"] == "no"
    assert len(settings.splitlines()) < 120


def test_of_many_modes_the_page_keeps_those_of_highest_mean(many: tk.TAEP, tmp_path: Path) -> None:
    text = write_result(many, tmp_path, "footer")[2].read_text()
    shown = {int(row[0]) for row in rows(text.split("Mode by mode")[1].split("</section>")[0])}
    by_mean = sorted(many.modes, key=lambda mode: -mode.mean.value)
    assert shown == {mode.index for mode in by_mean[: results.MODES_SHOWN]}
    assert "10 modes of lower mean are left out" in text


def test_page_without_modes_has_no_table_of_modes(tmp_path: Path) -> None:
    assert "Mode by mode" not in write_result(plain(), tmp_path, "footer")[2].read_text()


def test_mode_collapse_page_has_a_table_for_one_model_of_each_panel(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)  # 300 paths
        small = mode_collapse(exact_paths=300, exact_steps=20, network_paths=300, network_steps=20, progress=False)
    text = small.write(tmp_path, "footer")[2].read_text()
    section = text.split("Mode by mode")[1].split("How it was computed")[0]
    table = rows(section)
    assert len(table) == 24
    for i, (panel, collapse) in enumerate((panel, PANELS[panel][-1]) for panel in PANELS):
        assert f"({panel}) m = {collapse.m}, ε = {collapse.epsilon:g}" in section
        evaluation = small.evaluations[collapse]
        theory_shares = []
        for c, row in enumerate(table[8 * i : 8 * i + 8]):
            assert row[:2] == [str(c), f"{collapse.weights[c]:.4g}"]
            assert row[2] == f"{-math.log(8 * collapse.weights[c]):+.4f}"
            assert row[3:5] == [str(evaluation.exact.modes[c].mean), str(evaluation.network.modes[c].mean)]
            theory_shares.append(float(row[5].rstrip(" %")))
        assert abs(sum(theory_shares) - 100.0) < 0.05
        assert abs(sum(theory_shares[: collapse.m]) - 100.0 * (1 - collapse.m / 8)) < 0.05
    theorems = text.split("The detailed fluctuation theorem</h2>")[1].split("Mode by mode")[0]
    assert "data:image/svg+xml;base64," in theorems
    assert [axes.get_title().splitlines()[0] for axes in theorems_figure(small.models).axes if axes.get_visible()] == [
        f"m = {collapse.m}, ε = {collapse.epsilon:g}" for collapse in small.evaluations
    ]


CONFIG = """
model: {ring: {weights: [0.02, 0.14, 0.14, 0.14, 0.14, 0.14, 0.14, 0.14]}}
reference: {ring: {}}
process: VP
n_paths: 500
n_steps: 50
"""


@pytest.fixture
def out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "run.yaml").write_text(CONFIG)
    assert main(["taep", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "deep" / "out"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "most collapsed mode     0: mean" in printed
    assert "result.safetensors" in printed
    return tmp_path / "deep" / "out"


def test_show_reads_what_taep_wrote(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tk.load(out / "result.safetensors")
    direct = tk.taep(MODEL, TARGET, tk.VP(), n_paths=500, n_steps=50)
    assert_exact(saved.values, direct.values)
    assert main(["show", str(out / "result.safetensors")]) == 0
    assert capsys.readouterr().out == direct.summary() + "\n"
    again = out.parent / "again"
    assert main(["show", str(out / "result.safetensors"), "--out", str(again)]) == 0
    assert sorted(path.name for path in again.iterdir()) == ["report.html", "result.json", "taep.png"]
    for path in again.iterdir():  # the same, but for what made the page
        one, other = (each.read_bytes().split(b"<footer>")[0] for each in (path, out / path.name))
        assert one == other, path.name


def test_show_names_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(1)}, file)
    assert main(["show", str(file)]) == 2
    assert re.match("error: path: expected a result .*some.safetensors", capsys.readouterr().err)
    storage.save(tk.Estimate(1.0, 0.1), file)
    assert main(["show", str(file)]) == 2
    assert "some.safetensors, which is an Estimate" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
