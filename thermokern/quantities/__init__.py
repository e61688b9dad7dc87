"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.dissipation import entropy_production
from thermokern.quantities.dissipation_result import EntropyPart, EntropyProduction
from thermokern.quantities.elbo import Elbo, elbo
from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.likelihood import log_likelihood
from thermokern.quantities.likelihood_result import LogLikelihood
from thermokern.quantities.limits import limits
from thermokern.quantities.limits_result import Limits
from thermokern.quantities.modes import Mode
from thermokern.quantities.rates import entropy_rates
from thermokern.quantities.rates_result import EntropyRate, EntropyRates
from thermokern.quantities.result import TAEP
from thermokern.quantities.storage import load
from thermokern.quantities.taep import FewPathsWarning, taep
from thermokern.quantities.verdicts import Verdict

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "Elbo",
    "EntropyPart",
    "EntropyProduction",
    "EntropyRate",
    "EntropyRates",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Limits",
    "LogLikelihood",
    "Mode",
    "Verdict",
    "detailed_fluctuation_theorem",
    "elbo",
    "entropy_production",
    "entropy_rates",
    "limits",
    "load",
    "log_likelihood",
    "taep",
]
