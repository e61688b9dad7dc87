"""Differential entropy of a density in one or two dimensions, by adaptive quadrature."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-9  # absolute, nats
ORDER = 10  # Gauss–Legendre nodes along each axis of a cell
MAX_POINTS = 20_000_000
REACH = 10.0  # standard deviations beyond the centres; the mass outside is below 1e-22
_CHUNK = 65_536  # points evaluated at once


def entropy_by_quadrature(log_density: Callable[[Tensor], Tensor], centres: Tensor, scales: Tensor) -> float:
    """``−∫ p log p dx``, nats, of a density whose mass lies in bumps.

    Cells are halved along each axis until a cell's integral agrees with that of its parts.

    Parameters
    ----------
    log_density : callable
        (n, d) float64 to (n,).
    centres : Tensor
        (K, d), d at most 2: where the bumps are.
    scales : Tensor
        (K, 2): the least and the largest standard deviation of each. A cell that holds a centre is halved until it is
        as small as the bump, so that none is passed over.

    Returns
    -------
    float
        Absolute error below ``TOLERANCE``, as far as the sum of the differences between cells and their parts bounds
        it.

    Raises
    ------
    ValueError
        When that takes more than ``MAX_POINTS`` points, or the density does not integrate to one.
    """
    dim = centres.shape[1]
    margin = REACH * scales[:, 1:]
    low, high = (centres - margin).amin(0), (centres + margin).amax(0)
    nodes, weights = _rule(dim)
    corner = torch.tensor(
        list(itertools.product((0.0, 1.0), repeat=dim)), dtype=torch.float64, device="cpu"
    )  # (2^d, d)
    cells, size = low[None], high - low
    own = _integrals(log_density, cells, size, nodes, weights)
    total, error, points = torch.zeros(2, dtype=torch.float64, device="cpu"), 0.0, 0
    while len(cells):
        points += len(cells) * len(corner) * len(nodes)
        if points > MAX_POINTS:
            raise ValueError(
                f"entropy: the quadrature needs more than {MAX_POINTS} points for an error below {TOLERANCE:g}; "
                "average −log_prob over samples instead"
            )
        size = 0.5 * size
        parts = (cells[:, None] + size * corner).reshape(-1, dim)
        values = _integrals(log_density, parts, size, nodes, weights)
        by_cell = values.reshape(len(cells), len(corner), 2)
        difference = (by_cell.sum(1) - own).abs().amax(1)
        settled = (difference < 1e-3 * TOLERANCE) & ~_too_coarse(cells, 2.0 * size, centres, scales[:, 0])
        total = total + by_cell[settled].sum((0, 1))
        error += difference[settled].sum().item()
        cells = parts.reshape(len(cells), len(corner), dim)[~settled].reshape(-1, dim)
        own = by_cell[~settled].reshape(-1, 2)
    entropy, mass = total.tolist()
    if max(abs(mass - 1.0), error) > TOLERANCE:
        raise ValueError(f"entropy: the quadrature found a mass of {mass:.12g} and its error is {error:.2g} nats")
    return float(entropy)


def _rule(dim: int) -> tuple[Tensor, Tensor]:
    """Nodes (ORDER^d, d) and weights (ORDER^d,) on the unit cube."""
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(ORDER))
    grid = torch.cartesian_prod(*[0.5 * (nodes + 1.0)] * dim).reshape(-1, dim)
    return grid, torch.cartesian_prod(*[0.5 * weights] * dim).reshape(-1, dim).prod(1)


def _integrals(
    log_density: Callable[[Tensor], Tensor], cells: Tensor, size: Tensor, nodes: Tensor, weights: Tensor
) -> Tensor:
    """``−∫ p log p`` and ``∫ p`` over each cell, (cells, 2)."""
    rows = []
    for block in torch.split(cells, max(1, _CHUNK // len(nodes))):
        log_p = log_density((block[:, None] + size * nodes).reshape(-1, cells.shape[1])).reshape(len(block), -1)
        p = log_p.exp()
        rows.append(torch.stack([-(p * log_p) @ weights, p @ weights], dim=1))
    return torch.cat(rows) * size.prod()


def _too_coarse(cells: Tensor, size: Tensor, centres: Tensor, scales: Tensor) -> Tensor:
    """Whether a cell (c, d) of one `size` (d,) holds a centre whose bump is much smaller than the cell."""
    small = 8.0 * scales < size.max()
    out = torch.zeros(len(cells), dtype=torch.bool, device="cpu")
    if bool(small.any()):
        centres = centres[small]
        for low in range(0, len(cells), 4096):
            block = cells[low : low + 4096, None]
            out[low : low + 4096] = ((centres >= block) & (centres <= block + size)).all(2).any(1)
    return out
