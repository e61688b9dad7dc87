"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern._info import VERSION as __version__
from thermokern._info import info
from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, LinearForce, SubVP
from thermokern.quantities import (
    TAEP,
    DetailedFluctuationTheorem,
    EntropyPart,
    EntropyProduction,
    Estimate,
    FewPathsWarning,
    Mode,
    detailed_fluctuation_theorem,
    entropy_production,
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
    "CosineVP",
    "DetailedFluctuationTheorem",
    "DiscreteVP",
    "Empirical",
    "EntropyPart",
    "EntropyProduction",
    "Estimate",
    "FewPathsWarning",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "LinearForce",
    "Mode",
    "ScoreMLP",
    "ScoreModel",
    "SubVP",
    "SwissRoll",
    "UniformBox",
    "__version__",
    "detailed_fluctuation_theorem",
    "entropy_production",
    "info",
    "load",
    "load_checkpoint",
    "ops",
    "save_checkpoint",
    "taep",
]
