"""Reports as a browser shows them: on a phone and a desk, light and dark. NOT RUN where there is no Chromium."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

import thermokern as tk
from thermokern.papers.experiment import ExperimentResult
from thermokern.papers.kodama2025.capacity import shipped_capacity
from thermokern.papers.kodama2025.limits import shipped_limits
from thermokern.papers.kodama2025.penalty import shipped_penalty
from thermokern.quantities.results import Result, style
from thermokern.report import html, panels, write_result
from thermokern.report.html import _explained, words_of
from thermokern.report.panels import DARK, panels_of

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
MADE = {"Command": "thermokern taep ring.yaml --out " + "a" * 90, "Configuration, ring.yaml": "model:\n  ring: {}\n"}
SCHEMES = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}

# Runs in the page: what overflows it, which images are empty, and the least contrast of any text with its ground.
PROBE = """
<script>
addEventListener("load", () => {
  const wide = document.documentElement.clientWidth, faults = [];
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const lum = c => { const [r, g, b] = c.map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b };
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3) } return [255, 255, 255] };
  let least = 99, texts = 0;
  for (const e of document.querySelectorAll("body *")) {
    if (["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const box = e.getBoundingClientRect(), inside = e.closest(".scroll, pre, thead");
    const free = inside && (inside !== e || e.tagName === "THEAD");
    if (box.width && box.right > wide + 1 && !free) faults.push(e.tagName + " " + box.right);
    if ([...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && box.width) {
      const one = lum(rgb(getComputedStyle(e).color).slice(0, 3)), other = lum(ground(e));
      least = Math.min(least, (Math.max(one, other) + .05) / (Math.min(one, other) + .05)); texts++;
    }
  }
  const images = [...document.images];
  document.title = JSON.stringify({wide, page: document.documentElement.scrollWidth, faults, least, texts,
    images: images.length, empty: images.filter(i => !i.complete || !i.naturalWidth).length,
    mute: images.filter(i => i.alt.length < 40).length});
});
</script>
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    ring = tk.GaussianMixture.ring()
    model = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
    x = ring.sample(400)
    results = {
        "taep": tk.taep(
            *(model, ring, tk.VP()),
            x0=x,
            n_steps=60,
            scheme="backward-ito",
            resolve=("time", "component"),
            labels=torch.arange(400) % 4,
        ),
        "limits": tk.limits(model, ring, tk.VP(), n_paths=100, n_likelihood=20, n_steps=20),
        "entropy": tk.entropy_table(x),
        "coverage": tk.coverage(x, model.sample(400)),
    }
    out = {}
    for name, result in results.items():
        folder = tmp_path_factory.mktemp(name)
        out[name] = write_result(result, folder, MADE)[2]
    return out


def seen(pages: dict[str, Path], width: int, scheme: str, folder: Path, height: int = 1400) -> dict[str, Any]:
    """What the probe finds in each page `width` pixels wide."""
    frames = []
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page.read_text().replace("</body>", PROBE + "</body>"))
        frames.append(f'<iframe src="{name}.html" style="width:{width}px;height:{height}px;border:0"></iframe>')
    # Windows are at least 500 pixels wide: pages stand in frames.
    found = "Array.from(document.querySelectorAll('iframe'), each => JSON.parse(each.contentDocument.title))"
    (folder / "frames.html").write_text(
        f'<body style="margin:0">{"".join(frames)}<script>addEventListener("load", () => setTimeout(() => {{ '
        f"document.body.dataset.found = JSON.stringify({found}) }}, 50))</script>"
    )
    done = browse(folder, width, scheme, "--dump-dom")
    said = re.search(r'data-found="([^"]*)"', done.stdout)
    assert said, done.stderr[-2000:]
    return dict(zip(pages, json.loads(unescape(said[1])), strict=True))


def browse(folder: Path, width: int, scheme: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium on the frames of a folder."""
    assert CHROMIUM is not None
    call = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *SCHEMES[scheme]]
    call += ["--allow-file-access-from-files", "--virtual-time-budget=3000", f"--user-data-dir={folder / 'user'}"]
    call += [f"--window-size={max(width, 500)},1400", *options, (folder / "frames.html").as_uri()]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


def assert_seen(found: dict[str, Any], width: int, name: str) -> None:
    """Nothing of a page is cut off, lost in its ground or mute."""
    assert found["wide"] == width, (name, found)
    assert found["page"] <= width, (name, found)
    assert not found["faults"], (name, found)
    assert found["images"] >= 1, name
    assert not found["empty"], (name, found)
    assert not found["mute"], (name, found)
    assert found["texts"] > 20, (name, found)
    assert found["least"] >= 4.5, (name, found)


def test_a_browser_shows_a_page_in_both_colours(reports: dict[str, Path], tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("NOT RUN: no Chromium is installed")
    brightness = {}
    for scheme in SCHEMES:
        assert_seen(seen({"taep": reports["taep"]}, 400, scheme, tmp_path)["taep"], 400, "taep")
        browse(tmp_path, 400, scheme, f"--screenshot={tmp_path / 'seen.png'}")
        brightness[scheme] = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"))[:, :400].mean()
    assert brightness["dark"] < 70.0
    assert brightness["light"] > 200.0


@pytest.fixture(scope="module", params=["quantities", pytest.param("papers", marks=pytest.mark.long)])
def kinds(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], dict[str, Figure]]:
    """Pages and figures of a result of every kind."""
    if request.param == "quantities":
        files = sorted((ROOT / "tests" / "data" / "results").glob("*.safetensors"))
        results = {path.stem: tk.load(path) for path in files}
    else:
        files = sorted((ROOT / "thermokern" / "papers").glob("*/results/*.safetensors"))
        results = {path.stem: tk.load(path) for path in files}
        results |= {"limits": shipped_limits(), "capacity": shipped_capacity(), "penalty": shipped_penalty()}
    pages, figures = {}, {}
    for name, result in results.items():
        if not isinstance(result, Result):
            continue
        figures[name] = picture = result.plot()
        folder = tmp_path_factory.mktemp(name)
        if isinstance(result, ExperimentResult):
            pages[name] = folder / "report.html"
            parts = result.sections(picture)
            pages[name].write_text(html.page(result.title, result.lead(), parts, MADE, html.conclusion(result)))
        else:
            pages[name] = write_result(result, folder, MADE, picture=picture)[2]
    return pages, figures


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_every_kind_of_page_fits_and_can_be_read(
    width: int,
    scheme: str,
    kinds: tuple[dict[str, Path], dict[str, Figure]],
    reports: dict[str, Path],
    tmp_path: Path,
) -> None:
    if CHROMIUM is None:
        pytest.skip("NOT RUN: no Chromium is installed")
    pages = kinds[0] | {f"made-{name}": page for name, page in reports.items()}
    assert len(pages) > 12
    for name, found in seen(pages, width, scheme, tmp_path, height=600).items():
        assert_seen(found, width, name)


def test_no_two_labels_of_an_axis_touch(kinds: tuple[dict[str, Path], dict[str, Figure]]) -> None:
    _, figures = kinds
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for axes in (each for each in figure.axes if each.axison):
            labels = [label for label in axes.get_xticklabels() if label.get_text() and not label.get_rotation()]
            boxes = sorted(label.get_window_extent().extents.tolist() for label in labels)
            for (*_, end, _), (start, *_) in pairwise(boxes):
                assert end < start, (name, axes.get_title(), [label.get_text() for label in labels])


def test_pages_are_whole_and_say_how_they_were_made(reports: dict[str, Path]) -> None:
    for name, page in reports.items():
        text = page.read_text()
        assert "http" not in re.sub(r'src="data:[^"]*"', "", text), name
        assert len(re.findall(r"<h1>", text)) == 1
        assert text.count("<caption>") >= 1
        assert not re.findall(r"<th(?: class=\"\w+\")?>", text), "a header without a scope"
        assert "How this page was made" in text
        assert '<details><summary>show</summary><pre tabindex="0">model:' in text
        for alt in re.findall(r'<img alt="([^"]*)"', text):
            assert " to " in alt or "Colour" in alt, alt  # over which range


def test_panels_are_pictures_that_follow_the_page(reports: dict[str, Path]) -> None:
    text = reports["taep"].read_text()
    pictures = [base64.b64decode(data).decode() for data in re.findall(r"svg\+xml;base64,([^\"]+)", text)]
    assert len(pictures) >= 5
    for picture in pictures:
        assert picture.startswith("<svg")
        assert "prefers-color-scheme:dark" in picture
        assert f"var(--{style.INK[1:]})" in picture
        body = picture.split("</style>", 1)[1]
        assert not any(colour in body for colour in DARK), "a colour that stays as it is on a dark page"
    figure = tk.taep(tk.Gaussian([0.0]), tk.Gaussian([0.3]), tk.VP(), n_paths=50, n_steps=5).plot()
    before = [axes.get_position().bounds for axes in figure.axes]
    drawn = panels_of(figure)
    assert len(drawn) == 2
    assert all(axes.get_visible() for axes in figure.axes)
    figure.canvas.draw()
    assert len(panels_of(figure)) == 2
    assert len(before) == len(figure.axes)
    assert "density, " in drawn[0].alt
    assert "Shown: paths, weights" in drawn[1].alt


def test_both_scales_of_a_panel_stay_together() -> None:
    """A second scale at the right is no panel of its own, and is as wide as the first."""
    figure = Figure(figsize=(13.0, 4.0))
    one, two = figure.subplots(1, 2)
    one.plot([0.0, 1.0], [0.0, 1.0])
    other = two.twinx()
    two.plot([0.0, 1.0], [1.0, 2.0], gid="left")
    other.plot([0.0, 1.0], [30.0, 10.0], gid="right")
    before = two.get_position().bounds
    drawn = panels_of(figure)
    assert len(drawn) == 2
    assert not drawn[1].wide
    assert drawn[1].alt.count("against") == 2
    assert all(f'id="{name}"' in drawn[1].svg for name in ("left", "right"))
    assert two.get_position().bounds == other.get_position().bounds == before


def test_every_colour_is_seen_on_a_dark_page() -> None:
    style_sheet = (Path(panels.__file__).parent / "templates" / "style.css").read_text()
    assert f"--paper: {panels.GROUND}" in style_sheet
    colours = [*DARK, *(to_hex(colour) for colour in style.severities(12)), "#ffffff", "#0d0887"]
    for colour in colours:
        assert panels.contrast(to_rgb(panels.on_dark(colour)), to_rgb(panels.GROUND)) >= 3.0, colour
    assert panels.on_dark("#fca636") == "#fca636"  # bright enough as it is
    assert panels.on_dark("#0d0887") != "#0d0887"
    assert panels.contrast((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == pytest.approx(21.0)


def test_words_are_explained_where_they_stand() -> None:
    found = dict(words_of("<p>A NLL of 3 nats</p><img alt='coverage'>"))
    assert set(found) == {"NLL", "nats"}


def test_words_have_tooltips_that_lead_to_their_meaning(reports: dict[str, Path]) -> None:
    for name, page in reports.items():
        text = page.read_text()
        links = re.findall(r'<a class="term" href="#word-(\d+)" title="([^"]+)">([^<]+)</a>', text)
        meanings = dict(re.findall(r'<dt id="word-(\d+)">.*?</dt><dd>(.*?)</dd>', text))
        assert len(links) == len({number for number, *_ in links}) >= 2, name  # each word once
        for number, tip, _ in links:
            assert unescape(tip) == unescape(meanings[number])
    parts = ["<p>An ELBO, a <b>KL</b></p>", '<pre>NLL</pre><img alt="nats"><a href="#">3 nats</a>', "5 nats, KL of 2"]
    first, second, third = _explained(parts, words_of(" ".join(parts)))
    assert re.sub(r"<a class[^>]*>|</a>", "", first) == parts[0]
    assert first.count("<a ") == 2
    assert second == parts[1], "code, links and alternative texts stay as they are"
    assert third.startswith('5 <a class="term"')
    assert third.count("<a ") == 1


def test_small_panels_stand_side_by_side() -> None:
    figure = Figure(figsize=(11.0, 2.4), layout="constrained")
    wide, *small = figure.subplots(1, 6, width_ratios=[3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert wide.axison
    for axes in small:
        axes.plot([0.0, 1.0], [0.0, 1.0])
    page = html.figure(figure, "Six panels", "")
    (few,) = re.findall(r'<div class="wide few">(.*?)</div>\s*</div>', page, flags=re.DOTALL)
    widths = [float(width) for width in re.findall(r'style="width: ([\d.]+)rem"', few)]
    assert len(widths) == page.count("rem") == 5
    assert max(widths) < 11.0, "two beside each other on a phone of 23 rem"
