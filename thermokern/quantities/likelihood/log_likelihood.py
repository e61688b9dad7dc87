"""Exact log-likelihood of data under a model's probability-flow equation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel
from thermokern.models.evaluate import examine_score, rademacher, score_and_divergence
from thermokern.ops.checks import MOST, check_flags, checked_choice, checked_dtype, checked_integer, checked_number
from thermokern.ops.probability_flow import TOO_MANY, checked_tolerances
from thermokern.processes import LinearProcess, flow_table
from thermokern.quantities.engine.backends import UNSTREAMED
from thermokern.quantities.engine.blocks import Rows, checked_sharing, count_of, run_blocks
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.jumps import warn_of_jumps
from thermokern.quantities.engine.problem import (
    check_prior,
    checked_data,
    first_time,
    log_prior,
    own_dtype,
    probes_of,
    problem_at,
)
from thermokern.quantities.engine.ranks import Group
from thermokern.quantities.likelihood.flows import Kernel, by_kernel, by_reference, flow_block, fusable
from thermokern.quantities.likelihood.patience import Watched
from thermokern.quantities.likelihood.result import LogLikelihood
from thermokern.targets import Distribution, common_axes


def log_likelihood(
    model: ScoreLike,
    x: Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    t_eps: float | None = None,
    prior: Distribution | None = None,
    divergence: str = "auto",
    probes: int = 1,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    dequantize: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    block: int | None = None,
    group: Group = None,
    gather: str = "all",
    allow_nonfinite: bool = False,
    max_evaluations: int | None = None,
    progress: bool = False,
) -> LogLikelihood:
    """``log p(x)`` of the law that a model's probability-flow equation ``x' = f x − D s_θ`` carries the prior to.

    ``log p(x) = log π(x_T) + ∫ ∇·(f x − D s_θ) dt + d log m(t_eps)`` along the solution that starts at ``m(t_eps) x``.
    This is the likelihood of the deterministic sampler, not that of the reverse stochastic equation. There is no time
    grid to give: steps adapt to the tolerance, point by point.

    Parameters
    ----------
    model : ScoreModel, Distribution or callable ``(x, t) -> score``
    x : Tensor or array
        (n, …) data points.
    process : LinearProcess, optional
        May be left out where the model carries one.
    t_eps : float, optional
        Where the equation ends near the data: 1e-5, or the process's own first time where it has one (EDM, DiscreteVP).
    prior : Distribution, optional
        A law of data whose diffused law at ``t_end`` takes the place of the process's Gaussian prior.
    divergence : {"auto", "exact", "hutchinson"}
        ``auto``: exact up to 16 dimensions and of distributions; else Hutchinson's estimate with random signs, each
        probe fixed along the whole path of its point.
    probes : int
        Of Hutchinson's estimate, for each point; two or more give a standard error.
    rtol, atol : float
        Tolerance of a step along each axis of x and of the accumulated divergence, ``atol + rtol |value|``. The step is
        chosen by the mean square over these d + 1 errors in units of their tolerances, for each point by itself.
    dequantize : float
        Width of the bins of quantised data, each value being the lower edge of its bin: uniform noise of that width is
        added. 1/256 for 8-bit images on [0, 1].
    repeats : int
        Independent draws of dequantisation noise and probes for each point, averaged.
    seed, path_offset : int
        What is random for point i depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "reference"}
        ``fused``: kernels for perceptrons and for mixtures whose covariances one rotation makes diagonal, which run in
        those axes in either backend. ``reference``: PyTorch, any score.
    dtype : torch.dtype, optional
        float64 where left out, but for a network that PyTorch runs: its own.
    block : int, optional
        Points that are solved together and dealt to ranks. In PyTorch results depend on it within the tolerance; what
        memory is for where left out.
    group, gather
        As in :func:`thermokern.taep`: the processes that share the points, and who has the tensors (n, …).
    allow_nonfinite : bool
        Return NaN for points whose path stops being finite, or takes too many evaluations, instead of raising.
    max_evaluations : int, optional
        Of the score, for a point and a repeat: what needs more is given up. The kernels, which take at most 10⁵, look
        after each of their grids.
    progress : bool
        Show a progress bar of the score's evaluations in PyTorch: how far the last point is along its path.

    Returns
    -------
    LogLikelihood

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    FloatingPointError
        When values on a path stop being finite, the tolerance cannot be met with 2^17 steps, or a point needs more than
        `max_evaluations`.

    Warns
    -----
    SlowFlowWarning
        Early, when a stiff or noisy field is on its way to more than 10⁴ evaluations of a point.

    Notes
    -----
    Steps are those of Dormand and Prince, 5(4), on a dyadic grid of the log signal-to-noise ratio: a step is a power of
    two of the whole and begins at a multiple of itself. In the fused kernels a point's value is bit-identical whatever
    its company. In PyTorch it is so as far as the network's products of matrices are, which may round a row differently
    in batches of different size; values then agree to the tolerance.

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, Eq. 13 and 39, App.
    D.2; Dormand and Prince, *A family of embedded Runge–Kutta formulae*, 1980; Kodama and Hinczewski, arXiv 2510.06174,
    Eq. 7.
    """
    check_flags(allow_nonfinite=allow_nonfinite, progress=progress)
    problem = problem_at(model, process, checked_data("x", x), seed, path_offset)
    process, points, shape = problem.process, problem.points, problem.shape
    sharing = checked_sharing(block, group, gather)
    seed, path_offset, (n, dim) = problem.seed, problem.path_offset, points.shape
    probes = probes_of(divergence, probes, model, dim)
    hutchinson = probes > 0
    checked_choice("backend", backend, UNSTREAMED)
    rtol, atol = checked_tolerances(rtol, atol)
    dequantize = checked_number("dequantize", dequantize, least=0.0)
    repeats = checked_integer("repeats", repeats, 1, MOST)
    if max_evaluations is not None:
        max_evaluations = checked_integer("max_evaluations", max_evaluations, 1, MOST)
    check_prior(prior, dim)
    t_eps = checked_number("t_eps", first_time(process) if t_eps is None else t_eps, above=0.0, below=process.t_end)
    if divergence == "hutchinson" and isinstance(model, Distribution):
        raise ValueError('divergence: a distribution knows its own exactly, expected "auto" or "exact"')
    reason = "the kernels give the exact divergence" if hutchinson else ""
    reason = 'backend="reference" was asked for' if backend == "reference" else reason
    turned = common_axes(model, model)  # a full covariance runs in its own axes
    own_axes = model if turned is None else turned.model
    dtype = None if dtype is None else checked_dtype(dtype)
    fused = fusable(own_axes, process, t_eps, dim, dtype, reason)
    if isinstance(fused, str) and backend == "fused":
        raise ValueError(f'backend: "fused" cannot run this: {fused}')
    dtype = own_dtype(model, isinstance(fused, str)) if dtype is None else dtype

    noise = torch.zeros(repeats, n, dim, dtype=torch.float64, device="cpu")
    if dequantize:
        z = ops.normals(n, repeats * dim, seed=seed, path_offset=path_offset, purpose="start", dtype=torch.float64)
        noise = dequantize * torch.special.ndtr(z).reshape(n, repeats, dim).transpose(0, 1)
    signs = rademacher(n, repeats * probes, dim, seed, path_offset, dtype) if hutchinson else None
    scale = process.mean_scale(t_eps)
    columns = max(probes, 1)
    ranks, in_pytorch = sharing.ranks, isinstance(fused, str)
    size = sharing.block or flow_block(n, dim, columns, not in_pytorch, ranks.alone)
    ranks.agree(
        lambda: parts_of_call(
            {"model": model},
            process,
            shape,
            {"x": points},
            {
                **{"seed": [seed, path_offset], "t_eps": t_eps, "divergence": divergence, "probes": probes},
                **{"rtol": rtol, "atol": atol, "dequantize": dequantize, "repeats": repeats, "backend": backend},
                **{"dtype": dtype, "max_evaluations": max_evaluations, "block": block, "gather": gather},
                **{"prior": None if prior is None else prior.settings(), "quantity": "log_likelihood"},
            },
        )
    )
    if in_pytorch:
        examine_score("model", own_axes, process, (scale * points[:2]).to(dtype), t_eps, shape, derivative=True)
        warn_of_jumps("model", own_axes, process, scale * points[:2], shape)
    watched = Watched(max_evaluations, progress, repeats * count_of(n, size))

    def solve(index: int, low: int, high: int) -> Rows:
        rounds = []
        for r in range(repeats):
            start = scale * (points[low:high] + noise[r, low:high])
            start = (start if turned is None else turned.turn(start)).to(dtype)
            own = None if signs is None else signs[low:high, r * probes : (r + 1) * probes]
            if isinstance(fused, str):
                watched.begin(index * repeats + r)
                rounds.append(by_reference(own_axes, process, start, shape, t_eps, own, columns, rtol, atol, watched))
            else:
                watched.begin(index * repeats + r)
                parts = []
                for first, last in watched.pieces(len(start)):
                    parts.append(by_kernel(fused, process, start[first:last], t_eps, rtol, atol, max_evaluations))
                rounds.append(ops.FlowSums(*(torch.cat(part) for part in zip(*parts, strict=True))))
        return tuple(torch.stack(part) for part in zip(*rounds, strict=True))  # (repeats, high − low, …)

    with watched.bar():
        blocks = run_blocks(n, size, ranks, solve)

    def build() -> LogLikelihood:
        parts = ops.FlowSums(*(torch.cat(part, 1) for part in zip(*blocks, strict=True)))  # (repeats, n, …)
        bad = (parts.status != ops.FLOW_DONE).any(0)
        if bool(bad.any()) and not allow_nonfinite:
            many = int((parts.status == TOO_MANY).any(0).sum())
            limit = f", {many} of them took more than max_evaluations={max_evaluations}" if many else ""
            raise FloatingPointError(
                f"{int(bad.sum())} of {n} points stopped being finite or cannot meet the tolerance{limit}: a larger "
                "rtol or atol, or allow_nonfinite=True, which returns NaN for them"
            )
        end = parts.x_last.double().reshape(repeats * n, dim)
        end = end if turned is None else turned.turn_back(end)
        prior_term = log_prior(process, prior, dim, end).reshape(repeats, n)
        gathered = parts.divergence.double().mean(2)
        start_term = dim * math.log(scale)
        each = prior_term + gathered + start_term
        each[parts.status != ops.FLOW_DONE] = math.nan
        undisturbed = scale * points if turned is None else turned.turn(scale * points)
        exact_end = None
        if isinstance(model, Distribution):
            at_end = model.log_prob(end, process.t_end, process).reshape(repeats, n)
            exact_end = (at_end - prior_term).mean(0)
        return LogLikelihood(
            values=each.mean(0),
            stderr=_stderr(each, parts.divergence.double(), hutchinson),
            nfe=parts.evaluations.sum(0),
            prior_term=prior_term.mean(0),
            divergence_term=gathered.mean(0),
            start_term=start_term,
            t_eps_term=_t_eps_term(own_axes, fused, process, undisturbed.to(dtype), shape, t_eps, signs),
            prior_mismatch=exact_end,
            x_end=end[len(end) - n :].to(dtype),
            dim=dim,
            backend="reference" if isinstance(fused, str) else "fused",
            backend_reason=fused if isinstance(fused, str) and backend == "auto" else "",
            settings={
                **problem.settings(dtype),
                "t_eps": t_eps,
                "divergence": "hutchinson" if hutchinson else "exact",
                "probes": probes,
                "rtol": rtol,
                "atol": atol,
                "prior": "process" if prior is None else prior.settings(),
                "dequantize": dequantize,
                "repeats": repeats,
            },
        )

    return ranks.once(build, n)


def _stderr(each: Tensor, gathered: Tensor, hutchinson: bool) -> Tensor:
    """Standard error of the mean over repeats and probes, (n,): 0 if nothing is random, NaN for a single draw."""
    repeats, n, probes = gathered.shape
    if repeats > 1:
        return each.std(0) / math.sqrt(repeats)
    if not hutchinson:
        return torch.zeros(n, dtype=torch.float64, device="cpu")
    return (
        gathered[0].std(1) / math.sqrt(probes)
        if probes > 1
        else torch.full((n,), math.nan, dtype=torch.float64, device="cpu")
    )


def _t_eps_term(
    model: ScoreLike,
    fused: Kernel | str,
    process: LinearProcess,
    x: Tensor,
    shape: torch.Size,
    t_eps: float,
    signs: Tensor | None,
) -> Tensor:
    """``−(v/2)(|s|² + ∇·s)`` at t_eps, (n,): what undoes the blur of that time, to first order in v."""
    if isinstance(fused, Kernel) and isinstance(model, ScoreModel):
        source = fused.source(flow_table(process, t_eps, 0))
        assert isinstance(source, ops.MlpSource)
        first = source.output_scale[0].item(), source.skip[0].item()
        score, trace = ops.mlp_score_divergence(x, source.weights, source.biases[0], source.activation, *first)
        divergence = trace[:, None]
    else:
        score, divergence = score_and_divergence(model, process, x, t_eps, shape, signs)
    return -0.5 * process.variance(t_eps) * (score.double().square().sum(1) + divergence.double().mean(1))
