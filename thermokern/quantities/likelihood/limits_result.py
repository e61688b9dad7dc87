"""What a calculation of limits gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from thermokern.quantities.likelihood.rates_result import EntropyRates
from thermokern.quantities.likelihood.result import LogLikelihood
from thermokern.quantities.likelihood.verdicts import Verdict
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored


@stored("limits")
@dataclass(frozen=True, eq=False)
class Limits(Result):
    """Negative log-likelihoods, bounds and entropies, nats, of the law at t_eps on the scale of the data.

    Attributes
    ----------
    nll_ode : Estimate
        Of the probability-flow equation: what ``log_likelihood`` gives.
    nll_plugin : Estimate
        With averages over the data's marginals: ``S(p_T) − ∫f d dt + ∫D E[∇·s_θ]dt``.
    nll_lower_bound : Estimate or None
        ``(S_data + S(p_T))/2 − ½∫Ṡ_θ dt`` (Kodama and Hinczewski, Eq. 6): a bound on `nll_plugin`.
    elbo : Estimate
        Upper bound on the SDE sampler's NLL.
    data_entropy : Estimate or None
        S_data, at t_eps where the law is known: its standard error is common to all that is averaged over the paths.
    noise_entropy : Estimate
        ``S(p_T)``, of the data's law at t_end and not of the prior.
    data_entropy_bound, data_entropy_bound_plugin : Estimate
        ``2 NLL + ∫Ṡ_θ dt − S(p_T)`` with the NLL of the ODE, as Kodama and Hinczewski take it, and with the plug-in
        one, for which alone it bounds S_data.
    kl_upper : Estimate or None
        ``⟨Δs_ta⟩ + KL(p_T‖π)``: upper bound on KL(data ‖ SDE sampler).
    kl_ode : Estimate or None
        KL(data ‖ probability flow), paired over the points.
    squared_difference : Estimate or None
        ``∫D E|s_θ − s_*|²dt``, which is ⟨Δs_ta⟩.
    prior_mismatch : Estimate
        KL(p_T‖π).
    below_t_eps : Estimate
        ``∫Ṡ_θ dt`` over [0, t_eps], which nothing else here holds.
    verdicts : tuple of Verdict
    rates : EntropyRates
    likelihood : LogLikelihood
    dim : int
    settings : dict
    """

    title: ClassVar[str] = "Limits of a score-based model"

    nll_ode: Estimate
    nll_plugin: Estimate
    nll_lower_bound: Estimate | None
    elbo: Estimate
    data_entropy: Estimate | None
    noise_entropy: Estimate
    data_entropy_bound: Estimate
    data_entropy_bound_plugin: Estimate
    kl_upper: Estimate | None
    kl_ode: Estimate | None
    squared_difference: Estimate | None
    prior_mismatch: Estimate
    below_t_eps: Estimate
    verdicts: tuple[Verdict, ...]
    rates: EntropyRates
    likelihood: LogLikelihood
    dim: int
    settings: dict[str, Any]

    def named(self) -> dict[str, Estimate]:
        """Every estimate that is known, by name."""
        names = (
            "data_entropy",
            "nll_ode",
            "nll_plugin",
            "nll_lower_bound",
            "elbo",
            "data_entropy_bound",
            "data_entropy_bound_plugin",
            "kl_ode",
            "kl_upper",
            "squared_difference",
            "prior_mismatch",
            "noise_entropy",
            "below_t_eps",
        )
        return {name: estimate for name in names if (estimate := getattr(self, name)) is not None}

    def verdict(self, statement: str) -> Verdict:
        """The verdict whose statement begins so."""
        for verdict in self.verdicts:
            if verdict.statement.startswith(statement):
                return verdict
        known = "; ".join(verdict.statement for verdict in self.verdicts)
        raise ValueError(f"statement: expected the beginning of one of {known}, got {statement!r}")

    def summary(self) -> str:
        """Tables of the estimates and the verdicts, for people."""
        s = self.settings
        lines = [
            f"Limits over {s['n_paths']} paths, {s['n_likelihood']} likelihoods, {s['process']} from t = "
            f"{s['t_eps']:.3g}; nats",
            *(f"  {name.replace('_', ' '):<26} {estimate}" for name, estimate in self.named().items()),
            *remarks(s),
            "verdicts:",
            *(f"  {verdict.line()}" for verdict in self.verdicts),
            *self.closing(),
        ]
        return "\n".join(lines)

    def law(self) -> str:
        """The laws that the three likelihoods are of."""
        s = self.settings
        return (
            f"the data's law at t = {s['t_eps']:.3g}, on the scale of the data, and the model's laws there: the "
            "deterministic sampler's (ode), the stochastic sampler's (elbo, kl upper)"
        )

    def conclusion(self) -> list[str]:
        """Whether the bounds hold, and how far the model is from the best."""
        broken = [verdict for verdict in self.verdicts if verdict.outcome == "fails" and verdict.promised]
        lines = [
            f"Not to be trusted: {broken[0].statement} is broken, which holds for any model; use more steps or paths."
            if broken
            else "Trustworthy: no bound that must hold is broken."
        ]
        gap = self.kl_ode if self.kl_ode is not None else self.kl_upper
        if gap is not None:
            name = "the deterministic sampler's law" if gap is self.kl_ode else "the stochastic sampler's law, at most,"
            entropy = "" if self.data_entropy is None else f", beside an entropy of {self.data_entropy.value:.2f} nats"
            lines.append(
                f"KL from the data to {name} is {gap} nats, {gap.value / self.dim:.3g} per dimension{entropy}: no "
                "model has less than 0."
            )
        return lines

    def numbers(self) -> dict[str, object]:
        """The estimates that are known, the verdicts, the rates and the likelihood."""
        return {
            **self.named(),
            "verdicts": self.verdicts,
            "rates": self.rates,
            "likelihood": self.likelihood,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each estimate that is known."""
        return {"name": [*self.named()], "estimate": [*self.named().values()]}
