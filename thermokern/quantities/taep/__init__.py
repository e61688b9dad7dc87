"""Time-asymmetry entropy production of trajectories."""

from thermokern.quantities.taep.concatenate import concatenate
from thermokern.quantities.taep.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.taep.modes import Mode
from thermokern.quantities.taep.overlap import Overlap, overlap
from thermokern.quantities.taep.probe_noise import ProbeNoise
from thermokern.quantities.taep.result import TAEP
from thermokern.quantities.taep.step_error import EndpointError, StepError, StepTooLongWarning
from thermokern.quantities.taep.taep import taep
from thermokern.quantities.taep.warn import TimesBetweenWarning

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "EndpointError",
    "Mode",
    "Overlap",
    "ProbeNoise",
    "StepError",
    "StepTooLongWarning",
    "TimesBetweenWarning",
    "concatenate",
    "detailed_fluctuation_theorem",
    "overlap",
    "taep",
]
