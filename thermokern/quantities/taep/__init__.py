"""Time-asymmetry entropy production of trajectories."""

from thermokern.quantities.taep.fluctuation import DetailedFluctuationTheorem, detailed_fluctuation_theorem
from thermokern.quantities.taep.modes import Mode
from thermokern.quantities.taep.probe_noise import ProbeNoise
from thermokern.quantities.taep.result import TAEP
from thermokern.quantities.taep.taep import taep

__all__ = [
    "TAEP",
    "DetailedFluctuationTheorem",
    "Mode",
    "ProbeNoise",
    "detailed_fluctuation_theorem",
    "taep",
]
