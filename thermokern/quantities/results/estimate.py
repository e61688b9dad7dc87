"""Estimates from samples, with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from thermokern import ops
from thermokern.quantities.results.pareto import UNRELIABLE, pareto_shape
from thermokern.quantities.results.storage import stored

# A share of effective paths below which the exponential average is carried by too few to be trusted.
FEW_PATHS = 0.01
# A share of the sum of squared weights that a single one of many can carry only where their tail is heavy.
LARGE_SHARE = 0.1
_PLAIN = (1e-4, 1e9)  # sizes that are read without an exponent


class FewPathsWarning(UserWarning):
    """An exponential average whose standard error is not to be trusted."""


@stored("estimate")
@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, both in `unit`."""

    value: float
    stderr: float
    unit: str = "nats"

    def __str__(self) -> str:
        if not math.isfinite(self.value) or not math.isfinite(self.stderr) or self.stderr == 0.0:
            return f"{self.value:.6g} ± {self.stderr:.2g}"
        size = max(abs(self.value), self.stderr)
        exponent = math.floor(math.log10(self.stderr))
        if not _PLAIN[0] <= size < _PLAIN[1]:
            digits = max(1, math.floor(math.log10(size)) - exponent + 1)
            return f"{self.value:.{digits}e} ± {self.stderr:.1e}"
        digits = max(0, 1 - exponent)
        return f"{self.value:.{digits}f} ± {self.stderr:.{digits}f}"

    def z(self, truth: float) -> float:
        """How many standard errors the value lies above `truth`; where it has no error, infinite or NaN."""
        difference = self.value - truth
        if self.stderr == 0.0:
            return math.copysign(math.inf, difference) if difference else math.nan
        return difference / self.stderr


def mean_estimate(values: Tensor, unit: str = "nats") -> Estimate:
    """Mean of `values` (n,) with standard error ``s/√n``; NaN where n is too small to say."""
    m = ops.moments(values)
    mean = m.mean if m.n > 0 else math.nan
    return Estimate(mean, math.sqrt(m.m2 / (m.n - 1) / m.n) if m.n > 1 else math.nan, unit)


def variance_estimate(values: Tensor, unit: str = "nats²") -> Estimate:
    """Unbiased variance of `values` (n,) with standard error ``√((μ_4 − (n−3)/(n−1) s⁴)/n)``.

    References
    ----------
    Mood, Graybill and Boes, *Introduction to the theory of statistics*, 3rd ed., VI.2, Theorem 2.
    """
    m = ops.moments(values)
    if m.n < 2:
        return Estimate(math.nan, math.nan, unit)
    variance = m.m2 / (m.n - 1)
    fourth = m.m4 / m.n
    return Estimate(variance, math.sqrt(max(0.0, fourth - (m.n - 3) / (m.n - 1) * variance**2) / m.n), unit)


@stored("exponential-average")
@dataclass(frozen=True)
class ExponentialAverage(Estimate):
    """``⟨e^{±x}⟩`` with the number of paths that carry it.

    Attributes
    ----------
    effective_sample_size : float
        ``(Σw)²/Σw²`` of the weights ``w = e^{±x}``: how many equal weights would average as well.
    n : int
        Size of the sample.
    pareto_shape : float
        Of the largest weights, see :func:`pareto_shape`: above ½ weights have no variance. NaN where there are too few
        weights to say.
    largest_share : float
        Of ``Σw²``, what the largest weight carries.
    """

    effective_sample_size: float = math.nan
    n: int = 0
    pareto_shape: float = math.nan
    largest_share: float = math.nan

    @property
    def has_heavy_tail(self) -> bool:
        """Whether the weights look as if they had no variance, whatever the effective sample size says.

        A small cluster of equal weights has a large shape too; but there no single weight carries the sum of squares.
        """
        return self.pareto_shape > UNRELIABLE and self.largest_share > LARGE_SHARE

    @property
    def is_reliable(self) -> bool:
        """Whether the standard error can be trusted, as far as the weights tell."""
        return not (self.has_heavy_tail or self.effective_sample_size < FEW_PATHS * self.n)


def exponential_average(values: Tensor, scale: float) -> ExponentialAverage:
    """``⟨e^{scale · x}⟩`` over `values` (n,), by log-sum-exp, with its effective sample size and Pareto shape."""
    n = len(values)
    sums = ops.exponential_sums(values, scale)
    if n == 0:
        return ExponentialAverage(math.nan, math.nan, "")
    unit = _exp(sums.top)
    mean, square = sums.first / n, sums.second / n
    stderr = math.sqrt(max(0.0, square - mean**2) / (n - 1)) if n > 1 else math.nan
    return ExponentialAverage(
        unit * mean,
        unit * stderr,
        "",
        effective_sample_size=sums.first**2 / sums.second,
        n=n,
        pareto_shape=pareto_shape(scale * values),
        largest_share=1.0 / sums.second,
    )


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.0 else math.inf
