"""Bias of nearest-neighbour estimates, from how they change with the neighbours and with the points."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.samples.inputs import random_order, sorted_mean
from thermokern.quantities.samples.result import BiasWarning, SampleEstimate

POINTS = 8192  # from which the bias is read at most; that of a larger sample follows from how it shrinks
LEAST_PART = 50
_SHARED = 1.5  # what terms that share neighbours add to the noise, measured on normals in two to six dimensions


def extrapolated(at: dict[tuple[int, int], float], dim: int, noise: float) -> tuple[Estimate, float, float, float]:
    """Bias, its exponent q in ``(k/n)^q``, its noise, and how far it is from that law.

    Parameters
    ----------
    at : dict
        (multiple of k, halvings of n) to estimate, at (1, 0), (2, 0), (4, 0), (1, 1), (2, 1) and (1, 2).
    dim : int
        Of the points; q is between 1/d, of a density that ends at an edge, and 2/d, of a smooth one.
    noise : float
        Of the estimate at 2k less that at k.
    """
    first = at[1, 0]
    second = (at[2, 0] + at[1, 1]) / 2.0
    third = (at[4, 0] + at[2, 1] + at[1, 2]) / 3.0
    low, high = 1.0 / dim, 2.0 / dim
    ratio = (third - second) / (second - first) if second != first else math.inf
    q = min(max(math.log2(ratio), low), high) if 0.0 < ratio < math.inf else high
    misfit = (third - second) - 2.0**q * (second - first)  # 0 but where q had to be bounded
    seen = 2.0**q - 1.0  # the share of the bias that doubling k/n shows; the rest is extrapolated
    value = (second - first) / seen
    noise, misfit = noise / seen, misfit / seen
    return Estimate(value, math.hypot(noise, misfit, max(0.0, 1.0 - seen) * value)), q, noise, misfit


def bias_of(
    samples: Sequence[Tensor], terms: Callable[[list[Tensor], list[int]], list[Tensor]], k: int, seed: int
) -> tuple[Estimate, float]:
    """Bias of the mean of `terms` of the samples (n, d), (m, d), …, and its noise; NaN where there are too few points.

    Parameters
    ----------
    samples : sequence of Tensor
    terms : callable
        Of samples and numbers of neighbours, the local terms (n,) at each of these.
    k : int
    seed : int
        Of the parts, which depend on the points' values and not on their order.
    """
    dim, least = samples[0].shape[1], min(map(len, samples))
    ordered = [x[random_order(x, 1009 * seed + i)[:POINTS]] for i, x in enumerate(samples)]
    if min(map(len, ordered)) // 4 <= max(4 * k, LEAST_PART // 2):
        return Estimate(math.nan, math.nan), math.nan
    at: dict[tuple[int, int], float] = {}
    whole = terms(ordered, [k, 2 * k, 4 * k])
    for multiple, values in zip((1, 2, 4), whole, strict=True):
        at[multiple, 0] = sorted_mean(values)
    for level, multiples in ((1, (1, 2)), (2, (1,))):
        pieces = zip(*(torch.tensor_split(x, 2**level) for x in ordered), strict=True)
        found = [[sorted_mean(v) for v in terms(list(part), [m * k for m in multiples])] for part in pieces]
        for i, multiple in enumerate(multiples):
            at[multiple, level] = math.fsum(row[i] for row in found) / len(found)
    noise = _SHARED * (whole[1] - whole[0]).sort().values.std().item() / math.sqrt(len(whole[0]))
    bias, q, noise, misfit = extrapolated(at, dim, noise)
    noise = math.hypot(noise, 0.5 * misfit)  # a bias that is no power is seldom one
    shrink = (min(map(len, ordered)) / least) ** q
    return Estimate(shrink * bias.value, shrink * bias.stderr), shrink * noise


def warn_of_bias(result: SampleEstimate, what: str, remedy: str, depth: int = 2) -> None:
    """Warn if the bias exceeds the standard error and twice its own noise; the caller is `depth` calls away."""
    if result.bias_exceeds_error:
        warnings.warn(
            f"the bias of this {what}, about {result.bias} {result.unit}, exceeds its standard error "
            f"{result.stderr:.2g}: {remedy}, and read the error as sampling error alone",
            BiasWarning,
            stacklevel=depth + 1,
        )
