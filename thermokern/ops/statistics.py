"""Moments and exponential averages by a fixed tree: the same bits for any number of threads on one instruction set."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import DEVICES, PRECISIONS, array_of, check_kind, checked_number
from thermokern.ops.registry import run_kernel


class Moments(NamedTuple):
    """Sample size, mean, and ``m_p = Σ (x − mean)^p``."""

    n: float
    mean: float
    m2: float
    m3: float
    m4: float

    def merge(self, other: Moments) -> Moments:
        """Those of both samples together.

        References
        ----------
        Pébay, *Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
        moments*, Sandia SAND2008-6212, Eq. 3.1.
        """
        if not self.n or not other.n:
            return other if not self.n else self
        n, delta = self.n + other.n, other.mean - self.mean
        shift, product = delta / n, self.n * other.n
        return Moments(
            n,
            self.mean + other.n * shift,
            self.m2 + other.m2 + product * delta * shift,
            self.m3
            + other.m3
            + product * (self.n - other.n) * delta * shift**2
            + 3.0 * shift * (self.n * other.m2 - other.n * self.m2),
            self.m4
            + other.m4
            + product * (self.n**2 - product + other.n**2) * delta * shift**3
            + 6.0 * shift**2 * (self.n**2 * other.m2 + other.n**2 * self.m2)
            + 4.0 * shift * (self.n * other.m3 - other.n * self.m3),
        )


class ExponentialSums(NamedTuple):
    """``top = max x``, ``first = Σ e^{x − top}``, ``second = Σ e^{2(x − top)}``."""

    top: float
    first: float
    second: float

    def merge(self, other: ExponentialSums) -> ExponentialSums:
        """Those of both samples together."""
        if not self.first or not other.first:
            return other if not self.first else self
        top = max(self.top, other.top)
        one, two = math.exp(self.top - top), math.exp(other.top - top)
        return ExponentialSums(top, self.first * one + other.first * two, self.second * one**2 + other.second * two**2)


def moments_reference(values: Tensor) -> Moments:
    """:func:`moments` in PyTorch."""
    values = _checked(values).to(torch.float64)
    mean = values.mean() if len(values) else torch.zeros((), dtype=torch.float64, device="cpu")
    powers = [(values - mean).pow(p).sum().item() for p in (2, 3, 4)]
    return Moments(float(len(values)), mean.item(), *powers)


def moments(values: Tensor) -> Moments:
    """Mean and central sums of `values` (n,), accumulated in float64."""
    values = _plain(values)
    return Moments(*run_kernel("moments", values, values))


def exponential_sums_reference(values: Tensor, scale: float = 1.0) -> ExponentialSums:
    """:func:`exponential_sums` in PyTorch."""
    scale = checked_number("scale", scale)
    exponents = scale * _checked(values).to(torch.float64)
    if not len(values):
        return ExponentialSums(float("-inf"), 0.0, 0.0)
    top = exponents.max()
    return ExponentialSums(
        top.item(), (exponents - top).exp().sum().item(), (2.0 * (exponents - top)).exp().sum().item()
    )


def exponential_sums(values: Tensor, scale: float = 1.0) -> ExponentialSums:
    """Sums of ``e^{scale · x}`` and its square over `values` (n,), relative to the largest, in float64."""
    values, scale = _plain(values), checked_number("scale", scale)
    return ExponentialSums(*run_kernel("exponential_sums", values, values, scale))


def _checked(values: Tensor) -> Tensor:
    """Real numbers (n,)."""
    check_kind("values", values, Tensor)
    values = array_of("values", values)
    if values.dim() != 1:
        raise ValueError(f"values: expected (n,), got {tuple(values.shape)}")
    return values


def _plain(values: Tensor) -> Tensor:
    values = _checked(values)
    values = values.detach().contiguous() if values.device.type in DEVICES else values.detach().cpu().contiguous()
    return values if values.dtype in PRECISIONS else values.float()
