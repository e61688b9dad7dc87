"""What a TAEP calculation gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, ExponentialAverage
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep.modes import Mode, collapse_line
from thermokern.quantities.taep.probe_noise import ProbeNoise


@stored("taep")
@dataclass(frozen=True, eq=False)
class TAEP(Result):
    """Time-asymmetry entropy production of each path, and its statistics. Nats throughout.

    Attributes
    ----------
    values : Tensor
        (n,) Δs of each path.
    mean, variance : Estimate
    fluctuation_theorem : ExponentialAverage
        ``⟨e^{−Δs}⟩``, which is 1 when the reference is exact (Ding, Quan and Tu, Eq. 30); ``⟨e^{+Δs}⟩`` of reverse
        paths.
    score_matching : Estimate
        ``∫ D ⟨|s_θ − s_*|²⟩ dt``, which equals the mean when the reference is exact (Eq. 33); over reverse paths, minus
        the mean.
    x_start, x_end : Tensor
        (n, …), the ends of each path, at ``t_eps`` and ``t_end``, whatever the direction.
    endpoint_log_ratio : Tensor or None
        (n,) ``log(p/q)(x_start) − log(p/q)(x_end)`` where model and reference both know their densities: what Δs is,
        path by path, in continuous time (Eq. 36), without `from_prior`'s term.
    reference_is_exact : bool
        Whether the reference is the score of the law that paths start from; Eq. 30 and 33 need that.
    backend : str
        What ran: ``fused``, ``streamed`` or ``reference``.
    backend_reason : str
        Under ``auto``, why not the fused kernels; else empty.
    settings : dict
        All that defines the calculation: model, reference, process, grid, scheme, seed, versions.
    start_component : Tensor or None
        (n,) int64, where the reference is a mixture of two components or more: the one that each path was drawn from;
        for own points `x0`, the most probable one of `x_start`.
    modes : tuple of Mode
        The statistics component by component, where `start_component` is known; else empty.
    probe_noise : ProbeNoise or None
        Where a divergence came from probes: their share of the variance, and the variance without it.
    """

    title: ClassVar[str] = "Time-asymmetry entropy production"

    values: Tensor
    mean: Estimate
    variance: Estimate
    fluctuation_theorem: ExponentialAverage
    score_matching: Estimate
    x_start: Tensor
    x_end: Tensor
    endpoint_log_ratio: Tensor | None
    reference_is_exact: bool
    backend: str
    backend_reason: str
    settings: dict[str, Any]
    start_component: Tensor | None = None
    modes: tuple[Mode, ...] = ()
    probe_noise: ProbeNoise | None = None

    @property
    def sign(self) -> float:
        """Of the exponential average: −1, and +1 for reverse paths."""
        return 1.0 if self.settings["direction"] == "reverse" else -1.0

    @property
    def weight_name(self) -> str:
        """The weight that the exponential average gives a path, for figures and tables."""
        return "exp(+Δs)" if self.sign > 0 else "exp(−Δs)"

    def summary(self) -> str:
        """A table of the estimates, for people."""
        s, average = self.settings, self.fluctuation_theorem
        exact = "exact" if self.reference_is_exact else "not exact: <exp(-TAEP)> need not be 1"
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        share = average.effective_sample_size / average.n if average.n else math.nan
        lines = [
            f"TAEP of {len(self.values)} {s['direction']} paths, {s['n_steps']} steps of {s['process']}, "
            f"scheme {s['scheme']}",
            f"  mean                    {self.mean} nats",
            f"  variance                {self.variance} nats²",
            f"  <exp({'-+'[self.sign > 0]}TAEP)>            {average}   (carried by {share:.1%} of the paths)",
            f"  score matching          {self.score_matching} nats",
            f"  reference               {exact}",
            f"  backend                 {self.backend}{reason}",
        ]
        after = 5
        if self.probe_noise is not None:
            noise = self.probe_noise
            lines.insert(
                3, f"  of it from the probes   {noise.contribution} nats², without them {noise.corrected_variance}"
            )
            after += 1
        if worst := collapse_line(self.modes, self.mean):
            lines.insert(after, f"  most collapsed mode     {worst}")
        return "\n".join([*lines, *remarks(s)])

    def numbers(self) -> dict[str, object]:
        """The estimates, what ran, and the modes where they are known."""
        return {
            "mean": self.mean,
            "variance": self.variance,
            "fluctuation_theorem": self.fluctuation_theorem,
            "score_matching": self.score_matching,
            "n_paths": len(self.values),
            "reference_is_exact": self.reference_is_exact,
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
            "modes": self.modes,
            "probe_noise": self.probe_noise,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each path."""
        columns = {
            "value": self.values,
            "endpoint_log_ratio": self.endpoint_log_ratio,
            "start_component": self.start_component,
        }
        return {name: column for name, column in columns.items() if column is not None}
