"""How a number and its standard error are written."""

from __future__ import annotations

import math
import re

_PLAIN = (1e-4, 1e9)  # sizes that are read without an exponent
_LAYOUT = re.compile(r"(?P<align>.?[<>^])?(?P<width>[0-9]+)?(?P<number>.*)", re.DOTALL)
UNKNOWN = "?"


def written(value: float, stderr: float) -> str:
    """``value ± stderr`` with the digits that the error leaves meaning to; ``± ?`` where the error is not known.

    Sizes below 1e-4 and from 1e9 on have an exponent. A value that is not finite stands alone.
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0.0 else "−∞"
    if not math.isfinite(stderr):
        return f"{value:.6g} ± {UNKNOWN}"
    if stderr == 0.0:
        return f"{value:.6g} ± 0"
    size = max(abs(value), stderr)
    exponent = math.floor(math.log10(stderr))
    if not _PLAIN[0] <= size < _PLAIN[1]:
        digits = max(1, math.floor(math.log10(size)) - exponent + 1)
        return f"{value:.{digits}e} ± {stderr:.1e}"
    digits = max(0, 1 - exponent)
    return f"{round(value, digits) + 0.0:.{digits}f} ± {stderr:.{digits}f}"


def written_as(value: float, stderr: float, spec: str) -> str:
    """As Python's format specification `spec` asks: its number format for both, its width and alignment for the whole.

    ``.2f`` gives ``0.32 ± 0.01``; an empty number format gives :func:`written`.
    """
    match = _LAYOUT.fullmatch(spec)
    assert match is not None  # every part may be empty
    number = match["number"]
    if number in ("", "s") or not math.isfinite(value):
        text = written(value, stderr)
    else:
        error = format(stderr, number.removeprefix("+")) if math.isfinite(stderr) else UNKNOWN
        text = f"{format(value, number)} ± {error}"
    return format(text, f"{match['align'] or ''}{match['width'] or ''}")
