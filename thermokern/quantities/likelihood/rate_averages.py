"""Averages over forward paths of what entropy rates are made of, and their integrals along each path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models import ScoreLike
from thermokern.models.evaluate import examine_score, rademacher, score_and_divergence
from thermokern.ops.checks import NotFusable
from thermokern.processes import LinearProcess, rate_table
from thermokern.quantities.engine.backends import source_of
from thermokern.quantities.engine.blocks import Rows, Sharing, run_blocks
from thermokern.quantities.engine.jumps import warn_of_jumps
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
    sharing: Sharing | None = None,
) -> RateAverages:
    """One pass of forward paths from the data `x0` (n, d), with the process's exact transitions between nodes."""
    n, dim = x0.shape
    sharing = Sharing() if sharing is None else sharing
    weight, half_weight = quadrature(process, times)
    table = rate_table(process, times, weight)
    turned = common_axes(model, model if reference is None else reference)  # rates do not depend on the axes
    if turned is not None:
        x0, model, reference = turned.turn(x0), turned.model, None if reference is None else turned.reference
    z = ops.normals(n, dim, seed=seed, path_offset=path_offset, purpose="start", dtype=torch.float64)
    start = (process.mean_scale(times[0]) * x0 + process.variance(times[0]).sqrt() * z).to(dtype)
    if not bool(start.isfinite().all()):
        raise ValueError(f"data: expected numbers that {dtype} can hold: use dtype=torch.float64")
    reason = 'backend="reference" was asked for' if backend == "reference" else ""
    reason = reason or ("the kernels give the exact divergence" if probes else "")
    sources: tuple[ops.Source, ops.Source] | None = None
    if not reason:
        try:
            sources = _sources(model, reference, table, dim, dtype)
        except NotFusable as error:
            reason = str(error)
    if sources is None:
        if backend == "fused":
            raise ValueError(f'backend: "fused" cannot run this: {reason}')
        examine_score("model", model, process, start, times[0].item(), shape, derivative=True)
        warn_of_jumps("model", model, process, start, shape, times)
    size = sharing.block or (max(1, n) if sources is not None else max(1, _CHUNK // dim))
    with Bar(total=n * len(times), progress=progress, unit="point", unit_scale=True, desc="rates") as bar:

        def compute(_: int, low: int, high: int) -> Rows:
            x, here = start[low:high], path_offset + low
            if sources is not None:
                with bar.between(low * len(times), high * len(times)):
                    return _by_kernel(sources, reference is not None, table, x, seed, here)
            bar.update(low * len(times) - bar.n)
            return _in_pytorch(model, reference, process, table, x, shape, probes, seed, here, bar)

        out = _merged(run_blocks(n, size, sharing.ranks, compute))
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


def _sources(
    model: ScoreLike, reference: Distribution | None, table: ops.RateTable, dim: int, dtype: torch.dtype
) -> tuple[ops.Source, ops.Source]:
    """What the kernels read of the scores; the model stands in for a reference that is not known."""
    source = source_of("model", model, table, dim, dtype)
    return source, source if reference is None else source_of("data", reference, table, dim, dtype)


def _by_kernel(
    sources: tuple[ops.Source, ops.Source],
    known: bool,
    table: ops.RateTable,
    x: Tensor,
    seed: int,
    path_offset: int,
) -> Rows:
    """Number of paths, mean, Σ (value − mean)², variance, integrals, ends, of one block."""
    out = ops.trajectory_averages(x, table, *sources, seed=seed, path_offset=path_offset)
    if not known:
        for part in (out.mean, out.variance, out.integrals):
            part[:, [CROSS, MISMATCH]] = torch.nan
    n = len(x)
    m2 = out.variance * (n - 1) if n > 1 else torch.zeros_like(out.variance)
    return torch.tensor([n], device="cpu"), out.mean, m2, out.variance, out.integrals, out.x_last


def _in_pytorch(
    model: ScoreLike,
    reference: Distribution | None,
    process: LinearProcess,
    table: ops.RateTable,
    x: Tensor,
    shape: torch.Size,
    probes: int,
    seed: int,
    path_offset: int,
    bar: Bar,
) -> Rows:
    """The same for any score, in the dtype of `x` but for the sums."""
    (n, dim), times = x.shape, table.times
    mean, m2 = (torch.zeros(len(times), len(ops.OBSERVABLES), dtype=torch.float64, device="cpu") for _ in range(2))
    along = torch.zeros(n, len(ops.OBSERVABLES), dtype=torch.float64, device="cpu")
    for k, t in enumerate(times.tolist()):
        values = _observe(model, reference, process, x, t, shape, probes, seed, path_offset, k)
        _, _, w, scaled_up, scaled = table.rates[k].tolist()
        along += values * torch.tensor([scaled_up] * 4 + [scaled, w, scaled], dtype=torch.float64, device="cpu")
        if n:
            mean[k] = values.mean(0)
            m2[k] = (values - mean[k]).square().sum(0)
        if k + 1 < len(times):
            noise = ops.normals(n, dim, seed=seed, path_offset=path_offset, first=k * dim, dtype=x.dtype)
            x = table.column("drift")[k].item() * x + table.column("noise")[k].item() * noise
        bar.update(n)
    variance = m2 / (n - 1) if n > 1 else torch.full_like(m2, torch.nan)
    return torch.tensor([n], device="cpu"), mean, m2, variance, along, x


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


def _merged(blocks: list[Rows]) -> ops.TrajectoryAverages:
    """The averages over the paths of all blocks, one block after the other."""
    counts, means, squares, variances, integrals, ends = zip(*blocks, strict=True)
    if len(blocks) == 1:
        return ops.TrajectoryAverages(means[0], variances[0], integrals[0], ends[0])
    count, mean, m2 = 0, torch.zeros_like(means[0]), torch.zeros_like(means[0])
    for n, own, own_m2 in zip(map(int, counts), means, squares, strict=True):
        delta = own - mean
        m2 += own_m2 + delta.square() * (count * n / (count + n))
        mean += delta * (n / (count + n))
        count += n
    return ops.TrajectoryAverages(mean, m2 / (count - 1), torch.cat(integrals), torch.cat(ends))
