"""What the components of data tell about one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ConditionalModel, ScoreLike
from thermokern.ops.checks import check_flags, checked_choice, checked_integer, checked_several
from thermokern.processes import LinearProcess
from thermokern.quantities.information.curve import level_parts
from thermokern.quantities.information.estimates import total
from thermokern.quantities.information.integral import DEFAULT_EVALUATIONS, Options, integrate, scores_by
from thermokern.quantities.information.integrands import product_rates, reference_rates
from thermokern.quantities.information.neural_entropy import reference_of
from thermokern.quantities.information.problem import (
    check_plain,
    check_points,
    described,
    described_data,
    process_of,
    source_of,
    warn_of_jumping,
)
from thermokern.quantities.information.result import TotalCorrelation
from thermokern.quantities.information.sources import LawSource, PointSource, Source
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.samples import kozachenko_leonenko
from thermokern.targets import Distribution
from thermokern.targets.marginals import marginal_law

ROUTES = ("auto", "product", "entropy")
Marginals = Sequence[ScoreLike] | ConditionalModel
_SAMPLE = 2**44  # where the numbers of the entropies' own sample begin


def total_correlation(
    model: ScoreLike,
    marginals: Marginals | None = None,
    data: Distribution | Tensor | np.ndarray | None = None,
    process: LinearProcess | None = None,
    *,
    blocks: Sequence[Sequence[int]] | None = None,
    route: str = "auto",
    reference_std: float | None = None,
    evaluations: int = DEFAULT_EVALUATIONS,
    sampling: str = "adaptive",
    ends: bool = True,
    t_eps: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TotalCorrelation:
    """``TC = KL(p ‖ Π_b p_b)`` of the components of x, or of blocks of them; of two blocks their mutual information.

    - ``product``: ``∫ D E|s − s_prod|² dt``, ``s_prod`` the marginals' scores side by side. Neither shift nor scale of
      an axis matters, and both missing ends are read off.
    - ``entropy``: ``S + Σ_b h_b − (d/2) ln 2πσ² − E|x|²/(2σ²)`` with the neural entropy S and nearest neighbours'
      entropies h_b: needs no marginal score, but its error is two to three times as large and grows with shift and
      scale.

    Parameters
    ----------
    model : ScoreModel, Distribution or callable
        The score of all of x.
    marginals : sequence of scores, or ConditionalModel, optional
        A score for each block, of the block's own components; or one model whose condition is the block's number. Left
        out: those of the law, where `model` or `data` is a mixture of Gaussians or an empirical law.
    data : Distribution, Tensor or array, optional
        A law or points (n, d); may be left out where `model` is a law.
    process : LinearProcess, optional
        May be left out where the model carries one.
    blocks : sequence of sequences of int, optional
        Axes of each block, every axis once; each axis alone when left out.
    route : {"auto", "product", "entropy"}
        ``auto``: by the product where the marginals are known.
    reference_std : float, optional
        Of the entropy route, see :func:`thermokern.neural_entropy`.
    evaluations, sampling, ends, t_eps, seed, progress
        See :func:`thermokern.mutual_information`.

    Returns
    -------
    TotalCorrelation

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, Eq. 8; Watanabe, *Information theoretical analysis of multivariate
    correlation*, 1960.
    """
    check_flags(ends=ends, progress=progress)
    check_plain("model", model, "model.unconditional or model.given(y) is one")
    process = process_of(process, model=model)
    if data is None:
        if not isinstance(model, Distribution):
            raise ValueError("data: a model needs data, points or a law")
        data = model
    source = source_of(data, None, seed)
    warn_of_jumping(process, source, model=model)
    if len(source.shape) != 1:
        raise ValueError(f"data: expected points (n, d), got points of shape {tuple(source.shape)}")
    check_points("data", "model", model, source)
    parts = _checked_blocks(blocks, source.shape[0])
    checked_choice("route", route, ROUTES)
    law = next((item for item in (model, data) if isinstance(item, Distribution)), None)
    if route == "auto":
        route = "product" if marginals is not None or law is not None else "entropy"
    options = Options(evaluations, sampling, ends, t_eps, seed, progress)
    std = math.nan
    if route == "product":
        if marginals is None:
            if law is None:
                raise ValueError("marginals: expected a score for each block, as neither model nor data is a law")
            marginals = [marginal_law(law, block) for block in parts]
        rates = product_rates(model, marginals, parts, process, source.shape)
    else:
        std = reference_of(process, reference_std)
        rates = reference_rates(model, process, source.shape, std)
    integral = integrate(rates, source, process, 0, options)
    measured = level_parts(integral, 0, "total_correlation")
    inside = integral.estimate(measured["values"])
    value = total(inside, measured["below"], measured["above"])
    entropies: tuple[Estimate, ...] = ()
    if route == "entropy":
        rest, entropies = _entropies(source, parts, std, evaluations)
        value = total(value, rest)
    return TotalCorrelation(
        value=value,
        integral=inside,
        route=route,
        axis_entropies=entropies,
        **measured,
        settings={
            "model": described(model),
            "data": described_data(data, source),
            "blocks": len(parts),
            "axes": [list(part) for part in parts],
            "scores": scores_by(rates),
            **options.settings(process),
            **({"reference_std": std} if route == "entropy" else {}),
        },
    )


def _checked_blocks(blocks: Sequence[Sequence[int]] | None, dim: int) -> list[list[int]]:
    parts = [[axis] for axis in range(dim)]
    if blocks is not None:
        parts = [
            [checked_integer("blocks", axis, 0, dim) for axis in checked_several("blocks", block)]
            for block in checked_several("blocks", blocks)
        ]
    if sorted(axis for part in parts for axis in part) != list(range(dim)) or not all(parts):
        raise ValueError(f"blocks: expected every axis of 0 … {dim - 1} once, got {parts}")
    return parts


def _entropies(
    source: Source, blocks: list[list[int]], std: float, evaluations: int
) -> tuple[Estimate, tuple[Estimate, ...]]:
    """``Σ h_b − (d/2) ln 2πσ² − E|x|²/(2σ²)``, its error point by point, and each h_b."""
    x = source.x if isinstance(source, PointSource) else source.draw(evaluations, _SAMPLE).x
    assert isinstance(source, PointSource | LawSource)
    found = [kozachenko_leonenko(x[:, block].contiguous()) for block in blocks]
    local = sum((entropy.local.double() for entropy in found), torch.zeros(len(x), dtype=torch.float64, device="cpu"))
    constant = 0.5 * x.shape[1] * math.log(2.0 * math.pi * std**2)
    rest = mean_estimate(local - x.square().sum(1) / (2.0 * std**2) - constant)
    return rest, tuple(Estimate(entropy.value, entropy.stderr) for entropy in found)
