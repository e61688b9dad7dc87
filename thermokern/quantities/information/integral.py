"""An integral over noise levels of averages over data: pilot, plan, evaluations, ends.

Every quantity of this room is ``∫ E r(x_t, t) dλ`` with λ = ln(m²/v), ``D dt = ½ v dλ``, and r made of scores. A pilot
on even levels says where r is large; the evaluations follow it, one level to each stratum; the two ends are rates at
the first and the last level. :func:`evaluate` is the one place that calls scores, PyTorch's or a kernel's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.ops.checks import MOST, checked_choice, checked_integer, checked_number, checked_seed
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.problem import first_time
from thermokern.quantities.engine.ranks import Ranks
from thermokern.quantities.information.estimates import (
    beyond,
    effective_sample_size,
    level_estimate,
    recurring,
    warn_of_few,
)
from thermokern.quantities.information.plan import (
    SAMPLINGS,
    Levels,
    adapted_density,
    even_density,
    stratified,
    uniform_times,
    uniforms,
)
from thermokern.quantities.information.sources import Draws, Source
from thermokern.quantities.results.estimate import Estimate, mean_estimate

DEFAULT_EVALUATIONS = 65_536
_LEAST_EVALUATIONS = 64
_NUMBERS, _MOST_ROWS, _FEWEST_ROWS = 2**17, 8192, 16  # of one batch: fixed, so that no result depends on the memory
_PILOT, _ENDS = 2**40, 2**41  # where the numbers of their evaluations begin
_STRETCH = 1.5  # see estimates.beyond


class Batch(NamedTuple):
    """Points at noise levels of their own."""

    x: Tensor  # (n, d) float64, m x_0 + √v ε
    t: Tensor  # (n,) float64
    noise: Tensor  # (n, d) float64, ε
    root: Tensor  # (n, 1) √v
    y: Tensor | None  # (n, …)


Integrand = Callable[[Batch], Tensor]  # rates (n, columns) per unit of λ, float64


class Data(NamedTuple):
    """Data, noise and a noise level each, apart."""

    x: Tensor  # (n, d) float64, x_0
    noise: Tensor  # (n, d) float64, ε
    y: Tensor | None  # (n, …)
    mean_scale: Tensor  # (n,) m
    root: Tensor  # (n,) √v
    t: Tensor  # (n,)


@runtime_checkable
class Fused(Protocol):
    """An integrand for which kernels stand, from the data up."""

    refused: str | None

    def fused(self, data: Data) -> Tensor | None:
        """Rates (n, columns), those of the integrand to rounding; None where the kernels do not take the scores."""


def scores_by(integrand: Integrand) -> str:
    """Who computed the scores: kernels, or PyTorch."""
    return "kernel" if isinstance(integrand, Fused) and integrand.refused is None else "PyTorch"


@dataclass(frozen=True)
class Options:
    """How an integral is taken; see :func:`thermokern.mutual_information`."""

    evaluations: int = DEFAULT_EVALUATIONS
    sampling: str = "adaptive"
    ends: bool = True
    t_eps: float | None = None
    seed: int = 0
    progress: bool = False
    ranks: Ranks = field(default_factory=Ranks)

    def checked(self, process: LinearProcess) -> tuple[float, float, float]:
        """The first time, and the range of λ; a ValueError that names what is wrong."""
        checked_seed(self.seed)
        checked_integer("evaluations", self.evaluations, _LEAST_EVALUATIONS, MOST)
        checked_choice("sampling", self.sampling, SAMPLINGS)
        t_eps = first_time(process) if self.t_eps is None else self.t_eps
        t_eps = checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
        return t_eps, process.log_snr(process.t_end), process.log_snr(t_eps)

    def settings(self, process: LinearProcess) -> dict[str, object]:
        """What defines the integral, for results."""
        t_eps, low, high = self.checked(process)
        return {
            "process": repr(process),
            "evaluations": self.evaluations,
            "sampling": self.sampling,
            "ends": self.ends,
            "t_eps": t_eps,
            "log_snr": [low, high],
            "seed": self.seed,
            "torch": str(torch.__version__),
        }


@dataclass(frozen=True)
class Integral:
    """What the evaluations gave: each column is one integrand."""

    log_snr: Tensor  # (n,) increasing
    values: Tensor  # (n, columns) weight · rate, whose mean is the integral
    y: Tensor | None  # (n, …)
    clusters: Tensor | None  # (n,) number of the data point, where points can recur
    edges: Tensor  # (bins + 1,) of λ
    independent: bool
    first: tuple[Tensor, Tensor] | None  # rates (·, columns) at the least λ and inside it
    last: tuple[Tensor, Tensor] | None  # at the largest λ and inside it

    def estimate(self, values: Tensor) -> Estimate:
        """The integral of values (n,) made from the columns."""
        return level_estimate(values, self._recurring, self.independent)

    @cached_property
    def _recurring(self) -> Tensor | None:
        return recurring(self.clusters)

    def above(self, column: int) -> Estimate:
        """What lies above t_end.

        The rates of any law that has a variance fall there. Where those of a network do not, what is left are errors
        of its scores, which are no information: the rate at t_end stands for what lies above, and for its error too.
        """
        if self.first is None:
            return Estimate(0.0, 0.0)
        near, inner = (rates[:, column] for rates in self.first)
        found = beyond(near, inner)
        if math.isfinite(found.value):
            return found
        rate = mean_estimate(near)
        return Estimate(rate.value, math.hypot(rate.value, rate.stderr))

    def below(self, column: int) -> Estimate:
        """What lies below t_eps."""
        return Estimate(0.0, 0.0) if self.last is None else beyond(*(rates[:, column] for rates in self.last))

    def carried(self, name: str, column: int) -> float:
        """The effective sample size of a column, with a warning where it is small."""
        values = self.values[:, column]
        size = effective_sample_size(values)
        which = (torch.bucketize(self.log_snr, self.edges) - 1).clamp(0, len(self.edges) - 2)
        square = (values - values.mean()).square() if self.independent else _pairwise(values)
        shares = torch.zeros(len(self.edges) - 1, dtype=torch.float64, device="cpu").index_add_(0, which, square)
        warn_of_few(name, size, shares / shares.sum().clamp_min(1e-300))
        return size


def integrate(integrand: Integrand, source: Source, process: LinearProcess, lead: int, options: Options) -> Integral:
    """All columns of an integrand over [t_eps, t_end]; levels follow the column `lead`."""
    t_eps, low, high = options.checked(process)
    n, seed = options.evaluations, options.seed
    n_pilot = min(2048, max(256, n // 16)) if options.sampling == "adaptive" else 0
    n_end = max(128, n // 32) if options.ends else 0
    density = even_density(low, high)
    with Bar(
        total=n + n_pilot + 4 * n_end, progress=options.progress, unit="point", unit_scale=True, desc="noise levels"
    ) as bar:

        def rates(levels: Levels, offset: int) -> tuple[Tensor, Draws]:
            draws = source.draw(len(levels.log_snr), offset)
            return evaluate(integrand, process, levels.log_snr, draws, offset, options, bar), draws

        if n_pilot:
            pilot = stratified(density, uniforms(n_pilot, seed, _PILOT))
            seen, _ = rates(pilot, _PILOT)
            density = adapted_density(pilot, seen[:, lead], density.edges)
        u = uniforms(n, seed, 0)
        levels = uniform_times(process, t_eps, u) if options.sampling == "uniform" else stratified(density, u)
        found, draws = rates(levels, 0)
        ends = []
        for k, place in enumerate((low, low + _STRETCH, high, high - _STRETCH) if n_end else ()):
            fixed = torch.full((n_end,), place, dtype=torch.float64, device="cpu")
            ends.append(rates(Levels(fixed, torch.ones_like(fixed)), _ENDS + k * n_end)[0])
    return Integral(
        log_snr=levels.log_snr,
        values=levels.weight[:, None] * found,
        y=draws.y,
        clusters=draws.number,
        edges=density.edges,
        independent=options.sampling == "uniform",
        first=(ends[0], ends[1]) if ends else None,
        last=(ends[2], ends[3]) if ends else None,
    )


def evaluate(
    integrand: Integrand,
    process: LinearProcess,
    log_snr: Tensor,
    draws: Draws,
    offset: int,
    options: Options,
    bar: Bar,
) -> Tensor:
    """Rates (n, columns) of data at noise levels (n,), in batches; evaluation i draws its noise by ``offset + i``.

    Ranks share the batches.
    """
    n, dim = draws.x.shape
    times = process.times_at(log_snr)
    m, root = process.mean_scale(times)[:, None], process.variance(times).sqrt()[:, None]
    rows = max(_FEWEST_ROWS, min(_MOST_ROWS, _NUMBERS // dim))
    done = bar.n

    def rates_of(which: slice, y: Tensor | None) -> Tensor:
        low, high = which.start, which.stop
        noise = ops.normals(high - low, dim, seed=options.seed, path_offset=offset + low, dtype=torch.float64)
        if isinstance(integrand, Fused):
            data = Data(draws.x[which], noise, y, m[which, 0], root[which, 0], times[which])
            found = integrand.fused(data)
            if found is not None:
                return found
        x = m[which] * draws.x[which] + root[which] * noise
        return integrand(Batch(x, times[which], noise, root[which], y))

    def compute(_: int, low: int, high: int) -> Rows:
        which = slice(low, high)
        y = None if draws.y is None else draws.y[which]
        with torch.no_grad():
            part = rates_of(which, y)
        if not bool(part.isfinite().all()):
            raise FloatingPointError(
                f"a score gave NaN or infinite numbers at log signal-to-noise ratios of {log_snr[which].min():.3g} to "
                f"{log_snr[which].max():.3g}; a larger t_eps or float64 may help"
            )
        bar.update(done + high - bar.n)
        return (part,)

    return torch.cat([part for (part,) in run_blocks(n, rows, options.ranks, compute)])


def _pairwise(values: Tensor) -> Tensor:
    """Half the squared difference of each value from its neighbour, (n,)."""
    nearest = torch.cat([values[1:], values[-2:-1]])
    return 0.5 * (values - nearest).square()
