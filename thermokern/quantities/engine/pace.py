"""Pieces of a long calculation that take about a second each, so that its bar moves and tells how long all takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from thermokern._bars import LOG, LONG, Bar, spelled

_FIRST = 256  # rows of the first piece, which measures
_SECONDS = 1.0  # that a piece should take
_GROWTH = 8  # of a piece over the one before


class Pace:
    """Deals rows in pieces, if a bar is shown; all at once, if not. Rows do not depend on their piece.

    Without a bar, but with ``logging.getLogger("thermokern")`` at INFO, a first piece tells how long all takes.

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
        self.asked = progress or LOG.isEnabledFor(logging.INFO)
        self.size = _FIRST if self.asked and not whole else max(total, 1)
        self.expected: float | None = None
        """Seconds that all rows take, as the first pieces tell; None before them and without a bar."""
        self._bar = Bar(total=total, progress=progress, unit=unit, unit_scale=True, desc=title)
        self._begun = 0

    @contextmanager
    def bar(self) -> Iterator[None]:
        """The bar, closed at the end."""
        with self._bar:
            yield

    def stage(self, n: int) -> Iterator[tuple[int, int]]:
        """Ranges that make up 0 to `n`, the next rows of all."""
        start, self._begun = self._begun, self._begun + n
        for low, high in self.pieces(start, start + n):
            yield low - start, high - start

    def done(self, n: int) -> None:
        """The next `n` rows of all were done elsewhere."""
        self._begun += n
        self._bar.update(n)

    def pieces(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Ranges that make up `low` to `high`; one, empty, where these are equal."""
        while True:
            end = min(low + self.size, high)
            start = time.perf_counter()
            yield low, end
            if self.asked:
                self._measure(end, end - low, time.perf_counter() - start)
            low = end
            if low >= high:
                return

    def _measure(self, done: int, rows: int, seconds: float) -> None:
        self._bar.n = done
        if rows:
            each = max(seconds, 1e-6) / rows
            self.expected = each * self.total
            if not self.progress:
                self._bar.expect(self.expected)
                self.size = self.total
                return
            if self.expected > LONG:
                self._bar.set_postfix_str(f"about {spelled(self.expected)} in all", refresh=False)
            self.size = self.size if self.whole else max(1, min(int(_SECONDS / each), _GROWTH * rows))
        self._bar.refresh()
