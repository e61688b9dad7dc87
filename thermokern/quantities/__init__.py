"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.dissipation import entropy_production
from thermokern.quantities.dissipation_result import EntropyPart, EntropyProduction
from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.modes import Mode
from thermokern.quantities.result import TAEP
from thermokern.quantities.storage import load
from thermokern.quantities.taep import FewPathsWarning, taep

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "EntropyPart",
    "EntropyProduction",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Mode",
    "detailed_fluctuation_theorem",
    "entropy_production",
    "load",
    "taep",
]
