"""Work N: standard normals, float32, one thread: numbers/s of each library, into memory of its own.

Long rows are a stream's noise, short ones a set of starting points. The bytes written are four a number; the limit is
the rate at which `torch.fill_` writes. Contestants take turns, as in streams.py, and JAX is there if it is installed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import torch

from thermokern import ops

SIZES = ((1024, 1024), (2**19, 2))


def run(rounds: int, common: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of every size, and who is absent."""
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    for n, count in SIZES:
        contestants, absent = _contestants(n, count)
        times = harness.take_turns(contestants, rounds)
        best = min((name for name in times if name not in ("thermokern", "fill")), key=lambda k: min(times[k]))
        print(f"\nN: {n} rows of {count} normals")
        for name, seconds in times.items():
            middle = statistics.median(seconds)
            ratio = statistics.median(b / a for a, b in zip(seconds, times[best], strict=True))
            print(f"  {name:20} {1e-6 * n * count / middle:9.0f} M numbers/s {ratio:8.2f}")
            rows.append(
                {
                    "row": f"N/{n}x{count}/{name}",
                    "kind": "thermokern" if name == "thermokern" else "limit" if name == "fill" else "peer",
                    "tuning": "",
                    "sizes": {"rows": n, "numbers": count},
                    "seconds_median": middle,
                    "seconds_quartiles": statistics.quantiles(seconds, n=4, method="inclusive")[::2],
                    "numbers_per_second": n * count / middle,
                    "ratio": ratio,
                    "ratio_to": best,
                    **common,
                }
            )
        print(f"  ratios to {best}")
        missing += [f"N: {line}" for line in absent]
    return rows, sorted(set(missing))


def _contestants(n: int, count: int) -> tuple[dict[str, Callable[[], object]], list[str]]:
    generator = np.random.default_rng(1)
    buffer = torch.zeros(n, count)
    out: dict[str, Callable[[], object]] = {
        "thermokern": lambda: ops.normals(n, count, seed=1),
        "torch.randn": lambda: torch.randn(n, count),
        "NumPy": lambda: generator.standard_normal((n, count), dtype=np.float32),
        "fill": lambda: buffer.fill_(1.0),
    }
    try:
        import jax
    except ImportError as error:
        return out, [f"JAX: not installed ({error})"]
    key = jax.random.key(1, impl="rbg")
    drawn = jax.jit(lambda key: jax.random.normal(key, (n, count)))
    out["JAX, rbg"] = lambda: jax.block_until_ready(drawn(key))
    return out, []
