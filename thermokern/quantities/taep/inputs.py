"""What a TAEP is asked, checked; and what is known of its ends without any path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from thermokern import ops
from thermokern.models import ScoreLike
from thermokern.ops.checks import MOST, check_flags, checked_choice, checked_integer, checked_path, checked_several
from thermokern.processes import INTEGRATORS, LinearProcess
from thermokern.quantities.engine.blocks import Sharing
from thermokern.quantities.engine.problem import DIVERGENCES, checked_data, drawn
from thermokern.quantities.engine.starts import Points, StoredPoints, is_stored
from thermokern.quantities.engine.streamed import Streaming
from thermokern.targets import Distribution

Data: TypeAlias = "Tensor | np.ndarray | Dataset[Any]"


DRIVERS = ("model", "reference")


def starting_points(
    reference: ScoreLike, n_paths: int | None, x0: Data | None, seed: int, path_offset: int
) -> tuple[Points, torch.Size]:
    """Data points at t = 0, (n, d) float64, and the shape of one."""
    if (n_paths is None) == (x0 is None):
        raise ValueError("n_paths, x0: pass exactly one of the two")
    if n_paths is not None:
        if not isinstance(reference, Distribution):
            raise TypeError("n_paths: the reference cannot be sampled; pass data points x0 instead")
        return drawn(reference, n_paths, seed, path_offset)
    assert x0 is not None
    if is_stored(x0):
        stored = StoredPoints("x0", x0)
        return stored, stored.point
    return checked_data("x0", x0)  # type: ignore[arg-type]


SCHEMES = ("auto", *ops.SCHEMES)
_FLAGS = ("from_prior", "compile", "channels_last", "keep_ends", "gradient", "allow_nonfinite", "progress")


def check_options(given: dict[str, Any]) -> None:
    """Raise unless options that say yes or no do so, words are known, and parts to be resolved are several."""
    flags = {name: given[name] for name in _FLAGS}
    if given["extrapolate"] is not None:
        flags["extrapolate"] = given["extrapolate"]
    check_flags(**flags)
    checked_choice("integrator", given["integrator"], INTEGRATORS)
    checked_choice("scheme", given["scheme"], SCHEMES)
    if not isinstance(given["resolve"], str):
        checked_several("resolve", given["resolve"])


def checked_driver(driver: str, reference: ScoreLike, scheme: str, reverse: bool, from_prior: bool) -> bool:
    """Whether the reference drives the paths, once that and the scheme are known to suit it."""
    checked_choice("driver", driver, DRIVERS)
    by_reference = driver == "reference"
    if by_reference and (not reverse or from_prior):
        raise ValueError('driver: "reference" is for reverse paths without from_prior')
    if isinstance(reference, Distribution):
        return by_reference
    if scheme == "sampler" and not by_reference:
        raise TypeError(
            "reference: the sampler scheme needs its density, so a distribution; two networks are compared by "
            'direction="reverse", driver="reference"'
        )
    if from_prior:
        raise TypeError("reference: from_prior needs its log density at t_end, so a distribution")
    return by_reference


def streaming_options(
    divergence: str,
    probes: int,
    memory_budget: int | None,
    checkpoint: str | Path | None,
    gradient: bool,
    progress: bool,
    sharing: Sharing,
) -> Streaming:
    """The options of streamed paths."""
    checked_choice("divergence", divergence, DIVERGENCES)
    probes = checked_integer("probes", probes, 1, MOST)
    if memory_budget is not None:
        memory_budget = checked_integer("memory_budget", memory_budget, 1)
    if gradient and not torch.is_grad_enabled():
        raise ValueError(
            "gradient: expected gradients enabled, got torch.no_grad() or torch.inference_mode() around it"
        )
    if gradient and checkpoint is not None:
        raise ValueError("checkpoint: a run with gradients cannot be resumed, its graph is not kept")
    if gradient and not sharing.ranks.alone:
        raise ValueError("group: a run with gradients is not shared, its graph is in one process")
    folder = (
        None if checkpoint is None else checked_path("checkpoint", checkpoint).absolute()
    )  # a network may change the directory
    return Streaming(divergence, probes, memory_budget, folder, gradient, progress, sharing=sharing)


def check_paths(values: Tensor, allow_nonfinite: bool) -> None:
    """Raise where values (n,) are not finite, unless that is allowed."""
    bad = len(values) - int(torch.isfinite(values).sum())
    if bad and not allow_nonfinite:
        raise FloatingPointError(
            f"{bad} of {len(values)} paths stopped being finite: the network's output or the step may be too large; "
            "allow_nonfinite=True returns them as they are"
        )


def endpoint_log_ratio(
    model: ScoreLike,
    reference: ScoreLike,
    process: LinearProcess,
    ends: tuple[float, float],
    x_start: Tensor,
    x_end: Tensor,
) -> Tensor | None:
    """``log(p/q)`` at the start less that at the end of each path, (n,), where both densities are known."""
    if not isinstance(model, Distribution) or not isinstance(reference, Distribution):
        return None
    start, end = (
        reference.log_prob(x, t, process) - model.log_prob(x, t, process)
        for x, t in zip((x_start, x_end), ends, strict=True)
    )
    return start - end


def widest_variances(*laws: ScoreLike) -> tuple[float, ...]:
    """The largest variance of each law; that of the first for scores whose law is not known."""
    known = [law.widest_variance() if isinstance(law, Distribution) else None for law in laws]
    return tuple((known[0] or 0.0) if value is None else value for value in known)
