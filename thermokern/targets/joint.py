"""The joint Gaussian law of data and a linear, noisy observation of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.ops.checks import checked_array
from thermokern.processes import LinearProcess
from thermokern.targets.conditional import ConditionalLaw
from thermokern.targets.distribution import ArrayLike
from thermokern.targets.guided_gaussian import guided_by_axes, guided_by_integration
from thermokern.targets.mixture import Gaussian
from thermokern.targets.own_times import law_score_at

_COMMUTE = 1e-10  # of Σ and Σ_{X|Y}, relative: below it guidance is known axis by axis


class GuidedGaussian(NamedTuple):
    """What classifier-free guidance makes of a Gaussian: ``x = gain · E[x|y] + noise of the covariance``."""

    information: float  # I(X_w; Y), nats
    covariance: Tensor  # (d, d) Var(X|y)
    gain: Tensor  # (d, d) κ: E(X|y) = κ E(x|y) for data centred at zero


def _law(name: str, mean: Tensor, covariance: Tensor) -> Gaussian:
    """A Gaussian whose errors say which arguments it comes from."""
    try:
        return Gaussian(mean, covariance)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class JointGaussian(ConditionalLaw):
    """``x ~ N(mean, Σ_x)`` and ``y = A x + noise · ξ`` with ξ standard normal.

    Parameters
    ----------
    covariance_x : float or array
        A number (d = 1), a diagonal (d_x,) or a matrix (d_x, d_x), symmetric and positive definite.
    A : float or array
        (d_y, d_x), or a number for one dimension each.
    noise : float or array
        Standard deviation of the observation's noise, positive: a number or (d_y,).
    mean : array, optional
        (d_x,), of x; zero when left out.

    Attributes
    ----------
    x, y, joint : Gaussian
        The laws of x, of y, and of [x, y].

    Notes
    -----
    The conditional covariance ``Σ_{x|y} = L (1 + Lᵀ Aᵀ N⁻¹ A L)⁻¹ Lᵀ``, with ``Σ_x = L Lᵀ`` and N the noise's
    covariance, is computed without subtracting, and so stays accurate for weak noise and for nearly flat Σ_x.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, App. D: its linear Gaussian channel.
    """

    def __init__(
        self, covariance_x: ArrayLike, A: ArrayLike, noise: ArrayLike = 1.0, mean: ArrayLike | None = None
    ) -> None:
        covariance, gain = checked_array("covariance_x", covariance_x), checked_array("A", A)
        gain = gain.reshape(1, 1) if gain.dim() == 0 else gain
        if gain.dim() != 2 or 0 in gain.shape:
            raise ValueError(f"A: expected (d_y, d_x), got {tuple(gain.shape)}")
        self.dim_y, self.dim = gain.shape
        if covariance.shape not in ((self.dim,), (self.dim, self.dim)) and not (
            covariance.dim() == 0 and self.dim == 1
        ):
            raise ValueError(
                f"covariance_x: expected ({self.dim},) or ({self.dim}, {self.dim}) as A has it, "
                f"got {tuple(covariance.shape)}"
            )
        matrix = covariance if covariance.dim() == 2 else torch.diag_embed(covariance.reshape(-1))
        std = checked_array("noise", noise)
        if std.shape not in ((), (self.dim_y,)) or not bool((std > 0).all()):
            raise ValueError(f"noise: expected a positive number or ({self.dim_y},) of them, got {std.tolist()}")
        std = std.expand(self.dim_y)
        centre = (
            torch.zeros(self.dim, dtype=torch.float64, device="cpu") if mean is None else checked_array("mean", mean)
        )
        if centre.shape != (self.dim,):
            raise ValueError(f"mean: expected ({self.dim},) to match A, got {tuple(centre.shape)}")
        self.A, self.noise, self.mean = gain, std, centre
        self.x = _law("covariance_x", centre, matrix)
        basis = (
            torch.eye(self.dim, dtype=torch.float64, device="cpu")
            if self.x.eigenvectors is None
            else self.x.eigenvectors[0]
        )
        root = basis * self.x.eigenvalues[0].sqrt()  # L: Σ_x = L Lᵀ
        seen = (gain / std[:, None]) @ root  # (d_y, d_x), whose squared singular values are signal-to-noise ratios
        self._inner = torch.eye(self.dim, dtype=torch.float64, device="cpu") + seen.T @ seen
        root_of_inner, failed = torch.linalg.cholesky_ex(self._inner)
        if int(failed) or not bool(self._inner.isfinite().all()):
            raise ValueError("A, noise: expected a signal-to-noise ratio that float64 can hold")
        factor = torch.linalg.solve_triangular(root_of_inner, root.T, upper=False)
        conditional = factor.T @ factor
        covariance_y = gain @ matrix @ gain.T + torch.diag_embed(std.square())
        self.y = _law("A, noise: y", gain @ centre, covariance_y)
        cross = matrix @ gain.T
        whole = torch.cat([torch.cat([matrix, cross], 1), torch.cat([cross.T, covariance_y], 1)])
        self.joint = _law("A, noise: x and y", torch.cat([centre, gain @ centre]), 0.5 * (whole + whole.T))
        self._regression = conditional @ (gain / std.square()[:, None]).T  # (d_x, d_y): E[x|y] = mean + R (y − A mean)
        self._given = _law("A, noise: x given y", torch.zeros_like(centre), 0.5 * (conditional + conditional.T))

    def settings(self) -> dict[str, object]:
        return {
            "kind": "JointGaussian",
            "covariance_x": self.x.covariances[0].tolist(),
            "A": self.A.tolist(),
            "noise": self.noise.tolist(),
            "mean": self.mean.tolist(),
        }

    @property
    def marginal(self) -> Gaussian:
        """The law of x alone."""
        return self.x

    @property
    def conditional_covariance(self) -> Tensor:
        """``Σ_{x|y}``, (d_x, d_x), the same for every y."""
        return self._given.covariances[0]

    def conditional_mean(self, y: Tensor) -> Tensor:
        """``E[x|y]`` of `y` (n, d_y), (n, d_x)."""
        shift: Tensor = (y.to(torch.float64) - self.y.means[0]) @ self._regression.T
        return self.mean + shift

    def given(self, y: ArrayLike) -> Gaussian:
        """The law of x for one `y` (d_y,), or a number."""
        value = checked_array("y", y).reshape(-1)
        if value.shape != (self.dim_y,):
            raise ValueError(f"y: expected ({self.dim_y},), got {tuple(value.shape)}")
        return Gaussian(self.conditional_mean(value[None])[0], self.conditional_covariance)

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> tuple[Tensor, Tensor]:
        both = self.joint.sample(n, seed, path_offset)
        return both[:, : self.dim].contiguous(), both[:, self.dim :].contiguous()

    def sample_together(self, n: int, seed: int = 0, path_offset: int = 0) -> tuple[Tensor, Tensor]:
        """:meth:`sample` to rounding, see :meth:`GaussianMixture.sample_together`."""
        both = self.joint.sample_together(n, seed, path_offset)
        return both[:, : self.dim].contiguous(), both[:, self.dim :].contiguous()

    def check_conditions(self, y: Tensor) -> None:
        if y.shape[1:].numel() != self.dim_y:
            raise ValueError(f"y: expected (n, {self.dim_y}) as the law has it, got {tuple(y.shape)}")

    def score_at(self, x: Tensor, t: Tensor, y: Tensor, process: LinearProcess) -> Tensor:
        self.check_conditions(y)
        if len(y) != len(x):
            raise ValueError(f"y: expected one condition for each of the {len(x)} points of x, got {len(y)}")
        centre = process.mean_scale(t)[:, None] * self.conditional_mean(y.reshape(len(y), -1))
        return law_score_at(self._given, (x - centre.to(x)), t, process)

    def mutual_information(self, log_snr: float | None = None) -> float:
        """``I(X;Y) = ½ ln det(1 + Lᵀ Aᵀ N⁻¹ A L)``, nats; with a `log_snr` ``I(X_t;Y)`` where the process has it.

        That is ``½ ln det(Σ_x + q) − ½ ln det(Σ_{x|y} + q)`` with ``q = e^{−log_snr}``, under any process.
        """
        if log_snr is None:
            return 0.5 * float(torch.linalg.slogdet(self._inner).logabsdet)
        q = math.exp(-log_snr)
        whole, part = ((law.eigenvalues[0] + q).log().sum().item() for law in (self.x, self._given))
        difference: float = whole - part
        return 0.5 * difference

    def total_entropy(self) -> float:
        """``KL(p ‖ N(0, 1)) = ½(tr Σ_x + |mean|² − d − ln det Σ_x)`` of x, nats: S_tot under VP (Eq. 6)."""
        values = self.x.eigenvalues[0]
        return 0.5 * float(values.sum() + self.mean.square().sum() - self.dim - values.log().sum())

    def total_correlation(self) -> float:
        """``½ Σ_k ln Σ_kk − ½ ln det Σ_x`` of the components of x, nats."""
        diagonal = self.x.covariances[0].diagonal()
        return 0.5 * float(diagonal.log().sum() - self.x.eigenvalues[0].log().sum())

    def guided(self, w: float) -> GuidedGaussian:
        """What the probability flow with ``(1 + w) s(x|y) − w s(x)`` generates, exactly.

        Per axis that Σ_x and Σ_{x|y} share, with variances C and c and ``R = C/c``: ``Var = c R^{−w}``,
        ``κ = (1 + w) R^{−w/2} ∫_0^1 (1 + (R − 1) s²)^{w/2} ds``, and ``I_w = Σ ½ ln(1 + κ² (R − 1) R^w)``, which grows
        as ``(1 + w) I`` and does not saturate. Where they share none the linear matrix equation of the flow is
        integrated, to about 1e-7 for w up to 8; beyond it loses digits.

        Parameters
        ----------
        w : float
            Guidance weight, at least 0; libraries' ``guidance_scale`` is ``1 + w``.

        Returns
        -------
        GuidedGaussian
        """
        if isinstance(w, bool) or not isinstance(w, int | float) or not 0.0 <= w < math.inf:
            raise ValueError(f"w: expected a finite number of at least 0, got {w!r}")
        whole, part = self.x.covariances[0], self.conditional_covariance
        clash = (whole @ part - part @ whole).abs().max() / (whole @ part).abs().max()
        by_axes = clash.item() < _COMMUTE
        covariance, gain = (guided_by_axes if by_axes else guided_by_integration)(whole, part, float(w))
        spread = self._regression @ self.y.covariances[0] @ self._regression.T  # Var E[x|y]
        moved = gain @ spread @ gain.T
        factor = torch.linalg.cholesky(covariance)
        inner = torch.linalg.solve_triangular(factor, moved, upper=False)
        inner = torch.linalg.solve_triangular(factor, inner.T, upper=False)
        eye = torch.eye(self.dim, dtype=torch.float64, device="cpu")
        information = 0.5 * torch.linalg.slogdet(eye + 0.5 * (inner + inner.T)).logabsdet.item()
        return GuidedGaussian(information, covariance, gain)
