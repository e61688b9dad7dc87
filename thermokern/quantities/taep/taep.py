"""Time-asymmetry entropy production (TAEP), trajectory by trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel, one_process
from thermokern.models.prepared import prepared
from thermokern.ops.checks import MAX_DIM, checked_choice, checked_device, checked_dtype, checked_seed
from thermokern.processes import (
    DEFAULT_CHAIN,
    LinearProcess,
    sampler_pair_table,
    sampler_steps,
    step_table,
    weights_have_variance,
)
from thermokern.quantities.engine.backends import choose_backend
from thermokern.quantities.engine.blocks import checked_sharing
from thermokern.quantities.engine.paths import run_paths
from thermokern.quantities.engine.problem import (
    blank,
    check_dim,
    describe,
    grid_of,
    problem_at,
)
from thermokern.quantities.engine.ranks import Group
from thermokern.quantities.engine.starts import Points, Starts, whole
from thermokern.quantities.taep.attribution import checked_resolve, node_sums, refuse_with_resolve
from thermokern.quantities.taep.each import taep_of_each
from thermokern.quantities.taep.finish import Asked, finished
from thermokern.quantities.taep.inputs import (
    Data,
    check_options,
    checked_driver,
    starting_points,
    streaming_options,
    widest_variances,
)
from thermokern.quantities.taep.precision import effect_of_precision
from thermokern.quantities.taep.result import TAEP
from thermokern.quantities.taep.warn import (
    warn_of_long_steps,
    warn_of_missed_witnesses,
    warn_of_times_between,
    warn_of_unreliable_average,
)
from thermokern.targets import Distribution, common_axes

# Reverse paths draw their starting points as paths from here on do, so that no forward path of the seed shares them.
_REVERSE_OFFSET = 2**62


@overload
def taep(model: ScoreLike, reference: ScoreLike, process: LinearProcess | None = None, **options: Any) -> TAEP: ...


@overload
def taep(
    model: Sequence[ScoreLike], reference: ScoreLike, process: LinearProcess | None = None, **options: Any
) -> list[TAEP]: ...


def taep(  # type: ignore[misc]  # the options are those below
    model: ScoreLike | Sequence[ScoreLike],
    reference: ScoreLike,
    process: LinearProcess | None = None,
    *,
    n_paths: int | None = None,
    x0: Data | None = None,
    n_steps: int | None = None,
    t_eps: float | None = None,
    spacing: str | None = None,
    times: Tensor | Sequence[float] | None = None,
    scheme: str = "auto",
    integrator: str = "exact",
    extrapolate: bool | None = None,
    chain: str = DEFAULT_CHAIN,
    forward: str = "exact",
    variance: Tensor | Sequence[float] | None = None,
    divergence: str = "auto",
    probes: int = 1,
    direction: str = "forward",
    driver: str = "model",
    from_prior: bool = False,
    resolve: Sequence[str] = (),
    labels: Tensor | Sequence[int] | np.ndarray | None = None,
    time_bins: int = 10,
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    precision: str | None = None,
    compile: bool = False,
    channels_last: bool = False,
    memory_budget: int | None = None,
    block: int | None = None,
    checkpoint: str | Path | None = None,
    group: Group = None,
    gather: str = "all",
    keep_ends: bool = True,
    gradient: bool = False,
    allow_nonfinite: bool = False,
    progress: bool = False,
) -> TAEP | list[TAEP]:
    """Time-asymmetry entropy production of a model's score against a reference score, path by path.

    ``Δs = log p[x]/p̃_θ[x̄]``: the log ratio of the forward path's density to that of the reversed path under the model's
    reverse dynamics. With ``δ = s_θ − s_*`` and ``D = g²/2`` (the divergence term as the Itô product asks),

        Δs = ∫ D [l(s_θ) − l(s_*)] dt + ∫ g δ·dw,   l(s) = |s|² + 2∇·s.

    Parameters
    ----------
    model, reference : Distribution, ScoreModel or callable ``(x, t) -> score``
        ``s_θ`` and ``s_*``. A distribution stands for its exact score. A sequence of models is compared with one
        reference in one pass over forward paths, block by block, in which a reference that is a network is evaluated
        once for all of them.
    process : LinearProcess, optional
        May be left out where the model or the reference carries one; two that differ are an error.
    n_paths : int, optional
        Paths to start from `reference`, which must be a distribution. Exactly one of `n_paths` and `x0`.
    x0 : Tensor, array or Dataset, optional
        (n, …) data points at t = 0, diffused exactly to ``t_eps``, where each path starts; images included. Those of a
        memory-mapped array or of a map-style dataset of PyTorch are read block by block.
    n_steps, t_eps, spacing
        The time grid, see :meth:`LinearProcess.grid`. 1000 steps when left out, fewer where a table has fewer.
    times : Tensor or sequence, optional
        (n_nodes,) increasing: the grid itself, in the place of the three.
    scheme : {"auto", "stratonovich", "ito", "backward-ito", "sampler"}
        How the stochastic integral is discretised, see :func:`thermokern.processes.step_table`; ``auto`` is
        ``stratonovich`` (d ≤ 16), else ``backward-ito``, which needs no divergence. ``sampler`` is the log density
        ratio of the discrete chains themselves: ``⟨e^{−Δ}⟩ = 1`` for any number of steps; its reference must be a
        distribution, unless it drives.
    integrator : {"exact", "euler-maruyama"}
        Of the paths in all schemes but ``sampler``. ``exact``: ``x/m`` is Brownian motion on the clock ``q = v/m²``, so
        forward paths have no error at any step. ``euler-maruyama``: ``x_{k+1} = (1 + f h) x_k + g √h z``, as papers
        compute it.
    extrapolate : bool, optional
        Whether `values` are ``2 V_h − V_{2h}`` of each path, V_{2h} being the sum over every second node of the same
        path, which needs no further score and leaves the mean an error of second order. Left out: yes with
        ``integrator="exact"``, in all schemes but ``sampler``, which is exact. False: plain sums.
    chain : {"euler-maruyama", "ddpm", "ddpm-large", "ddpm-optimal"}
        The sampler of the ``sampler`` scheme, see :func:`thermokern.processes.step_table`; no other scheme takes one.
    forward : {"exact", "euler-maruyama"}
        Forward steps that the sampler ``euler-maruyama`` is compared with: the process's exact transitions, or its own.
    variance : Tensor or sequence, optional
        (n_steps,) in order of time, squared data units: of the steps of ``chain="ddpm-optimal"``, as
        :func:`thermokern.optimal_schedule` finds them.
    divergence : {"auto", "exact", "hutchinson"}
        Streamed, for scores that are not distributions in schemes with a divergence: exact (``auto``: up to 16
        dimensions), or from Rademacher probes, fresh at every node. These add to the variance: see `probe_noise`.
    probes : int
        In each of the two sets of probes whose mean is taken.
    direction : {"forward", "reverse"}
        ``forward``: the process's own paths from the data. ``reverse``: paths that the model drives back from
        ``t_end``, on the exact clock ``y_k = y_{k+1} + Δq m s_θ + √Δq z̃`` for ``y = x/m``, which start from the
        reference's law there. Δs is the same functional of the path read forward in time, its sign not flipped:
        ``p_F(a) = e^a p_R(a)`` and ``⟨e^{+Δs}⟩ = 1`` over reverse paths (Eq. 31). Takes `n_paths`.
    driver : {"model", "reference"}
        Whose score drives reverse paths. ``reference``, for references that are networks: paths start from the
        process's prior, and ``⟨e^{−Δs}⟩ = 1`` and ``⟨Δs⟩ = ∫ D ⟨|δ|²⟩ dt`` hold over them for any two scores; with
        ``sampler``, the log density ratio of two samplers of `chain`, at any number of steps.
    from_prior : bool
        Compare with the sampler as it is used, which starts from the prior π rather than from the true law p_T of
        ``t_end``: adds ``log p_T(x_T) − log π(x_T)`` to every path, and reverse paths start from π. Needs the
        reference's log density.
    resolve : sequence of {"time", "component"}
        Forward paths: also say where Δs arises, over time, along the components of x or both; see `TAEP.attribution`,
        `rate`, `map` and `table`, in every backend. Costs no further score. By component the scheme ``auto`` is
        ``backward-ito``, the others have no divergence either. Not with reverse paths, where the chain form's means
        are not exact, nor with `checkpoint`, whose states have no parts, nor with `gradient`.
    labels : sequence of int, optional
        (n,) of each path, of its data point: the means by label too, see `TAEP.by_label`.
    time_bins : int
        Rows of `TAEP.table`.
    seed, path_offset : int
        Path ``i`` depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "streamed", "reference"}
        ``fused``: kernels for mixtures and perceptrons. ``streamed``: any network and any shape of state; forward paths
        are simulated first and the network sees many points of them at once. ``reference``: PyTorch, step by step.
        ``auto`` takes the first of these that serves, the last where both scores are distributions.
    device : torch.device or str
        Where the paths are, ``cpu`` or ``cuda``: of the fused kernels and of streams, whose networks are evaluated
        where their parameters are. What is returned is on the CPU.
    dtype : torch.dtype, optional
        Of the paths, float32 or float64; float32 when left out.
    precision : {"fp32", "tf32", "bf16"}, optional
        Of the networks' arithmetic: TF32 off or on where a GPU has it, or autocast to bfloat16. What it changes,
        measured on 64 paths, is in `settings` and `summary`. Left out: as PyTorch is set.
    compile, channels_last : bool
        Networks through :func:`torch.compile`; and with their convolutions in the layout that is quicker on GPUs.
    memory_budget : int, optional
        Streamed: bytes that one batch of the network may take, measured on a few points; halved where memory runs out
        all the same. Results depend on it by rounding alone.
    block : int, optional
        Paths that are run together, dealt to ranks and kept in files: results depend on it by rounding alone, and not
        at all on who runs which. Chosen by the problem where left out.
    checkpoint : path, optional
        Streamed: a folder that keeps the state of the run and each block that is done, from which the same call goes on
        after a kill, on any number of ranks, to the same bits.
    group : None, "world" or ProcessGroup
        The processes of torch.distributed that share the paths; each makes the same call and has the same result, whose
        bits do not depend on their number. None is this process alone.
    gather : {"all", "rank0"}
        Who has the tensors (n, …) in the end; ``rank0`` spares the other ranks, which have all else.
    keep_ends : bool
        False, for forward paths that are no sampler's nor compared with a law's density: `x_start` and `x_end` are
        empty, so that those of many images are neither kept nor gathered.
    gradient : bool
        ``values`` are differentiable in the network's parameters, so that ``values.mean()`` can be a loss: streamed and
        in the reference backend. Streamed paths are computed again in the backward pass, block by block, to spare
        memory.
    allow_nonfinite : bool
        Return NaN or infinite values that arise on a path instead of raising. They are in every statistic.
    progress : bool
        Show a progress bar.

    Returns
    -------
    TAEP
        One for each model where `model` is a sequence.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    FloatingPointError
        When values on a path stop being finite.

    Warns
    -----
    FewPathsWarning
        When the standard error of ``⟨e^{−Δs}⟩`` is unreliable: its weights have a Pareto shape above ½, fewer than one
        path in a hundred carries it, or its variance is infinite.
    StepTooLongWarning
        When a step is long beside the narrowest scale of the reference, or when the values miss what they are in
        continuous time (`endpoint_error`, `consistency`) by more than 4 standard errors and by more than all that is
        stated of the mean.

    Notes
    -----
    Two mixtures whose full covariances one rotation makes diagonal run in these axes, in every backend: a seed's noise
    is then the noise along them, and so is that of the start.

    Strong order 1 in the step for ``stratonovich`` when δ is a gradient, ½ for ``ito`` and ``backward-ito``. Cost: one
    evaluation of both scores for each path and node; memory grows with paths, not with steps.

    Probes are fresh at every node. One probe kept along a path makes errors that add up rather than average out: they
    inflate the variance many times over and break ``⟨e^{−Δs}⟩ = 1``.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 26–34.
    """
    given = locals().copy()
    check_options(given)
    if isinstance(model, list | tuple):
        return taep_of_each(taep, model, reference, given)
    if isinstance(model, Sequence):
        raise TypeError(f"model: expected a score or a list of them, got {type(model).__name__}")
    process = one_process(process, model=model, reference=reference)
    plain = (model, reference)
    model, reference = (
        prepared(score, precision, compile, channels_last) if isinstance(score, ScoreModel) else score
        for score in plain
    )
    if (precision is not None or compile or channels_last) and model is plain[0] and reference is plain[1]:
        raise ValueError("precision, compile, channels_last: neither score is a network to make ready")
    checked_choice("direction", direction, ops.DIRECTIONS)
    reverse = direction == "reverse"
    if reverse and x0 is not None:
        raise ValueError("x0: reverse paths start at t_end, not from data; pass n_paths")
    by_reference = checked_driver(driver, reference, scheme, reverse, from_prior)
    one_sampler = scheme == "sampler" and not by_reference  # compared with the forward chain
    seed, path_offset = checked_seed(seed, path_offset)
    draws = path_offset + _REVERSE_OFFSET if reverse else path_offset
    own_start = by_reference and not isinstance(reference, Distribution)
    start: Points
    if own_start:
        start, shape = blank(n_paths, model, reference)
    else:
        start, shape = starting_points(reference, n_paths, x0, seed, draws)
    waiting = not isinstance(start, Tensor)  # where they are stored
    nothing = torch.zeros(0, shape.numel(), dtype=torch.float64, device="cpu")
    points = start if isinstance(start, Tensor) else nothing
    problem = problem_at(model, process, (points, shape), seed, path_offset)
    check_dim("reference", reference, shape)
    dim = problem.dim
    if scheme == "auto":
        scheme = "stratonovich" if dim <= MAX_DIM and "component" not in resolve else "backward-ito"
    resolved, labels = checked_resolve(resolve, labels, len(start), scheme)
    if resolved:
        refuse_with_resolve(reverse, checkpoint is not None, gradient)
    dtype = checked_dtype(dtype)
    sharing = checked_sharing(block, group, gather, keep_ends)
    two_laws = isinstance(model, Distribution) and isinstance(reference, Distribution)
    if not keep_ends and (reverse or scheme == "sampler" or from_prior or two_laws):
        raise ValueError(
            "keep_ends: what is known of two laws, reverse paths and samplers needs the ends; leave it out"
        )
    streaming = streaming_options(divergence, probes, memory_budget, checkpoint, gradient, progress, sharing)
    can_extrapolate = scheme != "sampler" and integrator == "exact"
    extrapolate = can_extrapolate if extrapolate is None else extrapolate
    if extrapolate and not can_extrapolate:
        raise ValueError('extrapolate: only integrator="exact" extrapolates, in all schemes but "sampler"')
    options = {"integrator": integrator, "chain": chain, "forward": forward}
    grid = grid_of(process, n_steps, t_eps, spacing, times)
    if scheme == "sampler" and by_reference:
        table = sampler_pair_table(process, grid, chain, variance)
    else:
        table = step_table(process, grid, scheme, direction, coarse=extrapolate, variance=variance, **options)
    n_steps = len(table.times) - 1
    warn_of_times_between(process, grid, model, reference)
    warn_of_long_steps(reference, table)
    chain_steps = sampler_steps(process, grid, chain, forward, variance) if one_sampler else None
    exact_steps = integrator == "exact" if chain_steps is None else forward == "exact"
    if resolved:
        sums_at_nodes = node_sums(table, chain_steps, exact_steps, resolved, time_bins)
        streaming = replace(streaming, resolved=sums_at_nodes)
    turned = None if "component" in resolved else common_axes(model, reference)  # whose axes are not those of x

    def first_node(low: int, high: int) -> Tensor:
        z = ops.normals(high - low, dim, seed=seed, path_offset=draws + low, purpose="start")
        if reverse and (from_prior or own_start):
            x = process.prior(dim).stddev * z
        else:  # data diffused exactly to the node where paths begin
            here = start[low:high] if turned is None else turned.turn(start[low:high])
            x = table.mean_scale[0] * here + table.variance[0].sqrt() * z
        return x.to(dtype)

    x_first: Points = Starts(first_node, len(start), dim)
    if not waiting:
        x_first = whole(x_first)

    scores = (model, reference) if turned is None else (turned.model, turned.reference)
    if by_reference:  # kernels let the first of two scores drive; the sums then change sign
        scores = (scores[1], scores[0])
    runner, ran, reason = choose_backend(backend, *scores, process, table, shape, dtype, streaming, device)
    settings = {
        **problem.settings(dtype),
        "reference": describe(reference),
        "n_steps": n_steps,
        "t_eps": table.times.min().item(),
        "t_end": table.times.max().item(),
        "spacing": "given" if times is not None else spacing or process.default_spacing,
        **({} if times is None else {"times": grid.tolist()}),
        **({} if variance is None else {"variance": torch.as_tensor(variance, device="cpu").tolist()}),
        "scheme": scheme,
        **options,
        "extrapolate": extrapolate,
        "direction": direction,
        "driver": driver,
        "from_prior": from_prior,
        **({"resolve": list(resolved)} if resolved else {}),
    }
    asked = Asked(
        model=model,
        reference=reference,
        problem=problem,
        table=table,
        n_paths=n_paths,
        resolved=resolved,
        labels=labels,
        time_bins=time_bins,
        allow_nonfinite=allow_nonfinite,
        turned=turned,
        streaming=streaming,
        backend=ran,
        backend_reason=reason if backend == "auto" else "",
        settings=settings,
        own_points=x0 is not None,
        own_start=own_start,
    )
    ranks = sharing.ranks
    ranks.agree(lambda: asked.parts(scores, x_first))
    sums = run_paths(runner, x_first, problem, n_steps, ran == "fused", streaming, checked_device(device))
    result = ranks.once(lambda: finished(asked, x_first, sums), len(x_first))
    if precision in ("tf32", "bf16"):
        effect = ranks.first(lambda: effect_of_precision(taep, result.values, given))
        result = replace(result, settings={**result.settings, "precision_effect": effect})
    infinite = chain_steps is not None and not weights_have_variance(
        process, grid, chain_steps, *widest_variances(reference, model)
    )
    warn_of_unreliable_average(result, infinite)
    warn_of_missed_witnesses(result)
    return result
