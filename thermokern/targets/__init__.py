"""Laws of data with exact scores at every time of a process."""

from thermokern.targets.box import UniformBox
from thermokern.targets.conditional import ConditionalLaw
from thermokern.targets.distribution import ArrayLike, Distribution
from thermokern.targets.empirical import Empirical
from thermokern.targets.joint import GuidedGaussian, JointGaussian
from thermokern.targets.labelled import Labelled
from thermokern.targets.mixture import Gaussian, GaussianMixture
from thermokern.targets.own_times import law_score_at
from thermokern.targets.rotation import Rotation, common_axes, rotate
from thermokern.targets.swiss_roll import SwissRoll

__all__ = [
    "ArrayLike",
    "ConditionalLaw",
    "Distribution",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "GuidedGaussian",
    "JointGaussian",
    "Labelled",
    "Rotation",
    "SwissRoll",
    "UniformBox",
    "common_axes",
    "law_score_at",
    "rotate",
]
