"""Denormal numbers: what kernels make of them is not the caller's setting, which every call leaves alone."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.processes import flow_table, rate_table, step_table

F32, F64 = torch.float32, torch.float64
TINY = {F32: 1e-40, F64: 1e-310}  # denormal
CLOSE = {F32: 1e-28, F64: 1e-163}  # distances whose squares are denormal, among points of the size of one
UNEQUAL, EQUAL = [1.0] + 7 * [7.0], 8 * [1.0]

Call = Callable[[], tuple[Tensor | float, ...]]


def flushes() -> bool:
    """Whether this thread writes zero in place of denormal numbers."""
    return sys.float_info.min * 0.5 == 0.0


@contextmanager
def flushing(setting: bool) -> Iterator[None]:
    """The caller's setting. The rest of the suite runs with denormal numbers kept."""
    assert torch.set_flush_denormal(setting)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def ring(table: ops.StepTable | ops.FlowTable, radius: float, spread: float, weights: list[float]) -> ops.MixtureSource:
    angle = 2.0 * math.pi * torch.arange(8, dtype=F64) / 8
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    w = torch.tensor(weights, dtype=F64)
    return ops.MixtureSource(means, torch.full_like(means, spread**2), w / w.sum(), table.mean_scale, table.variance)


# ---- every kernel, its arguments made beforehand; a third of the points are too small for normal numbers


def trajectory(x: Tensor) -> Call:
    table = step_table(tk.VP(), tk.VP().grid(11), "stratonovich")
    model, reference = ring(table, 4.0, 0.25, UNEQUAL), ring(table, 4.0, 0.25, EQUAL)
    return lambda: ops.trajectory(x, table, model, reference)


def averages(x: Tensor) -> Call:
    table = rate_table(tk.VP(), tk.VP().grid(5, 1e-2))
    model, reference = ring(table, 4.0, 0.25, UNEQUAL), ring(table, 4.0, 0.25, EQUAL)
    return lambda: ops.trajectory_averages(x, table, model, reference)


def flow(x: Tensor) -> Call:
    table = flow_table(tk.VP(), 1e-3, 6)
    score = ring(table, 4.0, 0.25, EQUAL)
    return lambda: ops.probability_flow(x, table, score, rtol=1e-2, atol=1e-2)


def perceptron(x: Tensor) -> Call:
    weights = [torch.ones(5, 2, dtype=x.dtype), torch.ones(2, 5, dtype=x.dtype)]
    return lambda: ops.mlp_score_divergence(x, weights, torch.zeros(7, dtype=x.dtype), "silu", 1.0, 0.5)


def step(x: Tensor) -> Call:
    table = step_table(tk.VP(), tk.VP().grid(4), "ito")
    return lambda: ops.trajectory_step(x, -x, x.flip(0), table, 1, divergence=x[:, 0], carried=x)


def langevin(x: Tensor) -> Call:
    one, steps = torch.eye(2, dtype=F64), torch.full((3,), 0.1, dtype=F64)
    return lambda: ops.langevin(x, one, 1e-20 * one, 0.0 * one, steps)


def gaussian_gap(x: Tensor) -> Call:
    rows, ones = x.T.contiguous(), torch.ones(2, dtype=x.dtype)
    level = torch.full((len(x),), 0.5, dtype=x.dtype)
    return lambda: (ops.gaussian_gap(rows, -rows, torch.eye(2, dtype=x.dtype), ones, 2 * ones, ones, level, level),)


def mlp_gap(x: Tensor) -> Call:
    rows, ones = x.T.contiguous(), torch.ones(2, dtype=x.dtype)
    level = torch.full((len(x),), 0.5, dtype=x.dtype)
    weights, context = [torch.eye(2, dtype=x.dtype)] * 2, [torch.eye(2, dtype=x.dtype)] * 2
    seen, axes = (rows[:0], torch.stack([rows, -rows])), (rows, rows + 1.0, rows)
    return lambda: (ops.mlp_gap(rows, weights, [ones, ones], "silu", context, *seen, *axes, ones, level, level),)


def mixture(x: Tensor) -> Call:
    parameters = torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64), torch.ones(1, dtype=F64)
    return lambda: ops.mixture_score(x, *parameters)


def neighbours(x: Tensor) -> Call:
    y = ops.normals(len(x), 2, dtype=x.dtype)
    y[::3] *= CLOSE[x.dtype]
    tree, radius = tk.KDTree(y), torch.full((len(y),), CLOSE[x.dtype], dtype=x.dtype)
    return lambda: (*tree.neighbours(3, indices=True), *tree.query(y, 2), tree.count_within(y, radius))


KERNELS = {
    "mixture": mixture,
    "perceptron": perceptron,
    "trajectory": trajectory,
    "averages": averages,
    "flow": flow,
    "step": step,
    "gaussian gap": gaussian_gap,
    "perceptron gap": mlp_gap,
    "hutchinson": lambda x: lambda: (ops.hutchinson(x),),
    "langevin": langevin,
    "normals": lambda x: lambda: (ops.normals(len(x), 2, dtype=x.dtype),),
    "neighbours": neighbours,
    "moments": lambda x: lambda: ops.moments(x[::3, 0].contiguous()),
}


def points(dtype: torch.dtype, n: int = 606) -> Tensor:
    x = ops.normals(n, 2, purpose="start", dtype=dtype)
    x[::3] *= TINY[dtype]
    return x


def bits(numbers: tuple[Tensor | float, ...]) -> list[bytes]:
    return [torch.as_tensor(n, dtype=None if isinstance(n, Tensor) else F64).numpy().tobytes() for n in numbers]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_the_callers_setting(kernel: str, dtype: torch.dtype, threads: int) -> None:
    torch.set_num_threads(threads)
    call = KERNELS[kernel](points(dtype))
    kept = bits(call())
    assert not flushes()
    with flushing(True):
        flushed = bits(call())
        assert flushes(), "the call changed the caller's setting"
    assert kept == flushed


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("setting", [False, True])
def test_denormal_numbers_are_zero_in_scores_alone(dtype: torch.dtype, setting: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    x = points(dtype, 900_000 if threads > 1 else 9000)[::3].contiguous()  # enough for all threads to take some
    scores, tree, values = mixture(x), neighbours(x[:600]), x[:, 0].contiguous()
    with flushing(setting):
        score = scores()[0]
        distances = tree()[0]
        largest = ops.exponential_sums(values, 1.0)[0]
    assert (x != 0).double().mean() > 0.999  # the others are below the smallest denormal number
    assert (score == 0).all()
    assert (distances > 0).all()
    assert (distances < CLOSE[dtype]).any()
    assert float(largest) == float(values.double().max())


def test_threads_that_a_kernel_starts_keep_the_callers_setting() -> None:
    """PyTorch computes on the same threads afterwards."""
    code = (
        "import torch; torch.set_num_threads(4); from thermokern import ops; ops.normals(400_000, 2);"
        "assert (torch.full((4_000_000,), 1e-40) * torch.ones(1) != 0).all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_handler_of_signals_computes_in_the_callers_setting() -> None:
    table = step_table(tk.VP(), tk.VP().grid(300), "stratonovich")
    model, reference, x = ring(table, 4.0, 0.25, UNEQUAL), ring(table, 4.0, 0.25, EQUAL), points(F32, 9000)
    for setting in (False, True):
        seen: list[bool] = []
        before = signal.signal(signal.SIGALRM, lambda *_, seen=seen: seen.append(flushes()))
        try:
            with flushing(setting):
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                give_up = time.monotonic() + 30.0
                while not seen and time.monotonic() < give_up:
                    ops.trajectory(x, table, model, reference)
                assert flushes() == setting
        finally:
            signal.signal(signal.SIGALRM, before)
        assert seen == [setting]


def test_far_tails_are_as_fast_as_near_ones() -> None:
    """Densities of far components fall below the smallest normal number: a tenfold cost where that is an exception."""
    table = step_table(tk.VP(), tk.VP().grid(100), "stratonovich")
    x = ops.normals(4096, 2, purpose="start")
    ways = {"near": (0.1, 1.0), "far": (40.0, 0.25)}
    pairs = {way: (ring(table, *shape, UNEQUAL), ring(table, *shape, EQUAL)) for way, shape in ways.items()}

    def seconds(way: str) -> float:
        start = time.perf_counter()
        ops.trajectory(x, table, *pairs[way])
        return time.perf_counter() - start

    fastest = dict.fromkeys(ways, math.inf)
    for _ in range(40):  # the fastest of many on a machine that others use too
        for way in ways:
            fastest[way] = min(fastest[way], seconds(way))
    assert fastest["far"] < 1.2 * fastest["near"]
