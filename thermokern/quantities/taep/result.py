"""What a TAEP calculation gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, ExponentialAverage
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored
from thermokern.quantities.taep.attribution import Attribution, LabelPart, Map, Rate, Table, VarianceShares
from thermokern.quantities.taep.conclusion import conclusion, law
from thermokern.quantities.taep.modes import Mode, collapse_line
from thermokern.quantities.taep.probe_noise import ProbeNoise
from thermokern.quantities.taep.step_error import EndpointError, StepError


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
    step_error : StepError or None
        What the finite step does to mean, variance and exponential average, where the values are extrapolated.
    endpoint_error : EndpointError or None
        Values less `endpoint_log_ratio`, paired: their mean and the RMS of a path. None for the sampler's chains.
    consistency : Estimate or None
        Mean of the values less ``∫ D |δ|² dt`` of each path (over reverse paths that the model drives: plus). It is 0
        where the identity holds.
    half_variance_ratio : Estimate or None
        ``Var/(2 mean)``, which is 1 near the optimum (Eq. 41).
    attribution : Attribution or None
        Where Δs arises, where that was to be resolved.
    data_entropy : Estimate or None
        Of the law that paths start from, at the first time, nats; where the reference is exact.
    mismatch : Tensor or None
        (n,) ``∫ D |s_θ − s_*|² dt`` along each path, whose mean is `score_matching`.
    coarser : Tensor or None
        (n,) the values on twice the step, where they are extrapolated.
    probe_difference : Tensor or None
        (n,) Δs by one set of probes less that by the other, where a divergence came from probes.
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
    step_error: StepError | None = None
    endpoint_error: EndpointError | None = None
    consistency: Estimate | None = None
    half_variance_ratio: Estimate | None = None
    attribution: Attribution | None = None
    data_entropy: Estimate | None = None
    mismatch: Tensor | None = None
    coarser: Tensor | None = None
    probe_difference: Tensor | None = None

    @property
    def rate(self) -> Rate:
        """Where in time Δs arises, per unit of log signal-to-noise ratio; needs ``resolve`` with ``time``."""
        return self._resolved("time").rate()

    @property
    def map(self) -> Map:
        """Along which component of x Δs arises; needs ``resolve`` with ``component``."""
        return self._resolved("component").map()

    @property
    def table(self) -> Table:
        """Both, in stretches of log signal-to-noise ratio; needs ``resolve`` with both."""
        return self._resolved("time", "component").table()

    @property
    def by_label(self) -> tuple[LabelPart, ...]:
        """The means of the paths of each label; needs ``labels`` and ``resolve``."""
        return self._resolved("time").by_label

    @property
    def variance_shares(self) -> VarianceShares:
        """Where the variance of Δs arises, in time and by component; needs ``resolve``."""
        return self._resolved("time").variance_shares()

    def _resolved(self, *names: str) -> Attribution:
        if self.attribution is None:
            raise ValueError(f"attribution: this TAEP was not resolved; compute it by taep(…, resolve={names!r})")
        return self.attribution

    @property
    def sign(self) -> float:
        """The sign in the exponential average: −1, and +1 for reverse paths."""
        return 1.0 if self.settings["direction"] == "reverse" and not self.driven_by_reference else -1.0

    @property
    def driven_by_reference(self) -> bool:
        """Whether these are reverse paths that the reference drives, over which the identities hold for any scores."""
        return bool(self.settings.get("driver") == "reference")

    @property
    def weight_name(self) -> str:
        """The weight that the exponential average gives a path, for figures and tables."""
        return "exp(+Δs)" if self.sign > 0 else "exp(−Δs)"

    def summary(self) -> str:
        """A table of the estimates, for people."""
        s, average = self.settings, self.fluctuation_theorem
        theorem = f"<exp({'-+'[self.sign > 0]}TAEP)>"
        exact = "exact" if self.reference_is_exact else f"not exact: {theorem} need not be 1"
        if self.driven_by_reference:
            exact = f"drives the paths: {theorem} is 1 for any two scores"
        of_step = {name: "" for name in ("mean", "variance", "fluctuation_theorem")}
        if self.step_error is not None:
            of_step = {name: _of_step(getattr(self.step_error, name)) for name in of_step}
        share = average.effective_sample_size / average.n if average.n else math.nan
        doubt = "" if average.is_reliable else ", its error unreliable"
        shape = f"carried by {share:.1%} of the paths, Pareto shape {average.pareto_shape:.2f}{doubt}"
        lines = [
            f"TAEP of {len(self.values)} {s['direction']} paths, {s['n_steps']} steps of {s['process']}, "
            f"scheme {s['scheme']}",
            f"  mean                    {self.mean} nats{of_step['mean']}",
            f"  variance                {self.variance} nats²{of_step['variance']}",
        ]
        if self.probe_noise is not None:
            noise = self.probe_noise
            lines.append(
                f"  of it from the probes   {noise.contribution} nats², without them {noise.corrected_variance}"
            )
        lines.append(f"  {theorem:<23} {average}{of_step['fluctuation_theorem']}   ({shape})")
        if self.sign < 0 and average.value < 1.0 - 3.0 * average.stderr and average.is_reliable:
            missing = Estimate(1.0 - average.value, average.stderr, "")
            lines.append(f"  missing overlap         {missing}   (weight that the model puts where no path goes)")
        if self.half_variance_ratio is not None:
            lines.append(f"  variance / (2 mean)     {self.half_variance_ratio}   (1 near the optimum)")
        if worst := collapse_line(self.modes, self.mean):
            lines.append(f"  most collapsed mode     {worst}")
        lines.append(f"  score matching          {self.score_matching} nats")
        if self.consistency is not None:
            lines.append(f"  mean less that          {self.consistency}   (z = {self.consistency.z(0.0):+.1f})")
        if self.endpoint_error is not None:
            miss = self.endpoint_error
            lines.append(f"  against the end points  {miss.mean}   (z = {miss.mean.z(0.0):+.1f}), RMS {miss.rms}")
        if self.attribution is not None:
            lines += ["  " + line for line in self.attribution.lines()]
        if "precision_effect" in s:
            effect = s["precision_effect"]
            lines.append(
                f"  against fp32            mean {effect['mean']:+.2g}, RMS {effect['rms']:.2g} nats of a path "
                f"({effect['paths']} paths, whose spread is {effect['spread']:.2g})"
            )
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        lines += [f"  reference               {exact}", f"  backend                 {self.backend}{reason}"]
        return "\n".join([*lines, *remarks(s), *self.closing()])

    def law(self) -> str:
        """The laws at both ends of the paths."""
        return law(self)

    def conclusion(self) -> list[str]:
        """Whether to trust the mean, how large it is, and which mode or label gets too little."""
        return conclusion(self)

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
            "step_error": self.step_error,
            "endpoint_error": self.endpoint_error,
            "consistency": self.consistency,
            "half_variance_ratio": self.half_variance_ratio,
            "attribution": self.attribution,
            "data_entropy": self.data_entropy,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each path."""
        columns = {
            "value": self.values,
            "endpoint_log_ratio": self.endpoint_log_ratio,
            "start_component": self.start_component,
        }
        return {name: column for name, column in columns.items() if column is not None}


def _of_step(error: Estimate) -> str:
    return f"   (step {error.value:+.1g} ± {error.stderr:.1g})"
