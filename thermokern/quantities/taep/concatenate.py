"""One result from those of its parts: of the jobs of an array, each with its own range of paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from thermokern.ops.statistics import Moments
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.taep.finish import statistics, witnesses
from thermokern.quantities.taep.modes import modes_of
from thermokern.quantities.taep.result import TAEP

# Settings in which parts may differ: where they begin, and how they were run.
_OF_A_PART = ("path_offset", "block", "points_in_a_batch", "halved_for_memory")


def concatenate(parts: Sequence[TAEP]) -> TAEP:
    """The TAEP of the paths of all parts, in order of ``path_offset``, its statistics worked out anew.

    Serves job arrays, whose jobs share nothing: job j computes ``taep(…, n_paths=m, path_offset=j * m)`` and saves its
    result. Of the kernels the whole has the bits of one call; of networks too, where all parts have the same `block`
    and begin at multiples of it.

    Parameters
    ----------
    parts : sequence of TAEP
        Of the same call but for `path_offset` and `x0`, in any order; their paths must follow each other.

    Returns
    -------
    TAEP

    Raises
    ------
    TypeError, ValueError
        Naming what is not alike, a gap or an overlap of paths, parts from before results kept what this needs, and
        parts with an attribution, whose sums over paths cannot be taken apart.
    """
    if not isinstance(parts, Sequence) or not len(parts) or not all(isinstance(part, TAEP) for part in parts):
        raise TypeError("parts: expected results of taep, at least one")
    ordered = sorted(parts, key=lambda part: (part.settings["path_offset"], len(part.values)))
    first, end = ordered[0], ordered[0].settings["path_offset"]
    for part in ordered:
        for name in sorted(set(first.settings) | set(part.settings)):
            if name not in _OF_A_PART and first.settings.get(name) != part.settings.get(name):
                raise ValueError(f"parts: {name} differs: {first.settings.get(name)!r} and {part.settings.get(name)!r}")
        if part.backend != first.backend or part.reference_is_exact != first.reference_is_exact:
            raise ValueError(f"parts: they ran differently: {first.backend} and {part.backend}")
        if part.attribution is not None:
            raise ValueError("parts: an attribution cannot be put together; leave out resolve")
        if part.mismatch is None:
            raise ValueError("parts: one is of an older version, which did not keep score matching path by path")
        begins = part.settings["path_offset"]
        if begins != end:
            what = "a gap" if begins > end else "an overlap"
            raise ValueError(f"parts: {what}: one ends before path {end}, the next begins with path {begins}")
        end += len(part.values)

    def joined(name: str) -> Any:
        columns = [getattr(part, name) for part in ordered]
        return None if any(column is None for column in columns) else torch.cat(columns)

    values, component = joined("values"), joined("start_component")
    probes = 1 if first.probe_noise is None else first.probe_noise.probes
    columns: list[Tensor | None] = [joined(name) for name in ("coarser", "mismatch", "probe_difference")]
    coarser, mismatch, difference = columns
    assert mismatch is not None
    blocks = {part.settings.get("block") for part in ordered}
    whole = replace(
        first,
        **statistics(values, coarser, mismatch, difference, first.sign, probes, first.settings["scheme"]),
        x_start=joined("x_start"),
        x_end=joined("x_end"),
        endpoint_log_ratio=joined("endpoint_log_ratio"),
        settings={**first.settings, **({} if len(blocks) == 1 else {"block": None})},
        start_component=component,
        data_entropy=_pooled([(len(part.values), part.data_entropy) for part in ordered]),
        modes=() if component is None else modes_of(values, component, [m.weight for m in first.modes], first.sign),
    )
    return replace(whole, **witnesses(whole))


def _pooled(parts: Sequence[tuple[int, Estimate | None]]) -> Estimate | None:
    """The mean of all points from those of parts of n points each; None where one is not known."""
    whole = Moments(0.0, 0.0, 0.0, 0.0, 0.0)
    for n, estimate in parts:
        if estimate is None:
            return None
        m2 = estimate.stderr**2 * n * (n - 1) if n > 1 else 0.0
        whole = whole.merge(Moments(float(n), estimate.value, m2, 0.0, 0.0))
    stderr = math.sqrt(whole.m2 / (whole.n - 1) / whole.n) if whole.n > 1 else math.nan
    return Estimate(whole.mean, stderr)
