"""Entropy, information, divergence and coverage of samples."""

from thermokern.quantities.samples.coverage import Coverage, coverage
from thermokern.quantities.samples.entropy_histogram import histogram_entropy
from thermokern.quantities.samples.entropy_knn import kozachenko_leonenko
from thermokern.quantities.samples.entropy_table import EntropyTable, entropy_table
from thermokern.quantities.samples.information import knn_total_correlation, ksg_mutual_information
from thermokern.quantities.samples.kl_divergence import knn_divergence
from thermokern.quantities.samples.result import BiasWarning, EntropyEstimate, SampleEstimate

__all__ = [
    "BiasWarning",
    "Coverage",
    "EntropyEstimate",
    "EntropyTable",
    "SampleEstimate",
    "coverage",
    "entropy_table",
    "histogram_entropy",
    "knn_divergence",
    "knn_total_correlation",
    "kozachenko_leonenko",
    "ksg_mutual_information",
]
