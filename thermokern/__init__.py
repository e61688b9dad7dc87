"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern._info import VERSION as __version__
from thermokern._info import info
from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, SubVP
from thermokern.quantities import TAEP, Estimate, FewPathsWarning, taep
from thermokern.scores import (
    Gaussian,
    GaussianMixture,
    ScoreMLP,
    ScoreModel,
    load_checkpoint,
    save_checkpoint,
)

__all__ = [
    "EDM",
    "TAEP",
    "VE",
    "VP",
    "CosineVP",
    "DiscreteVP",
    "Estimate",
    "FewPathsWarning",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "ScoreMLP",
    "ScoreModel",
    "SubVP",
    "__version__",
    "info",
    "load_checkpoint",
    "ops",
    "save_checkpoint",
    "taep",
]
