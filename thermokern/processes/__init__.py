"""Linear diffusion processes, time grids and tables of per-step coefficients."""

from thermokern.processes.chains import (
    CHAIN_NAMES,
    CHAINS,
    DEFAULT_CHAIN,
    INTEGRATORS,
    OPTIMAL_CHAIN,
    Chain,
    chain_of,
    weights_have_variance,
)
from thermokern.processes.flow import Flow
from thermokern.processes.flow_tables import flow_table
from thermokern.processes.linear import VE, VP, LinearProcess, checked_times
from thermokern.processes.schedules import DDPM, EDM, CosineVP, DiscreteVP, SubVP, apart
from thermokern.processes.tables import rate_table, sampler_pair_table, sampler_steps, step_table

# By the name that checkpoints and configurations give.
PROCESSES: dict[str, type[LinearProcess]] = {
    kind.__name__: kind for kind in (VP, VE, SubVP, CosineVP, EDM, DiscreteVP, Flow)
}

__all__ = [
    "CHAINS",
    "CHAIN_NAMES",
    "DDPM",
    "DEFAULT_CHAIN",
    "EDM",
    "INTEGRATORS",
    "OPTIMAL_CHAIN",
    "PROCESSES",
    "VE",
    "VP",
    "Chain",
    "CosineVP",
    "DiscreteVP",
    "Flow",
    "LinearProcess",
    "SubVP",
    "apart",
    "chain_of",
    "checked_times",
    "flow_table",
    "rate_table",
    "sampler_pair_table",
    "sampler_steps",
    "step_table",
    "weights_have_variance",
]
