"""Linear diffusion processes, their time grids and tables of per-step coefficients."""

from thermokern.processes.linear import VE, VP, LinearProcess
from thermokern.processes.tables import step_table

__all__ = ["VE", "VP", "LinearProcess", "step_table"]
