"""Step tables of processes: all that a trajectory kernel learns of a process and a scheme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import checked_choice
from thermokern.ops.step_table import COLUMNS, DIRECTIONS, SCHEMES, RateTable, StepTable
from thermokern.processes.chains import (
    CHAIN_NAMES,
    DEFAULT_CHAIN,
    INTEGRATORS,
    Chain,
    chain_of,
    clock,
    euler_maruyama,
    transitions,
)
from thermokern.processes.linear import LinearProcess, checked_times


def step_table(
    process: LinearProcess,
    times: Tensor,
    scheme: str,
    direction: str = "forward",
    *,
    integrator: str = "exact",
    chain: str = DEFAULT_CHAIN,
    forward: str = "exact",
    variance: Tensor | Sequence[float] | None = None,
    coarse: bool = False,
) -> StepTable:
    """Tabulate a process and a scheme on a time grid.

    On the exact clock ``q = v/m²`` the scaled state ``y = x/m`` is Brownian motion. With ``S = m s``, ``U = S_θ − S_*``
    and ``Δy = √Δq z`` the increments for model minus reference are (Ding, Quan and Tu, Eq. 28, with each product's own
    divergence term)

    - ``ito``: ``½ Δq [|S|² + 2 m² ∇·s](x_k) + U(x_k)·Δy``
    - ``stratonovich``: both ends' mean of ``½ Δq [|S|² + m² ∇·s] + U·Δy``
    - ``backward-ito``: ``½ Δq |S|²(x_{k+1}) + U(x_{k+1})·Δy``
    - ``sampler``: log of the forward chain's transition density over the reverse chain's. The forward chain takes the
      process's exact steps, ``F = m_{k+1}/m_k``, ``G² = v_{k+1} − F² v_k``, or with ``forward="euler-maruyama"`` those
      of that name. The reverse step of the chain ``euler-maruyama`` is
      ``x_k ~ N((1 − f_{k+1} h_k) x_{k+1} + g²_{k+1} h_k s_θ(x_{k+1}), g²_{k+1} h_k I)``; of ``ddpm`` the posterior,
      ``x_k ~ N((x_{k+1} + G² s_θ(x_{k+1}))/F, (G² v_k/v_{k+1}) I)``; ``ddpm-large`` has variance ``G²``, and
      ``ddpm-optimal`` the one that is given.

    With ``integrator="euler-maruyama"`` the first three have ``D h`` for ``½ m² Δq`` and ``g √h`` for ``m √Δq``, and
    their paths step by ``x_{k+1} = (1 + f h) x_k + g √h z``.

    Parameters
    ----------
    process : LinearProcess
    times : Tensor
        (n_nodes,) increasing, at least two.
    scheme : {"ito", "stratonovich", "backward-ito", "sampler"}
    direction : {"forward", "reverse"}
        Reverse paths take the chain's reverse steps, driven by the model, and the same increments are read off them.
        On the exact clock these are ``y_k = y_{k+1} + Δq S_θ + √Δq z``.
    integrator : {"exact", "euler-maruyama"}
        Of the paths in all schemes but the sampler's.
    chain : {"euler-maruyama", "ddpm", "ddpm-large", "ddpm-optimal"}
        Of the sampler scheme; the others take the first alone.
    forward : {"exact", "euler-maruyama"}
        Forward steps that the chain ``euler-maruyama`` of the sampler scheme is compared with.
    variance : Tensor or sequence, optional
        (n_steps,) in order of time, squared data units, of the reverse steps of the chain ``ddpm-optimal``.
    coarse : bool
        Whether the sums over every second and every fourth node are wanted too; for the exact clock.

    Notes
    -----
    Coefficients at a step's ends are limits from inside the step, which matters where ``β`` jumps.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 7 and Sec. 3.2.
    """
    checked_choice("scheme", scheme, SCHEMES)
    checked_choice("direction", direction, DIRECTIONS)
    checked_choice("integrator", integrator, INTEGRATORS)
    checked_choice("chain", chain, CHAIN_NAMES)
    checked_choice("forward", forward, INTEGRATORS)
    sampler, exact = scheme == "sampler", integrator == "exact"
    if chain != DEFAULT_CHAIN and not sampler:
        raise ValueError(f"chain: expected {DEFAULT_CHAIN!r} with the scheme {scheme!r}, got {chain!r}")
    if forward != "exact" and (not sampler or chain != DEFAULT_CHAIN):
        raise ValueError(f"forward: expected 'exact' with the scheme {scheme!r} and the chain {chain!r}")
    if variance is not None and not sampler:
        raise ValueError(f"variance: expected none with the scheme {scheme!r}, which has no chain")
    if coarse and (sampler or not exact):
        raise ValueError(f"coarse: the scheme {scheme!r} with integrator={integrator!r} has no coarse sums")
    times = checked_times(times)
    column = dict(
        zip(COLUMNS, torch.zeros(len(COLUMNS), times.numel(), dtype=torch.float64, device="cpu"), strict=True)
    )
    log_scale = 0.0
    if sampler:
        steps = sampler_steps(process, times, chain, forward, variance)
        _compare_chains(column, steps)
        log_scale = 0.5 * (steps.variance / steps.noise.square()).log().sum().item()
    else:
        steps = clock(process, times) if exact else euler_maruyama(process, times)
    _step_forward(column, steps)
    _add_products(column, _clock_of(process, times, integrator), scheme, coarse)
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
        direction=direction,
        coarse=coarse,
    )


def sampler_pair_table(
    process: LinearProcess,
    times: Tensor,
    chain: str = DEFAULT_CHAIN,
    variance: Tensor | Sequence[float] | None = None,
) -> StepTable:
    """Tabulate the comparison of two samplers: reverse chains of one kind from one start, each with its own score.

    Reverse paths take the steps ``x_k = a x_{k+1} + b s_d(x_{k+1}) + √w z̃`` of the driver's chain, whose score comes
    first. With ``δ = s_d − s`` its density over that of the other chain is, exactly and at any number of steps,

        log Q_d/Q = Σ (b²/2w) |δ|² + (b/√w) δ·z̃.

    The kernels' ``mismatch`` is the first term and their ``value`` minus the second.

    Parameters
    ----------
    process, times, chain, variance
        As :func:`step_table` takes them.
    """
    steps = chain_of(chain, process, times := checked_times(times), variance)
    column = dict(
        zip(COLUMNS, torch.zeros(len(COLUMNS), times.numel(), dtype=torch.float64, device="cpu"), strict=True)
    )
    _step_forward(column, steps)
    _drive_by_model(column, steps)
    # The noise that the products take is the reverse chain's own.
    column["seen_position"].zero_()
    column["seen_score"].zero_()
    column["seen_noise"].fill_(1.0)
    ratio = steps.score / steps.variance.sqrt()
    column["work_drawn"][1:] = -ratio
    column["mismatch"][1:] = 0.5 * ratio.square()
    order = torch.arange(times.numel() - 1, -1, -1, device="cpu")
    return StepTable(
        times=times[order],
        columns=torch.stack([column[name] for name in COLUMNS], dim=1)[order],
        scheme="backward-ito",  # a sum without divergence and without end terms, for the kernels
        mean_scale=process.mean_scale(times)[order],
        variance=process.variance(times)[order],
        direction="reverse",
    )


def sampler_steps(
    process: LinearProcess, times: Tensor, chain: str, forward: str, variance: Tensor | Sequence[float] | None = None
) -> Chain:
    """The pair of chains that the sampler scheme compares, as :func:`step_table` describes it."""
    steps = chain_of(chain, process, times, variance)
    if chain == DEFAULT_CHAIN and forward == "exact":
        drift, added = transitions(process, times)
        return steps._replace(drift=drift, noise=added.sqrt())
    return steps


class _Clock(NamedTuple):
    """How the noise enters: ``dw = spread z`` on each step, and the amplitudes of ``U = amplitude δ`` at its ends."""

    spread: Tensor  # (n_steps,)
    leave: Tensor  # (n_steps,) at the node that the step leaves
    reach: Tensor  # (n_steps,) at the node that it reaches


def _clock_of(process: LinearProcess, times: Tensor, integrator: str) -> _Clock:
    if integrator == "exact":
        m = process.mean_scale(times)
        _, added = transitions(process, times)
        return _Clock(added.sqrt() / m[1:], m[:-1], m[1:])
    leave, reach = process.coefficients(times)
    return _Clock(times.diff().sqrt(), leave.g2.sqrt(), reach.g2.sqrt())


def _step_forward(column: dict[str, Tensor], steps: Chain) -> None:
    column["drift"][:-1], column["drift"][-1] = steps.drift, 1.0
    column["noise"][:-1] = steps.noise
    column["seen_noise"][:-1] = 1.0


def _compare_chains(column: dict[str, Tensor], steps: Chain) -> None:
    std = steps.variance.sqrt()
    column["chain_position"][1:] = (steps.position * steps.drift - 1.0) / std
    column["chain_noise"][1:] = steps.position * steps.noise / std - 1.0
    column["chain_score"][1:] = steps.score / std


def _add_products(column: dict[str, Tensor], clock: _Clock, scheme: str, coarse: bool) -> None:
    """Weights of energies and of products with the noise, of forward paths in order of time."""
    leave, reach = {"ito": (1.0, 0.0), "stratonovich": (0.5, 0.5)}.get(scheme, (0.0, 1.0))
    duration = clock.spread.square()
    # The score-matching integral of exact marginals is one over time alone: both ends' mean in every scheme.
    column["mismatch"][:-1] += 0.25 * clock.leave.square() * duration
    column["mismatch"][1:] += 0.25 * clock.reach.square() * duration
    if scheme == "sampler":
        return
    column["energy"][:-1] += 0.5 * leave * clock.leave.square() * duration
    column["energy"][1:] += 0.5 * reach * clock.reach.square() * duration
    column["work_drawn"][:-1] = leave * clock.leave * clock.spread
    column["work_carried"][1:] = reach * clock.reach * clock.spread
    if not coarse:
        return
    column["spread"][:-1] = clock.spread
    column["coarse_kept"][:-1] = leave * clock.leave
    column["coarse_here"][1:] = reach * clock.reach
    elapsed = torch.cat([duration.new_zeros(1), duration.cumsum(0)])
    for stride in (2, 4):
        nodes = coarse_nodes(len(elapsed), stride)
        longer = elapsed[nodes].diff()
        column["level"][nodes] += 1.0
        column[f"energy_{stride}"][nodes[:-1]] += 0.5 * leave * clock.leave[nodes[:-1]].square() * longer
        column[f"energy_{stride}"][nodes[1:]] += 0.5 * reach * clock.reach[nodes[1:] - 1].square() * longer


def coarse_nodes(n_nodes: int, stride: int) -> Tensor:
    """Nodes of the grid of steps `stride` times as long; what is left over at its end are steps of the finer grids."""
    even = (n_nodes - 1) // 2 * 2
    return torch.tensor(sorted({*range(0, even, stride), even, n_nodes - 1}), device="cpu")


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
    times = checked_times(times)
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
    column["coarse_here"], column["coarse_kept"] = column["coarse_kept"], column["coarse_here"]
    column["spread"] = column["spread"].roll(1)
