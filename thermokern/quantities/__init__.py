"""Quantities of stochastic thermodynamics, with standard errors."""

from thermokern.quantities.coverage import Coverage, coverage
from thermokern.quantities.entropy_table import EntropyTable, entropy_table
from thermokern.quantities.estimate import Estimate, ExponentialAverage
from thermokern.quantities.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.histogram import histogram_entropy
from thermokern.quantities.knn_divergence import knn_divergence
from thermokern.quantities.modes import Mode
from thermokern.quantities.mutual_information import knn_total_correlation, ksg_mutual_information
from thermokern.quantities.nearest_neighbours import kozachenko_leonenko
from thermokern.quantities.result import TAEP
from thermokern.quantities.sample_estimate import BiasWarning, EntropyEstimate, SampleEstimate
from thermokern.quantities.storage import load
from thermokern.quantities.taep import FewPathsWarning, taep

__all__ = [
    "TAEP",
    "BiasWarning",
    "Coverage",
    "DetailedFluctuationTheorem",
    "EntropyEstimate",
    "EntropyTable",
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Mode",
    "SampleEstimate",
    "coverage",
    "detailed_fluctuation_theorem",
    "entropy_table",
    "histogram_entropy",
    "knn_divergence",
    "knn_total_correlation",
    "kozachenko_leonenko",
    "ksg_mutual_information",
    "load",
    "taep",
]
