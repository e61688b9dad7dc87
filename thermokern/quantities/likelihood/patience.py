"""How long a likelihood takes: a limit, a bar, and an early word where it will be long."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from thermokern._bars import Bar

LONG = 10_000  # evaluations of a point
_TRIED = 1000  # from which the rest can be told
_LEAST, _PIECES = 128, 50  # points of a piece at least, and pieces of a solve at most, where a bar is shown
_MARKS = 1000  # of the bar, for each batch


class SlowFlowWarning(UserWarning):
    """A probability flow so stiff or noisy that its likelihood will take very long."""


class Watched:
    """Told of each step by the integrator: moves a bar, and warns once.

    Parameters
    ----------
    max_evaluations : int or None
        Of a point, as the caller wants it.
    progress : bool
        Whether to show the bar.
    solves : int
        Blocks of points, each as often as it is repeated.
    """

    def __init__(self, max_evaluations: int | None, progress: bool, solves: int) -> None:
        self.max_evaluations, self.progress, self.solves = max_evaluations, progress, solves
        self._warned, self._bar = False, Bar(progress=False)
        self._done = 0

    @contextmanager
    def bar(self) -> Iterator[None]:
        """The bar over all solves."""
        with Bar(total=_MARKS * self.solves, progress=self.progress, desc="log-likelihood") as self._bar:
            yield
            self._move(_MARKS * self.solves)

    def begin(self, solve: int) -> None:
        """A solve begins: those before it are done, here or elsewhere."""
        self._done = _MARKS * solve
        self._move(self._done)

    def pieces(self, n: int) -> Iterator[tuple[int, int]]:
        """Ranges of the points of the solve that began, so that the bar moves; all at once where none is shown."""
        size = max(n, 1) if not self.progress else max(_LEAST, -(-n // _PIECES))
        for low in range(0, max(n, 1), size):
            high = min(low + size, n)
            yield low, high
            self._move(self._done + int(_MARKS * high / max(n, 1)))

    def __call__(self, share: float, evaluations: int) -> None:
        """The last point is at `share` of its path, and a point has had so many evaluations."""
        self._move(self._done + int(_MARKS * share))
        if self._warned or evaluations < _TRIED or (share > 0.0 and evaluations / share < LONG):
            return
        if self.max_evaluations is None or self.max_evaluations > LONG:
            self._warned = True
            expected = f"about {evaluations / share:,.0f} evaluations" if share > 0.0 else "more than can be told"
            warnings.warn(
                f"the probability flow is stiff or noisy: after {evaluations:,} evaluations a point is at {share:.1%} "
                f"of its path, and needs {expected} in all. Remedies: larger rtol and atol; dtype=torch.float64 where "
                "a float32 network rounds; max_evaluations=, which gives such points up",
                SlowFlowWarning,
                stacklevel=2,
            )

    def _move(self, mark: int) -> None:
        if mark > self._bar.n:
            self._bar.update(mark - self._bar.n)
