"""The arithmetic of the peers, unrolled by hand over components and axes, for torch and jax.numpy alike.

Written again here on purpose: a peer that called thermokern's formulas would not be one. Every array is (n,), every
entry of a row a scalar, so that a compiler can fuse a whole step into one loop over paths.

A row holds, for one node: six coefficients of the step, then for each mixture its means (K·d), its precisions (one
number, or K·d of them for diagonal covariances) and its log weights with normalisers (K).
"""

from __future__ import annotations

from typing import Any

import torch
from problems import COMPONENTS, DIM, Problem
from torch import Tensor

from thermokern import ops

COEFFICIENTS = ("drift", "noise", "energy", "work_carried", "work_drawn", "mismatch")

# x (d arrays), the noise of the step before (d arrays), Δs, mismatch; each (n,)
State = tuple[Any, ...]
STATE = 2 * DIM + 2


def coefficient_rows(problem: Problem, steps: int) -> Tensor:
    """(steps + 1, 6) float64."""
    table = problem.table(steps)
    return torch.stack([table.column(name) for name in COEFFICIENTS], dim=1)


def mixture_rows(source: ops.MixtureSource, diagonal: bool, nodes: int) -> Tensor:
    """(nodes, row size) float64."""
    m, v = source.mean_scale[:nodes, None, None], source.variance[:nodes, None, None]
    means = m * source.means  # (nodes, K, d)
    variances = m * m * source.variances + v  # (nodes, K, d)
    log_weights = source.weights.log() - 0.5 * variances.log().sum(2)  # (nodes, K)
    precisions = (1.0 / variances).flatten(1)
    return torch.cat([means.flatten(1), precisions if diagonal else precisions[:, :1], log_weights], dim=1)


def rows(problem: Problem, steps: int, pad_to: int = 1) -> Tensor:
    """(nodes, row size) float32, padded at the end with nodes that change nothing to a multiple of `pad_to`."""
    parts = [coefficient_rows(problem, steps)]
    for source in (problem.model, problem.target):
        if isinstance(source, ops.MixtureSource):
            parts.append(mixture_rows(source, problem.diagonal, steps + 1))
    out = torch.cat(parts, dim=1)
    missing = -len(out) % pad_to
    idle = out[-1:].clone()
    idle[:, : len(COEFFICIENTS)] = torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=out.dtype)
    return torch.cat([out, idle.expand(missing, -1)]).float().contiguous()


def split_row(row: Any, diagonal: bool) -> tuple[Any, list[tuple[Any, Any, Any]]]:
    """Coefficients, and (means, precisions, log weights) of every mixture in the row."""
    at, mixtures = len(COEFFICIENTS), []
    n_means, n_precisions = COMPONENTS * DIM, COMPONENTS * DIM if diagonal else 1
    while at < row.shape[0]:
        ends = (at + n_means, at + n_means + n_precisions, at + n_means + n_precisions + COMPONENTS)
        mixtures.append((row[at : ends[0]], row[ends[0] : ends[1]], row[ends[1] : ends[2]]))
        at = ends[2]
    return row[:at], mixtures


def exponents(mixture: tuple[Any, Any, Any], x: list[Any], diagonal: bool) -> tuple[list[Any], list[Any], list[Any]]:
    """Per component: −½ dᵀΛd, the pull Λd as d arrays, and its square |Λd|² (or |d|² where Λ is one number)."""
    means, precisions, _ = mixture
    logs, pulls, squares = [], [], []
    for c in range(COMPONENTS):
        d = [means[c * DIM + i] - x[i] for i in range(DIM)]
        pull = [precisions[c * DIM + i] * d[i] for i in range(DIM)] if diagonal else d
        square = sum(p * p for p in pull)
        logs.append(
            -0.5 * sum(p * e for p, e in zip(pull, d, strict=True)) if diagonal else -0.5 * precisions[0] * square
        )
        pulls.append(pull)
        squares.append(square)
    return logs, pulls, squares


def normalised(xp: Any, mixture: Any, e: list[Any], pulls: list[Any], squares: list[Any], diagonal: bool) -> Any:
    """Score (d arrays) and divergence from unnormalised responsibilities `e`."""
    precisions = mixture[1]
    inverse = 1.0 / sum(e)
    mean_pull = [inverse * sum(e[c] * pulls[c][i] for c in range(COMPONENTS)) for i in range(DIM)]
    mean_square = inverse * sum(e[c] * squares[c] for c in range(COMPONENTS))
    if diagonal:
        score = mean_pull
        traces = [sum(precisions[c * DIM + i] for i in range(DIM)) for c in range(COMPONENTS)]
        curvature = mean_square - inverse * sum(e[c] * traces[c] for c in range(COMPONENTS))
    else:
        score = [precisions[0] * p for p in mean_pull]
        curvature = precisions[0] * (precisions[0] * mean_square - DIM)
    return score, curvature - sum(s * s for s in score)


def mixture_score(xp: Any, mixture: Any, x: list[Any], diagonal: bool) -> Any:
    """Score (d arrays) and divergence of one mixture."""
    logs, pulls, squares = exponents(mixture, x, diagonal)
    logs = [logs[c] + mixture[2][c] for c in range(COMPONENTS)]
    top = logs[0]
    for log in logs[1:]:
        top = xp.maximum(top, log)
    e = [xp.exp(log - top) for log in logs]
    return normalised(xp, mixture, e, pulls, squares, diagonal)


def shared_scores(xp: Any, mixtures: Any, x: list[Any]) -> Any:
    """Scores and divergences of two mixtures that differ in their weights alone, from one set of exponentials."""
    logs, pulls, squares = exponents(mixtures[0], x, False)
    top = logs[0]
    for log in logs[1:]:
        top = xp.maximum(top, log)
    bare = [xp.exp(log - top) for log in logs]
    out = []
    for mixture in mixtures:
        weights = [xp.exp(mixture[2][c]) for c in range(COMPONENTS)]
        e = [bare[c] * weights[c] for c in range(COMPONENTS)]
        out.append(normalised(xp, mixture, e, pulls, squares, False))
    return out


def advance(c: Any, state: State, z: list[Any], model: Any, target: Any) -> State:
    """One node: its share of Δs and of the mismatch, then the step to the next."""
    x, before, value, mismatch = state[:DIM], state[DIM : 2 * DIM], state[-2], state[-1]
    drift, noise, energy, noise_in, noise_out, mismatch_rate = (c[i] for i in range(len(COEFFICIENTS)))
    (s, s_divergence), (r, r_divergence) = model, target
    delta = [s[i] - r[i] for i in range(DIM)]
    gain = sum(delta[i] * (s[i] + r[i]) for i in range(DIM)) + (s_divergence - r_divergence)
    work = sum(delta[i] * (noise_in * before[i] + noise_out * z[i]) for i in range(DIM))
    value = value + energy * gain + work
    mismatch = mismatch + mismatch_rate * sum(d * d for d in delta)
    return (*(drift * x[i] + noise * z[i] for i in range(DIM)), *z, value, mismatch)


def mixtures_step(xp: Any, row: Any, state: State, z: list[Any], diagonal: bool, shared: bool) -> State:
    """One node of work A. `shared`: the two mixtures differ in their weights alone, and the user knows it."""
    c, mixtures = split_row(row, diagonal)
    x = list(state[:DIM])
    if shared:
        model, target = shared_scores(xp, mixtures, x)
    else:
        model, target = (mixture_score(xp, mixture, x, diagonal) for mixture in mixtures)
    return advance(c, state, z, model, target)
