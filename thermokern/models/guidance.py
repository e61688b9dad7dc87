"""Classifier-free guidance as one score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import checked_number


def guided(conditional: ScoreModel, unconditional: ScoreModel, weight: float) -> ScoreModel:
    """``(1 + w) s(x|y) − w s(x)``: the score of ``p(x|y)^{1+w} p(x)^{−w}``, up to its norm, at each time.

    It is the score of no diffused law (those of different times do not belong together), so nothing that needs one
    holds for it: ⟨e^{−Δs}⟩ = 1 is about the reference, and the reference must be exact.

    Parameters
    ----------
    conditional, unconditional : ScoreModel
        Of one process.
    weight : float
        ``w``; 0 is the conditional model. Libraries' ``guidance_scale`` is ``1 + w``.

    Returns
    -------
    ScoreModel
        It predicts the score; two networks evaluated for each point, in their own precision.

    Raises
    ------
    TypeError, ValueError
        Where either is no ScoreModel, or their processes differ.

    References
    ----------
    Ho and Salimans, *Classifier-free diffusion guidance*, 2021, Eq. 6.
    """
    for name, model in {"conditional": conditional, "unconditional": unconditional}.items():
        if not isinstance(model, ScoreModel):
            raise TypeError(f"{name}: expected a ScoreModel, got {type(model).__name__}")
    if conditional.process != unconditional.process:
        raise ValueError(f"unconditional: its process {unconditional.process} is not {conditional.process}")
    network = _Guided(conditional, unconditional, checked_number("weight", weight))
    origin = {**unconditional.origin, **conditional.origin}
    return ScoreModel(network, conditional.process, "score", conditional.shape or unconditional.shape, origin)


class _Guided(nn.Module):
    casts_itself = True

    def __init__(self, conditional: ScoreModel, unconditional: ScoreModel, weight: float) -> None:
        super().__init__()
        self.conditional, self.unconditional, self.weight = conditional, unconditional, weight
        networks = (model.network for model in (conditional, unconditional))
        self.networks = nn.ModuleList(network for network in networks if isinstance(network, nn.Module))
        self.register_buffer(
            "_weight", torch.tensor(weight, dtype=torch.float64, device="cpu")
        )  # which its state_dict then tells

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        one, other = (model.at(x, t.double()) for model in (self.conditional, self.unconditional))
        return (1.0 + self.weight) * one - self.weight * other
