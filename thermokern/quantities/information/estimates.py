"""Means over noise levels with their standard errors: from neighbours in λ, and by data point where points recur."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, FewPathsWarning, mean_estimate

_BLOCK = 64  # neighbours in λ whose mean stands for the expectation there
_FEW = 25.0  # below it the standard error itself is off by a tenth or more
_CLEAR = 5.0  # standard errors that a rate must stand above for its exponent to be read
_NOTHING = 1e-12  # nats: rates below it are rounding
_DECADE = 1.5  # in λ: the stretch over which the exponent at an end is read
_LEAST_EXPONENT = 0.25  # below it what lies beyond the end is not finite, as far as can be seen


class FewEvaluationsWarning(FewPathsWarning):
    """An integral over noise levels that too few evaluations carry for its standard error to be trusted."""


def level_estimate(values: Tensor, clusters: Tensor | None = None, independent: bool = False) -> Estimate:
    """Mean of `values` (n,), ordered by λ and one to a stratum, with its standard error, nats.

    ``√(mean(d²)/n)`` with ``d_i = (w_{2i} − w_{2i+1})/√2`` of neighbours, which share a stratum all but. Where data
    points recur, the products of the deviations of each at different levels are added.

    Parameters
    ----------
    values : Tensor
        (n,) float64.
    clusters : Tensor, optional
        (n,) int64, see :func:`recurring`.
    independent : bool
        The levels were drawn independently, not one to a stratum: the plain standard error serves.
    """
    n = len(values)
    mean = values.mean().item()
    if n < 2:
        return Estimate(mean, math.nan)
    variance = values.var().item() / n if independent else _differences(values).square().mean().item() / n
    if clusters is not None:
        residual = values - (values.mean() if independent else _local_mean(values))
        sums = torch.zeros(int(clusters.max()) + 1, dtype=torch.float64, device="cpu")
        sums.index_add_(0, clusters, residual)
        variance += max(0.0, (sums.square().sum() - residual.square().sum()).item() / n**2)
    return Estimate(mean, math.sqrt(variance))


def recurring(points: Tensor | None) -> Tensor | None:
    """Numbers of data points (n,) counted from zero without gaps; None where none recurs."""
    if points is None:
        return None
    different, which = torch.unique(points, return_inverse=True)
    return which if len(different) < len(points) else None


def effective_sample_size(values: Tensor) -> float:
    """``(Σd²)²/Σd⁴`` of neighbours' differences: how many equal ones would carry the standard error as well."""
    square = _differences(values).square()
    total = square.sum().item()
    return total**2 / square.square().sum().item() if total > 0.0 else float(len(square))


def warn_of_few(name: str, size: float, shares: Tensor) -> None:
    """Warn where few evaluations carry an integral, or one bin of λ most of its variance."""
    if size < _FEW:
        warnings.warn(
            f"{name}: {size:.0f} effective pairs of evaluations carry the standard error; the value tends to be read "
            "low and the error small. More evaluations help",
            FewEvaluationsWarning,
            stacklevel=5,
        )
    elif len(shares) and shares.max().item() > 0.5:
        warnings.warn(
            f"{name}: one of {len(shares)} bins of λ holds {100.0 * shares.max().item():.0f} % of the variance, which "
            "the pilot did not see; more evaluations help",
            FewEvaluationsWarning,
            stacklevel=5,
        )


def beyond(near: Tensor, inner: Tensor) -> Estimate:
    """What an integral over λ holds beyond one of its ends, from rates at the end and a stretch ``1.5`` inside.

    A rate that falls as ``e^{−k|λ|}`` leaves ``r/k``. All densities have k = 1 at both ends; where the two rates say
    otherwise by four standard errors k is what they say, and below ¼ the rest is taken to be infinite.

    Parameters
    ----------
    near, inner : Tensor
        (n,) float64 rates of independent evaluations.
    """
    first, second = mean_estimate(near), mean_estimate(inner)
    clear = all(abs(rate.value) > max(_CLEAR * rate.stderr, _NOTHING) for rate in (first, second))
    if not clear or first.value * second.value <= 0.0:
        return first
    exponent = math.log(second.value / first.value) / _DECADE
    error = math.hypot(first.stderr / first.value, second.stderr / second.value) / _DECADE
    if abs(exponent - 1.0) <= max(4.0 * error, 0.1):
        return first
    if exponent < _LEAST_EXPONENT:
        return Estimate(math.copysign(math.inf, first.value), math.nan)
    relative = math.hypot(first.stderr / first.value, error / exponent)
    return Estimate(first.value / exponent, abs(first.value / exponent) * relative)


def total(*parts: Estimate) -> Estimate:
    """The sum of independent estimates."""
    return Estimate(sum(part.value for part in parts), math.hypot(*(part.stderr for part in parts)))


def _differences(values: Tensor) -> Tensor:
    even = values[: len(values) - len(values) % 2]
    return (even[0::2] - even[1::2]) / math.sqrt(2.0)


def _local_mean(values: Tensor) -> Tensor:
    blocks = max(1, len(values) // _BLOCK)
    size, longer = divmod(len(values), blocks)  # so many blocks have one value more
    cut = longer * (size + 1)
    parts = values[:cut].reshape(longer, size + 1), values[cut:].reshape(-1, size)
    return torch.cat([part.mean(1, keepdim=True).expand_as(part).flatten() for part in parts])
