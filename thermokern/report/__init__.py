"""Figures and self-contained HTML reports."""

from thermokern.quantities.plots import taep_figure
from thermokern.report.figures import mode_collapse_figure
from thermokern.report.reports import write_mode_collapse, write_taep
from thermokern.report.training import training_figure, write_training

__all__ = [
    "mode_collapse_figure",
    "taep_figure",
    "training_figure",
    "write_mode_collapse",
    "write_taep",
    "write_training",
]
