"""Linear diffusion processes with scalar noise: ``dx = f(t) x dt + g(t) dw``.

Every process here has a Gaussian transition kernel ``x_t | x_0 ~ N(m(t) x_0, v(t) I)`` with ``dm/dt = f m`` and
``dv/dt = 2 f v + g²``. Data live at ``t = 0``; time runs to ``t_end``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from thermokern.ops.checks import MOST, array_of, checked_choice, checked_integer, checked_number

Time = TypeVar("Time", float, Tensor)

SPACINGS = ("uniform", "log-snr", "mixed")


class Coefficients(NamedTuple):
    """The equation's coefficients at one end of every step, (n_steps,) each."""

    f: Tensor
    g2: Tensor


class LinearProcess(ABC):
    """A linear stochastic differential equation with scalar noise, ``dx = f(t) x dt + g(t) dw``.

    Subclasses give the four functions of time as tensor expressions; this class makes them accept floats and builds
    time grids. ``D = g²/2`` is the diffusion coefficient.

    Attributes
    ----------
    t_end : float
        The time at which the process ends.
    default_t_eps : float
        The first time of :meth:`grid` when none is given.
    default_spacing : str
        The spacing of :meth:`grid` when none is given.
    """

    t_end: float = 1.0
    default_t_eps: float = 1e-3
    default_spacing: str = "mixed"

    @abstractmethod
    def _f(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _g2(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _mean_scale(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _variance(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, ready for :mod:`json`, for reports and saved results."""

    def f(self, t: Time) -> Time:
        """Drift factor ``f(t)`` of ``dx = f x dt + g dw``, per unit time; same shape as `t`."""
        return _at(self._f, t)

    def g2(self, t: Time) -> Time:
        """Squared noise amplitude ``g²(t)``, squared data units per unit time; same shape as `t`."""
        return _at(self._g2, t)

    def coefficients(self, times: Tensor) -> tuple[Coefficients, Coefficients]:
        """``f`` and ``g²`` at the nodes that steps leave and at those that they reach, from inside each step."""
        f, g2 = self.f(times), self.g2(times)
        return Coefficients(f[:-1], g2[:-1]), Coefficients(f[1:], g2[1:])

    def mean_scale(self, t: Time) -> Time:
        """``m(t)`` of ``x_t | x_0 ~ N(m x_0, v I)``, dimensionless; same shape as `t`."""
        return _at(self._mean_scale, t)

    def variance(self, t: Time) -> Time:
        """``v(t)`` of ``x_t | x_0 ~ N(m x_0, v I)``, squared data units; same shape as `t`."""
        return _at(self._variance, t)

    def log_snr(self, t: Time) -> Time:
        """Logarithm of the signal-to-noise ratio, ``log(m²/v)``; same shape as `t`."""
        return _at(lambda s: 2.0 * self._mean_scale(s).log() - self._variance(s).log(), t)

    def time_at(self, log_snr: float) -> float:
        """The time at which :meth:`log_snr` is `log_snr`, to rounding; ``t_end`` where it never falls so low."""
        return self.times_at(torch.tensor([log_snr], dtype=torch.float64, device="cpu")).item()

    def times_at(self, log_snr: Tensor) -> Tensor:
        """:meth:`time_at` of many, (n,) float64."""
        return _bisect(self.log_snr, log_snr, 0.0, self.t_end)

    def prior(self, dim: int) -> torch.distributions.Distribution:
        """The Gaussian that a sampler starts from at ``t_end``, in `dim` dimensions."""
        scale = torch.full((dim,), math.sqrt(self._prior_variance()), dtype=torch.float64, device="cpu")
        return torch.distributions.Independent(torch.distributions.Normal(torch.zeros_like(scale), scale), 1)

    def _prior_variance(self) -> float:
        return self.variance(self.t_end)

    def grid(self, n_steps: int, t_eps: float | None = None, spacing: str | None = None) -> Tensor:
        """Times ``t_0 = t_eps < … < t_n = t_end``.

        Parameters
        ----------
        n_steps : int
            Number of steps, at least 1.
        t_eps : float, optional
            First time, in ``(0, t_end)``. The process's own choice when left out.
        spacing : {"uniform", "log-snr", "mixed"}, optional
            Uniform in time, uniform in :meth:`log_snr`, or uniform in the mean of the shares of both that have passed.
            The process's own choice when left out: ``mixed``, which serves sharp laws nearly as well as ``log-snr`` and
            wide ones nearly as well as ``uniform``; ``log-snr`` for EDM.

        Returns
        -------
        Tensor
            ``(n_steps + 1,)`` float64, increasing.
        """
        n_steps = checked_integer("n_steps", n_steps, 1, MOST)
        t_eps = self.default_t_eps if t_eps is None else t_eps
        t_eps = checked_number("t_eps", t_eps, above=0.0, below=self.t_end)
        spacing = checked_choice("spacing", self.default_spacing if spacing is None else spacing, SPACINGS)
        uniform = torch.linspace(t_eps, self.t_end, n_steps + 1, dtype=torch.float64, device="cpu")
        if spacing == "uniform":
            return uniform
        first, last = self.log_snr(t_eps), self.log_snr(self.t_end)
        weight = 0.5 if spacing == "mixed" else 0.0

        def left(t: Tensor) -> Tensor:
            """The share of the way that is left at t, (n,), falling from 1 to 0."""
            in_time = (self.t_end - t) / (self.t_end - t_eps)
            return weight * in_time + (1.0 - weight) * (self.log_snr(t) - last) / (first - last)

        shares = torch.linspace(1.0, 0.0, n_steps + 1, dtype=torch.float64, device="cpu")
        times = _bisect(left, shares, t_eps, self.t_end)
        times[0], times[-1] = t_eps, self.t_end
        if not bool((times.diff() > 0).all()):
            raise ValueError(f"t_eps, n_steps: float64 cannot tell {n_steps} steps from {t_eps:g} on apart")
        return times

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value:g}" for name, value in self.settings().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.settings() == other.settings()

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))  # equal settings have equal representations


class BetaProcess(LinearProcess):
    """A process with ``f = −β(t)/2`` and so ``m = e^{−B/2}``, where ``B(t) = ∫_0^t β``.

    Variance-preserving unless overridden: ``g² = β``, ``v = 1 − e^{−B}``. The prior is N(0, I).
    """

    @abstractmethod
    def _beta(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _integrated_beta(self, t: Tensor) -> Tensor: ...

    def _f(self, t: Tensor) -> Tensor:
        return -0.5 * self._beta(t)

    def _g2(self, t: Tensor) -> Tensor:
        return self._beta(t)

    def _mean_scale(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._integrated_beta(t))

    def _variance(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._integrated_beta(t))

    def _prior_variance(self) -> float:
        return 1.0


class LinearBeta(BetaProcess):
    """A :class:`BetaProcess` with ``β = β_min + t (β_max − β_min)``, ``t`` in [0, 1]."""

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta_min = checked_number("beta_min", beta_min, least=0.0)
        self.beta_max = checked_number("beta_max", beta_max, least=self.beta_min)
        checked_number("beta_max", beta_max, above=0.0)

    def settings(self) -> dict[str, Any]:
        return {"beta_min": self.beta_min, "beta_max": self.beta_max}

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def _integrated_beta(self, t: Tensor) -> Tensor:
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))


class VP(LinearBeta):
    """Variance-preserving process: ``f = −β/2``, ``g² = β``, ``β = β_min + t (β_max − β_min)``, ``t`` in [0, 1].

    ``m = e^{−B/2}`` and ``v = 1 − e^{−B}`` with ``B(t) = ∫_0^t β``. Its stationary law is N(0, I).

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, Eq. 11.
    """

    @classmethod
    def from_sigma(cls, sigma: float, ratio: float = 0.1) -> VP:
        """The process whose last signal-to-noise ratio is ``m(1)²/v(1) = 1/σ²``, that of data at noise level `sigma`.

        ``β_min = r B_1``, ``β_max = (2 − r) B_1``, ``B_1 = ln(1 + σ²)``. The data are still seen at the end,
        ``m(1)² = 1/(1 + σ²)``: 1/101 at σ = 10, so that p_T is not the prior N(0, I).

        Parameters
        ----------
        sigma : float
            Positive, in units of the data's.
        ratio : float
            ``r = β_min/B_1``, in [0, 1].

        References
        ----------
        Kodama and Hinczewski, arXiv 2510.06174, App. D.3.
        """
        sigma = checked_number("sigma", sigma, above=0.0)
        ratio = checked_number("ratio", ratio, least=0.0, most=1.0)
        total = math.log1p(sigma * sigma)
        return cls(ratio * total, (2.0 - ratio) * total)

    def times_at(self, log_snr: Tensor) -> Tensor:
        """:meth:`time_at` of many, (n,) float64: ``B = ln(1 + e^{−λ})``, a quadratic equation in t."""
        integral = torch.nn.functional.softplus(-log_snr, threshold=50.0)
        root = (self.beta_min**2 + 2.0 * integral * (self.beta_max - self.beta_min)).sqrt()
        slope = (self.beta_min + root).clamp_min(torch.finfo(torch.float64).tiny)
        return (2.0 * integral / slope).clamp_max(self.t_end)


class VE(LinearProcess):
    """Variance-exploding process: ``f = 0``, ``g² = σ^{2t}``, ``m = 1``, ``v = (σ^{2t} − 1)/(2 ln σ)``, t in [0, 1].

    The prior is N(0, v(1) I).

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, App. C.
    """

    def __init__(self, sigma: float = 25.0) -> None:
        self.sigma = checked_number("sigma", sigma, above=1.0)

    def settings(self) -> dict[str, Any]:
        return {"sigma": self.sigma}

    def _f(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def _g2(self, t: Tensor) -> Tensor:
        return torch.exp(2.0 * math.log(self.sigma) * t)

    def _mean_scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def _variance(self, t: Tensor) -> Tensor:
        rate = 2.0 * math.log(self.sigma)
        return torch.expm1(rate * t) / rate


def checked_times(times: object) -> Tensor:
    """Times (n_nodes,) of a grid in float64, once they are known to increase."""
    times = array_of("times", times).detach().to("cpu", torch.float64)
    if times.dim() != 1 or times.numel() < 2:
        raise ValueError(f"times: expected (n_nodes,) with at least two nodes, got {tuple(times.shape)}")
    if not bool(torch.isfinite(times).all()) or not bool((times.diff() > 0).all()):
        raise ValueError("times: expected finite increasing numbers")
    return times


def _at(function: Callable[[Tensor], Tensor], t: Time) -> Time:
    if isinstance(t, Tensor):
        return function(array_of("t", t))
    return function(torch.tensor(checked_number("t", t), dtype=torch.float64, device="cpu")).item()


def _bisect(decreasing: Callable[[Tensor], Tensor], targets: Tensor, low: float, high: float) -> Tensor:
    """Times in ``[low, high]`` at which a decreasing function of time takes the values `targets`."""
    lower, upper = torch.full_like(targets, low), torch.full_like(targets, high)
    for _ in range(100):
        middle = 0.5 * (lower + upper)
        above = decreasing(middle) > targets
        lower, upper = torch.where(above, middle, lower), torch.where(above, upper, middle)
    return 0.5 * (lower + upper)
