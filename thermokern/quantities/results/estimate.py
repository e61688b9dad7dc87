"""Estimates from samples, with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from torch import Tensor

from thermokern import ops
from thermokern.quantities.results.formats import written, written_as
from thermokern.quantities.results.pareto import UNRELIABLE, pareto_shape
from thermokern.quantities.results.storage import stored

# A share of effective paths below which the exponential average is carried by too few to be trusted.
FEW_PATHS = 0.01
# A share of the sum of squared weights that a single one of many can carry only where their tail is heavy.
LARGE_SHARE = 0.1


class FewPathsWarning(UserWarning):
    """An exponential average whose standard error is not to be trusted."""


@stored("estimate")
@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, both in `unit`.

    It is its value wherever a number is asked for: ``float(estimate)``, ``estimate < 0.5``, ``2 * estimate + 1`` (the
    error scales along). Two estimates are equal where value, error and unit are. ``f"{estimate:.2f}"`` writes value and
    error in one format, ``f"{estimate}"`` the digits that the error leaves meaning to. Estimates are not added to one
    another: nothing is known of how their errors go together.
    """

    value: float
    stderr: float
    unit: str = "nats"

    def __str__(self) -> str:
        return written(self.value, self.stderr)

    def __format__(self, spec: str) -> str:
        return written_as(self.value, self.stderr, spec)

    def _repr_html_(self) -> str:
        return escape(f"{self} {self.unit}".rstrip())

    def __float__(self) -> float:
        return float(self.value)

    def __lt__(self, other: float | Estimate) -> bool:
        return self.value < _number(other)

    def __le__(self, other: float | Estimate) -> bool:
        return self.value <= _number(other)

    def __gt__(self, other: float | Estimate) -> bool:
        return self.value > _number(other)

    def __ge__(self, other: float | Estimate) -> bool:
        return self.value >= _number(other)

    def __mul__(self, factor: float) -> Estimate:
        if not isinstance(factor, int | float):
            return NotImplemented
        return Estimate(self.value * factor, self.stderr * abs(factor), self.unit)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Estimate:
        if not isinstance(divisor, int | float):
            return NotImplemented
        return Estimate(self.value / divisor, self.stderr / abs(divisor), self.unit)

    def __add__(self, number: float) -> Estimate:
        if not isinstance(number, int | float):
            return NotImplemented
        return Estimate(self.value + number, self.stderr, self.unit)

    __radd__ = __add__

    def __sub__(self, number: float) -> Estimate:
        return self + (-number) if isinstance(number, int | float) else NotImplemented

    def __rsub__(self, number: float) -> Estimate:
        return -self + number if isinstance(number, int | float) else NotImplemented

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, self.stderr, self.unit)

    def __abs__(self) -> Estimate:
        return Estimate(abs(self.value), self.stderr, self.unit)

    def z(self, truth: float) -> float:
        """How many standard errors the value lies above `truth`; where it has no error, infinite or NaN."""
        difference = self.value - truth
        if self.stderr == 0.0:
            return math.copysign(math.inf, difference) if difference else math.nan
        return difference / self.stderr


def _number(other: object) -> float:
    if isinstance(other, str) or not hasattr(other, "__float__"):
        raise TypeError(f"an estimate is compared with numbers and estimates, got {type(other).__name__}")
    return float(other)


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
        return not self.doubts()

    def doubts(self) -> list[str]:
        """Why the standard error is not to be trusted, in words; empty where the weights give no reason."""
        reasons = []
        if self.has_heavy_tail:
            reasons.append(
                f"its weights have a tail of Pareto shape {self.pareto_shape:.2f}, and from {UNRELIABLE} on no "
                f"variance (the largest carries {self.largest_share:.0%} of their squares)"
            )
        if self.effective_sample_size < FEW_PATHS * self.n:
            reasons.append(f"about {self.effective_sample_size:.1f} of {self.n} paths carry it; use more paths")
        return reasons


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
