"""Make the table of thermokern/quantities/shared_neighbours.py; its docstring has the formulas. Needs scipy.

    python benchmarks/shared_neighbours.py [--dims 1 2 3] [--scale 1.0]

σ²(d, k) is a quadrature over the volume w of the ball that reaches from one point to the other, and the volumes a, b of
the balls around both, on logarithmic grids whose cells end where a = w and b = w: with A, B, I Poisson counts of both
balls less what they share and of that, P(X_0 > log a, X_z > log b) = Σ_j P(I = j) P(A < k − j − [a > w]) P(B < …).
Var(X − m/k) is counted on points in a periodic box. About half an hour at --scale 1.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import integrate, spatial, special

KS = 12
STEP = {1: 0.05}  # of the logarithmic grid; 0.1 in more dimensions, where the integrand is smoother
# Points and samples for each d; from d = 6 on by all pairs.
PLAN = {
    1: (100_000, 30),
    2: (100_000, 20),
    3: (100_000, 12),
    4: (60_000, 12),
    5: (40_000, 12),
    6: (20_000, 8),
    8: (20_000, 6),
    10: (20_000, 6),
}
LEAST = -12.0  # log volume where the grids begin


def poisson(rate: np.ndarray, most: int) -> np.ndarray:
    """P(N = 0 … most), (most + 1, …)."""
    out = np.empty((most + 1, *rate.shape))
    out[0] = np.exp(-rate)
    for j in range(1, most + 1):
        out[j] = out[j - 1] * rate / j
    return out


def shared_volume(ra: np.ndarray, rb: np.ndarray, apart: float, d: int) -> np.ndarray:
    """Volume that balls of radii ra, rb share at a distance, in units where a ball of radius 1 has volume 1."""

    def cap(height: np.ndarray, r: np.ndarray) -> np.ndarray:
        x = np.clip(height / r, -1.0, 1.0)
        part = 0.5 * special.betainc(0.5 * (d + 1), 0.5, 1.0 - x * x)
        return r**d * np.where(x >= 0.0, part, 1.0 - part)

    plane = (apart**2 + ra**2 - rb**2) / (2.0 * apart)
    lens = cap(plane, ra) + cap(apart - plane, rb)
    least = np.minimum(ra, rb) ** d
    lens = np.where(apart >= ra + rb, 0.0, np.where(apart <= np.abs(ra - rb), least, lens))
    return np.clip(lens, 0.0, least)


def mean_shift(k: int, w: float) -> float:
    """How much a further point at volume w takes off E[X], E_1(w) or Q(k − 1, w)/(k − 1)."""
    return float(special.exp1(w) if k == 1 else special.gammaincc(k - 1, w) / (k - 1))


def squared_shift(k: int) -> float:
    return sum(
        integrate.quad(lambda w: mean_shift(k, w) ** 2, low, high, limit=200)[0] for low, high in ((0, 1), (1, np.inf))
    )


def variance(d: int) -> np.ndarray:
    """σ²(d, k) for k = 1 … KS."""
    step, top = STEP.get(d, 0.1), np.log(KS + 9.0 * np.sqrt(KS) + 18.0)
    first = np.floor(LEAST / step)
    volume = np.exp((np.arange(first, np.ceil(top / step)) + 0.5) * step)
    one, other = np.triu_indices(len(volume))
    weight = np.where(one == other, 1.0, 2.0)
    alone = np.cumsum(poisson(volume, KS), 0)  # P(N ≤ j)
    covariance = np.zeros(KS)
    for w in np.exp(np.arange(first, np.ceil((top + d * np.log(2.0)) / step) + 1) * step):
        shared = shared_volume(volume[one] ** (1 / d), volume[other] ** (1 / d), w ** (1 / d), d)
        kept = shared > 0.0  # the others are independent
        a, b, shared, i, j = volume[one][kept], volume[other][kept], shared[kept], one[kept], other[kept]
        both = poisson(shared, KS)
        left, right = (np.cumsum(poisson(v - shared, KS), 0) for v in (a, b))
        own, rows = ((a > w).astype(int), (b > w).astype(int)), np.arange(len(a))

        def below(table: np.ndarray, count: np.ndarray, column: np.ndarray) -> np.ndarray:
            return np.where(count >= 0, table[np.maximum(count, 0), column], 0.0)

        for k in range(1, KS + 1):
            joint = sum(
                both[c] * below(left, k - 1 - own[0] - c, rows) * below(right, k - 1 - own[1] - c, rows)
                for c in range(k)
            )
            apart = below(alone, k - 1 - own[0], i) * below(alone, k - 1 - own[1], j)
            covariance[k - 1] += w * step**3 * np.sum(weight[kept] * (joint - apart))
    ks = np.arange(1, KS + 1)
    return special.polygamma(1, ks) + covariance + np.array([squared_shift(k) for k in ks]) - 1.0


def neighbours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices of the KS nearest others on the torus."""
    if x.shape[1] < 6:
        near, who = spatial.cKDTree(x, boxsize=1.0).query(x, KS + 1)
        return near[:, 1:], who[:, 1:]
    near, who = [], []
    for low in range(0, len(x), 200):
        squares = np.zeros((len(x[low : low + 200]), len(x)), dtype=np.float32)
        for column in x.T.astype(np.float32):
            off = np.abs(column[low : low + 200, None] - column[None])
            squares += np.minimum(off, 1.0 - off) ** 2
        found = np.argpartition(squares, KS + 1, axis=1)[:, : KS + 1]
        values = np.take_along_axis(squares, found, 1)
        order = np.argsort(values, axis=1)[:, 1:]
        near.append(np.sqrt(np.take_along_axis(values, order, 1).astype(float)))
        who.append(np.take_along_axis(found, order, 1))
    return np.concatenate(near), np.concatenate(who)


def jackknife(d: int, n: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Var(X − m/k) for k = 1 … KS, and its standard error."""
    rows = []
    for seed in range(samples):
        near, who = neighbours(np.random.default_rng(100 * d + seed).random((n, d)))
        local = d * np.log(near)
        rows.append(
            [(local[:, k - 1] - np.bincount(who[:, :k].ravel(), minlength=n) / k).var() for k in range(1, KS + 1)]
        )
    return np.mean(rows, 0), np.std(rows, 0, ddof=1) / np.sqrt(samples)


def infinite() -> np.ndarray:
    """e(∞, k)."""
    out = []
    for k in range(1, KS + 1):
        cross = sum(
            integrate.quad(lambda w, k=k: special.gammaincc(k, w) * mean_shift(k, w), low, high)[0]
            for low, high in ((0, 1), (1, np.inf))
        )
        out.append(1.0 / k + 2.0 * cross / k - squared_shift(k))
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=list(PLAN))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the points")
    options = parser.parse_args()
    for d in options.dims:
        n, samples = PLAN[d]
        found, error = jackknife(d, int(options.scale * n), samples)
        sigma = variance(d)
        print(f"{d}: ({', '.join(f'{v:.4f}' for v in found - sigma)}),  # ± {error[0]:.4f} at k = 1", flush=True)
        print(f"   σ²: {', '.join(f'{v:.4f}' for v in sigma)}", flush=True)
    print(f"inf: ({', '.join(f'{v:.4f}' for v in infinite())})")


if __name__ == "__main__":
    main()
