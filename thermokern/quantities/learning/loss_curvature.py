"""Hessian and Gauss–Newton part of a denoising loss on a subset of a network's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.models import ScoreModel
from thermokern.models.score_model import check_shape
from thermokern.ops.checks import (
    MOST,
    check_flags,
    check_kind,
    checked_choice,
    checked_integer,
    checked_number,
    checked_path,
    checked_seed,
)
from thermokern.ops.contexts import plain_precision
from thermokern.quantities.engine.batching import points_within
from thermokern.quantities.engine.problem import checked_data, describe
from thermokern.quantities.learning.accumulate import Batch, accumulate
from thermokern.quantities.learning.loss_samples import (
    LOSSES,
    PointLoss,
    Samples,
    denoising_samples,
    given_samples,
)
from thermokern.quantities.learning.products import (
    gauss_newton,
    gauss_newton_product,
    hessian,
    hessian_product,
    lanczos,
)
from thermokern.quantities.learning.result import Curvature
from thermokern.quantities.learning.subset_network import SubsetNetwork, checked_network, try_network
from thermokern.quantities.learning.subsets import ParameterSubset
from thermokern.quantities.results.estimate import Estimate, mean_estimate

PARTS = ("hessian", "gauss-newton")
_SAMPLES = 1024
_CHUNK = 32
_FEWEST = 8
_BATCHES = 16  # of which the error of the trace comes, where samples are enough


def loss_curvature(
    model: ScoreModel | nn.Module,
    x0: Tensor | np.ndarray,
    subset: ParameterSubset,
    *,
    loss: str | PointLoss = "epsilon",
    part: str = "hessian",
    n_samples: int | None = None,
    t_eps: float | None = None,
    split: bool = True,
    top: int | None = None,
    seed: int = 0,
    chunk: int | None = None,
    memory_budget: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> Curvature:
    """The Hessian ``∂²L/∂θ_i ∂θ_j`` of a mean loss by the parameters of a subset, or its Gauss–Newton part.

    For a loss ``w |a f_θ + b|²`` in the network's output f the Hessian is the Gauss–Newton part ``2 w a² JᵀJ``,
    ``J = ∂f/∂θ``, which has no negative eigenvalue, and a part from the residuals. From the same samples the
    Gauss–Newton part is known far better.

    Parameters
    ----------
    model : ScoreModel of a module; or a module, with a loss of your own
        Attention and group normalisation are taken apart into operations that have second derivatives. The network is
        left as it is.
    x0 : Tensor or array
        (n, …) data, at t = 0.
    subset : ParameterSubset
        From :func:`parameter_subset`; p parameters.
    loss : {"epsilon", "likelihood", "score"} or callable
        The weightings of :func:`score_matching_loss`. Or ``loss(network, points) -> (n,)``, the loss of each of the
        points, where ``network`` is called as yours is; no random numbers in it.
    part : {"hessian", "gauss-newton"}
    n_samples : int, optional
        Data point, time and noise are drawn anew for each: 1024 where left out. With a loss of your own the first
        n_samples points, all where left out.
    t_eps : float, optional
        The first time, the process's own choice when left out.
    split : bool
        Eigenvectors from one half of the samples, and their Rayleigh quotients on the other. An eigenvalue on the
        samples that its vector was found on is too large, up to 40 times with few of them.
    top : int, optional
        Only so many leading eigenvectors, by Lanczos' method, from about 3 `top` products with the matrix; without it
        the whole matrix, from p rows.
    seed : int
        Sample i's numbers depend on `seed` and i alone.
    chunk : int, optional
        Samples in a batch: 32, and fewer where there are few samples. Results depend on it by rounding alone.
    memory_budget : int, optional
        Bytes that a batch may take, measured on a few samples, in the place of `chunk`.
    checkpoint : path, optional
        A folder that keeps the sums, from which the same call goes on after a kill, to the same bits; not with `top`.
    progress : bool
        Show a bar that counts products of the Hessian with a vector.

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also for networks in training mode whose modules then are random or use the batch, for
        clipped scores, and for networks that draw random numbers or change their buffers.

    Notes
    -----
    Cost: the Hessian one product for each parameter and sample, about 4 forward passes' time each; the Gauss–Newton
    part a backward pass for each number of the output, or a forward one for each parameter, whichever are fewer. Memory
    p² numbers twice.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Methods 2.4.
    """
    check_flags(split=split, progress=progress)
    network = checked_network(model)
    check_kind("subset", subset, ParameterSubset)
    checked_choice("part", part, PARTS)
    seed, _ = checked_seed(seed)
    data, shape = checked_data("x0", x0)
    check_points("x0", data, shape, network)
    samples = samples_of(model, data, shape, loss, n_samples, t_eps, 1, seed, 0)
    if part == "gauss-newton" and samples.function is not None:
        raise ValueError('part: "gauss-newton" needs one of the named losses, which are quadratic in the output')
    with plain_precision(), torch.inference_mode(False):
        bound = SubsetNetwork(network, subset)
        samples = placed(samples, bound.theta)
        if samples.function is None:
            try_network(network, *samples.points())
        n, p = len(samples), len(bound.theta)
        if n < 2:
            raise ValueError(f"n_samples: expected at least 2, got {n}")
        top = None if top is None else checked_integer("top", top, 1, p + 1)
        if top is not None and checkpoint is not None:
            raise ValueError("checkpoint: expected none with top, whose products are not kept")

        cut = n // 2 if split else n

        def work_on(low: int, high: int) -> Batch:
            few = samples[slice(low, high)]
            name = "first" if high <= cut else "second"
            if part == "gauss-newton":
                total, traces = gauss_newton(bound, few)
                return Batch(name, total, traces)
            total = hessian(bound, few, check=low == 0)
            return Batch(name, total, total.diagonal().double().sum()[None] / len(few))

        size = checked_chunk(chunk, memory_budget, n, lambda few: work_on(0, few), bound.theta.device)
        ranges = [(low, min(low + size, end)) for begin, end in ((0, cut), (cut, n)) for low in range(begin, end, size)]
        settings = {
            "model": describe(model) if isinstance(model, ScoreModel) else {"kind": type(network).__name__},
            "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__),
            "part": part,
            "n_samples": n,
            "split": split,
            "top": top,
            "seed": seed,
            "chunk": size,
            "dtype": str(bound.theta.dtype)[6:],
            "torch": str(torch.__version__),
        }
        if top is not None:
            return _leading(bound, samples, subset, ranges, cut, part, top, seed, settings)
        about = {"network": bound.digest(), "samples": samples.digest(), "part": part, "loss": settings["loss"]}
        sums = accumulate(
            *(work_on, ranges),
            folder=None if checkpoint is None else checked_path("checkpoint", checkpoint),
            about=about,
            per_sample=p,
            progress=progress,
            unit="HVP",
        )
    halves = [0.5 * (total + total.T) / count for total, count in _halves(sums.totals, cut, n)]
    whole = halves[0] if len(halves) == 1 else (cut * halves[0] + (n - cut) * halves[1]) / n
    if not bool(whole.isfinite().all()):
        raise FloatingPointError("model, x0: second derivatives stopped being finite")
    values, vectors = torch.linalg.eigh(halves[0])
    values, vectors = values.flip(0), vectors.flip(1)
    return Curvature(
        subset=subset,
        part=part,
        hessian=whole,
        halves=torch.stack(halves) if split else None,
        eigenvalues=values,
        vectors=vectors,
        held_out=(vectors * (halves[1] @ vectors)).sum(0) if split else None,
        trace=_trace(sums.rows, ranges, part, whole),
        negative_share=(values < 0.0).double().mean().item(),
        settings=settings,
    )


def check_points(name: str, data: Tensor, shape: torch.Size, network: nn.Module) -> None:
    """Raise where there are no points, or others than the network knows to take."""
    if not len(data):
        raise ValueError(f"{name}: expected at least one point, got none")
    check_shape(name, network, data.view(len(data), *shape))


def samples_of(
    model: ScoreModel | nn.Module,
    data: Tensor,
    shape: torch.Size,
    loss: str | PointLoss,
    n_samples: int | None,
    t_eps: float | None,
    draws: int,
    seed: int,
    offset: int,
) -> Samples:
    """The samples of a loss, on the CPU in float64."""
    if n_samples is not None:
        n_samples = checked_integer("n_samples", n_samples, 1, MOST)
    if not isinstance(loss, str):
        if not callable(loss):
            raise TypeError(f"loss: expected one of {LOSSES} or a callable, got {type(loss).__name__}")
        return given_samples(loss, data, shape, n_samples)
    checked_choice("loss", loss, LOSSES)
    if not isinstance(model, ScoreModel):
        raise TypeError(f"model: expected a ScoreModel with the loss {loss!r}, got {type(model).__name__}")
    process = model.process
    t_eps = process.default_t_eps if t_eps is None else t_eps
    t_eps = checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
    n = _SAMPLES if n_samples is None else n_samples
    return denoising_samples(model, data, shape, loss, t_eps, n, draws, seed, offset)


def placed(samples: Samples, like: Tensor) -> Samples:
    """The samples where the network is, in its precision; what it is given in float32 at least is rounded once."""
    parts = tuple(part.to(like) for part in samples.parts)
    return Samples(parts, samples.units, samples.n_units, samples.function)


def checked_chunk(
    chunk: int | None, memory_budget: int | None, n: int, evaluate: Callable[[int], object], device: torch.device
) -> int:
    """Samples in a batch."""
    if chunk is not None:
        return checked_integer("chunk", chunk, 1)
    if memory_budget is not None:
        return points_within(checked_integer("memory_budget", memory_budget, 1), evaluate, n, device)
    return min(_CHUNK, max(_FEWEST, n // _BATCHES))


def _halves(totals: dict[str, Tensor], cut: int, n: int) -> list[tuple[Tensor, int]]:
    counts = {"first": cut, "second": n - cut}
    return [(totals[name], count) for name, count in counts.items() if name in totals]


def _trace(rows: list[Tensor], ranges: list[tuple[int, int]], part: str, whole: Tensor) -> Estimate:
    """Of the matrix; its error from the samples' own traces, or from those of batches of equal size."""
    if part == "gauss-newton":
        return mean_estimate(torch.cat(rows), "")
    size = ranges[0][1] - ranges[0][0]
    means = torch.cat([row for row, (low, high) in zip(rows, ranges, strict=True) if high - low == size])
    stderr = means.std().item() / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return Estimate(whole.trace().item(), stderr, "")


def _leading(
    network: SubsetNetwork,
    samples: Samples,
    subset: ParameterSubset,
    ranges: list[tuple[int, int]],
    cut: int,
    part: str,
    top: int,
    seed: int,
    settings: dict[str, object],
) -> Curvature:
    multiply = gauss_newton_product if part == "gauss-newton" else hessian_product

    def product(vector: Tensor, first: bool) -> Tensor:
        chosen = [pair for pair in ranges if (pair[1] <= cut) == first]
        total = torch.zeros_like(vector)
        for low, high in chosen:
            total = total + multiply(network, samples[slice(low, high)], vector).to("cpu", torch.float64)
        return total / sum(high - low for low, high in chosen)

    values, vectors = lanczos(lambda v: product(v, True), len(network.theta), top, seed)
    held_out = None
    if cut < len(samples):
        held_out = torch.stack([v @ product(v, False) for v in vectors.T])
    return Curvature(
        subset=subset,
        part=part,
        hessian=None,
        halves=None,
        eigenvalues=values,
        vectors=vectors,
        held_out=held_out,
        trace=None,
        negative_share=math.nan,
        settings=settings,
    )
