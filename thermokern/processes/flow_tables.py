"""Tables of the probability-flow equation of a process, in its log signal-to-noise ratio."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from thermokern.ops.checks import checked_number
from thermokern.ops.flow_table import FlowTable, level_positions
from thermokern.processes.linear import LinearProcess


def flow_table(process: LinearProcess, t_eps: float, levels: int) -> FlowTable:
    """The equation ``dx/dt = f x − D s`` from `t_eps` to ``t_end``, in the variable ``u`` that is 0 and 1 there.

    ``u`` is linear in ``λ = log(m²/v)``, in which networks and data of any process are smooth. As ``dλ/dt = −g²/v``,

        dx/du = Λ [(v/g²) f x − (v/2) s],   Λ = λ(t_eps) − λ(t_end).

    Parameters
    ----------
    process : LinearProcess
    t_eps : float
        In ``(0, t_end)``.
    levels : int
        The finest steps are ``2^{−levels}``.
    """
    t_eps = checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
    parts = [_level(process, t_eps, level) for level in range(levels + 1)]
    times, columns, mean_scale, variance = (torch.cat(part) for part in zip(*parts, strict=True))
    return FlowTable(levels, times, columns, mean_scale, variance)


@lru_cache(maxsize=128)
def _level(process: LinearProcess, t_eps: float, level: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, last = process.log_snr(t_eps), process.log_snr(process.t_end)
    u = level_positions(level)
    times = process.times_at(first + (last - first) * u)
    times = torch.where(u == 0.0, t_eps, torch.where(u == 1.0, process.t_end, times.clamp_min(t_eps)))
    m, v, g2 = process.mean_scale(times), process.variance(times), process.g2(times)
    range_ = first - last
    columns = torch.stack([range_ * v / g2 * process.f(times), -0.5 * range_ * v], dim=1)
    return times, columns, m, v
