"""Denoising score matching as a loss for any score model."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern.models.score_model import ScoreModel, check_shape, one_process
from thermokern.ops.checks import check_finite, check_flags, checked_choice, checked_number, described
from thermokern.processes import DiscreteVP, LinearProcess

WEIGHTINGS = ("epsilon", "likelihood", "score")


def score_matching_loss(
    model: ScoreModel,
    x0: Tensor,
    process: LinearProcess | None = None,
    *,
    weighting: str = "epsilon",
    t_eps: float | None = None,
    generator: torch.Generator | None = None,
    allow_nonfinite: bool = False,
) -> Tensor:
    """``E λ(t) |s_θ(x_t, t) + ε/√v|²`` with ``x_t = m x_0 + √v ε``, differentiable in the network's parameters.

    Parameters
    ----------
    model : ScoreModel
    x0 : Tensor
        (n, …) data; each gets one time, uniform on [t_eps, t_end] (of a table of ᾱ, one of its whole times), and noise.
    process : LinearProcess, optional
        The model's own when left out.
    weighting : {"epsilon", "likelihood", "score"}
        ``epsilon``: λ = v/d, the mean square error of the predicted noise, dimensionless. ``likelihood``:
        ``λ = (t_end − t_eps) g²/2``, whose mean is ``∫ D E|s_θ − s_*|² dt``, nats, plus what does not depend on θ.
        ``score``: λ = 1/d.
    t_eps : float, optional
        The process's own choice when left out.
    generator : torch.Generator, optional
        Of times and noise.
    allow_nonfinite : bool
        Return a loss that is not finite instead of raising, as scaled training in half precision expects.

    Returns
    -------
    Tensor
        A scalar: the mean over the points.

    Raises
    ------
    TypeError, ValueError
        Naming the argument: no ScoreModel, an unknown weighting, another process than the model's own, no points.
    FloatingPointError
        When the loss is not finite.

    Notes
    -----
    Cost: one evaluation of the network for each point. The same generator gives the same times and noise.

    References
    ----------
    Vincent, *A connection between score matching and denoising autoencoders*, 2011; Song, Durkan, Murray and Ermon,
    *Maximum likelihood training of score-based diffusion models*, 2021, Eq. 7.
    """
    check_flags(allow_nonfinite=allow_nonfinite)
    checked_choice("weighting", weighting, WEIGHTINGS)
    if not isinstance(model, ScoreModel):
        raise TypeError(f"model: expected a ScoreModel, got {type(model).__name__}")
    process = one_process(process, model=model)
    if (
        not isinstance(x0, Tensor)
        or x0.dim() < 2
        or not x0.numel()
        or not x0.is_floating_point()
        or x0.layout != torch.strided
        or x0.is_meta
    ):
        raise ValueError(f"x0: expected a tensor (n, …) of floating point with n at least 1, got {described(x0)}")
    check_shape("x0", model.network, x0)
    t_eps = process.default_t_eps if t_eps is None else t_eps
    t_eps = checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
    n = len(x0)
    if isinstance(process, DiscreteVP):
        t = torch.randint(
            max(1, round(t_eps)), round(process.t_end) + 1, (n,), generator=generator, device="cpu"
        ).double()
    else:
        t = t_eps + (process.t_end - t_eps) * torch.rand(n, dtype=torch.float64, generator=generator, device="cpu")
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device="cpu").to(x0.device)
    shape = (-1,) + (1,) * (x0.dim() - 1)
    m, v = process.mean_scale(t), process.variance(t)
    root = v.sqrt().to(x0).view(shape)
    x = m.to(x0).view(shape) * x0 + root * noise
    # √v s + ε: of order one at every time.
    square = (root * model.at(x, t) + noise).flatten(1).square().sum(1)
    weight = loss_weights(weighting, process, t, t_eps, x0[0].numel())
    loss = (weight.to(square) * square).mean()
    if not allow_nonfinite and not bool(loss.isfinite()):
        check_finite(x0=x0)
        bad = n - int(square.isfinite().sum())
        raise FloatingPointError(
            f"the loss is {loss.item():g}, not finite at {bad} of {n} points: the network's output may be too large; "
            "allow_nonfinite=True returns it"
        )
    return loss


def loss_weights(weighting: str, process: LinearProcess, t: Tensor, t_eps: float, dim: int) -> Tensor:
    """λ/v at times `t`, same shape: the weight of ``|√v s_θ + ε|²`` in the loss of a `weighting`."""
    match weighting:
        case "epsilon":
            return torch.ones_like(t) / dim
        case "likelihood":
            return 0.5 * (process.t_end - t_eps) * process.g2(t) / process.variance(t)
    return 1.0 / (process.variance(t) * dim)
