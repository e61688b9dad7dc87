"""Problems that `record.py` writes: calls of the ops, and what the float64 references give for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import test_ops as battery
import test_trajectory_parts as split
import torch
from test_mlp_gap import cast
from test_mlp_gap import problem as mlp_gap_problem
from tolerances import rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.ops import registry
from thermokern.processes import flow_table, rate_table, step_table

F32, F64 = torch.float32, torch.float64
PATHS = 23  # no multiple of a register's lanes
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp2": torch.exp2,
    "log": lambda x: x.abs().add(0.1).log(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
    "gelu": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}

# What a problem runs, in a precision; and its results by the names of the native function's arguments, in a precision:
# float64's are the references.
Results = dict[str, Tensor]
Problem = tuple[Callable[[torch.dtype], object], Callable[[torch.dtype], Results], dict[str, float | Tensor]]


def numbers(*size: int, key: int = 0) -> Tensor:
    """Normals that float32 holds exactly, float64."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(1000 * key + sum(size))).to(F64)


def cases() -> Iterator[Problem]:
    """The battery of the ops on points: random numbers, scores, trajectories, Langevin paths."""
    chosen = [*battery.MIXTURES[::7], *battery.TRAJECTORIES[::5]]
    for case in [*chosen, *battery.LANGEVIN[::2]]:
        x = case.x(PATHS)

        def reference(dtype: torch.dtype, case: battery.Case = case, x: Tensor = x) -> Results:
            out = case.reference(x.to(dtype), 5)
            return {name: part for name, part in out._asdict().items() if part.numel()}

        exact = reference(F64)
        scales = {"divergence": rms(exact["score"].square().sum(1))} if "score" in exact else {}
        yield lambda dtype, case=case, x=x: case.fast(x.to(dtype), 5), reference, scales


def networks() -> Iterator[Problem]:
    for dim, widths, activation in zip((1, 2, 7, 16), battery.WIDTHS, battery.ACTIVATIONS, strict=True):
        x, (weights, biases) = numbers(PATHS, dim), battery.perceptron(dim, widths)

        def score(
            dtype: torch.dtype, run: Any, x: Tensor = x, w: Any = weights, b: Any = biases[0], a: str = activation
        ) -> Any:
            return run(x.to(dtype), [part.to(dtype) for part in w], b.to(dtype), a, 1.5, -0.25)

        def reference(dtype: torch.dtype, score: Any = score) -> Results:
            return dict(zip(("score", "divergence"), score(dtype, ops.mlp_score_divergence_reference), strict=True))

        yield lambda dtype, score=score: score(dtype, ops.mlp_score_divergence), reference, {}


def rows() -> Iterator[Problem]:
    """Random numbers along rows; scores that were computed elsewhere; contractions."""
    for purpose, first, count in (("noise", 5, 3), ("start", 0, 70), ("reverse", 3, 131)):
        settings: dict[str, Any] = {"seed": 2**40 + 17, "path_offset": 2**33, "first": first, "purpose": purpose}
        yield (
            lambda dtype, c=count, s=settings: ops.normals(PATHS, c, dtype=dtype, **s),
            lambda dtype, c=count, s=settings: {"out": ops.normals_reference(PATHS, c, dtype=dtype, **s)},
            {},
        )
    for dim, (scheme, direction) in zip(
        (3, 65, 515, 7), itertools.product(("backward-ito", "sampler"), ops.DIRECTIONS), strict=True
    ):
        table = step_table(tk.VP(), tk.VP().grid(6), scheme, direction)
        given = [numbers(3, dim, key=key) for key in range(5)]

        def arguments(dtype: torch.dtype, given: list[Tensor] = given, table: ops.StepTable = table) -> Any:
            x, model, target, carried, previous = (tensor.to(dtype) for tensor in given)
            kept: dict[str, Any] = {"seed": 3, "path_offset": 7}
            if table.direction == "reverse":
                kept["carried"] = carried
            if table.scheme == "sampler":
                kept["previous"] = previous
            return (x, model, target, table, 3), kept

        def step(dtype: torch.dtype, of: Any = arguments) -> Results:
            positional, kept = of(dtype)
            out = ops.trajectory_step_reference(*positional, **kept)
            named = zip(("value", "mismatch", "next", "noise"), out, strict=True)
            return {name: part for name, part in named if part.numel()}

        yield lambda dtype, of=arguments: ops.trajectory_step(*of(dtype)[0], **of(dtype)[1]), step, {}
    for scheme in ("backward-ito", "sampler"):
        table = step_table(tk.VP(), tk.VP().grid(6), scheme)
        given, noise, previous = [numbers(3, 7, 9, key=key) for key in range(3)], numbers(4, 7, 9), numbers(7, 9)

        def block(
            dtype: torch.dtype, run: Any, given: Any = given, n: Tensor = noise, p: Tensor = previous, t: Any = table
        ) -> Any:
            return run(*(g.to(dtype) for g in given), t, 2, noise=n.to(dtype), previous=p.to(dtype))

        yield (
            lambda dtype, block=block: block(dtype, ops.trajectory_block),
            lambda dtype, block=block: block(dtype, ops.trajectory_block_reference)._asdict(),
            {},
        )
    for dim, kind in ((1, "rademacher"), (70, "gaussian"), (515, "sphere")):
        p, kept = numbers(5, dim), {"kind": kind, "seed": 5, "path_offset": 2**33}
        yield (
            lambda dtype, p=p, k=kept: ops.hutchinson(p.to(dtype), **k),
            lambda dtype, p=p, k=kept: {"out": ops.hutchinson_reference(p.to(dtype), **k)},
            {"out": math.sqrt(dim)},
        )


def averages_and_flows() -> Iterator[Problem]:
    for (model, target), dim in zip((("diagonal", "shared"), ("silu", "isotropic")), (2, 7), strict=True):
        x, rates = numbers(PATHS, dim), rate_table(tk.VP(), tk.VP().grid(4, 1e-2))
        first = battery.source(model, rates, dim, "model")
        second = battery.reweighted(first) if target == "shared" else battery.source(target, rates, dim, "reference")

        def mean(dtype: torch.dtype, run: Any, x: Tensor = x, given: Any = (rates, first, second)) -> Any:
            return run(x.to(dtype), *given, seed=11, path_offset=5)

        def reference(dtype: torch.dtype, mean: Any = mean) -> Results:
            out = mean(dtype, ops.trajectory_averages_reference)
            parts = {"mean": out.mean, "integrals": out.integrals, "x_last": out.x_last}
            return parts | {"m2": (PATHS - 1) * out.variance}

        exact, squared, scales = reference(F64), ops.OBSERVABLES.index("score_squared"), {}
        for part in ("mean", "integrals", "m2"):
            sizes = exact[part].square().mean(0).sqrt()
            for i, name in enumerate(ops.OBSERVABLES):
                if name == "divergence":  # a difference of numbers of the size of |s|²
                    sizes[i] = max(sizes[i], sizes[squared])
                elif name == "mismatch":  # |δ|², where δ is off by what s is
                    sizes[i] = max(sizes[i], (sizes[i] * sizes[squared]).sqrt())
            scales[part] = sizes
        yield lambda dtype, mean=mean: mean(dtype, ops.trajectory_averages), reference, scales
    for kind, dim in (("isotropic", 2), ("diagonal", 3), ("tanh", 2)):
        x, flow = numbers(PATHS, dim), flow_table(tk.VP(), 1e-2, 5)
        score = battery.source(kind, flow, dim)

        def along(dtype: torch.dtype, x: Tensor = x, flow: Any = flow, score: Any = score) -> Results:
            def field(x: Tensor, node: int, _: Tensor) -> tuple[Tensor, Tensor]:
                value, divergence = score(x, node)
                return value, divergence[:, None]

            out = ops.probability_flow_reference(x.to(dtype), flow, field, rtol=0.05, atol=0.05)
            return {"x_last": out.x_last, "divergence": out.divergence[:, 0], "status": out.status}

        yield (
            lambda dtype, x=x, f=flow, s=score: ops.probability_flow(x.to(dtype), f, s, rtol=0.05, atol=0.05),
            along,
            {"divergence": rms(x) ** 2 * dim},
        )


def parts() -> Iterator[Problem]:
    """Where Δs arises: all schemes, split by component where they allow it, as tests/test_trajectory_parts.py."""
    for (names, dim), (scheme, component) in zip(
        ((("diagonal", "shared"), 2), (("isotropic", "diagonal"), 7), (("silu", "isotropic"), 3)),
        (("stratonovich", False), ("backward-ito", True), ("sampler", True)),
        strict=True,
    ):
        table = split.table_of(scheme, component)
        x = 2.0 * numbers(PATHS, dim)

        def found(
            dtype: torch.dtype, fused: bool, x: Tensor = x, t: Any = table, names: Any = names
        ) -> ops.TrajectoryParts:
            return split.parts_of(t, names, x.shape[1], x.to(dtype), fused)

        def reference(dtype: torch.dtype, found: Any = found) -> Results:
            out = found(dtype, False)
            sums = {name: part for name, part in out.sums._asdict().items() if part.numel()}
            return sums | {
                "totals": out.totals,
                "nodes": torch.stack([out.nodes.T, out.node_squares.T], 2),
                "cells": torch.stack([out.cells, out.products], 3),
                "squares": out.squares,
            }

        size = max(rms(of_form) for of_form in reference(F64)["totals"])  # of what is summed, which may cancel
        first, second = PATHS * size, 4.0 * PATHS * size**2
        scales: dict[str, float | Tensor] = {"totals": size, "squares": second}
        scales["cells"] = torch.tensor([first, second])
        scales["nodes"] = torch.tensor([first, second] * ops.FORMS)
        yield lambda dtype, found=found: found(dtype, True), reference, scales


def statistics() -> Iterator[Problem]:
    for n in (1, 7, 1001):
        x = numbers(n)
        yield (
            lambda dtype, x=x: ops.moments(x.to(dtype)),
            lambda dtype, x=x: {"out": torch.tensor(ops.moments_reference(x.to(dtype)), dtype=F64)},
            {},
        )
        yield (
            lambda dtype, x=x: ops.exponential_sums(x.to(dtype), -1.5),
            lambda dtype, x=x: {"out": torch.tensor(ops.exponential_sums_reference(x.to(dtype), -1.5), dtype=F64)},
            {},
        )


def gaussian_gaps() -> Iterator[Problem]:
    """Two Gaussians: noise drawn or given, a level for each point or one for all."""
    for dim, drawn, shared in ((1, True, False), (3, False, False), (7, True, True), (20, False, True)):
        pair = [numbers(dim, PATHS, key=key) for key in range(2)]
        rotation = torch.linalg.qr(numbers(dim, dim, key=2)).Q
        widths = [numbers(dim, key=key).square() + 0.5 for key in (3, 4)]
        m, root = (0.3 + numbers(PATHS, key=key).square() for key in (5, 6))
        levels = (m[0], root[0]) if shared else (m, root)
        given = (*pair, rotation, *widths, numbers(dim, key=7), *levels)
        kept: dict[str, Any] = {"reference": 2.0, "seed": 9, "path_offset": 2**33}
        if not drawn:
            kept["noise"] = numbers(dim, PATHS, key=8)

        def gap(dtype: torch.dtype, run: Any, given: Any = given, kept: Any = kept) -> Tensor:
            tensors = {name: value.to(dtype) for name, value in kept.items() if isinstance(value, Tensor)}
            out: Tensor = run(*(part.to(dtype) for part in given), **kept | tensors)
            return out

        yield (
            lambda dtype, gap=gap: gap(dtype, ops.gaussian_gap),
            lambda dtype, gap=gap: {"out": gap(dtype, ops.gaussian_gap_reference)},
            {},
        )


def perceptron_gaps() -> Iterator[Problem]:
    """Networks plain and residual under one condition and several: noise drawn or given."""
    for dim, conditions, drawn, widths in ((1, 1, True, (9,)), (3, 2, False, (8, 5, 8)), (7, 5, True, (12, 3, 12))):
        kept = mlp_gap_problem(dim, PATHS, conditions, widths, residual=len(widths) > 1)
        kept = cast(cast(kept, F32), F64)
        kept |= {"reference": 2.0, "seed": 9, "path_offset": 2**33}
        if not drawn:
            kept["noise"] = numbers(dim, PATHS, key=8)

        def gap(dtype: torch.dtype, run: Any, kept: Any = kept) -> Tensor:
            out: Tensor = run(**cast(kept, dtype))
            return out

        yield (
            lambda dtype, gap=gap: gap(dtype, ops.mlp_gap),
            lambda dtype, gap=gap: {"out": gap(dtype, ops.mlp_gap_reference)},
            {},
        )


def neighbours() -> Iterator[Problem]:
    for dim, method, p, k in ((2, "tree", 2.0, 3), (3, "brute", math.inf, 5), (9, "tree", math.inf, 20)):
        x, y = numbers(80, dim), numbers(7, dim, key=1)

        def own(dtype: torch.dtype, x: Tensor = x, m: str = method, p: float = p, k: int = k) -> object:
            return tk.KDTree(x.to(dtype), method=m).neighbours(k, p=p, indices=True)

        def others(dtype: torch.dtype, x: Tensor = x, y: Tensor = y, m: str = method, p: float = p) -> object:
            return tk.KDTree(x.to(dtype), method=m).count_within(y.to(dtype), torch.ones(len(y), dtype=dtype), p=p)

        yield own, lambda dtype, x=x, p=p, k=k: ops.neighbours_reference(x.to(dtype), k, p=p)._asdict(), {}
        radius = torch.ones(len(y), dtype=F64)
        yield others, lambda dtype, x=x, y=y, r=radius, p=p: {"counts": ops.count_within_reference(x, y, r, p=p)}, {}


def functions() -> Iterator[Problem]:
    x = 5.0 * numbers(101)
    for name, exact in FUNCTIONS.items():
        given = x.abs().add(0.1) if name == "log" else x

        def run(dtype: torch.dtype, name: str = name, given: Tensor = given) -> None:
            registry._core.evaluate(name, given.to(dtype), torch.empty(len(given), dtype=dtype))

        yield run, lambda dtype, exact=exact: {"out": exact(x.to(dtype))}, {}


def problems() -> Iterator[Problem]:
    """All of them."""
    of_points = cases(), networks(), averages_and_flows(), parts()
    gaps = gaussian_gaps(), perceptron_gaps()
    return itertools.chain(*of_points, rows(), statistics(), *gaps, neighbours(), functions())
