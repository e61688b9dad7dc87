"""Rates per unit of λ = ln(m²/v) at points of given noise levels: ``D|…|² dt = ½ v |…|² dλ``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from thermokern.models import ConditionalModel, ScoreLike, ScoreModel, conditional_score_at, one_process
from thermokern.models.evaluate import score_at
from thermokern.ops.checks import checked_several
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.problem import check_dim
from thermokern.quantities.information.gaussian import GaussianScore, gaussian_score, isotropic, with_kernels
from thermokern.quantities.information.integral import Batch, Integrand
from thermokern.quantities.information.networks import network_rates
from thermokern.targets import ConditionalLaw, Gaussian

ConditionalLike = ConditionalModel | ConditionalLaw

GAP, LOSS, DIFFERENCE = range(3)
COLUMNS = ("gap", "loss", "difference")


def precision(model: ScoreLike | ConditionalLike) -> torch.dtype:
    """float64, but for networks of other precision, which take float32."""
    network = model.network if isinstance(model, ScoreModel | ConditionalModel) else None
    if not isinstance(network, nn.Module):
        return torch.float64
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return torch.float64 if kinds <= {torch.float64} else torch.float32


def pushed(model: ScoreLike, process: LinearProcess, batch: Batch, shape: torch.Size) -> Tensor:
    """``√v s(x, t)``, (n, d) float64: minus the noise that a score sees in x."""
    x = batch.x.to(precision(model))
    return batch.root * score_at(model, process, x, batch.t, shape).double()


def pushed_given(model: ConditionalLike, process: LinearProcess, batch: Batch, shape: torch.Size, y: Tensor) -> Tensor:
    """``√v s(x, t | y)``, (n, d) float64."""
    x = batch.x.to(precision(model))
    return batch.root * conditional_score_at(model, process, x, batch.t, y, shape).double()


def _pushed_either(
    model: ScoreLike | ConditionalLike, process: LinearProcess, batch: Batch, shape: torch.Size
) -> Tensor:
    if isinstance(model, ConditionalModel | ConditionalLaw):
        assert batch.y is not None
        return pushed_given(model, process, batch, shape, batch.y)
    return pushed(model, process, batch, shape)


def pushed_by_reference(process: LinearProcess, batch: Batch, std: float) -> Tensor:
    """The same of ``N(0, std²)`` diffused by the process."""
    m = process.mean_scale(batch.t)[:, None]
    return -batch.root * batch.x / (m.square() * std**2 + batch.root.square())


def information_rates(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    shape: torch.Size,
    reference_std: float = 1.0,
) -> Integrand:
    """Gap, difference of losses, difference of entropies, in the order of ``COLUMNS``."""

    def rates(batch: Batch) -> Tensor:
        assert batch.y is not None
        with_y = pushed_given(conditional, process, batch, shape, batch.y)
        without = pushed(unconditional, process, batch, shape)
        rest = pushed_by_reference(process, batch, reference_std)
        apart, both = with_y - without, with_y + without
        columns = (apart * apart, -apart * (both + 2.0 * batch.noise), apart * (both - 2.0 * rest))
        return torch.stack([0.5 * column.sum(1) for column in columns], dim=1)

    pair, columns = (gaussian_score(conditional), [gaussian_score(unconditional)]), (GAP, LOSS, DIFFERENCE)
    fused = network_rates(rates, conditional, unconditional, process, shape, columns, reference_std)
    return with_kernels(fused, shape, *pair, columns, reference_std)


def reference_rates(
    model: ScoreLike | ConditionalLike,
    process: LinearProcess,
    shape: torch.Size,
    std: float,
    truth: ScoreLike | ConditionalLike | None = None,
) -> Integrand:
    """``½ v |s − s_ref|²`` of the reference ``N(0, std²)``, and beside it ``½ v |s − truth|²`` where that is given."""

    def rates(batch: Batch) -> Tensor:
        score = _pushed_either(model, process, batch, shape)
        columns = [score - pushed_by_reference(process, batch, std)]
        if truth is not None:
            columns.append(score - _pushed_either(truth, process, batch, shape))
        return torch.stack([0.5 * column.square().sum(1) for column in columns], dim=1)

    fused = rates if truth is not None else network_rates(rates, model, None, process, shape, (GAP,), std)
    others = [isotropic(shape.numel(), std), *([] if truth is None else [gaussian_score(truth)])]
    return with_kernels(fused, shape, gaussian_score(model), others, (GAP,))


def product_rates(
    model: ScoreLike,
    marginals: Sequence[ScoreLike] | ConditionalModel,
    blocks: list[list[int]],
    process: LinearProcess,
    shape: torch.Size,
) -> Integrand:
    """``½ v |s − s_prod|²``, with the scores of the blocks of axes side by side."""
    if not isinstance(marginals, ConditionalModel):
        if len(checked_several("marginals", marginals)) != len(blocks):
            raise ValueError(f"marginals: expected {len(blocks)} as there are blocks, got {len(marginals)}")
        for score, block in zip(marginals, blocks, strict=True):
            one_process(process, marginals=score)
            check_dim("marginals", score, torch.Size([len(block)]))

    def rates(batch: Batch) -> Tensor:
        product = torch.empty_like(batch.x)
        for k, axes in enumerate(blocks):
            part, own = batch._replace(x=batch.x[:, axes]), torch.Size([len(axes)])
            if isinstance(marginals, ConditionalModel):
                number = torch.full((len(batch.x),), k, dtype=torch.int64, device="cpu")
                product[:, axes] = pushed_given(marginals, process, part, own, number)
            else:
                product[:, axes] = pushed(marginals[k], process, part, own)
        return 0.5 * (pushed(model, process, batch, shape) - product).square().sum(1)[:, None]

    second = None if isinstance(marginals, ConditionalModel) else _product_of_gaussians(marginals, blocks)
    return with_kernels(rates, shape, gaussian_score(model), [second], (GAP,))


def _product_of_gaussians(marginals: Sequence[ScoreLike], blocks: list[list[int]]) -> GaussianScore | None:
    """The score of independent Gaussians of blocks of axes, or None."""
    parts = [gaussian_score(marginal) for marginal in marginals]
    dim = sum(len(axes) for axes in blocks)
    mean, covariance = (torch.zeros(*size, dtype=torch.float64, device="cpu") for size in ((dim,), (dim, dim)))
    for part, axes in zip(parts, blocks, strict=True):
        if part is None or not isinstance(part.centre, Tensor) or part.law.dim != len(axes):
            return None
        which = torch.tensor(axes, device="cpu")
        mean[which] = part.centre
        covariance[which[:, None], which] = part.law.covariances[0]
    return gaussian_score(Gaussian(mean, covariance))
