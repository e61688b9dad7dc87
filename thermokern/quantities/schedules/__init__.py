"""Schedules: the times at which a sampler of few steps should stop, and what bound on its likelihood they buy."""

from thermokern.quantities.schedules.optimal_schedule import optimal_schedule
from thermokern.quantities.schedules.result import Comparison, Schedules
from thermokern.quantities.schedules.standards import STANDARDS, standard_times

__all__ = ["STANDARDS", "Comparison", "Schedules", "optimal_schedule", "standard_times"]
