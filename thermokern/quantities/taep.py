"""Time-asymmetry entropy production (TAEP), trajectory by trajectory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from thermokern import ops
from thermokern.ops._library import MAX_DIM, check_finite, check_seed
from thermokern.processes import DEFAULT_CHAIN, LinearProcess, step_table
from thermokern.quantities.backends import ScoreLike, choose_backend
from thermokern.quantities.estimate import (
    Estimate,
    ExponentialAverage,
    exponential_average,
    mean_estimate,
    variance_estimate,
)
from thermokern.scores import Distribution, ScoreModel

SCHEMES = ("auto", *ops.SCHEMES)
# A share of effective paths below which the exponential average is carried by too few to be trusted.
FEW_PATHS = 0.01


class FewPathsWarning(UserWarning):
    """An exponential average whose standard error is not to be trusted."""


@dataclass(frozen=True)
class TAEP:
    """Time-asymmetry entropy production of each path, and its statistics. Nats throughout.

    Attributes
    ----------
    values : Tensor
        (n,) Δs of each path.
    mean, variance : Estimate
    fluctuation_theorem : ExponentialAverage
        ``⟨e^{−Δs}⟩``, which is 1 when the reference is exact (Ding, Quan and Tu, Eq. 30).
    score_matching : Estimate
        ``∫ D ⟨|s_θ − s_*|²⟩ dt``, which equals the mean when the reference is exact (Eq. 33).
    x_start, x_end : Tensor
        (n, d), the ends of each path, at ``t_eps`` and ``t_end``.
    endpoint_log_ratio : Tensor or None
        (n,) ``log(p/q)(x_start) − log(p/q)(x_end)`` where model and reference both know their densities: what Δs is,
        path by path, in continuous time (Eq. 36).
    reference_is_exact : bool
        Whether the reference is the score of the law that paths start from; Eq. 30 and 33 need that.
    backend : str
        What ran: ``fused`` or ``reference``.
    backend_reason : str
        Under ``auto``, why not the fused kernels; else empty.
    settings : dict
        All that defines the calculation: model, reference, process, grid, scheme, seed, versions.
    """

    values: Tensor
    mean: Estimate
    variance: Estimate
    fluctuation_theorem: ExponentialAverage
    score_matching: Estimate
    x_start: Tensor
    x_end: Tensor
    endpoint_log_ratio: Tensor | None
    reference_is_exact: bool
    backend: str
    backend_reason: str
    settings: dict[str, Any]

    def summary(self) -> str:
        """A table of the estimates, for people."""
        s, average = self.settings, self.fluctuation_theorem
        exact = "exact" if self.reference_is_exact else "not exact: <exp(-TAEP)> need not be 1"
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        share = average.effective_sample_size / average.n if average.n else math.nan
        lines = [
            f"TAEP of {len(self.values)} paths, {s['n_steps']} steps of {s['process']}, scheme {s['scheme']}",
            f"  mean                    {self.mean} nats",
            f"  variance                {self.variance} nats²",
            f"  <exp(-TAEP)>            {average}   (carried by {share:.1%} of the paths)",
            f"  score matching          {self.score_matching} nats",
            f"  reference               {exact}",
            f"  backend                 {self.backend}{reason}",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything but the per-path tensors, ready for :mod:`json`."""
        average = self.fluctuation_theorem
        return {
            "mean": _pair(self.mean),
            "variance": _pair(self.variance),
            "fluctuation_theorem": {**_pair(average), "effective_sample_size": average.effective_sample_size},
            "score_matching": _pair(self.score_matching),
            "n_paths": len(self.values),
            "reference_is_exact": self.reference_is_exact,
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
        }


def taep(
    model: ScoreLike,
    reference: ScoreLike,
    process: LinearProcess | None = None,
    *,
    n_paths: int | None = None,
    x0: Tensor | np.ndarray | None = None,
    n_steps: int = 1000,
    t_eps: float | None = None,
    spacing: str | None = None,
    scheme: str = "auto",
    chain: str = DEFAULT_CHAIN,
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    allow_nonfinite: bool = False,
    progress: bool = False,
) -> TAEP:
    """Time-asymmetry entropy production of a model's score against a reference score, along forward paths.

    ``Δs = log p[x]/p̃_θ[x̄]``: the log ratio of the forward path's density to that of the reversed path under the model's
    reverse dynamics. With ``δ = s_θ − s_*`` and ``D = g²/2`` (the divergence term as the Itô product asks),

        Δs = ∫ D [l(s_θ) − l(s_*)] dt + ∫ g δ·dw,   l(s) = |s|² + 2∇·s.

    Parameters
    ----------
    model, reference : Distribution, ScoreModel or callable ``(x, t) -> score``
        ``s_θ`` and ``s_*``. A distribution stands for its exact score.
    process : LinearProcess, optional
        May be left out where the model or the reference carries one; two that differ are an error.
    n_paths : int, optional
        Paths to start from `reference`, which must be a distribution. Exactly one of `n_paths` and `x0`.
    x0 : Tensor or array, optional
        (n, d) data points at t = 0, diffused exactly to ``t_eps``, where each path starts.
    n_steps, t_eps, spacing
        The time grid, see :meth:`LinearProcess.grid`.
    scheme : {"auto", "stratonovich", "ito", "backward-ito", "sampler"}
        How the stochastic integral is discretised, see :func:`thermokern.processes.step_table`; ``auto`` is
        ``stratonovich`` (d ≤ 16), else ``backward-ito``, which needs no divergence. ``sampler`` is the log density
        ratio of the discrete chains themselves: ``⟨e^{−Δ}⟩ = 1`` for any number of steps; its reference must be a
        distribution.
    chain : {"euler-maruyama", "ddpm", "ddpm-large"}
        The sampler of the ``sampler`` scheme, see :func:`thermokern.processes.step_table`; no other scheme takes one.
    seed, path_offset : int
        Path ``i`` depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "reference"}
        ``fused``: float32 kernels for mixtures and perceptrons. ``reference``: PyTorch, any score, any dtype.
    dtype : torch.dtype, optional
        Of the paths; float32 when left out. float64 runs in the reference.
    allow_nonfinite : bool
        Return NaN or infinite values that arise on a path instead of raising. They are in every statistic.
    progress : bool
        Show a progress bar.

    Returns
    -------
    TAEP

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    FloatingPointError
        When values on a path stop being finite.

    Warns
    -----
    FewPathsWarning
        When fewer than one path in a hundred carries ``⟨e^{−Δs}⟩``, or when its variance is infinite.

    Notes
    -----
    Strong order 1 in the step for ``stratonovich`` when δ is a gradient, ½ for ``ito`` and ``backward-ito``. Cost: one
    evaluation of both scores for each path and node; memory grows with paths, not with steps.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Eq. 26–34.
    """
    process = _one_process(process, model, reference)
    start = _data(reference, n_paths, x0, seed, path_offset)
    dim = start.shape[1]
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: expected one of {SCHEMES}, got {scheme!r}")
    if scheme == "auto":
        scheme = "stratonovich" if dim <= MAX_DIM else "backward-ito"
    dtype = torch.float32 if dtype is None else dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
    for name, score in {"model": model, "reference": reference}.items():
        if isinstance(score, Distribution) and score.dim != dim:
            raise ValueError(f"{name}: expected dimension {dim} as the paths have it, got {score.dim}")
    if scheme == "sampler" and not isinstance(reference, Distribution):
        raise TypeError("reference: the sampler scheme needs its density, so a distribution")
    table = step_table(process, process.grid(n_steps, t_eps, spacing), scheme, chain=chain)
    m, v = table.mean_scale[0], table.variance[0]
    z = ops.normals(len(start), dim, seed=seed, path_offset=path_offset, purpose="start")
    x_start = (m * start + v.sqrt() * z).to(dtype)

    runner, ran, reason = choose_backend(backend, model, reference, process, table, dim, dtype)
    parts = [
        runner(x_start[low:high], seed, path_offset + low)
        for low, high in _chunks(len(x_start), n_steps, ran == "fused", progress)
    ]
    values, mismatch, x_end = (torch.cat(part) for part in zip(*parts, strict=True))
    if scheme == "sampler":
        assert isinstance(reference, Distribution)
        first, last = table.times[0].item(), table.times[-1].item()
        ends = reference.log_prob(x_start, first, process) - reference.log_prob(x_end, last, process)
        values = values + ends + dim * table.chain_log_scale
    _check_paths(values, allow_nonfinite)

    average = exponential_average(values, -1.0)
    _warn_few_paths(average, table)
    return TAEP(
        values=values,
        mean=mean_estimate(values),
        variance=variance_estimate(values),
        fluctuation_theorem=average,
        score_matching=mean_estimate(mismatch),
        x_start=x_start,
        x_end=x_end,
        endpoint_log_ratio=_endpoint_log_ratio(model, reference, process, table.times, x_start, x_end),
        reference_is_exact=isinstance(reference, Distribution) and x0 is None,
        backend=ran,
        backend_reason=reason if backend == "auto" else "",
        settings={
            "model": describe(model),
            "reference": describe(reference),
            "process": repr(process),
            "n_steps": n_steps,
            "t_eps": table.times[0].item(),
            "spacing": spacing or process.default_spacing,
            "scheme": scheme,
            "chain": chain,
            "seed": seed,
            "path_offset": path_offset,
            "dtype": str(dtype)[6:],
            "torch": torch.__version__,
        },
    )


def describe(score: ScoreLike) -> dict[str, Any]:
    """What a score is, ready for :mod:`json`."""
    if isinstance(score, Distribution):
        return score.settings()
    if isinstance(score, ScoreModel):
        return {"kind": "ScoreModel", "network": type(score.network).__name__, "predicts": score.predicts}
    return {"kind": getattr(score, "__name__", type(score).__name__)}


def _pair(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "stderr": estimate.stderr, "unit": estimate.unit}


def _one_process(process: LinearProcess | None, *scores: ScoreLike) -> LinearProcess:
    found = [process] if process is not None else []
    found += [score.process for score in scores if isinstance(score, ScoreModel)]
    if not found:
        raise ValueError("process: neither the model nor the reference carries one; give, say, VP()")
    for other in found:
        if not isinstance(other, LinearProcess):
            raise TypeError(f"process: expected a process such as VP(), got {type(other).__name__}")
        if other != found[0]:
            raise ValueError(f"process: {found[0]} and {other} differ")
    return found[0]


def _data(
    reference: ScoreLike, n_paths: int | None, x0: Tensor | np.ndarray | None, seed: int, path_offset: int
) -> Tensor:
    """Data points at t = 0, (n, d) float64."""
    check_seed(seed, path_offset)
    if (n_paths is None) == (x0 is None):
        raise ValueError("n_paths, x0: expected exactly one of the two")
    if n_paths is not None:
        if not isinstance(reference, Distribution):
            raise TypeError("n_paths: the reference cannot be sampled; give data points x0")
        if isinstance(n_paths, bool) or not isinstance(n_paths, int) or n_paths < 0:
            raise ValueError(f"n_paths: expected a non-negative integer, got {n_paths!r}")
        return reference.sample(n_paths, seed, path_offset)
    points = torch.as_tensor(x0)
    if points.dim() != 2 or points.shape[1] == 0:
        raise ValueError(f"x0: expected (n, d), got {tuple(points.shape)}")
    if points.device.type != "cpu":
        raise ValueError(f"x0: expected a tensor on the cpu, got {points.device}")
    if points.requires_grad:
        raise ValueError("x0: requires a gradient, which taep does not give: use x0.detach()")
    points = points.to(torch.float64)
    check_finite(x0=points)
    return points


def _chunks(n: int, n_steps: int, fused: bool, progress: bool) -> Iterator[tuple[int, int]]:
    """Ranges of paths, small enough that a progress bar moves. There is always one, so that n = 0 gives results."""
    size = max(1024, (20_000_000 if fused else 2_000_000) // n_steps)
    with tqdm(total=n, disable=not progress, unit="path", unit_scale=True, desc="TAEP") as bar:
        for low in range(0, max(n, 1), size):
            high = min(low + size, n)
            yield low, high
            bar.update(high - low)


def _check_paths(values: Tensor, allow_nonfinite: bool) -> None:
    bad = len(values) - int(torch.isfinite(values).sum())
    if bad and not allow_nonfinite:
        raise FloatingPointError(
            f"{bad} of {len(values)} paths stopped being finite: the network's output or the step may be too large; "
            "allow_nonfinite=True returns them as they are"
        )


def _warn_few_paths(average: ExponentialAverage, table: ops.StepTable) -> None:
    if not average.n:
        return
    reasons = []
    if average.effective_sample_size < FEW_PATHS * average.n:
        reasons.append(f"it is carried by {average.effective_sample_size:.1f} of {average.n} paths")
    if table.chain_variance_ratio >= 2.0:
        reasons.append(
            f"its variance is infinite (the reverse chain's step variance is up to {table.chain_variance_ratio:.3g} "
            "times the forward chain's, and from 2 on e^{−Δ} has none): use more steps"
        )
    if reasons:
        message = "the standard error of ⟨exp(−Δs)⟩ is not to be trusted: " + "; ".join(reasons)
        warnings.warn(message, FewPathsWarning, stacklevel=3)


def _endpoint_log_ratio(
    model: ScoreLike, reference: ScoreLike, process: LinearProcess, times: Tensor, x_start: Tensor, x_end: Tensor
) -> Tensor | None:
    if not isinstance(model, Distribution) or not isinstance(reference, Distribution):
        return None
    start, end = (
        reference.log_prob(x, t, process) - model.log_prob(x, t, process)
        for x, t in ((x_start, times[0].item()), (x_end, times[-1].item()))
    )
    return start - end
