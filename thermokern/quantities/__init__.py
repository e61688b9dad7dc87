"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.divergence import Divergence, divergence
from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.modes import Mode
from thermokern.quantities.probe_noise import ProbeNoise
from thermokern.quantities.result import TAEP
from thermokern.quantities.sampling import sample
from thermokern.quantities.storage import load
from thermokern.quantities.taep import FewPathsWarning, taep

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "Divergence",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Mode",
    "ProbeNoise",
    "detailed_fluctuation_theorem",
    "divergence",
    "load",
    "sample",
    "taep",
]
