"""Self-contained HTML pages of results."""

from thermokern.quantities.taep.figures import taep_figure
from thermokern.report.entropy import write_entropy
from thermokern.report.limits import write_limits
from thermokern.report.reports import write_taep

__all__ = [
    "taep_figure",
    "write_entropy",
    "write_limits",
    "write_taep",
]
