"""Who runs paths: what is asked, backends, batches, checkpoints, generation."""

from thermokern.quantities.engine.checkpoint import CheckpointWarning
from thermokern.quantities.engine.divergence import Divergence, divergence
from thermokern.quantities.engine.generation import SamplePath, sample
from thermokern.quantities.engine.jumps import JumpingFieldWarning
from thermokern.quantities.engine.ranks import Group, OtherRankFailed, Ranks

__all__ = [
    "CheckpointWarning",
    "Divergence",
    "Group",
    "JumpingFieldWarning",
    "OtherRankFailed",
    "Ranks",
    "SamplePath",
    "divergence",
    "sample",
]
