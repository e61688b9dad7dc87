"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern._info import VERSION as __version__
from thermokern._info import info
from thermokern.ops import KDTree
from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, SubVP
from thermokern.quantities import (
    TAEP,
    BiasWarning,
    Coverage,
    DetailedFluctuationTheorem,
    EntropyEstimate,
    Estimate,
    FewPathsWarning,
    Mode,
    SampleEstimate,
    coverage,
    detailed_fluctuation_theorem,
    histogram_entropy,
    knn_divergence,
    knn_total_correlation,
    kozachenko_leonenko,
    ksg_mutual_information,
    load,
    taep,
)
from thermokern.scores import (
    Empirical,
    Gaussian,
    GaussianMixture,
    ScoreMLP,
    ScoreModel,
    SwissRoll,
    UniformBox,
    load_checkpoint,
    save_checkpoint,
)

__all__ = [
    "EDM",
    "TAEP",
    "VE",
    "VP",
    "BiasWarning",
    "CosineVP",
    "Coverage",
    "DetailedFluctuationTheorem",
    "DiscreteVP",
    "Empirical",
    "EntropyEstimate",
    "Estimate",
    "FewPathsWarning",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "KDTree",
    "Mode",
    "SampleEstimate",
    "ScoreMLP",
    "ScoreModel",
    "SubVP",
    "SwissRoll",
    "UniformBox",
    "__version__",
    "coverage",
    "detailed_fluctuation_theorem",
    "histogram_entropy",
    "info",
    "knn_divergence",
    "knn_total_correlation",
    "kozachenko_leonenko",
    "ksg_mutual_information",
    "load",
    "load_checkpoint",
    "ops",
    "save_checkpoint",
    "taep",
]
