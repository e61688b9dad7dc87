"""Several estimates of one entropy side by side, in the manner of Kodama and Hinczewski, Table 1."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from thermokern._bars import Bar
from thermokern.ops.checks import MOST, check_flags, checked_integer, checked_several
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.samples.entropy_histogram import Bins, histogram_entropy
from thermokern.quantities.samples.entropy_knn import entropies_over_k, kozachenko_leonenko
from thermokern.quantities.samples.entropy_maxima import box_entropy, gaussian_entropy
from thermokern.quantities.samples.inputs import SampleLike, checked_neighbours, checked_sample, jittered
from thermokern.quantities.samples.result import BiasWarning, EntropyEstimate

KS = (1, 3, 5, 10, 20)
HISTOGRAM_DIM = 2  # up to which a histogram is made unasked
_LN2 = math.log(2.0)


@stored("entropy-table")
@dataclass(frozen=True, eq=False)
class EntropyTable(Result):
    """Estimates of the entropy of one sample. Nats.

    Attributes
    ----------
    knn : EntropyEstimate
        Kozachenko–Leonenko at the number of neighbours that is recommended, with its bias and local entropies.
    over_k : tuple of (k, Estimate)
    histogram : EntropyEstimate or None
    gaussian, box : Estimate
        What a Gaussian of the same covariance and a uniform law on the same box have.
    dim, n : int
    """

    title: ClassVar[str] = "Entropy of a sample"

    knn: EntropyEstimate
    over_k: tuple[tuple[int, Estimate], ...]
    histogram: EntropyEstimate | None
    gaussian: Estimate
    box: Estimate
    dim: int
    n: int

    def rows(self) -> list[tuple[str, Estimate, Estimate]]:
        """Name, estimate and bias (NaN where not known) of each line of the table, nats."""
        unknown = Estimate(math.nan, math.nan)
        rows = []
        for k, estimate in self.over_k:
            bias = self.knn.bias if k == self.knn.settings["k"] else unknown
            rows.append((f"k-NN, k = {k}", estimate, bias))
        if self.histogram is not None:
            rows.append((self.histogram.method, self.histogram, self.histogram.bias))
        rows.append(("Gaussian of the same covariance", self.gaussian, unknown))
        rows.append(("uniform on the same box", self.box, unknown))
        return rows

    def bits_per_dim(self, estimate: Estimate) -> Estimate:
        """An estimate in nats, in bits per dimension."""
        scale = 1.0 / (self.dim * _LN2)
        return Estimate(estimate.value * scale, estimate.stderr * scale, "bits per dimension")

    def summary(self) -> str:
        """The table, for people."""
        name = max(34, *(len(row[0]) + 2 for row in self.rows()))
        head = f"{'':<{name}}{'bits per dimension':>24}{'nats':>24}{'bias (nats)':>20}"
        lines = [f"entropy of {self.n:,} points in {self.dim} dimension{'s' * (self.dim > 1)}", head, "-" * len(head)]
        for label, estimate, bias in self.rows():
            known = f"{bias.value:+.2g} ± {bias.stderr:.1g}" if math.isfinite(bias.value) else ""
            lines.append(f"{label:<{name}}{plain(self.bits_per_dim(estimate)):>24}{plain(estimate):>24}{known:>20}")
        for label, checked in (("k-NN", self.knn), ("histogram", self.histogram)):
            if checked is not None and checked.bias_exceeds_error:
                lines.append(f"{label}: the bias exceeds the standard error, which is sampling error alone")
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law of the points."""
        return self.knn.law()

    def conclusion(self) -> list[str]:
        """Whether the nearest neighbours' estimate is to be trusted, and how large it is for each dimension."""
        return [
            *self.knn.conclusion(),
            f"Nearest neighbours find {self.knn} nats, {self.knn.bits_per_dim} bits for each "
            "dimension; a histogram is good for few dimensions only.",
        ]

    def numbers(self) -> dict[str, object]:
        """The table, and its two estimates in full."""
        return {
            "n": self.n,
            "dim": self.dim,
            "rows": [
                {
                    "estimator": label,
                    "nats": Estimate(estimate.value, estimate.stderr),
                    "bits_per_dim": self.bits_per_dim(estimate),
                    "bias_nats": bias,
                }
                for label, estimate, bias in self.rows()
            ],
            "knn": self.knn,
            "histogram": self.histogram,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each estimator."""
        labels, estimates, biases = zip(*self.rows(), strict=True)
        return {"estimator": [*labels], "nats": [*estimates], "bias_nats": [*biases]}


def entropy_table(
    x: SampleLike,
    *,
    k: int = 3,
    ks: Sequence[int] = KS,
    bins: Bins | None = None,
    jitter: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> EntropyTable:
    """Entropy of a sample by nearest neighbours at several k, by a histogram, and the Gaussian and uniform references.

    Parameters
    ----------
    x : Tensor or array
        (n, d) points.
    k : int
        Of the estimate whose bias and local entropies are worked out.
    ks : sequence of int
        Numbers of neighbours of the table; those that are not below n are left out.
    bins : optional
        See :func:`histogram_entropy`; without it, Knuth's rule in up to two dimensions and no histogram in more.
    jitter, seed
        See :func:`kozachenko_leonenko`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    EntropyTable

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    """
    check_flags(progress=progress)
    points = checked_sample("x", x)
    if jitter is not None:
        points = jittered(points, jitter, seed)
    n, dim = points.shape
    k = checked_neighbours("k", k, n)
    wanted = sorted({k, *(checked_integer("ks", number, 1, MOST) for number in checked_several("ks", ks))})
    with warnings.catch_warnings(), Bar(total=3, progress=progress, unit="estimate", desc="entropy") as bar:
        warnings.simplefilter("ignore", BiasWarning)  # the table says it
        knn = kozachenko_leonenko(points, k, seed=seed, progress=progress)
        bar.update()
        over_k = entropies_over_k(points, [number for number in wanted if number < n], seed)
        bar.update()
        made = bins is not None or dim <= HISTOGRAM_DIM
        histogram = histogram_entropy(points, "knuth" if bins is None else bins) if made else None
        bar.update()
    return EntropyTable(knn, over_k, histogram, gaussian_entropy(points), box_entropy(points), dim, n)


def plain(estimate: Estimate) -> str:
    """An estimate, its error left out where it is not known."""
    return str(estimate) if math.isfinite(estimate.stderr) else f"{estimate.value:.4f}"
