"""Classifier-free guidance as one score."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from thermokern.models.conditional import ConditionalModel, GuidedByCondition
from thermokern.models.evaluate import score_at
from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import checked_number
from thermokern.processes import LinearProcess
from thermokern.targets import ConditionalLaw, Distribution

Guidable = ScoreModel | Distribution


@overload
def guided(
    conditional: Guidable, unconditional: Guidable | None, weight: float, process: LinearProcess | None = None
) -> ScoreModel: ...


@overload
def guided(
    conditional: ConditionalModel | ConditionalLaw,
    unconditional: Guidable | None,
    weight: float,
    process: LinearProcess | None = None,
) -> ConditionalModel: ...


def guided(
    conditional: Guidable | ConditionalModel | ConditionalLaw,
    unconditional: Guidable | None,
    weight: float,
    process: LinearProcess | None = None,
) -> ScoreModel | ConditionalModel:
    """``(1 + w) s(x|y) − w s(x)``: the score of ``p(x|y)^{1+w} p(x)^{−w}``, up to its norm, at each time.

    It is the score of no diffused law (those of different times do not belong together), so nothing that needs one
    holds for it: ⟨e^{−Δs}⟩ = 1 is about the reference, and the reference must be exact.

    Parameters
    ----------
    conditional : ScoreModel, Distribution, ConditionalModel, JointGaussian or Labelled
        Of one condition for all samples (the first two, such as ``law.given(y)``), or of one for each.
    unconditional : ScoreModel or Distribution
        None with a condition for each sample: the model's null condition, or the law's own marginal.
    weight : float
        ``w``; 0 is the conditional model. Libraries' ``guidance_scale`` is ``1 + w``.
    process : LinearProcess, optional
        Needed where both are laws.

    Returns
    -------
    ScoreModel or ConditionalModel
        The latter where each sample has its own condition. It predicts the score; two scores evaluated for each point,
        in their own precision.

    Raises
    ------
    TypeError, ValueError
        Where either is no such score, or their processes differ.

    References
    ----------
    Ho and Salimans, *Classifier-free diffusion guidance*, 2021, Eq. 6.
    """
    for_each = isinstance(conditional, ConditionalModel | ConditionalLaw)
    if unconditional is None and isinstance(conditional, ConditionalModel):
        unconditional = conditional.unconditional
    if unconditional is None and isinstance(conditional, ConditionalLaw):
        unconditional = conditional.marginal
    if not for_each and not isinstance(conditional, ScoreModel | Distribution):
        raise TypeError(f"conditional: expected a score model or a law, got {type(conditional).__name__}")
    if not isinstance(unconditional, ScoreModel | Distribution):
        raise TypeError(f"unconditional: expected a ScoreModel or a Distribution, got {type(unconditional).__name__}")
    found, number = process, checked_number("weight", weight)
    for name, model in {"conditional": conditional, "unconditional": unconditional}.items():
        own = model.process if isinstance(model, ScoreModel | ConditionalModel) else None
        if own is not None and found is not None and own != found:
            raise ValueError(f"{name}: its process {own} is not {found}")
        found = own if found is None else found
    if found is None:
        raise ValueError("process: laws have none; pass one, such as VP()")
    shape = _shape(conditional) or _shape(unconditional)
    origin = {**getattr(unconditional, "origin", {}), **getattr(conditional, "origin", {})}
    if isinstance(conditional, ConditionalModel | ConditionalLaw):
        network = GuidedByCondition(conditional, unconditional, number, found)
        return ConditionalModel(network, found, "score", None, shape, origin)
    return ScoreModel(_Guided(conditional, unconditional, number, found), found, "score", shape, origin)


def _shape(model: Guidable | ConditionalModel | ConditionalLaw) -> tuple[int, ...] | None:
    return model.shape if isinstance(model, ScoreModel | ConditionalModel) else (model.dim,)


class _Guided(nn.Module):
    casts_itself = True

    def __init__(self, conditional: Guidable, unconditional: Guidable, weight: float, process: LinearProcess) -> None:
        super().__init__()
        self.conditional, self.unconditional, self.weight = conditional, unconditional, weight
        self.process = process
        self.register_buffer(
            "_weight", torch.tensor(weight, dtype=torch.float64, device="cpu")
        )  # which its state_dict then tells

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        flat, shape = x.reshape(len(x), -1), x.shape[1:]
        one, other = (
            score_at(model, self.process, flat, t.double(), shape) for model in (self.conditional, self.unconditional)
        )
        return ((1.0 + self.weight) * one - self.weight * other).reshape(x.shape)
