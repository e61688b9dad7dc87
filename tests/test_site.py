"""The pages' code runs, and every page of the site, public name and picture is where the site says."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from matplotlib.image import imread
from page_blocks import Page, read

import thermokern as tk

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
import site_hooks  # noqa: E402  what MkDocs runs while it builds

FOLDERS = (DOCS, DOCS / "howto", DOCS / "concepts")
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
PAGES = [
    read(path) for path in (ROOT / "README.md", *(page for folder in FOLDERS for page in sorted(folder.glob("*.md"))))
]
PAGES += [read(path) for path in NOTEBOOKS]
RUNNABLE = [page for page in PAGES if page.blocks]
# Small sizes give poor estimates, and these warnings say so.
EXPECTED = (tk.FewPathsWarning, tk.StepTooLongWarning, tk.BiasWarning, tk.FewEvaluationsWarning, tk.TimesBetweenWarning)


def _marks(page: Page) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if page.is_long else []


@pytest.mark.parametrize("page", [pytest.param(p, marks=_marks(p), id=p.path.stem) for p in RUNNABLE])
def test_code_of_pages_runs(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in page.needs:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{page.path.name}: NOT RUN ({library} is not installed)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with warnings.catch_warnings():
        for category in EXPECTED:
            warnings.simplefilter("ignore", category)
        for library in page.needs:  # whose warnings are its own
            warnings.filterwarnings("ignore", module=library)
        page.run(small=True, folder=tmp_path)


def test_smaller_numbers_stand_in_the_page() -> None:
    """No comment that changes nothing: the number has been edited, or the block has gone."""
    for page in PAGES:
        code = "\n".join(block for *_, block in page.blocks)
        for number in page.smaller:
            assert re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", code), f"{page.path.name}: {number}"


def _navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    assert not isinstance(parts, int)
    return [page for part in parts for page in _navigation(part)]  # type: ignore[attr-defined]


def _configuration() -> dict[str, object]:
    class Loader(yaml.SafeLoader):
        """Without the tags that only MkDocs knows."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    loaded = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    assert isinstance(loaded, dict)
    return loaded


def test_the_navigation_has_pages_that_exist_once() -> None:
    listed = _navigation(_configuration()["nav"])
    assert len(listed) == len(set(listed)) > 30
    present = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(listed) <= present
    assert {page for page in present if page.startswith(("howto/", "concepts/", "api/"))} <= set(listed)


def test_every_public_name_is_in_the_reference() -> None:
    """Those without a place of their own are collected while the site is built."""
    assert set(site_hooks.public_names()) == set(tk.__all__) - {"__version__", "ops"}
    listed = site_hooks.listed_names()
    assert all(hasattr(tk, name) for name in listed)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="api/other.md"))
    others = re.findall(r"^::: (thermokern[\w.]*)\.(\w+)$", site_hooks.on_page_markdown("", page), flags=re.MULTILINE)
    for module, name in [*others, *((site_hooks.home(name), name) for name in listed)]:
        assert getattr(sys.modules[module], name) is getattr(tk, name)
    assert {name for _, name in others} == set(site_hooks.public_names()) - listed


def test_roles_of_docstrings_do_not_show() -> None:
    html = "<p>See :func:<code>thermokern.taep</code>, :meth:<code>grid</code>; <code>``(x, t) -> score``</code></p>"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="api/taep.md"))
    shown = "<p>See <code>thermokern.taep</code>, <code>grid</code>; <code>(x, t) -> score</code></p>"
    assert site_hooks.on_page_content(html, page) == shown
    page.file.src_uri = "tutorial.md"
    assert site_hooks.on_page_content(html, page) == html


SCRIPTS = sorted(path for path in (DOCS / "gallery").glob("*.py") if path.stem != "gallery")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_of_the_gallery_draw_their_pictures(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALLERY_SMALL", "1")
    monkeypatch.setenv("GALLERY_OUT", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.syspath_prepend(str(script.parent))
    with warnings.catch_warnings():
        for category in EXPECTED:
            warnings.simplefilter("ignore", category)
        runpy.run_path(str(script))
    drawn, shown = (imread(path).shape for path in (tmp_path / f"{script.stem}.png", script.with_suffix(".png")))
    assert drawn[1] > 400
    assert drawn[0] / drawn[1] == pytest.approx(shown[0] / shown[1], rel=0.01), "draw the picture again"


def test_the_gallery_shows_every_script() -> None:
    text = (DOCS / "gallery" / "index.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 12
    for script in SCRIPTS:
        assert f"]({script.stem}.png)" in text
        assert f'--8<-- "docs/gallery/{script.name}"' in text


def test_notebooks_were_run_from_top_to_bottom() -> None:
    assert len(NOTEBOOKS) >= 2
    for path in NOTEBOOKS:
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), path.name
        assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"], path.name
