"""Classical entropy production of overdamped Langevin systems."""

from thermokern.quantities.dissipation.entropy_production import entropy_production
from thermokern.quantities.dissipation.result import EntropyPart, EntropyProduction
from thermokern.quantities.dissipation.systems import LinearForce

__all__ = [
    "EntropyPart",
    "EntropyProduction",
    "LinearForce",
    "entropy_production",
]
