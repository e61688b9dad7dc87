"""What the tests of schedules share: the ring, a shipped network, Gaussians by exact moments."""

from __future__ import annotations

import math
from importlib.resources import files

import torch
from torch import Tensor

import thermokern as tk
from thermokern.processes import LinearProcess
from thermokern.quantities.schedules.pairs import Nodes, cost_table, pairs_of, thermodynamic_length
from thermokern.quantities.schedules.result import Schedules

F64 = torch.float64
RING, VP = tk.GaussianMixture.ring(), tk.VP()
FAMILY = ("ddpm-optimal", "ddpm", "ddpm-large")


def network() -> tk.ScoreModel:
    """A shipped network, to which the ring is not quite what it has learnt."""
    model = tk.load_checkpoint(str(files("thermokern.papers.ding2026") / "checkpoints" / "m1_eps0.09.safetensors"))
    assert isinstance(model.network, torch.nn.Module)
    model.network.double()
    return model


def log_sigma_nodes(process: LinearProcess, count: int, t_eps: float) -> Tensor:
    return process.grid(count - 1, t_eps, "log-snr")


def gaussian(sampler: str, process: LinearProcess, times: Tensor, eigenvalues: list[float]) -> Schedules:
    """The result for N(0, diag λ) and its own score by exact moments: ``E|δ|² = Σ m² λ/(v (m² λ + v))``."""
    nodes, law = Nodes.of(process, times), torch.tensor(eigenvalues, dtype=F64)
    dim = len(law)
    m2, v = nodes.mean_scale[:, None].square(), nodes.variance[:, None]
    moments = (m2 * law / (v * (m2 * law + v))).sum(1, keepdim=True)
    spread = m2 * law + v  # (M, d)
    prior = process.prior(dim).variance
    ends = 0.5 * (spread[-1] / prior + (2.0 * math.pi * prior).log()).sum()
    ends = ends - 0.5 * (2.0 * math.pi * math.e * spread[0]).log().sum()
    return Schedules(
        sampler=sampler,
        objective="own",
        kind="KL",
        dim=dim,
        nodes=nodes,
        cost=cost_table(pairs_of(sampler, nodes, dim, moments), moments),
        stderr=torch.full((len(times), len(times)), math.nan, dtype=F64),
        n_steps=(5, 10, 20),
        data_std=law.mean().sqrt().item(),
        length=thermodynamic_length(sampler, nodes, dim, moments),
        whole_times=False,
        moments=moments,
        held_out=moments.expand(2, -1, -1),
        ends=ends.expand(2),
        settings={"process": repr(process)},
    )
