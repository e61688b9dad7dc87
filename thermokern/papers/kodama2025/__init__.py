"""Kodama and Hinczewski, 2025: likelihoods of diffusion models and the limits that entropy rates set."""

from thermokern.papers.kodama2025.capacity import CapacitySweep, capacity_sweep, read_capacity, shipped_capacity
from thermokern.papers.kodama2025.limits import LimitsSweep, limits_sweep, shipped_limits
from thermokern.papers.kodama2025.penalty import PENALTY_PROFILES, PenaltySweep, penalty_sweep, shipped_penalty
from thermokern.papers.kodama2025.sweep import PROFILES, Profile, Run
from thermokern.papers.kodama2025.table1 import Table1, table1

__all__ = [
    "PENALTY_PROFILES",
    "PROFILES",
    "CapacitySweep",
    "LimitsSweep",
    "PenaltySweep",
    "Profile",
    "Run",
    "Table1",
    "capacity_sweep",
    "limits_sweep",
    "penalty_sweep",
    "read_capacity",
    "shipped_capacity",
    "shipped_limits",
    "shipped_penalty",
    "table1",
]
