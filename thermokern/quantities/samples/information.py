"""Mutual information and total correlation by nearest neighbours, after Kraskov, Stögbauer and Grassberger."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thermokern.ops.checks import check_flags, checked_integer, checked_seed
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.samples.bias_by_extrapolation import bias_of, warn_of_bias
from thermokern.quantities.samples.densities import check_independent_groups, check_scales, check_ties
from thermokern.quantities.samples.information_counts import local_terms, search, standard_error
from thermokern.quantities.samples.inputs import (
    SampleLike,
    checked_neighbours,
    checked_sample,
    jittered,
    search_device,
    sorted_mean,
    unit_and_size,
)
from thermokern.quantities.samples.result import SampleEstimate

VARIANTS = (1, 2)
_REMEDIES = "jitter=h where the data were rounded to steps of h; for a discrete law, count its values instead"


def ksg_mutual_information(
    x: SampleLike,
    y: SampleLike,
    k: int = 3,
    variant: int = 1,
    *,
    base: float | None = None,
    standardise: bool = False,
    jitter: float | None = None,
    stderr: bool = True,
    bias: bool = True,
    seed: int = 0,
) -> SampleEstimate:
    """Mutual information of paired samples.

    Variant 1: ``ψ(k) + ψ(n) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩`` with n_x, n_y the other points strictly nearer than ε_i in
    each space, ε_i the distance of point i to its k-th neighbour in both (maximum norm). Variant 2: ``ψ(k) − 1/k + ψ(n)
    − ⟨ψ(n_x) + ψ(n_y)⟩``, the other points within a radius of each space's own, ≤, that just holds the k neighbours.

    Parameters
    ----------
    x, y : Tensor or array
        (n, d_x) and (n, d_y), or (n,): row i of both belong together.
    k : int
        Neighbours, 1 ≤ k < n.
    variant : {1, 2}
        1 has less bias near independence, 2 in many dimensions.
    base : float, optional
        Of the logarithm; nats when left out.
    standardise : bool
        Divide every column by its standard deviation first, which leaves the truth as it is: for axes of different
        units, of which the maximum norm would see one only.
    jitter : float, optional
        Adds independent uniform numbers on ±jitter/2 to every coordinate, by `seed` and place.
    stderr : bool
        Whether to work out the standard error, from all pairs of at most 8192 points.
    bias : bool
        Whether to estimate the bias, from at most 8192 points and from halves and quarters of them.
    seed : int
        Of the jitter, and of which points the error and the bias come from where there are more.

    Returns
    -------
    SampleEstimate
        `local` holds each point's term; the value may be negative by sampling error.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; when the joint law cannot have a density: columns of x that depend linearly on those of y,
        or ties that leave the estimate open by more than its error; when the columns differ so much in width that the
        radius does not see one of them.

    Warns
    -----
    BiasWarning
        When the bias exceeds the standard error and twice its noise.

    Notes
    -----
    The standard error is that of a jackknife, see
    :func:`thermokern.quantities.samples.information_counts.standard_error`. The bias is small for
    weak dependence and grows as the joint law closes in on a curve, where the estimate is too low; it is extrapolated
    as that of the entropy is, see :func:`kozachenko_leonenko`, and not taken off the value. Both laws must have
    densities: equal distances are counted in both spaces together and in each, and each leaves the rank of a neighbour
    open. Cost: a neighbour search and two searches of counts; as much again, and no more than for 16,384 points, for
    ties and bias.

    References
    ----------
    Kraskov, Stögbauer and Grassberger, *Estimating mutual information*, 2004, Eq. 8 and 9.
    """
    check_flags(standardise=standardise, stderr=stderr, bias=bias)
    groups = [checked_sample("x", x), checked_sample("y", y)]
    if len(groups[0]) != len(groups[1]):
        raise ValueError(f"y: expected {len(groups[0])} points to match x, got {len(groups[1])}")
    name = f"mutual information, Kraskov–Stögbauer–Grassberger {variant}, k = {k}"
    return _estimate(groups, k, variant, base, standardise, jitter, stderr, bias, seed, name, x)


def knn_total_correlation(
    x: SampleLike,
    k: int = 3,
    variant: int = 1,
    *,
    base: float | None = None,
    standardise: bool = False,
    jitter: float | None = None,
    stderr: bool = True,
    bias: bool = True,
    seed: int = 0,
) -> SampleEstimate:
    """Total correlation of the columns of a sample, ``Σ_j H(x_j) − H(x)``, ≥ 0 but for error.

    Variant 1: ``ψ(k) + (d − 1) ψ(n) − ⟨Σ_j ψ(n_j + 1)⟩``; variant 2: ``ψ(k) − (d − 1)/k + (d − 1) ψ(n)
    − ⟨Σ_j ψ(n_j)⟩``; counts along each axis as in :func:`ksg_mutual_information`, whose value this is for two columns.

    Parameters
    ----------
    x : Tensor or array
        (n, d), d at least 2.
    k, variant, base, standardise, jitter, stderr, bias, seed
        As in :func:`ksg_mutual_information`.

    Returns
    -------
    SampleEstimate

    Raises
    ------
    ValueError, TypeError
        As :func:`ksg_mutual_information`.

    Warns
    -----
    BiasWarning
        When the bias exceeds the standard error and twice its noise.

    Notes
    -----
    Too low in many dimensions, where k neighbours reach far along every axis.

    References
    ----------
    Kraskov, Stögbauer and Grassberger, *Estimating mutual information*, 2004, for m variables. Watanabe,
    *Information theoretical analysis of multivariate correlation*, 1960.
    """
    check_flags(standardise=standardise, stderr=stderr, bias=bias)
    points = checked_sample("x", x)
    if points.shape[1] < 2:
        raise ValueError(f"x: expected at least two columns, got {tuple(points.shape)}")
    groups = [column.contiguous() for column in torch.split(points, 1, dim=1)]
    name = f"total correlation, Kraskov–Stögbauer–Grassberger {variant}, k = {k}"
    return _estimate(groups, k, variant, base, standardise, jitter, stderr, bias, seed, name, x)


def _estimate(
    groups: list[Tensor],
    k: int,
    variant: int,
    base: float | None,
    standardise: bool,
    jitter: float | None,
    stderr: bool,
    bias: bool,
    seed: int,
    name: str,
    given: Any,
) -> SampleEstimate:
    """The estimate for groups of columns (n, d_j)."""
    n = len(groups[0])
    unit, size = unit_and_size(base)
    seed, _ = checked_seed(seed)
    k = checked_neighbours("k", k, n)
    variant = checked_integer("variant", variant, min(VARIANTS), max(VARIANTS) + 1)
    widths = [group.shape[1] for group in groups]
    dtype = groups[0].dtype if len({group.dtype for group in groups}) == 1 else torch.float64
    joint = torch.cat([group.to(dtype) for group in groups], dim=1)
    if jitter is not None:
        joint = jittered(joint, jitter, seed)
    if standardise:
        deviation = joint.double().std(0)
        if not bool((deviation > 0).all()):
            column = int((deviation > 0).int().argmin())
            raise ValueError(f"standardise: column {column} of all is constant and has no standard deviation")
        joint = (joint / deviation.to(joint.dtype)).contiguous()
    check_independent_groups(torch.split(joint, widths, dim=1))
    device = search_device(given)
    found = search(joint, widths, k, variant, device, ties=True)
    local = local_terms(found, k, variant)
    error = standard_error(joint, widths, k, variant, seed, device) if stderr else math.nan
    check_ties(found.left_open, error, local, _REMEDIES, depth=3)
    check_scales(torch.split(joint, widths, dim=1), [count / n for count in found.counts], "standardise=True")
    unknown = Estimate(math.nan, math.nan)
    off, noise = bias_of([joint], partial(_terms, widths, variant, device), k, seed) if bias else (unknown, math.nan)
    result = SampleEstimate(
        value=sorted_mean(local) / size,
        stderr=error / size,
        unit=unit,
        local=(local / size).to(given.device if isinstance(given, Tensor) else "cpu"),
        method=name,
        settings={
            "k": k,
            "variant": variant,
            "base": base,
            "standardise": standardise,
            "jitter": jitter,
            "seed": seed,
            "dims": widths,
        },
        bias=Estimate(off.value / size, off.stderr / size, unit),
        bias_noise=noise / size,
    )
    warn_of_bias(result, "information", "take fewer neighbours k or more points", depth=3)
    return result


def _terms(widths: list[int], variant: int, device: torch.device, samples: list[Tensor], ks: list[int]) -> list[Tensor]:
    return [local_terms(search(samples[0], widths, k, variant, device), k, variant) for k in ks]
