"""What the estimators from samples give: a number, its error, and what each point adds to it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored

_LN2 = math.log(2.0)
_PER_UNIT = {"nats": 1.0, "bits": _LN2, "bans": math.log(10.0)}


class BiasWarning(UserWarning):
    """An estimate whose bias, as far as it can be seen, is larger than its standard error."""


@stored("sample-estimate")
@dataclass(frozen=True, eq=False)
class SampleEstimate(Estimate, Result):
    """An estimate from samples.

    Attributes
    ----------
    value, stderr : float
        The estimate and its standard error: sampling error alone, not bias.
    unit : str
    local : Tensor
        (n,) float64, what each point adds; its mean is the value.
    method : str
        Which estimator, in words.
    settings : dict
        All that defines the calculation.
    bias : Estimate
        How far the value is expected to lie above the truth, extrapolated from the sample, and how uncertain that is,
        the extrapolation included; NaN where the sample is too small to say. It is not taken off the value.
    bias_noise : float
        The part of the bias's uncertainty that is sampling error.
    """

    title: ClassVar[str] = "Estimate from a sample"

    local: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64, device="cpu"))
    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    bias: Estimate = field(default_factory=lambda: Estimate(math.nan, math.nan))
    bias_noise: float = 0.0

    @property
    def bias_exceeds_error(self) -> bool:
        """Whether the bias is larger than the standard error, and large enough to be told from zero."""
        return abs(self.bias.value) > max(self.stderr, 2.0 * self.bias_noise)

    def summary(self) -> str:
        """The estimate, its bias and how it was made, for people."""
        line = f"{self.method}: {self} {self.unit} from {len(self.local):,} points".rstrip()
        line += f"\n  estimated bias          {self._bias_in_words()}" * math.isfinite(self.bias.value)
        return "\n".join([line, *self.closing()])

    def law(self) -> str:
        """The law of the points."""
        return "the law that the points were drawn from, as far as their number resolves it"

    def conclusion(self) -> list[str]:
        """Whether the bias is small beside the error."""
        if not math.isfinite(self.bias.value):
            return ["The error is that of sampling; the bias of so few points is not known."]
        if self.bias_exceeds_error:
            return [
                f"Take care: the bias, about {self.bias.value:.2g} {self.unit}, exceeds the sampling error that stands "
                "beside the value; more points make it smaller."
            ]
        return ["The bias is smaller than the sampling error that stands beside the value."]

    def _bias_in_words(self) -> str:
        if not math.isfinite(self.bias.value):
            return "not known"
        return f"{self.bias} {self.unit}{'   larger than the standard error' if self.bias_exceeds_error else ''}"

    def numbers(self) -> dict[str, object]:
        """The estimate, and how it was made."""
        return {
            "method": self.method,
            "value": self.value,
            "stderr": self.stderr,
            "unit": self.unit,
            "n_points": len(self.local),
            "settings": self.settings,
            "bias": self.bias,
            "bias_noise": self.bias_noise,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each point."""
        return {"local": self.local}


@stored("entropy-estimate")
@dataclass(frozen=True, eq=False)
class EntropyEstimate(SampleEstimate):
    """Differential entropy of the law that points were drawn from.

    Attributes
    ----------
    dim : int
        Of the points.
    by_k : tuple of (k, Estimate)
        The estimate at other numbers of neighbours, where the method has them.
    by_size : tuple of (n, Estimate)
        The estimate from nested parts of the sample, averaged over parts of one size.
    """

    title: ClassVar[str] = "Entropy of a sample"

    dim: int = 1
    by_k: tuple[tuple[int, Estimate], ...] = ()
    by_size: tuple[tuple[int, Estimate], ...] = ()

    @property
    def bits_per_dim(self) -> Estimate:
        """The estimate in bits per dimension."""
        base: float = self.settings.get("base") or math.e
        per_unit = _PER_UNIT[self.unit] if self.unit in _PER_UNIT else math.log(base)
        factor = per_unit / (self.dim * _LN2)
        return Estimate(self.value * factor, self.stderr * factor, "bits per dimension")

    def summary(self) -> str:
        """The estimate, its bias and how it was made, for people."""
        lines = [
            f"entropy of {len(self.local):,} points in {self.dim} dimension{'s' * (self.dim > 1)}: {self.method}",
            f"  entropy                 {self} {self.unit}",
            f"  estimated bias          {self._bias_in_words()}",
        ]
        lines.append(f"  bits per dimension      {self.bits_per_dim}")
        return "\n".join([*lines, *self.closing()])

    def numbers(self) -> dict[str, object]:
        """The estimate, its bias, and the estimate at other k and from parts of the sample."""
        return {
            **super().numbers(),
            "dim": self.dim,
            "by_k": [{"k": k, **asdict(estimate)} for k, estimate in self.by_k],
            "by_size": [{"n": n, **asdict(estimate)} for n, estimate in self.by_size],
        }
