"""Figures and self-contained HTML reports."""

from thermokern.quantities.taep.figures import taep_figure
from thermokern.report.entropy import write_entropy, write_table1
from thermokern.report.figures import mode_collapse_figure
from thermokern.report.limits import write_limits
from thermokern.report.reports import write_mode_collapse, write_taep
from thermokern.report.sweep_figures import capacity_figure, limits_sweep_figure, penalty_figure
from thermokern.report.sweep_reports import write_capacity, write_limits_sweep, write_penalty
from thermokern.report.training import training_figure, write_training

__all__ = [
    "capacity_figure",
    "limits_sweep_figure",
    "mode_collapse_figure",
    "penalty_figure",
    "taep_figure",
    "training_figure",
    "write_capacity",
    "write_entropy",
    "write_limits",
    "write_limits_sweep",
    "write_mode_collapse",
    "write_penalty",
    "write_table1",
    "write_taep",
    "write_training",
]
