"""What the calculations of information give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.quantities.information.curve import InformationCurve, curve_numbers
from thermokern.quantities.information.estimates import level_estimate, recurring, total
from thermokern.quantities.information.verdicts import information_in_words, measured, pairs_in_words
from thermokern.quantities.likelihood import Verdict
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored

NONE = Estimate(math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class LevelResult(Result):
    """An integral over noise levels whose evaluations are kept: :meth:`at` reads it off at any level."""

    value: Estimate
    below: Estimate
    above: Estimate
    curve: InformationCurve
    effective_sample_size: float
    n_evaluations: int
    log_snr: Tensor
    values: Tensor
    points: Tensor | None
    settings: dict[str, Any]

    def at(self, log_snr: float) -> Estimate:
        """The integral from λ = −∞ to `log_snr`, what lies above t_end included, nats: the quantity at that noise."""
        inside = torch.where(self.log_snr <= log_snr, self.values, 0.0)
        independent = self.settings["sampling"] == "uniform"
        return total(self.above, level_estimate(inside, recurring(self.points), independent))


@stored("neural-entropy")
@dataclass(frozen=True, eq=False)
class NeuralEntropy(LevelResult):
    """The entropy that a model stores.

    Attributes
    ----------
    value : Estimate
        ``integral + below + above``, nats; infinite where `below` is.
    integral : Estimate
        Over [t_eps, t_end].
    below, above : Estimate
        What lies below t_eps and above t_end, read off the rates there. Infinite below where a direction has collapsed;
        where a network's rates do not fall towards t_end, as those of laws do, that rate is `above`, and its error.
    collapsed_directions : Estimate
        Twice the rate at t_eps: each direction without width at that noise adds ½ nat per unit of λ, without end.
    mismatch : Estimate or None
        ``∫ D E|s_θ − s|² dt`` over [t_eps, t_end], where the law of the data is known and another than the model.
    curve : InformationCurve
    effective_sample_size : float
        Pairs of evaluations of equal size that would carry the standard error as well.
    n_evaluations : int
    log_snr, values : Tensor
        (n,) λ of each evaluation, and weight times rate, whose mean is `integral`.
    points : Tensor or None
        (n,) which data point, where they can recur.
    """

    title: ClassVar[str] = "Entropy that a model stores"

    integral: Estimate
    collapsed_directions: Estimate
    mismatch: Estimate | None

    def summary(self) -> str:
        """The estimates, for people."""
        s = self.settings
        law = f"N(0, {s['reference_std']:g}²)"
        lines = [
            f"Neural entropy of {s['model']['kind']} under {s['process']}, {self.n_evaluations:,} evaluations",
            f"  value                   {self.value} nats, KL from {law}",
            f"  from t = {s['t_eps']:<14.3g} {self.integral}",
            f"  below it                {self.below}",
            f"  above t_end             {self.above}",
            f"  collapsed directions    {self.collapsed_directions} of {s['dim']}",
        ]
        if self.mismatch is not None:
            lines.append(f"  ∫ D E|s_θ − s|² dt      {self.mismatch}")
        lines.append(f"  effective pairs         {self.effective_sample_size:,.0f}")
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law whose information it is."""
        return f"the model's law, what it must know beyond noise, from t = {self.settings['t_eps']:.3g} on and below it"

    def conclusion(self) -> list[str]:
        """How large it is, and how much of it was measured."""
        return [
            f"The network stores {self.value} nats, {self.value.value / self.settings['dim']:.3g} per dimension.",
            measured(self.value, self.below, self.above),
        ]

    def numbers(self) -> dict[str, object]:
        """The estimates and the curve."""
        names = ("value", "integral", "below", "above", "collapsed_directions")
        return {
            **{name: getattr(self, name) for name in names},
            **({"mismatch": self.mismatch} if self.mismatch is not None else {}),
            **curve_numbers("", self.curve),
            "effective_sample_size": self.effective_sample_size,
            "n_evaluations": self.n_evaluations,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each bin of λ."""
        return {"log_snr": self.curve.centre, "rate": self.curve.rate, "rate_stderr": self.curve.rate_stderr}


@stored("mutual-information")
@dataclass(frozen=True, eq=False)
class MutualInformation(LevelResult):
    """What a condition tells about the data.

    Attributes
    ----------
    value : Estimate
        The estimator that `estimator` names, over [t_eps, t_end], plus `below` and `above`, nats.
    estimator : str
        ``gap``, which with exact scores has the smaller error, or ``loss``, for networks.
    gap, loss, difference : Estimate
        ``∫ D E|s_c − s_u|² dt``, ``∫ D E[|s_u − τ|² − |s_c − τ|²] dt`` and S(X|Y) − S(X), all over [t_eps, t_end] and
        the same evaluations; equal for exact scores. For any scores the mean of `loss` is ``I + L_u − L_c``, with
        ``L = ∫ D E|s_θ − s|² dt``.
    orthogonality : Estimate
        ``loss − gap``, zero for exact scores: ``−2 ∫ D E[δ·(s_c − τ)] dt``.
    drift_orthogonality : Estimate
        ``difference − gap``, zero likewise: ``2 ∫ D E[δ·(s_u − s_eq)] dt``.
    below, above : Estimate
        I(X;Y) − I(X_ε;Y) and I(X_T;Y), read off the rates at t_eps and t_end. Where a network's rates do not fall
        towards t_end, as those of laws do, the rate there is `above`, and its error.
    curve, other_curve, residual_curve : InformationCurve
        Over λ: of `estimator`, of the other one, and of ``loss − gap``.
    per_label : tuple of Estimate
        For labels: ``KL(p(x|y)‖p(x))`` of each over [t_eps, t_end]; their mean over the labels is the integral.
    label_entropy : Estimate or None
        H(Y), which bounds the information from above; of data their frequencies'.
    growth : Estimate or None
        ``E ln π(y|x)/p(y)`` of the posterior π that the scores give: a Kelly gambler's growth rate, which for any
        scores bounds the information from below, as long as the data are held out.
    verdicts : tuple of Verdict
    effective_sample_size : float
        Pairs of evaluations of equal size that would carry the standard error of `value` as well.
    n_evaluations : int
        Pairs of scores.
    log_snr, values : Tensor
        (n,) λ of each evaluation, and weight times rate of `estimator`, whose mean is its integral.
    points : Tensor or None
        (n,) which data point, where they can recur.
    """

    title: ClassVar[str] = "Mutual information from scores"

    estimator: str
    gap: Estimate
    loss: Estimate
    difference: Estimate
    orthogonality: Estimate
    drift_orthogonality: Estimate
    other_curve: InformationCurve
    residual_curve: InformationCurve
    per_label: tuple[Estimate, ...]
    label_entropy: Estimate | None
    growth: Estimate | None
    verdicts: tuple[Verdict, ...]

    def summary(self) -> str:
        """The estimates and verdicts, for people."""
        s = self.settings
        lines = [
            f"Mutual information under {s['process']}, {self.n_evaluations:,} evaluations",
            f"  value                   {self.value} nats, by {self.estimator}",
            f"  gap                     {self.gap} from t = {s['t_eps']:.3g}",
            f"  loss                    {self.loss}",
            f"  entropy difference      {self.difference}",
            f"  loss − gap              {self.orthogonality}",
            f"  difference − gap        {self.drift_orthogonality}",
            f"  below t_eps             {self.below}",
            f"  above t_end             {self.above}",
        ]
        if self.label_entropy is not None:
            lines.append(f"  H(Y)                    {self.label_entropy.value:.6f}")
        if self.growth is not None:
            lines.append(f"  Kelly growth            {self.growth} (a lower bound)")
        lines.append(f"  effective pairs         {self.effective_sample_size:,.0f}")
        return "\n".join([*lines, *(f"  {verdict.line()}" for verdict in self.verdicts), *self.closing()])

    def law(self) -> str:
        """The law whose information it is."""
        return "the joint law of x and y at data time, as the two scores have it"

    def conclusion(self) -> list[str]:
        """Whether the estimators agree, and how much of what can be known is known."""
        return information_in_words(self.value, self.label_entropy, self.verdicts, self.below, self.above)

    def numbers(self) -> dict[str, object]:
        """The estimates, curves and verdicts."""
        names = ("value", "gap", "loss", "difference", "orthogonality", "drift_orthogonality", "below", "above")
        known = {"label_entropy": self.label_entropy, "growth": self.growth}
        return {
            **{name: getattr(self, name) for name in names},
            **{name: item for name, item in known.items() if item is not None},
            "estimator": self.estimator,
            **curve_numbers("", self.curve),
            **curve_numbers("residual_", self.residual_curve),
            "per_label": self.per_label,
            "verdicts": self.verdicts,
            "effective_sample_size": self.effective_sample_size,
            "n_evaluations": self.n_evaluations,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each bin of λ."""
        columns = {"log_snr": self.curve.centre}
        other = "loss" if self.estimator == "gap" else "gap"
        curves = {self.estimator: self.curve, other: self.other_curve, "residual": self.residual_curve}
        for name, curve in curves.items():
            columns |= {name: curve.rate, f"{name}_stderr": curve.rate_stderr}
        return columns


@stored("pointwise-mutual-information")
@dataclass(frozen=True, eq=False)
class PointwiseMutualInformation(Result):
    """``ln p(x|y)/p(x)`` of single pairs.

    Attributes
    ----------
    values, stderr : Tensor
        (n,) of the pairs, nats, with the standard errors of noise levels and noise; of paths NaN. With candidates
        (n, K), of every candidate.
    mean : Estimate
        Over the pairs, of their own y: the mutual information, with the error of the sample of pairs.
    posterior : Tensor or None
        (n, K) the probability of each candidate, with candidates.
    growth : Estimate or None
        ``E ln π(y|x)/p(y)``, with candidates and y: a lower bound of the information for any scores.
    method : str
    settings : dict
    x_start, x_end : Tensor or None
        (n, d) of paths: where they are at t_eps, whose information `values` are, and at t_end, whose they are less of.
    """

    title: ClassVar[str] = "Pointwise mutual information"

    values: Tensor
    stderr: Tensor
    mean: Estimate
    posterior: Tensor | None
    growth: Estimate | None
    method: str
    settings: dict[str, Any]
    x_start: Tensor | None
    x_end: Tensor | None

    def summary(self) -> str:
        """The mean, and how far single pairs spread, for people."""
        s = self.settings
        lines = [f"Pointwise mutual information of {len(self.values):,} pairs by {self.method}, {s['process']}"]
        if math.isfinite(self.mean.value):
            lines.append(f"  mean                    {self.mean} nats")
        if self.values.dim() == 1:
            lines.append(f"  standard deviation      {self.values.std().item():.4f}")
        if self.method == "loss":
            lines.append(f"  typical standard error  {self.stderr.square().mean().sqrt().item():.4f} of one value")
        if self.growth is not None:
            lines.append(f"  Kelly growth            {self.growth} (a lower bound of the information)")
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law whose information it is."""
        return "the joint law of x and y at data time, pair by pair, as the two scores have it"

    def conclusion(self) -> list[str]:
        """How much y tells of x, what is certain of it, and what a single value is worth."""
        return pairs_in_words(self.mean, self.growth, self.values, self.stderr)

    def numbers(self) -> dict[str, object]:
        """The mean, the growth and the settings."""
        known = {"mean": self.mean, **({"growth": self.growth} if self.growth is not None else {})}
        return {**known, "method": self.method, "n": len(self.values), "settings": self.settings}

    def columns(self) -> dict[str, Tensor]:
        """A row for each pair."""
        if self.values.dim() == 1:
            return {"information": self.values, "information_stderr": self.stderr}
        columns = {f"information_{k}": self.values[:, k] for k in range(self.values.shape[1])}
        assert self.posterior is not None
        return columns | {f"posterior_{k}": self.posterior[:, k] for k in range(self.posterior.shape[1])}


@stored("total-correlation")
@dataclass(frozen=True, eq=False)
class TotalCorrelation(LevelResult):
    """What the components of data, or blocks of them, tell about one another.

    Attributes
    ----------
    value : Estimate
        ``integral + below + above`` by the product of marginals; by entropies their sum less the joint's.
    integral : Estimate
        ``∫ D E|s − s_prod|² dt`` over [t_eps, t_end]; by entropies S_tot there.
    below, above : Estimate
        What lies below t_eps and above t_end.
    route : str
        ``product`` or ``entropy``.
    axis_entropies : tuple of Estimate
        By entropies: h of each component, nearest neighbours.
    curve : InformationCurve
    effective_sample_size : float
    n_evaluations : int
    log_snr, values : Tensor
        (n,) λ of each evaluation, and weight times rate, whose mean is `integral`.
    points : Tensor or None
        (n,) which data point, where they can recur.
    """

    title: ClassVar[str] = "Total correlation from scores"

    integral: Estimate
    route: str
    axis_entropies: tuple[Estimate, ...]

    def summary(self) -> str:
        """The estimates, for people."""
        s = self.settings
        return "\n".join(
            [
                f"Total correlation of {s['blocks']} blocks by {self.route}, {s['process']}, "
                f"{self.n_evaluations:,} evaluations",
                f"  value                   {self.value} nats",
                f"  from t = {s['t_eps']:<14.3g} {self.integral}",
                f"  below it                {self.below}",
                f"  above t_end             {self.above}",
                f"  effective pairs         {self.effective_sample_size:,.0f}",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """The law whose correlation it is."""
        return "the law of the data at data time, as the scores have it"

    def conclusion(self) -> list[str]:
        """How large it is, and how much of it was measured."""
        return [f"The blocks share {self.value} nats.", measured(self.value, self.below, self.above)]

    def numbers(self) -> dict[str, object]:
        """The estimates and the curve."""
        return {
            **{name: getattr(self, name) for name in ("value", "integral", "below", "above")},
            "route": self.route,
            "axis_entropies": self.axis_entropies,
            **curve_numbers("", self.curve),
            "effective_sample_size": self.effective_sample_size,
            "n_evaluations": self.n_evaluations,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each bin of λ."""
        return {"log_snr": self.curve.centre, "rate": self.curve.rate, "rate_stderr": self.curve.rate_stderr}
