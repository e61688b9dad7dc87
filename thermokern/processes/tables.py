"""Step tables of processes: all that a trajectory kernel learns of a process and a scheme."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern.ops.step_table import COLUMNS, SCHEMES, StepTable
from thermokern.processes.linear import LinearProcess


def step_table(process: LinearProcess, times: Tensor, scheme: str) -> StepTable:
    """Tabulate a process and a scheme on a time grid.

    With ``D = g²/2``, steps ``h_k`` and increments for model minus reference (Ding, Quan and Tu, Eq. 28, with each
    product's own divergence term):

    - ``ito``: ``D_k h_k [|s|² + 2∇·s](x_k) + g_k √h_k s(x_k)·z_k``
    - ``stratonovich``: both ends' mean of ``D h_k [|s|² + ∇·s] + g √h_k s·z_k``
    - ``backward-ito``: ``D_{k+1} h_k |s|²(x_{k+1}) + g_{k+1} √h_k s(x_{k+1})·z_k``
    - ``sampler``: log of the forward chain's transition density over the reverse chain's, whose step is
      ``x_k ~ N((1 − f_{k+1} h_k) x_{k+1} + g²_{k+1} h_k s_θ(x_{k+1}), g²_{k+1} h_k I)``

    Parameters
    ----------
    process : LinearProcess
    times : Tensor
        (n_nodes,) increasing, at least two.
    scheme : {"ito", "stratonovich", "backward-ito", "sampler"}
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: expected one of {SCHEMES}, got {scheme!r}")
    times = torch.as_tensor(times, dtype=torch.float64)
    if times.dim() != 1 or times.numel() < 2:
        raise ValueError(f"times: expected (n_nodes,) with at least two nodes, got {tuple(times.shape)}")
    if not bool(torch.isfinite(times).all()) or not bool((times.diff() > 0).all()):
        raise ValueError("times: expected finite increasing numbers")
    h = times.diff()  # (n_steps,)
    f, g2 = process.f(times), process.g2(times)  # (n_nodes,)
    diffusion, root_h = 0.5 * g2, h.sqrt()
    column = dict(zip(COLUMNS, torch.zeros(len(COLUMNS), times.numel(), dtype=torch.float64), strict=True))
    before, after = slice(None, -1), slice(1, None)  # the nodes that a step leaves and reaches

    column["drift"][before] = 1.0 + f[before] * h
    column["drift"][-1] = 1.0
    column["noise"][before] = g2[before].sqrt() * root_h
    leave, reach = {"ito": (1.0, 0.0), "stratonovich": (0.5, 0.5)}.get(scheme, (0.0, 1.0))
    column["mismatch"][before] += leave * diffusion[before] * h
    column["mismatch"][after] += reach * diffusion[after] * h
    log_scale, ratio = 0.0, 1.0
    if scheme == "sampler":
        position_scale, score_scale, variance = 1.0 - f[after] * h, g2[after] * h, g2[after] * h
        std = variance.sqrt()
        column["chain_position"][after] = (position_scale * column["drift"][before] - 1.0) / std
        column["chain_noise"][after] = position_scale * column["noise"][before] / std - 1.0
        column["chain_score"][after] = score_scale / std
        ratios = variance / column["noise"][before].square()
        log_scale, ratio = 0.5 * ratios.log().sum().item(), ratios.max().item()
    else:
        column["energy"].copy_(column["mismatch"])
        column["noise_out"][before] = leave * g2[before].sqrt() * root_h
        column["noise_in"][after] = reach * g2[after].sqrt() * root_h
    return StepTable(
        times=times,
        columns=torch.stack([column[name] for name in COLUMNS], dim=1),
        scheme=scheme,
        mean_scale=process.mean_scale(times),
        variance=process.variance(times),
        chain_log_scale=log_scale,
        chain_variance_ratio=ratio,
    )
