"""Differential entropy by nearest neighbours, after Kozachenko and Leonenko."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thermokern._bars import Bar
from thermokern.ops import KDTree
from thermokern.ops.checks import check_flags, checked_choice, checked_seed
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.samples.bias_by_extrapolation import LEAST_PART, extrapolated, warn_of_bias
from thermokern.quantities.samples.densities import check_density, check_ties, open_at_rank
from thermokern.quantities.samples.entropy_discrete import shannon
from thermokern.quantities.samples.errors_by_jackknife import excess
from thermokern.quantities.samples.inputs import (
    SampleLike,
    checked_neighbours,
    checked_sample,
    digamma,
    jittered,
    log_unit_ball,
    random_order,
    scaled,
    search_device,
    sorted_mean,
    unit_and_size,
)
from thermokern.quantities.samples.result import EntropyEstimate

DUPLICATES = ("error", "keep", "discrete")
METHOD = "Kozachenko–Leonenko, k = {k}"
# Distances and indices held at once; a larger sample has its error and bias read from a random part of it.
ENTRIES = 2**23
# Parts over which the estimate from a fraction of the sample is averaged, at most.
_PARTS = 4
_REMEDIES = (
    "jitter=h where the data were rounded to steps of h (the entropy is then that of the rounded law plus d log h); "
    'duplicates="discrete" where the law is discrete (its Shannon entropy)'
)


def kozachenko_leonenko(
    x: SampleLike,
    k: int = 3,
    *,
    base: float | None = None,
    scale: float | Sequence[float] | Tensor | np.ndarray | None = None,
    jitter: float | None = None,
    duplicates: str = "error",
    bias: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> EntropyEstimate:
    """Differential entropy from the distances to nearest neighbours, with its standard error and bias.

    ``H = ψ(n) − ψ(k) + log V_d + (d/n) Σ_i log ε_i``: ε_i from point i to its k-th nearest other, V_d the volume of the
    unit ball. Shifting x leaves H as it is, scaling it by a adds d log|a|, both to rounding; the order of the points
    does not matter, bit for bit.

    Parameters
    ----------
    x : Tensor or array
        (n, d) points, or (n,) numbers; integers are taken as float64. Distances in the dtype of x, on its device;
        logarithms and sums in float64, on the CPU.
    k : int
        Neighbours, 1 ≤ k < n. A larger k has less sampling error and more bias.
    base : float, optional
        Of the logarithm: 2 for bits; nats when left out.
    scale : float or array, optional
        Positive units of the axes, one or (d,), in which neighbours are sought: for axes of different kinds. The
        entropy is still that of x.
    jitter : float, optional
        Adds independent uniform numbers on ±jitter/2 to every coordinate, by `seed` and the point's place in x. Data
        rounded to steps of that size then have the entropy of the rounded law plus ``d log jitter``.
    duplicates : {"error", "keep", "discrete"}
        Points that coincide with others: an error; used, as long as no ε_i is 0; or the whole sample taken for
        discrete, which gives the Shannon entropy of its distinct points (Miller–Madow corrected) instead.
    bias : bool
        Whether to estimate the bias, which takes about four times as long in all.
    seed : int
        Of the jitter, and of the partition for the bias, which depends on the points' values and not on their order.
    progress : bool
        Show a progress bar.

    Returns
    -------
    EntropyEstimate
        `local` holds ``ψ(n) − ψ(k) + log V_d + d log ε_i``, an estimate of −log p(x_i) without bias where p is constant
        within ε_i.

    Raises
    ------
    ValueError, TypeError
        Naming the argument: k ≥ n, n < 2, d = 0, NaN or infinity, constant or linearly dependent columns (no density),
        coinciding points with their number and the remedies.

    Warns
    -----
    BiasWarning
        When the bias exceeds the standard error and twice its noise.

    Notes
    -----
    Standard error. The local terms share neighbours, so their standard deviation over √n is too small (by a quarter for
    a uniform law and k = 3). The jackknife counts what point i does to the others: taking it away moves each of the
    m_i points that have it among their k nearest by 1/k, on average. Its variance ``Var(local_i − m_i/k)`` is too
    large by a number ``e(d, k)`` that is the same for every smooth density, since on the scale of a neighbourhood all
    of them are Poisson points; what is left over n is the squared error. See
    :mod:`thermokern.quantities.samples.errors_by_jackknife`.

    Bias. To leading order it depends on n and k as ``(k/n)^q``, q between 1/d (a density that ends at an edge) and
    2/d (smooth). Estimates at 2k, 4k, and from halves and quarters of the sample give its size and q. Doubling k/n
    shows the share ``2^q − 1`` of it; what is beyond is extrapolation and stands in its uncertainty, beside the noise
    and what q had to be bent to stay between its bounds. In five dimensions and more that is most of it: the bias is
    then a warning, not a correction.

    Valid for densities; the error for those that are smooth within ε. Where the bias is not small beside the spread of
    log p, q and with it the bias are rough.
    Cost: the neighbour search, O(n log n) in few dimensions; memory, with `bias`, 4k distances and indices a point for
    up to 2^23 of them; beyond, error and bias come from a random part of the sample, and the memory is the tree and k
    distances a point. 10⁷ points of float32 at k = 3: 5.0 to 5.6 times their own size in two dimensions and less in
    three, the points included (``benchmarks/entropy_memory.py``).

    References
    ----------
    Kozachenko and Leonenko, *Sample estimate of the entropy of a random vector*, 1987. Delattre and Fournier, *On the
    Kozachenko–Leonenko entropy estimator*, 2017, for the variance at k = 1 and the bias. Penrose and Yukich, *Limit
    theory for point processes in manifolds*, 2013, for the variance in general. Efron and Stein, *The jackknife
    estimate of variance*, 1981. Kodama and Hinczewski, *Performance limits of score-based generative models via
    stochastic thermodynamics*, 2025, App. H.2.2.
    """
    check_flags(bias=bias, progress=progress)
    points = checked_sample("x", x)
    unit, size = unit_and_size(base)
    seed, _ = checked_seed(seed)
    k = checked_neighbours("k", k, len(points))
    checked_choice("duplicates", duplicates, DUPLICATES)
    if jitter is not None:
        points = jittered(points, jitter, seed)
    if duplicates == "discrete":
        return shannon(points, unit, size, {"base": base, "jitter": jitter, "duplicates": duplicates, "seed": seed})
    check_density("x", points)
    units, log_volume = scaled(points, scale)
    sample = _Sample(units, log_volume, (k,), seed, bias, duplicates, progress, search_device(x))
    local, value = sample.local, sample.values[k]
    fraction = len(sample.part) / len(units)
    stderr = math.sqrt(sample.variance(k) / len(units))
    check_ties(sample.left_open, stderr, local, _REMEDIES)
    bias_of_part, exponent = sample.bias() if bias else (Estimate(math.nan, math.nan), math.nan)
    shrink = fraction**exponent if fraction < 1.0 else 1.0
    result = EntropyEstimate(
        value=value / size,
        stderr=stderr / size,
        unit=unit,
        local=local.div_(size).to(x.device if isinstance(x, Tensor) else "cpu"),
        method=METHOD.format(k=k),
        settings={
            "k": k,
            "base": base,
            "scale": None if scale is None else torch.as_tensor(scale, dtype=torch.float64, device="cpu").tolist(),
            "jitter": jitter,
            "duplicates": duplicates,
            "seed": seed,
            "bias_exponent": exponent,
            "points_for_error_and_bias": len(sample.part),
        },
        bias=Estimate(shrink * bias_of_part.value / size, shrink * bias_of_part.stderr / size, unit),
        bias_noise=shrink * sample.noise / size,
        dim=units.shape[1],
        by_k=_in_units(sample.by_k(), unit, size),
        by_size=_in_units(((len(units), Estimate(value, stderr)), *sample.by_size), unit, size),
    )
    warn_of_bias(result, "entropy", "take fewer neighbours k or more points")
    return result


def entropies_over_k(x: Tensor, ks: Sequence[int], seed: int = 0) -> tuple[tuple[int, Estimate], ...]:
    """The estimate and its standard error, nats, at every k of `ks`, from one search among checked points (n, d)."""
    units, log_volume = scaled(x, None)
    sample = _Sample(units, log_volume, ks, seed, False, "error", False, x.device)
    return tuple((k, Estimate(sample.values[k], math.sqrt(sample.variance(k) / len(units)))) for k in ks)


@dataclass
class _Sample:
    """Points with the distances to their neighbours, and a part of them small enough to look at closely."""

    points: Tensor  # (n, d)
    log_volume: float  # of the units
    ks: Sequence[int]  # wanted; the largest is the one that is looked at closely
    seed: int
    close: bool  # whether 2k, 4k neighbours and parts of the sample are wanted
    duplicates: str
    progress: bool
    device: torch.device  # where neighbours are sought

    def __post_init__(self) -> None:
        n, self.dim = self.points.shape
        self.k = max(self.ks)
        self.by_size: tuple[tuple[int, Estimate], ...] = ()
        self.noise = math.nan  # of the bias
        self.part = self.points
        top = min(4 * self.k, n - 1) if self.close else self.k
        small = n * top <= ENTRIES
        if small:
            self.near, self.who = self.neighbours(self.points, top)  # (n, top)
        distances = self.near if small else self.distances_of(self.points, self.k)
        _check_coincidence(distances, self.k, self.duplicates)
        self.left_open = open_at_rank(distances, self.k)
        self.local = self.terms(self.k, distances)
        self.values = {k: sorted_mean(self.local if k == self.k else self.terms(k, distances)) for k in self.ks}
        if not small:
            del distances
            self.part = self.points[random_order(self.points, self.seed)[: ENTRIES // (4 * self.k)]]
            self.near, self.who = self.neighbours(self.part, top)

    def neighbours(self, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances and indices of the `k` nearest others of each point, (n, k)."""
        distances, indices = KDTree(points.to(self.device)).neighbours(k, indices=True)
        return distances.cpu(), indices.cpu()

    def distances_of(self, points: Tensor, k: int) -> Tensor:
        distances: Tensor = KDTree(points.to(self.device)).neighbours(k)
        return distances.cpu()

    def terms(self, k: int, distances: Tensor) -> Tensor:
        """``ψ(n) − ψ(k) + log V_d + d log ε_i`` of points with these distances (n, ≥ k), (n,) float64."""
        constant = (digamma(len(distances)) - digamma(k)).item() + log_unit_ball(self.dim) + self.log_volume
        return distances[:, k - 1].double().log().mul_(self.dim).add_(constant)

    def influence(self, k: int) -> Tensor:
        """``local_i − m_i/k`` of the part, (n,)."""
        times = torch.bincount(self.who[:, :k].reshape(-1), minlength=len(self.part))
        return self.terms(k, self.near) - times.double() / k

    def variance(self, k: int) -> float:
        """Squared standard error, times n."""
        spread = self.influence(k).sort().values.var().item() if len(self.part) > 2 else math.nan
        least = torch.special.polygamma(
            1, torch.tensor(float(k), dtype=torch.float64, device="cpu")
        ).item()  # of a uniform law
        return max(spread - excess(self.dim, k), least) if math.isfinite(spread) else math.nan

    def by_k(self) -> tuple[tuple[int, Estimate], ...]:
        ladder = {*range(1, 11), *range(12, 21, 2), *range(25, self.near.shape[1], 5), self.k, 2 * self.k, 4 * self.k}
        found = []
        for k in sorted(k for k in ladder if k <= self.near.shape[1]):
            value = sorted_mean(self.terms(k, self.near))
            if math.isfinite(value):
                found.append((k, Estimate(value, math.sqrt(self.variance(k) / len(self.part)))))
        return tuple(found)

    def bias(self) -> tuple[Estimate, float]:
        """Bias of the estimate from the part, and the exponent q in ``(k/n)^q``."""
        n, k = len(self.part), self.k
        if self.near.shape[1] < 4 * k or n // 4 <= max(4 * k, LEAST_PART // 2):
            return Estimate(math.nan, math.nan), math.nan
        ordered = self.part[random_order(self.part, self.seed)]
        halvings = max(2, int(math.log2(n / max(LEAST_PART, 8 * k))))
        at: dict[tuple[int, int], float] = {}  # (multiple of k, halvings) to estimate
        for multiple in (1, 2, 4):
            at[multiple, 0] = sorted_mean(self.terms(multiple * k, self.near))
        sizes = []
        with Bar(total=halvings, progress=self.progress, unit="size", desc="bias") as bar:
            for level in range(1, halvings + 1):
                multiples = (1, 2) if level == 1 else (1,)
                parts = torch.tensor_split(ordered, 2**level)[:_PARTS]
                found = [self.distances_of(part, multiples[-1] * k) for part in parts]
                for multiple in multiples:
                    terms = [sorted_mean(self.terms(multiple * k, distances)) for distances in found]
                    at[multiple, level] = math.fsum(terms) / len(terms)
                count = sum(map(len, parts))
                sizes.append((len(parts[0]), Estimate(at[1, level], math.sqrt(self.variance(k) / count))))
                bar.update()
        self.by_size = tuple(sizes)
        noise = (self.influence(2 * k) - self.influence(k)).sort().values.std().item() / math.sqrt(n)
        value, q, self.noise, _ = extrapolated(at, self.dim, noise)
        return value, q


def _check_coincidence(distances: Tensor, k: int, duplicates: str) -> None:
    rank = 1 if duplicates == "error" else k
    zero = int((distances[:, rank - 1] == 0).sum())
    if zero:
        others = "another point" if rank == 1 else f"{rank} others"
        raise ValueError(
            f"x: {zero} of {len(distances)} points coincide with {others}, where a density has no two points alike and "
            f"log 0 would enter. Remedies: {_REMEDIES}; "
            + ('duplicates="keep" where a few points were stored twice' if rank == 1 else "more neighbours k")
        )


def _in_units(table: tuple[tuple[int, Estimate], ...], unit: str, size: float) -> tuple[tuple[int, Estimate], ...]:
    return tuple((key, Estimate(item.value / size, item.stderr / size, unit)) for key, item in table)
