"""The schedules in common use, each uniform in a function of time and noise level."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thermokern.ops.checks import checked_choice, checked_integer, checked_number
from thermokern.processes import DiscreteVP, LinearProcess, apart

# (t, σ = √v/m, standard deviation c of the data) -> what the schedule is uniform in, increasing.
STANDARDS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "uniform": lambda t, sigma, c: t,
    "log-snr": lambda t, sigma, c: sigma.log(),
    "quadratic": lambda t, sigma, c: t.sqrt(),
    "cosine": lambda t, sigma, c: sigma.arctan(),
    "karras": lambda t, sigma, c: sigma.pow(1.0 / 7.0),
    "tan": lambda t, sigma, c: (sigma / c).arctan(),
}


def standard_times(
    name: str, process: LinearProcess, n_steps: int, t_eps: float | None = None, data_std: float = 1.0
) -> Tensor:
    """The times (n_steps + 1,) of a schedule in common use, increasing; whole ones of a table.

    Parameters
    ----------
    name : {"uniform", "log-snr", "quadratic", "cosine", "karras", "tan"}
        ``quadratic``: uniform in √t; ``cosine``: in ``arctan σ``, σ = √v/m; ``karras``: in ``σ^{1/7}`` (Karras et al.,
        2022, Eq. 5); ``tan``: in ``arctan σ/c``, c being `data_std`.
    process : LinearProcess
    n_steps : int
    t_eps : float, optional
        The process's own choice when left out.
    data_std : float
        Of a component of the data.
    """
    checked_choice("name", name, tuple(STANDARDS))
    n_steps = checked_integer("n_steps", n_steps, 1)
    t_eps = process.default_t_eps if t_eps is None else checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
    ends = torch.tensor([t_eps, process.t_end], dtype=torch.float64, device="cpu")

    def measure(t: Tensor) -> Tensor:
        return STANDARDS[name](t, process.variance(t).sqrt() / process.mean_scale(t), data_std)

    low, high = measure(ends).tolist()
    target = torch.linspace(low, high, n_steps + 1, dtype=torch.float64, device="cpu")
    lower, upper = ends[0].expand(n_steps + 1), ends[1].expand(n_steps + 1)
    for _ in range(80):
        middle = 0.5 * (lower + upper)
        below = measure(middle) < target
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    times = 0.5 * (lower + upper)
    times[0], times[-1] = ends
    return apart(times.round()) if isinstance(process, DiscreteVP) else times


def standard_nodes(name: str, times: Tensor, sigma: Tensor, n_steps: int, data_std: float) -> Tensor:
    """The nodes (n_steps + 1,) next to a schedule in common use, each taken once."""
    measure = STANDARDS[name](times, sigma, data_std)
    target = torch.linspace(measure[0].item(), measure[-1].item(), n_steps + 1, dtype=torch.float64, device="cpu")
    return nearest(measure, target)


def nearest(known: Tensor, wanted: Tensor) -> Tensor:
    """Positions (n,) in the increasing `known` (M,) next to the increasing `wanted` (n,), each taken once."""
    right = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    closer = wanted - known[right - 1] < known[right] - wanted
    return apart((right - closer.long()).double(), len(known) - 1.0).long()
