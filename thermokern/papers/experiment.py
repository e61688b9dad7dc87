"""What an experiment of a paper is: what is run, and a result that has its figure and its page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.quantities.results import Result
from thermokern.report import html


class ExperimentResult(Result):
    """What an experiment gives; its figure and its page stand in the experiment's own file."""

    picture: ClassVar[str]
    """The name of the figure's file."""

    @abstractmethod
    def tables(self) -> str:
        """The numbers, in columns."""

    def summary(self) -> str:
        """The tables, which law they speak of, and what they say in words."""
        return "\n".join([self.tables(), *self.closing()])

    @abstractmethod
    def figure(self) -> Figure:
        """The paper's figure from the numbers found here."""

    @abstractmethod
    def lead(self) -> str:
        """What the page shows, in one sentence."""

    @abstractmethod
    def sections(self, picture: Figure) -> list[str]:
        """The page below its title and lead: HTML, with the figure in it."""

    def plot(self, ax: Axes | None = None) -> Figure:
        """The paper's figure. It has several panels, so `ax` is refused."""
        if ax is not None:
            raise ValueError("ax: this figure has several panels and makes its own axes; leave ax out")
        return self.figure()

    def write(self, out: Path, made: html.Made) -> list[Path]:
        """Write the figure, ``result.json`` and ``report.html`` into the folder `out`; the files written."""
        picture = self.figure()
        page = html.page(self.title, self.lead(), self.sections(picture), made, html.conclusion(self))
        return html.write_files(out, self.picture, picture, self.to_json(), page)


@dataclass(frozen=True)
class Option:
    """An option of one experiment: ``--root`` reaches ``run`` as the keyword `root`, None where it is not given."""

    flag: str
    help: str
    type: Callable[[str], object] = str
    choices: Sequence[str] | None = None


@dataclass(frozen=True)
class Experiment:
    """What ``thermokern reproduce NAME`` offers; ``papers/experiments.py`` lists them all.

    Attributes
    ----------
    name, help : str
    profiles : mapping
        How much can be done: each profile's name, and what it does.
    run : callable
        ``run(profile, out, *, seed, progress, **options)`` gives the result; what it keeps on the way is in `out`.
    default : str or None
        The profile that runs when none is named; None leaves the choice to ``run``, which then gets None.
    options : tuple of Option
    saved : bool
        Whether ``result.safetensors`` is written beside the page.
    """

    name: str
    help: str
    profiles: Mapping[str, str]
    run: Callable[..., ExperimentResult]
    default: str | None = "quick"
    options: tuple[Option, ...] = ()
    saved: bool = False
