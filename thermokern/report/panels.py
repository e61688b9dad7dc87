"""A figure as pictures of its panels: each an SVG that follows the reader's light or dark colours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, POINTS

_MANY_POINTS = 400  # of a cloud, from which on it is an image inside the SVG
GROUND = "#14181d"  # of a dark page, as style.css has it
_SEEN = 3.0  # contrast of a line with its ground at least
_PAD = 0.06  # inches around a panel
_WIDEST = 4.6  # inches of a panel whose letters a phone shows at a size that can be read
_SMALL = 1.9  # inches below which panels stand side by side
# Colours of figures on white, and what they become on a dark page: of the same hue, and as far from the ground.
DARK = {
    INK: "#e6e9ee",
    MUTED: "#9aa5b1",
    POINTS: "#a9b4c2",
    EXACT: "#63a4e8",
    NETWORK: "#f0955a",
    COLLAPSED: "#ff7b72",
    "#000000": "#e6e9ee",
}


class Panel(NamedTuple):
    """One picture of a figure."""

    svg: str
    alt: str
    inches: float

    @property
    def wide(self) -> bool:
        """Wider than a phone shows at a size that can be read."""
        return self.inches > _WIDEST + 1.0

    @property
    def small(self) -> bool:
        """One of several that stand side by side, even on a phone."""
        return self.inches < _SMALL


def panels_of(figure: Figure) -> list[Panel]:
    """Each panel by itself: axes with their colour bars and second scales; small pictures without axes together."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # everything stays where it is
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    loose: list[Artist] = [*figure.legends, *figure.texts]
    places = {axes: axes.get_position() for axes in figure.axes}
    shown = {artist: artist.get_visible() for artist in [*figure.axes, *loose]}
    out = []
    try:
        groups: list[list[Artist]] = [[*group] for group in _groups(figure)]
        for group in groups + ([loose] if loose else []):
            for artist in shown:
                artist.set_visible(shown[artist] and artist in group)
            axes = [artist for artist in group if isinstance(artist, Axes)]
            inches = _box(figure, group, renderer)
            if inches is None:
                continue
            if axes and axes[0].axison and inches.width > _WIDEST:
                _narrow(figure, [(one, places[one]) for one in axes], inches.width - _WIDEST)
                inches = _box(figure, group, renderer) or inches
            out.append(Panel(_svg(figure, axes, inches), alt_of(axes), inches.width))
            for one in axes:
                one.set_position(places[one])
    finally:
        for artist, visible in shown.items():
            artist.set_visible(visible)
    return out


def _narrow(figure: Figure, axes: Sequence[tuple[Axes, Bbox]], inches: float) -> None:
    """Make the first axes, and those in the same place, less wide, but not by much; move what stands at its right."""
    first = axes[0][1]
    less = min(inches / figure.get_figwidth(), 0.6 * first.width)
    for one, place in axes:
        beside = place.x0 >= first.x1
        left, width = (place.x0 - less, place.width) if beside else (place.x0, place.width - less)
        one.set_position((left, place.y0, width, place.height))


def _box(figure: Figure, group: Sequence[Artist], renderer: Any) -> Bbox | None:
    """What a group covers, in inches."""
    boxes = [box for artist in group if (box := artist.get_tightbbox(renderer)) is not None and box.width > 0]
    return Bbox.union(boxes).transformed(figure.dpi_scale_trans.inverted()).padded(_PAD) if boxes else None


def _groups(figure: Figure) -> list[list[Axes]]:
    bars: dict[Axes, list[Axes]] = {}
    for axes in figure.axes:
        for mappable in [*axes.images, *axes.collections]:
            if mappable.colorbar is not None:
                bars.setdefault(axes, []).append(mappable.colorbar.ax)
    beside = {axes.get_position().bounds: axes for axes in reversed(figure.axes)}  # the first in each place
    for axes in figure.axes:
        first = beside[axes.get_position().bounds]
        if axes is not first:  # a second scale of the same panel
            bars.setdefault(first, []).append(axes)
    taken = {bar for group in bars.values() for bar in group}
    out: list[list[Axes]] = []
    pictures: dict[int, list[Axes]] = {}
    for axes in figure.axes:
        if axes in taken:
            continue
        if not axes.axison:  # a picture, or a place left empty
            known = pictures.get(id(axes.figure))
            if known is None:
                pictures[id(axes.figure)] = known = []
                out.append(known)
            known += [axes, *bars.get(axes, [])]
        else:
            out.append([axes, *bars.get(axes, [])])
    return out


def _svg(figure: Figure, axes: Sequence[Axes], inches: Bbox) -> str:
    clouds = [cloud for each in axes for cloud in each.collections if np.shape(cloud.get_offsets())[0] > _MANY_POINTS]
    meshes = [mesh for each in axes for mesh in each.collections if type(mesh).__name__ == "QuadMesh"]
    for artist in (*clouds, *meshes):
        artist.set_rasterized(True)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "thermokern", "savefig.dpi": 200}):
        figure.savefig(buffer, format="svg", bbox_inches=inches, transparent=True, metadata={"Date": None})
    return _following(buffer.getvalue())


def _following(svg: str) -> str:
    """The SVG with its named colours as variables, which have other values on a dark page."""
    svg = svg[svg.index("<svg") :]
    found = {name: on_dark(name) for name in dict.fromkeys(re.findall(r"#[0-9a-f]{6}\b", svg))}
    moved = {name: colour for name, colour in found.items() if colour != name}
    light = "".join(f"--{name[1:]}:{name};" for name in moved)
    dark = "".join(f"--{name[1:]}:{colour};" for name, colour in moved.items())
    if moved:
        svg = re.sub("|".join(moved), lambda match: f"var(--{match[0][1:]})", svg)
    rule = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    end = svg.index(">") + 1
    return svg[:end] + rule + svg[end:]


def on_dark(colour: str) -> str:
    """A colour as a dark page has it: one of ours by its table, another as it is, or lighter where it would be lost."""
    if colour in DARK:
        return DARK[colour]
    rgb = np.array(to_rgb(colour))
    for share in np.linspace(0.0, 1.0, 21):
        lighter = rgb + share * (1.0 - rgb)
        if contrast(lighter, to_rgb(GROUND)) >= _SEEN:
            return colour if share == 0.0 else str(to_hex(lighter))
    return colour


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two colours, 1 to 21, as the Web Content Accessibility Guidelines 2.1 define it."""
    low, high = sorted(_luminance(np.asarray(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def alt_of(axes: Sequence[Axes]) -> str:
    """What a panel shows, for those who do not see it: title, what is drawn against what, over which range."""
    words = []
    for each in axes:
        if each.get_label() == "<colorbar>":
            words.append(f"Colour: {each.get_ylabel() or each.get_xlabel()}, {_range(each.get_ylim())}.")
            continue
        title = " ".join(each.get_title().split())
        if not each.axison:
            words += [f"{title}." if title else "A picture."] * bool(each.images or title)
            continue
        y, x = each.get_ylabel() or "values", each.get_xlabel() or "the horizontal axis"
        legend = each.get_legend()
        names = [] if legend is None else [text.get_text() for text in legend.get_texts()]
        drawn = f" Shown: {', '.join(names)}." if names else ""
        words.append(
            f"{title + '. ' if title else ''}{y}, {_range(each.get_ylim())}, against {x}, "
            f"{_range(each.get_xlim())}.{drawn}"
        )
    plain = re.sub(r"\$|\\mathrm|\\", "", " ".join(words))
    return plain or "The legend of the panels."


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.3g} to {limits[1]:.3g}"
