"""What an attribution says in plain sentences: whether its ways of splitting agree, and where most of Δs arises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_TOLD = 3.0  # standard errors from which a difference is no chance
_FEW = 16  # components up to which the largest is named alone


def attribution_in_words(result: Any) -> list[str]:
    """Two or three sentences on an :class:`Attribution`, whose class stands above this file."""
    total = result.best.total
    if not abs(total.value) > _TOLD * total.stderr:
        return [f"{total} nats cannot be told from 0: there is nothing whose place could be said."]
    agree = [] if result.difference is None else [_agreement(result.difference.total)]
    if total.value < 0.0:
        return [
            *agree,
            f"It is negative, {total} nats: on these paths the model is nearer to the law than the reference.",
        ]
    return [*agree, *_when(result), *_which(result)]


def _agreement(difference: Any) -> str:
    if abs(difference.value) <= _TOLD * difference.stderr:
        return "Trustworthy: the chain form and the squared one agree, as they must for an exact reference."
    return (
        f"The chain form and the squared one differ by {difference} nats (z = {difference.z(0.0):+.1f}): the reference "
        "is not the score of the law that the data come from, so only the chain form adds up to Δs."
    )


def _weights(result: Any, name: str) -> Tensor | None:
    """What arises at nodes or along components; never negative where the squared form is known."""
    split = result.best if result.squared is None else result.squared
    found: Tensor | None = getattr(split, name)
    return None if found is None else found.double().clamp_min(0.0).flatten()


def _when(result: Any) -> list[str]:
    """Between which times the middle half arises."""
    nodes = _weights(result, "nodes") if "time" in result.resolved else None
    if nodes is None or not nodes.sum() > 0.0:
        return []
    so_far = nodes.cumsum(0) / nodes.sum()
    low, high = (int(torch.searchsorted(so_far, share).clamp_max(len(nodes) - 1)) for share in (0.25, 0.75))
    (first, last), (begin, end) = ((part[low].item(), part[high].item()) for part in (result.times, result.log_snr))
    return [
        f"The middle half of it arises from t = {first:.3g} to {last:.3g}, at log signal-to-noise ratios from "
        f"{begin:.3g} down to {end:.3g}."
    ]


def _which(result: Any) -> list[str]:
    """How unevenly the components share it."""
    parts = _weights(result, "map")
    if parts is None or len(parts) < 2 or not parts.sum() > 0.0:
        return []
    shares, count = parts / parts.sum(), len(parts)
    if count <= _FEW:
        most = int(shares.argmax())
        return [f"Component {most} has {shares[most]:.0%} of it, where each of {count} alike would have 1/{count}."]
    most_of_it = shares.topk(max(1, count // 10)).values.sum()
    return [
        f"The tenth of the {count:,} components that have most of it has {most_of_it:.0%}; of components alike it "
        "would have 10 %."
    ]
