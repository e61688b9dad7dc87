"""The two pieces of work that are timed, and thermokern's own contestants in them.

Both: time-asymmetry entropy production along whole forward paths of VP(0.1, 20), scheme 'stratonovich', on a uniform
grid over [1e-3, 1], d = 2; the target is a ring of 8 Gaussians (radius 4, standard deviation 0.25, equal weights).

A: the model is a ring too, with the weights 0.02 and 7 times 0.14. Three variants: 'shared' (same means and variances
as the target, so that thermokern shares exponentials), 'moved' (means moved by 1e-3, so that nothing is shared) and
'diagonal' (means moved, and every component its own variance along each axis).

B: the model is a perceptron, 3 hidden layers of 128 SiLU, on x with a bias row of its own at every node, its
divergence exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from thermokern import VP, ops
from thermokern.processes import step_table

DIM = 2
COMPONENTS = 8
SEED = 20
EXACT_PATHS = 1024  # paths that the float64 reference integrates

# Nominal work of one path at one step, in floating-point operations, one multiply-add being two.
# A, per component: differences 2, |d|² 3, exponent 2, maximum 1, its subtraction 1, exp 15, pull 2, curvature 4,
# sums 7; two mixtures. Normals and the step itself are not counted, nor is the work that sharing saves taken off.
FLOPS_A = 2 * COMPONENTS * 37
# B: the matrices alone, applied to the value and to d tangents. The mixture and the activations are not counted.
WIDTHS = (DIM, 128, 128, 128, DIM)
FLOPS_B = 2 * (1 + DIM) * sum(a * b for a, b in pairwise(WIDTHS))

# (steps, noise) -> Δs of every path (n,). Noise is (steps + 1, d, n), zeros at the last node, or None: draw your own.
Run = Callable[[int, Tensor | None], Tensor]


@dataclass(frozen=True)
class Problem:
    """One variant of work A or B: what is integrated, on how many paths, and for how many steps."""

    name: str
    model: ops.Source
    target: ops.MixtureSource
    times: Tensor  # (steps + 1,)
    x: Tensor  # (n, d)
    flops: int  # nominal, per path and step

    @property
    def n(self) -> int:
        return self.x.shape[0]

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @property
    def diagonal(self) -> bool:
        return self.name == "A/diagonal"

    @property
    def shared(self) -> bool:
        return self.name == "A/shared"

    def table(self, steps: int | None = None) -> ops.StepTable:
        """Coefficients of the first `steps` steps."""
        return step_table(VP(0.1, 20.0), self.times if steps is None else self.times[: steps + 1], "stratonovich")

    @cached_property
    def noise(self) -> Tensor:
        """Thermokern's normals for these paths, (steps + 1, d, n); zeros at the last node."""
        drawn = ops.normals(self.n, self.steps * DIM, seed=SEED).view(self.n, self.steps, DIM)
        out = torch.zeros(self.steps + 1, DIM, self.n)
        out[:-1] = drawn.permute(1, 2, 0)
        return out

    @cached_property
    def exact(self) -> Tensor:
        """Δs of the first paths by the float64 reference."""
        x = self.x[:EXACT_PATHS].double()
        return ops.trajectory_reference(x, self.table(), self.model, self.target, seed=SEED).value

    def error(self, value: Tensor) -> float:
        """RMS over paths of the deviation from the float64 reference, nats."""
        return float((value[: len(self.exact)].double() - self.exact).square().mean().sqrt())


@dataclass(frozen=True)
class Contestant:
    """One way to do the work. `candidates` are its tunings; the fastest on this machine is the one that is timed."""

    name: str
    kind: str  # "thermokern", "reference" or "peer"
    candidates: dict[str, Callable[[], Run]]
    timed_steps: int
    n: int


def work_a(quick: bool) -> list[Problem]:
    n, steps = (4096, 200) if quick else (8192, 1000)
    means, variances = _ring()
    moved = means + 1e-3
    axis = torch.arange(COMPONENTS * DIM, dtype=torch.float64).view(COMPONENTS, DIM)
    unequal = variances * (1.0 + 0.3 * torch.sin(axis))
    weights = torch.full((COMPONENTS,), 1.0 / COMPONENTS, dtype=torch.float64)
    model_weights = torch.tensor([0.02] + [0.14] * (COMPONENTS - 1), dtype=torch.float64)
    variants = {
        "A/shared": (means, variances, variances),
        "A/moved": (moved, variances, variances),
        "A/diagonal": (moved, unequal, unequal.flip(0)),
    }
    out = []
    for name, (model_means, model_variances, target_variances) in variants.items():
        times, m, v = _grid(steps)
        model = ops.MixtureSource(model_means, model_variances, model_weights, m, v)
        target = ops.MixtureSource(means, target_variances, weights, m, v)
        out.append(Problem(name, model, target, times, _start(n, means, target_variances), FLOPS_A))
    return out


def work_b(quick: bool) -> list[Problem]:
    n, steps = (1024, 20) if quick else (1024, 200)
    means, variances = _ring()
    weights = torch.full((COMPONENTS,), 1.0 / COMPONENTS, dtype=torch.float64)
    times, m, v = _grid(steps)
    generator = torch.Generator().manual_seed(SEED)
    matrices = [torch.randn(b, a, generator=generator) / math.sqrt(a) for a, b in pairwise(WIDTHS)]
    base, slope = torch.randn(2, sum(WIDTHS[1:]), generator=generator)
    biases = 0.3 * base + 0.3 * times[:, None].float() * slope  # (nodes, units)
    # Near the score of the Gaussian with the ring's covariance, so that Δs stays of the order of the network's output.
    skip = -1.0 / (m.square() * (8.0 + 0.25**2) + v)
    model = ops.MlpSource(matrices, biases, "silu", torch.full((steps + 1,), 0.3), skip.float())
    target = ops.MixtureSource(means, variances, weights, m, v)
    return [Problem("B/mlp", model, target, times, _start(n, means, variances), FLOPS_B)]


def fused(problem: Problem, threads: int = 1, flush: bool = False) -> Contestant:
    """`ops.trajectory`: everything in one call, normals included; `flush`: the caller flushes denormal numbers."""
    tables = {problem.steps: problem.table()}

    def run(steps: int, noise: Tensor | None) -> Tensor:  # its own normals are the noise that all are checked on
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flush)
        out = ops.trajectory(problem.x, tables[steps], problem.model, problem.target, seed=SEED).value
        torch.set_flush_denormal(False)
        torch.set_num_threads(1)
        return out

    name = "thermokern fused" + (f", {threads} threads" if threads > 1 else "") + (", caller flushes" if flush else "")
    return Contestant(name, "thermokern", {"": lambda: run}, problem.steps, problem.n)


def reference(problem: Problem) -> Contestant:
    """`ops.trajectory_reference` in float32 on PyTorch, fewer steps timed."""
    timed = max(1, problem.steps // 20)
    tables = {steps: problem.table(steps) for steps in (timed, problem.steps)}

    def run(steps: int, noise: Tensor | None) -> Tensor:
        return ops.trajectory_reference(problem.x, tables[steps], problem.model, problem.target, seed=SEED).value

    return Contestant("thermokern reference", "reference", {"": lambda: run}, timed, problem.n)


def _ring() -> tuple[Tensor, Tensor]:
    angle = torch.arange(COMPONENTS, dtype=torch.float64) * (2.0 * math.pi / COMPONENTS)
    means = 4.0 * torch.stack([angle.cos(), angle.sin()], dim=1)  # (K, d)
    return means, torch.full_like(means, 0.25**2)


def _grid(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    process = VP(0.1, 20.0)
    times = process.grid(steps, t_eps=1e-3, spacing="uniform")
    return times, process.mean_scale(times), process.variance(times)


def _start(n: int, means: Tensor, variances: Tensor) -> Tensor:
    """Points of the target, at data time, in every component equally many."""
    generator = torch.Generator().manual_seed(SEED)
    component = torch.arange(n) % COMPONENTS
    z = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    return (means[component] + variances[component].sqrt() * z).float().contiguous()
