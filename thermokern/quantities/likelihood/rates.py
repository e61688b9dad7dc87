"""Entropy rates of a process with a model's score."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel, one_process
from thermokern.ops.checks import MOST, check_flags, checked_choice, checked_dtype, checked_integer
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.backends import UNSTREAMED
from thermokern.quantities.engine.blocks import Sharing, checked_sharing
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.problem import checked_data, drawn, first_time, probes_of, problem_at
from thermokern.quantities.engine.ranks import Group
from thermokern.quantities.likelihood import rate_averages as ra
from thermokern.quantities.likelihood.rates_result import EntropyRate, EntropyRates
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.targets import Distribution

DEFAULT_STEPS = 256
_DECADE = 1.5  # in log v: the stretch over which the exponent below t_eps is read
_LEAST_EXPONENT = 0.2  # below it the piece down to t = 0 is not finite, as far as can be seen
_CLEAR = 5.0  # standard errors that a rate must stand above for its exponent to be read


def entropy_rates(
    model: ScoreLike,
    data: Distribution | Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    n_paths: int | None = None,
    n_steps: int = DEFAULT_STEPS,
    t_eps: float | None = None,
    spacing: str = "log-snr",
    divergence: str = "auto",
    probes: int = 1,
    direction: str = "forward",
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    block: int | None = None,
    group: Group = None,
    progress: bool = False,
) -> EntropyRates:
    """Entropy rates with a model's score in the place of the true one, over time and integrated.

    With ``D = g²/2`` and averages over the marginals p_t of the data,

        Ṡ_i = E|f x − D s|²/D,   Ṡ_e = −E[f x·(f x − D s)]/D,   Ṡ = f d + D E|s|².

    With the true score ``Ṡ = Ṡ_i + Ṡ_e``; with a model's they differ by the Stein residual ``E[f x·s_θ] + f d``. In the
    controlled-forward process, the reverse one on its own clock with drift ``b = −f x + 2 D s``, Ṡ_i is the same,
    ``Ṡ_e = −E[b·(b − D s)]/D = −2 Ṡ_i − Ṡ_e(forward)`` and Ṡ changes its sign.

    Parameters
    ----------
    model : ScoreModel, Distribution or callable ``(x, t) -> score``
        ``s``. A distribution stands for its exact score.
    data : Distribution, Tensor or array
        The law of the data, or points (n, …). With a law the true score is known and compared with.
    process : LinearProcess, optional
        May be left out where the model carries one.
    n_paths : int, optional
        100,000 of a law; every point once of points, which more paths take in turn.
    n_steps : int
        Even: the quadrature error is read from the grid of every second time.
    t_eps : float, optional
        The first time: 1e-5, or the process's own where it has one (EDM, DiscreteVP).
    spacing : {"log-snr", "uniform"}
    divergence : {"auto", "exact", "hutchinson"}
        ``auto``: exact up to 16 dimensions and of distributions; else with `probes` random signs, fresh at every time.
    direction : {"forward", "reverse"}
        ``reverse``: the controlled-forward process, under the same marginals.
    seed, path_offset : int
        Path ``i`` depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "reference"}
    dtype : torch.dtype, optional
        Of the paths: float32 where left out, but for a network in float64; the averages are in float64.
    block : int, optional
        Paths that are averaged together and dealt to ranks; averages of blocks are merged in their order, so that
        results depend on it by rounding. Left out: in PyTorch what memory is for; all paths of the kernels, which are
        shared only in blocks that are asked for.
    group : None, "world" or ProcessGroup
        The processes that share the paths, see :func:`thermokern.taep`.

    Returns
    -------
    EntropyRates

    Notes
    -----
    One pass of forward paths with the process's exact transitions between times, so that every time has its exact
    marginal however coarse the grid. Times along a path are correlated; the integrals' standard errors come from the
    spread over paths of the integral along each, and take account of it. Integrals use the trapezoid rule in the log
    signal-to-noise ratio. Below t_eps an average times v/g² is taken to vanish as a power of v, its exponent read off
    where v is up to 4.5 times that of t_eps; where two powers meet this is rough. ``f d`` is integrated exactly.

    References
    ----------
    Kodama and Hinczewski, arXiv 2510.06174, Eq. 3–5, 9, App. A and C.3; Seifert, *Stochastic thermodynamics,
    fluctuation theorems and molecular machines*, 2012.
    """
    check_flags(progress=progress)
    process = one_process(process, model=model)
    checked_choice("direction", direction, ops.DIRECTIONS)
    averages, settings = averages_of(
        model,
        data,
        process,
        n_paths=n_paths,
        n_steps=n_steps,
        t_eps=t_eps,
        spacing=spacing,
        divergence=divergence,
        probes=probes,
        seed=seed,
        path_offset=path_offset,
        backend=backend,
        dtype=dtype,
        sharing=checked_sharing(block, group),
        progress=progress,
    )
    return rates_from(averages, process, {**settings, "direction": direction})


def averages_of(
    model: ScoreLike,
    data: Distribution | Tensor | np.ndarray,
    process: LinearProcess,
    *,
    n_paths: int | None,
    n_steps: int,
    t_eps: float | None,
    spacing: str,
    divergence: str,
    probes: int,
    seed: int,
    path_offset: int,
    backend: str,
    dtype: torch.dtype | None,
    progress: bool,
    sharing: Sharing | None = None,
) -> tuple[ra.RateAverages, dict[str, object]]:
    """The pass over paths behind :func:`entropy_rates`, and the settings that define it."""
    sharing = Sharing() if sharing is None else sharing
    problem = problem_at(model, process, _starts(data, n_paths, seed, path_offset), seed, path_offset)
    x0 = problem.points
    n_steps = checked_integer("n_steps", n_steps, 4, MOST, even=True)
    probes = probes_of(divergence, probes, model, problem.dim)
    checked_choice("backend", backend, UNSTREAMED)
    network = model.network if isinstance(model, ScoreModel) else None
    parameter = next(network.parameters(), None) if isinstance(network, torch.nn.Module) else None
    double = parameter is not None and parameter.dtype == torch.float64
    dtype = checked_dtype(dtype, torch.float64 if double else torch.float32)
    times = process.grid(n_steps, first_time(process) if t_eps is None else t_eps, spacing)
    law = data if isinstance(data, Distribution) else None
    sharing.ranks.agree(
        lambda: parts_of_call(
            {"model": model} | ({} if law is None else {"data": law}),
            process,
            problem.shape,
            {"points": x0, "times": times},
            {
                **{"seed": [problem.seed, problem.path_offset], "divergence": divergence, "probes": probes},
                **{"backend": backend, "dtype": dtype, "block": sharing.block, "quantity": "entropy_rates"},
            },
        )
    )
    averages = ra.rate_averages(
        model,
        law,
        process,
        times,
        x0,
        shape=problem.shape,
        probes=probes,
        seed=problem.seed,
        path_offset=problem.path_offset,
        backend=backend,
        dtype=dtype,
        sharing=sharing,
        progress=progress,
    )
    settings: dict[str, object] = {
        **problem.settings(dtype),
        "data": data.settings() if isinstance(data, Distribution) else {"points": list(x0.shape)},
        "n_paths": len(x0),
        "n_steps": n_steps,
        "t_eps": times[0].item(),
        "spacing": spacing,
        "divergence": "hutchinson" if probes else "exact",
        "probes": probes,
    }
    return averages, settings


def rates_from(a: ra.RateAverages, process: LinearProcess, settings: dict[str, object]) -> EntropyRates:
    """The rates that averages over paths give."""
    reverse = settings["direction"] == "reverse"
    sign = -1.0 if reverse else 1.0

    def rate(terms: dict[int, float], constant: float = 0.0) -> EntropyRate:
        return _rate(a, process, terms, constant)

    exchange = {ra.CURRENT: -2.0, ra.HEAT: 1.0} if reverse else {ra.HEAT: -1.0}
    known = not bool(a.mean[:, ra.CROSS].isnan().all()) or not len(a.integrals)
    dim = float(a.dim)
    log_snr = process.log_snr(a.times)
    ratio, ratio_values = _exchange_ratio(a)
    return EntropyRates(
        t=a.times,
        log_snr=log_snr,
        intrinsic=rate({ra.CURRENT: 1.0}),
        exchange=rate(exchange),
        system=rate({ra.ENERGY: sign}, sign * dim),
        system_sum=rate({ra.CURRENT: sign, ra.HEAT: -sign}),
        stein_residual=rate({ra.WORK: sign}, sign * dim),
        score_energy=rate({ra.ENERGY: 1.0}),
        divergence=rate({ra.DIVERGENCE: 1.0}),
        cross=rate({ra.CROSS: 1.0}) if known else None,
        mismatch=rate({ra.MISMATCH: 1.0}) if known else None,
        exchange_ratio=ratio,
        exchange_ratio_values=ratio_values,
        n_paths=len(a.integrals),
        dim=a.dim,
        backend=a.backend,
        backend_reason=a.backend_reason,
        settings=dict(settings),
    )


def _rate(a: ra.RateAverages, process: LinearProcess, terms: dict[int, float], constant: float) -> EntropyRate:
    """``Σ factor · rate of an observable + constant · f``, over time and integrated."""
    n = len(a.integrals)
    values, stderr = torch.zeros_like(a.force), torch.zeros_like(a.force)
    along = torch.full((n,), constant * (a.weight * a.force).sum().item(), dtype=torch.float64, device="cpu")
    for column, factor in terms.items():
        values = values + factor * a.scale[:, column] * a.mean[:, column]
        spread = abs(factor) * a.scale[:, column] * (a.variance[:, column] / max(n, 1)).sqrt()
        stderr = stderr + spread  # of a sum of two at most this
        along = along + factor * a.integrals[:, column]
    integral = mean_estimate(along)
    below = _below(a, process, values, stderr)
    values = values + constant * a.force
    half = ((a.weight - a.half_weight) * values).sum().item() / 3.0
    return EntropyRate(
        values=values,
        stderr=stderr,
        integral=integral,
        quadrature_error=abs(half),
        # The constant times f integrates to the constant times log m exactly.
        below=Estimate(below.value + constant * math.log(process.mean_scale(a.times[0].item())), below.stderr),
    )


def _below(a: ra.RateAverages, process: LinearProcess, values: Tensor, stderr: Tensor) -> Estimate:
    """The integral from 0 to the first time, of a rate that times v/g² goes as a power of v."""
    v = process.variance(a.times)
    density = v / (2.0 * a.diffusion)
    log_v = v.log()
    far = int((log_v >= log_v[0] + _DECADE).int().argmax())
    first, first_error = (values[0] * density[0]).item(), (stderr[0] * density[0]).item()
    second, second_error = (values[far] * density[far]).item(), (stderr[far] * density[far]).item()
    exponent, relative = 1.0, 0.0
    if far and first * second > 0.0 and abs(first) > _CLEAR * first_error and abs(second) > _CLEAR * second_error:
        span = (log_v[far] - log_v[0]).item()
        exponent = math.log(second / first) / span
        relative = math.hypot(first_error / first, second_error / second) / span / max(exponent, _LEAST_EXPONENT)
    if exponent < _LEAST_EXPONENT:
        return Estimate(math.copysign(math.inf, first), math.nan)
    return Estimate(first / exponent, math.hypot(first_error, first * relative) / exponent)


def _exchange_ratio(a: ra.RateAverages) -> tuple[Estimate, Tensor]:
    """``E[∇·b]/Ṡ_i`` with the controlled-forward drift ``b = −f x + 2 D s``: of the integrals, and over time."""
    scale, dim = a.scale, float(a.dim)
    spread = 2.0 * scale[:, ra.DIVERGENCE] * a.mean[:, ra.DIVERGENCE] - dim * a.force
    values = spread / (scale[:, ra.CURRENT] * a.mean[:, ra.CURRENT])
    top = 2.0 * a.integrals[:, ra.DIVERGENCE] - dim * (a.weight * a.force).sum()
    bottom = a.integrals[:, ra.CURRENT]
    if not len(bottom):
        return Estimate(math.nan, math.nan, ""), values
    ratio = (top.mean() / bottom.mean()).item()
    return Estimate(ratio, mean_estimate((top - ratio * bottom) / bottom.mean()).stderr, ""), values


def _starts(
    data: Distribution | Tensor | np.ndarray, n_paths: int | None, seed: int, path_offset: int
) -> tuple[Tensor, torch.Size]:
    """Data that paths start from, (n, d) float64, and the shape of one."""
    if isinstance(data, Distribution):
        return drawn(data, 100_000 if n_paths is None else n_paths, seed, path_offset)
    points, shape = checked_data("data", data)
    if not len(points):
        raise ValueError(f"data: expected at least one point, got (0, {', '.join(map(str, shape))})")
    which = torch.arange(
        len(points) if n_paths is None else checked_integer("n_paths", n_paths, 0, MOST), device="cpu"
    ) % len(points)
    return points[which], shape
