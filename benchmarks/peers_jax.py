"""Peers in JAX: lax.scan under jit, float32, XLA for the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import lax
from peers_mixture import advance, mixture_score, mixtures_step, rows, split_row
from problems import DIM, Contestant, Problem, Run
from torch import Tensor

from thermokern import ops

BLOCK = 91  # nodes whose noise is handed over at once

Step = Callable[[Any, tuple[Any, ...], list[Any]], tuple[Any, ...]]  # (entries of one node, state, noise) -> state


def scan(problem: Problem, step: Step, entries: Any, draw: str, unroll: int) -> Run:
    """Scan of `step` over the nodes; `draw` is 'outside' (torch's normals, zero-copy) or a generator of JAX."""
    nodes = problem.steps + 1

    def given(state: Any, part: Any, z: Any) -> Any:
        def body(state: Any, entry_and_z: Any) -> Any:
            entry, z = (
                entry_and_z  # z: an array for each axis; one (d, n) array more than halves the speed of XLA's loops
            )
            return step(entry, state, list(z)), None

        return lax.scan(body, state, (part, z), unroll=unroll)[0]

    def own(state: Any, entries: Any, key: Any) -> Any:
        def body(carry: Any, entry: Any) -> Any:
            state, key = carry
            key, *subkeys = jax.random.split(key, 1 + DIM)
            return (step(entry, state, [jax.random.normal(k, (problem.n,)) for k in subkeys]), key), None

        return lax.scan(body, (state, key), entries, unroll=unroll)[0][0]

    given_jit, own_jit = jax.jit(given), jax.jit(own)
    block = BLOCK if nodes % BLOCK == 0 else nodes
    blocks = [jax.tree.map(lambda a, k=k: a[k : k + block], entries) for k in range(0, nodes, block)]
    key = None if draw == "outside" else jax.random.key(1, impl=draw)

    def run(steps: int, noise: Tensor | None) -> Tensor:
        x = jnp.asarray(problem.x.T.contiguous().numpy())
        state = (*x, *jnp.zeros((DIM + 2, problem.n)))
        if noise is None and key is not None:
            state = own_jit(state, entries, key)
        else:
            for k, part in enumerate(blocks):
                if noise is None:
                    z = torch.randn(DIM, block, problem.n)
                else:
                    z = noise[k * block : (k + 1) * block].transpose(0, 1).contiguous()
                state = given_jit(state, part, tuple(jnp.from_dlpack(axis) for axis in z))
        return torch.from_dlpack(jax.block_until_ready(state)[-2])

    return run


def scan_a(problem: Problem, quick: bool) -> Contestant:
    """Work A: the hand-unrolled step in a scan."""
    entries = jnp.asarray(rows(problem, problem.steps).numpy())

    def build(draw: str, unroll: int, shared: bool) -> Callable[[], Run]:
        def step(row: Any, state: tuple[Any, ...], z: list[Any]) -> tuple[Any, ...]:
            return mixtures_step(jnp, row, state, z, problem.diagonal, shared)

        return lambda: scan(problem, step, entries, draw, unroll)

    plans = [("outside", 1)] if quick else [("outside", 1), ("outside", 4), ("threefry2x32", 1), ("rbg", 1)]
    forms = (True, False) if problem.shared and not quick else (problem.shared,)
    candidates = {f"normals {d}, unroll {u}{', sharing' if s else ''}": build(d, u, s) for s in forms for d, u in plans}
    return Contestant("JAX scan", "peer", candidates, problem.steps, problem.n)


def scan_b(problem: Problem, quick: bool) -> Contestant:
    """Work B: the network and its divergence by jax.vmap over the axes of jax.jvp, in a scan."""
    model = problem.model
    assert isinstance(model, ops.MlpSource)
    weights = [jnp.asarray(weight.numpy()) for weight in model.weights]
    ends = [sum(w.shape[0] for w in weights[: i + 1]) for i in range(len(weights) - 1)]
    io = torch.stack([model.output_scale, model.skip], dim=1)
    entries = tuple(jnp.asarray(a.numpy()) for a in (rows(problem, problem.steps), model.biases, io))

    def network(x: Any, biases: list[Any]) -> Any:
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = jax.nn.silu(x @ weight.T + bias)
        return x @ weights[-1].T + biases[-1]

    def step(entry: Any, state: tuple[Any, ...], z: list[Any]) -> tuple[Any, ...]:
        row, biases, io = entry
        c, (mixture,) = split_row(row, False)
        x = list(state[:DIM])
        points, split = jnp.stack(x, 1), jnp.split(biases, ends)

        def along(axis: Any) -> Any:
            tangent = jnp.broadcast_to(axis, points.shape)
            return jax.jvp(lambda y: network(y, split), (points,), (tangent,))

        out, derivative = jax.vmap(along, out_axes=(None, 0))(jnp.eye(DIM))
        divergence = sum(derivative[i, :, i] for i in range(DIM))
        score = [io[0] * out[:, i] + io[1] * x[i] for i in range(DIM)]
        target = mixture_score(jnp, mixture, x, False)
        return advance(c, state, z, (score, io[0] * divergence + DIM * io[1]), target)

    draws = ("outside",) if quick else ("outside", "rbg")
    candidates = {f"normals {draw}": _later(problem, step, entries, draw) for draw in draws}
    return Contestant("JAX vmap(jvp) scan", "peer", candidates, problem.steps, problem.n)


def _later(problem: Problem, step: Step, entries: Any, draw: str) -> Callable[[], Run]:
    return lambda: scan(problem, step, entries, draw, 1)
