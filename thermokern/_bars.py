"""Progress bars; where none is shown, the log says once how long a calculation takes, if that is long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from thermokern import _core

LOG = logging.getLogger("thermokern")
LONG = 10.0  # seconds from which on the whole is worth a word
_TRIED = 1.0  # seconds after which the rest can be told


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar of tqdm. One that is not shown counts along, if anybody listens to ``logging.getLogger("thermokern")``.

    Parameters
    ----------
    progress : bool
        Whether to show it.
    kwargs
        Of tqdm.
    """

    def __init__(self, *args: Any, progress: bool, **kwargs: Any) -> None:
        self._silent = not progress and LOG.isEnabledFor(logging.INFO)
        self._begun, self._first, self._asked = time.perf_counter(), kwargs.get("initial", 0), kwargs.get("total")
        self._name = kwargs.get("desc") or "this"
        super().__init__(*args, disable=not progress, **kwargs)  # type: ignore[call-overload]

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` more."""
        if self._silent:
            self.n += n or 0
            self._say()
        shown: bool | None = super().update(n)
        return shown

    def refresh(self, *args: Any, **kwargs: Any) -> None:
        """Show where `n` was set."""
        if self._silent:
            self._say()
        super().refresh(*args, **kwargs)

    @contextmanager
    def between(self, low: float, high: float) -> Iterator[None]:
        """While a kernel of the CPU runs, it moves the bar from `low` to `high`, 20 times a second at most."""

        def told(share: float) -> None:
            self.update(max(0, int(low + share * (high - low)) - self.n))

        if self.disable and not self._silent:
            yield
            return
        _core.watch(told)
        try:
            yield
        finally:
            _core.watch(None)
        self.update(max(0, int(high) - self.n))

    def expect(self, seconds: float) -> None:
        """What all takes, as somebody else has measured it."""
        if self._silent and seconds > LONG:
            LOG.info("%s: about %s in all", self._name, spelled(seconds))
        self._silent = False

    def _say(self) -> None:
        done, gone = self.n - self._first, time.perf_counter() - self._begun
        if done > 0 and gone > _TRIED and self._asked:
            self.expect(gone * (self._asked - self._first) / done)


def spelled(seconds: float) -> str:
    """A time for people."""
    minutes = seconds / 60.0
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"
