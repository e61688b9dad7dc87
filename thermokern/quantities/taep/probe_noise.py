"""What Hutchinson's probes add to the variance of Δs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.storage import stored


@stored("probe-noise")
@dataclass(frozen=True)
class ProbeNoise:
    """The probes' share of the variance of Δs, from two independent sets of them.

    Each path has Δs by one set, A, and by the other, B; its value is their mean. Given the path ``A − B`` has mean 0,
    so the probes add ``⟨(A − B)²⟩/4`` to the variance of the values. They raise ``⟨e^{−Δs}⟩`` too, by about half of it.

    Attributes
    ----------
    contribution : Estimate
        ``⟨(A − B)²⟩/4``, nats².
    corrected_variance : Estimate
        The variance of the values without it.
    probes : int
        In each set.
    """

    contribution: Estimate
    corrected_variance: Estimate
    probes: int


def probe_noise(values: Tensor, difference: Tensor, probes: int) -> ProbeNoise:
    """From the values (n,) and the difference A − B (n,) of each path."""
    values, difference = values.detach().double(), difference.detach().double()
    n = len(values)
    share = difference.square() / 4.0
    squares = (values - values.mean()).square() * (n / max(n - 1, 1)) if n else values
    corrected = mean_estimate(squares - share, "nats²")
    return ProbeNoise(mean_estimate(share, "nats²"), corrected, probes)
