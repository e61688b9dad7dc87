"""What a jackknife of the nearest-neighbour entropy counts too often.

On the scale of a neighbourhood the points of any smooth density are Poisson points. With ``X = log(volume of the ball
that reaches a point's k-th neighbour)`` and m the number of points that have it among their k nearest, n times the
variance of the mean of X over n independent points of a uniform law tends to

    σ²(d, k) = ψ'(k) + ∫ (Cov_z[X_0, X_z] + (E_z[X_0] − ψ(k))²) dz − 1,

the integral over the place z of a second point, which is known to be there (Penrose and Yukich, 2013; its value for
k = 1 is that of Delattre and Fournier, 2017). For another density the variance of log p adds to it. The jackknife's
``Var(X − m/k)`` has the same first part, and more: ``e(d, k) = Var(X − m/k) − σ²(d, k)`` on Poisson points, a number.

``benchmarks/shared_neighbours.py`` makes the table: σ² by quadrature, the rest from at least 120,000 points in a
periodic box, with an error below 0.03 at k = 1, which falls as 1/k. The last row, infinite d, is exact: there the balls
of two points have nothing in common but the points themselves, and

    e(∞, k) = 1/k + (2/k) ∫ Q(k, w) G(w) dw − ∫ G(w)² dw,   G(w) = Q(k − 1, w)/(k − 1), or E_1(w) for k = 1,

Q the regularised upper incomplete gamma function.
"""

from __future__ import annotations

import math

# e(d, k) for k = 1 … 12.
EXCESS: dict[float, tuple[float, ...]] = {
    1: (0.8098, 0.3311, 0.2038, 0.1484, 0.1171, 0.0973, 0.0834, 0.0733, 0.0653, 0.0590, 0.0538, 0.0495),
    2: (0.8858, 0.4033, 0.2725, 0.2088, 0.1686, 0.1420, 0.1230, 0.1086, 0.0975, 0.0884, 0.0807, 0.0744),
    3: (0.9157, 0.4629, 0.3252, 0.2506, 0.2041, 0.1723, 0.1491, 0.1312, 0.1174, 0.1061, 0.0968, 0.0891),
    4: (0.9338, 0.5169, 0.3633, 0.2810, 0.2289, 0.1936, 0.1673, 0.1471, 0.1315, 0.1192, 0.1089, 0.1004),
    5: (0.9445, 0.5574, 0.3962, 0.3049, 0.2488, 0.2095, 0.1812, 0.1598, 0.1429, 0.1296, 0.1185, 0.1089),
    6: (0.9374, 0.5868, 0.4233, 0.3269, 0.2655, 0.2265, 0.1970, 0.1736, 0.1552, 0.1400, 0.1275, 0.1171),
    8: (0.9749, 0.6407, 0.4593, 0.3579, 0.2909, 0.2465, 0.2142, 0.1889, 0.1691, 0.1528, 0.1403, 0.1288),
    10: (0.9736, 0.6695, 0.4827, 0.3758, 0.3089, 0.2609, 0.2248, 0.1977, 0.1777, 0.1611, 0.1475, 0.1348),
    math.inf: (1.0000, 0.7500, 0.5417, 0.4219, 0.3453, 0.2923, 0.2535, 0.2238, 0.2004, 0.1815, 0.1658, 0.1527),
}


def excess(dim: int, k: int) -> float:
    """``e(d, k)``: between tabulated d linear in 1/d, beyond the last k as 1/k."""
    last = len(EXCESS[1])
    column = min(k, last) - 1
    if dim in EXCESS:
        value = EXCESS[dim][column]
    else:
        low, high = max(d for d in EXCESS if d < dim), min(d for d in EXCESS if d > dim)
        weight = (1.0 / dim - 1.0 / high) / (1.0 / low - 1.0 / high)
        value = weight * EXCESS[low][column] + (1.0 - weight) * EXCESS[high][column]
    return value * last / max(k, last)
