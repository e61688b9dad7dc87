"""Scores: targets in closed form, networks, and adapters from one to the other."""

from thermokern.scores.box import UniformBox
from thermokern.scores.checkpoint import load_checkpoint, read_record, save_checkpoint
from thermokern.scores.diffusers import from_diffusers
from thermokern.scores.distributions import ArrayLike, Distribution, Gaussian, GaussianMixture
from thermokern.scores.divergence import exact_divergence
from thermokern.scores.empirical import Empirical
from thermokern.scores.fusion import NotFusable, fuse
from thermokern.scores.guidance import guided
from thermokern.scores.loss import score_matching_loss
from thermokern.scores.model import ScoreModel
from thermokern.scores.networks import ScoreMLP
from thermokern.scores.rotation import Rotation, common_axes, rotate
from thermokern.scores.swiss_roll import SwissRoll

__all__ = [
    "ArrayLike",
    "Distribution",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "NotFusable",
    "Rotation",
    "ScoreMLP",
    "ScoreModel",
    "SwissRoll",
    "UniformBox",
    "common_axes",
    "exact_divergence",
    "from_diffusers",
    "fuse",
    "guided",
    "load_checkpoint",
    "read_record",
    "rotate",
    "save_checkpoint",
    "score_matching_loss",
]
