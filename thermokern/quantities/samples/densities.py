"""Whether a sample can be one of a density: what ties leave open, and axes that a common radius does not see."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from thermokern.quantities.samples.inputs import digamma
from thermokern.quantities.samples.result import BiasWarning

# Least eigenvalue of a correlation matrix that float32 data can tell from zero: the square of some roundings.
_DEPENDENT = 1e-12
_ROWS = 2**18  # taken at a time where a float64 copy of all would cost memory
# Times a group of columns is narrower than the widest, from which units may be the cause; points that are looked at.
_WIDER, _FEW = 10.0, 4096
_FAR = 3.0  # standard errors that ties may leave open


def check_density(name: str, x: Tensor) -> None:
    """Raise if points (n, d) lie in a plane of lower dimension, where the law has no density.

    Constant columns always; columns that depend linearly on others where n > d.
    """
    low, high = x.amin(0), x.amax(0)
    constant = (low == high).nonzero()[:, 0].tolist()
    if constant:
        raise ValueError(
            f"{name}: column {', '.join(map(str, constant))} is constant: the points have no density in "
            f"{x.shape[1]} dimensions and their differential entropy is −∞; leave the column out"
        )
    n, d = x.shape
    if n <= d or d == 1:
        return
    least, floor = torch.linalg.eigvalsh(_correlations(x))[0].item(), _floor(x)
    if least < floor:
        raise ValueError(
            f"{name}: its columns depend on each other linearly (least eigenvalue of the correlations {least:.2g}): "
            f"the points have no density in {d} dimensions and their differential entropy is −∞; "
            "project them on fewer coordinates"
        )


def check_independent_groups(groups: Sequence[Tensor]) -> None:
    """Raise if columns of one group (n, d_j) depend linearly on those of others, where their information is infinite.

    Dependence within a group leaves the information as it is.
    """
    varying = [group[:, group.amin(0) < group.amax(0)] for group in groups]
    joint = torch.cat(varying, dim=1)
    n, d = joint.shape
    if n <= d or d == 0:
        return
    floor, correlations = _floor(joint), _correlations(joint)

    def planes(block: Tensor) -> int:
        return int((torch.linalg.eigvalsh(block) < floor).sum()) if len(block) else 0

    bounds = torch.tensor([0, *(group.shape[1] for group in varying)], device="cpu").cumsum(0).tolist()
    within = sum(planes(correlations[low:high, low:high]) for low, high in pairwise(bounds))
    if planes(correlations) > within:
        raise ValueError(
            "x: columns of different groups depend on each other linearly: their information is infinite, and an "
            "estimate would grow with the number of points; leave such columns out"
        )


def _correlations(x: Tensor) -> Tensor:
    """Correlations of columns that are not constant, (d, d) float64."""
    low, high = x.amin(0).double(), x.amax(0).double()
    centre, half = 0.5 * (low + high), 0.5 * (high - low)
    n, d = x.shape
    first = torch.zeros(d, dtype=torch.float64, device="cpu")
    second = torch.zeros(d, d, dtype=torch.float64, device="cpu")
    for start in range(0, n, _ROWS):
        block = (x[start : start + _ROWS].double() - centre) / half
        first, second = first + block.sum(0), second + block.T @ block
    covariance = second / n - torch.outer(first, first) / n**2
    deviation = covariance.diagonal().sqrt()
    return covariance / torch.outer(deviation, deviation)


def _floor(x: Tensor) -> float:
    """Eigenvalue of correlations that the dtype of `x` cannot tell from zero."""
    floor = 8.0 * x.shape[1] * torch.finfo(torch.float64).eps
    return max(floor, _DEPENDENT) if x.dtype == torch.float32 else floor


def open_by_ties(nearer: Tensor, within: Tensor, coincident: Tensor | None = None) -> float:
    """Half of what ties leave open in the mean of ψ(rank), nats; 0 for a density.

    The point at a radius has the rank ``nearer + 1`` in a density, and any rank up to `within` where others are as
    far; `coincident` points, at distance 0, may all be copies that do not count.

    Parameters
    ----------
    nearer, within : Tensor
        (n,) int64, other points nearer than the radius, and no farther than it.
    coincident : Tensor, optional
        (n,) int64, those at distance 0.
    """
    rank = nearer + 1
    last = torch.maximum(within, rank)
    spread = digamma(last) - digamma(rank)
    if coincident is not None:
        spread = spread + digamma(last) - digamma((last - coincident).clamp_min(1))
    return 0.5 * spread.mean().item()


def open_at_rank(distances: Tensor, k: int) -> float:
    """:func:`open_by_ties` at rank `k` of ascending `distances` (n, at least k), best one more than k."""
    radius = distances[:, k - 1 : k]
    return open_by_ties((distances < radius).sum(1), (distances <= radius).sum(1), (distances == 0).sum(1))


def check_ties(left_open: float, stderr: float, local: Tensor, remedy: str, depth: int = 2) -> None:
    """Raise if ties leave open far more than the standard error, warn if more.

    Where the error is not known, the spread of `local` stands for it. The caller is `depth` calls away.
    """
    error = stderr if math.isfinite(stderr) else local.std().item() / math.sqrt(len(local))
    if left_open <= error:
        return
    words = (
        f"equal distances or coinciding points, which a density does not have, leave the estimate open by "
        f"±{left_open:.2g} nats, more than its standard error {error:.2g}. Remedies: {remedy}"
    )
    if left_open > _FAR * error:
        raise ValueError(f"x: {words}")
    warnings.warn(words, BiasWarning, stacklevel=depth + 1)


def check_scales(groups: Sequence[Tensor], reach: Sequence[Tensor], remedy: str) -> None:
    """Raise if the radius of neighbours cannot see one of the `groups` of columns (n, d_j), others being far wider.

    Parameters
    ----------
    groups : sequence of Tensor
    reach : sequence of Tensor
        For each, the share (n,) of all points that are within the radius in these columns.
    remedy : str
    """
    columns = torch.cat(
        [group[torch.linspace(0, len(group) - 1, min(len(group), _FEW), device="cpu").long()] for group in groups], 1
    )
    ordered = columns.double().sort(0).values
    tenth = len(ordered) // 10
    width = ordered[len(ordered) - 1 - tenth] - ordered[tenth]
    widest = width.max().item()
    first = 0
    for group, share in zip(groups, reach, strict=True):
        own = width[first : first + group.shape[1]].max().item()
        seen = share.double().mean().item()
        if seen > 0.25 and widest > _WIDER * own:
            which = ", ".join(str(first + column) for column in range(group.shape[1]))
            raise ValueError(
                f"x: the radius that holds the neighbours holds {seen:.0%} of all points in column {which}, which is "
                f"{widest / own if own else math.inf:.2g} times narrower than the widest: the estimate does not see "
                f"that column. Remedies: {remedy}"
            )
        first += group.shape[1]


def share_within(column: Tensor, radius: Tensor) -> Tensor:
    """Share of all points that are within `radius` of each in a `column` (n, 1), from some of them."""
    few = column[torch.linspace(0, len(column) - 1, min(len(column), _FEW // 4), device="cpu").long(), 0]
    return ((few[:, None] - few[None, :]).abs() <= radius).double().mean(1)
