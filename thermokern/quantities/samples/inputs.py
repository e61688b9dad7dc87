"""Samples as the estimators take them: checks, units, and an order that depends on the values alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thermokern import ops
from thermokern._info import cuda_absence
from thermokern.ops.checks import (
    LARGEST,
    array_of,
    check_finite,
    checked_array,
    checked_integer,
    checked_number,
    checked_seed,
)

SampleLike = Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]]

# Ranges beyond which squares of differences in float32 leave its numbers: the points are then scaled by a power of two.
_RANGE = (2.0**-30, 2.0**30)
_ROWS = 2**18  # taken at a time where a float64 copy of all would cost memory


def checked_sample(name: str, x: SampleLike, least: int = 2) -> Tensor:
    """`x` as contiguous points (n, d) on the CPU, float32 or float64.

    (n,) is (n, 1); integers, bools and lists become float64, half precision float32. A ValueError or TypeError that
    names the argument for anything else: fewer than `least` points, d = 0, NaN or infinity, a gradient.
    """
    points = array_of(name, x)
    if points.requires_grad:
        raise ValueError(f"{name}: requires a gradient, which this estimator does not give: use {name}.detach()")
    if points.dim() == 1:
        points = points[:, None]
    if points.dim() != 2:
        raise ValueError(f"{name}: expected (n, d) or (n,), got {tuple(points.shape)}; {name}.reshape(n, -1) flattens")
    if points.shape[1] == 0:
        raise ValueError(f"{name}: expected points of at least one dimension, got {tuple(points.shape)}")
    if len(points) < least:
        raise ValueError(f"{name}: expected at least {least} points, got {len(points)}")
    if points.dtype in (torch.float16, torch.bfloat16):
        points = points.to(torch.float32)
    elif points.dtype != torch.float32:
        points = points.to(torch.float64)
    points = points.to("cpu").contiguous()
    check_finite(**{name: points})
    return points


def search_device(x: SampleLike) -> torch.device:
    """Where neighbours of a sample are sought: its CUDA device if kernels run there, or the CPU."""
    if isinstance(x, Tensor) and x.device.type == "cuda" and not cuda_absence():
        return x.device
    return torch.device("cpu")


def checked_neighbours(name: str, k: int, n: int) -> int:
    """`k` as an int, once it is known that 1 ≤ k < n."""
    k = checked_integer(name, k, 1)
    if k >= n:
        raise ValueError(f"{name}: expected fewer neighbours than points, got {k} of {n} points")
    return k


def scaled(x: Tensor, scale: float | Sequence[float] | Tensor | np.ndarray | None) -> tuple[Tensor, float]:
    """Points (n, d) in units of `scale`, and the log of the volume of these units.

    Without `scale`, points whose range would carry squares out of float32 are divided by a power of two, which is
    exact; others are left alone.
    """
    if scale is not None:
        units = checked_array("scale", scale)
        if units.shape not in ((), (x.shape[1],)) or not bool((units > 0).all() and units.isfinite().all()):
            raise ValueError(f"scale: expected positive finite numbers, one or ({x.shape[1]},), got {scale}")
        log_volume = units.expand(x.shape[1]).log().sum().item()
        return (x / units.to(x.dtype)).contiguous(), log_volume
    extent = (x.amax(0).double() - x.amin(0).double()).max().item()
    if extent == 0.0 or _RANGE[0] <= extent <= _RANGE[1]:
        return x, 0.0
    exponent = math.frexp(extent)[1]
    shrunk: Tensor = torch.ldexp(x, torch.tensor(-exponent, device="cpu"))
    return shrunk, x.shape[1] * exponent * math.log(2.0)


def jittered(x: Tensor, jitter: float, seed: int) -> Tensor:
    """Points (n, d) moved by independent uniform numbers on ±jitter/2 along every axis, float64."""
    jitter = checked_number("jitter", jitter, above=0.0)
    if jitter > LARGEST:
        raise ValueError(f"jitter: expected at most {LARGEST:g}, whose square is a number, got {jitter:g}")
    seed, _ = checked_seed(seed)
    z = ops.normals(len(x), x.shape[1], seed=seed, purpose="start", dtype=torch.float64)
    moved: Tensor = x.double() + jitter * (torch.special.ndtr(z) - 0.5)
    return moved


def unit_and_size(base: float | None) -> tuple[str, float]:
    """Name of the unit of information of a logarithm's base, and nats in one; None is e."""
    if base is None:
        return "nats", 1.0
    base = checked_number("base", base, above=0.0)
    if base == 1.0:
        raise ValueError("base: expected a number other than 1, whose logarithm is 0, got 1")
    if base < 1.0:
        raise ValueError(f"base: expected a number above 1, got {base:g}, in whose units errors would be negative")
    named = {2.0: "bits", math.e: "nats", 10.0: "bans"}
    return named.get(base, f"log {base:g}"), math.log(base)


def random_order(x: Tensor, seed: int = 0) -> Tensor:
    """A permutation (n,) int64 that looks random and depends on the values of the points (n, d) and `seed` alone.

    Points given in another order come out in the same one, so what is computed on parts of a sample does not depend on
    how it was handed over.
    """
    return order_of_hashes(row_hashes(x, seed))


def order_of_hashes(hashes: Tensor) -> Tensor:
    """The permutation (n,) int64 that sorts hashes (n,) of 64 bits."""
    return torch.from_numpy(np.argsort(hashes.numpy().view(np.uint64), kind="stable"))


def row_hashes(x: Tensor, seed: int = 0) -> Tensor:
    """64 bits (n,) int64 of the bits of each point (n, d) and `seed`: the finaliser of splitmix64, per column."""
    words = np.uint32 if x.dtype == torch.float32 else np.uint64
    state = np.full(len(x), (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64, dtype=np.uint64)
    for start in range(0, len(x), _ROWS):
        rows, own = x[start : start + _ROWS].numpy(), state[start : start + _ROWS]
        for column in range(rows.shape[1]):
            bits = np.ascontiguousarray(rows[:, column] + rows.dtype.type(0)).view(words)  # + 0: −0 is 0
            own[:] = _mixed(own ^ bits.astype(np.uint64))
    return torch.from_numpy(state.view(np.int64))


def _mixed(state: np.ndarray) -> np.ndarray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed


def digamma(n: int | Tensor) -> Tensor:
    """ψ of positive integers, float64."""
    values: Tensor = torch.special.digamma(torch.as_tensor(n, dtype=torch.float64, device="cpu"))
    return values


def log_unit_ball(dim: int) -> float:
    """Log volume of the Euclidean ball of radius one, ``π^{d/2}/Γ(d/2 + 1)``."""
    return 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim + 1.0)


def sorted_mean(values: Tensor) -> float:
    """Mean of `values` (n,), the same bits in any order of them."""
    return ops.moments(torch.from_numpy(np.sort(values.cpu().numpy()))).mean  # torch.sort makes indices too
