"""What a diffusion model stores and what its condition tells: integrals over noise levels of differences of scores."""

from thermokern.quantities.information.curve import InformationCurve
from thermokern.quantities.information.estimates import FewEvaluationsWarning
from thermokern.quantities.information.mutual_information import mutual_information
from thermokern.quantities.information.neural_entropy import neural_entropy
from thermokern.quantities.information.pointwise import pointwise_mutual_information
from thermokern.quantities.information.result import (
    MutualInformation,
    NeuralEntropy,
    PointwiseMutualInformation,
    TotalCorrelation,
)
from thermokern.quantities.information.total_correlation import total_correlation

__all__ = [
    "FewEvaluationsWarning",
    "InformationCurve",
    "MutualInformation",
    "NeuralEntropy",
    "PointwiseMutualInformation",
    "TotalCorrelation",
    "mutual_information",
    "neural_entropy",
    "pointwise_mutual_information",
    "total_correlation",
]
