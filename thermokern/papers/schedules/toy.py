"""The ring of eight Gaussians and a network trained on another: bound and KL of samples, schedule by schedule."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thermokern import ops
from thermokern.models import ScoreLike, load_checkpoint
from thermokern.papers.ding2026.collapses import PROCESS, Collapse, shipped_checkpoints
from thermokern.papers.schedules.rows import Row, rows_of
from thermokern.quantities import Estimate, knn_divergence, optimal_schedule, sample
from thermokern.quantities.schedules.result import FLOW
from thermokern.targets import Distribution, GaussianMixture

SAMPLERS = ("ddpm-optimal", "ddpm-large", "ddpm", "euler-maruyama", FLOW)
FLOW_OBJECTIVES = ("defect", "defect-w2", "klub")
KL = "KL(data ‖ samples)"


def toy_rows(n_table: int, n_samples: int, steps: tuple[int, ...], seed: int, say: Callable[[str], None]) -> list[Row]:
    """Every sampler, number of steps and schedule, for the ring's exact score and for a shipped network."""
    collapse = Collapse(1, 0.09)
    network = shipped_checkpoints() / f"{collapse.name}.safetensors"
    laws: dict[str, tuple[ScoreLike, Distribution]] = {
        "ring": (GaussianMixture.ring(), GaussianMixture.ring()),
        f"network {collapse.name}": (load_checkpoint(network), collapse.mixture),
    }
    out = []
    for law, (model, data) in laws.items():
        for sampler in SAMPLERS:
            say(f"{law}, {sampler}")
            objectives = FLOW_OBJECTIVES if sampler == FLOW else ("own",)
            options = {"sampler": sampler, "n_paths": n_table if sampler != FLOW else 1000, "n_steps": steps}
            found = [optimal_schedule(model, data, PROCESS, objective=o, seed=seed, **options) for o in objectives]  # type: ignore[arg-type]
            t_eps = found[0].nodes.times[0].item()
            truth = _diffused(data, t_eps, n_samples, seed + 1)

            def quality(
                times: Tensor,
                variance: Tensor | None,
                model: ScoreLike = model,
                sampler: str = sampler,
                truth: Tensor = truth,
            ) -> dict[str, Estimate]:
                options = {"times": times, "variance": variance, "batch_size": n_samples, "seed": seed}
                drawn = sample(model, PROCESS, n_samples, method=sampler, shape=(2,), **options)  # type: ignore[call-overload]
                kl = knn_divergence(truth, drawn)
                return {KL: Estimate(kl.value, kl.stderr)}

            for n in steps:
                out += rows_of(law, found, n, quality)
    return out


def _diffused(data: Distribution, t: float, n: int, seed: int) -> Tensor:
    z = ops.normals(n, data.dim, seed=seed, dtype=torch.float64)
    out: Tensor = PROCESS.mean_scale(t) * data.sample(n, seed=seed) + PROCESS.variance(t) ** 0.5 * z
    return out
