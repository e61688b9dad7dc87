"""The schedule of a given number of steps with the smallest bound, for any score and sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ScoreLike, one_process
from thermokern.ops.checks import (
    MOST,
    check_flags,
    checked_choice,
    checked_dtype,
    checked_integer,
    checked_number,
    checked_several,
)
from thermokern.processes import DiscreteVP, LinearProcess
from thermokern.quantities.engine.problem import Problem, checked_data, drawn, grid_of, log_prior, own_dtype, problem_at
from thermokern.quantities.schedules.moments import NodeScore, Samples, node_score, quieter, samples_of, slope, smoothed
from thermokern.quantities.schedules.pairs import STOCHASTIC, Nodes, cost_table, pairs_of, thermodynamic_length
from thermokern.quantities.schedules.result import FLOW, Schedules
from thermokern.quantities.schedules.surrogates import defects, kl_step, klub
from thermokern.targets import Distribution

SAMPLERS = (*STOCHASTIC, FLOW)
OWN = "own"
OBJECTIVES = (OWN, "defect", "defect-w2", "klub", "kl-step")


def optimal_schedule(
    model: ScoreLike,
    data: Distribution | Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    sampler: str = "ddpm-optimal",
    objective: str | None = None,
    n_paths: int | None = None,
    n_times: int = 128,
    n_steps: Sequence[int] = (5, 10, 20, 50),
    t_eps: float | None = None,
    times: Tensor | Sequence[float] | None = None,
    holdout: float = 0.5,
    smooth: bool = True,
    seed: int = 0,
    path_offset: int = 0,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> Schedules:
    """The schedules of a sampler with the smallest bound on ``KL(data ‖ samples)``, with these bounds, held out.

    A sampler's steps ``x_s ~ N(a x_t + b s_θ, w I)`` against the process's own transitions bound

        KL(p_eps ‖ samples) ≤ Σ_k C(t_k, t_{k+1}) + KL(p_T ‖ π),   C(s,t) = E KL(q(x_s|x_t) ‖ p_θ(x_s|x_t)),

    and every C(s,t) is linear in six inner products of x_t, ``ε/√v`` and s_θ: one evaluation for each sample and node
    gives the costs of all pairs of nodes, and dynamic programming the best schedule of every number of steps. Half of
    the samples choose the schedule and the variances, the others say what they are worth.

    Parameters
    ----------
    model : Distribution, ScoreModel or callable ``(x, t) -> score``
    data : Distribution, Tensor or array
        The law of the data, or points (n, …). Of points the bound is that on the negative log-likelihood.
    process : LinearProcess, optional
        May be left out where the model carries one.
    sampler : {"ddpm-optimal", "ddpm", "ddpm-large", "euler-maruyama", "probability-flow"}
        A method of :func:`thermokern.sample`. ``ddpm-optimal`` takes the best variance of each step, which the result
        has. The probability flow has no bound, only surrogates.
    objective : {"own", "defect", "defect-w2", "klub", "kl-step"}, optional
        What is made small. ``own``, where left out: the sampler's bound. Surrogates that bound nothing: ``defect`` and
        ``defect-w2``, the square of what one Euler step of the flow misses, in the scale of the law there or as it
        arrives at the data (the choice of the probability flow where left out), and ``klub``, the cost of ``ddpm``
        steps without model error, which Align Your Steps makes small; and, where model and data are distributions,
        ``kl-step``, the KL divergence that one Euler step of the flow adds. With an SDE sampler the result's bound is
        its own in any case.
    n_paths : int, optional
        1024 samples of a law; each point once, or 1024 of them.
    n_times : int
        Nodes to choose from, on the grid that the process chooses; of a table of steps whole times.
    n_steps : sequence of int
        What the summary and the figure show; the result answers for any number below that of the nodes.
    t_eps : float, optional
        The first time, the process's own choice when left out.
    times : Tensor or sequence, optional
        (M,) the nodes themselves, in the place of `n_times` and `t_eps`.
    holdout : float
        Share of the samples for the bounds; the others make the table.
    smooth : bool
        Use that the mean square error of the denoised data grows with the noise level: isotonic regression of it.
    seed, path_offset : int
        Sample ``i`` depends on `seed` and ``path_offset + i`` alone.
    dtype : torch.dtype, optional
        Of the evaluations of the score: float64 where left out, but for a network: its own.
    progress : bool

    Returns
    -------
    Schedules

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    FloatingPointError
        Where the score is not finite.

    Notes
    -----
    Cost: n_paths · n_times evaluations of the score, and n_times² numbers. There is neither `backend` nor
    `checkpoint`: the table is one batch of evaluations in PyTorch, and the result, once saved, answers for every
    number of steps. The best schedule of one sampler is not that of another. The bound of the law at t_eps says
    nothing of a last denoising step, of guidance or of how images look. For ``ddpm`` and ``euler-maruyama``, whose
    variances are far from the best at few steps, the bound is dominated by them and its optimum can give worse
    samples than a cosine schedule; with ``ddpm-optimal`` bound and quality agree.

    References
    ----------
    Watson, Ho, Norouzi and Chan, *Learning to efficiently sample from diffusion probabilistic models*, 2021; Bao, Li,
    Zhu and Zhang, *Analytic-DPM*, 2022, Theorem 1; Sabour, Fidler and Kreis, *Align your steps*, 2024; Williams et al.,
    *Score-optimal diffusion schedules*, 2024, for the length.
    """
    check_flags(smooth=smooth, progress=progress)
    process = one_process(process, model=model)
    checked_choice("sampler", sampler, SAMPLERS)
    flow = sampler == FLOW
    objective = checked_choice(
        "objective", ("defect-w2" if flow else OWN) if objective is None else objective, OBJECTIVES
    )
    if flow and objective == OWN:
        raise ValueError("objective: the probability flow has no bound of its own; expected one of the surrogates")
    if objective == "kl-step" and not (isinstance(model, Distribution) and isinstance(data, Distribution)):
        raise TypeError(
            'objective: "kl-step" needs log densities and second derivatives: model and data as distributions'
        )
    holdout = checked_number("holdout", holdout, above=0.0, below=1.0)
    grid = _nodes(process, n_times, t_eps, times)
    counts = tuple(checked_integer("n_steps", n, 1, len(grid)) for n in checked_several("n_steps", n_steps))
    problem = problem_at(model, process, _points(data, n_paths, seed, path_offset), seed, path_offset)
    dtype = checked_dtype(dtype, own_dtype(model, by_reference=True))
    nodes, n = Nodes.of(process, grid), len(problem.points)
    n_table = n - round(holdout * n)
    if n_table < 2 or n - n_table < 2:
        raise ValueError(f"n_paths: expected at least two samples for the table and two held out, got {n}")
    score = node_score(model, problem, nodes, dtype)
    data_std = problem.points[:n_table].var(0).mean().sqrt().item()
    moments = held_out = ends = length = None
    cost = stderr = torch.full((len(grid), len(grid)), math.nan, dtype=torch.float64, device="cpu")
    if not flow:
        samples = samples_of(problem, sampler, nodes, score, progress)
        table = Samples(*(part[:n_table] for part in samples))
        factor = slope(table)
        products = quieter(table, factor)
        moments = smoothed(products.mean(0), nodes) if smooth else products.mean(0)
        pairs = pairs_of(sampler, nodes, problem.dim, moments)
        cost, length = cost_table(pairs, moments), thermodynamic_length(sampler, nodes, problem.dim, moments)
        spread = torch.einsum("imc,imk->mck", products - products.mean(0), products - products.mean(0))
        variance = torch.einsum("stc,tck,stk->st", pairs.weights, spread / (n_table * (n_table - 1)), pairs.weights)
        stderr = variance.clamp_min(0.0).sqrt()
        held = Samples(*(part[n_table:] for part in samples))
        held_out, ends = quieter(held, factor), _ends(problem, data, nodes, held)
    if objective != OWN:
        cost = _surrogate(objective, problem, nodes, score, data, data_std, n_table, progress)
        stderr = stderr * math.nan
        length = None
    if bool(cost.isnan().any()):
        raise FloatingPointError(
            f"n_paths: {int(cost.isnan().sum())} of {len(grid) * (len(grid) - 1) // 2} steps have no cost, since the "
            f"moments of {n_table} samples leave them no variance: use more samples, a smaller holdout or fewer n_times"
        )
    return Schedules(
        sampler=sampler,
        objective=objective,
        kind="surrogate" if flow else "KL" if isinstance(data, Distribution) else "NLL",
        dim=problem.dim,
        nodes=nodes,
        cost=cost,
        stderr=stderr,
        n_steps=counts,
        data_std=data_std,
        length=length,
        whole_times=isinstance(process, DiscreteVP) and bool((grid == grid.round()).all()),
        moments=moments,
        held_out=held_out,
        ends=ends,
        settings={
            **problem.settings(dtype),
            "data": data.settings() if isinstance(data, Distribution) else {"points": list(problem.points.shape)},
            "n_paths": n,
            "n_table": n_table,
            "smooth": smooth,
            "t_eps": grid[0].item(),
        },
    )


def _nodes(process: LinearProcess, n_times: int, t_eps: float | None, times: Tensor | Sequence[float] | None) -> Tensor:
    """The times that schedules choose from."""
    n_times = checked_integer("n_times", n_times, 2, MOST)
    if times is not None:
        return grid_of(process, None, t_eps, None, times)
    if isinstance(process, DiscreteVP):  # closer where the data are, all of them whole
        grid = torch.unique(process.grid(n_times - 1, t_eps, "mixed").round())
        return grid if len(grid) > 1 else process.grid(1, t_eps)
    return process.grid(n_times - 1, t_eps)


def _points(
    data: Distribution | Tensor | np.ndarray, n_paths: int | None, seed: int, path_offset: int
) -> tuple[Tensor, torch.Size]:
    """Data that samples start from, (n, d) float64, and the shape of one."""
    if isinstance(data, Distribution):
        return drawn(data, 1024 if n_paths is None else n_paths, seed, path_offset)
    points, shape = checked_data("data", data)
    if not len(points):
        raise ValueError(f"data: expected at least one point, got (0, {', '.join(map(str, shape))})")
    count = min(1024, len(points)) if n_paths is None else checked_integer("n_paths", n_paths, 1, MOST)
    return points[torch.arange(count, device="cpu") % len(points)], shape


def _ends(problem: Problem, data: Distribution | Tensor | np.ndarray, nodes: Nodes, held: Samples) -> Tensor:
    """What no step changes, for each held-out sample: −log π(x_T), and log p(x_eps) or the scale of the NLL."""
    end = -log_prior(problem.process, None, problem.dim, held.x_last)
    if isinstance(data, Distribution):
        return end + data.log_prob(held.x_first, nodes.times[0].item(), problem.process)
    return end - problem.dim * nodes.mean_scale[0].log()


def _surrogate(
    objective: str,
    problem: Problem,
    nodes: Nodes,
    score: NodeScore,
    data: object,
    data_std: float,
    n_table: int,
    progress: bool,
) -> Tensor:
    """The cost of every step by a surrogate, from the samples of the table."""
    own = Problem(
        *(problem.model, problem.process, problem.points[:n_table], problem.shape, problem.seed, problem.path_offset)
    )
    if objective == "klub":
        return klub(own, nodes, score, progress)
    if objective == "kl-step":
        assert isinstance(problem.model, Distribution)
        assert isinstance(data, Distribution)
        return kl_step(own, nodes, problem.model, data, progress)
    return defects(own, nodes, score, data_std, progress)[objective]
