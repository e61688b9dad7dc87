"""Mutual information of data and a condition, from a conditional and an unconditional score."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ConditionalModel, ScoreLike
from thermokern.ops.checks import check_flags, checked_choice
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.ranks import Group, Ranks
from thermokern.quantities.information.curve import curve_of, level_parts
from thermokern.quantities.information.estimates import total
from thermokern.quantities.information.growth import growth_of
from thermokern.quantities.information.integral import DEFAULT_EVALUATIONS, Integral, Options, integrate, scores_by
from thermokern.quantities.information.integrands import (
    COLUMNS,
    DIFFERENCE,
    GAP,
    LOSS,
    ConditionalLike,
    information_rates,
)
from thermokern.quantities.information.problem import (
    Data,
    check_pairs,
    check_plain,
    described,
    described_data,
    process_of,
    source_of,
    warn_of_jumping,
)
from thermokern.quantities.information.result import MutualInformation
from thermokern.quantities.information.sources import LawSource, PointSource, Source, are_labels
from thermokern.quantities.information.verdicts import verdicts_on
from thermokern.quantities.results.estimate import Estimate
from thermokern.targets import ConditionalLaw, Distribution, Labelled

ESTIMATORS = ("both", "gap", "loss")


def mutual_information(
    conditional: ConditionalLike,
    unconditional: ScoreLike | None = None,
    x: Data | None = None,
    y: Tensor | np.ndarray | None = None,
    process: LinearProcess | None = None,
    *,
    estimator: str = "both",
    evaluations: int = DEFAULT_EVALUATIONS,
    sampling: str = "adaptive",
    ends: bool = True,
    growth: bool = True,
    t_eps: float | None = None,
    seed: int = 0,
    group: Group = None,
    progress: bool = False,
) -> MutualInformation:
    """``I(X;Y) = ∫ D E|s(x, t|y) − s(x, t)|² dt``, with its error, both missing ends, and what tells a model's faults.

    Parameters
    ----------
    conditional : ConditionalModel, JointGaussian or Labelled
        ``s_c = s(x, t|y)``, with a condition for each sample.
    unconditional : ScoreModel, Distribution or callable, optional
        ``s_u = s(x, t)``. Left out: the model's null condition, or the law's own marginal.
    x : Tensor, array or conditional law, optional
        (n, …) data, for networks such as they were not trained on; or the law to draw pairs from. Left out with a law
        as `conditional`, which draws its own.
    y : Tensor or array, optional
        (n, …) conditions of `x`; integers (n,) are labels.
    process : LinearProcess, optional
        May be left out where a model carries one.
    estimator : {"both", "gap", "loss"}
        Which one `value` is, and which the noise levels follow; ``both`` leaves the choice: the gap for two laws, else
        the loss. Both are computed in any case.
    evaluations : int
        Of the pair of scores, at one noise level each.
    sampling : {"adaptive", "log-snr", "uniform"}
        One noise level to each stratum of λ = ln(m²/v), of a density that a pilot finds, or of an even one; or
        independent uniform times.
    ends : bool
        Whether the rates at t_eps and t_end are measured, which are what lies beyond them.
    growth : bool
        For labels: whether the certified lower bound is computed too, from about twice as many evaluations of a score.
    t_eps : float, optional
        1e-5, or the process's own where it has one.
    seed : int
    group : None, "world" or ProcessGroup
        The processes that share the evaluations, see :func:`thermokern.taep`.
    progress : bool

    Returns
    -------
    MutualInformation

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    Valid for any linear process: the value depends on the law alone. With exact scores gap, loss and entropy difference
    agree. With ``L = ∫ D E|s_θ − s|² dt`` of each score, in any case ``E loss = I + L_u − L_c``, whereas the gap may
    err either way: so the loss is the value of networks, `orthogonality` shows in standard errors whether the scores
    contradict each other, and for labels ``growth ≤ I ≤ H(Y)`` holds for any scores. The errors are those of
    sampling data, noise and levels, by data point where points recur; not those of the model.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, Eq. 11, 13, 14; Franzese et al., *MINDE: mutual information neural
    diffusion estimation*, 2024, Eq. 12; Kong, Brekelmans and Ver Steeg, *Information-theoretic diffusion*, 2023, Eq. 9.
    """
    check_flags(ends=ends, growth=growth, progress=progress)
    if not isinstance(conditional, ConditionalModel | ConditionalLaw):
        raise TypeError(
            f"conditional: expected a ConditionalModel, JointGaussian or Labelled, got {type(conditional).__name__}"
        )
    checked_choice("estimator", estimator, ESTIMATORS)
    if unconditional is None:
        unconditional = conditional.marginal if isinstance(conditional, ConditionalLaw) else conditional.unconditional
    check_plain("unconditional", unconditional, "leave it out: the null condition, or a law's marginal, then serves")
    data = pairs_of(conditional, x, y)
    source = source_of(data, y, seed, "x")
    process = process_of(process, conditional=conditional, unconditional=unconditional)
    check_pairs(conditional, unconditional, source)
    warn_of_jumping(process, source, unconditional=unconditional)
    options = Options(evaluations, sampling, ends, t_eps, seed, progress, Ranks(group))
    options.ranks.agree(lambda: parts_of_information(conditional, unconditional, data, process, source, options))
    exact = isinstance(conditional, ConditionalLaw) and isinstance(unconditional, Distribution)
    name = ("gap" if exact else "loss") if estimator == "both" else estimator
    lead, other = (GAP, LOSS) if name == "gap" else (LOSS, GAP)
    rates = information_rates(conditional, unconditional, process, source.shape)
    integral = integrate(rates, source, process, lead, options)
    columns = integral.values.unbind(1)
    gap, loss, difference = (integral.estimate(columns[k]) for k in (GAP, LOSS, DIFFERENCE))
    parts = level_parts(integral, lead, "mutual_information")
    value = total((gap, loss)[lead], parts["below"], parts["above"])
    residual = integral.estimate(columns[LOSS] - columns[GAP])
    weights = label_weights(data, source, conditional)
    entropy = None if weights is None else _label_entropy(weights, source)
    grown = None
    if weights is not None and growth:
        grown = growth_of(conditional, unconditional, process, source, weights, options)
    return MutualInformation(
        value=value,
        estimator=COLUMNS[lead],
        gap=gap,
        loss=loss,
        difference=difference,
        orthogonality=residual,
        drift_orthogonality=integral.estimate(columns[DIFFERENCE] - columns[GAP]),
        other_curve=curve_of(integral, columns[other], integral.above(other)),
        residual_curve=curve_of(integral, columns[LOSS] - columns[GAP], Estimate(0.0, 0.0)),
        per_label=() if weights is None else _per_label(integral, columns[lead], weights),
        label_entropy=entropy,
        growth=grown,
        verdicts=verdicts_on(gap, loss, residual, value, parts["below"], parts["above"], entropy, grown),
        **parts,
        settings={
            "conditional": described(conditional),
            "unconditional": described(unconditional),
            "data": described_data(data, source),
            "estimator": estimator,
            "scores": scores_by(rates),
            **options.settings(process),
        },
    )


def parts_of_information(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    data: Data,
    process: LinearProcess,
    source: Source,
    options: Options,
) -> dict[str, str]:
    """All that the numbers depend on, for ranks to compare."""
    points = source.x if isinstance(source, PointSource) else None
    return parts_of_call(
        {"conditional": conditional, "unconditional": unconditional},
        process,
        source.shape,
        {"x": points, "y": source.y if isinstance(source, PointSource) else None},
        {"data": described_data(data, source), "options": options.settings(process), "quantity": "mutual_information"},
    )


def pairs_of(conditional: ConditionalLike, x: Data | None, y: Tensor | np.ndarray | None) -> Data:
    """Where pairs come from: points, a conditional law that is given, or the one that is the score."""
    if x is None:
        if not isinstance(conditional, ConditionalLaw):
            raise ValueError("x: a model needs data, x and y, or a conditional law to draw them from")
        return conditional
    if isinstance(x, Distribution):
        raise TypeError(f"x: expected points or a conditional law, got the law of x alone, {type(x).__name__}")
    if isinstance(x, Tensor | np.ndarray) and y is None:
        raise ValueError("y: expected the condition of each point of x")
    return x


def label_weights(data: Data, source: Source, conditional: ConditionalLike) -> Tensor | None:
    """Probabilities (K,) of labels, where the conditions are labels; of points their frequencies."""
    if isinstance(data, Labelled):
        return data.weights
    if isinstance(source, PointSource) and source.y is not None and are_labels(source.y):
        count = int(source.y.max()) + 1
        if isinstance(conditional, Labelled):
            count = max(count, len(conditional.laws))
        return torch.bincount(source.y, minlength=count).to(torch.float64) / len(source.y)
    return None


def _label_entropy(weights: Tensor, source: Source) -> Estimate:
    present = weights[weights > 0]
    surprise = -present.log()
    entropy = (present * surprise).sum().item()
    if isinstance(source, LawSource):
        return Estimate(entropy, 0.0)
    spread = (present * (surprise - entropy).square()).sum().item()
    return Estimate(entropy, math.sqrt(spread / len(source.x))) if isinstance(source, PointSource) else Estimate(0, 0)


def _per_label(integral: Integral, values: Tensor, weights: Tensor) -> tuple[Estimate, ...]:
    assert integral.y is not None
    return tuple(
        integral.estimate(torch.where(integral.y == k, values / weight, 0.0)) if weight > 0 else Estimate(0.0, math.nan)
        for k, weight in enumerate(weights.tolist())
    )
