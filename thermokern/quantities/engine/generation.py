"""Samples of a model: its reverse dynamics run from noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models import ScoreLike, ScoreModel, one_process
from thermokern.models.evaluate import examine_score, score_of
from thermokern.ops.checks import (
    MOST,
    NotFusable,
    array_of,
    check_flags,
    checked_choice,
    checked_dtype,
    checked_integer,
    checked_seed,
    checked_shape,
)
from thermokern.ops.step_table import COLUMNS
from thermokern.processes import CHAIN_NAMES, Chain, LinearProcess, chain_of
from thermokern.quantities.engine.backends import source_of
from thermokern.quantities.engine.batching import Batches
from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.jumps import warn_of_jumps
from thermokern.quantities.engine.problem import grid_of
from thermokern.quantities.engine.ranks import Group, Ranks
from thermokern.targets import Distribution

_STOCHASTIC = {"ancestral": "ddpm", **{name: name for name in CHAIN_NAMES}}  # and the chain that each is
SAMPLERS = ("heun", "probability-flow", *_STOCHASTIC)
_BATCH = 1024
_FUSED_BATCH = 65536  # samples that the kernels take at once: their memory, and how often progress is shown

# (x (n, d), seed, path_offset) to the points at the other end.
_Reverse = Callable[[Tensor, int, int], Tensor]


class SamplePath(NamedTuple):
    """What samples went through, from noise to data."""

    times: Tensor  # (n_nodes,) falling
    points: Tensor  # (n_nodes, n, …); the last are the samples


@overload
def sample(
    model: ScoreLike,
    process: LinearProcess | None = None,
    n: int = 1,
    *,
    return_path: Literal[False] = False,
    **options: Any,
) -> Tensor: ...


@overload
def sample(
    model: ScoreLike, process: LinearProcess | None = None, n: int = 1, *, return_path: Literal[True], **options: Any
) -> SamplePath: ...


def sample(  # type: ignore[misc]  # the options are those below
    model: ScoreLike,
    process: LinearProcess | None = None,
    n: int = 1,
    *,
    method: str = "euler-maruyama",
    n_steps: int | None = None,
    t_eps: float | None = None,
    spacing: str | None = None,
    times: Tensor | Sequence[float] | None = None,
    variance: Tensor | Sequence[float] | None = None,
    shape: tuple[int, ...] | None = None,
    x_end: Tensor | None = None,
    denoise: bool = False,
    seed: int = 0,
    path_offset: int = 0,
    dtype: torch.dtype | None = None,
    batch_size: int = _BATCH,
    group: Group = None,
    gather: str = "all",
    allow_nonfinite: bool = False,
    return_path: bool = False,
    progress: bool = False,
) -> Tensor | SamplePath:
    """Draw samples of a model at ``t_eps`` by running its reverse dynamics from the prior at ``t_end``.

    With ``y = x/m``, ``σ = √v/m`` and the noise that the model sees, ``ε = −√v s``, the probability flow is
    ``dy/dσ = ε``. The methods:

    - ``euler-maruyama``: the reverse SDE, ``x_k = x_{k+1} − f x h + g² s h + g √h z``
    - ``ddpm``, or ``ancestral``: DDPM's posterior ``q(x_k | x_{k+1}, x̂_0)``; ``ddpm-large``, ``ddpm-optimal``: the
      same with other variances, see :func:`thermokern.processes.step_table`
    - ``probability-flow``: Euler steps of y in σ, which is DDIM without noise
    - ``heun``: Heun steps of y in σ, two evaluations each, which for EDM's process is its deterministic sampler

    Parameters
    ----------
    model : Distribution, ScoreModel or callable ``(x, t) -> score``
    process : LinearProcess, optional
        May be left out where the model carries one.
    n : int
    method : {"euler-maruyama", "ddpm", "ancestral", "ddpm-large", "ddpm-optimal", "probability-flow", "heun"}
    n_steps, t_eps, spacing
        The time grid, see :meth:`LinearProcess.grid`. 1000 steps when left out, fewer where a table has fewer. Of a
        table, where no spacing is given, whole times spread evenly.
    times : Tensor or sequence, optional
        (n_nodes,) increasing: the grid itself, in the place of the three.
    variance : Tensor or sequence, optional
        (n_steps,) in order of time, squared data units: of the steps of ``ddpm-optimal``, as
        :func:`thermokern.optimal_schedule` finds them.
    shape : tuple of int, optional
        Of one sample, where the model does not know it.
    x_end : Tensor, optional
        (n, …) points at ``t_end`` to start from, in place of the prior.
    denoise : bool
        Take the mean of the data at the end, ``x̂_0 = (x + v s)/m``, as image samplers do; else samples have the noise
        of ``t_eps``.
    seed, path_offset : int
        Sample ``i`` has the noise of global index ``path_offset + i``: it does not depend on its batch-mates.
    dtype : torch.dtype, optional
        float32 when left out.
    batch_size : int
        Samples that the model sees at once, and that ranks are dealt. The kernels take 65,536.
    group, gather
        As in :func:`thermokern.taep`: the processes that share the samples, and who has them in the end.
    allow_nonfinite : bool
        Return samples that stop being finite instead of raising.
    return_path : bool
        Return where samples stood at every node of the grid, too.
    progress : bool

    Returns
    -------
    Tensor
        (n, …), data units, on the CPU. No gradient. With `return_path`, a named tuple of `times` (n_nodes,), falling,
        and `points` (n_nodes, n, …), whose last are the samples.

    Raises
    ------
    ValueError
        Naming the argument: an unknown method, a shape that nobody knows or two that differ, two processes that differ.
    FloatingPointError
        When samples stop being finite.

    Notes
    -----
    The stochastic methods run in the fused kernels where these know the score (Gaussian mixtures without full
    covariances, and perceptrons, of at most 16 dimensions) and `return_path` is left out; both ways agree to rounding.

    Cost: n · n_steps evaluations of the score, twice as many with ``heun``; memory of `batch_size` samples, and of
    n_nodes · n with `return_path`. The error of the law falls as the step for ``euler-maruyama``, ``ancestral`` and
    ``probability-flow``, as its square for ``heun``.

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, Eq. 6 and 13; Ho,
    Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 7; Song, Meng and Ermon, *Denoising diffusion
    implicit models*, 2021, Eq. 13; Karras et al., *Elucidating the design space of diffusion-based generative models*,
    2022, Alg. 1.
    """
    check_flags(denoise=denoise, allow_nonfinite=allow_nonfinite, return_path=return_path, progress=progress)
    process = one_process(process, model=model)
    checked_choice("method", method, SAMPLERS)
    n, batch_size = checked_integer("n", n, 0, MOST), checked_integer("batch_size", batch_size, 1)
    seed, path_offset = checked_seed(seed, path_offset)
    real = checked_dtype(dtype)
    if x_end is not None:
        x_end = array_of("x_end", x_end)
    shape = _shape(model, shape, x_end)
    if x_end is not None and len(x_end) != n:
        raise ValueError(f"x_end: expected {n} points, got {len(x_end)}")
    grid = grid_of(process, n_steps, t_eps, spacing, times, even=True)
    n_steps = len(grid) - 1
    score = partial(_score, model, process, shape)
    chain = chain_of(_STOCHASTIC[method], process, grid, variance) if method in _STOCHASTIC else None
    if chain is None and variance is not None:
        raise ValueError(f"variance: expected none with the method {method!r}, which draws no noise")
    dim = math.prod(shape)
    ranks = Ranks(group, gather)
    ranks.agree(
        lambda: parts_of_call(
            {"model": model},
            process,
            torch.Size(shape),
            {"x_end": x_end, "times": grid},
            {
                **{"n": n, "method": method, "seed": [seed, path_offset], "dtype": real, "denoise": denoise},
                **{"variance": variance, "batch_size": batch_size, "gather": gather, "quantity": "sample"},
            },
        )
    )
    fused = None if chain is None or return_path else _fused(model, process, chain, grid, dim, real)
    if fused is not None:
        batch_size = max(batch_size, _FUSED_BATCH)
    with Bar(total=n * n_steps, progress=progress, unit="step", unit_scale=True, desc="samples") as bar:

        def draw(low: int, high: int) -> Tensor:
            visited: list[Tensor] = []
            keep = visited.append if return_path else _forget
            if x_end is None:
                z = ops.normals(high - low, dim, seed=seed, path_offset=path_offset + low, purpose="start", dtype=real)
                x = process.prior(dim).stddev.to(real) * z
            else:
                x = x_end[low:high].reshape(high - low, dim).to(real)
            if not low:
                examine_score("model", model, process, x, grid[-1].item(), torch.Size(shape), derivative=False)
                warn_of_jumps("model", model, process, x, torch.Size(shape), grid)
            if chain is None:
                x = _flow(score, process, grid, x, method, bar.update, keep)
            elif fused is not None:
                x = fused(x, seed, path_offset + low)
                bar.update(len(x) * n_steps)
            else:
                x = _stochastic(score, chain, grid, x, seed, path_offset + low, bar.update, keep)
            if denoise:
                t = grid[0].item()
                x = (x + process.variance(t) * score(x, t)) / process.mean_scale(t)
            return torch.stack([*visited, x]).reshape(len(visited) + 1, high - low, *shape)

        batches = Batches(batch_size)

        def compute(_: int, first: int, end: int) -> Rows:
            bar.update(first * n_steps - bar.n)
            return (torch.cat(batches.run(end - first, lambda low, high: draw(first + low, first + high)), dim=1),)

        with torch.no_grad():
            rows = run_blocks(n, batch_size, ranks, compute)
    if not rows:  # another rank has them
        nothing = torch.zeros(len(grid) if return_path else 1, 0, *shape, dtype=real, device="cpu")
        return SamplePath(grid.flip(0), nothing) if return_path else nothing[-1]
    path = torch.cat([part for (part,) in rows], 1)
    samples = path[-1]
    bad = n - int(samples.flatten(1).isfinite().all(1).sum())
    if bad and not allow_nonfinite:
        raise FloatingPointError(
            f"{bad} of {n} samples stopped being finite: the network's output or the step may be too large; "
            "allow_nonfinite=True returns them as they are"
        )
    return SamplePath(grid.flip(0), path) if return_path else samples


def _forget(x: Tensor) -> None:
    """What is done with points on the way that nobody asked for."""


def _fused(
    model: ScoreLike, process: LinearProcess, chain: Chain, times: Tensor, dim: int, dtype: torch.dtype
) -> _Reverse | None:
    """The same steps in the trajectory kernels, whose sums are left out by their coefficients; None for other scores.

    A mixture is its own reference, which shares its exponentials; a perceptron has the cheapest one, a Gaussian.
    """
    columns = torch.zeros(len(times) - 1, len(COLUMNS), dtype=torch.float64, device="cpu")
    for name, numbers in {"drift": chain.position, "push": chain.score, "noise": chain.variance.sqrt()}.items():
        columns[:, COLUMNS.index(name)] = numbers.flip(0)
    at = times[1:].flip(0)
    scales = process.mean_scale(at), process.variance(at)
    table = ops.StepTable(at, columns, "backward-ito", *scales, direction="reverse")
    try:
        source = source_of("model", model, table, dim, dtype)
    except NotFusable:
        return None
    one = torch.ones(1, dim, dtype=torch.float64, device="cpu")
    cheapest = ops.MixtureSource(0.0 * one, one, one[0, :1], *scales)
    reference = source if isinstance(source, ops.MixtureSource) else cheapest
    return lambda x, seed, offset: ops.trajectory(x, table, source, reference, seed=seed, path_offset=offset).x_last


def _stochastic(
    score: Callable[[Tensor, float], Tensor],
    chain: Chain,
    times: Tensor,
    x: Tensor,
    seed: int,
    path_offset: int,
    tick: Callable[[int], object],
    keep: Callable[[Tensor], None],
) -> Tensor:
    n, dim = x.shape
    last = len(times) - 1
    for step in range(last):
        keep(x)
        k = last - 1 - step  # the node that the step reaches
        z = ops.normals(n, dim, seed=seed, path_offset=path_offset, first=step * dim, purpose="reverse", dtype=x.dtype)
        s = score(x, times[k + 1].item())
        x = chain.position[k].item() * x + chain.score[k].item() * s + chain.variance[k].sqrt().item() * z
        tick(n)
    return x


def _flow(
    score: Callable[[Tensor, float], Tensor],
    process: LinearProcess,
    times: Tensor,
    x: Tensor,
    method: str,
    tick: Callable[[int], object],
    keep: Callable[[Tensor], None],
) -> Tensor:
    m, root = process.mean_scale(times).tolist(), process.variance(times).sqrt().tolist()
    t, last = times.tolist(), len(times) - 1
    slope = -root[last] * score(x, t[last])  # ε, which is dy/dσ
    y = x / m[last]
    for k in range(last - 1, -1, -1):
        keep(m[k + 1] * y)
        step = root[k] / m[k] - root[k + 1] / m[k + 1]
        following = y + step * slope
        if method == "heun":
            ahead = -root[k] * score(m[k] * following, t[k])
            following = y + step * 0.5 * (slope + ahead)
        y = following
        if k:
            slope = -root[k] * score(m[k] * y, t[k])
        tick(len(x))
    out: Tensor = m[0] * y
    return out


def _score(model: ScoreLike, process: LinearProcess, shape: tuple[int, ...], x: Tensor, t: float) -> Tensor:
    return score_of(model, process, x, t, torch.Size(shape))


def _shape(model: ScoreLike, shape: tuple[int, ...] | None, x_end: Tensor | None) -> tuple[int, ...]:
    own = checked_shape(shape)
    known = [] if own is None else [own]
    known += [tuple(x_end.shape[1:])] if x_end is not None else []
    if isinstance(model, Distribution):
        known.append((model.dim,))
    elif isinstance(model, ScoreModel) and model.shape is not None:
        known.append(model.shape)
    if not known:
        raise ValueError("shape: the model does not know the shape of a sample; pass it, for example shape=(3, 32, 32)")
    if any(other != known[0] for other in known):
        raise ValueError(f"shape: {', '.join(map(str, known))} differ")
    return known[0]
