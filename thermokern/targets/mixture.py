"""Mixtures of Gaussians, and a single Gaussian, which is one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern import ops
from thermokern._info import cuda_absence
from thermokern.ops.checks import MAX_DIM, PRECISIONS, NotFusable, check_tensor, checked_array, checked_integer
from thermokern.ops.mixture_score import check_mixture
from thermokern.processes import LinearProcess
from thermokern.targets.distribution import ArrayLike, Distribution, transition
from thermokern.targets.full_covariance import eigenbasis, full_mixture_score
from thermokern.targets.quadrature import entropy_by_quadrature

# Components up to which the kernel's float32 sums serve: their error grows with the number, and from about 600 on it is
# more than twice that of PyTorch, which adds in pairs. More of them are summed in float64.
_MANY = 256
_BLOCK = 2**18  # numbers (points × components × d) that PyTorch holds at once in each intermediate


class GaussianMixture(Distribution):
    """``Σ_c w_c N(μ_c, Σ_c)``.

    Parameters
    ----------
    means : array
        (K, d).
    std, variances, covariances : float or array
        One of the three. The first two: a number, (K,) or (K, d). The last: (K, d, d), symmetric and positive
        definite.
    weights : array, optional
        (K,), non-negative with sum 1; equal when left out.

    Attributes
    ----------
    eigenvalues : Tensor
        (K, d), of each covariance: the variances along the columns of `eigenvectors`.
    eigenvectors : Tensor or None
        (K, d, d), axes in columns; None where every covariance is diagonal, which is what the fused kernels take. See
        :func:`thermokern.targets.rotate`.

    Notes
    -----
    At a time with mean scale m and variance v each component is ``N(m μ_c, m² Σ_c + v I)``, which keeps its
    eigenvectors: they are computed once, in float64.
    """

    def __init__(
        self,
        means: ArrayLike,
        *,
        std: ArrayLike | None = None,
        variances: ArrayLike | None = None,
        covariances: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        self.means = checked_array("means", means)
        if self.means.dim() != 2 or 0 in self.means.shape:
            raise ValueError(f"means: expected (components, d), got {tuple(self.means.shape)}")
        count, self.dim = self.means.shape
        spreads = {"std": std, "variances": variances, "covariances": covariances}
        given = [(name, checked_array(name, value)) for name, value in spreads.items() if value is not None]
        if len(given) != 1:
            raise ValueError("std, variances, covariances: expected exactly one of the three")
        name, spread = given[0]
        self.eigenvectors: Tensor | None = None
        if name == "covariances":
            if spread.shape != (count, self.dim, self.dim):
                raise ValueError(
                    f"{name}: expected ({count}, {self.dim}, {self.dim}) to match means, got {tuple(spread.shape)}"
                )
            self.eigenvalues, self.eigenvectors = eigenbasis(name, spread)
        else:
            if spread.shape not in ((), (count,), (count, self.dim)):
                raise ValueError(
                    f"{name}: expected a number, ({count},) or ({count}, {self.dim}) as means has it, "
                    f"got {tuple(spread.shape)}"
                )
            if not bool((spread > 0).all()):
                raise ValueError(f"{name}: expected positive numbers, got {spread.min().item():g}")
            spread = spread[:, None] if spread.dim() == 1 else spread
            self.eigenvalues = (spread.square() if name == "std" else spread).expand(count, self.dim).contiguous()
        equal = torch.full((count,), 1.0 / count, dtype=torch.float64, device="cpu")
        self.weights = equal if weights is None else checked_array("weights", weights)
        check_mixture(self.means, self.eigenvalues, self.weights)
        self.weights = self.weights / self.weights.sum()  # which float32 leaves at 1 ± 1e-7

    def narrowest_variance(self) -> float:
        """The least variance along any axis of any component, squared data units."""
        return self.eigenvalues.min().item()

    def widest_variance(self) -> float:
        """The largest variance along any axis of any component, squared data units."""
        return self.eigenvalues.max().item()

    @property
    def variances(self) -> Tensor:
        """Diagonals of the covariances, (K, d), of a mixture whose covariances are diagonal."""
        if self.eigenvectors is not None:
            raise ValueError("variances: these covariances are not diagonal, see covariances")
        return self.eigenvalues

    @property
    def covariances(self) -> Tensor:
        """(K, d, d)."""
        if self.eigenvectors is None:
            return torch.diag_embed(self.eigenvalues)
        return (self.eigenvectors * self.eigenvalues[:, None, :]) @ self.eigenvectors.mT

    @classmethod
    def ring(
        cls, n_modes: int = 8, radius: float = 4.0, std: float = 0.25, weights: ArrayLike | None = None
    ) -> GaussianMixture:
        """Isotropic modes at equal angles on a circle: Ding, Quan and Tu, Eq. 43 and 44."""
        n_modes = checked_integer("n_modes", n_modes, 1)
        angle = 2.0 * math.pi * torch.arange(n_modes, dtype=torch.float64, device="cpu") / n_modes
        means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        return cls(means, std=std, weights=weights)

    def __repr__(self) -> str:
        count = f"{len(self.weights):,} components, " if type(self) is GaussianMixture else ""
        return f"{type(self).__name__}({count}dim={self.dim})"

    def settings(self) -> dict[str, object]:
        full = self.eigenvectors is not None
        return {
            "kind": type(self).__name__,
            "means": self.means.tolist(),
            **({"covariances": self.covariances.tolist()} if full else {"variances": self.variances.tolist()}),
            "weights": self.weights.tolist(),
        }

    def source(self, table: ops.StepTable) -> ops.MixtureSource:
        """The fused kernels' form of this law at the nodes of a step table."""
        if self.eigenvectors is not None:
            raise NotFusable("the kernels take diagonal covariances alone")
        return ops.MixtureSource(self.means, self.variances, self.weights, table.mean_scale, table.variance)

    def evaluate(self, x: Tensor, t: float, process: LinearProcess) -> ops.MixtureScore:
        check_tensor("x", x, "n", self.dim, any_float=True)
        return self._diffused(x, *transition(t, process))

    def _diffused(self, x: Tensor, m: float, v: float) -> ops.MixtureScore:
        """``Σ_c w_c N(m μ_c, m² Σ_c + v I)`` at points x, in blocks, so that memory does not grow with n K d."""
        means, eigenvalues = m * self.means, m * m * self.eigenvalues + v
        if self.eigenvectors is not None:
            basis = self.eigenvectors.to(x)
            parts = [
                full_mixture_score(block, means, eigenvalues, basis, self.weights)
                for block in torch.split(x, max(1, _BLOCK // means.numel()))
            ]
        elif self._in_kernel(x):
            wide = len(self.means) > _MANY and x.dtype == torch.float32
            out = ops.mixture_score(x.double() if wide else x, means, eigenvalues, self.weights)
            return ops.MixtureScore(*(part.to(x.dtype) for part in out))
        else:
            parts = [
                ops.mixture_score_reference(block, means, eigenvalues, self.weights)
                for block in torch.split(x, max(1, _BLOCK // means.numel()))
            ]
        return ops.MixtureScore(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _in_kernel(self, x: Tensor) -> bool:
        there = x.device.type == "cpu" or (x.device.type == "cuda" and not cuda_absence())
        return there and x.dtype in PRECISIONS and not x.requires_grad and self.dim <= MAX_DIM

    def entropy(self) -> float:
        """``−∫ p log p``, nats, at data time.

        One component: ``½ Σ log(2πe λ_i)``. More: in one and two dimensions, by adaptive quadrature to an absolute
        error below 1e-9; in more there is no closed form and a ValueError says so.
        """
        present = self.weights > 0
        if int(present.sum()) == 1:
            return 0.5 * (2.0 * math.pi * math.e * self.eigenvalues[present]).log().sum().item()
        if self.dim > 2:
            raise ValueError(
                f"entropy: that of a mixture is known for one component, or in one and two dimensions by quadrature, "
                f"not for {len(self.weights)} components in {self.dim}; average −log_prob over samples instead"
            )
        extent = self.eigenvalues[present].sqrt()
        scales = torch.stack([extent.amin(1), extent.amax(1)], dim=1)
        return entropy_by_quadrature(self._log_density, self.means[present], scales)

    def _log_density(self, x: Tensor) -> Tensor:
        """``log p`` alone at data time, (n,): a tenth of the work of all three."""
        if self.eigenvectors is not None:
            return self._diffused(x, 1.0, 0.0).log_density
        log_normaliser = self.weights.log() - 0.5 * (2.0 * math.pi * self.eigenvalues).log().sum(1)  # (K,)
        parts = []
        for block in torch.split(x, max(1, _BLOCK // len(self.means))):
            log_components = log_normaliser.expand(len(block), -1)  # (n, K)
            for axis in range(self.dim):
                square = (self.means[:, axis] - block[:, axis, None]).square()
                log_components = torch.addcdiv(log_components, square, self.eigenvalues[:, axis], value=-0.5)
            parts.append(log_components.logsumexp(1))
        return torch.cat(parts)

    def component(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        """The component that each point of :meth:`sample` comes from, (n,) int64."""
        choice = ops.normals(n, 1, seed=seed, path_offset=path_offset, purpose="component")[:, 0]
        uniform = torch.special.ndtr(choice.to(torch.float64))
        edges = self.weights.cumsum(0)
        return torch.searchsorted(edges / edges[-1], uniform, right=True).clamp_max(len(edges) - 1)

    def most_probable_component(self, x: Tensor, t: float, process: LinearProcess) -> Tensor:
        """The component of largest responsibility ``w_c N(x; m μ_c, m² Σ_c + v I)``, (n,) int64; of equals the first.

        Parameters
        ----------
        x : Tensor
            (n, d).
        t : float
            Time of the process; 0 is the data.
        """
        m, v = transition(t, process)
        points = x.detach().to("cpu", torch.float64)
        best = torch.full((len(points),), -math.inf, dtype=torch.float64, device="cpu")
        component = torch.zeros(len(points), dtype=torch.int64, device="cpu")
        for c, log_weight in enumerate(self.weights.log()):  # one component at a time: (n, d) in memory, not (n, K, d)
            variances = m * m * self.eigenvalues[c] + v
            difference = points - m * self.means[c]
            along = difference if self.eigenvectors is None else difference @ self.eigenvectors[c]
            squares = (along.square() / variances).sum(1)
            log_density = log_weight - 0.5 * (squares + variances.log().sum())
            better = log_density > best
            component[better] = c
            best = torch.where(better, log_density, best)
        return component

    def sample(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        component, z = self.component(n, seed, path_offset), self._normals(n, seed, path_offset)
        size = max(1, _BLOCK // (4 * self.dim))
        blocks = zip(torch.split(component, size), torch.split(z, size), strict=True)
        return torch.cat([self._placed(*block) for block in blocks]) if n else z

    def sample_together(self, n: int, seed: int = 0, path_offset: int = 0) -> Tensor:
        """:meth:`sample` to rounding, which may depend on `n` and `path_offset`: several times quicker."""
        if len(self.means) > 1 or self.eigenvectors is None:
            return self.sample(n, seed, path_offset)
        shift = self.eigenvalues.sqrt() * self._normals(n, seed, path_offset)
        return torch.addmm(self.means, shift, self.eigenvectors[0].T)

    def _normals(self, n: int, seed: int, path_offset: int) -> Tensor:
        """(n, d). Number 0 of the stream chose the component; its block is left alone."""
        return ops.normals(
            n, self.dim, seed=seed, path_offset=path_offset, purpose="component", first=4, dtype=torch.float64
        )

    def _placed(self, component: Tensor, z: Tensor) -> Tensor:
        """Standard normals (n, d) as points of their components."""
        which = slice(0, 1) if len(self.means) == 1 else component
        shift = self.eigenvalues[which].sqrt() * z
        if self.eigenvectors is None:
            return self.means[which] + shift
        # Axis by axis: a matrix product may round a point differently in other company.
        x = self.means[which]
        for axis in range(self.dim):
            x = x + self.eigenvectors[which, :, axis] * shift[:, axis, None]
        return x


class Gaussian(GaussianMixture):
    """``N(mean, covariance)``.

    Parameters
    ----------
    mean : array
        (d,).
    covariance : float or array, optional
        A number, a diagonal (d,), or a matrix (d, d), symmetric and positive definite; 1 where left out.
    std : float or array, optional
        In the place of `covariance`: a number or (d,), the standard deviation of each component.
    """

    def __init__(self, mean: ArrayLike, covariance: ArrayLike | None = None, *, std: ArrayLike | None = None) -> None:
        mean = checked_array("mean", mean)
        if mean.dim() != 1 or not len(mean):
            raise ValueError(f"mean: expected (d,), got {tuple(mean.shape)}")
        dim = len(mean)
        if std is not None:
            if covariance is not None:
                raise ValueError("covariance, std: expected one of the two")
            std = checked_array("std", std)
            if std.shape not in ((), (dim,)) or not bool((std > 0).all()):
                raise ValueError(f"std: expected a positive number or ({dim},) of them as mean has it, got {std}")
            covariance = std.square()
        covariance = checked_array("covariance", 1.0 if covariance is None else covariance)
        if covariance.shape not in ((), (dim,), (dim, dim)):
            raise ValueError(
                f"covariance: expected a number, ({dim},) or ({dim}, {dim}) as mean has it, "
                f"got {tuple(covariance.shape)}"
            )
        if covariance.dim() == 2:
            eigenbasis("covariance", covariance[None])
            super().__init__(mean[None], covariances=covariance[None])
        else:
            if not bool((covariance > 0).all()):
                raise ValueError(f"covariance: expected positive variances, got {covariance.min().item():g}")
            super().__init__(mean[None], variances=covariance.expand(dim)[None])
