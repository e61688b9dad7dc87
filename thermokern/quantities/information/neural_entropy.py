"""The entropy that a model stores: ``KL(p‖N(0, σ²))`` by its score."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from thermokern.models import ConditionalModel, ScoreLike
from thermokern.ops.checks import LARGEST, check_flags, checked_number
from thermokern.processes import VP, CosineVP, DiscreteVP, LinearProcess
from thermokern.quantities.information.curve import level_parts
from thermokern.quantities.information.estimates import total
from thermokern.quantities.information.integral import DEFAULT_EVALUATIONS, Options, integrate, scores_by
from thermokern.quantities.information.integrands import reference_rates
from thermokern.quantities.information.problem import (
    check_conditions,
    check_points,
    described,
    described_data,
    process_of,
    source_of,
    warn_of_jumping,
)
from thermokern.quantities.information.result import NONE, NeuralEntropy
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.targets import ConditionalLaw, Distribution

_STATIONARY = (VP, CosineVP, DiscreteVP)  # whose drift and noise leave N(0, 1) alone


def neural_entropy(
    model: ScoreLike | ConditionalModel | ConditionalLaw,
    data: Distribution | ConditionalLaw | Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    condition: Tensor | np.ndarray | None = None,
    reference_std: float | None = None,
    evaluations: int = DEFAULT_EVALUATIONS,
    sampling: str = "adaptive",
    ends: bool = True,
    t_eps: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> NeuralEntropy:
    """``S = ∫ D E|s − s_ref|² dt``: what a diffusion model stores, with both missing ends.

    With the true score ``S = KL(p‖N(0, σ²))``, the total entropy that a forward process produces, between its value at
    t = 0 and that at t_end; with a network's score it is the neural entropy S_NN.

    Parameters
    ----------
    model : ScoreModel, Distribution, callable ``(x, t) -> score``, ConditionalModel or conditional law
        The last two give ``E_y S(X|y)``.
    data : Distribution, conditional law, Tensor or array
        A law, or points (n, …), each used as often as the others.
    process : LinearProcess, optional
        May be left out where the model carries one.
    condition : Tensor or array, optional
        (n, …) of points, for conditional models.
    reference_std : float, optional
        σ of the reference, which is diffused beside the data, ``s_ref = −x/(m²σ² + v)``. 1 for VP, the cosine schedule
        and DDPM's, whose equilibrium it is; other processes have none, and it must be given.
    evaluations : int
        Of the score, at one noise level each.
    sampling : {"adaptive", "log-snr", "uniform"}
        Noise levels: one to each stratum of λ = ln(m²/v), of a density that a pilot finds, or of an even one; or
        independent uniform times.
    ends : bool
        Whether the rates at t_eps and t_end are measured, which give what lies beyond them.
    t_eps : float, optional
        1e-5, or the process's own where it has one.
    seed : int
    progress : bool

    Returns
    -------
    NeuralEntropy

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    Valid for any linear process. S changes with shift and scale of the data, which mutual information does not: images
    in [0, 1] that are not centred carry ½|E x|² beside. Below t_eps a density leaves as much as its rate there. A
    direction of no width adds ½ nat for every unit of λ, without end: `below` is then infinite, and
    `collapsed_directions` counts them. The error is that of sampling data, noise and levels; not that of the model.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, Eq. 4, 6, 12; Premkumar, *Neural entropy*, arXiv 2409.03817.
    """
    check_flags(ends=ends, progress=progress)
    process = process_of(process, model=model)
    std = reference_of(process, reference_std)
    by_condition = isinstance(model, ConditionalModel | ConditionalLaw)
    if by_condition and not isinstance(data, ConditionalLaw) and condition is None:
        raise ValueError("condition: a conditional model needs the condition of each point")
    if not by_condition and condition is not None:
        raise ValueError("condition: expected none, as the model takes no condition; model.given(y) has one for all")
    law = data.marginal if isinstance(data, ConditionalLaw) and not by_condition else data
    source = source_of(law, condition, seed)
    warn_of_jumping(process, source, model=model)
    check_points("data", "model", model, source)
    check_conditions(model, source)
    shape = source.shape
    truth = law if isinstance(law, Distribution | ConditionalLaw) and law is not model else None

    rates = reference_rates(model, process, shape, std, truth)
    options = Options(evaluations, sampling, ends, t_eps, seed, progress)
    integral = integrate(rates, source, process, 0, options)
    parts = level_parts(integral, 0, "neural_entropy")
    inside = integral.estimate(parts["values"])
    last = NONE if integral.last is None else mean_estimate(integral.last[0][:, 0])
    return NeuralEntropy(
        value=total(inside, parts["below"], parts["above"]),
        integral=inside,
        collapsed_directions=Estimate(2.0 * last.value, 2.0 * last.stderr, ""),
        mismatch=None if truth is None else integral.estimate(integral.values[:, 1]),
        **parts,
        settings={
            "model": described(model),
            "data": described_data(law, source),
            **options.settings(process),
            "reference_std": std,
            "dim": math.prod(shape),
            "scores": scores_by(rates),
        },
    )


def reference_of(process: LinearProcess, std: float | None) -> float:
    """The reference's standard deviation: that of the process's equilibrium where it has one."""
    if std is None:
        if not isinstance(process, _STATIONARY):
            raise ValueError(
                f"reference_std: {process} leaves no law alone at all times; give the standard deviation of the "
                "Gaussian to compare with, such as that of the data"
            )
        return 1.0
    std = checked_number("reference_std", std, above=0.0)
    if not 1.0 / LARGEST <= std <= LARGEST:
        raise ValueError(f"reference_std: expected a number whose square is one, got {std:g}")
    return std
