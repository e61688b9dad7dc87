"""Who runs paths: what is asked, backends, batches, checkpoints, generation."""

from thermokern.quantities.engine.checkpoint import CheckpointWarning
from thermokern.quantities.engine.divergence import Divergence, divergence
from thermokern.quantities.engine.generation import SamplePath, sample
from thermokern.quantities.engine.jumps import JumpingFieldWarning

__all__ = [
    "CheckpointWarning",
    "Divergence",
    "JumpingFieldWarning",
    "SamplePath",
    "divergence",
    "sample",
]
