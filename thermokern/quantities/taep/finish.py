"""From the sums along paths to a TAEP: end terms, statistics, warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike
from thermokern.quantities.engine.checkpoint import parts_of
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.engine.paths import PathSums
from thermokern.quantities.engine.problem import Problem
from thermokern.quantities.engine.starts import Points, whole
from thermokern.quantities.engine.streamed import Streaming
from thermokern.quantities.results.estimate import exponential_average, mean_estimate, variance_estimate
from thermokern.quantities.taep.attribution import attribution
from thermokern.quantities.taep.inputs import check_paths, endpoint_log_ratio
from thermokern.quantities.taep.modes import mode_breakdown, start_component
from thermokern.quantities.taep.probe_noise import probe_noise
from thermokern.quantities.taep.result import TAEP
from thermokern.quantities.taep.step_error import endpoint_error, extrapolated, half_variance_ratio, step_error
from thermokern.targets import Distribution, Rotation


@dataclass(frozen=True)
class Asked:
    """What a TAEP was asked, checked; see :func:`thermokern.taep`."""

    model: ScoreLike
    reference: ScoreLike
    problem: Problem
    table: ops.StepTable
    n_paths: int | None
    resolved: tuple[str, ...]
    labels: Tensor | None
    time_bins: int
    allow_nonfinite: bool
    turned: Rotation | None  # in whose axes the paths ran
    streaming: Streaming
    backend: str
    backend_reason: str
    settings: dict[str, Any]
    own_points: bool  # whether data points were given
    own_start: bool  # whether paths start from the process's prior for want of another law

    def parts(self, scores: Sequence[ScoreLike], x_first: Points) -> dict[str, str]:
        """All that the numbers depend on, by name."""
        problem, shape = self.problem, tuple(self.problem.shape)
        nodes = [NodeScores(score, problem.process, self.table, shape, "auto", 1, 0) for score in scores]
        device = torch.device(self.streaming.device)
        parts = parts_of(self.table, nodes, x_first, problem.seed, problem.path_offset, device)
        sharing, asked = self.streaming.sharing, self.streaming
        words = {
            **{name: word for name, word in self.settings.items() if name not in ("torch", "instruction_set", "seed")},
            "backend": self.backend,
            "block": sharing.block,
            "gather": sharing.ranks.gather,
            "keep_ends": sharing.keep_ends,
            "divergence": asked.divergence,
            "probes": asked.probes,
            "checkpoint": asked.checkpoint is not None,
            "threads": torch.get_num_threads(),
        }
        return {**parts, **{name: json.dumps(word, default=str) for name, word in words.items()}}


def finished(asked: Asked, starts: Points, sums: PathSums) -> TAEP:
    """The result of paths that began at `starts` (n, d)."""
    keep_ends = asked.streaming.sharing.keep_ends
    x_first = whole(starts) if keep_ends or isinstance(starts, Tensor) else starts[:0]
    model, reference, process = asked.model, asked.reference, asked.problem.process
    settings, table, shape = asked.settings, asked.table, asked.problem.shape
    scheme, reverse = settings["scheme"], settings["direction"] == "reverse"
    driven_by_reference, from_prior = settings["driver"] == "reference", settings["from_prior"]
    dtype, dim = x_first.dtype, x_first.shape[1]
    values, coarse, x_last = sums.value, sums.coarse, sums.x_last
    if driven_by_reference:
        values, coarse = -values, None if coarse is None else -coarse
    if asked.turned is not None:
        x_first, x_last = asked.turned.turn_back(x_first), asked.turned.turn_back(x_last)
    x_start, x_end = (x_last, x_first) if reverse else (x_first, x_last)
    kept = (x_start, x_end) if keep_ends else (x_start[:0], x_start[:0])
    ends = (table.times.min().item(), table.times.max().item())
    if scheme == "sampler" and driven_by_reference:  # of two samplers
        values = values + sums.mismatch
    elif scheme == "sampler":
        assert isinstance(reference, Distribution)
        log_ratio = reference.log_prob(x_start, ends[0], process) - reference.log_prob(x_end, ends[1], process)
        values = values + log_ratio + dim * table.chain_log_scale
    coarser = None
    if coarse is not None:
        values, coarser = extrapolated(values, coarse)
    endpoint = endpoint_log_ratio(model, reference, process, ends, x_start, x_end)
    if from_prior:
        assert isinstance(reference, Distribution)
        log_prior = process.prior(dim).log_prob(x_end.double()).to(dtype)
        start_term = reference.log_prob(x_end, ends[1], process) - log_prior
        values, coarser = values + start_term, None if coarser is None else coarser + start_term
    check_paths(values, asked.allow_nonfinite)

    sign = 1.0 if reverse and not driven_by_reference else -1.0
    reference_is_exact = isinstance(reference, Distribution) and not asked.own_points
    drawn_from = (
        None if reverse else asked.n_paths
    )  # components that paths were drawn from; else that of where they lie
    component = None
    if not asked.own_start and (keep_ends or isinstance(starts, Tensor)):
        seed, path_offset = asked.problem.seed, asked.problem.path_offset
        component = start_component(
            reference, process, x_start, ends[0], n_paths=drawn_from, seed=seed, path_offset=path_offset
        )
    result = TAEP(
        **statistics(values, coarser, sums.mismatch, sums.difference, sign, asked.streaming.probes, scheme),
        x_start=kept[0].detach().reshape(-1, *shape),
        x_end=kept[1].detach().reshape(-1, *shape),
        endpoint_log_ratio=endpoint,
        reference_is_exact=reference_is_exact,
        backend=asked.backend,
        backend_reason=asked.backend_reason,
        settings={**settings, **sums.settings},
        start_component=component,
        modes=mode_breakdown(values, component, reference, scale=sign),
        data_entropy=mean_estimate(-reference.log_prob(x_start.detach(), ends[0], process).double())
        if reference_is_exact and isinstance(reference, Distribution) and not reverse and len(x_start)
        else None,
        attribution=None
        if asked.streaming.resolved is None
        else attribution(asked.streaming.resolved, table, asked.resolved, values, shape, asked.labels, asked.time_bins),
    )
    return replace(result, **witnesses(result))


def statistics(
    values: Tensor,
    coarser: Tensor | None,
    mismatch: Tensor,
    difference: Tensor | None,
    sign: float,
    probes: int,
    scheme: str,
) -> dict[str, Any]:
    """The fields of a TAEP that follow from its paths alone; all (n,), `sign` is that of the exponential average."""
    return {
        "values": values,
        "mean": mean_estimate(values),
        "variance": variance_estimate(values),
        "fluctuation_theorem": exponential_average(values, sign),
        "score_matching": mean_estimate(mismatch),
        "probe_noise": None if difference is None else probe_noise(values, difference, probes),
        "step_error": None if coarser is None else step_error(values, coarser, sign, scheme),
        "half_variance_ratio": half_variance_ratio(values),
        "mismatch": mismatch.detach(),
        "coarser": None if coarser is None else coarser.detach(),
        "probe_difference": None if difference is None else difference.detach(),
    }


def witnesses(result: TAEP) -> dict[str, Any]:
    """The fields that compare the values with what they are in continuous time, where that is known."""
    sampler = result.settings["scheme"] == "sampler"
    if (sampler and not result.driven_by_reference) or result.settings["from_prior"]:
        return {}
    values, mismatch = result.values, result.mismatch
    endpoint = None if sampler else result.endpoint_log_ratio
    known = result.reference_is_exact or result.driven_by_reference
    return {
        "endpoint_error": None if endpoint is None else endpoint_error(values, endpoint),
        "consistency": mean_estimate(values.detach().double() + result.sign * mismatch.double())
        if known and mismatch is not None
        else None,
    }
