"""Overdamped Langevin systems, ``dx = F(x, t) dt + √(2𝐃) dw`` (Itô): forces and diffusion coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thermokern.models.trial import check_constant
from thermokern.ops.checks import LARGEST, checked_array
from thermokern.ops.contexts import differentiable, usable

Field = Callable[[Tensor, float], Tensor]  # (x (n, d), t) -> (n, d), or (n,) for a scalar


class LinearForce:
    """``F(x) = −A (x − μ)``, for the fused kernels and with moments in closed form.

    Parameters
    ----------
    matrix : array
        (d, d), A; or a number, times the identity of μ's dimension.
    center : array, optional
        (d,), μ; the origin when left out.
    """

    def __init__(self, matrix: Tensor | np.ndarray | list[list[float]] | float, center: object = None) -> None:
        a = checked_array("matrix", matrix)
        mu = None if center is None else checked_array("center", center)
        if a.dim() == 0 and mu is not None and mu.dim() == 1:
            a = a * torch.eye(len(mu), dtype=torch.float64, device="cpu")
        if a.dim() != 2 or a.shape[0] != a.shape[1] or not a.shape[0]:
            raise ValueError(f"matrix: expected (d, d), got {tuple(a.shape)}")
        self.dim = a.shape[0]
        mu = torch.zeros(self.dim, dtype=torch.float64, device="cpu") if mu is None else mu
        if mu.shape != (self.dim,):
            raise ValueError(f"center: expected ({self.dim},) to match matrix, got {tuple(mu.shape)}")
        self.matrix, self.center = a, mu

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """(n, d) to (n, d)."""
        return -(x - self.center.to(x)) @ self.matrix.T.to(x)

    def __repr__(self) -> str:
        return f"LinearForce({self.matrix.tolist()}, {self.center.tolist()})"

    def is_balanced(self, diffusion: Tensor) -> bool:
        """Whether detailed balance holds with the diffusion matrix (d, d): A 𝐃 is symmetric, bit for bit."""
        product = self.matrix @ diffusion
        return torch.equal(product, product.T)

    def is_stable(self) -> bool:
        """Whether there is a stationary law: every eigenvalue of A has a positive real part."""
        return bool((torch.linalg.eigvals(self.matrix).real > 0).all())

    def heat_matrix(self, diffusion: Tensor) -> Tensor:
        """``𝐃⁻¹A`` (d, d): the bath gains ``−(x − μ)ᵀ(𝐃⁻¹A)ᵀ ∘ dx``. Exactly symmetric under detailed balance."""
        heat: Tensor = torch.linalg.solve(diffusion, self.matrix)
        return 0.5 * (heat + heat.T) if self.is_balanced(diffusion) else heat

    def stationary_precision(self, diffusion: Tensor) -> Tensor:
        """``Σ⁻¹`` (d, d), with Σ of ``AΣ + ΣAᵀ = 2𝐃``; under detailed balance it is exactly ``𝐃⁻¹A``.

        Cost: a linear system of d² unknowns.
        """
        if not self.is_stable():
            raise ValueError("matrix: there is no stationary law, since an eigenvalue has no positive real part")
        if self.is_balanced(diffusion):
            return self.heat_matrix(diffusion)
        inverse: Tensor = torch.linalg.inv(self.stationary_covariance(diffusion))
        return 0.5 * (inverse + inverse.T)

    def stationary_covariance(self, diffusion: Tensor) -> Tensor:
        """Σ (d, d), the solution of ``AΣ + ΣAᵀ = 2𝐃``."""
        if not self.is_stable():
            raise ValueError("matrix: there is no stationary law, since an eigenvalue has no positive real part")
        identity = torch.eye(self.dim, dtype=torch.float64, device="cpu")
        system = torch.kron(self.matrix, identity) + torch.kron(identity, self.matrix)
        sigma: Tensor = torch.linalg.solve(system, 2.0 * diffusion.reshape(-1)).reshape(self.dim, self.dim)
        return 0.5 * (sigma + sigma.T)

    def moments(self, mean: Tensor, covariance: Tensor, diffusion: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) at time `t` of the Gaussian that starts with these.

        ``μ + e^{−At}(m − μ)`` and ``e^{−At} C e^{−Aᵀt} + ∫_0^t e^{−As} 2𝐃 e^{−Aᵀs} ds``: with a stationary law the
        integral is ``Σ − e^{−At} Σ e^{−Aᵀt}``, else Van Loan's matrix exponential.
        """
        decay = torch.linalg.matrix_exp(-self.matrix * t)
        if self.is_stable():
            sigma = self.stationary_covariance(diffusion)
            spread = sigma + decay @ (covariance - sigma) @ decay.T
        else:
            blocks = (
                torch.cat([-self.matrix, 2.0 * diffusion], dim=1),
                torch.cat([torch.zeros_like(self.matrix), self.matrix.T], dim=1),
            )
            gain = torch.linalg.matrix_exp(torch.cat(blocks) * t)[: self.dim, self.dim :]
            spread = decay @ covariance @ decay.T + gain @ decay.T
        return self.center + decay @ (mean - self.center), 0.5 * (spread + spread.T)


@dataclass(frozen=True)
class ConstantDiffusion:
    """𝐃 (d, d), symmetric and positive definite; `factor` is the lower triangle with ``factor factorᵀ = 2𝐃``."""

    matrix: Tensor
    factor: Tensor
    inverse: Tensor

    def kick(self, x: Tensor, t: float, z: Tensor) -> Tensor:
        """``√(2𝐃) z``, (n, d)."""
        return z @ self.factor.T.to(x)

    def heat_force(self, x: Tensor, t: float, force: Tensor) -> Tensor:
        """``𝐃⁻¹F``, (n, d)."""
        return force @ self.inverse.to(x)


@dataclass(frozen=True)
class DiffusionField:
    """``D(x, t)`` for each axis, (n, d), or one for all, (n,)."""

    function: Field

    def values(self, x: Tensor, t: float) -> Tensor:
        """(n, d), or (n, 1) where one number serves all axes."""
        out = self.function(x, t)
        if not isinstance(out, Tensor) or out.shape not in (x.shape, x.shape[:1]):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"diffusion: expected {tuple(x.shape)} or {tuple(x.shape[:1])}, got {got}")
        return out[:, None] if out.dim() == 1 else out

    def kick(self, x: Tensor, t: float, z: Tensor) -> Tensor:
        return (2.0 * self.values(x, t)).sqrt() * z

    def heat_force(self, x: Tensor, t: float, force: Tensor) -> Tensor:
        """``(F_i − ∂_i D_i)/D_i``, (n, d), the gradient by autograd."""
        with differentiable():
            points = usable(x).detach().requires_grad_()
            d = self.values(points, t)
            columns = d.expand_as(points)
            slopes = [
                gradient("diffusion", lambda p: self.values(p, t), columns[:, i].sum(), points)[:, i]
                for i in range(x.shape[1])
            ]
        return (force - torch.stack(slopes, dim=1)) / d.detach()


def gradient(name: str, function: Callable[[Tensor], Tensor], total: Tensor, points: Tensor) -> Tensor:
    """``∂ total/∂ points``; zero where `function`, whose values `total` sums, is a constant, or an error names it."""
    slope = None
    if total.requires_grad:
        (slope,) = torch.autograd.grad(total, points, retain_graph=True, allow_unused=True)
    if slope is None:
        check_constant(name, function, points)
        return torch.zeros_like(points)
    return slope


def as_diffusion(diffusion: object, dim: int) -> ConstantDiffusion | DiffusionField:
    """A number, (d,) or (d, d) as a constant 𝐃; a callable ``(x, t) -> (n,) or (n, d)`` as a field."""
    if callable(diffusion):
        return DiffusionField(diffusion)
    matrix = checked_array("diffusion", diffusion)
    if matrix.dim() == 0:
        matrix = matrix * torch.eye(dim, dtype=torch.float64, device="cpu")
    elif matrix.shape == (dim,):
        matrix = torch.diag(matrix)
    if matrix.shape != (dim, dim):
        shape = tuple(matrix.shape)
        raise ValueError(f"diffusion: expected a number, ({dim},), ({dim}, {dim}) or a callable, got {shape}")
    if not torch.equal(matrix, matrix.T):
        raise ValueError("diffusion: expected a symmetric matrix")
    if matrix.abs().max().item() > LARGEST:
        raise ValueError(f"diffusion: expected numbers of at most {LARGEST:g}, whose squares are numbers")
    factor, failed = torch.linalg.cholesky_ex(2.0 * matrix)
    if int(failed):
        raise ValueError("diffusion: expected a positive definite matrix")
    inverse = torch.linalg.inv(matrix)
    return ConstantDiffusion(matrix, factor, 0.5 * (inverse + inverse.T))
