"""Learning dynamics: curvature of the loss, noise of its gradient, and what ties them."""

from thermokern.quantities.learning.bartlett import Bartlett, bartlett
from thermokern.quantities.learning.gradient_noise import gradient_noise
from thermokern.quantities.learning.loss_curvature import loss_curvature
from thermokern.quantities.learning.monitor import TrainingMonitor
from thermokern.quantities.learning.noise_curvature import NoiseCurvature, noise_curvature
from thermokern.quantities.learning.path_derivatives import PathDerivatives, path_derivatives
from thermokern.quantities.learning.result import Curvature, GradientNoise
from thermokern.quantities.learning.subsets import ParameterSubset, parameter_subset, parameter_subsets
from thermokern.quantities.learning.training_log import TrainingLog, TrainingMeasurement

__all__ = [
    "Bartlett",
    "Curvature",
    "GradientNoise",
    "NoiseCurvature",
    "ParameterSubset",
    "PathDerivatives",
    "TrainingLog",
    "TrainingMeasurement",
    "TrainingMonitor",
    "bartlett",
    "gradient_noise",
    "loss_curvature",
    "noise_curvature",
    "parameter_subset",
    "parameter_subsets",
    "path_derivatives",
]
