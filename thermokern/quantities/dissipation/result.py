"""What a calculation of classical entropy production gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thermokern.quantities.results.estimate import Estimate, ExponentialAverage, exponential_average, mean_estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored

PARTS = ("system", "bath", "total", "nonadiabatic", "housekeeping", "excess")
THEOREMS = ("total", "nonadiabatic", "housekeeping")  # the parts X with ⟨e^{−X}⟩ = 1


@stored("entropy-part")
@dataclass(frozen=True, eq=False)
class EntropyPart:
    """One part of the entropy production, nats.

    Attributes
    ----------
    values : Tensor
        (n,), of each path.
    mean : Estimate
    fluctuation_theorem : ExponentialAverage or None
        ``⟨e^{−X}⟩``, which is 1; None for the parts that obey no such theorem.
    """

    values: Tensor
    mean: Estimate
    fluctuation_theorem: ExponentialAverage | None


def entropy_part(name: str, values: Tensor) -> EntropyPart:
    """A part with its statistics."""
    average = exponential_average(values, -1.0) if name in THEOREMS else None
    return EntropyPart(values, mean_estimate(values), average)


@stored("entropy-production")
@dataclass(frozen=True, eq=False)
class EntropyProduction(Result):
    """Classical entropy production along each path of an overdamped Langevin system. Nats throughout.

    ``total = system + bath = nonadiabatic + housekeeping`` and ``bath = excess + housekeeping``.

    Attributes
    ----------
    system : EntropyPart or None
        ``log p_0(x_0) − log p_T(x_T)``; None, like `total` and `nonadiabatic`, where the densities are not known.
    bath : EntropyPart
        What the heat bath gains, ``∫ (𝐃⁻¹F) ∘ dx``.
    total : EntropyPart or None
    nonadiabatic : EntropyPart or None
        ``system + excess``: zero on average at stationarity.
    housekeeping : EntropyPart or None
        ``∫ (𝐃⁻¹F − ∇log p_st) ∘ dx``: what it costs not to relax; zero path by path under detailed balance. None, like
        `nonadiabatic` and `excess`, where the stationary law is not known.
    excess : EntropyPart or None
        ``∫ ∇log p_st ∘ dx``.
    x_start, x_end : Tensor
        (n, d).
    duration : float
    backend : str
        What ran: ``fused`` or ``reference``.
    backend_reason : str
        Under ``auto``, why not the fused kernel; else empty.
    settings : dict
    """

    title: ClassVar[str] = "Entropy production of an overdamped Langevin system"

    system: EntropyPart | None
    bath: EntropyPart
    total: EntropyPart | None
    nonadiabatic: EntropyPart | None
    housekeeping: EntropyPart | None
    excess: EntropyPart | None
    x_start: Tensor
    x_end: Tensor
    duration: float
    backend: str
    backend_reason: str
    settings: dict[str, Any]

    def parts(self) -> dict[str, EntropyPart]:
        """The parts that are known, by name."""
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    def summary(self) -> str:
        """A table of the means and the fluctuation theorems, for people."""
        s = self.settings
        reason = f" ({self.backend_reason})" if self.backend_reason else ""
        lines = [
            f"Entropy production of {len(self.x_start)} paths over t = {s['t_start']:g} to {s['t_end']:g}, "
            f"{s['n_steps']} steps, scheme {s['scheme']}",
            f"  {'':<14}{'mean, nats':>22}{'per unit time':>16}{'<exp(-X)>':>22}{'Pareto shape':>14}",
        ]
        for name, part in self.parts().items():
            average = part.fluctuation_theorem
            rate = part.mean.value / self.duration
            line = f"  {name:<14}{part.mean!s:>22}{rate:>16.5g}"
            if average is not None:
                doubt = "" if average.is_reliable else "   error unreliable"
                line += f"{average!s:>22}{average.pareto_shape:>14.2f}{doubt}"
            lines.append(line)
        unknown = [name for name in PARTS if name not in self.parts()]
        if unknown:
            lines.append(f"  not known: {', '.join(unknown)} (they need log_density or stationary)")
        return "\n".join([*lines, f"  backend       {self.backend}{reason}", *self.closing()])

    def law(self) -> str:
        """The law along whose paths is averaged."""
        s = self.settings
        return f"the system's own law along its paths, from t = {s['t_start']:g} to {s['t_end']:g}"

    def conclusion(self) -> list[str]:
        """Whether the theorems hold, and how large the total is."""
        tested = {name: part for name, part in self.parts().items() if part.fluctuation_theorem is not None}
        if not tested or not len(self.x_start):
            return []
        far = {
            name: part.fluctuation_theorem.z(1.0)
            for name, part in tested.items()
            if part.fluctuation_theorem is not None and abs(part.fluctuation_theorem.z(1.0)) > 3.0
        }
        doubtful = [
            name
            for name, part in tested.items()
            if part.fluctuation_theorem and not part.fluctuation_theorem.is_reliable
        ]
        if far:
            name, z = max(far.items(), key=lambda item: abs(item[1]))
            first = (
                f"Doubtful: ⟨exp(−X)⟩ of {name} differs from 1 by {z:+.1f} standard errors; use more steps and paths."
            )
        elif doubtful:
            first = f"⟨exp(−X)⟩ of {', '.join(doubtful)} is carried by too few paths to test anything; the means stand."
        else:
            first = f"Trustworthy: ⟨exp(−X)⟩ of {', '.join(tested)} agrees with 1, as theory has it."
        lead = "total" if "total" in tested else next(iter(tested))
        mean = tested[lead].mean
        dim = self.x_start[0].numel()
        return [first, f"The {lead} is {mean} nats along a path, {mean.value / dim:.3g} per dimension."]

    def estimates(self) -> dict[str, Estimate]:
        """The mean of each part, and the averages that are 1."""
        averages = {f"⟨exp(−X)⟩ of {name}": part.fluctuation_theorem for name, part in self.parts().items()}
        means = {name: part.mean for name, part in self.parts().items()}
        return means | {name: average for name, average in averages.items() if average is not None}

    def numbers(self) -> dict[str, object]:
        """The parts that are known, and what ran."""
        return {
            "parts": self.parts(),
            "n_paths": len(self.x_start),
            "duration": self.duration,
            "backend": self.backend,
            "backend_reason": self.backend_reason,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each path."""
        return {name: part.values for name, part in self.parts().items()}
