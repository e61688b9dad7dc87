"""One SHA-256 for what each op, and each of the project's pieces of work, gives at a small size with a fixed seed.

`--write FILE` keeps the digests; `--against FILE` compares with those kept and exits non-zero, naming what differs.
Run it on two commits to see that no number has changed between them, once for each instruction set: THERMOKERN_ISA
chooses. Only the public interface is called, so the script of one commit runs on another.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import problems
import torch
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.processes import flow_table, rate_table, step_table

F64 = torch.float64
DTYPES = (torch.float32, F64)
ACTIVATIONS = ("silu", "tanh", "relu", "gelu-tanh")
PATHS = 203  # no multiple of a register's lanes

Numbers = tuple[Tensor | float, ...]
Case = tuple[str, Callable[[], Numbers]]


def generator(*key: object) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:6], "big"))


def randn(*size: int, key: object, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*size, generator=generator(size, key), dtype=F64).to(dtype)


def mixture(dim: int, components: int, kind: str, key: object) -> tuple[Tensor, Tensor, Tensor]:
    """Means, variances (K, d) and weights (K,)."""
    columns = dim if kind == "diagonal" else 1
    spread = 0.05 + randn(components, columns, key=(key, "variance")).square()
    weights = 0.2 + randn(components, key=(key, "weight")).abs()
    if kind == "zero-weight" and components > 1:
        weights[0] = 0.0
    return 2.0 * randn(components, dim, key=key), spread.expand(components, dim).contiguous(), weights / weights.sum()


def perceptron(dim: int, widths: tuple[int, ...], nodes: int, key: object) -> tuple[list[Tensor], Tensor]:
    """Weights, and biases (nodes, units); float32."""
    sizes = [dim, *widths, dim]
    matrices = [randn(b, a, key=(key, i)) / math.sqrt(a) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
    biases = 0.5 * randn(1, sum(sizes[1:]), key=key) + 0.1 * torch.linspace(0, 1, nodes, dtype=F64)[:, None]
    return [matrix.float() for matrix in matrices], biases.float()


def source(kind: str, dim: int, table: ops.StepTable | ops.FlowTable, key: object) -> ops.Source:
    nodes = len(table.times)
    if kind in ACTIVATIONS:
        widths = ((5,), (13, 5), (16, 13, 8), (24, 7))[ACTIVATIONS.index(kind)]
        slope = torch.linspace(0.2, 0.6, nodes)
        return ops.MlpSource(*perceptron(dim, widths, nodes, key), kind, slope, -0.3 * slope)
    components = {"isotropic": 9, "diagonal": 3, "zero-weight": 4, "many": 45}[kind]
    return ops.MixtureSource(*mixture(dim, components, kind, key), table.mean_scale, table.variance)


def reweighted(given: ops.Source) -> ops.MixtureSource:
    assert isinstance(given, ops.MixtureSource)
    weights = given.weights.flip(0) + 0.1
    return ops.MixtureSource(given.means, given.variances, weights / weights.sum(), given.mean_scale, given.variance)


PAIRS = (
    ("isotropic", "shared"),
    ("diagonal", "shared"),
    ("many", "shared"),
    ("isotropic", "many"),
    ("diagonal", "zero-weight"),
    ("silu", "isotropic"),
    ("diagonal", "tanh"),
    ("relu", "gelu-tanh"),
)


def pair(names: tuple[str, str], dim: int, table: ops.StepTable) -> tuple[ops.Source, ops.Source]:
    model = source(names[0], dim, table, "model")
    return model, reweighted(model) if names[1] == "shared" else source(names[1], dim, table, "reference")


def parts_of(scheme: str) -> ops.PartTable:
    """Nine steps in three stretches of time, split by component where the scheme has no divergence."""
    table = step_table(tk.VP(), tk.VP().grid(9, 1e-2), scheme)
    stretch = torch.arange(10) * 3 // 10
    return ops.PartTable(table, torch.linspace(0.0, 0.3, 10, dtype=F64), stretch, 3, not table.divergence_weight)


def flat(parts: ops.TrajectoryParts) -> Numbers:
    return *parts.sums, *parts[1:]


def scores(dtype: torch.dtype) -> Iterator[Case]:
    """Normals, and scores at one time."""
    for purpose, first, count in itertools.product(("noise", "start", "probe", "reverse"), (0, 5), (3, 70, 1043)):
        settings = {"seed": 2**40 + 17, "path_offset": 2**33, "first": first, "purpose": purpose, "dtype": dtype}
        yield f"normals {purpose} {first} {count}", lambda c=count, s=settings: (ops.normals(61, c, **s),)
    for dim, kind in itertools.product((1, 2, 3, 4, 7, 16), ("isotropic", "diagonal", "zero-weight")):
        for components in (1, 3, 8, 9, 45):
            x, numbers = 3.0 * randn(PATHS, dim, key=kind, dtype=dtype), mixture(dim, components, kind, "score")
            yield f"mixture_score {dim} {kind} {components}", lambda x=x, n=numbers: tuple(ops.mixture_score(x, *n))
    for dim, activation in itertools.product((1, 2, 5, 16), ACTIVATIONS):
        weights, biases = perceptron(dim, (24, 13, 7), 1, activation)
        x = 2.0 * randn(PATHS, dim, key=activation, dtype=dtype)
        given = (x, [w.to(dtype) for w in weights], biases[0].to(dtype), activation, 1.5, -0.25)
        yield f"mlp_score_divergence {dim} {activation}", lambda g=given: ops.mlp_score_divergence(*g)


def paths(dtype: torch.dtype) -> Iterator[Case]:
    """Whole trajectories, their averages, and Langevin paths."""
    for dim, names in itertools.product((1, 2, 3, 4, 7, 16), PAIRS):
        x = 2.0 * randn(PATHS, dim, key=names, dtype=dtype)
        for process, (scheme, direction) in itertools.product(
            (tk.VP(), tk.VE()), itertools.product(ops.SCHEMES, ops.DIRECTIONS)
        ):
            table = step_table(process, process.grid(11, 1e-2, "log-snr"), scheme, direction)
            model, reference = pair(names, dim, table)
            yield (
                f"trajectory {dim} {'-'.join(names)} {type(process).__name__} {scheme} {direction}",
                lambda x=x, t=table, m=model, r=reference: tuple(ops.trajectory(x, t, m, r, seed=11, path_offset=5)),
            )
        rates = rate_table(tk.VP(), tk.VP().grid(9, 1e-2))
        model, reference = pair(names, dim, rates)
        long = 2.0 * randn(777, dim, key=names, dtype=dtype)
        yield (
            f"trajectory_averages {dim} {'-'.join(names)}",
            lambda x=long, t=rates, m=model, r=reference: tuple(ops.trajectory_averages(x, t, m, r, seed=3)),
        )
        for scheme in ops.SCHEMES:
            split = parts_of(scheme)
            model, reference = pair(names, dim, split.table)
            yield (
                f"trajectory_parts {dim} {'-'.join(names)} {scheme}",
                lambda x=long, s=split, m=model, r=reference: flat(ops.trajectory_parts(x, s, m, r, seed=3)),
            )
    for dim in (1, 2, 3, 4, 7, 16):
        drift, factor, turn = (randn(dim, dim, key=key) / dim for key in ("drift", "factor", "turn"))
        one = torch.eye(dim, dtype=F64)
        rest = (drift + one, factor.tril() + one, turn - turn.T, 0.05 + 0.05 * randn(13, key="steps").abs())
        x = randn(PATHS, dim, key="langevin", dtype=dtype)
        yield f"langevin {dim}", lambda x=x, r=rest: tuple(ops.langevin(x, *r, seed=13, path_offset=2**34))
    for dim, shared in itertools.product((1, 3, 8, 25, 64), (False, True)):
        points = (randn(dim, PATHS, key=key, dtype=dtype) for key in ("from first", "from second"))
        matrix = torch.linalg.qr(randn(dim, dim, key="axes")).Q
        rest = (0.1 + randn(dim, key=key).square() for key in ("first", "second", "centre"))
        v = torch.tensor(0.3, dtype=F64) if shared else torch.linspace(0.01, 0.99, PATHS, dtype=F64)
        given = (*points, matrix, *rest, (1.0 - v).sqrt(), v.sqrt())
        name = f"gaussian_gap {dim} {'one level' if shared else 'own levels'}"
        yield name, lambda g=given: (ops.gaussian_gap(*g, seed=17, path_offset=2**34),)
    for dim, conditions in itertools.product((1, 3, 64), (1, 2, 5)):
        sizes = (dim, 24, 40, 24, dim)
        weights = [randn(b, a, key=("gap", b), dtype=dtype) / a**0.5 for a, b in itertools.pairwise(sizes)]
        biases = [randn(rows, key="bias", dtype=dtype) for rows in sizes[1:]]
        context = [randn(rows, 7 * (k % 2), key="context", dtype=dtype) for k, rows in enumerate(sizes[1:])]
        seen = randn(4, PATHS, key="level", dtype=dtype), randn(conditions, 3, PATHS, key="condition", dtype=dtype)
        axes = [randn(dim, PATHS, key=key, dtype=dtype) for key in ("from centre", "enter", "scale", "skip")]
        v = torch.linspace(0.01, 0.99, PATHS, dtype=F64)
        rest = (
            weights,
            biases,
            "silu",
            context,
            *seen,
            *axes[1:],
            randn(dim, key="centre"),
            (1.0 - v).sqrt(),
            v.sqrt(),
        )
        run = partial(ops.mlp_gap, axes[0], *rest, residual=True, seed=17, path_offset=2**34)
        yield f"mlp_gap {dim}, {conditions} conditions", lambda run=run: (run(),)


def flows(dtype: torch.dtype) -> Iterator[Case]:
    table = flow_table(tk.VP(), 1e-3, 9)
    for dim, kind in itertools.product((1, 2, 3, 5, 16), ("isotropic", "diagonal", "zero-weight", *ACTIVATIONS)):
        x = 1.5 * randn(150, dim, key=kind, dtype=dtype)
        field = source(kind, dim, table, "flow")
        yield (
            f"probability_flow {dim} {kind}",
            lambda x=x, f=field: tuple(ops.probability_flow(x, table, f, rtol=1e-4, atol=1e-4)),
        )


def rows(dtype: torch.dtype) -> Iterator[Case]:
    """The ops on scores that a network computed."""
    for dim, scheme, direction in itertools.product((1, 3, 64, 515, 1030), ops.SCHEMES, ops.DIRECTIONS):
        table = step_table(tk.VP(), tk.VP().grid(6), scheme, direction)
        given = [randn(21, dim, key=i, dtype=dtype) for i in range(6)]
        for node, drawn in itertools.product((0, 3, 6), (True, False)):
            kept: dict[str, Tensor | int] = {"divergence": given[5][:, 0], "seed": 3, "path_offset": 7}
            if direction == "reverse" and node:
                kept["carried"] = given[3]
            if scheme == "sampler" and node:
                kept["previous"] = given[4]
            if not drawn:
                kept["noise"] = given[5]
            yield (
                f"trajectory_step {dim} {scheme} {direction} {node} {drawn}",
                lambda g=given, t=table, k=node, o=kept: tuple(ops.trajectory_step(*g[:3], t, k, **o)),
            )
    for dim, scheme in itertools.product((1, 3, 64, 515), ops.SCHEMES):
        table = step_table(tk.VP(), tk.VP().grid(6), scheme)
        given = [randn(4, 21, dim, key=i, dtype=dtype) for i in range(3)]
        kept = {"noise": randn(5, 21, dim, key="noise", dtype=dtype), "previous": randn(21, dim, key=1, dtype=dtype)}
        kept["divergence"] = randn(4, 21, key="divergence", dtype=dtype)
        yield (
            f"trajectory_block {dim} {scheme}",
            lambda g=given, t=table, o=kept: tuple(ops.trajectory_block(*g, t, 2, **o)),
        )
    for dim, kind, first in itertools.product((1, 3, 64, 515, 1030), ops.PROBES, (0, 6)):
        p = randn(33, dim, key=kind, dtype=dtype)
        settings = {"kind": kind, "seed": 5, "path_offset": 2**33, "first": first}
        yield f"hutchinson {dim} {kind} {first}", lambda p=p, s=settings: (ops.hutchinson(p, **s),)


def neighbours(dtype: torch.dtype) -> Iterator[Case]:
    for dim, n, method in itertools.product((1, 2, 3, 4, 5, 9, 40), (90, 1500), ("tree", "brute")):
        x, y = randn(n, dim, key="data", dtype=dtype), randn(70, dim, key="query", dtype=dtype)
        x[n // 2 :: 7] = x[: len(x[n // 2 :: 7])]  # ties
        for p, k in itertools.product((2.0, math.inf), (1, 5, 40, 80)):
            what = f"{dim} {n} {method} {p} {k}"
            yield f"query {what}", lambda x=x, y=y, m=method, p=p, k=k: tk.KDTree(x, method=m).query(y, k, p=p)
            yield (
                f"neighbours {what}",
                lambda x=x, m=method, p=p, k=k: (
                    *tk.KDTree(x, method=m).neighbours(k, p=p, indices=True),
                    tk.KDTree(x, method=m).neighbours(k, p=p),
                ),
            )
        for p, strict in itertools.product((2.0, math.inf), (True, False)):
            radius = randn(70, key="radius", dtype=dtype).abs()
            yield (
                f"count_within {dim} {n} {method} {p} {strict}",
                lambda x=x, y=y, m=method, p=p, s=strict, r=radius: (
                    tk.KDTree(x, method=m).count_within(y, r, p=p, strict=s),
                ),
            )


def statistics(dtype: torch.dtype) -> Iterator[Case]:
    for n in (0, 1, 7, 1000):
        values = 3.0 * randn(n, key="values", dtype=dtype)
        yield f"moments {n}", lambda v=values: tuple(ops.moments(v))
        yield f"exponential_sums {n}", lambda v=values: tuple(ops.exponential_sums(v, -1.0))


def works(dtype: torch.dtype) -> Iterator[Case]:
    """The benchmarks' pieces of work."""
    for problem in [*problems.work_a(quick=True), *problems.work_b(quick=True)]:
        yield (
            f"work {problem.name}",
            lambda p=problem: tuple(
                ops.trajectory(p.x[:999].to(dtype), p.table(), p.model, p.target, seed=problems.SEED)
            ),
        )


GROUPS = (scores, paths, flows, rows, neighbours, statistics, works)


def digest(numbers: Numbers) -> str:
    sha = hashlib.sha256()
    for part in numbers:
        tensor = torch.as_tensor(part, dtype=None if isinstance(part, Tensor) else F64).contiguous()
        sha.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file to keep the digests in")
    parser.add_argument("--against", type=Path, help="file of digests to compare with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    digests: dict[str, str] = {}
    for dtype, group in itertools.product(DTYPES, GROUPS):
        for name, run in group(dtype):
            digests[f"{name} {str(dtype)[6:]}"] = digest(tuple(run()))
    if options.write:
        options.write.write_text(json.dumps(digests, indent=0) + "\n", encoding="utf-8")
    elif not options.against:
        for name, value in digests.items():
            print(value, name)
    if not options.against:
        return 0
    kept = json.loads(options.against.read_text(encoding="utf-8"))
    different = [name for name in {**kept, **digests} if kept.get(name) != digests.get(name)]
    for name in different:
        state = "differs" if name in kept and name in digests else "is new" if name in digests else "is gone"
        print(f"{name}: {state}", file=sys.stderr)
    print(f"{len(digests)} digests, {len(different)} differ; {tk.info()['instruction set']}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
