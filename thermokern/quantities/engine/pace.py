"""Pieces of a long calculation that take about a second each, so that its bar moves and tells how long all takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

_FIRST = 256  # rows of the first piece, which measures
_SECONDS = 1.0  # that a piece should take
_GROWTH = 8  # of a piece over the one before
_LONG = 10.0  # seconds from which on the whole is worth a word


class Pace:
    """Deals rows in pieces, if a bar is shown; all at once, if not. Rows do not depend on their piece.

    Parameters
    ----------
    total : int
        Rows in all.
    unit, title : str
        Of the bar.
    progress : bool
    whole : bool
        Leave blocks whole, where a row's last bits could depend on its company; the bar moves from one to the next.
    """

    def __init__(self, total: int, unit: str, title: str, progress: bool, whole: bool = False) -> None:
        self.total, self.progress, self.whole = total, progress, whole
        self.size = _FIRST if progress and not whole else max(total, 1)
        self.expected: float | None = None
        """Seconds that all rows take, as the first pieces tell; None before them and without a bar."""
        self._bar = tqdm(total=total, disable=not progress, unit=unit, unit_scale=True, desc=title)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """The bar, closed at the end."""
        with self._bar:
            yield

    def pieces(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Ranges that make up `low` to `high`; one, empty, where these are equal."""
        while True:
            end = min(low + self.size, high)
            start = time.perf_counter()
            yield low, end
            if self.progress:
                self._measure(end, end - low, time.perf_counter() - start)
            low = end
            if low >= high:
                return

    def _measure(self, done: int, rows: int, seconds: float) -> None:
        self._bar.n = done
        if rows:
            each = max(seconds, 1e-6) / rows
            self.expected = each * self.total
            if self.expected > _LONG:
                self._bar.set_postfix_str(f"about {_spelled(self.expected)} in all", refresh=False)
            self.size = self.size if self.whole else max(1, min(int(_SECONDS / each), _GROWTH * rows))
        self._bar.refresh()


def _spelled(seconds: float) -> str:
    minutes = seconds / 60.0
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"
