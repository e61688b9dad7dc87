"""What a calculation of information is asked: which process, which data, which scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.models import ConditionalModel, ScoreLike, one_process
from thermokern.models.trial import check_modes
from thermokern.ops.checks import checked_seed
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.jumps import warn_of_jumps
from thermokern.quantities.engine.problem import describe
from thermokern.quantities.information.integrands import ConditionalLike
from thermokern.quantities.information.sources import LawSource, PointSource, Source, conditions
from thermokern.targets import ConditionalLaw, Distribution

Data = Distribution | ConditionalLaw | Tensor | np.ndarray


def process_of(process: LinearProcess | None, **models: ScoreLike | ConditionalLike) -> LinearProcess:
    """The process that is given or that the models carry, once it is known to be one and the same."""
    scores = {}
    for name, model in models.items():
        network = getattr(model, "network", model)
        if isinstance(network, nn.Module):
            check_modes(name, network)
        if isinstance(model, ConditionalModel):
            if process is not None and model.process != process:
                raise ValueError(f"process: {process} and {model.process} differ")
            process = model.process
        elif not isinstance(model, ConditionalLaw):
            scores[name] = model
    return one_process(process, **scores)


def source_of(data: Data, condition: Tensor | np.ndarray | None, seed: int, name: str = "data") -> Source:
    """Data to draw from: a law, or points with their conditions."""
    (seed, _) = checked_seed(seed)
    if isinstance(data, Distribution | ConditionalLaw):
        if condition is not None:
            raise ValueError("condition, y: a law draws its own; expected it beside points alone")
        return LawSource(data, seed)
    if not isinstance(data, Tensor | np.ndarray):
        raise TypeError(f"{name}: expected a law or points (n, …), got {type(data).__name__}")
    return PointSource(data, None if condition is None else conditions(condition), seed, name)


def warn_of_jumping(process: LinearProcess, source: Source, **models: ScoreLike | ConditionalLike) -> None:
    """Where a score jumps between whole times: noise levels are drawn from all of them."""
    between = torch.tensor([0.5], device="cpu")
    for name, model in models.items():
        warn_of_jumps(name, model, process, source.draw(2, 0).x, source.shape, between)


def check_pairs(conditional: ConditionalLike, unconditional: ScoreLike, source: Source) -> None:
    """Raise where two scores are not of the pairs that are given."""
    check_points("x", "conditional", conditional, source)
    check_points("x", "unconditional", unconditional, source)
    check_conditions(conditional, source)


def check_conditions(model: ScoreLike | ConditionalLike, source: Source) -> None:
    """Raise where points come with conditions that a score does not take."""
    if (
        isinstance(model, ConditionalModel | ConditionalLaw)
        and isinstance(source, PointSource)
        and source.y is not None
    ):
        model.check_conditions(source.y)


def check_points(name: str, whose: str, model: ScoreLike | ConditionalLike, source: Source) -> None:
    """Raise where a score is of points of another shape. A network of images may take other sizes than its own."""
    shape = tuple(source.shape)
    if isinstance(model, Distribution | ConditionalLaw):
        known, same = (model.dim,), source.shape.numel() == model.dim
    else:
        known = tuple(getattr(model, "shape", None) or shape)
        same = known == shape or len(known) == len(shape) > 1
    if not same:
        one, other = ("(" + ", ".join(map(str, ("n", *size))) + ")" for size in (shape, known))
        raise ValueError(f"{name}, {whose}: expected points of one shape, got {one} and {other}")


def check_plain(name: str, model: object, remedy: str) -> None:
    """Raise where a score that takes a condition stands for one that takes none."""
    if isinstance(model, ConditionalModel | ConditionalLaw):
        raise TypeError(f"{name}: expected a score without a condition, got {type(model).__name__}; {remedy}")


def described(model: ScoreLike | ConditionalLike) -> dict[str, Any]:
    """What a score is, ready for :mod:`json`."""
    if isinstance(model, ConditionalLaw):
        return model.settings()
    if isinstance(model, ConditionalModel):
        return {"kind": "ConditionalModel", "network": type(model.network).__name__, "predicts": model.predicts}
    return describe(model)


def described_data(data: Data, source: Source) -> dict[str, Any]:
    """What the data are, ready for :mod:`json`."""
    if isinstance(data, Distribution | ConditionalLaw):
        return data.settings()
    return {"points": [len(source.x), *source.shape] if isinstance(source, PointSource) else []}
