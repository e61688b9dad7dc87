"""Step tables against independent densities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_cases import (
    PROCESSES,
    close,
    processes,
)
from torch import Tensor
from torch.distributions import Normal

from thermokern.ops import SCHEMES, StepTable, trajectory_reference
from thermokern.ops.step_table import COLUMNS
from thermokern.processes import VE, LinearProcess, step_table


def table_of(process: LinearProcess, scheme: str, n_steps: int = 9, spacing: str = "log-snr") -> StepTable:
    """Of Euler–Maruyama paths."""
    by = {"forward": "euler-maruyama"} if scheme == "sampler" else {"integrator": "euler-maruyama"}
    return step_table(process, process.grid(n_steps, 1e-2, spacing), scheme, **by)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_table_steps_are_euler_maruyama(process: LinearProcess, scheme: str) -> None:
    table = table_of(process, scheme)
    h, t = table.times.diff(), table.times[:-1]
    close(table.column("drift")[:-1], 1.0 + process.f(t) * h, 1e-15)
    close(table.column("noise")[:-1], (process.g2(t) * h).sqrt(), 1e-15)
    assert table.column("drift")[-1].item() == 1.0
    assert table.column("noise")[-1].item() == 0.0
    assert table.columns.shape == (10, len(COLUMNS))
    assert table.columns.dtype == torch.float64
    close(table.mean_scale, process.mean_scale(table.times), 0.0)
    close(table.variance, process.variance(table.times), 0.0)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_table_products(process: LinearProcess) -> None:
    ito, middle, backward = (table_of(process, scheme) for scheme in ("ito", "stratonovich", "backward-ito"))
    h, diffusion = ito.times.diff(), 0.5 * process.g2(ito.times)
    root = (2.0 * diffusion).sqrt()
    zero = torch.zeros(1, dtype=torch.float64)
    close(ito.column("energy"), torch.cat([diffusion[:-1] * h, zero]), 1e-14)
    close(ito.column("work_drawn"), torch.cat([root[:-1] * h.sqrt(), zero]), 1e-14)
    close(ito.column("work_carried"), torch.zeros_like(diffusion), 0.0)
    close(backward.column("energy"), torch.cat([zero, diffusion[1:] * h]), 1e-14)
    close(backward.column("work_carried"), torch.cat([zero, root[1:] * h.sqrt()]), 1e-14)
    close(backward.column("work_drawn"), torch.zeros_like(diffusion), 0.0)
    for name in ("energy", "work_carried", "work_drawn", "mismatch"):
        close(middle.column(name), 0.5 * (ito.column(name) + backward.column(name)), 1e-14)
    assert [table.divergence_weight for table in (ito, middle, backward)] == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mismatch_weights_integrate_the_diffusion(scheme: str) -> None:
    process = VE(5.0)
    table = table_of(process, scheme, 2000, "uniform")
    v = process.variance
    expected = 0.5 * (v(1.0) - v(1e-2))  # f = 0: dv/dt = g² = 2 D
    assert abs(table.column("mismatch").sum().item() / expected - 1.0) < {"stratonovich": 1e-6}.get(scheme, 1e-3)


@given(processes, st.integers(0, 8), st.integers(0, 2**31))
def test_sampler_chain_against_densities(process: LinearProcess, k: int, seed: int) -> None:
    """One step's log density ratio of the forward chain over the reverse chain, from torch.distributions."""
    table = table_of(process, "sampler")
    generator = torch.Generator().manual_seed(seed)
    x, z, s = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    c = {name: table.column(name)[k].item() for name in COLUMNS}
    d = {name: table.column(name)[k + 1].item() for name in COLUMNS}
    t, t_next = table.times[k].item(), table.times[k + 1].item()
    h = t_next - t

    after = (1.0 + process.f(t) * h) * x + math.sqrt(process.g2(t) * h) * z
    forward = Normal((1.0 + process.f(t) * h) * x, math.sqrt(process.g2(t) * h)).log_prob(after).sum()
    mean = after - process.f(t_next) * after * h + process.g2(t_next) * s * h
    reverse = Normal(mean, math.sqrt(process.g2(t_next) * h)).log_prob(x).sum()

    close(c["drift"] * x + c["noise"] * z, after, 1e-13, 1e-13)
    w = d["chain_position"] * x + d["chain_noise"] * z + d["chain_score"] * s
    step = (w * (z + 0.5 * w)).sum() + 5 * 0.5 * math.log(process.g2(t_next) / process.g2(t))
    size = (
        1.0 + w.square().sum() + z.square().sum() + forward.abs() + reverse.abs() + x.square().sum() / c["noise"] ** 2
    )
    assert abs(step - (forward - reverse)) <= 1e-11 * size


@given(processes, st.integers(0, 8), st.integers(0, 2**31), st.sampled_from(["ddpm", "ddpm-large"]))
def test_ddpm_chains_against_bayes(process: LinearProcess, k: int, seed: int, chain: str) -> None:
    """q(x_k | x_{k+1}, x_0) from the product of q(x_{k+1} | x_k) and q(x_k | x_0), at x_0 = (x_{k+1} + v s)/m."""
    table = step_table(process, process.grid(9, 1e-2, "log-snr"), "sampler", chain=chain)
    generator = torch.Generator().manual_seed(seed)
    x, z, s = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    c = {name: table.column(name)[k].item() for name in COLUMNS}
    d = {name: table.column(name)[k + 1].item() for name in COLUMNS}
    (m, v), (m_next, v_next) = ((process.mean_scale(t), process.variance(t)) for t in table.times[k : k + 2].tolist())
    transition = m_next / m
    added = v_next - transition**2 * v  # so that v is that of the process at both ends

    after = transition * x + math.sqrt(added) * z
    forward = Normal(transition * x, math.sqrt(added)).log_prob(after).sum()
    data = (after + v_next * s) / m_next
    precision = 1.0 / v + transition**2 / added
    mean = (m * data / v + transition * after / added) / precision
    spread = 1.0 / precision if chain == "ddpm" else added
    reverse = Normal(mean, math.sqrt(spread)).log_prob(x).sum()

    close(c["drift"] * x + c["noise"] * z, after, 1e-12, 1e-12)
    w = d["chain_position"] * x + d["chain_noise"] * z + d["chain_score"] * s
    variance = (math.sqrt(added) / transition / (1.0 + d["chain_noise"])) ** 2  # of the reverse step
    assert abs(variance / spread - 1.0) < 1e-10
    step = (w * (z + 0.5 * w)).sum() + 5 * 0.5 * math.log(variance / added)
    terms = data.square() * m * m * v / v_next**2 / spread + x.square() / spread + after.square() / added
    size = 1.0 + w.square().sum() + z.square().sum() + forward.abs() + reverse.abs() + terms.sum()
    assert abs(step - (forward - reverse)) <= 1e-11 * size


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("chain", ["ddpm", "ddpm-large"])
def test_ddpm_chains_keep_the_law_and_a_positive_variance(process: LinearProcess, chain: str) -> None:
    """At the default first time and on both grids; the forward chain goes through N(m x_0, v I) at every node."""
    for spacing in ("uniform", "log-snr"):
        table = step_table(process, process.grid(50, None, spacing), "sampler", chain=chain)
        assert bool(table.columns.isfinite().all())
        m, v = table.mean_scale[0].item(), table.variance[0].item()
        for k in range(50):
            drift, noise = table.column("drift")[k].item(), table.column("noise")[k].item()
            m, v = drift * m, drift**2 * v + noise**2
            assert abs(m / table.mean_scale[k + 1].item() - 1.0) < 1e-12
            assert abs(v / table.variance[k + 1].item() - 1.0) < 1e-12
        ratios = table.variance[:-1] / table.variance[1:] if chain == "ddpm" else torch.ones(50, dtype=torch.float64)
        assert bool((ratios > 0.0).all())
        assert abs(table.chain_log_scale - 0.5 * ratios.log().sum().item()) < 1e-9


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_sampler_chain_as_a_whole(process: LinearProcess) -> None:
    """The op's sum and the table's constant are the log density ratio of two whole chains, Δ without its end terms."""
    table, dim = table_of(process, "sampler"), 2
    start = torch.randn(6, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    path: list[Tensor] = []

    def model(x: Tensor, node: int) -> tuple[Tensor, None]:
        path.append(x)
        return torch.sin(x) - 0.3 * node, None

    out = trajectory_reference(start, table, model, lambda x, node: (torch.zeros_like(x), None), seed=5)
    total = torch.zeros(6, dtype=torch.float64)
    for k, h in enumerate(table.times.diff().tolist()):
        t, t_next = table.times[k].item(), table.times[k + 1].item()
        score = torch.sin(path[k + 1]) - 0.3 * (k + 1)
        mean = path[k + 1] - process.f(t_next) * path[k + 1] * h + process.g2(t_next) * score * h
        forward = Normal(path[k] * (1.0 + process.f(t) * h), math.sqrt(process.g2(t) * h))
        reverse = Normal(mean, math.sqrt(process.g2(t_next) * h))
        total += (forward.log_prob(path[k + 1]) - reverse.log_prob(path[k])).sum(1)
    close(out.value + dim * table.chain_log_scale, total, 1e-10, 1e-10)
