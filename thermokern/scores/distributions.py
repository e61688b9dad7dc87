"""Targets whose score is known in closed form at every time of a process."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern.ops._library import MAX_DIM, PRECISIONS
from thermokern.ops.mixture_score import check_mixture
from thermokern.processes import LinearProcess

ArrayLike = Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]] | float


class Distribution(ABC):
    """A law of data, diffused exactly by a process: score, divergence and log density at every time.

    Times are those of the process; ``t = 0`` is the data themselves.

    Attributes
    ----------
    dim : int
    """

    dim: int

    @abstractmethod
    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        """`n` points at data time, (n, d) float64. Point ``i`` depends on `seed` and ``path_offset + i`` alone."""

    @abstractmethod
    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        """Score (n, d), divergence (n,) and log density (n,) at time `t`, in the dtype of `x` (n, d)."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What defines the law, for reports and saved results."""

    def score(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``∇ log p_t(x)``, (n, d), nats per data unit."""
        return self.evaluate(x, t, process).score

    def divergence(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``∇·∇ log p_t(x)``, (n,), nats per squared data unit."""
        return self.evaluate(x, t, process).divergence

    def log_prob(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """``log p_t(x)``, (n,), nats."""
        return self.evaluate(x, t, process).log_density


class GaussianMixture(Distribution):
    """``Σ_c w_c N(μ_c, diag σ²_c)``.

    Parameters
    ----------
    means : array
        (K, d).
    std, variances : float or array
        One of the two: a number, (K,) or (K, d).
    weights : array, optional
        (K,), non-negative with sum 1; equal when left out.
    """

    def __init__(
        self,
        means: ArrayLike,
        *,
        std: ArrayLike | None = None,
        variances: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        self.means = _float64("means", means)
        if self.means.dim() != 2 or 0 in self.means.shape:
            raise ValueError(f"means: expected (components, d), got {tuple(self.means.shape)}")
        count, self.dim = self.means.shape
        if (std is None) == (variances is None):
            raise ValueError("std, variances: expected exactly one of the two")
        name, given = ("std", std) if std is not None else ("variances", variances)
        spread = _float64(name, given)
        if spread.shape not in ((), (count,), (count, self.dim)):
            raise ValueError(
                f"{name}: expected a number, ({count},) or ({count}, {self.dim}) as means has it, "
                f"got {tuple(spread.shape)}"
            )
        if not bool((spread > 0).all()):
            raise ValueError(f"{name}: expected positive numbers, got {spread.min().item():g}")
        spread = spread[:, None] if spread.dim() == 1 else spread
        self.variances = (spread.square() if std is not None else spread).expand(count, self.dim).contiguous()
        equal = torch.full((count,), 1.0 / count, dtype=torch.float64)
        self.weights = equal if weights is None else _float64("weights", weights)
        check_mixture(self.means, self.variances, self.weights)

    @classmethod
    def ring(
        cls, n_modes: int = 8, radius: float = 4.0, std: float = 0.25, weights: ArrayLike | None = None
    ) -> GaussianMixture:
        """Isotropic modes at equal angles on a circle: Ding, Quan and Tu, Eq. 43 and 44."""
        if n_modes < 1:
            raise ValueError(f"n_modes: expected at least 1, got {n_modes}")
        angle = 2.0 * math.pi * torch.arange(n_modes, dtype=torch.float64) / n_modes
        means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        return cls(means, std=std, weights=weights)

    def settings(self) -> dict[str, object]:
        return {
            "kind": type(self).__name__,
            "means": self.means.tolist(),
            "variances": self.variances.tolist(),
            "weights": self.weights.tolist(),
        }

    def source(self, table: ops.StepTable) -> ops.MixtureSource:
        """The fused kernels' form of this law at the nodes of a step table."""
        return ops.MixtureSource(self.means, self.variances, self.weights, table.mean_scale, table.variance)

    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        m, v = (process.mean_scale(t), process.variance(t)) if t != 0.0 else (1.0, 0.0)
        parameters = m * self.means, m * m * self.variances + v, self.weights
        if x.dtype in PRECISIONS and x.device.type == "cpu" and not x.requires_grad and self.dim <= MAX_DIM:
            return ops.mixture_score(x, *parameters)
        return ops.mixture_score_reference(x, *parameters)

    def component(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        """The component that each point of :meth:`sample` comes from, (n,) int64."""
        choice = ops.normals(n, 1, seed=seed, path_offset=path_offset, purpose="component")[:, 0]
        uniform = torch.special.ndtr(choice.to(torch.float64))
        edges = self.weights.cumsum(0)
        return torch.searchsorted(edges / edges[-1], uniform, right=True).clamp_max(len(edges) - 1)

    def most_probable_component(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """The component of largest responsibility ``w_c N(x; m μ_c, m² σ²_c + v)``, (n,) int64; of equals the first.

        Parameters
        ----------
        x : Tensor
            (n, d).
        t : float
            Time of the process; 0 is the data.
        """
        m, v = (process.mean_scale(t), process.variance(t)) if t != 0.0 else (1.0, 0.0)
        points = x.detach().to("cpu", torch.float64)
        best = torch.full((len(points),), -math.inf, dtype=torch.float64)
        component = torch.zeros(len(points), dtype=torch.int64)
        for c, log_weight in enumerate(self.weights.log()):  # one component at a time: (n, d) in memory, not (n, K, d)
            variances = m * m * self.variances[c] + v
            squares = ((points - m * self.means[c]).square() / variances).sum(1)
            log_density = log_weight - 0.5 * (squares + variances.log().sum())
            better = log_density > best
            component[better] = c
            best = torch.where(better, log_density, best)
        return component

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        component = self.component(n, seed, path_offset)
        # Number 0 chose the component; its block is left alone.
        z = ops.normals(n, self.dim, seed=seed, path_offset=path_offset, purpose="component", first=4)
        return self.means[component] + self.variances[component].sqrt() * z


class Gaussian(GaussianMixture):
    """``N(mean, diag(covariance))``.

    Parameters
    ----------
    mean : array
        (d,).
    covariance : float or array
        A number, a diagonal (d,), or a diagonal matrix (d, d).
    """

    def __init__(self, mean: ArrayLike, covariance: ArrayLike = 1.0) -> None:
        mean = _float64("mean", mean)
        if mean.dim() != 1:
            raise ValueError(f"mean: expected (d,), got {tuple(mean.shape)}")
        covariance = _float64("covariance", covariance)
        if covariance.dim() == 2:
            if covariance.shape != (len(mean), len(mean)) or bool((covariance != covariance.diag().diag()).any()):
                raise ValueError("covariance: expected a diagonal matrix (d, d), a diagonal (d,) or a number")
            covariance = covariance.diag()
        if covariance.shape not in ((), mean.shape):
            raise ValueError(f"covariance: expected a number or ({len(mean)},), got {tuple(covariance.shape)}")
        super().__init__(mean[None], variances=covariance.expand(len(mean))[None])

    def entropy(self) -> float:
        """``½ Σ log(2πe σ²_i)``, nats."""
        return 0.5 * (2.0 * math.pi * math.e * self.variances).log().sum().item()


def _float64(name: str, values: ArrayLike | None) -> Tensor:
    # The dtype at once: by itself as_tensor reads a list of numbers as float32.
    tensor = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: expected finite numbers")
    return tensor
