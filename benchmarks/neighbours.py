"""Work C: the k-th nearest other point of every point of a set, k = 10, float32, the index included.

Problems are sets of normals; 10⁶ in two and three dimensions, 10⁵ in five and ten, 10⁴ and 10⁵ in twenty and fifty, and
a thousand. All contestants run in one process on as many threads, one after another in every round. Timed: from the
array to the distances, each contestant building its index as its user would; peers that would take minutes answer the
first `queries` of the points alone, and their time of querying is multiplied up (`timed_queries` in the row).

The error of a contestant is that of the mean of log r over some points, against differences in float64.
"""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import harness
import numpy as np
import torch

import thermokern as tk

K = 10
CHECKED = 500  # points whose log r is compared
PATIENCE = 2.0  # seconds that a peer's queries may take in a round

Array = np.ndarray[Any, Any]
SIZES = (
    (10**6, 2),
    (10**6, 3),
    (10**5, 5),
    (10**5, 10),
    (10**4, 20),
    (10**5, 20),
    (10**4, 50),
    (10**5, 50),
    (10**3, 3),
)
QUICK = ((10**4, 2), (10**4, 5), (3000, 20))


@dataclass
class Searcher:
    """A contestant: an index from points, and from it the distance of each of the first m to its K-th other."""

    name: str
    kind: str
    build: Callable[[Array], Any]
    query: Callable[[Any, Array, int], Array]  # index, points, m → (m,)
    whole: bool = False  # answers all points in one call
    queries: int = 0
    error: float = math.nan
    seconds: list[float] = field(default_factory=list)


def searchers(threads: int) -> tuple[list[Searcher], dict[str, str]]:
    """All that are installed, and why the others are not there."""
    found = [
        Searcher(
            "thermokern",
            "thermokern",
            lambda x: tk.KDTree(torch.from_numpy(x)),
            lambda tree, x, m: tree.neighbours(K)[:, -1].numpy(),
            whole=True,
        )
    ]
    absent: dict[str, str] = {}
    peers: dict[str, Callable[[int], Searcher]] = {
        "pykdtree": _pykdtree,
        "pynanoflann": _nanoflann,
        "scipy": _scipy,
        "sklearn": _sklearn,
        "faiss": _faiss,
    }
    for module, make in peers.items():
        try:
            importlib.import_module(module)
            found.append(make(threads))
        except ImportError as error:
            absent[module] = f"not installed ({error}); pip install 'thermokern[bench]'"
    return found, absent


def _pykdtree(threads: int) -> Searcher:
    from pykdtree.kdtree import KDTree  # its threads are OpenMP's, which run.py sets

    return Searcher("pykdtree", "peer", KDTree, lambda tree, x, m: tree.query(x[:m], k=K + 1)[0][:, -1])


def _nanoflann(threads: int) -> Searcher:
    import pynanoflann

    def build(x: Array) -> Any:
        tree = pynanoflann.KDTree(n_neighbors=K + 1, metric="L2", leaf_size=10)
        tree.fit(x)
        return tree

    return Searcher("nanoflann", "peer", build, lambda tree, x, m: tree.kneighbors(x[:m], n_jobs=threads)[0][:, -1])


def _scipy(threads: int) -> Searcher:
    from scipy.spatial import cKDTree

    return Searcher(
        "SciPy cKDTree", "peer", cKDTree, lambda tree, x, m: tree.query(x[:m], k=[K + 1], workers=threads)[0][:, 0]
    )


def _sklearn(threads: int) -> Searcher:
    from sklearn.neighbors import NearestNeighbors

    return Searcher(
        "scikit-learn",
        "peer",
        lambda x: NearestNeighbors(n_neighbors=K + 1, n_jobs=threads).fit(x),  # it chooses the algorithm
        lambda index, x, m: index.kneighbors(x[:m])[0][:, -1],
    )


def _faiss(threads: int) -> Searcher:
    import faiss

    faiss.omp_set_num_threads(threads)

    def build(x: Array) -> Any:
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x)
        return index

    # Its distances are squares, |x|² + |y|² − 2 x·y in blocks of many queries, and may be negative.
    return Searcher(
        "faiss IndexFlatL2",
        "peer",
        build,
        lambda index, x, m: np.sqrt(np.maximum(index.search(x[:m], K + 1)[0][:, -1], 1e-30)),
    )


def exact(x: Array) -> Array:
    """Distances of the first points to their K-th others, by differences in float64."""
    wide = x.astype(np.float64)
    out = []
    for i in range(min(CHECKED, len(x))):
        square = np.square(wide - wide[i]).sum(1)
        square[i] = np.inf
        out.append(math.sqrt(np.partition(square, K - 1)[K - 1]))
    return np.array(out)


def run(n: int, dim: int, threads: int, rounds: int, common: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of a size, and what was missing."""
    torch.set_num_threads(threads)
    common = {**common, "versions": {**common["versions"], **_versions()}}
    x = np.random.default_rng(20).standard_normal((n, dim), dtype=np.float32)
    truth = np.log(exact(x)).mean()
    entries, absent = searchers(threads)
    for entry in entries:
        _try(entry, x, truth)
    for _ in range(rounds):
        for entry in entries:
            entry.seconds.append(_seconds(entry, x))
    torch.set_num_threads(1)
    rows = _rows(n, dim, entries, common)
    _show(rows, absent)
    return rows, [f"C: {name}" for name in absent]


def _try(entry: Searcher, x: Array, truth: float) -> None:
    """How many queries there is time for, and the error."""
    index = entry.build(x)
    few = min(len(x), max(CHECKED, 2000))
    start = time.perf_counter()
    radii = entry.query(index, x, few)
    seconds = time.perf_counter() - start
    possible = int(few * PATIENCE / max(seconds, 1e-6))
    entry.queries = len(x) if entry.whole or possible >= len(x) else max(few, possible)
    entry.error = float(np.log(radii[: min(CHECKED, len(x))].astype(np.float64)).mean() - truth)


def _seconds(entry: Searcher, x: Array) -> float:
    start = time.perf_counter()
    index = entry.build(x)
    built = time.perf_counter()
    entry.query(index, x, entry.queries)
    return (built - start) + (time.perf_counter() - built) * len(x) / entry.queries


def _rows(n: int, dim: int, entries: list[Searcher], common: dict[str, Any]) -> list[dict[str, Any]]:
    peers = [entry for entry in entries if entry.kind == "peer"]
    best = min(peers, key=lambda entry: statistics.median(entry.seconds), default=None)
    rows = []
    for entry in entries:
        low, middle, high = statistics.quantiles(entry.seconds, n=4, method="inclusive")
        ratio = None
        if best is not None:
            ratio = statistics.median(b / a for a, b in zip(entry.seconds, best.seconds, strict=True))
        rows.append(
            {
                "row": f"C/{n}x{dim}/{entry.name}",
                "kind": entry.kind,
                "tuning": "",
                "sizes": {"points": n, "dim": dim, "k": K},
                "timed_queries": entry.queries,
                "seconds_median": middle,
                "seconds_quartiles": [low, high],
                "error_mean_log_r": entry.error,
                "ratio": ratio,
                "ratio_to": None if best is None else best.name,
                **common,
            }
        )
    return rows


def _show(rows: list[dict[str, Any]], absent: dict[str, str]) -> None:
    sizes = rows[0]["sizes"]
    print(f"\nC: {sizes['points']} points, d = {sizes['dim']}, k = {K}", flush=True)
    print(f"  {'contestant':20} {'seconds':>10} {'quartiles':>19} {'error of ⟨log r⟩':>17} {'ratio':>7}")
    for row in rows:
        low, high = row["seconds_quartiles"]
        part = "" if row["timed_queries"] == sizes["points"] else f"  (from {row['timed_queries']} queries)"
        against = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(
            f"  {row['row'].split('/', 2)[2]:20} {row['seconds_median']:10.4g} {low:9.4g}–{high:<9.4g} "
            f"{row['error_mean_log_r']:17.1e} {against:>7}{part}",
            flush=True,
        )
    print(f"  ratios to {rows[0]['ratio_to']}")
    for name, reason in absent.items():
        print(f"  NOT RUN {name}: {reason}")


def _versions() -> dict[str, str | None]:
    return {name: harness.version(name) for name in ("pykdtree", "pynanoflann", "scipy", "scikit-learn", "faiss-cpu")}
