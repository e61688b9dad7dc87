"""The papers' figures and tables, on top of the quantities."""

from thermokern.experiments.mode_collapse import COLLAPSES, PANELS, Collapse, ModeCollapse, mode_collapse
from thermokern.experiments.table1 import Table1, table1
from thermokern.experiments.training import TrainingRecipe

__all__ = ["COLLAPSES", "PANELS", "Collapse", "ModeCollapse", "Table1", "TrainingRecipe", "mode_collapse", "table1"]
