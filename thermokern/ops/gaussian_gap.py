"""Differences of the scores of two Gaussians at noisy points, of which information is made."""

from __future__ import annotations

import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import check_finite, check_tensor, checked_number, checked_seed, refuse_gradient
from thermokern.ops.contexts import plain_precision
from thermokern.ops.normals import normals_reference
from thermokern.ops.registry import register, run_kernel

MAX_GAP_DIM = _core.MAX_GAP_DIM
_NAMES = ("from_first", "from_second", "rotation", "first", "second", "centre", "mean_scale", "root", "noise")


@plain_precision()
def gaussian_gap_reference(
    from_first: Tensor,
    from_second: Tensor,
    rotation: Tensor,
    first: Tensor,
    second: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    *,
    reference: float = 1.0,
    noise: Tensor | None = None,
    seed: int = 0,
    path_offset: int = 0,
) -> Tensor:
    """:func:`gaussian_gap` in PyTorch, in the dtype of `from_first`: the specification. Differentiable."""
    _check(from_first, from_second, rotation, first, second, centre, mean_scale, root, noise)
    reference = checked_number("reference", reference, above=0.0)
    dim, n = from_first.shape
    if noise is None:
        z = normals_reference(n, dim, seed=seed, path_offset=path_offset, dtype=from_first.dtype).T.to(from_first)
    else:
        z = noise
    rotation, first, second, centre = (part.to(from_first) for part in (rotation, first, second, centre))
    m, r = mean_scale.to(from_first), root.to(from_first)

    def pushed(distance: Tensor, variance: Tensor | float) -> Tensor:
        return -r * distance / (m.square() * variance + r.square())

    apart = m * from_second + r * z  # (d, n), x minus m times the second's centre
    score = pushed(m * from_first + r * z, first[:, None])
    other = rotation.T @ pushed(rotation @ apart, second[:, None])
    rest = pushed(apart + m * centre[:, None], reference)
    gap, both = score - other, score + other
    columns = gap.square(), -gap * (both + 2.0 * z), gap * (both - 2.0 * rest)
    return 0.5 * torch.stack([column.sum(0) for column in columns])


def gaussian_gap(
    from_first: Tensor,
    from_second: Tensor,
    rotation: Tensor,
    first: Tensor,
    second: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    *,
    reference: float = 1.0,
    noise: Tensor | None = None,
    seed: int = 0,
    path_offset: int = 0,
) -> Tensor:
    """``½ v |s_1 − s_2|²`` of two Gaussians at ``x = m x_0 + √v z``, and the two differences beside it, fused.

    Gaussian i is ``N(c_i, Σ_i)`` at data time, and ``N(m c_i, m² Σ_i + v)`` where x is; τ = −z/√v, and s_r is the score
    of ``N(0, σ² 1)`` diffused alike. All vectors have the components along the eigenvectors of Σ_1, one row an axis.

    Parameters
    ----------
    from_first, from_second : Tensor
        (d, n) float32 or float64, on the CPU or a CUDA device: ``x_0 − c_1`` and ``x_0 − c_2``; c_1 may differ from
        point to point. 1 ≤ d ≤ 64.
    rotation : Tensor
        (d, d), eigenvectors of Σ_2, one a row: ``Σ_2 = Rᵀ diag(second) R``.
    first, second : Tensor
        (d,), eigenvalues of Σ_1 and Σ_2, positive.
    centre : Tensor
        (d,), c_2.
    mean_scale, root : Tensor
        (n,), m and √v > 0 of each point; or () of all, whose second score is then one product.
    reference : float
        σ².
    noise : Tensor, optional
        (d, n), z. Left out: drawn in the kernel, number i of path ``path_offset + k`` for axis i of point k, that of
        :func:`normals`.
    seed, path_offset : int

    Returns
    -------
    Tensor
        (3, n): ``½ v |s_1 − s_2|²``, ``½ v (|s_2 − τ|² − |s_1 − τ|²)``, ``½ v (|s_1 − s_r|² − |s_2 − s_r|²)``: rates
        per unit of ln(m²/v), nats.

    Notes
    -----
    Every point is bit-identical, on one instruction set, for any number of threads, any chunking and any
    `path_offset`. Cost: ``2 d²`` products a point, or ``d²`` where all share a level; ``3 d`` divisions; d normals
    where they are drawn. Memory for the output alone. No gradient: see :func:`gaussian_gap_reference`.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, Eq. 13 and App. D; Kong, Brekelmans and Ver Steeg,
    *Information-theoretic diffusion*, 2023, Eq. 9.
    """
    parts = (from_second, rotation, first, second, centre, mean_scale, root)
    _check(from_first, *parts, noise)
    given = (from_first, *parts, *(() if noise is None else (noise,)))
    refuse_gradient(**dict(zip(_NAMES, given, strict=False)))
    variance = checked_number("reference", reference, above=0.0)
    seed, path_offset = checked_seed(seed, path_offset)
    *pair, m, r = (part.detach().to(from_first).contiguous() for part in given[:8])
    drawn = None if noise is None else noise.detach().to(from_first).contiguous()
    out: Tensor = torch.ops.thermokern.gaussian_gap(
        *pair, m.reshape(-1), r.reshape(-1), m.dim() == 0, variance, drawn, seed, path_offset
    )
    return out


def _check(
    from_first: Tensor,
    from_second: Tensor,
    rotation: Tensor,
    first: Tensor,
    second: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    noise: Tensor | None,
) -> None:
    """Raise unless the arguments fit together."""
    check_tensor("from_first", from_first, "d", "n")
    dim, n = from_first.shape
    if not 1 <= dim <= MAX_GAP_DIM:
        raise ValueError(f"from_first: expected 1 to {MAX_GAP_DIM} axes, got {dim}")
    check_tensor("from_second", from_second, dim, n)
    check_tensor("rotation", rotation, dim, dim)
    variances = {"first": first, "second": second}
    for name, vector in {**variances, "centre": centre}.items():
        check_tensor(name, vector, dim)
    check_finite(rotation=rotation, centre=centre, **variances)
    for name, vector in variances.items():
        if not bool((vector > 0).all()):
            raise ValueError(f"{name}: expected positive variances, got {vector.min().item():g}")
    levels = () if isinstance(mean_scale, Tensor) and mean_scale.dim() == 0 else (n,)
    check_tensor("mean_scale", mean_scale, *levels)
    check_tensor("root", root, *levels)
    if noise is not None:
        check_tensor("noise", noise, dim, n)


def _gaussian_gap(
    from_first: Tensor,
    from_second: Tensor,
    rotation: Tensor,
    first: Tensor,
    second: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    shared: bool,
    reference: float,
    noise: Tensor | None,
    seed: int,
    path_offset: int,
) -> Tensor:
    out = from_first.new_empty(3, from_first.shape[1])
    pair = (from_first, from_second, rotation, first, second, centre)
    run_kernel("gaussian_gap", out, *pair, mean_scale, root, shared, reference, noise, seed, path_offset, out)
    return out


def _gaussian_gap_fake(from_first: Tensor, *_: object) -> Tensor:
    return from_first.new_empty(3, from_first.shape[1])


register(
    "gaussian_gap(Tensor from_first, Tensor from_second, Tensor rotation, Tensor first, Tensor second, Tensor centre,"
    " Tensor mean_scale, Tensor root, bool shared, float reference, Tensor? noise, int seed, int path_offset)"
    " -> Tensor",
    _gaussian_gap,
    _gaussian_gap_fake,
)
