"""What a likelihood calculation gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored


@stored("log-likelihood")
@dataclass(frozen=True, eq=False)
class LogLikelihood(Result):
    """Log-likelihood of each point under the probability-flow equation. Nats throughout, float64.

    Attributes
    ----------
    values : Tensor
        (n,) ``log p(x)``: `prior_term` + `divergence_term` + `start_term`.
    stderr : Tensor
        (n,) of `values`, from what is random in them: Hutchinson's probes and dequantisation noise. 0 where nothing is,
        NaN where a single draw cannot say.
    nfe : Tensor
        (n,) int64, evaluations of the score.
    prior_term : Tensor
        (n,) log density of the prior at the path's end.
    divergence_term : Tensor
        (n,) ``∫ ∇·(f x − D s) dt``.
    start_term : float
        ``d log m(t_eps)``: paths begin at ``m(t_eps) x``.
    t_eps_term : Tensor
        (n,) not in `values`: what undoes the blur of ``t_eps``, ``−(v/2)(|s|² + ∇·s)``, to first order in v(t_eps).
    prior_mismatch : Tensor or None
        (n,) not in `values`: log of the model's own law at ``t_end`` over the prior, at the path's end; adding it gives
        the likelihood with the model's own law for prior. Known for distributions.
    x_end : Tensor
        (n, d) the path's end; of the last repeat where there are several.
    dim : int
    backend, backend_reason : str
    settings : dict
    """

    title: ClassVar[str] = "Log-likelihood under the probability flow"

    values: Tensor
    stderr: Tensor
    nfe: Tensor
    prior_term: Tensor
    divergence_term: Tensor
    start_term: float
    t_eps_term: Tensor
    prior_mismatch: Tensor | None
    x_end: Tensor
    dim: int
    backend: str
    backend_reason: str
    settings: dict[str, Any]

    @property
    def nll(self) -> Estimate:
        """Mean of ``−log p``, nats, with its standard error over the points."""
        return mean_estimate(-self.values)

    def bits_per_dim(self, offset_bits: float = 0.0) -> Estimate:
        """Mean of ``−log p/(d ln 2)`` plus `offset_bits`.

        Parameters
        ----------
        offset_bits : float
            For quantised data ``−log2`` of the width of a bin: 8 for 8-bit images on [0, 1], 7 on [−1, 1]. Nothing is
            added unless it is given.
        """
        scale, nll = 1.0 / (self.dim * math.log(2.0)), self.nll
        return Estimate(scale * nll.value + offset_bits, scale * nll.stderr, "bits/dim")

    def summary(self) -> str:
        """A table of the estimates, for people."""
        s = self.settings
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        probes = f", {s['probes']} probe(s) fixed along each path" if s["probes"] else ""
        n = len(self.nfe)
        nfe = f"{self.nfe.double().mean().item():.0f} on average, {int(self.nfe.max())} at most" if n else "none"
        lines = [
            f"Log-likelihood of {n} points, probability flow of {s['process']} from t = {s['t_eps']:g}",
            f"  NLL                     {self.nll} nats, {self.bits_per_dim()} bits/dim without offset",
            f"  left out below t_eps    {mean_estimate(-self.t_eps_term)} nats, to first order",
            f"  divergence              {s['divergence']}{probes}",
            f"  tolerance               rtol {s['rtol']:g}, atol {s['atol']:g} for each point",
            f"  evaluations of a point  {nfe}",
            f"  backend                 {self.backend}{reason}",
            *remarks(s),
        ]
        if self.prior_mismatch is not None:
            lines.insert(3, f"  prior mismatch          {mean_estimate(-self.prior_mismatch)} nats of the NLL")
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law of the deterministic sampler."""
        s = self.settings
        return (
            f"the law that the probability flow carries the prior to at t = {s['t_eps']:.3g}, on the scale of the "
            "data; "
            "it is not that of the stochastic sampler"
        )

    def conclusion(self) -> list[str]:
        """How sure the likelihood is, and how large beside what is left out."""
        if not len(self.values):
            return []
        bad = int((~self.values.isfinite()).sum())
        left_out = mean_estimate(-self.t_eps_term)
        trust = (
            f"Not to be trusted: {bad} of {len(self.values)} points have no likelihood."
            if bad
            else "The likelihood is that of the model's equation to the tolerance that was asked for; its error is "
            f"that of {len(self.values)} points."
        )
        size = f"The NLL is {self.nll / self.dim} nats per dimension"
        blur = abs(left_out.value)
        if blur > max(2.0 * self.nll.stderr, 0.02 * abs(self.nll.value)):
            return [trust, f"{size}; the blur of t_eps is {blur:.2g} nats of it, which a smaller t_eps would show."]
        return [trust, f"{size}, and the blur of t_eps does not matter beside its error."]

    def numbers(self) -> dict[str, object]:
        """The mean over the points, and what ran."""
        return {
            "nll": self.nll,
            "bits_per_dim": self.bits_per_dim(),
            "n_points": len(self.values),
            "nfe_mean": self.nfe.double().mean().item(),
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each point."""
        names = ("values", "stderr", "nfe", "prior_term", "divergence_term", "t_eps_term", "prior_mismatch")
        return {name: column for name in names if (column := getattr(self, name)) is not None}
