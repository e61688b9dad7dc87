"""Laws whose information is known, and exact averages of integrands over Gaussians."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

import thermokern as tk
from thermokern.papers.premkumar2025.laws import flattened, full_rank
from thermokern.processes import LinearProcess
from thermokern.quantities.information.integral import Batch, Integrand
from thermokern.targets import Distribution

F64 = torch.float64


def case_a() -> tk.JointGaussian:
    """One dimension each, correlation ¾."""
    return tk.JointGaussian(1.0, 0.75, math.sqrt(1.0 - 0.75**2))


def case_b() -> tk.JointGaussian:
    """Three dimensions seen through two."""
    return tk.JointGaussian([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]], [[1.0, 0, -1], [0.5, 2, 0]], 0.5)


def case_c(flat: float) -> tk.JointGaussian:
    """Ten directions of variance 1 and fifteen of variance `flat`, in the axes of the cosine transform."""
    return flattened(flat)


def case_d(noise: float) -> tk.JointGaussian:
    """Independent components of 25 variances, fifteen observations."""
    return full_rank(noise)


def case_e() -> tk.JointGaussian:
    """Fifty dimensions, ten of them wide, eight observations."""
    return flattened(1e-2, 50, 10, 8)


CASES = {
    "A": case_a,
    "B": case_b,
    "C(1e-1)": lambda: case_c(1e-1),
    "C(1e-2)": lambda: case_c(1e-2),
    "C(1e-3)": lambda: case_c(1e-3),
    "C(1e-4)": lambda: case_c(1e-4),
    "D(1)": lambda: case_d(1.0),
    "D(.6)": lambda: case_d(0.6),
    "D(.25)": lambda: case_d(0.25),
    "D(.05)": lambda: case_d(0.05),
    "E": case_e,
}


def three_classes() -> tk.Labelled:
    """Of the line: I = 0.879519, H(Y) = 1.029653."""
    return tk.Labelled([tk.Gaussian([mean], 0.49) for mean in (-2.0, 0.0, 3.0)], [0.2, 0.5, 0.3])


def ring(radius: float, std: float) -> tk.Labelled:
    """Eight isotropic Gaussians on a circle."""
    means = tk.GaussianMixture.ring(8, radius, std).means
    return tk.Labelled([tk.Gaussian(mean, std**2) for mean in means])


def exact_average(integrand: Integrand, law: tk.Gaussian, dim: int, process: LinearProcess, log_snr: Tensor) -> Tensor:
    """Averages (k, columns) of a quadratic integrand, exact: the law and the noise at their sigma points.

    `law` is that of x, or of [x, y]; `dim` is that of x.
    """
    basis = torch.eye(law.dim, dtype=F64) if law.eigenvectors is None else law.eigenvectors[0]
    root = basis * law.eigenvalues[0].sqrt()
    size = law.dim + dim
    whole = torch.block_diag(root, torch.eye(dim, dtype=F64)).T  # (size, size), a direction to a row
    points = torch.cat([torch.zeros(1, size, dtype=F64), whole, -whole])
    centre = torch.cat([law.means[0], torch.zeros(dim, dtype=F64)])
    points = points + centre
    rows = []
    for t in process.times_at(log_snr).tolist():
        m, v = process.mean_scale(t), process.variance(t)
        x0, y, noise = points[:, :dim], points[:, dim : law.dim], points[:, law.dim :]
        times, ones = torch.full((len(points),), t, dtype=F64), torch.ones(len(points), 1, dtype=F64)
        out = integrand(Batch(m * x0 + math.sqrt(v) * noise, times, noise, math.sqrt(v) * ones, y))
        rows.append(out[0] + 0.5 * (out[1:] - out[0]).sum(0))
    return torch.stack(rows)


def integral_over_levels(
    integrand: Integrand, law: tk.Gaussian, dim: int, process: LinearProcess, low: float, high: float, nodes: int = 96
) -> Tensor:
    """``∫ E r dλ`` (columns,) by Gauss–Legendre quadrature."""
    place, weight = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(nodes))
    log_snr = 0.5 * (low + high) + 0.5 * (high - low) * place
    return 0.5 * (high - low) * weight @ exact_average(integrand, law, dim, process, log_snr)


def log_ratio(law: tk.JointGaussian, x: Tensor, y: Tensor) -> Tensor:
    """``ln p(x|y)/p(x)`` (n,) by the normal density of the joint law over those of its parts."""
    pair = torch.cat([x, y], dim=1)
    joint, one, other = (part.log_prob(points, 0.0, tk.VP()) for part, points in _parts(law, pair, x, y))
    return joint - one - other


def _parts(law: tk.JointGaussian, pair: Tensor, x: Tensor, y: Tensor) -> list[tuple[Distribution, Tensor]]:
    return [(law.joint, pair), (law.x, x), (law.y, y)]
