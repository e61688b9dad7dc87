"""The line integrals along overdamped paths that entropy production is made of: the fused kernel, and PyTorch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models.trial import examine
from thermokern.ops.checks import MAX_DIM, NotFusable, described
from thermokern.ops.contexts import differentiable, plain_precision, usable
from thermokern.quantities.dissipation.systems import ConstantDiffusion, DiffusionField, Field, LinearForce, gradient
from thermokern.quantities.engine.pace import Pace

_CHUNK = 65_536  # paths that the reference holds at once
_NOISE_CHUNK = 32  # steps whose noise it draws at once


class LineIntegrals(NamedTuple):
    bath: Tensor  # (n,) ∫ 𝐃⁻¹F ∘ dx
    housekeeping: Tensor | None  # (n,) ∫ (𝐃⁻¹F − ∇log p_st) ∘ dx
    excess: Tensor | None  # (n,) ∫ ∇log p_st ∘ dx
    x_end: Tensor  # (n, d)


@plain_precision()
def run_paths(
    force: Field,
    d: ConstantDiffusion | DiffusionField,
    stationary: Callable[[Tensor, float], Tensor] | str | None,
    x: Tensor,
    times: Tensor,
    seed: int,
    path_offset: int,
    backend: str,
    progress: bool = False,
) -> tuple[LineIntegrals, str, str]:
    """The sums of all paths, what ran, and why not the fused kernel."""
    reason = 'backend="reference" was asked for'
    if backend != "reference":
        try:
            pace = Pace(len(x), "path", "entropy production", progress)
            with pace.bar():
                pieces = [
                    _fused(force, d, stationary, x[low:high], times, seed, path_offset + low)
                    for low, high in pace.pieces(0, len(x))
                ]
            return _joined(pieces), "fused", ""
        except NotFusable as error:
            reason = str(error)
            if backend == "fused":
                raise ValueError(f'backend: "fused" cannot run this: {reason}') from None
    integrands = _integrands(force, d, stationary)
    examine("force", lambda points: _checked_force(force, points, times[0].item()), x, force)
    with torch.no_grad(), Bar(total=len(x), progress=progress, unit="path", desc="entropy production") as bar:
        parts = []
        for i, block in enumerate(torch.split(x, _CHUNK) if len(x) else [x]):
            parts.append(_reference(integrands, d, block, times, seed, path_offset + i * _CHUNK))
            bar.update(len(block))
    return _joined(parts), "reference", reason


def _joined(parts: list[LineIntegrals]) -> LineIntegrals:
    bath, housekeeping, excess, x_end = (
        None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True)
    )
    assert bath is not None
    assert x_end is not None
    return LineIntegrals(bath, housekeeping, excess, x_end)


def _fused(
    force: Field,
    d: ConstantDiffusion | DiffusionField,
    stationary: Callable[[Tensor, float], Tensor] | str | None,
    x: Tensor,
    times: Tensor,
    seed: int,
    path_offset: int,
) -> LineIntegrals:
    """Linear paths: ``½ (y + y')ᵀ B (y' − y)`` is ``yᵀ B_a (y' − y)`` and a difference of ``½ yᵀ B_s y``."""
    if not isinstance(force, LinearForce):
        raise NotFusable("the kernel takes a LinearForce alone")
    if not isinstance(d, ConstantDiffusion):
        raise NotFusable("the kernel takes a constant diffusion alone")
    if callable(stationary):
        raise NotFusable("the kernel finds the stationary law itself, and one was given")
    if force.dim > MAX_DIM:
        raise NotFusable(f"the kernel takes at most {MAX_DIM} dimensions, not {force.dim}")
    heat = -force.heat_matrix(d.matrix).T  # B of the bath
    turn = 0.5 * (heat - heat.T)
    y = x - force.center.to(x)
    out = ops.langevin(y, force.matrix, d.factor, turn, times.diff(), seed=seed, path_offset=path_offset)

    def between_ends(symmetric: Tensor) -> Tensor:
        first, last = ((p @ symmetric.to(p) * p).sum(1) for p in (y, out.x_last))
        return 0.5 * (last - first)

    bath = out.work + between_ends(0.5 * (heat + heat.T))
    housekeeping = excess = None
    if stationary == "auto" and force.is_stable():
        precision = force.stationary_precision(d.matrix)
        excess = between_ends(-precision)
        housekeeping = out.work + between_ends(0.5 * (heat + heat.T) + precision)
    return LineIntegrals(bath, housekeeping, excess, out.x_last + force.center.to(x))


# (x, t) to F and to what bath, housekeeping and excess entropy are line integrals of; None where p_st is not known.
Integrands = Callable[[Tensor, float], tuple[Tensor, tuple[Tensor, Tensor | None, Tensor | None]]]


def _reference(
    integrands: Integrands,
    d: ConstantDiffusion | DiffusionField,
    x: Tensor,
    times: Tensor,
    seed: int,
    path_offset: int,
) -> LineIntegrals:
    """Any system, in the dtype of `x`: every integrand at both ends of every step."""
    n, dim = x.shape
    grid = times.tolist()
    draw = partial(ops.normals_reference, dtype=x.dtype) if x.dtype == torch.float64 else ops.normals
    force, before = integrands(x, grid[0])
    sums = [None if field is None else x.new_zeros(n) for field in before]
    drawn = x.new_zeros(n, 0)
    for k, (t, later) in enumerate(itertools.pairwise(grid)):
        phase = k % _NOISE_CHUNK
        if phase == 0:
            count = min(_NOISE_CHUNK, len(grid) - 1 - k) * dim
            drawn = draw(n, count, seed=seed, path_offset=path_offset, first=k * dim).to(x)
        z = drawn[:, phase * dim : (phase + 1) * dim]
        h = later - t
        step = h * force + math.sqrt(h) * d.kick(x, t, z)  # (n, d)
        x = x + step
        force, after = integrands(x, later)
        for i, (total, first, last) in enumerate(zip(sums, before, after, strict=True)):
            if total is not None and first is not None and last is not None:
                sums[i] = total + 0.5 * ((first + last) * step).sum(1)
        before = after
    bath, housekeeping, excess = sums
    assert bath is not None
    return LineIntegrals(bath, housekeeping, excess, x)


def _integrands(
    force: Field, d: ConstantDiffusion | DiffusionField, stationary: Callable[[Tensor, float], Tensor] | str | None
) -> Integrands:
    if isinstance(force, LinearForce) and isinstance(d, ConstantDiffusion) and not callable(stationary):
        center, heat = force.center, force.heat_matrix(d.matrix)
        known = stationary == "auto" and force.is_stable()
        precision = force.stationary_precision(d.matrix) if known else None

        def linear(x: Tensor, t: float) -> tuple[Tensor, tuple[Tensor, Tensor | None, Tensor | None]]:
            y = x - center.to(x)
            bath = -y @ heat.T.to(x)
            if precision is None:
                return force(x, t), (bath, None, None)
            return force(x, t), (bath, y @ (precision - heat).T.to(x), -y @ precision.to(x))

        return linear
    score_of = _score_of(stationary) if callable(stationary) else None

    def general(x: Tensor, t: float) -> tuple[Tensor, tuple[Tensor, Tensor | None, Tensor | None]]:
        f = _checked_force(force, x, t)
        bath = d.heat_force(x, t, f)
        score = None if score_of is None else score_of(x, t)
        return f, (bath, None if score is None else bath - score, score)

    return general


def _score_of(stationary: Callable[[Tensor, float], Tensor]) -> Field:
    own = getattr(stationary, "score", None)
    if callable(own):
        return lambda x, t: own(x, t)

    def score(x: Tensor, t: float) -> Tensor:
        with differentiable():
            points = usable(x).detach().requires_grad_()
            values = stationary(points, t)
            if not isinstance(values, Tensor) or values.shape != (len(x),):
                raise ValueError(f"stationary: expected ({len(x)},), got {described(values)}")
            return gradient("stationary", lambda p: stationary(p, t)[:, None], values.sum(), points)

    return score


def _checked_force(force: Field, x: Tensor, t: float) -> Tensor:
    out = force(x, t)
    if not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
        got = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"force: expected {tuple(x.shape)} {x.dtype} to match the points, got {got}")
    return out


@plain_precision()
def chain_correction(
    force: Field, d: ConstantDiffusion | DiffusionField, x: Tensor, x_end: Tensor, times: Tensor
) -> Tensor:
    """``Σ (h/4) Δ(Fᵀ𝐃⁻¹F)``: with equal steps the difference between the ends."""
    assert isinstance(d, ConstantDiffusion)
    h = ((times[-1] - times[0]) / (len(times) - 1)).item()
    first, last = (
        (f @ d.inverse.to(f) * f).sum(1) for f in (force(x, times[0].item()), force(x_end, times[-1].item()))
    )
    return 0.25 * h * (last - first)
