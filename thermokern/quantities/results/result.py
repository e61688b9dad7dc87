"""What every result is: a summary, numbers for JSON, a file, a table, a figure."""

from __future__ import annotations

import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.storage import save

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_SHOWN = 4  # estimates of a result that its repr names
_COLUMNS, _INDENT = 110, 26  # of the sentences below a summary


class Result(ABC):
    """What a calculation gives.

    A result is a frozen dataclass that :func:`~thermokern.quantities.results.storage.stored` has named. It writes
    `summary` and `numbers`, and `columns` where it has natural rows; its folder's ``figures.py`` registers how it is
    drawn. All else is here.
    """

    title: ClassVar[str] = ""
    """The heading of the result's page."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]  # which a dataclass then leaves as it is

    def __repr__(self) -> str:
        named = list(self.estimates().items())
        if not named:
            return f"{type(self).__name__}: {self.summary().splitlines()[0]}"
        shown = [f"{name} = {estimate} {estimate.unit}".rstrip() for name, estimate in named[:_SHOWN]]
        return f"{type(self).__name__}({', '.join([*shown, *['…'] * (len(named) > _SHOWN)])})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(str(estimate))}</td>'
            f"<td>{escape(estimate.unit)}</td></tr>"
            for name, estimate in self.estimates().items()
        )
        about = f"<details><summary>summary</summary><pre>{escape(self.summary())}</pre></details>"
        return f"<table><caption>{escape(self.title)}</caption><tbody>{rows}</tbody></table>{about}"

    @abstractmethod
    def summary(self) -> str:
        """The estimates, for people."""

    def law(self) -> str:
        """Which law the numbers speak of, and at which time; empty where none is meant."""
        return ""

    def conclusion(self) -> list[str]:
        """Two or three plain sentences: whether to trust the numbers and why, how large they are, what stands out."""
        return []

    def closing(self) -> list[str]:
        """The last lines of a summary: the law, and the conclusion."""
        law, words = self.law(), self.conclusion()
        lines = [line for sentence in words for line in textwrap.wrap(sentence, _COLUMNS, break_on_hyphens=False)]
        about = textwrap.wrap(law, _COLUMNS - _INDENT, break_on_hyphens=False)
        starts = ["  speaks of".ljust(_INDENT), *[" " * _INDENT] * len(about)]
        named = [start + line for start, line in zip(starts, about, strict=False)]
        return [*named, *(["", *lines] if lines else [])]

    @abstractmethod
    def numbers(self) -> dict[str, object]:
        """What :meth:`to_json` shows, by name: numbers, estimates, parts, other results; ``settings`` too."""

    def estimates(self) -> dict[str, Estimate]:
        """The estimates among :meth:`numbers`, by name; ``estimate`` is the result itself, where it is one."""
        own = {"estimate": self} if isinstance(self, Estimate) else {}
        return own | {name: value for name, value in self.numbers().items() if isinstance(value, Estimate)}

    def to_dict(self) -> dict[str, float]:
        """The numbers alone, flat, for loggers: ``{"mean": 0.32, "mean_stderr": 0.01, …}``, parts as ``part/name``.

        What is no number (words, settings, tensors, what is not known) is left out; lists count from 0, truth values
        are 0 and 1. An estimate is two numbers, and as many more as it has fields.
        """
        return flat(self.numbers())

    def columns(self) -> Mapping[str, Tensor | Sequence[object]]:
        """The columns of :meth:`to_frame`, all of one length: tensors (n,), or sequences of numbers or estimates."""
        raise TypeError(f"to_frame: a {type(self).__name__} has no natural rows; to_json() holds its numbers")

    def to_json(self) -> dict[str, Any]:
        """The numbers, ready for :mod:`json`: all but the tensors of paths or points, which :meth:`save` keeps.

        Every estimate is ``{"value", "stderr", "unit"}``, with fields of its own where it has more. NaN and the
        infinities are null.
        """
        return {name: encoded(value) for name, value in self.numbers().items()}

    def save(self, path: str | Path) -> None:
        """Write one safetensors file that :func:`thermokern.load` reads back bit for bit."""
        save(self, path)

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a pandas table. An estimate takes two columns, the second named ``…_stderr``.

        Raises
        ------
        ImportError
            Where pandas is not installed: it comes with ``thermokern[pandas]``.
        TypeError
            Where the result has no natural rows.
        """
        columns = self.columns()
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame: pandas is not installed: pip install 'thermokern[pandas]'") from None
        flat: dict[str, object] = {}
        for name, column in columns.items():
            if isinstance(column, Tensor):
                flat[name] = column.detach().cpu().numpy()
            elif any(isinstance(item, Estimate) for item in column):
                known = [item if isinstance(item, Estimate) else Estimate(math.nan, math.nan) for item in column]
                flat[name] = [item.value for item in known]
                flat[f"{name}_stderr"] = [item.stderr for item in known]
            else:
                flat[name] = list(column)
        return pandas.DataFrame(flat)

    def plot(self, ax: Axes | None = None) -> Figure:
        """The result's figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw a figure of one panel.

        Returns
        -------
        matplotlib Figure
            That of `ax` where it is given.

        Raises
        ------
        ValueError
            When `ax` is given and the figure has several panels.
        TypeError
            When the result has no figure.
        """
        # The one lazy import of the house: a result's figures import the result, and matplotlib waits until asked for.
        figures = import_module(f"{type(self).__module__.rpartition('.')[0]}.figures")
        drawn: Figure = figures.figure(self, ax=ax)
        return drawn


def remarks(settings: Mapping[str, Any]) -> list[str]:
    """Lines of a summary that say what scores are which their networks were not trained for."""
    scores = ((role, settings.get(role)) for role in ("model", "reference"))
    return [
        f"  {role:<23} clipped: the data that it predicts are held within ±{score['clip_sample']:g} (clip_sample)"
        for role, score in scores
        if isinstance(score, Mapping) and score.get("clip_sample") is not None
    ]


def flat(numbers: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """The numbers in nested `numbers`, each under its path; ``settings`` are left out."""
    found: dict[str, float] = {}
    for key, value in numbers.items():
        name = f"{prefix}{key}"
        if isinstance(value, bool | int | float):
            found[name] = value
        elif isinstance(value, Result):
            found |= flat(value.numbers(), f"{name}/")
        elif isinstance(value, Estimate):
            found |= {name: value.value, f"{name}_stderr": value.stderr}
            more = {field.name: getattr(value, field.name) for field in fields(value)[len(fields(Estimate)) :]}
            found |= flat(more, f"{name}_")
        elif is_dataclass(value) and not isinstance(value, type):
            found |= flat({field.name: getattr(value, field.name) for field in fields(value)}, f"{name}/")
        elif isinstance(value, Mapping) and key != "settings":
            found |= flat(value, f"{name}/")
        elif isinstance(value, list | tuple):
            found |= flat({str(i): item for i, item in enumerate(value)}, f"{name}/")
    return found


def encoded(value: object) -> Any:
    """A value as JSON has it: results and their parts as dictionaries, NaN and infinities as None.

    A tensor becomes a list; the tensors that are fields of a part are left out.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Result):
        return value.to_json()
    if isinstance(value, Tensor):
        return encoded(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        items = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: encoded(item) for name, item in items if not isinstance(item, Tensor)}
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [encoded(item) for item in value]
    raise TypeError(f"to_json: expected numbers, strings, estimates and parts, got {type(value).__name__}")
