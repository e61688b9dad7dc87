"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.coverage import Coverage, coverage
from thermokern.quantities.dissipation import entropy_production
from thermokern.quantities.dissipation_result import EntropyPart, EntropyProduction
from thermokern.quantities.divergence import Divergence, divergence
from thermokern.quantities.elbo import Elbo, elbo
from thermokern.quantities.entropy_table import EntropyTable, entropy_table
from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.histogram import histogram_entropy
from thermokern.quantities.knn_divergence import knn_divergence
from thermokern.quantities.likelihood import log_likelihood
from thermokern.quantities.likelihood_result import LogLikelihood
from thermokern.quantities.limits import limits
from thermokern.quantities.limits_result import Limits
from thermokern.quantities.modes import Mode
from thermokern.quantities.mutual_information import knn_total_correlation, ksg_mutual_information
from thermokern.quantities.nearest_neighbours import kozachenko_leonenko
from thermokern.quantities.probe_noise import ProbeNoise
from thermokern.quantities.rates import entropy_rates
from thermokern.quantities.rates_result import EntropyRate, EntropyRates
from thermokern.quantities.result import TAEP
from thermokern.quantities.sample_estimate import BiasWarning, EntropyEstimate, SampleEstimate
from thermokern.quantities.sampling import sample
from thermokern.quantities.storage import load
from thermokern.quantities.taep import FewPathsWarning, taep
from thermokern.quantities.verdicts import Verdict

__all__ = [
    "TAEP",
    "BiasWarning",
    "Coverage",
    "DetailedFluctuationTheorem",
    "Divergence",
    "Elbo",
    "EntropyEstimate",
    "EntropyPart",
    "EntropyProduction",
    "EntropyRate",
    "EntropyRates",
    "EntropyTable",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Limits",
    "LogLikelihood",
    "Mode",
    "ProbeNoise",
    "SampleEstimate",
    "Verdict",
    "coverage",
    "detailed_fluctuation_theorem",
    "divergence",
    "elbo",
    "entropy_production",
    "entropy_rates",
    "entropy_table",
    "histogram_entropy",
    "knn_divergence",
    "knn_total_correlation",
    "kozachenko_leonenko",
    "ksg_mutual_information",
    "limits",
    "load",
    "log_likelihood",
    "sample",
    "taep",
]
