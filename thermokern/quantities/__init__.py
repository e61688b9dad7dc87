"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.modes import Mode
from thermokern.quantities.storage import load
from thermokern.quantities.taep import TAEP, FewPathsWarning, taep

__all__ = ["TAEP", "Estimate", "ExponentialAverage", "FewPathsWarning", "Mode", "load", "taep"]
