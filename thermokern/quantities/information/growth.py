"""``ln p(x|y)/p(x)`` of single points for many candidates y by differences of losses, and a gambler's use of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern._bars import Bar
from thermokern.models import ScoreLike
from thermokern.processes import LinearProcess
from thermokern.quantities.information.gaussian import gaussian_score, with_kernels
from thermokern.quantities.information.integral import Batch, Integrand, Options, evaluate
from thermokern.quantities.information.integrands import LOSS, ConditionalLike, pushed, pushed_given
from thermokern.quantities.information.networks import network_rates
from thermokern.quantities.information.plan import Density, adapted_density, even_density, stratified, uniforms
from thermokern.quantities.information.sources import Draws, Source
from thermokern.quantities.results.estimate import Estimate, mean_estimate

PAIRS = 64  # of level and noise for each point, in the growth rate
_POINTS, _PILOT = 2**42, 2**43  # where their numbers begin
_PILOT_EVALUATIONS = 1024


class Pointwise(NamedTuple):
    """Differences of losses of points, integrated over noise levels."""

    values: Tensor  # (n, K)
    stderr: Tensor  # (n, K)


def pointwise_losses(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    x: Tensor,
    candidates: Tensor,
    density: Density,
    pairs: int,
    options: Options,
    shape: torch.Size,
) -> Pointwise:
    """``∫ D E_ε[|s_u − τ|² − |s_c − τ|²] dt`` of each point and candidate.

    Parameters
    ----------
    x : Tensor
        (n, d) float64.
    candidates : Tensor
        (n, K, …), each point's own; they share levels and noise.
    pairs : int
        Of level and noise for each point, even: one to each stratum of the density.
    """
    n, count = candidates.shape[:2]
    levels = stratified(density, uniforms(n, options.seed, _POINTS, pairs))  # (n, pairs)
    repeated = Draws(x.repeat_interleave(pairs, 0), candidates.repeat_interleave(pairs, 0), None)

    def rates(batch: Batch) -> Tensor:
        assert batch.y is not None
        without = (pushed(unconditional, process, batch, shape) + batch.noise).square().sum(1)
        columns = []
        for k in range(count):
            with_y = pushed_given(conditional, process, batch, shape, batch.y[:, k])
            columns.append(0.5 * (without - (with_y + batch.noise).square().sum(1)))
        return torch.stack(columns, dim=1)

    integrand = _with_kernels(rates, conditional, unconditional, process, shape, True)
    with Bar(total=n * pairs, progress=options.progress, unit="point", unit_scale=True, desc="pairs") as bar:
        flat = levels.log_snr.reshape(-1)
        found = evaluate(integrand, process, flat, repeated, _POINTS, options, bar)
    values = levels.weight[:, :, None] * found.reshape(n, pairs, count)
    apart = (values[:, 0::2] - values[:, 1::2]).square().mean(1) / 2.0
    return Pointwise(values.mean(1), (apart / pairs).sqrt())


def pilot_density(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    draws: Draws,
    options: Options,
    shape: torch.Size,
) -> Density:
    """Where the difference of losses of given draws is large."""
    _, low, high = options.checked(process)
    density = even_density(low, high)
    levels = stratified(density, uniforms(len(draws.x), options.seed, _PILOT))

    def rates(batch: Batch) -> Tensor:
        assert batch.y is not None
        one = pushed(unconditional, process, batch, shape) + batch.noise
        other = pushed_given(conditional, process, batch, shape, batch.y) + batch.noise
        return 0.5 * (one.square() - other.square()).sum(1)[:, None]

    integrand = _with_kernels(rates, conditional, unconditional, process, shape, False)
    with Bar(total=len(draws.x), progress=False) as bar:
        seen = evaluate(integrand, process, levels.log_snr, draws, _PILOT, options, bar)
    return adapted_density(levels, seen[:, 0], density.edges)


def _with_kernels(
    plain: Integrand,
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    shape: torch.Size,
    candidates: bool,
) -> Integrand:
    fused = network_rates(plain, conditional, unconditional, process, shape, (LOSS,), candidates=candidates)
    scores = gaussian_score(conditional), [gaussian_score(unconditional)]
    return with_kernels(fused, shape, *scores, (LOSS,), candidates=candidates)


def blind_density(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    source: Source,
    weights: Tensor,
    options: Options,
) -> Density:
    """The same with labels drawn without looking, so that what follows it has seen no point's own label."""
    draws = source.draw(_PILOT_EVALUATIONS, _PILOT)
    generator = torch.Generator().manual_seed(options.seed)
    labels = torch.multinomial(weights, len(draws.x), replacement=True, generator=generator)
    return pilot_density(conditional, unconditional, process, draws._replace(y=labels), options, source.shape)


def growth_of(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    source: Source,
    weights: Tensor,
    options: Options,
) -> Estimate:
    """``E ln π(y|x)/p(y)`` with ``π(y|x) ∝ p(y) e^{i(x;y)}``, for any scores at most I(X;Y)."""
    density = blind_density(conditional, unconditional, process, source, weights, options)
    points = max(64, 2 * options.evaluations // (PAIRS * (len(weights) + 1)))
    number = getattr(source, "x", None)
    draws = source.draw(points if number is None else min(points, len(number)), _POINTS)
    candidates = torch.arange(len(weights), device="cpu").expand(len(draws.x), -1)
    found = pointwise_losses(
        conditional, unconditional, process, draws.x, candidates, density, PAIRS, options, source.shape
    )
    assert draws.y is not None
    return growth_estimate(found.values, draws.y, weights)


def growth_estimate(values: Tensor, y: Tensor, weights: Tensor) -> Estimate:
    """The growth rate of bets on labels `y` (n,) by values (n, K) of every label."""
    log_posterior = (weights.log() + values).log_softmax(1)
    own = y[:, None]
    return mean_estimate((log_posterior - weights.log()).gather(1, own)[:, 0])
