"""Covariance of the gradient of a denoising loss on a subset of a network's parameters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.models import ScoreModel
from thermokern.ops.checks import (
    MOST,
    check_flags,
    check_kind,
    checked_choice,
    checked_integer,
    checked_path,
    checked_seed,
)
from thermokern.ops.contexts import plain_precision
from thermokern.quantities.engine.problem import checked_data, describe
from thermokern.quantities.learning.accumulate import Batch, accumulate
from thermokern.quantities.learning.loss_curvature import check_points, checked_chunk, placed, samples_of
from thermokern.quantities.learning.loss_samples import PointLoss, trajectory_samples
from thermokern.quantities.learning.products import gradients
from thermokern.quantities.learning.result import GradientNoise
from thermokern.quantities.learning.subset_network import SubsetNetwork, checked_network, try_network
from thermokern.quantities.learning.subsets import ParameterSubset
from thermokern.quantities.results.estimate import Estimate, mean_estimate

PER = ("sample", "trajectory")
# Samples that no loss_curvature of the same seed has.
_OFFSET = 2**61
_CHUNK = 64
_SAMPLES = {"sample": 4096, "trajectory": 512}


def gradient_noise(
    model: ScoreModel | nn.Module,
    x0: Tensor | np.ndarray,
    subset: ParameterSubset,
    *,
    loss: str | PointLoss = "epsilon",
    per: str = "sample",
    n_samples: int | None = None,
    draws: int = 2,
    n_steps: int = 50,
    t_eps: float | None = None,
    seed: int = 0,
    chunk: int | None = None,
    memory_budget: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> GradientNoise:
    """The covariance of single samples' gradients ``∇l_i``, centred, over data, time and noise.

    ``C = E ∇l ∇lᵀ − E∇l E∇lᵀ = between + within``: the covariance of the mean gradient of a data point, and the mean
    covariance at one. The covariance of a batch of B follows from these, see :meth:`GradientNoise.per_batch`; to
    estimate it from batches would take B times the samples.

    Parameters
    ----------
    model, x0, subset, loss
        As :func:`loss_curvature` takes them.
    per : {"sample", "trajectory"}
        ``trajectory``: the gradient of Δs of a forward path, ``∇ Σ ½ Δq |S_θ|² + S_θ·Δy`` (backward Itô), which needs
        no reference, since that does not depend on the model.
    n_samples : int, optional
        4096 where left out, 512 trajectories; with a loss of your own all points.
    draws : int
        Times and noises, or paths, of each data point that is drawn; `n_samples` is a multiple of it.
    n_steps : int
        Of a trajectory, on the process's own grid.
    t_eps, seed, chunk, memory_budget, checkpoint, progress
        As of :func:`loss_curvature`, whose samples of the same seed are others. `chunk` counts samples or trajectories.

    Returns
    -------
    GradientNoise

    Raises
    ------
    ValueError, TypeError
        As :func:`loss_curvature` does.

    Notes
    -----
    Cost: a forward and a backward pass for each sample, `n_steps` of them for each trajectory. Memory: n_samples · p
    numbers in the network's precision.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Methods 2.4.
    """
    check_flags(progress=progress)
    network = checked_network(model)
    checked_choice("per", per, PER)
    seed, _ = checked_seed(seed)
    check_kind("subset", subset, ParameterSubset)
    draws = checked_integer("draws", draws, 1, MOST)
    data, shape = checked_data("x0", x0)
    check_points("x0", data, shape, network)
    own = not isinstance(loss, str)
    draws = 1 if own else draws
    n = _SAMPLES[per] if n_samples is None and not own else n_samples
    if n is not None and (checked_integer("n_samples", n, 1, MOST) % draws or n < 2 * draws):
        raise ValueError(f"n_samples: expected a multiple of draws = {draws}, at least two of them, got {n}")
    if per == "trajectory":
        if not isinstance(model, ScoreModel) or own:
            raise TypeError("model: expected a ScoreModel, and a named loss, for trajectories")
        times = model.process.grid(checked_integer("n_steps", n_steps, 1, MOST), t_eps)
        assert n is not None
        samples = trajectory_samples(model, data, shape, times, n, draws, seed, _OFFSET)
    else:
        samples = samples_of(model, data, shape, loss, n, t_eps, draws, seed, 0 if own else _OFFSET)
    with plain_precision(), torch.inference_mode(False):
        bound = SubsetNetwork(network, subset)
        samples = placed(samples, bound.theta)
        if samples.function is None:
            try_network(network, *samples.points())
        if len(samples) < 2:
            raise ValueError(f"n_samples: expected at least 2, got {len(samples)}")

        def work_on(low: int, high: int) -> Batch:
            few = samples[slice(low, high)]
            with torch.no_grad():
                losses = few.losses(bound.at(bound.theta))
            return Batch("", None, torch.cat([losses[:, None], gradients(bound, few)], 1))

        if chunk is None and memory_budget is None:
            chunk = max(1, _CHUNK // (n_steps if per == "trajectory" else 1))
        size = checked_chunk(chunk, memory_budget, len(samples), lambda few: work_on(0, few), bound.theta.device)
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        about: dict[str, object] = {
            "network": bound.digest(),
            "samples": samples.digest(),
            "per": per,
            "loss": name,
        }
        sums = accumulate(
            work_on,
            [(low, min(low + size, len(samples))) for low in range(0, len(samples), size)],
            folder=None if checkpoint is None else checked_path("checkpoint", checkpoint),
            about=about,
            per_sample=1,
            progress=progress,
            unit="gradient",
        )
    rows = torch.cat(sums.rows).double()
    if not bool(rows.isfinite().all()):
        raise FloatingPointError("model, x0: losses or gradients stopped being finite")
    losses, found = rows[:, 0], rows[:, 1:]
    between, within = parts_of_covariance(found, draws)
    mean = found.mean(0)
    grouped = (found - mean).square().sum(1).view(-1, draws).mean(1)
    covariance = between + within
    return GradientNoise(
        subset=subset,
        per=per,
        covariance=covariance,
        between=between,
        within=within,
        mean=mean,
        trace=Estimate(covariance.trace().item(), grouped.std().item() / math.sqrt(len(grouped)), ""),
        loss=mean_estimate(losses.view(-1, draws).mean(1), "" if per == "sample" else "nats"),
        n_data=samples.n_units,
        settings={
            "model": describe(model) if isinstance(model, ScoreModel) else {"kind": type(network).__name__},
            "loss": name,
            "per": per,
            "n_samples": len(samples),
            "draws": draws,
            **({"n_steps": n_steps} if per == "trajectory" else {}),
            "dim": shape.numel(),
            "seed": seed,
            "chunk": size,
            "dtype": str(bound.theta.dtype)[6:],
            "torch": str(torch.__version__),
        },
    )


def sample_gradients(
    model: ScoreModel, x0: Tensor | np.ndarray, subset: ParameterSubset, *, n_samples: int, seed: int = 0
) -> Tensor:
    """Gradients (n_samples, p) float64 of the loss ``epsilon`` of single samples, each of a data point of its own."""
    data, shape = checked_data("x0", x0)
    check_points("x0", data, shape, checked_network(model))
    samples = samples_of(model, data, shape, "epsilon", n_samples, None, 1, checked_seed(seed, 0)[0], _OFFSET)
    with plain_precision(), torch.inference_mode(False):
        bound = SubsetNetwork(checked_network(model), subset)
        samples = placed(samples, bound.theta)
        parts = [gradients(bound, samples[slice(low, low + _CHUNK)]) for low in range(0, n_samples, _CHUNK)]
    return torch.cat(parts).double().cpu()


def parts_of_covariance(rows: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Covariance (p, p) between groups of `draws` consecutive rows (n, p), and within them; both without bias."""
    groups = rows.view(-1, draws, rows.shape[1])
    means = groups.mean(1)
    centred = means - means.mean(0)
    between = centred.T @ centred / (len(means) - 1)
    if draws == 1:
        return between, torch.zeros_like(between)
    inside = (groups - means[:, None]).flatten(0, 1)
    within = inside.T @ inside / (len(means) * (draws - 1))
    return between - within / draws, within
