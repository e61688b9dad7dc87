"""The joint Gaussians of the paper's App. E, of matrices without random numbers, and what guidance makes of them.

The paper draws A and Σ_x at random and gives no seed; A is ``sin(i + 2j + ij)`` here, so that anyone has the same law.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermokern.processes import VP
from thermokern.targets import JointGaussian

PROCESS = VP()
DIM, KEPT, SEEN = 25, 10, 15  # D_X, k and D_Y of Fig. 1, 3, 9 and 10


def waves(rows: int, columns: int) -> Tensor:
    """``sin(i + 2j + ij)``, i and j from 1: (rows, columns)."""
    i = torch.arange(1.0, rows + 1, dtype=torch.float64, device="cpu")[:, None]
    j = torch.arange(1.0, columns + 1, dtype=torch.float64, device="cpu")
    return torch.sin(i + 2.0 * j + i * j)


def flattened(flat: float, dim: int = DIM, kept: int = KEPT, seen: int = SEEN) -> JointGaussian:
    """`kept` directions of variance 1 and the others of variance `flat`, in the cosine transform's axes; Eq. 18."""
    n = torch.arange(dim, dtype=torch.float64, device="cpu")
    basis = math.sqrt(2.0 / dim) * torch.cos(math.pi * (n[:, None] + 0.5) * n / dim)
    basis[:, 0] /= math.sqrt(2.0)
    return JointGaussian((basis * torch.where(n < kept, 1.0, flat)) @ basis.T, waves(seen, dim), 1.0)


def full_rank(noise: float, dim: int = DIM, seen: int = SEEN) -> JointGaussian:
    """Components of variances ``1 + ½ cos k``, seen through noise of the standard deviation `noise`."""
    variances = 1.0 + 0.5 * torch.cos(torch.arange(dim, dtype=torch.float64, device="cpu"))
    return JointGaussian(variances, waves(seen, dim), noise)


def entropy_left(law: JointGaussian, log_snr: float) -> float:
    """``KL(p_t(x) ‖ N(0, 1))`` where VP has this ln(m²/v), nats: the part of S_tot that lies at more noise."""
    m2 = 1.0 / (1.0 + math.exp(-log_snr))
    values = m2 * law.x.eigenvalues[0] + 1.0 - m2
    return 0.5 * float((values - 1.0 - values.log()).sum() + m2 * law.mean.square().sum())


def guided_law(law: JointGaussian, w: float) -> JointGaussian:
    """The joint law of y and of what the probability flow with ``(1 + w) s(x|y) − w s(x)`` makes of it.

    ``x = κ E[x|y] + noise`` of the covariance V (:meth:`JointGaussian.guided`); seen the other way round,
    ``Var(y|x) = (Σ_y⁻¹ + Bᵀ V⁻¹ B)⁻¹`` with ``B = κ dE[x|y]/dy``, without a subtraction. y is turned and scaled so that
    this is diagonal, which leaves the information as it is.
    """
    found = law.guided(w)
    regression = law.conditional_covariance @ (law.A / law.noise.square()[:, None]).T  # (d_x, d_y)
    gain = found.gain @ regression
    covariance_y = law.y.covariances[0]
    factor = torch.linalg.cholesky(found.covariance)
    seen = torch.linalg.solve_triangular(factor, gain, upper=False)  # V^(−½) B
    root = torch.linalg.cholesky(covariance_y)
    inner = torch.eye(law.dim_y, dtype=torch.float64, device="cpu") + root.T @ seen.T @ seen @ root
    values, axes = torch.linalg.eigh(inner)
    whole = found.covariance + gain @ covariance_y @ gain.T
    # E[y|x] = Var(y|x) Bᵀ V⁻¹ x, and Var(y|x) = L inner⁻¹ Lᵀ.
    towards = torch.linalg.solve_triangular(factor.T, seen, upper=True)  # V⁻¹ B
    matrix = (axes / values).T @ root.T @ towards.T
    return JointGaussian(0.5 * (whole + whole.T), matrix, values.rsqrt())
