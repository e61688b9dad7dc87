"""What a TAEP says in plain sentences: whether it is to be trusted, how large it is, and who is left short."""

from __future__ import annotations

import math
from typing import Any

from thermokern.quantities.taep.modes import Mode, collapsed_modes, places

# Each `result` is a TAEP, whose class stands above this file.
Z = 3.0  # standard errors from which a deviation is no chance
_LARGE_STEP = 1.0  # of the step's error over the sampling error


def conclusion(result: Any) -> list[str]:
    """Two or three sentences."""
    if len(result.values) < 2:
        return ["Too few paths to say anything of their mean: give n_paths of some thousands."]
    return [_trust(result), _size(result), *_short(result)]


def law(result: Any) -> str:
    """Which laws the numbers are about, and at which times."""
    s = result.settings
    first, last = f"t = {s['t_eps']:.3g}", f"t = {s['t_end']:.3g}" if "t_end" in s else "the end"
    start = "the reference's law" if result.reference_is_exact else "the law of the data points"
    if s["direction"] == "reverse":
        end = "the prior" if s["from_prior"] else "the reference's law"
        who = "reference" if result.driven_by_reference else "model"
        return f"paths that the {who} drives back from {end} at {last} to {first}"
    ends = "the prior" if s["from_prior"] else "the reference's law"
    return f"{start} at {first}, against what the model's reverse process makes of {ends} at {last}"


def _trust(result: Any) -> str:
    average, mean = result.fluctuation_theorem, result.mean
    name = f"⟨{result.weight_name}⟩"
    step = 0.0 if result.step_error is None else abs(result.step_error.mean.value)
    if step > max(_LARGE_STEP * mean.stderr, 0.02 * abs(mean.value)) and step > Z * result.step_error.mean.stderr:
        return (
            f"Not to be trusted yet: the step may move the mean by {step:.2g} nats, more than its sampling error "
            f"{mean.stderr:.2g}; use more steps."
        )
    for what, difference in (
        ("the score-matching integral", result.consistency),
        ("what the ends of the paths say", None if result.endpoint_error is None else result.endpoint_error.mean),
    ):
        if difference is not None and abs(difference.z(0.0)) > Z and abs(difference.value) > 0.02 * abs(mean.value):
            return (
                f"Not to be trusted yet: the mean differs from {what} by {difference} nats (z = "
                f"{difference.z(0.0):+.1f}), which should be 0; use more steps, or more paths."
            )
    if not average.is_reliable:
        return (
            f"The mean may be used, {name} = {average} may not, and so tests nothing: {average.doubts()[0]}. "
            "tk.overlap with paths of both directions may tell more."
        )
    if not (result.reference_is_exact or result.driven_by_reference):
        return (
            f"The mean compares two scores on the given data; {name} need not be 1, since the reference is not known "
            "to be the score of the law that the data come from, and so does not test it."
        )
    z = average.z(1.0)
    if abs(z) <= Z or math.isnan(z):
        return (
            f"Trustworthy: {name} = {average} agrees with 1, as it must for an exact reference, and the step is small."
        )
    if z < 0.0 and result.sign < 0.0:
        return (
            f"The mean may be trusted; {name} = {average} lies below 1, so the model puts about "
            f"{1.0 - average.value:.0%} of its weight where no path goes."
        )
    return (
        f"Doubtful: {name} = {average} differs from 1 by {z:+.1f} standard errors; use more steps, and more paths to "
        "see whether a tail is missed."
    )


def _size(result: Any) -> str:
    dim, mean = result.x_start.shape[1:].numel(), result.mean
    each = mean.value / dim
    of_size = f"{mean} nats" + (f", {each:.3g} nats per dimension" if dim > 1 else "")
    entropy = result.data_entropy
    beside = "" if entropy is None else f", beside an entropy of the data of {entropy:.2f} nats at the first time"
    if result.sign > 0 or not mean.value > 0.0:
        return f"The mean is {of_size}{beside}."
    meaning = (
        f"the model's density at a data point is, in the geometric mean, about {math.exp(-each):.2g} times what it "
        f"should be{' per dimension' if dim > 1 else ''}, or better"
    )
    return f"The mean is {of_size}{beside}: {meaning}."


def _short(result: Any) -> list[str]:
    """Who gets less weight than is due."""
    parts = () if result.attribution is None else result.attribution.by_label
    if len(parts) > 1:
        worst = max(parts, key=lambda part: part.mean.value)
        above = worst.mean.value - result.mean.value
        if above > Z * worst.mean.stderr:
            return [
                f"Label {worst.label} is served worst: {worst.mean} nats, {above:.3g} above the mean, a density "
                f"{_factor(above)} lower."
            ]
        if not (result.sign < 0 and collapsed_modes(result.modes, result.mean)):
            return ["No label stands out from the others."]
    if result.sign > 0 or len(result.modes) < 2:
        return []
    found = collapsed_modes(result.modes, result.mean)
    if not found:
        return ["No mode gets noticeably less weight than is due."]
    worst_mode = found[0]
    place = places(result.x_start, result.start_component).get(worst_mode.index)
    name = f"Mode {worst_mode.index}" + (f", at {place}," if place else "")
    if worst_mode.fluctuation_theorem.is_reliable and worst_mode.fluctuation_theorem.value > 0.95:
        return [f"{name} is fitted worst, at {worst_mode.mean} nats, but has the weight that is due."]
    more = f"; {len(found) - 1} other mode{'s' * (len(found) > 2)} too" if len(found) > 1 else ""
    return [f"{name} is under-covered: it gets {due_weight(worst_mode)} of its due weight{more}."]


def due_weight(mode: Mode) -> str:
    """How many times its due weight the model gives a mode, in words."""
    average = mode.fluctuation_theorem
    if average.is_reliable and average.stderr < 0.3 * average.value:
        return f"{average}"
    return f"at least {math.exp(-mode.mean.value):.2g}"


def _factor(nats: float) -> str:
    return f"{math.exp(nats):.2g} times" if nats < 10.0 else f"e^{nats:.0f} times"
