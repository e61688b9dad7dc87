"""What a calculation of entropy rates gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result, remarks
from thermokern.quantities.results.storage import stored


@stored("entropy-rate")
@dataclass(frozen=True, eq=False)
class EntropyRate(Result):
    """One rate over time and its integral. Nats per unit of process time; nats.

    Attributes
    ----------
    values, stderr : Tensor
        (n_nodes,) float64; the standard error of a rate that is a sum of two averages is the sum of theirs, an upper
        bound.
    integral : Estimate
        Over [t_eps, t_end]; its standard error is that of sampling, from the spread over paths.
    quadrature_error : float
        Of `integral`, nats: a third of its difference from the integral on every second time.
    below : Estimate
        The integral over [0, t_eps], which `integral` leaves out: by the power of v that the rate times v/g² follows
        at the first times. Infinite where that power does not vanish.
    """

    title: ClassVar[str] = "Entropy rate"

    values: Tensor
    stderr: Tensor
    integral: Estimate
    quadrature_error: float
    below: Estimate

    def summary(self) -> str:
        """The integral, its errors and what it leaves out, for people."""
        return "\n".join(
            [
                f"entropy rate at {len(self.values)} times",
                f"  integral                {self.integral} {self.integral.unit}, quadrature "
                f"{self.quadrature_error:.1e}",
                f"  below t_eps             {self.below} {self.below.unit}",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """Only the rates that this one stands among know their law."""
        return "the law, and the times, of the entropy rates that this one is part of"

    def conclusion(self) -> list[str]:
        """Whether the times suffice."""
        if abs(self.quadrature_error) <= self.integral.stderr:
            return ["The times suffice: the error of quadrature is below that of sampling."]
        return ["The error of quadrature exceeds that of sampling: use more steps."]

    def numbers(self) -> dict[str, object]:
        """The rate at each time, and its integral."""
        return {
            "values": self.values,
            "stderr": self.stderr,
            "integral": self.integral,
            "quadrature_error": self.quadrature_error,
            "below_t_eps": self.below,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each time."""
        return {"rate": self.values, "rate_stderr": self.stderr}


@stored("entropy-rates")
@dataclass(frozen=True, eq=False)
class EntropyRates(Result):
    """Entropy rates with a model's score, over the marginals of the data.

    Attributes
    ----------
    t, log_snr : Tensor
        (n_nodes,) float64.
    intrinsic, exchange : EntropyRate
        ``E|f x − D s|²/D`` and, forward, ``−E[f x·(f x − D s)]/D``; in reverse those of the controlled-forward process.
    system : EntropyRate
        ``f d + D E|s|²``, and minus it in reverse (Kodama and Hinczewski, Eq. 5).
    system_sum : EntropyRate
        ``Ṡ_i + Ṡ_e``, which with the true score is `system`.
    stein_residual : EntropyRate
        ``E[f x·s] + f d``, and minus it in reverse: `system` less `system_sum`.
    score_energy, divergence : EntropyRate
        ``D E|s|²`` and ``D E[∇·s]``, whose sum is 0 for the true score.
    cross, mismatch : EntropyRate or None
        ``D E[s·s_*]``, which is minus `divergence` by Stein's identity for any s, and ``D E|s − s_*|²``, with the true
        score s_*; None where it is not known.
    exchange_ratio : Estimate
        ``∫E[∇·b]dt/∫Ṡ_i dt`` of the controlled-forward process with drift ``b = −f x + 2 D s``: the exchange without
        its kinetic part, not `exchange` over `intrinsic`. Without drift it is ``−2 E[s·s_*]/E|s|²``, which is −2 for
        the true score alone; with drift it is another number.
    exchange_ratio_values : Tensor
        (n_nodes,) the same at each time.
    """

    title: ClassVar[str] = "Entropy rates of a score-based model"

    t: Tensor
    log_snr: Tensor
    intrinsic: EntropyRate
    exchange: EntropyRate
    system: EntropyRate
    system_sum: EntropyRate
    stein_residual: EntropyRate
    score_energy: EntropyRate
    divergence: EntropyRate
    cross: EntropyRate | None
    mismatch: EntropyRate | None
    exchange_ratio: Estimate
    exchange_ratio_values: Tensor
    n_paths: int
    dim: int
    backend: str
    backend_reason: str
    settings: dict[str, Any]

    def named(self) -> dict[str, EntropyRate]:
        """Every rate that is known, by name."""
        names = (
            "intrinsic",
            "exchange",
            "system",
            "system_sum",
            "stein_residual",
            "score_energy",
            "divergence",
            "cross",
            "mismatch",
        )
        return {name: rate for name in names if (rate := getattr(self, name)) is not None}

    def summary(self) -> str:
        """A table of the integrals, for people."""
        s = self.settings
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        lines = [
            f"Entropy rates of the {s['direction']} process over {self.n_paths} paths, {s['n_steps']} steps of "
            f"{s['process']}",
            f"  nats                    from t = {s['t_eps']:<20.4g} quadrature   below it",
        ]
        for name, rate in self.named().items():
            lines.append(
                f"  {name.replace('_', ' '):<23} {rate.integral!s:<26} {rate.quadrature_error:<12.1e} {rate.below}"
            )
        lines += [
            f"  ∫E[∇·b]dt / intrinsic   {self.exchange_ratio}   b = −f x + 2 D s",
            f"  backend                 {self.backend}{reason}",
            *remarks(s),
            *self.closing(),
        ]
        return "\n".join(lines)

    def law(self) -> str:
        """The law that is averaged over."""
        return f"the data's law from t = {self.settings['t_eps']:.3g} to the end, with the model's score"

    def conclusion(self) -> list[str]:
        """Whether the score obeys Stein's identity, as the true one does."""
        miss = self.stein_residual.integral
        if miss.stderr > 0.0 and abs(miss.z(0.0)) > 3.0:
            return [
                f"The score breaks Stein's identity by {miss} nats, so it is not the score of the data's law: rates "
                "with it are the model's, not the data's."
            ]
        return ["The score obeys Stein's identity within its error, as that of the data's law does."]

    def numbers(self) -> dict[str, object]:
        """The rates that are known, at each time and integrated."""
        return {
            "t": self.t,
            "log_snr": self.log_snr,
            **self.named(),
            "exchange_ratio": self.exchange_ratio,
            "n_paths": self.n_paths,
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each time."""
        columns = {"t": self.t, "log_snr": self.log_snr}
        for name, rate in self.named().items():
            columns |= {name: rate.values, f"{name}_stderr": rate.stderr}
        return columns
