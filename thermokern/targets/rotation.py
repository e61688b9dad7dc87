"""Mixtures that one rotation makes diagonal, for the fused kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thermokern.targets.mixture import Gaussian, GaussianMixture

# Largest correlation that may be left between the rotated axes. Leaving it out changes scores by as much, relatively:
# no more than float32 does, in which the kernels compute.
CORRELATION = 1e-7


class Rotation(NamedTuple):
    """Two mixtures in axes in which every covariance is diagonal."""

    matrix: Tensor  # (d, d) float64, the new axes in its columns: y = x @ matrix
    model: GaussianMixture
    reference: GaussianMixture

    def turn(self, x: Tensor) -> Tensor:
        """Points (n, d) in the new axes, in their dtype; the bits of one do not depend on the others."""
        return _times(x, self.matrix)

    def turn_back(self, x: Tensor) -> Tensor:
        """Points (n, d) of the new axes in the old ones, likewise."""
        return _times(x, self.matrix.T)


def rotate(model: GaussianMixture, reference: GaussianMixture) -> Rotation | None:
    """The rotation R after which both mixtures are diagonal: ``N(μ, Σ)`` becomes ``N(Rᵀμ, RᵀΣR)``.

    There is one where all covariances commute: for a Gaussian of full covariance beside an isotropic law, or beside any
    law of the same principal axes. Isotropic components keep their variances; their means turn with the others.

    Parameters
    ----------
    model, reference : GaussianMixture
        Of the same dimension.

    Returns
    -------
    Rotation or None
        None where no rotation brings every correlation below ``CORRELATION``. The identity where both mixtures are
        diagonal already.

    Notes
    -----
    With ``y = Rᵀx`` a path ``x_{k+1} = F x_k + G z_k`` is ``y_{k+1} = F y_k + G z'_k``, ``z'_k = Rᵀz_k``; scores turn
    with it, ``s(x) = R s_y(Rᵀx)``, and divergences, densities and Δs stay. The noise that a seed draws is then the
    noise **in the eigenbasis**, z'. It has the same law, but to follow an unrotated path number by number with the same
    seed, rotate its noise: ``z_k = R z'_k``, at the start too. Points that a caller gives (`x0`) turn into ``x0 @ R``.
    """
    for name, law in {"model": model, "reference": reference}.items():
        if not isinstance(law, GaussianMixture):
            raise TypeError(f"{name}: expected a Gaussian or a GaussianMixture, got {type(law).__name__}")
    if model.dim != reference.dim:
        raise ValueError(f"reference: expected dimension {model.dim} to match model, got {reference.dim}")
    if model.eigenvectors is None and reference.eigenvectors is None:
        return Rotation(torch.eye(model.dim, dtype=torch.float64, device="cpu"), model, reference)
    covariances = torch.cat([_anisotropic(model), _anisotropic(reference)])
    matrix, correlation = _common_eigenbasis(covariances)
    if correlation > CORRELATION:
        return None
    return Rotation(matrix, _rotated(model, matrix), _rotated(reference, matrix))


def common_axes(model: object, reference: object) -> Rotation | None:
    """:func:`rotate` of two scores where it is of use: two mixtures, not both diagonal already; else None."""
    if not isinstance(model, GaussianMixture) or not isinstance(reference, GaussianMixture):
        return None
    if model.eigenvectors is None and reference.eigenvectors is None:
        return None
    return rotate(model, reference)


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    """``x @ matrix``, number by number: BLAS may round a row differently in batches of different size."""
    matrix = matrix.to(x.dtype)
    out = torch.zeros_like(x)
    for column, row in zip(x.unbind(1), matrix, strict=True):
        out = out + column[:, None] * row
    return out


def _anisotropic(law: GaussianMixture) -> Tensor:
    """Covariances (·, d, d) that are not multiples of the identity, of the components that are there."""
    chosen = (law.eigenvalues.amax(1) > law.eigenvalues.amin(1)) & (law.weights > 0)
    return law.covariances[chosen]


def _common_eigenbasis(covariances: Tensor) -> tuple[Tensor, float]:
    """The rotation (d, d) that leaves the least correlation in covariances (K, d, d), and that correlation.

    Commuting matrices share the eigenvectors of almost every linear combination of them. Three are tried, in case one
    has equal eigenvalues where its parts do not.
    """
    shapes = covariances / covariances.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    best, least = torch.eye(covariances.shape[1], dtype=torch.float64, device="cpu"), float("inf")
    index = torch.arange(1, len(shapes) + 1, dtype=torch.float64, device="cpu")
    for irrational in (0.6180339887498949, 0.41421356237309515, 0.7320508075688772):
        coefficients = 0.5 + (index * irrational) % 1.0
        basis = torch.linalg.eigh((coefficients[:, None, None] * shapes).sum(0)).eigenvectors
        signs = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        basis = basis * signs
        if torch.linalg.det(basis) < 0:
            basis[:, -1] = -basis[:, -1]
        turned = basis.mT @ covariances @ basis
        variances = turned.diagonal(dim1=1, dim2=2)
        products = variances[:, :, None] * variances[:, None, :]
        correlation = ((turned - torch.diag_embed(variances)).abs() / products.sqrt()).max().item()
        if correlation < least:
            best, least = basis, correlation
    return best, least


def _rotated(law: GaussianMixture, matrix: Tensor) -> GaussianMixture:
    variances = (matrix.mT @ law.covariances @ matrix).diagonal(dim1=1, dim2=2)
    means = law.means @ matrix
    if isinstance(law, Gaussian):
        return Gaussian(means[0], variances[0])
    return GaussianMixture(means, variances=variances, weights=law.weights)
