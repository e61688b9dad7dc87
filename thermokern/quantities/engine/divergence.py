"""Divergence of any vector field at given points, exact or from probes, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thermokern import ops
from thermokern._bars import Bar
from thermokern.models import ScoreModel
from thermokern.models.jacobian import Field, Jacobian, choose_mode, products, trace
from thermokern.models.score_model import checked_output
from thermokern.models.trial import examine
from thermokern.ops.checks import (
    MOST,
    PRECISIONS,
    check_flags,
    checked_array,
    checked_choice,
    checked_integer,
    checked_seed,
    described,
)
from thermokern.ops.contexts import plain_precision
from thermokern.quantities.engine.batching import MAX_POINTS, Batches, points_within
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.targets import Distribution

METHODS = ("exact", "hutchinson")


@stored("divergence")
@dataclass(frozen=True, eq=False)
class Divergence(Result):
    """``∇·s`` at each point.

    Attributes
    ----------
    values, stderr : Tensor
        (n,). The standard error of a mean over probes; zero where exact, NaN from a single probe.
    method, mode : str
        ``exact`` or ``hutchinson``; ``forward`` or ``reverse`` mode of differentiation.
    reason : str
        Why not vectorised forward mode; empty where it served.
    """

    title: ClassVar[str] = "Divergence of a vector field"

    values: Tensor
    stderr: Tensor
    method: str
    mode: str
    reason: str

    def summary(self) -> str:
        """The mean over the points and how it was made, for people."""
        reason = f" ({self.reason})" if self.reason else ""
        return "\n".join(
            [
                f"Divergence at {len(self.values)} points",
                f"  mean over the points    {mean_estimate(self.values.detach(), '')}",
                f"  method                  {self.method}, {self.mode} mode{reason}",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """No law: a field at points."""
        return "the score at the given points and time, whatever law they are from"

    def conclusion(self) -> list[str]:
        """How exact the values are."""
        if self.method == "exact":
            return ["Every value is exact, to rounding."]
        error = self.stderr.double().square().mean().sqrt().item() if len(self.stderr) else math.nan
        if math.isnan(error):
            return ["One probe a point does not tell its error; probes=2 or more do."]
        return [f"A single value has a standard error of {error:.3g} from its probes; four times as many halve it."]

    def numbers(self) -> dict[str, object]:
        """The mean over the points, and how it was made."""
        return {
            "mean": mean_estimate(self.values.detach(), ""),
            "n_points": len(self.values),
            "method": self.method,
            "mode": self.mode,
            "reason": self.reason,
        }

    def columns(self) -> dict[str, Tensor]:
        """A row for each point."""
        return {"value": self.values, "value_stderr": self.stderr}


def divergence(
    field: Callable[..., Tensor],
    x: Tensor,
    t: float | Tensor | None = None,
    *,
    method: str = "exact",
    probes: int = 1,
    kind: str = "rademacher",
    seed: int = 0,
    path_offset: int = 0,
    memory_budget: int | None = None,
    allow_nonfinite: bool = False,
    progress: bool = False,
) -> Divergence:
    """``∇·s = Σ_i ∂s_i/∂x_i`` at points x, exactly or as the mean of ``v·J v`` over random probes v.

    Parameters
    ----------
    field : callable or ScoreModel
        ``field(x)``, or ``field(x, t)`` where `t` is given; each point's value must depend on that point alone.
    x : Tensor
        (n, …) float32 or float64.
    t : float or Tensor, optional
        One time, or (n,).
    method : {"exact", "hutchinson"}
        ``exact``: one product with the Jacobian for each dimension.
    probes : int
        Of each point.
    kind : {"rademacher", "gaussian", "sphere"}
    seed, path_offset : int
        Point ``i`` has the probes of global index ``path_offset + i``.
    memory_budget : int, optional
        Bytes that a batch may take; measured on a few points, and halved where memory runs out all the same.
    allow_nonfinite : bool
        Return NaN or infinite values instead of raising.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Divergence
        Where gradients are enabled ``values`` are differentiable in the field's parameters.

    Raises
    ------
    ValueError
        Naming the argument, or the field when neither mode differentiates it, or when it is no function of one point.
    FloatingPointError
        When values are not finite.

    Notes
    -----
    Forward mode, vectorised over products, where the field has it and it agrees with reverse mode in a trial on two
    points; else reverse mode, and the result says why. Cost: about two evaluations for each product.

    References
    ----------
    Hutchinson, *A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines*, 1989.
    """
    check_flags(allow_nonfinite=allow_nonfinite, progress=progress)
    if isinstance(field, Distribution):
        raise TypeError("field: a distribution knows its divergence: use its divergence(x, t, process)")
    if not callable(field):
        raise TypeError(f"field: expected a callable, got {type(field).__name__}")
    checked_choice("method", method, METHODS)
    checked_choice("kind", kind, ops.PROBES)
    probes = checked_integer("probes", probes, 1, MOST)
    seed, path_offset = checked_seed(seed, path_offset)
    if memory_budget is not None:
        memory_budget = checked_integer("memory_budget", memory_budget, 1)
    points = isinstance(x, Tensor) and x.layout == torch.strided and x.device.type != "meta"
    if not points or x.dim() < 2 or x.dtype not in PRECISIONS or 0 in x.shape[1:]:
        raise ValueError(f"x: expected a tensor (n, …) of float32 or float64, got {described(x)}")
    n, dim = len(x), x.shape[1:].numel()
    times = None if t is None else _times(t, n)
    if not n:
        return Divergence(x.new_zeros(0), x.new_zeros(0), method, "forward", "")
    call, network = _called(field), getattr(field, "network", field)
    examine("field", lambda points: call(points, None if times is None else times[:1].expand(len(points))), x, network)
    way = choose_mode(call, x, times, "field", network)

    def evaluate(low: int, high: int) -> tuple[Tensor, Tensor]:
        points, at = x[low:high], None if times is None else times[low:high]
        if method == "exact":
            value, out = trace(call, points, at, way, dim)
            stderr = torch.zeros_like(out)
        else:
            value, out, stderr = _estimate(call, points, at, way, probes, kind, seed, path_offset + low)
        # Where the field is NaN its derivative may seem to be 0.
        return out.masked_fill(~value.isfinite().flatten(1).all(1), torch.nan), stderr

    size = points_within(memory_budget, lambda count: evaluate(0, count), min(n, MAX_POINTS), x.device)
    with Bar(total=n, progress=progress, unit="point", unit_scale=True, desc="divergence") as bar:

        def counted(low: int, high: int) -> tuple[Tensor, Tensor]:
            found = evaluate(low, high)
            bar.update(high - low)
            return found

        parts = Batches(size).run(n, counted)
    values, stderr = (torch.cat(part) for part in zip(*parts, strict=True))
    if (bad := n - int(values.isfinite().sum())) and not allow_nonfinite:
        raise FloatingPointError(
            f"the divergence is not finite at {bad} of {n} points; allow_nonfinite=True returns them as they are"
        )
    return Divergence(values, stderr, method, way.mode, way.reason)


def _times(t: float | Tensor, n: int) -> Tensor:
    """(n,) float64, on the CPU."""
    times = checked_array("t", t)
    if times.shape not in ((), (n,)):
        raise ValueError(f"t: expected a number or ({n},) to match the points of x, got {tuple(times.shape)}")
    return times.expand(n)


def _called(field: Callable[..., Tensor]) -> Field:
    def call(x: Tensor, t: Tensor | None) -> Tensor:
        with plain_precision():
            if t is None:
                return checked_output("field", field(x), x)
            return field(x, t) if isinstance(field, ScoreModel) else checked_output("field", field(x, t.to(x)), x)

    return call


def _estimate(
    field: Field, x: Tensor, t: Tensor | None, way: Jacobian, probes: int, kind: str, seed: int, path_offset: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The field, and of its divergence the mean over probes and its standard error, (n,) each."""
    n, dim = len(x), x.shape[1:].numel()
    draws = [
        ops.probes(n, dim, kind=kind, seed=seed, path_offset=path_offset, first=probe * dim, dtype=x.dtype)
        for probe in range(probes)
    ]
    value, pushed = products(field, x, t, torch.stack(draws).to(x).reshape(probes, *x.shape), way)
    traces = torch.stack(
        [
            ops.hutchinson(
                pushed[probe].reshape(n, dim), kind=kind, seed=seed, path_offset=path_offset, first=probe * dim
            )
            for probe in range(probes)
        ]
    )  # (probes, n)
    if probes == 1:
        return value, traces[0], torch.full_like(traces[0], float("nan"))
    return value, traces.mean(0), traces.std(0) / probes**0.5
