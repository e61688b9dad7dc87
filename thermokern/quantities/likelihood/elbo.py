"""Variational bounds on the log-likelihood of a model's stochastic sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models import ScoreLike
from thermokern.models.evaluate import examine_score, score_at
from thermokern.ops.checks import MOST, check_flags, checked_choice, checked_dtype, checked_integer, checked_number
from thermokern.processes import CHAIN_NAMES, LinearProcess, step_table
from thermokern.quantities.engine.backends import UNSTREAMED, choose_backend
from thermokern.quantities.engine.batching import split
from thermokern.quantities.engine.blocks import launch_block
from thermokern.quantities.engine.jumps import warn_of_jumps
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.problem import (
    Problem,
    check_prior,
    checked_data,
    first_time,
    grid_of,
    log_prior,
    own_dtype,
    problem_at,
)
from thermokern.quantities.engine.streamed import Streaming
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored
from thermokern.targets import Distribution, Gaussian

METHODS = ("continuous", *CHAIN_NAMES)
_LATTICE = 32  # times of a stratum that points share
_BATCH = 2**21  # numbers of x that are alive at once


@stored("elbo")
@dataclass(frozen=True, eq=False)
class Elbo(Result):
    """Evidence lower bound of each point: at most its log-likelihood under the stochastic sampler, on average.

    Attributes
    ----------
    values : Tensor
        (n,) nats, float64.
    stderr : Tensor
        (n,) of `values`, over times and noise; NaN where one draw cannot say.
    dim : int
    settings : dict
    """

    title: ClassVar[str] = "Variational bound on the log-likelihood"

    values: Tensor
    stderr: Tensor
    dim: int
    settings: dict[str, Any]

    @property
    def nll(self) -> Estimate:
        """The mean upper bound on ``−log p``, nats, with its standard error over the points."""
        return mean_estimate(-self.values)

    def bits_per_dim(self, offset_bits: float = 0.0) -> Estimate:
        """As :meth:`LogLikelihood.bits_per_dim`."""
        scale, nll = 1.0 / (self.dim * math.log(2.0)), self.nll
        return Estimate(scale * nll.value + offset_bits, scale * nll.stderr, "bits/dim")

    def summary(self) -> str:
        """The estimates, for people."""
        s = self.settings
        return "\n".join(
            [
                f"Variational bound of {len(self.values)} points, {s['method']}, {s['process']}, t from {s['t_eps']:g}",
                f"  NLL of the sampler ≤    {self.nll} nats, {self.bits_per_dim()} bits/dim without offset",
                *remarks(s),
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """The law of the stochastic sampler."""
        return f"the law of the stochastic sampler at t = {self.settings['t_eps']:.3g}, on the scale of the data"

    def conclusion(self) -> list[str]:
        """What the bound bounds."""
        return [
            f"The sampler's NLL is at most {self.nll} nats, {self.nll.value / self.dim:.3g} per dimension; how far "
            "below it lies, the bound does not say."
        ]

    def numbers(self) -> dict[str, object]:
        """The mean over the points."""
        return {"nll": self.nll, "n_points": len(self.values), "settings": self.settings}

    def columns(self) -> dict[str, Tensor]:
        """A row for each point."""
        return {"value": self.values, "value_stderr": self.stderr}


def elbo(
    model: ScoreLike,
    x: Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    method: str = "continuous",
    n_times: int = 64,
    n_steps: int | None = None,
    t_eps: float | None = None,
    spacing: str | None = None,
    times: Tensor | Sequence[float] | None = None,
    variance: Tensor | Sequence[float] | None = None,
    prior: Distribution | None = None,
    repeats: int = 1,
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> Elbo:
    """Evidence lower bound on the log-likelihood of data under the sampler that a score drives back from the prior.

    ``continuous``, the reverse stochastic equation; with ``x_t = m x + √v z``,

        log p(x) ≥ E log π(x_T) + (d/2) log(v_T/v_eps) − ½ ∫ E|√v s_θ(x_t) + z|² dλ + d log m(t_eps),

    over ``λ = log(m²/v)``. Times are drawn uniformly in λ, which is importance sampling with density ∝ g²/v in t: one
    in each of `n_times` equal strata. The other methods name a chain of :func:`thermokern.processes.step_table`, such
    as ``ddpm``, and bound the log-likelihood of that discrete sampler with `n_steps` steps, by one path for each point
    and repeat.

    Parameters
    ----------
    model : ScoreModel, Distribution or callable ``(x, t) -> score``
    x : Tensor or array
        (n, …) data points.
    process : LinearProcess, optional
    method : {"continuous", "euler-maruyama", "ddpm", "ddpm-large", "ddpm-optimal"}
    n_times : int
        Even.
    n_steps, spacing
        Of the chains, see :meth:`LinearProcess.grid`: 1000 and ``log-snr`` when left out.
    t_eps : float, optional
        As in :func:`log_likelihood`. Both bound the law at t_eps, drawn back to the data's scale: points are diffused
        to it, and what decodes from it to the data is not in the bound.
    times : Tensor or sequence, optional
        (n_nodes,) increasing: the grid of a chain itself, in the place of `n_steps`, `t_eps` and `spacing`.
    variance : Tensor or sequence, optional
        (n_steps,) in order of time, of the steps of ``ddpm-optimal``.
    prior : Distribution, optional
        As in :func:`log_likelihood`; with the law of the data here the mean bound is ``S_data + ⟨Δs_ta⟩``.
    repeats : int
        Independent draws for each point, averaged.
    seed, path_offset : int
        Point i depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "reference"}
        Of the chains.
    dtype : torch.dtype, optional
        float64 where left out, but for a network: its own; float32 for the chains.
    progress : bool
        Show a progress bar.

    References
    ----------
    Song, Durkan, Murray and Ermon, *Maximum likelihood training of score-based diffusion models*, 2021, Theorem 3 and
    Sec. 4; Huang, Lim and Courville, *A variational perspective on diffusion-based generative models and score
    matching*, 2021; Kingma et al., *Variational diffusion models*, 2021, Eq. 18; Ho, Jain and Abbeel, *Denoising
    diffusion probabilistic models*, 2020, Eq. 5.
    """
    problem = problem_at(model, process, checked_data("x", x), seed, path_offset)
    process, (n, dim) = problem.process, problem.points.shape
    check_flags(progress=progress)
    checked_choice("method", method, METHODS)
    checked_choice("backend", backend, UNSTREAMED)
    n_times, repeats = (
        checked_integer("n_times", n_times, 2, MOST, even=True),
        checked_integer("repeats", repeats, 1, MOST),
    )
    check_prior(prior, dim)
    if times is None:
        t_eps = checked_number("t_eps", first_time(process) if t_eps is None else t_eps, above=0.0, below=process.t_end)
        n_steps, spacing = 1000 if n_steps is None else n_steps, "log-snr" if spacing is None else spacing
    if method == "continuous" and not (times is None and variance is None):
        raise ValueError("times, variance: expected neither with the continuous bound, which has no steps")
    grid = grid_of(process, n_steps, t_eps, spacing, times, even=True)
    t_eps = grid[0].item()
    if method == "continuous":
        dtype = checked_dtype(dtype, own_dtype(model, by_reference=True))
        rounds, errors = _continuous(problem, t_eps, n_times, prior, repeats, dtype, progress)
    else:
        dtype = checked_dtype(dtype)
        rounds = _chain(problem, grid, method, variance, prior, repeats, backend, dtype, progress)
        errors = torch.full((n,), math.nan, dtype=torch.float64, device="cpu")
    if repeats > 1:
        errors = rounds.std(0) / math.sqrt(repeats)
    values = rounds.mean(0) + dim * math.log(process.mean_scale(t_eps))
    if not bool(values.isfinite().all()):
        raise FloatingPointError(
            f"model, x: the bound of {int((~values.isfinite()).sum())} of {n} points is not finite"
        )
    return Elbo(
        values=values,
        stderr=errors,
        dim=dim,
        settings={
            **problem.settings(dtype),
            "method": method,
            "n_times": n_times if method == "continuous" else 0,
            "n_steps": 0 if method == "continuous" else len(grid) - 1,
            "t_eps": t_eps,
            "prior": "process" if prior is None else prior.settings(),
            "repeats": repeats,
        },
    )


def _continuous(
    problem: Problem,
    t_eps: float,
    n_times: int,
    prior: Distribution | None,
    repeats: int,
    dtype: torch.dtype,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """The bound of each repeat and point, (repeats, n), and the standard error of a point over its strata, (n,)."""
    process, points, seed = problem.process, problem.points, problem.seed
    n, dim = points.shape
    first, last = process.log_snr(process.t_end), process.log_snr(t_eps)
    ratio = 0.5 * dim * math.log(process.variance(process.t_end) / process.variance(t_eps))
    shift = torch.special.ndtr(ops.normals(1, 1, seed=seed, path_offset=2**62, purpose="probe", dtype=torch.float64))
    strata = torch.arange(n_times * _LATTICE, dtype=torch.float64, device="cpu") + shift[0]
    lattice = process.times_at(first + (last - first) * strata / (n_times * _LATTICE)).reshape(n_times, _LATTICE)
    m_end, v_end = process.mean_scale(process.t_end), process.variance(process.t_end)
    rounds, errors = (
        torch.empty(repeats, n, dtype=torch.float64, device="cpu"),
        torch.full((n,), math.nan, dtype=torch.float64, device="cpu"),
    )
    size = max(1, _BATCH // (dim * n_times))
    start = (process.mean_scale(t_eps) * points[:2]).to(dtype)
    examine_score("model", problem.model, process, start, t_eps, problem.shape, derivative=False)
    warn_of_jumps("model", problem.model, process, start, problem.shape, lattice.flatten())
    with Bar(total=n * repeats, progress=progress, unit="point", unit_scale=True, desc="bound") as bar:
        for low in range(0, n, size):
            x = points[low : low + size]
            count = len(x)
            here = problem.path_offset + low
            z = ops.normals(count, repeats * n_times * dim, seed=seed, path_offset=here, dtype=torch.float64)
            z = z.reshape(count, repeats, n_times, dim)
            uniform = torch.special.ndtr(
                ops.normals(count, repeats * n_times, seed=seed, path_offset=here, purpose="probe", dtype=torch.float64)
            ).reshape(count, repeats, n_times)
            place = (uniform * _LATTICE).long().clamp_max(_LATTICE - 1)
            for r in range(repeats):
                t = lattice.gather(1, place[:, r].T).T.reshape(-1)  # (count · n_times,)
                m, v = process.mean_scale(t)[:, None], process.variance(t)[:, None]
                noise = z[:, r].reshape(-1, dim)
                at = m * x.repeat_interleave(n_times, 0) + v.sqrt() * noise
                score = score_at(problem.model, process, at.to(dtype), t, problem.shape).double()
                # Less a term of mean 0 that follows the noise, exactly so for data from N(0, I) and the true score.
                control = (m.square() / (m.square() + v)).square()[:, 0] * (noise.square().sum(1) - dim)
                error = (v.sqrt() * score + noise).square().sum(1)
                loss = 0.5 * (last - first) * (error - control).reshape(count, n_times)
                if prior is None:
                    spread = process.prior(dim).variance[0].item()
                    square = m_end**2 * x.square().sum(1) + v_end * dim
                    rounds[r, low : low + count] = -0.5 * square / spread - 0.5 * dim * math.log(2.0 * math.pi * spread)
                else:
                    end = m_end * x[:, None] + math.sqrt(v_end) * z[:, r]  # (count, n_times, d)
                    loss = loss - log_prior(process, prior, dim, end.reshape(-1, dim)).reshape(count, n_times)
                    rounds[r, low : low + count] = 0.0
                rounds[r, low : low + count] += ratio - loss.mean(1)
                bar.update(count)
                if repeats == 1:  # of neighbouring strata taken in pairs: no less than the truth on average
                    errors[low : low + count] = (loss[:, ::2] - loss[:, 1::2]).square().sum(1).sqrt() / n_times
    return rounds, errors


def _chain(
    problem: Problem,
    times: Tensor,
    chain: str,
    variance: Tensor | Sequence[float] | None,
    prior: Distribution | None,
    repeats: int,
    backend: str,
    dtype: torch.dtype,
    progress: bool,
) -> Tensor:
    """``log π(x_K) + Σ log p_θ(x_k | x_{k+1}) − Σ log q(x_{k+1} | x_k)`` of each repeat and point, (repeats, n)."""
    process, points, seed = problem.process, problem.points, problem.seed
    n, dim = points.shape
    table = step_table(process, times, "sampler", chain=chain, variance=variance)
    # The sampler scheme reads the model alone; a cheap law stands in for the reference.
    idle = Gaussian(torch.zeros(dim, device="cpu"), 1.0)
    runner, name, _ = choose_backend(backend, problem.model, idle, process, table, problem.shape, dtype, Streaming())
    size = launch_block(n, len(times), name == "fused", "cpu")
    pace = Pace(n * repeats, "point", "bound", progress, whole=name != "fused")
    rounds = []
    with pace.bar():
        for r in range(repeats):
            offset = problem.path_offset + r * 2**40
            z = ops.normals(n, dim, seed=seed, path_offset=offset, purpose="start", dtype=torch.float64)
            start = (table.mean_scale[0] * points + table.variance[0].sqrt() * z).to(dtype)
            parts = []
            for low, high in split(n, size):
                for first, last in pace.stage(high - low):
                    sums = runner(start[low + first : low + last], seed, offset + low + first)
                    ratio = sums.value.double() + dim * table.chain_log_scale
                    parts.append(log_prior(process, prior, dim, sums.x_last.double()) - ratio)
            rounds.append(torch.cat(parts))
    return torch.stack(rounds)
