"""What a TAEP warns of: averages that few paths carry, and steps that are too long."""

from __future__ import annotations

import math
import warnings

from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, ScoreModel
from thermokern.processes import DiscreteVP, LinearProcess
from thermokern.quantities.results.estimate import FewPathsWarning
from thermokern.quantities.taep.result import TAEP
from thermokern.quantities.taep.step_error import StepTooLongWarning
from thermokern.targets import Distribution


class TimesBetweenWarning(UserWarning):
    """A network is asked for times at which it was not trained."""


_LONG = 0.5  # of a step's clock time over the squared narrowest scale of the law there
_MISSED = 4.0  # standard errors


def warn_of_unreliable_average(result: TAEP, infinite: bool) -> None:
    """Where the standard error of ``⟨e^{∓Δs}⟩`` says less than it seems to."""
    average = result.fluctuation_theorem
    if not average.n:
        return
    reasons = average.doubts()
    if infinite:
        reasons.append(
            "its variance is infinite, since the sampler's steps are too long for the tails of the laws; use more "
            'steps, or spacing="log-snr"'
        )
    if reasons:
        message = f"the standard error of ⟨{result.weight_name}⟩ is unreliable: " + "; ".join(reasons)
        warnings.warn(message, FewPathsWarning, stacklevel=3)


def warn_of_long_steps(reference: ScoreLike, table: ops.StepTable) -> None:
    """Where a step moves ``x/m`` by more than the narrowest scale that the reference has there."""
    if table.scheme == "sampler" or not isinstance(reference, Distribution):
        return
    clock = (table.variance / table.mean_scale.square()).sort().values
    ratio = (clock.diff() / (reference.narrowest_variance() + clock[:-1])).max().item()
    if ratio > _LONG:
        warnings.warn(
            f"a step of the grid moves paths by {math.sqrt(ratio):.2g} times the narrowest scale of the reference: use "
            'more steps, spacing="log-snr", or a larger t_eps',
            StepTooLongWarning,
            stacklevel=3,
        )


def warn_of_times_between(process: LinearProcess, times: Tensor, *scores: ScoreLike) -> None:
    """Where a network that was trained on the whole times of a table is asked for times between them."""
    between = int((times != times.round()).sum())
    if isinstance(process, DiscreteVP) and between and any(isinstance(score, ScoreModel) for score in scores):
        warnings.warn(
            f"{between} of {len(times)} times of the grid lie between the steps of the network's table, where it was "
            "not trained: leave out spacing, and take at most as many steps as the table has. "
            "tk.from_ddpm(network, alphas_cumprod) interpolates between whole times",
            TimesBetweenWarning,
            stacklevel=3,
        )


def warn_of_missed_witnesses(result: TAEP) -> None:
    """Where values miss what they are in continuous time, by more than is stated of their mean."""
    stated = math.hypot(result.mean.stderr, result.step_error.mean.value if result.step_error else 0.0)
    witnesses = {
        "the log density ratio of their ends": None if result.endpoint_error is None else result.endpoint_error.mean,
        "the score-matching integral": result.consistency,
    }
    for name, difference in witnesses.items():
        if difference is None or not abs(difference.value) > max(_MISSED * difference.stderr, stated):
            continue
        warnings.warn(
            f"the mean of Δs differs from {name} by {difference} nats (z = {difference.z(0.0):+.1f}), more than its "
            'stated errors explain: use more steps, or spacing="log-snr"',
            StepTooLongWarning,
            stacklevel=3,
        )
