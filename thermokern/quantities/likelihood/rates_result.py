"""What a calculation of entropy rates gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.storage import save, stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@stored("entropy-rate")
@dataclass(frozen=True, eq=False)
class EntropyRate:
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

    values: Tensor
    stderr: Tensor
    integral: Estimate
    quadrature_error: float
    below: Estimate

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for :mod:`json`."""
        return {
            "values": self.values.tolist(),
            "stderr": self.stderr.tolist(),
            "integral": {"value": self.integral.value, "stderr": self.integral.stderr},
            "quadrature_error": self.quadrature_error,
            "below_t_eps": {"value": self.below.value, "stderr": self.below.stderr},
        }


@stored("entropy-rates")
@dataclass(frozen=True, eq=False)
class EntropyRates:
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
        ``∫E[∇·b]dt/∫Ṡ_i dt`` of the controlled-forward process with drift ``b = −f x + 2 D s``. Without drift it is
        ``−2 E[s·s_*]/E|s|²``, which is −2 for the true score alone; with drift it is another number.
    exchange_ratio_values : Tensor
        (n_nodes,) the same at each time.
    """

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
            f"  exchange ratio          {self.exchange_ratio}",
            f"  backend                 {self.backend}{reason}",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for :mod:`json`."""
        return {
            "t": self.t.tolist(),
            "log_snr": self.log_snr.tolist(),
            **{name: rate.to_json() for name, rate in self.named().items()},
            "exchange_ratio": {"value": self.exchange_ratio.value, "stderr": self.exchange_ratio.stderr},
            "n_paths": self.n_paths,
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
        }

    def save(self, path: str | Path) -> None:
        """Write one safetensors file that :func:`thermokern.load` reads back bit for bit."""
        save(self, path)

    def plot(self) -> Figure:
        """Rates over the log signal-to-noise ratio: a matplotlib figure."""
        from thermokern.quantities.likelihood.figures import rates_figure

        return rates_figure(self)
