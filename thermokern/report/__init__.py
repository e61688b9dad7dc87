"""Figures and self-contained HTML reports."""

from thermokern.report import information as _information  # noqa: F401  registers its particulars
from thermokern.report.entropy import write_table1
from thermokern.report.figures import mode_collapse_figure
from thermokern.report.reports import write_mode_collapse
from thermokern.report.results import write_result
from thermokern.report.sweep_figures import capacity_figure, limits_sweep_figure, penalty_figure
from thermokern.report.sweep_reports import write_capacity, write_limits_sweep, write_penalty
from thermokern.report.training import training_figure, write_training

__all__ = [
    "capacity_figure",
    "limits_sweep_figure",
    "mode_collapse_figure",
    "penalty_figure",
    "training_figure",
    "write_capacity",
    "write_limits_sweep",
    "write_mode_collapse",
    "write_penalty",
    "write_result",
    "write_table1",
    "write_training",
]
