"""Step tables of processes: all that a trajectory kernel learns of a process and a scheme."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern.ops.checks import checked_choice
from thermokern.ops.step_table import COLUMNS, DIRECTIONS, SCHEMES, RateTable, StepTable
from thermokern.processes.chains import CHAINS, DEFAULT_CHAIN, Chain, transitions
from thermokern.processes.linear import LinearProcess


def step_table(
    process: LinearProcess, times: Tensor, scheme: str, direction: str = "forward", *, chain: str = DEFAULT_CHAIN
) -> StepTable:
    """Tabulate a process and a scheme on a time grid.

    With ``D = g²/2``, steps ``h_k`` and increments for model minus reference (Ding, Quan and Tu, Eq. 28, with each
    product's own divergence term):

    - ``ito``: ``D_k h_k [|s|² + 2∇·s](x_k) + g_k √h_k s(x_k)·z_k``
    - ``stratonovich``: both ends' mean of ``D h_k [|s|² + ∇·s] + g √h_k s·z_k``
    - ``backward-ito``: ``D_{k+1} h_k |s|²(x_{k+1}) + g_{k+1} √h_k s(x_{k+1})·z_k``
    - ``sampler``: log of the forward chain's transition density over the reverse chain's. With the chain
      ``euler-maruyama``, whose forward steps are those of the other schemes, the reverse step is
      ``x_k ~ N((1 − f_{k+1} h_k) x_{k+1} + g²_{k+1} h_k s_θ(x_{k+1}), g²_{k+1} h_k I)``. With ``ddpm`` paths step by
      ``F = m_{k+1}/m_k``, ``G² = v_{k+1} − F² v_k``, exactly as the process does, and the reverse step is its
      posterior, ``x_k ~ N((x_{k+1} + G² s_θ(x_{k+1}))/F, (G² v_k/v_{k+1}) I)``; ``ddpm-large`` has variance ``G²``.

    Parameters
    ----------
    process : LinearProcess
    times : Tensor
        (n_nodes,) increasing, at least two.
    scheme : {"ito", "stratonovich", "backward-ito", "sampler"}
    direction : {"forward", "reverse"}
        Reverse paths take the chain's reverse steps, driven by the model, and the same increments are read off them.
    chain : {"euler-maruyama", "ddpm", "ddpm-large"}
        Of the sampler scheme; the others take the first alone.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 7 and Sec. 3.2.
    """
    checked_choice("scheme", scheme, SCHEMES)
    checked_choice("direction", direction, DIRECTIONS)
    checked_choice("chain", chain, CHAINS)
    if chain != DEFAULT_CHAIN and scheme != "sampler":
        raise ValueError(f"chain: expected {DEFAULT_CHAIN!r} with the scheme {scheme!r}, got {chain!r}")
    times = _checked(times)
    h = times.diff()  # (n_steps,)
    g2 = process.g2(times)  # (n_nodes,)
    steps = CHAINS[chain](process, times)
    diffusion, root_h = 0.5 * g2, h.sqrt()
    column = dict(
        zip(COLUMNS, torch.zeros(len(COLUMNS), times.numel(), dtype=torch.float64, device="cpu"), strict=True)
    )
    before, after = slice(None, -1), slice(1, None)  # the nodes that a step leaves and reaches

    column["drift"][before] = steps.drift
    column["drift"][-1] = 1.0
    column["noise"][before] = steps.noise
    column["seen_noise"][before] = 1.0
    leave, reach = {"ito": (1.0, 0.0), "stratonovich": (0.5, 0.5)}.get(scheme, (0.0, 1.0))
    column["mismatch"][before] += leave * diffusion[before] * h
    column["mismatch"][after] += reach * diffusion[after] * h
    log_scale, ratio = 0.0, 1.0
    if scheme == "sampler":
        std = steps.variance.sqrt()
        column["chain_position"][after] = (steps.position * steps.drift - 1.0) / std
        column["chain_noise"][after] = steps.position * steps.noise / std - 1.0
        column["chain_score"][after] = steps.score / std
        ratios = steps.variance / steps.noise.square()
        log_scale, ratio = 0.5 * ratios.log().sum().item(), ratios.max().item()
    else:
        column["energy"].copy_(column["mismatch"])
        column["work_drawn"][before] = leave * g2[before].sqrt() * root_h
        column["work_carried"][after] = reach * g2[after].sqrt() * root_h
    if direction == "reverse":
        _drive_by_model(column, steps)
    order = slice(None) if direction == "forward" else torch.arange(times.numel() - 1, -1, -1, device="cpu")
    return StepTable(
        times=times[order],
        columns=torch.stack([column[name] for name in COLUMNS], dim=1)[order],
        scheme=scheme,
        mean_scale=process.mean_scale(times)[order],
        variance=process.variance(times)[order],
        chain_log_scale=log_scale,
        chain_variance_ratio=ratio,
        direction=direction,
    )


def rate_table(process: LinearProcess, times: Tensor, weights: Tensor | None = None) -> RateTable:
    """Tabulate a process for averages over paths: exact transitions from each time to the next, on any grid.

    Parameters
    ----------
    process : LinearProcess
    times : Tensor
        (n_nodes,) increasing, at least two.
    weights : Tensor, optional
        (n_nodes,), of the nodes in integrals over time; the trapezoid rule's when left out.

    Notes
    -----
    The steps ``x' ~ N(F x, G² I)``, ``F = m'/m`` and ``G² = v' − F² v``, leave the marginal law of every node exact
    however far apart the times are.
    """
    times = _checked(times)
    h = times.diff()  # (n_steps,)
    if weights is None:
        weights = torch.zeros_like(times)
        weights[:-1] += 0.5 * h
        weights[1:] += 0.5 * h
    if weights.shape != times.shape or not bool(torch.isfinite(weights).all()):
        raise ValueError(f"weights: expected {tuple(times.shape)} finite numbers, got {tuple(weights.shape)}")
    drift, added = transitions(process, times)
    diffusion = 0.5 * process.g2(times)
    if not bool((diffusion > 0.0).all()):
        raise ValueError("times: expected times at which the process diffuses, D > 0")
    columns = torch.zeros(times.numel(), len(COLUMNS), dtype=torch.float64, device="cpu")
    columns[:, COLUMNS.index("drift")] = torch.cat([drift, torch.ones(1, dtype=torch.float64, device="cpu")])
    columns[:-1, COLUMNS.index("noise")] = added.sqrt()
    return RateTable(
        times=times,
        columns=columns,
        scheme="stratonovich",  # whose scores come with their divergence
        mean_scale=process.mean_scale(times),
        variance=process.variance(times),
        rates=torch.stack([process.f(times), diffusion, weights, weights * diffusion, weights / diffusion], dim=1),
    )


def _checked(times: Tensor) -> Tensor:
    """The times of a table in float64."""
    times = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    if times.dim() != 1 or times.numel() < 2:
        raise ValueError(f"times: expected (n_nodes,) with at least two nodes, got {tuple(times.shape)}")
    if not bool(torch.isfinite(times).all()) or not bool((times.diff() > 0).all()):
        raise ValueError("times: expected finite increasing numbers")
    return times


def _drive_by_model(column: dict[str, Tensor], steps: Chain) -> None:
    """Turn the columns of forward paths, in order of time, into those of reverse paths.

    The forward step ``x_k → F x_k + G z`` that a reverse step retraces tells its noise, ``z = (x_{k+1} − F x_k)/G``.
    """
    std = steps.variance.sqrt()
    for name, values, first in (
        ("drift", steps.position, 1.0),
        ("push", steps.score, 0.0),
        ("noise", std, 0.0),
        ("seen_position", (1.0 - steps.drift * steps.position) / steps.noise, 0.0),
        ("seen_score", -steps.drift * steps.score / steps.noise, 0.0),
        ("seen_noise", -steps.drift * std / steps.noise, 0.0),
    ):
        column[name][1:] = values
        column[name][0] = first
    # The noise that leads to a node in time is drawn there, and that which leaves it is carried.
    column["work_drawn"], column["work_carried"] = column["work_carried"], column["work_drawn"]
