"""What less precision in networks changes, on the same paths."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from thermokern.quantities.engine.starts import StoredPoints, is_stored
from thermokern.quantities.taep.result import TAEP

_COMPARED = 64  # paths that are run in fp32 too where another precision was asked for


def effect_of_precision(one: Callable[..., TAEP], values: Tensor, given: Mapping[str, Any]) -> dict[str, float]:
    """What the precision of networks changes: the first values less those in fp32, on the same paths."""
    count = min(_COMPARED, len(values))
    points = given["x0"]
    once = {"precision": "fp32", "group": None, "checkpoint": None, "resolve": (), "labels": None, "progress": False}
    if is_stored(points):
        stored = StoredPoints("x0", points)
        points = stored[:count].reshape(count, *stored.point)
    few = {"n_paths": count} if points is None else {"x0": points[:count]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = one(**{**given, **once, **few}).values
    difference = (values[:count] - exact).detach().double()
    spread = exact.detach().double().std().item() if count > 1 else math.nan
    return {
        "paths": count,
        "mean": difference.mean().item(),
        "rms": difference.square().mean().sqrt().item(),
        "spread": spread,
    }
