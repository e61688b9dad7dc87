"""The TAEP mode by mode: which component of a mixture a path started from, and what each has to do with the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.processes import LinearProcess
from thermokern.quantities.results.estimate import Estimate, ExponentialAverage, exponential_average, mean_estimate
from thermokern.quantities.results.storage import stored
from thermokern.targets import GaussianMixture

# Standard errors above the overall mean from which a mode counts as collapsed, and paths from which on its standard
# error is known well enough to say so.
COLLAPSED_Z = 3.0
# Nats above the overall mean below which a mode does not count, however well it is known: a quarter of its weight.
COLLAPSED_LEAST = math.log(1.25)
COLLAPSED_PATHS = 10
_SHOWN_AXES = 3  # of a place in words


@stored("mode")
@dataclass(frozen=True)
class Mode:
    """The paths that start in one component of the reference mixture.

    Attributes
    ----------
    index : int
        Of the component in the reference.
    weight : float
        Of the component in the reference.
    n_paths : int
        Paths that start in it.
    mean : Estimate
        Mean Δs of these paths, nats. For an exact score field of modes far apart and long times, the log of the
        component's weight in the reference over that in the model.
    share_of_variance : Estimate
        ``Σ_{i in c} (Δ_i − mean)² / Σ_i (Δ_i − mean)²`` with the mean over all paths: what the mode adds to the
        variance by its distance from the mean and by its own spread. The shares of all modes sum to 1.
    fluctuation_theorem : ExponentialAverage
        ``⟨e^{−Δs}⟩`` over these paths (``⟨e^{+Δs}⟩`` in reverse). For an exact field of modes far apart, how many times
        its due weight the model gives the mode.
    """

    index: int
    weight: float
    n_paths: int
    mean: Estimate
    share_of_variance: Estimate
    fluctuation_theorem: ExponentialAverage


def start_component(
    reference: object,
    process: LinearProcess,
    x_start: Tensor,
    t: float,
    *,
    n_paths: int | None,
    seed: int,
    path_offset: int,
) -> Tensor | None:
    """The component that each path starts from, (n,) int64; None unless the reference has two components or more.

    Of `n_paths` drawn from the reference, the component that was drawn; else the most probable one of `x_start`
    (n, d) at time `t`.
    """
    if not isinstance(reference, GaussianMixture) or len(reference.weights) < 2:
        return None
    if n_paths is not None:
        return reference.component(n_paths, seed, path_offset)
    return reference.most_probable_component(x_start, t, process)


def mode_breakdown(
    values: Tensor, component: Tensor | None, reference: object, scale: float = -1.0
) -> tuple[Mode, ...]:
    """Statistics of `values` (n,) within each component; empty when there is no `component` (n,)."""
    if component is None or not isinstance(reference, GaussianMixture):
        return ()
    return modes_of(values, component, reference.weights.tolist(), scale)


def modes_of(values: Tensor, component: Tensor, weights: Sequence[float], scale: float) -> tuple[Mode, ...]:
    """The same, from the weights of the components."""
    count = len(weights)
    counts = torch.bincount(component, minlength=count)
    parts = torch.split(values[component.argsort(stable=True)], counts.tolist())
    shares, errors = _shares_of_variance(values, component, count)
    return tuple(
        Mode(
            index,
            weights[index],
            len(part),
            mean_estimate(part),
            Estimate(shares[index].item(), errors[index].item(), ""),
            exponential_average(part, scale),
        )
        for index, part in enumerate(parts)
    )


def _shares_of_variance(values: Tensor, component: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Share of the variance of `values` (n,) in each component and its standard error, (count,) float64.

    The standard error is that of the linearised share, the overall mean's own error included: with
    ``d_i = Δ_i − mean`` and ``b = 2 Σ_{i in c} d_i / n``, path ``i`` counts
    ``[d_i² (1_{i in c} − share) − b d_i] / V``.
    NaN where nothing varies.
    """
    n = len(values)
    whole = values.to(torch.float64)
    d = whole - whole.sum() / n
    inside = [torch.bincount(component, d.pow(p), minlength=count) for p in (1, 2, 3, 4)]
    _, second, third, fourth = (d.pow(p).sum() for p in (1, 2, 3, 4))
    share = inside[1] / second
    slope = 2.0 * inside[0] / n
    squares = (
        (1.0 - share).square() * inside[3]
        + share.square() * (fourth - inside[3])
        - 2.0 * slope * (inside[2] - share * third)
        + slope.square() * second
    )
    per_path = squares.clamp_min(0.0) / (second / n).square()
    return share, (per_path / (n * (n - 1.0)) if n > 1 else per_path * math.nan).sqrt()


def collapsed_modes(modes: Sequence[Mode], mean: Estimate) -> list[Mode]:
    """Modes whose mean lies over 3 standard errors, and ln 1.25, above the overall `mean`, the highest first.

    The standard error is that of the difference as if both were independent, which is on the safe side; a mode of
    under ten paths does not know its own.
    """
    found = [
        mode
        for mode in modes
        if mode.n_paths >= COLLAPSED_PATHS
        and mode.mean.value - mean.value > max(COLLAPSED_LEAST, COLLAPSED_Z * math.hypot(mode.mean.stderr, mean.stderr))
    ]
    return sorted(found, key=lambda mode: -mode.mean.value)


def collapse_line(modes: Sequence[Mode], mean: Estimate) -> str | None:
    """The most collapsed mode in words, or None where no mode stands out."""
    found = collapsed_modes(modes, mean)
    if not found:
        return None
    worst, n = found[0], sum(mode.n_paths for mode in modes)
    return (
        f"{worst.index}: mean {worst.mean} nats, {worst.n_paths / n:.1%} of the paths, "
        f"{worst.share_of_variance.value:.1%} of the variance"
    )


def places(x_start: Tensor, component: Tensor | None) -> dict[int, str]:
    """Where the modes lie, in words: the mean of the paths' starts in each; of at most three dimensions, in data's."""
    if component is None or x_start.dim() != 2 or x_start.shape[1] > _SHOWN_AXES or len(x_start) != len(component):
        return {}
    found = {}
    for index in torch.unique(component).tolist():
        centre = x_start[component == index].double().mean(0)
        found[index] = "(" + ", ".join(f"{round(value, 2) + 0.0:g}" for value in centre.tolist()) + ")"
    return found
