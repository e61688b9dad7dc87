"""How thermokern's figures look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np

Colour = str | tuple[float, float, float, float]

INK = "#1f2933"
MUTED = "#7b8794"
THEORY = "#1f2933"
EXACT = "#2b6cb0"
NETWORK = "#dd6b20"
COLLAPSED = "#c53030"
POINTS = "#4a5568"


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings for every figure."""
    settings: dict[str, Any] = {
        "figure.dpi": 110,
        "savefig.dpi": 160,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def severities(count: int) -> list[Colour]:
    """`count` colours from mild to severe."""
    rows = mpl.colormaps["plasma"](np.linspace(0.82, 0.05, count)).tolist()
    return [(r, g, b, a) for r, g, b, a in rows]
