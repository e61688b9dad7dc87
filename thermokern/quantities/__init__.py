"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.taep import TAEP, FewPathsWarning, taep

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "detailed_fluctuation_theorem",
    "taep",
]
