"""Networks as scores: adapters, the papers' perceptron, files, fusion and guidance."""

from thermokern.models.checkpoint import load_checkpoint, read_record, save_checkpoint
from thermokern.models.conditional import ConditionalModel, conditional_score_at
from thermokern.models.conditional_fusion import NetworkUnderConditions, network_under_conditions
from thermokern.models.conditional_mlp import ConditionalMLP, FitHistory
from thermokern.models.diffusers import from_diffusers
from thermokern.models.fit import fit_scores
from thermokern.models.from_ddpm import from_ddpm
from thermokern.models.from_flow import from_flow
from thermokern.models.fusion import fuse
from thermokern.models.guidance import guided
from thermokern.models.jacobian import exact_divergence
from thermokern.models.loss import score_matching_loss
from thermokern.models.perceptron import ScoreMLP
from thermokern.models.score_model import ScoreLike, ScoreModel, one_process

__all__ = [
    "ConditionalMLP",
    "ConditionalModel",
    "FitHistory",
    "NetworkUnderConditions",
    "ScoreLike",
    "ScoreMLP",
    "ScoreModel",
    "conditional_score_at",
    "exact_divergence",
    "fit_scores",
    "from_ddpm",
    "from_diffusers",
    "from_flow",
    "fuse",
    "guided",
    "load_checkpoint",
    "network_under_conditions",
    "one_process",
    "read_record",
    "save_checkpoint",
    "score_matching_loss",
]
