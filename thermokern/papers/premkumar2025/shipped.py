"""What the experiments share: the page, and results that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import ClassVar, TypeVar

from matplotlib.figure import Figure

from thermokern.papers.experiment import ExperimentResult
from thermokern.quantities.results.storage import load
from thermokern.report import html


class GamblerResult(ExperimentResult):
    """A result whose page is its figure and its summary."""

    alt: ClassVar[str]
    """What the figure shows, for those who do not see it."""
    caption: ClassVar[str]
    """Which names panels by their titles: a page puts them where it has room."""
    remark: ClassVar[str] = ""
    """What one must know to read the numbers."""

    def sections(self, picture: Figure) -> list[str]:
        remark = [html.paragraph(self.remark)] if self.remark else []
        return [
            html.section("Figure", html.figure(picture, self.alt, self.caption)),
            html.section("Numbers", *remark, html.preformatted(self.tables())),
        ]


Kind = TypeVar("Kind", bound=ExperimentResult)


def shipped(name: str, kind: type[Kind]) -> Kind:
    """The result ``results/NAME.safetensors``, of the given kind."""
    found = load(Path(str(files("thermokern.papers.premkumar2025") / "results" / f"{name}.safetensors")))
    if not isinstance(found, kind):
        raise TypeError(f"{name}: expected a {kind.__name__}, got a {type(found).__name__}")
    return found
