"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern._info import VERSION as __version__
from thermokern._info import info
from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, SubVP
from thermokern.quantities import (
    TAEP,
    DetailedFluctuationTheorem,
    Divergence,
    Estimate,
    FewPathsWarning,
    Mode,
    ProbeNoise,
    detailed_fluctuation_theorem,
    divergence,
    load,
    sample,
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
    from_diffusers,
    guided,
    load_checkpoint,
    save_checkpoint,
    score_matching_loss,
)

__all__ = [
    "EDM",
    "TAEP",
    "VE",
    "VP",
    "CosineVP",
    "DetailedFluctuationTheorem",
    "DiscreteVP",
    "Divergence",
    "Empirical",
    "Estimate",
    "FewPathsWarning",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "Mode",
    "ProbeNoise",
    "ScoreMLP",
    "ScoreModel",
    "SubVP",
    "SwissRoll",
    "UniformBox",
    "__version__",
    "detailed_fluctuation_theorem",
    "divergence",
    "from_diffusers",
    "guided",
    "info",
    "load",
    "load_checkpoint",
    "ops",
    "sample",
    "save_checkpoint",
    "score_matching_loss",
    "taep",
]
