"""Laws of data with exact scores at every time of a process."""

from thermokern.targets.box import UniformBox
from thermokern.targets.distribution import ArrayLike, Distribution
from thermokern.targets.empirical import Empirical
from thermokern.targets.mixture import Gaussian, GaussianMixture
from thermokern.targets.rotation import Rotation, common_axes, rotate
from thermokern.targets.swiss_roll import SwissRoll

__all__ = [
    "ArrayLike",
    "Distribution",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Rotation",
    "SwissRoll",
    "UniformBox",
    "common_axes",
    "rotate",
]
