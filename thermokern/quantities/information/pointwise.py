"""Mutual information point by point."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ConditionalModel, ScoreLike
from thermokern.ops.checks import MOST, check_flags, checked_array, checked_choice, checked_integer, checked_seed
from thermokern.processes import LinearProcess
from thermokern.quantities.information.growth import growth_estimate, pilot_density, pointwise_losses
from thermokern.quantities.information.integral import Options
from thermokern.quantities.information.integrands import ConditionalLike
from thermokern.quantities.information.problem import check_pairs, check_plain, described, process_of
from thermokern.quantities.information.result import NONE, PointwiseMutualInformation
from thermokern.quantities.information.sources import PointSource, conditions
from thermokern.quantities.results.estimate import FewPathsWarning, mean_estimate
from thermokern.quantities.taep import taep
from thermokern.targets import ConditionalLaw, Labelled

METHODS = ("loss", "path")
DEFAULT_STEPS = 800
_PILOT = 1024


def pointwise_mutual_information(
    conditional: ConditionalLike,
    unconditional: ScoreLike | None,
    x: Tensor | np.ndarray,
    y: Tensor | np.ndarray | None = None,
    process: LinearProcess | None = None,
    *,
    method: str = "loss",
    evaluations: int = 64,
    candidates: Tensor | np.ndarray | None = None,
    weights: Tensor | np.ndarray | None = None,
    n_steps: int = DEFAULT_STEPS,
    scheme: str = "stratonovich",
    t_eps: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PointwiseMutualInformation:
    """``i(x;y) = ln p(x|y)/p(x)`` of each pair, or of each x with every candidate y.

    - ``loss``: ``∫ D E_ε[|s_u − τ|² − |s_c − τ|²] dt`` at fixed x, with exact scores unbiased for every single pair
      but for what lies outside [t_eps, t_end]. The gap, ``∫ D E|s_c − s_u|²``, is not: only its average over pairs is
      I.
    - ``path``: Δs_ta of a forward path with the unconditional score as model and the conditional one as reference,
      which is ``i(x_ε;y) − i(x_T;y)`` in the limit of many steps (Stratonovich, extrapolated: error of order 1½ in the
      step; Itô: ½).

    Parameters
    ----------
    conditional : ConditionalModel, JointGaussian or Labelled
    unconditional : ScoreModel, Distribution or callable, optional
        None: the model's null condition, or the law's own marginal.
    x : Tensor or array
        (n, …).
    y : Tensor or array, optional
        (n, …); may be left out beside candidates.
    process : LinearProcess, optional
        May be left out where a model carries one.
    method : {"loss", "path"}
    evaluations : int
        ``loss``: pairs of noise level and noise for each point, even, at least 8; candidates share them.
    candidates : Tensor or array, optional
        (K, …) conditions that every point is tried with, ``loss`` alone.
    weights : Tensor or array, optional
        (K,) prior probabilities of the candidates; a `Labelled` law's own, else equal.
    n_steps, scheme : int, str
        ``path``: see :func:`thermokern.taep`. In more than 16 dimensions, and for coarse steps, prefer ``loss``.
    t_eps : float, optional
        1e-5, or the process's own where it has one.
    seed : int
    progress : bool

    Returns
    -------
    PointwiseMutualInformation

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    Cost: ``loss`` n · evaluations · (K + 1) scores; ``path`` runs :func:`thermokern.taep` once for each y that occurs.
    The growth rate of the posterior's bets bounds the information from below for any scores: the noise levels are
    chosen without a look at y.

    References
    ----------
    Kong, Brekelmans and Ver Steeg, *Information-theoretic diffusion*, 2023, Eq. 9; Premkumar, *Diffusion models are
    Kelly gamblers*, Eq. 1 and App. C; Cover and Thomas, *Elements of information theory*, Ch. 6.
    """
    check_flags(progress=progress)
    checked_choice("method", method, METHODS)
    seed, _ = checked_seed(seed)
    if not isinstance(conditional, ConditionalModel | ConditionalLaw):
        raise TypeError(
            f"conditional: expected a ConditionalModel, JointGaussian or Labelled, got {type(conditional).__name__}"
        )
    if unconditional is None:
        unconditional = conditional.marginal if isinstance(conditional, ConditionalLaw) else conditional.unconditional
    check_plain("unconditional", unconditional, "leave it out: the null condition, or a law's marginal, then serves")
    process = process_of(process, conditional=conditional, unconditional=unconditional)
    if y is None and candidates is None:
        raise ValueError("y: expected the condition of each point of x, or candidates")
    source = PointSource(x, y, seed)
    check_pairs(conditional, unconditional, source)
    settings = {
        "conditional": described(conditional),
        "unconditional": described(unconditional),
        "process": repr(process),
        "seed": seed,
    }
    if method == "path":
        if candidates is not None:
            raise ValueError('candidates: expected none with method="path"')
        options = {"n_steps": n_steps, "scheme": scheme, "t_eps": t_eps, "seed": seed, "progress": progress}
        return _by_paths(conditional, unconditional, process, source, options, settings)
    evaluations = checked_integer("evaluations", evaluations, 8, MOST, even=True)
    how = Options(sampling="adaptive", t_eps=t_eps, seed=seed, progress=progress)
    settings |= {"evaluations": evaluations, "t_eps": how.checked(process)[0]}
    x0, shape, prior = source.x, source.shape, None
    if candidates is None:
        assert source.y is not None
        tried = source.y[:, None]
        density = pilot_density(conditional, unconditional, process, source.draw(_PILOT, 0), how, shape)
    else:
        options_of_y = conditions(candidates)
        if not len(options_of_y):
            raise ValueError("candidates: expected at least one, got none")
        conditional.check_conditions(options_of_y)
        tried = options_of_y.expand(len(x0), *options_of_y.shape)
        prior = _prior(conditional, weights, len(options_of_y))
        drawn = torch.multinomial(prior, _PILOT, replacement=True, generator=torch.Generator().manual_seed(seed))
        draws = source.draw(_PILOT, 0)._replace(y=options_of_y[drawn])
        density = pilot_density(conditional, unconditional, process, draws, how, shape)
    found = pointwise_losses(conditional, unconditional, process, x0, tried, density, evaluations, how, shape)
    if prior is None:
        values, stderr = found.values[:, 0].contiguous(), found.stderr[:, 0].contiguous()
        return PointwiseMutualInformation(
            values, stderr, mean_estimate(values), None, None, "loss", settings, None, None
        )
    posterior = (prior.log() + found.values).softmax(1)
    mean, growth = NONE, None
    if source.y is not None and candidates is not None:
        own = _position(source.y, conditions(candidates))
        mean = mean_estimate(found.values.gather(1, own[:, None])[:, 0])
        growth = growth_estimate(found.values, own, prior)
    return PointwiseMutualInformation(found.values, found.stderr, mean, posterior, growth, "loss", settings, None, None)


def _by_paths(
    conditional: ConditionalLike,
    unconditional: ScoreLike,
    process: LinearProcess,
    source: PointSource,
    options: dict[str, object],
    settings: dict[str, object],
) -> PointwiseMutualInformation:
    """Along forward paths, one calculation for each y that occurs."""
    assert source.y is not None
    different, which = torch.unique(source.y, dim=0, return_inverse=True)
    values = torch.empty(len(source.x), dtype=torch.float64, device="cpu")
    ends = [torch.empty_like(source.x) for _ in range(2)]
    done = 0
    told: dict[str, type[Warning]] = {}
    for k, y in enumerate(different):
        rows = (which == k).nonzero()[:, 0]
        x0 = source.x[rows].reshape(-1, *source.shape)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = taep(
                unconditional,
                conditional.given(y),
                process,
                x0=x0,
                path_offset=done,
                dtype=torch.float64,
                **options,
            )
        for each in caught:
            told.setdefault(str(each.message), each.category)
        done += len(rows)
        values[rows] = out.values.double()
        for place, x in zip(ends, (out.x_start, out.x_end), strict=True):
            place[rows] = x.reshape(len(rows), -1).double()
    for message, category in told.items():
        if not issubclass(category, FewPathsWarning):  # about an average that is not asked for
            warnings.warn(message, category, stacklevel=3)
    missing = torch.full_like(values, math.nan)
    how = {**settings, **{name: item for name, item in options.items() if name != "progress"}}
    return PointwiseMutualInformation(values, missing, mean_estimate(values), None, None, "path", how, *ends)


def _prior(conditional: ConditionalLike, weights: Tensor | np.ndarray | None, count: int) -> Tensor:
    if weights is None:
        if isinstance(conditional, Labelled) and len(conditional.weights) == count:
            return conditional.weights
        return torch.full((count,), 1.0 / count, dtype=torch.float64, device="cpu")
    prior = checked_array("weights", weights)
    if prior.shape != (count,) or not bool((prior > 0).all()):
        raise ValueError(f"weights: expected ({count},) positive numbers to match candidates, got {prior.tolist()}")
    return prior / prior.sum()


def _position(y: Tensor, candidates: Tensor) -> Tensor:
    """Which candidate each y is, (n,) int64."""
    same = (y[:, None] == candidates[None]).flatten(2).all(2) if y.dim() > 1 else y[:, None] == candidates[None]
    if not bool(same.any(1).all()):
        row = int(same.any(1).int().argmin())
        raise ValueError(f"y: expected each to be one of the candidates, got {y[row].tolist()} in row {row}")
    return same.int().argmax(1)
