"""Averages over forward paths of what entropy rates are made of, and their integrals along each path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from thermokern import ops
from thermokern.models import ScoreLike
from thermokern.models.evaluate import examine_score, rademacher, score_and_divergence
from thermokern.ops.checks import NotFusable
from thermokern.processes import LinearProcess, rate_table
from thermokern.quantities.engine.backends import source_of
from thermokern.targets import Distribution, common_axes

# The columns of ops.OBSERVABLES: |s|², ∇·s, s·s_*, |s − s_*|², |f x − D s|², f x·s and f x·(f x − D s).
ENERGY, DIVERGENCE, CROSS, MISMATCH, CURRENT, WORK, HEAT = range(len(ops.OBSERVABLES))
_CHUNK = 2**21  # numbers of x that are alive at once


@dataclass(frozen=True)
class RateAverages:
    """Nodes are in order of time. Columns of the last axis are ``ops.OBSERVABLES``; NaN where they need s_*.

    Attributes
    ----------
    times, force, diffusion, weight, half_weight : Tensor
        (n_nodes,) float64: t, f, D; the quadrature weight of a node in an integral over time, and that on every second
        node.
    mean, variance : Tensor
        (n_nodes, 7) float64, over paths.
    integrals : Tensor
        (n, 7) float64, along each path: of D times the first four columns, of the next over D, of ``f x·s``, of the
        last over D.
    x_start, x_end : Tensor
        (n, d) at the first and the last time.
    dim : int
    backend, backend_reason : str
    """

    times: Tensor
    force: Tensor
    diffusion: Tensor
    weight: Tensor
    half_weight: Tensor
    mean: Tensor
    variance: Tensor
    integrals: Tensor
    x_start: Tensor
    x_end: Tensor
    dim: int
    backend: str
    backend_reason: str

    @property
    def scale(self) -> Tensor:
        """(n_nodes, 7): the factors that turn means into rates."""
        one, d = torch.ones_like(self.diffusion), self.diffusion
        return torch.stack([d, d, d, d, 1.0 / d, one, 1.0 / d], dim=1)


def quadrature(process: LinearProcess, times: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the trapezoid rule in the log signal-to-noise ratio, on all nodes and on every second one.

    ``∫ r dt = ∫ r (v/g²) dλ``: in λ the rates of any process are smooth and flatten towards both ends.
    """
    log_snr = process.log_snr(times)
    density = process.variance(times) / process.g2(times)
    weights = []
    for stride in (1, 2):
        step = -log_snr[::stride].diff()
        weight = torch.zeros_like(times)
        weight[::stride] = 0.5 * (torch.cat([step, step.new_zeros(1)]) + torch.cat([step.new_zeros(1), step]))
        weights.append(weight * density)
    return weights[0], weights[1]


def rate_averages(
    model: ScoreLike,
    reference: Distribution | None,
    process: LinearProcess,
    times: Tensor,
    x0: Tensor,
    *,
    shape: torch.Size,
    probes: int,
    seed: int,
    path_offset: int,
    backend: str,
    dtype: torch.dtype,
    progress: bool,
) -> RateAverages:
    """One pass of forward paths from the data `x0` (n, d), with the process's exact transitions between nodes."""
    n, dim = x0.shape
    weight, half_weight = quadrature(process, times)
    table = rate_table(process, times, weight)
    turned = common_axes(model, model if reference is None else reference)  # rates do not depend on the axes
    if turned is not None:
        x0, model, reference = turned.turn(x0), turned.model, None if reference is None else turned.reference
    z = ops.normals(n, dim, seed=seed, path_offset=path_offset, purpose="start", dtype=torch.float64)
    start = (process.mean_scale(times[0]) * x0 + process.variance(times[0]).sqrt() * z).to(dtype)
    reason = 'backend="reference" was asked for' if backend == "reference" else ""
    reason = reason or ("the kernels give the exact divergence" if probes else "")
    out: ops.TrajectoryAverages | None = None
    if not reason:
        try:
            out = _by_kernel(model, reference, table, start, seed, path_offset)
        except NotFusable as error:
            reason = str(error)
    if out is None:
        if backend == "fused":
            raise ValueError(f'backend: "fused" cannot run this: {reason}')
        out = _in_pytorch(model, reference, process, table, start, shape, probes, seed, path_offset, progress)
    columns = [CROSS, MISMATCH] if reference is None else []
    known = [column for column in range(len(ops.OBSERVABLES)) if column not in columns]
    if bad := int((~out.integrals[:, known].isfinite()).any(1).sum()):
        raise FloatingPointError(
            f"{bad} of {n} paths stopped being finite: the network's output may be too large, or NaN at some time"
        )
    ends = (start, out.x_last)
    if turned is not None:
        ends = (turned.turn_back(start), turned.turn_back(out.x_last))
    return RateAverages(
        times=times,
        force=table.rates[:, 0],
        diffusion=table.rates[:, 1],
        weight=weight,
        half_weight=half_weight,
        mean=out.mean,
        variance=out.variance,
        integrals=out.integrals.double(),
        x_start=ends[0],
        x_end=ends[1],
        dim=dim,
        backend="reference" if reason else "fused",
        backend_reason=reason if backend == "auto" else "",
    )


def _by_kernel(
    model: ScoreLike,
    reference: Distribution | None,
    table: ops.RateTable,
    x: Tensor,
    seed: int,
    path_offset: int,
) -> ops.TrajectoryAverages:
    source = source_of("model", model, table, x.shape[1], x.dtype)
    other = source if reference is None else source_of("data", reference, table, x.shape[1], x.dtype)
    out = ops.trajectory_averages(x, table, source, other, seed=seed, path_offset=path_offset)
    if reference is None:  # the model stood in for it
        for part in (out.mean, out.variance, out.integrals):
            part[:, [CROSS, MISMATCH]] = torch.nan
    return out


def _in_pytorch(
    model: ScoreLike,
    reference: Distribution | None,
    process: LinearProcess,
    table: ops.RateTable,
    start: Tensor,
    shape: torch.Size,
    probes: int,
    seed: int,
    path_offset: int,
    progress: bool,
) -> ops.TrajectoryAverages:
    """The same for any score, chunk by chunk of paths, in the dtype of `start` but for the sums."""
    n, dim = start.shape
    times = table.times
    size = max(1, _CHUNK // dim)
    examine_score("model", model, process, start, times[0].item(), shape, derivative=True)
    count = 0
    mean, m2 = (torch.zeros(len(times), len(ops.OBSERVABLES), dtype=torch.float64, device="cpu") for _ in range(2))
    integrals, ends = [], []
    with tqdm(total=n * len(times), disable=not progress, unit="point", unit_scale=True, desc="rates") as bar:
        for low in range(0, max(n, 1), size):
            x = start[low : low + size]
            along = torch.zeros(len(x), len(ops.OBSERVABLES), dtype=torch.float64, device="cpu")
            values = torch.zeros_like(along)
            for k, t in enumerate(times.tolist()):
                values = _observe(model, reference, process, x, t, shape, probes, seed, path_offset + low, k)
                _, _, w, scaled_up, scaled = table.rates[k].tolist()
                along += values * torch.tensor([scaled_up] * 4 + [scaled, w, scaled], dtype=torch.float64, device="cpu")
                _merge(mean[k], m2[k], count, values)
                if k + 1 < len(times):
                    here = path_offset + low
                    noise = ops.normals(len(x), dim, seed=seed, path_offset=here, first=k * dim, dtype=x.dtype)
                    x = table.column("drift")[k].item() * x + table.column("noise")[k].item() * noise
                bar.update(len(x))
            count += len(x)
            integrals.append(along)
            ends.append(x)
    variance = m2 / (n - 1) if n > 1 else torch.full_like(m2, torch.nan)
    return ops.TrajectoryAverages(mean, variance, torch.cat(integrals), torch.cat(ends))


def _observe(
    model: ScoreLike,
    reference: Distribution | None,
    process: LinearProcess,
    x: Tensor,
    t: float,
    shape: torch.Size,
    probes: int,
    seed: int,
    path_offset: int,
    node: int,
) -> Tensor:
    """The observables of each point, (n, 7) float64."""
    n, dim = x.shape
    # On stochastic paths probes are drawn afresh at every node.
    signs = rademacher(n, probes, dim, seed, path_offset, x.dtype, first=node * probes * dim) if probes else None
    score, divergence = score_and_divergence(model, process, x, t, shape, signs)
    s, x = score.double(), x.double()
    f, d = process.f(t), 0.5 * process.g2(t)
    force, nothing = f * x, torch.full((n,), torch.nan, dtype=torch.float64, device="cpu")
    current = force - d * s
    cross = mismatch = nothing
    if reference is not None:
        exact = reference.score(x, t, process)
        cross, mismatch = (s * exact).sum(1), (s - exact).square().sum(1)
    return torch.stack(
        [
            s.square().sum(1),
            divergence.double().mean(1),
            cross,
            mismatch,
            current.square().sum(1),
            (force * s).sum(1),
            (force * current).sum(1),
        ],
        dim=1,
    )


def _merge(mean: Tensor, m2: Tensor, count: int, values: Tensor) -> None:
    """Add paths to the mean and Σ (value − mean)² of one node, in place."""
    n = len(values)
    if not n:
        return
    own = values.mean(0)
    delta = own - mean
    m2 += (values - own).square().sum(0) + delta.square() * (count * n / (count + n))
    mean += delta * (n / (count + n))
