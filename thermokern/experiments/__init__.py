"""The papers' figures and tables, on top of the quantities."""

from thermokern.experiments.capacity import CapacitySweep, capacity_sweep, shipped_capacity
from thermokern.experiments.limits import LimitsSweep, limits_sweep, shipped_limits
from thermokern.experiments.mode_collapse import COLLAPSES, PANELS, Collapse, ModeCollapse, mode_collapse
from thermokern.experiments.sweep import PROFILES, Profile, Run
from thermokern.experiments.training import TrainingRecipe

__all__ = [
    "COLLAPSES",
    "PANELS",
    "PROFILES",
    "CapacitySweep",
    "Collapse",
    "LimitsSweep",
    "ModeCollapse",
    "Profile",
    "Run",
    "TrainingRecipe",
    "capacity_sweep",
    "limits_sweep",
    "mode_collapse",
    "shipped_capacity",
    "shipped_limits",
]
