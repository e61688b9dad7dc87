"""Processes with other noise schedules: sub-VP, cosine, EDM, and DDPM's from its table of ``ᾱ``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermokern.ops.checks import checked_array, checked_number
from thermokern.processes.linear import BetaProcess, Coefficients, LinearBeta, LinearProcess


class SubVP(LinearBeta):
    """Sub-VP process: ``f = −β/2``, ``g² = β (1 − e^{−2B})``, ``m = e^{−B/2}``, ``v = (1 − e^{−B})²``, ``t`` in [0, 1].

    ``β = β_min + t (β_max − β_min)`` and ``B(t) = ∫_0^t β``. Its variance stays below that of :class:`VP`; ``g²`` is 0
    at t = 0, and the law ``N(0, (1 − e^{−2B}) I)`` that its drift and noise would leave alone moves with t. The prior
    is N(0, I).

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, App. B.
    """

    def _g2(self, t: Tensor) -> Tensor:
        return -self._beta(t) * torch.expm1(-2.0 * self._integrated_beta(t))

    def _variance(self, t: Tensor) -> Tensor:
        return torch.expm1(-self._integrated_beta(t)).square()


class CosineVP(BetaProcess):
    """Variance-preserving with ``m = cos θ/cos θ_0``, ``θ = π(t + s)/(2(1 + s))``, ``β = π tan θ/(1 + s)``, ``g² = β``.

    ``v = 1 − m²`` and ``θ_0 = θ(0)``. As β grows without bound towards t = 1, time ends where ``m²`` has fallen to
    `alpha_bar_min`, ``t_end < 1``. There the step ``β h/2`` is largest: ``β ≈ π/((1 + s)√ᾱ_min)``, 312 by default.

    Parameters
    ----------
    s : float
        Offset of the angle, positive: β does not vanish at t = 0.
    alpha_bar_min : float
        ``ᾱ = m²`` at ``t_end``, in (0, 1).

    References
    ----------
    Nichol and Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, Eq. 17.
    """

    def __init__(self, s: float = 0.008, alpha_bar_min: float = 1e-4) -> None:
        self.s = checked_number("s", s, above=0.0)
        self.alpha_bar_min = checked_number("alpha_bar_min", alpha_bar_min, above=0.0, below=1.0)
        self._rate = 0.5 * math.pi / (1.0 + self.s)  # dθ/dt
        self._first = self._rate * self.s  # θ_0
        self.t_end = math.acos(math.sqrt(self.alpha_bar_min) * math.cos(self._first)) / self._rate - self.s

    def settings(self) -> dict[str, Any]:
        return {"s": self.s, "alpha_bar_min": self.alpha_bar_min}

    # cos θ, sin θ and 1 − m² by the angle θ − θ_0, so that all is exact at t = 0 and accurate just after.

    def _beta(self, t: Tensor) -> Tensor:
        angle, slope = self._rate * t, math.tan(self._first)
        return 2.0 * self._rate * (angle.sin() + slope * angle.cos()) / (angle.cos() - slope * angle.sin())

    def _integrated_beta(self, t: Tensor) -> Tensor:
        return -2.0 * self._mean_scale(t).log()

    def _mean_scale(self, t: Tensor) -> Tensor:
        angle = self._rate * t
        return angle.cos() - math.tan(self._first) * angle.sin()

    def _variance(self, t: Tensor) -> Tensor:
        angle = self._rate * t
        return angle.sin() * (2.0 * self._first + angle).sin() / math.cos(self._first) ** 2


class EDM(LinearProcess):
    """EDM's process, whose time is the noise level: ``f = 0``, ``g² = 2t``, ``m = 1``, ``v = t²``, ``t`` up to σ_max.

    The prior is N(0, σ_max² I). Grids are uniform in the log signal-to-noise ratio, so in log t, from t = 0.002 on,
    unless they are told otherwise.

    Parameters
    ----------
    sigma_max : float
        The last time, in units of the data's.

    References
    ----------
    Karras et al., *Elucidating the design space of diffusion-based generative models*, 2022, Table 1.
    """

    default_t_eps = 0.002
    default_spacing = "log-snr"

    def __init__(self, sigma_max: float = 80.0) -> None:
        self.sigma_max = self.t_end = checked_number("sigma_max", sigma_max, above=self.default_t_eps)

    def settings(self) -> dict[str, Any]:
        return {"sigma_max": self.sigma_max}

    def _f(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def _g2(self, t: Tensor) -> Tensor:
        return 2.0 * t

    def _mean_scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def _variance(self, t: Tensor) -> Tensor:
        return t.square()


def apart(places: Tensor, last: float | None = None) -> Tensor:
    """Whole numbers (n,), no two alike: those that coincide move up, and down again from the last."""
    out = places.tolist()
    for i in range(1, len(out)):
        out[i] = max(out[i], out[i - 1] + 1.0)
    out[-1] = min(out[-1], places[-1].item() if last is None else last)
    for i in range(len(out) - 2, -1, -1):
        out[i] = min(out[i], out[i + 1] - 1.0)
    return torch.tensor(out, dtype=torch.float64, device="cpu")


class DiscreteVP(BetaProcess):
    """DDPM's process from its table ``ᾱ_0 > ᾱ_1 > … > ᾱ_{N−1}``: ``m² = ᾱ``, ``v = 1 − ᾱ``, ``g² = β``, ``f = −β/2``.

    Step k of the table (counted from 0, as checkpoints count) is time ``t = k + 1``; the data are at t = 0 and time
    ends at N. Between those, ``B = −ln ᾱ`` is linear, with B(0) = 0: ``β`` is constant on each (k, k + 1). At a whole
    time ``f`` and ``g2`` are those of the interval which begins there; :meth:`coefficients` has both sides. Networks
    receive process time here as everywhere: one trained on the step k is ``lambda x, t: network(x, t - 1)``. Grids
    begin at t = 1, the first noise level that such a network has seen, unless they are told otherwise; ``grid(N − 1)``
    are then the steps of the table. The prior is N(0, I).

    Parameters
    ----------
    alphas_cumprod : sequence, array or Tensor
        (N,), N at least 2, decreasing, in (0, 1). Take the checkpoint's own: continuous formulas for its schedule are
        several per cent off at the end.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 4.
    """

    default_t_eps = 1.0

    def __init__(self, alphas_cumprod: Sequence[float] | np.ndarray | Tensor) -> None:
        table = checked_array("alphas_cumprod", alphas_cumprod)
        if table.dim() != 1 or table.numel() < 2:
            raise ValueError(f"alphas_cumprod: expected (N,) with N at least 2, got {tuple(table.shape)}")
        edges = torch.cat(
            [torch.ones(1, dtype=torch.float64, device="cpu"), table, torch.zeros(1, dtype=torch.float64, device="cpu")]
        )
        if not bool((edges.diff() < 0.0).all()):
            raise ValueError("alphas_cumprod: expected decreasing numbers in (0, 1)")
        self.alphas_cumprod = table
        self.t_end = float(table.numel())
        self._knots = -edges[:-1].log()  # (N + 1,) B at t = 0 … N

    def grid(self, n_steps: int, t_eps: float | None = None, spacing: str | None = None) -> Tensor:
        """As :meth:`LinearProcess.grid`, of whole times where no `spacing` is given.

        Whole times are what networks trained on the table have seen: those next to the grid ``mixed``, each taken once.
        Where more steps are asked for than there are whole times from `t_eps` on, the grid is ``mixed`` itself.
        """
        times = super().grid(n_steps, t_eps, spacing)
        first = math.ceil(times[0].item())
        if spacing is not None or n_steps > self.t_end - first:
            return times
        return apart(times.round().clamp_min(first))

    def even_grid(self, n_steps: int, t_eps: float | None = None) -> Tensor:
        """Whole times spread evenly from `t_eps` on, as samplers of the table take them; :meth:`grid` if they are few.

        Their first step is long against the noise of the data: for sums along paths take :meth:`grid`.
        """
        times = self.grid(n_steps, t_eps)
        first = math.ceil(times[0].item())
        if n_steps > self.t_end - first:
            return times
        return torch.linspace(first, self.t_end, n_steps + 1, dtype=torch.float64, device="cpu").round()

    def settings(self) -> dict[str, Any]:
        return {"alphas_cumprod": self.alphas_cumprod.tolist()}

    def _interval(self, t: Tensor) -> Tensor:
        return t.detach().floor().long().clamp(0, self.alphas_cumprod.numel() - 1)

    def _beta(self, t: Tensor) -> Tensor:
        return self._knots.diff().to(t)[self._interval(t)]

    def coefficients(self, times: Tensor) -> tuple[Coefficients, Coefficients]:
        """``f`` and ``g²`` at both ends of every step: at a whole time β of the interval on the step's own side."""
        beta = self._knots.diff().to(times)
        ends = beta[self._interval(times[:-1])], beta[(times[1:].ceil().long() - 1).clamp(0, len(beta) - 1)]
        leave, reach = (Coefficients(-0.5 * end, end) for end in ends)
        return leave, reach

    def _integrated_beta(self, t: Tensor) -> Tensor:
        interval = self._interval(t)
        return self._knots.to(t)[interval] + (t - interval) * self._beta(t)

    def __repr__(self) -> str:
        first, last = self.alphas_cumprod[0].item(), self.alphas_cumprod[-1].item()
        return f"DiscreteVP({self.alphas_cumprod.numel()} steps, alphas_cumprod {first:g} to {last:g})"


def DDPM(
    alphas_cumprod: Sequence[float] | np.ndarray | Tensor | None = None,
    *,
    betas: Sequence[float] | np.ndarray | Tensor | None = None,
) -> DiscreteVP:
    """DDPM's process from its table of ᾱ or of β, as training has it: a :class:`DiscreteVP`.

    Its times are whole unless they are told otherwise, step k of the table being t = k + 1. A network that takes k
    itself becomes a score by :func:`thermokern.from_ddpm`.

    Parameters
    ----------
    alphas_cumprod, betas : sequence, array or Tensor
        (N,), exactly one of them; ``ᾱ_k = Π_{j ≤ k} (1 − β_j)``, each β in (0, 1).

    Returns
    -------
    DiscreteVP

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 4.
    """
    if (alphas_cumprod is None) == (betas is None):
        raise ValueError("alphas_cumprod, betas: expected exactly one of the two")
    if betas is not None:
        steps = checked_array("betas", betas)
        if not bool(((steps > 0.0) & (steps < 1.0)).all()):
            raise ValueError("betas: expected numbers in (0, 1)")
        alphas_cumprod = torch.cumprod(1.0 - steps, 0)
    assert alphas_cumprod is not None
    return DiscreteVP(alphas_cumprod)
