"""Kullback–Leibler divergence between two samples by nearest neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern.ops import KDTree
from thermokern.ops.checks import checked_seed
from thermokern.quantities.samples.errors_by_parts import block_errors
from thermokern.quantities.samples.inputs import (
    SampleLike,
    check_density,
    checked_neighbours,
    checked_sample,
    scaled,
    search_device,
    sorted_mean,
    unit_and_size,
)
from thermokern.quantities.samples.result import SampleEstimate


def knn_divergence(
    x: SampleLike,
    y: SampleLike,
    k: int = 3,
    *,
    base: float | None = None,
    stderr: bool = True,
    seed: int = 0,
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
    stderr : bool
        Whether to work out the standard error, which takes about five times as long in all.
    seed : int
        Of the partitions that the error comes from.

    Returns
    -------
    SampleEstimate
        `local` holds ``d log(ν_i/ρ_i) + log(m/(n − 1))``, an estimate of log p(x_i)/q(x_i).

    Raises
    ------
    ValueError, TypeError
        Naming the argument; when points coincide with k others, of x or of y, with their number.

    Notes
    -----
    The standard error is from disjoint parts of both samples, see :mod:`thermokern.quantities.samples.errors_by_parts`.
    Where q is thin under p, ν_i reaches to where there is q, and the estimate is too low: it is finite even where the
    truth is infinite. Cost: two neighbour searches.

    References
    ----------
    Wang, Kulkarni and Verdú, *Divergence estimation for multidimensional densities via k-nearest-neighbor distances*,
    2009.
    """
    first, second = checked_sample("x", x), checked_sample("y", y, least=1)
    unit, size = unit_and_size(base)
    seed, _ = checked_seed(seed)
    n, dim = first.shape
    if second.shape[1] != dim:
        raise ValueError(f"y: expected (m, {dim}) as x has it, got {tuple(second.shape)}")
    k = checked_neighbours("k", k, n)
    if k > len(second):
        raise ValueError(f"k: expected at most as many neighbours as points of y, got {k} of {len(second)}")
    if first.dtype != second.dtype:
        first, second = first.double(), second.double()
    check_density("x", first)
    both, _ = scaled(torch.cat([first, second]), None)
    first, second = both[:n], both[n:]
    device = search_device(x)
    local = _local(first.to(device), second.to(device), k)
    error = math.nan
    if stderr:
        (error,), _ = block_errors(
            [first, second],
            lambda parts: [sorted_mean(_local(parts[0].to(device), parts[1].to(device), k))],
            k=k,
            seed=seed,
        )
    return SampleEstimate(
        value=sorted_mean(local) / size,
        stderr=error / size,
        unit=unit,
        local=(local / size).to(x.device if isinstance(x, Tensor) else "cpu"),
        method=f"KL divergence by nearest neighbours, k = {k}",
        settings={"k": k, "base": base, "seed": seed, "n": n, "m": len(second), "dim": dim},
    )


def _local(x: Tensor, y: Tensor, k: int) -> Tensor:
    """``d log(ν_i/ρ_i) + log(m/(n − 1))``, (n,) float64, nats."""
    rho = KDTree(x).neighbours(k)[:, k - 1].cpu()
    found = KDTree(y).query(x, k, workers=-1)[0].cpu()
    nu = found if k == 1 else found[:, k - 1]
    for name, distances in (("x", rho), ("y", nu)):
        zero = int((distances == 0).sum())
        if zero:
            raise ValueError(
                f"x: {zero} of {len(x)} points coincide with {k} points of {name}, where densities have no two points "
                "alike: spread them by the step at which they were rounded, or count the values of a discrete law"
            )
    ratio: Tensor = nu.double().log() - rho.double().log()
    return x.shape[1] * ratio + math.log(len(y) / (len(x) - 1))
