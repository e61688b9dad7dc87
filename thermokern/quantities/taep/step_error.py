"""The error of the step: extrapolation on the same paths, what it leaves, and the witnesses that a result carries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.storage import stored


class StepTooLongWarning(UserWarning):
    """Steps whose error is not small beside the errors that are stated."""


@stored("step-error")
@dataclass(frozen=True)
class StepError:
    """What the finite step does to the statistics of the extrapolated values, each paired over the paths.

    V_h is the sum of a path over all nodes, V_{2h} and V_{4h} those over every second and every fourth. The values are
    ``R_h = 2 V_h − V_{2h}``, whose mean has an error of second order; a third of the difference between a statistic of
    R_h and that of ``R_{2h} = 2 V_{2h} − V_{4h}`` is what that order leaves. In the schemes ``ito`` and
    ``backward-ito`` a path's own error is of order ½ with independent parts in every step, which no extrapolation takes
    away: the variance and the exponential average then have an error of first order, the whole difference.

    Attributes
    ----------
    mean, variance, fluctuation_theorem : Estimate
        Of the statistics of the same names; the standard error says how well the difference itself is known.
    """

    mean: Estimate
    variance: Estimate
    fluctuation_theorem: Estimate


@stored("endpoint-error")
@dataclass(frozen=True)
class EndpointError:
    """Values less the log ratio of densities at the ends of each path, which they are in continuous time.

    Attributes
    ----------
    mean : Estimate
        Paired over the paths: the error of the mean.
    rms : Estimate
        Of a single path.
    """

    mean: Estimate
    rms: Estimate


def extrapolated(value: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """``R_h`` and ``R_{2h}`` of each path, (n,) each, from V_h (n,) and V_{2h}, V_{4h} (n, 2)."""
    double, fourfold = coarse.double().unbind(1)
    return (2.0 * value.double() - double).to(value), (2.0 * double - fourfold).to(value)


def step_error(values: Tensor, coarser: Tensor, sign: float, scheme: str) -> StepError:
    """From R_h and R_{2h} of each path (n,) each; `sign` is that of the exponential average."""
    scatter = 3.0 if scheme == "stratonovich" else 1.0
    fine, double = values.detach().double(), coarser.detach().double()
    n = len(fine)
    unbiased = n / (n - 1) if n > 1 else torch.nan
    squares = [(v - v.mean()).square() * unbiased for v in (fine, double)]
    top = max(sign * v.max().item() if sign > 0 else -v.min().item() for v in (fine, double)) if n else 0.0
    weights = [(sign * v - top).exp() for v in (fine, double)]
    scale = torch.tensor(top, dtype=torch.float64, device="cpu").exp().item()
    average = mean_estimate((weights[0] - weights[1]) / scatter, "")
    return StepError(
        mean=mean_estimate((fine - double) / 3.0),
        variance=mean_estimate((squares[0] - squares[1]) / scatter, "nats²"),
        fluctuation_theorem=Estimate(scale * average.value, scale * average.stderr, ""),
    )


def endpoint_error(values: Tensor, log_ratio: Tensor) -> EndpointError:
    """From the values and the log ratio of each path, (n,) each."""
    difference = values.detach().double() - log_ratio.double()
    square = mean_estimate(difference.square(), "nats²")
    rms = max(square.value, 0.0) ** 0.5
    return EndpointError(mean_estimate(difference), Estimate(rms, 0.5 * square.stderr / rms if rms else 0.0))


def half_variance_ratio(values: Tensor) -> Estimate:
    """``Var/(2 mean)`` of values (n,), which is 1 near the optimum (Ding, Quan and Tu, Eq. 41), by the delta method."""
    values = values.detach().double()
    n = len(values)
    mean = values.mean()
    deviation = values - mean
    variance = deviation.square().mean() * (n / (n - 1) if n > 1 else torch.nan)
    ratio = (variance / (2.0 * mean)).item()
    influence = (deviation.square() - variance) / (2.0 * mean) - variance * deviation / (2.0 * mean.square())
    return Estimate(ratio, mean_estimate(influence, "").stderr, "")
