"""Kullback–Leibler divergence between two samples by nearest neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern.ops import KDTree
from thermokern.ops.checks import check_flags, checked_seed
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.samples.bias_by_extrapolation import bias_of, warn_of_bias
from thermokern.quantities.samples.densities import check_density, check_scales, check_ties, open_at_rank, share_within
from thermokern.quantities.samples.errors_by_parts import block_errors, rows_of_errors
from thermokern.quantities.samples.inputs import (
    SampleLike,
    checked_neighbours,
    checked_sample,
    jittered,
    scaled,
    search_device,
    sorted_mean,
    unit_and_size,
)
from thermokern.quantities.samples.result import SampleEstimate

_REMEDIES = "jitter=h where the data were rounded to steps of h; for a discrete law, count its values instead"


def knn_divergence(
    x: SampleLike,
    y: SampleLike,
    k: int = 3,
    *,
    base: float | None = None,
    standardise: bool = False,
    jitter: float | None = None,
    stderr: bool = True,
    bias: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> SampleEstimate:
    """``KL(p ‖ q)`` from points x of p and y of q: ``(d/n) Σ_i log(ν_i/ρ_i) + log(m/(n − 1))``.

    ρ_i is the distance of x_i to its k-th nearest other of x, ν_i that to its k-th nearest of y.

    Parameters
    ----------
    x, y : Tensor or array
        (n, d) and (m, d), or (n,) and (m,). Neighbours are sought on the device of x.
    k : int
        Neighbours, 1 ≤ k < n and k ≤ m.
    base : float, optional
        Of the logarithm; nats when left out.
    standardise : bool
        Divide every column by the standard deviation of x first, which leaves the truth as it is: for axes of different
        units.
    jitter : float, optional
        Adds independent uniform numbers on ±jitter/2 to every coordinate of x and of y, by `seed` and place: where both
        were rounded to steps of that size.
    stderr : bool
        Whether to work out the standard error, which takes about five times as long in all; NaN where the smaller
        sample has fewer than eight parts of ``max(80, 10 k)`` points.
    bias : bool
        Whether to estimate the bias, from at most 8192 points of each and from halves and quarters of them.
    seed : int
        Of the jitter, and of the partitions that the error and the bias come from.
    progress : bool
        Show a progress bar.

    Returns
    -------
    SampleEstimate
        `local` holds ``d log(ν_i/ρ_i) + log(m/(n − 1))``, an estimate of log p(x_i)/q(x_i).

    Raises
    ------
    ValueError, TypeError
        Naming the argument; when points coincide with k others, of x or of y, with their number; when ties leave the
        estimate open by more than its error, or the columns differ so much in width that the distances do not see one.

    Warns
    -----
    BiasWarning
        When the bias exceeds the standard error and twice its noise.

    Notes
    -----
    The standard error is from disjoint parts of both samples, see :mod:`thermokern.quantities.samples.errors_by_parts`.
    Where q is thin under p, ν_i reaches to where there is q, and the estimate is too low: it is finite even where the
    truth is infinite. The bias is extrapolated as that of the entropy is, see :func:`kozachenko_leonenko`, and not
    taken off the value. Cost: two neighbour searches.

    References
    ----------
    Wang, Kulkarni and Verdú, *Divergence estimation for multidimensional densities via k-nearest-neighbor distances*,
    2009.
    """
    check_flags(standardise=standardise, stderr=stderr, bias=bias, progress=progress)
    first, second = checked_sample("x", x), checked_sample("y", y, least=1)
    unit, size = unit_and_size(base)
    seed, _ = checked_seed(seed)
    n, dim = first.shape
    if second.shape[1] != dim:
        raise ValueError(f"y: expected (m, {dim}) to match x, got {tuple(second.shape)}")
    k = checked_neighbours("k", k, n)
    if k > len(second):
        raise ValueError(f"k: expected at most as many neighbours as points of y, got {k} of {len(second)}")
    if first.dtype != second.dtype:
        first, second = first.double(), second.double()
    if jitter is not None:
        moved = jittered(torch.cat([first, second]), jitter, seed)
        first, second = moved[:n], moved[n:]
    check_density("x", first)
    if standardise:
        deviation = first.double().std(0).to(first.dtype)
        first, second = first / deviation, second / deviation
    both, _ = scaled(torch.cat([first, second]), None)
    first, second = both[:n], both[n:]
    device = search_device(x)
    pace = Pace(2 * n + (rows_of_errors([first, second], k) if stderr else 0), "point", "divergence", progress)

    def terms(parts: list[Tensor], ks: list[int]) -> list[Tensor]:
        at = _distances(parts[0].to(device), parts[1].to(device), max(ks))
        return [_local(parts[0], parts[1], at, rank) for rank in ks]

    error = math.nan
    with pace.bar():
        found = _distances(first.to(device), second.to(device), k + 1, pace)
        local = _local(first, second, found, k)
        if stderr:
            (error,), _ = block_errors(
                [first, second],
                lambda parts: [sorted_mean(value) for value in terms(parts, [k])],
                k=k,
                seed=seed,
                pace=pace,
            )
    check_ties(math.fsum(open_at_rank(distances, k) for distances in found), error, local, _REMEDIES)
    columns = torch.split(first, 1, dim=1)
    check_scales(columns, [share_within(column, found[1][:, k - 1].median()) for column in columns], "standardise=True")
    unknown = Estimate(math.nan, math.nan)
    off, noise = bias_of([first, second], terms, k, seed) if bias else (unknown, math.nan)
    result = SampleEstimate(
        value=sorted_mean(local) / size,
        stderr=error / size,
        unit=unit,
        local=(local / size).to(x.device if isinstance(x, Tensor) else "cpu"),
        method=f"KL divergence by nearest neighbours, k = {k}",
        settings={
            "k": k,
            "base": base,
            "standardise": standardise,
            "jitter": jitter,
            "seed": seed,
            "n": n,
            "m": len(second),
            "dim": dim,
        },
        bias=Estimate(off.value / size, off.stderr / size, unit),
        bias_noise=noise / size,
    )
    warn_of_bias(result, "divergence", "take fewer neighbours k or more points")
    return result


def _distances(x: Tensor, y: Tensor, k: int, pace: Pace | None = None) -> tuple[Tensor, Tensor]:
    """Distances of each of x to its `k` nearest others, and to its `k` nearest of y; fewer where there are fewer."""
    own, other = min(k, len(x) - 1), [*range(1, min(k, len(y)) + 1)]
    if pace is None or not pace.asked:
        return KDTree(x).neighbours(own).cpu(), KDTree(y).query(x, other, workers=-1)[0].cpu()
    tree = KDTree(x)  # a point is the first of its own neighbours there, or coincides with the first
    rho = [tree.query(x[low:high], [*range(2, own + 2)], workers=-1)[0].cpu() for low, high in pace.stage(len(x))]
    tree = KDTree(y)
    nu = [tree.query(x[low:high], other, workers=-1)[0].cpu() for low, high in pace.stage(len(x))]
    return torch.cat(rho), torch.cat(nu)


def _local(x: Tensor, y: Tensor, found: tuple[Tensor, Tensor], k: int) -> Tensor:
    """``d log(ν_i/ρ_i) + log(m/(n − 1))``, (n,) float64, nats."""
    rho, nu = (distances[:, k - 1] for distances in found)
    for name, distances in (("x", rho), ("y", nu)):
        zero = int((distances == 0).sum())
        if zero:
            raise ValueError(
                f"x: {zero} of {len(x)} points coincide with {k} points of {name}, where densities have no two points "
                f"alike. Remedies: {_REMEDIES}"
            )
    ratio: Tensor = nu.double().log() - rho.double().log()
    return x.shape[1] * ratio + math.log(len(y) / (len(x) - 1))
