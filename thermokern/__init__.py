"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern._info import VERSION as __version__
from thermokern._info import info
from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, SubVP
from thermokern.quantities import (
    TAEP,
    DetailedFluctuationTheorem,
    Elbo,
    EntropyRate,
    EntropyRates,
    Estimate,
    FewPathsWarning,
    Limits,
    LogLikelihood,
    Mode,
    Verdict,
    detailed_fluctuation_theorem,
    elbo,
    entropy_rates,
    limits,
    load,
    log_likelihood,
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
    "Elbo",
    "Empirical",
    "EntropyRate",
    "EntropyRates",
    "Estimate",
    "FewPathsWarning",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "Limits",
    "LogLikelihood",
    "Mode",
    "ScoreMLP",
    "ScoreModel",
    "SubVP",
    "SwissRoll",
    "UniformBox",
    "Verdict",
    "__version__",
    "detailed_fluctuation_theorem",
    "elbo",
    "entropy_rates",
    "info",
    "limits",
    "load",
    "load_checkpoint",
    "log_likelihood",
    "ops",
    "save_checkpoint",
    "taep",
]
