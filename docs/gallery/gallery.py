"""What the gallery's scripts share: where pictures go, and whether a test asks for small sizes."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def small() -> bool:
    """Whether this is a test: `GALLERY_SMALL` is set, and sizes are to be small."""
    return bool(os.environ.get("GALLERY_SMALL"))


def figure(drawn: Figure, script: str) -> None:
    """Save a script's picture as PNG of its name, beside it or in `GALLERY_OUT`."""
    folder = Path(os.environ.get("GALLERY_OUT") or Path(script).resolve().parent)
    drawn.savefig(folder / f"{Path(script).stem}.png", dpi=140)
    plt.close(drawn)
