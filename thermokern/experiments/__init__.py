"""The papers' figures and tables, on top of the quantities."""

from thermokern.experiments.capacity import CapacitySweep, capacity_sweep, shipped_capacity
from thermokern.experiments.limits import LimitsSweep, limits_sweep, shipped_limits
from thermokern.experiments.mode_collapse import COLLAPSES, PANELS, Collapse, ModeCollapse, mode_collapse
from thermokern.experiments.penalty import PENALTY_PROFILES, PenaltySweep, penalty_sweep, shipped_penalty
from thermokern.experiments.sweep import PROFILES, Profile, Run
from thermokern.experiments.training import TrainingRecipe

__all__ = [
    "COLLAPSES",
    "PANELS",
    "PENALTY_PROFILES",
    "PROFILES",
    "CapacitySweep",
    "Collapse",
    "LimitsSweep",
    "ModeCollapse",
    "PenaltySweep",
    "Profile",
    "Run",
    "TrainingRecipe",
    "capacity_sweep",
    "limits_sweep",
    "mode_collapse",
    "penalty_sweep",
    "shipped_capacity",
    "shipped_limits",
    "shipped_penalty",
]
from thermokern.experiments.table1 import Table1, table1

__all__ = ["COLLAPSES", "PANELS", "Collapse", "ModeCollapse", "Table1", "TrainingRecipe", "mode_collapse", "table1"]
