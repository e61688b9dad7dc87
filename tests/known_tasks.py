"""Pairs whose mutual information is known: tasks of Czyż et al., *Beyond normal*, 2023, from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import thermokern as tk

F64 = torch.float64
Pairs = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """Pairs x (n, d) and y (n, d_y) by their number and a seed, and their information, nats."""

    information: float
    draw: Callable[[int, int], Pairs]


def dense(dim: int) -> Task:
    """For x and y `dim` normal components each, any two of which correlate by ½."""

    def log_det(k: int) -> float:
        return (k - 1) * math.log(0.5) + math.log(1.0 + 0.5 * (k - 1))

    def draw(n: int, seed: int) -> Pairs:
        z = tk.ops.normals(n, 2 * dim + 1, seed=seed, dtype=F64)
        both = math.sqrt(0.5) * (z[:, 1:] + z[:, :1])
        return both[:, :dim].contiguous(), both[:, dim:].contiguous()

    return Task(log_det(dim) - 0.5 * log_det(2 * dim), draw)


def student_information(dim: int, freedom: float) -> float:
    """Of two blocks of `dim` components of a Student law whose dispersion is the identity."""
    nu = torch.tensor([freedom, freedom + dim, freedom + 2 * dim], dtype=F64)
    entropies = torch.special.gammaln(0.5 * nu) - 0.5 * nu * torch.special.digamma(0.5 * nu)
    return (entropies[0] - 2.0 * entropies[1] + entropies[2]).item()


def student(dim: int, freedom: int) -> Task:
    """No two components correlate, but all are divided by one root of χ²/ν."""

    def draw(n: int, seed: int) -> Pairs:
        z = tk.ops.normals(n, 2 * dim + freedom, seed=seed, dtype=F64)
        both = z[:, : 2 * dim] / (z[:, 2 * dim :].square().mean(1, keepdim=True)).sqrt()
        return both[:, :dim].contiguous(), both[:, dim:].contiguous()

    return Task(student_information(dim, freedom), draw)


def additive(noise: float) -> Task:
    """A number x uniform on [0, 1], and y = x + a uniform number of ±`noise`."""

    def draw(n: int, seed: int) -> Pairs:
        u: Tensor = torch.special.ndtr(tk.ops.normals(n, 2, seed=seed, dtype=F64))
        return u[:, :1].contiguous(), u[:, :1] + noise * (2.0 * u[:, 1:] - 1.0)

    return Task(0.25 / noise if noise > 0.5 else noise - math.log(2.0 * noise), draw)


def _half_cube(x: Tensor) -> Tensor:
    return x * x.abs().sqrt()


def _wiggly_x(x: Tensor) -> Tensor:
    return x + 0.4 * x.sin() + 0.2 * (1.7 * x + 1.0).sin() + 0.03 * (3.3 * x - 2.5).sin()


def _wiggly_y(y: Tensor) -> Tensor:
    return y - 0.4 * (0.4 * y).sin() + 0.17 * (1.3 * y + 3.5).sin() + 0.02 * (4.3 * y - 2.5).sin()


IMAGES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "Gaussian 1 × 1": (lambda x: x, lambda y: y),
    "its normal CDF": (torch.special.ndtr, torch.special.ndtr),
    "its half cube": (_half_cube, _half_cube),
    "its wiggly image": (_wiggly_x, _wiggly_y),
}


def image(name: str) -> Task:
    """Correlation ¾, each coordinate by a monotone function, which leaves the information as it is."""

    def draw(n: int, seed: int) -> Pairs:
        z = tk.ops.normals(n, 2, seed=seed, dtype=F64)
        one, other = IMAGES[name]
        return one(z[:, :1].contiguous()), other(0.75 * z[:, :1] + math.sqrt(1.0 - 0.75**2) * z[:, 1:])

    return Task(-0.5 * math.log(1.0 - 0.75**2), draw)


TASKS: dict[str, Task] = {
    **{name: image(name) for name in IMAGES},
    "additive noise ±0.75": additive(0.75),
    "additive noise ±0.1": additive(0.1),
    "Gaussian 5 × 5, dense": dense(5),
    "Student 5 × 5, ν = 2": student(5, 2),
    "Gaussian 50 × 50, dense": dense(50),
}


def normal_scores(x: Tensor) -> Tensor:
    """Each column's ranks as quantiles of N(0, 1): a monotone function of each coordinate, whatever it was."""
    ranks = x.argsort(0).argsort(0).to(F64)
    return torch.special.ndtri((ranks + 0.5) / len(x))
