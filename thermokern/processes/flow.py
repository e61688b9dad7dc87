"""Flows as diffusion processes: the interpolation ``x_t = a(t) x_0 + b(t) ε`` of data and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thermokern.ops.checks import checked_number
from thermokern.ops.contexts import differentiable, usable
from thermokern.processes.linear import LinearProcess

Schedule = Callable[[Tensor], Tensor]

_CHECKED_TIMES = 257  # at which a schedule is tried when a flow is made


def rectified_a(t: Tensor) -> Tensor:
    """``a = 1 − t``."""
    return 1.0 - t


def rectified_b(t: Tensor) -> Tensor:
    """``b = t``."""
    return t


class Flow(LinearProcess):
    """The diffusion with the marginals of a flow ``x_t = a(t) x_0 + b(t) ε``: ``m = a``, ``v = b²``, data at t = 0.

    ``f = a'/a`` and ``g² = 2(b b' − b² a'/a)``, with derivatives by autograd. Rectified flow, ``a = 1 − t`` and
    ``b = t``, unless told otherwise: ``f = −1/(1 − t)``, ``g² = 2t/(1 − t)``. These grow without bound as a → 0, so
    time ends before that. Most libraries put the data at t = 1: there t → 1 − t and the velocity changes its sign.
    The prior is N(0, v(t_end) I).

    Parameters
    ----------
    a, b : callable, optional
        Both or neither. Elementwise functions of a tensor of times that torch can differentiate; ``a(0) = 1``,
        ``b(0) = 0``, with ``a/b`` decreasing.
    t_end : float
        Positive, with ``a(t_end) > 0``.

    References
    ----------
    Lipman et al., *Flow matching for generative modeling*, 2023, Eq. 10–15; Liu, Gong and Liu, *Flow straight and fast:
    learning to generate and transfer data with rectified flow*, 2023, Eq. 1.
    """

    def __init__(self, a: Schedule | None = None, b: Schedule | None = None, *, t_end: float = 1.0 - 1e-3) -> None:
        if (a is None) != (b is None):
            raise ValueError("a, b: expected both or neither")
        a, b = rectified_a if a is None else a, rectified_b if b is None else b
        for name, schedule in {"a": a, "b": b}.items():
            if not callable(schedule):
                raise TypeError(f"{name}: expected a callable of a tensor of times, got {type(schedule).__name__}")
        self.a, self.b, self.t_end = a, b, checked_number("t_end", t_end, above=0.0)
        self._check()

    def _check(self) -> None:
        times = torch.linspace(0.0, self.t_end, _CHECKED_TIMES, dtype=torch.float64, device="cpu")
        for name, schedule, first in (("a", self.a, 1.0), ("b", self.b, 0.0)):
            value = schedule(times)
            if not isinstance(value, Tensor) or value.shape != times.shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"{name}: expected a tensor of its times' shape, {tuple(times.shape)}, got {got}")
            if abs(value[0].item() - first) > 1e-12:
                raise ValueError(f"{name}: expected {name}(0) = {first:g}, got {value[0].item():g}")
            if not bool((value[1:] > 0.0).all()):
                raise ValueError(f"{name}: expected positive numbers on (0, t_end], got {value[1:].min().item():g}")
            with differentiable():
                graph = schedule(usable(times).clone().requires_grad_(True)).requires_grad
            if bool((value != value[0]).any()) and not graph:
                raise ValueError(f"{name}: expected a function that torch can differentiate")
        if not bool((self._g2(times)[1:] > 0.0).all()):
            raise ValueError("a, b: expected a/b to decrease with time, so that g² > 0")

    def settings(self) -> dict[str, Any]:
        named = {} if self.a is rectified_a and self.b is rectified_b else {"a": _name(self.a), "b": _name(self.b)}
        return {**named, "t_end": self.t_end}

    def _f(self, t: Tensor) -> Tensor:
        return _slope(self.a, t) / self.a(t)

    def _g2(self, t: Tensor) -> Tensor:
        b = self.b(t)
        return 2.0 * b * (_slope(self.b, t) - b * self._f(t))

    def _mean_scale(self, t: Tensor) -> Tensor:
        return self.a(t)

    def _variance(self, t: Tensor) -> Tensor:
        return self.b(t).square()

    def __repr__(self) -> str:
        return f"Flow({', '.join(f'{name}={_short(value)}' for name, value in self.settings().items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and (self.a, self.b, self.t_end) == (other.a, other.b, other.t_end)

    def __hash__(self) -> int:
        return hash((Flow, self.a, self.b, self.t_end))


def _name(schedule: Schedule) -> str:
    return getattr(schedule, "__qualname__", type(schedule).__name__)


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _slope(function: Schedule, t: Tensor) -> Tensor:
    """Derivative of an elementwise function, same shape as `t`; differentiable again where `t` requires a gradient."""
    again = t.requires_grad
    with differentiable():
        leaf = t if again else usable(t).detach().requires_grad_(True)
        value = function(leaf)
        if not value.requires_grad:  # a constant
            return torch.zeros_like(t)
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=again)
    return slope
