"""Processes against their differential equations, time grids, and step tables against independent densities."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from thermokern.ops import SCHEMES, StepTable, trajectory_reference
from thermokern.ops.step_table import COLUMNS
from thermokern.processes import (
    EDM,
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    Flow,
    LinearProcess,
    SubVP,
    step_table,
)
from thermokern.processes import (
    PROCESSES as KINDS,
)

vp = st.builds(lambda low, more: VP(low, low + more), st.floats(0.0, 5.0), st.floats(0.01, 30.0))
ve = st.builds(VE, st.floats(1.01, 100.0))
sub_vp = st.builds(lambda low, more: SubVP(low, low + more), st.floats(0.0, 5.0), st.floats(0.01, 30.0))
cosine = st.builds(CosineVP, st.floats(1e-3, 0.5), st.floats(1e-6, 0.1))
edm = st.builds(EDM, st.floats(1.0, 200.0))
discrete = st.lists(st.floats(1e-5, 0.5), min_size=2, max_size=30).map(
    lambda betas: DiscreteVP((1.0 - torch.tensor(betas, dtype=torch.float64)).cumprod(0))
)


def cosine_of(t: Tensor) -> Tensor:
    return torch.cos(0.5 * math.pi * t)


def sine_of(t: Tensor) -> Tensor:
    return torch.sin(0.5 * math.pi * t)


flow = st.one_of(
    st.builds(lambda t_end: Flow(t_end=t_end), st.floats(0.6, 0.9999)),
    st.builds(lambda t_end: Flow(cosine_of, sine_of, t_end=t_end), st.floats(0.6, 0.999)),
    st.builds(
        lambda rate, scale: Flow(lambda t: torch.exp(-rate * t), lambda t: scale * t * (1.0 + t), t_end=2.0),
        st.floats(0.1, 3.0),
        st.floats(0.1, 10.0),
    ),
    st.builds(lambda scale: Flow(torch.ones_like, lambda t: scale * t, t_end=3.0), st.floats(0.1, 10.0)),
)
processes = st.one_of(vp, ve, sub_vp, cosine, edm, discrete, flow)

# DDPM's own table, β from 1e-4 to 0.02 in 1000 steps, and a short one that is anything but smooth.
DDPM = DiscreteVP((1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0))
ROUGH = DiscreteVP([0.99, 0.7, 0.69, 0.2])
PLATEAU = DiscreteVP([0.5, 0.5 - 1e-16])  # β too small for float64 to tell v(1.25) from v(1.75)
NEW = [SubVP(), SubVP(0.0, 4.0), CosineVP(), CosineVP(0.1, 0.01), EDM(), EDM(5.0), DDPM, ROUGH, Flow(), Flow(t_end=0.7)]
PROCESSES = [VP(), VP(0.0, 3.0), VP(2.0, 2.0), VP.from_sigma(10.0), VE(), VE(1.5), VE(90.0), *NEW]
PROCESSES.append(Flow(cosine_of, sine_of, t_end=0.98))


def close(actual: Tensor, expected: Tensor, relative: float, absolute: float = 0.0) -> None:
    """Rounding in float64; the same shape and dtype."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == torch.float64
    error, bound = (actual - expected).abs(), relative * expected.abs() + absolute
    assert bool((error <= bound).all()), f"off by {error.max().item():.3g}"


def derivative(function, t: Tensor) -> Tensor:
    leaf = t.clone().requires_grad_(True)
    value = function(leaf)
    if not value.requires_grad:  # a constant
        return torch.zeros_like(t)
    return torch.autograd.grad(value.sum(), leaf)[0]


# ---- the equations of the mean scale and the variance


@given(processes)
def test_moments_obey_their_equations(process: LinearProcess) -> None:
    t = torch.linspace(1e-6, process.t_end, 41, dtype=torch.float64)
    f, g2, m, v = process.f(t), process.g2(t), process.mean_scale(t), process.variance(t)
    close(derivative(process.mean_scale, t), f * m, 1e-13, 1e-300)
    terms = (2.0 * f * v).abs() + g2  # which may cancel
    assert bool(((derivative(process.variance, t) - (2.0 * f * v + g2)).abs() <= 1e-13 * terms).all())
    zero = torch.zeros(1, dtype=torch.float64)
    assert process.mean_scale(zero).item() == 1.0
    assert process.variance(zero).item() == 0.0
    assert bool((v > 0).all())
    assert bool((g2 > 0).all())
    close(process.log_snr(t), (m.square() / v).log(), 1e-13, 1e-13)


@given(processes, st.floats(1e-9, 1e-5))
def test_variance_is_accurate_at_small_times(process: LinearProcess, t: float) -> None:
    # v = ∫ g² e^{2∫f}: three terms of its Taylor series at 0, from f and g² alone
    at = [
        process.g2(t * node) * math.exp(2.0 * t * (1.0 - node) * process.f(0.5 * t * (1.0 + node)))
        for node in (0.5 - math.sqrt(0.15), 0.5, 0.5 + math.sqrt(0.15))
    ]
    gauss_legendre = t * (5.0 * at[0] + 8.0 * at[1] + 5.0 * at[2]) / 18.0
    assert abs(process.variance(t) - gauss_legendre) <= 1e-13 * gauss_legendre


@given(processes)
def test_floats_and_tensors_agree(process: LinearProcess) -> None:
    t = torch.tensor([0.1, 0.7], dtype=torch.float64)
    for function in (process.f, process.g2, process.mean_scale, process.variance, process.log_snr):
        assert [function(time) for time in t.tolist()] == function(t).tolist()


def test_known_values() -> None:
    b = 0.1 + 0.5 * 19.9
    assert abs(VP().mean_scale(1.0) - math.exp(-b / 2)) < 1e-16
    assert abs(VP().variance(1.0) - (1.0 - math.exp(-b))) < 1e-15
    assert VP().f(0.5) == -0.5 * (0.1 + 0.5 * 19.9)
    assert abs(VE(25.0).variance(1.0) - 624.0 / (2.0 * math.log(25.0))) < 1e-12
    assert abs(VE(25.0).g2(0.5) - 25.0) < 1e-13


def test_known_values_of_the_schedules() -> None:
    b = 0.1 + 0.5 * 19.9
    assert abs(SubVP().variance(1.0) - (1.0 - math.exp(-b)) ** 2) < 1e-15
    assert abs(SubVP().g2(1.0) - 20.0 * (1.0 - math.exp(-2.0 * b))) < 1e-14
    assert SubVP().g2(0.0) == 0.0
    angle, first = 0.5 * math.pi * 0.308 / 1.008, 0.5 * math.pi * 0.008 / 1.008
    assert abs(CosineVP().mean_scale(0.3) - math.cos(angle) / math.cos(first)) < 1e-15
    assert abs(CosineVP().g2(0.3) - math.pi * math.tan(angle) / 1.008) < 1e-14
    assert CosineVP().t_end < 1.0
    assert abs(CosineVP().mean_scale(CosineVP().t_end) ** 2 / 1e-4 - 1.0) < 1e-11
    assert (EDM().t_end, EDM().g2(3.0), EDM().variance(3.0), EDM().mean_scale(3.0)) == (80.0, 6.0, 9.0, 1.0)
    assert (Flow().mean_scale(0.25), Flow().variance(0.25), Flow().t_end) == (0.75, 0.0625, 0.999)
    assert abs(Flow().f(0.25) + 1.0 / 0.75) < 1e-15
    assert abs(Flow().g2(0.25) - 0.5 / 0.75) < 1e-15


@given(st.floats(0.1, 100.0), st.floats(0.0, 1.0))
def test_vp_from_sigma(sigma: float, ratio: float) -> None:
    process = VP.from_sigma(sigma, ratio)
    assert abs(math.exp(process.log_snr(1.0)) * sigma**2 - 1.0) < 1e-12
    assert abs(process.beta_min / (0.5 * (process.beta_min + process.beta_max)) - ratio) < 1e-14


def test_vp_from_sigma_leaves_a_part_of_the_data() -> None:
    """m(1)² = 1/101 at σ = 10: what makes p_T differ from the prior."""
    assert abs(VP.from_sigma(10.0).mean_scale(1.0) ** 2 * 101.0 - 1.0) < 1e-13


def test_steps_of_a_table_are_whole_times() -> None:
    alphas_cumprod = [0.99, 0.7, 0.69, 0.2]
    for k, alpha_bar in enumerate(alphas_cumprod):
        assert abs(ROUGH.mean_scale(k + 1.0) ** 2 - alpha_bar) < 1e-15
        assert abs(ROUGH.variance(k + 1.0) - (1.0 - alpha_bar)) < 1e-15
    assert abs(ROUGH.g2(1.0) - math.log(0.99 / 0.7)) < 1e-15  # of the interval that begins at t = 1
    assert ROUGH.g2(4.0) == ROUGH.g2(3.5)
    assert ROUGH.t_end == 4.0
    assert DDPM.grid(999).tolist() == [float(t) for t in range(1, 1001)]


def test_a_table_of_a_smooth_schedule_is_the_smooth_process() -> None:
    """ᾱ of VP at 4000 times gives VP back, its time in units of steps."""
    n, smooth = 4000, VP()
    knots = torch.arange(1, n + 1, dtype=torch.float64) / n
    process = DiscreteVP(smooth.mean_scale(knots).square())
    t = torch.linspace(0.05, 0.95, 37, dtype=torch.float64)
    assert ((process.mean_scale(n * t) / smooth.mean_scale(t) - 1.0).abs() < 1e-6).all()
    assert ((n * process.g2(n * t) / smooth.g2(t) - 1.0).abs() < 3e-3).all()


def test_derivatives_of_a_flow_are_differentiable_and_need_no_gradient_mode() -> None:
    t = torch.tensor([0.2, 0.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(Flow().f(t).sum(), t)
    close(slope, -1.0 / (1.0 - t.detach()).square(), 1e-14)
    with torch.no_grad():
        close(Flow().f(t), -1.0 / (1.0 - t), 1e-14)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_prior(process: LinearProcess) -> None:
    variance = 1.0 if isinstance(process, VP | SubVP | CosineVP | DiscreteVP) else process.variance(process.t_end)
    x = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
    expected = -0.5 * (x.square().sum(1) / variance + 3 * math.log(2 * math.pi * variance))
    close(process.prior(3).log_prob(x), expected, 1e-14)


def test_processes_are_values() -> None:
    assert VP() == VP(0.1, 20.0)
    assert VP() != VP(0.1, 19.0)
    assert VP() != VE()
    assert len({VE(2.0), VE(2.0), VE(3.0)}) == 2
    assert EDM() != VE()
    assert SubVP() != VP()
    assert Flow() == Flow(t_end=0.999)
    assert Flow() != Flow(t_end=0.99)
    assert Flow(cosine_of, sine_of) == Flow(cosine_of, sine_of) != Flow()
    assert DiscreteVP([0.9, 0.5]) == DiscreteVP(torch.tensor([0.9, 0.5], dtype=torch.float64)) != DiscreteVP([0.9, 0.4])
    assert len({repr(process) for process in PROCESSES}) == len(set(PROCESSES)) == len(PROCESSES)
    assert max(len(repr(process)) for process in PROCESSES) < 80
    assert {type(process) for process in PROCESSES} == set(KINDS.values())
    for process in PROCESSES:
        if not process.settings().keys() & {"a", "b"}:  # a flow's own functions are no settings
            again = KINDS[type(process).__name__](**json.loads(json.dumps(process.settings())))
            assert again == process
            assert hash(again) == hash(process)


def test_representations() -> None:
    assert repr(CosineVP()) == "CosineVP(s=0.008, alpha_bar_min=0.0001)"
    assert repr(EDM()) == "EDM(sigma_max=80)"
    assert repr(ROUGH) == "DiscreteVP(4 steps, alphas_cumprod 0.99 to 0.2)"
    assert repr(Flow()) == "Flow(t_end=0.999)"
    assert repr(Flow(cosine_of, sine_of)) == "Flow(a=cosine_of, b=sine_of, t_end=0.999)"


# ---- grids


@given(processes, st.integers(1, 300), st.floats(1e-6, 0.5), st.sampled_from(["uniform", "log-snr"]))
def test_grid(process: LinearProcess, n_steps: int, t_eps: float, spacing: str) -> None:
    times = process.grid(n_steps, t_eps, spacing)
    assert times.shape == (n_steps + 1,)
    assert times.dtype == torch.float64
    assert times[0].item() == t_eps
    assert times[-1].item() == process.t_end
    assert bool((times.diff() > 0).all())
    even = times if spacing == "uniform" else process.log_snr(times)
    span = (even[-1] - even[0]).item()
    close(even.diff(), torch.full((n_steps,), span / n_steps, dtype=torch.float64), 1e-9, 1e-12 * even.abs().max())


@given(processes, st.floats(1e-4, 1.0))
def test_time_of_a_signal_to_noise_ratio(process: LinearProcess, share: float) -> None:
    log_snr = process.log_snr(share * process.t_end)
    assert abs(process.log_snr(process.time_at(log_snr)) - log_snr) < 1e-9
    assert abs(process.time_at(process.log_snr(process.t_end) - 1.0) / process.t_end - 1.0) < 1e-15


def test_default_grid_is_a_known_spacing() -> None:
    for process in PROCESSES:
        assert torch.equal(process.grid(10), process.grid(10, process.default_t_eps, process.default_spacing))
    assert {kind.__name__: kind.default_t_eps for kind in KINDS.values() if kind.default_t_eps != 1e-3} == {
        "EDM": 0.002,
        "DiscreteVP": 1.0,
    }
    assert {kind.__name__ for kind in KINDS.values() if kind.default_spacing != "uniform"} == {"EDM"}


def test_grid_of_edm_is_geometric() -> None:
    times = EDM().grid(100)
    assert (times[0].item(), times[-1].item()) == (0.002, 80.0)
    ratio = 40_000.0**0.01
    close(times[1:] / times[:-1], torch.full((100,), ratio, dtype=torch.float64), 1e-13)


# ---- step tables


def table_of(process: LinearProcess, scheme: str, n_steps: int = 9, spacing: str = "log-snr") -> StepTable:
    return step_table(process, process.grid(n_steps, 1e-2, spacing), scheme)


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
        assert abs(table.chain_variance_ratio - ratios.max().item()) < 1e-12


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
    ratios = process.g2(table.times[1:]) / process.g2(table.times[:-1])
    assert abs(table.chain_variance_ratio / ratios.max().item() - 1.0) < 1e-13


# ---- errors name the argument


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: VP(beta_min=-1.0), "beta_min"),
        (lambda: VP(beta_min=math.nan), "beta_min"),
        (lambda: VP(1.0, 0.5), "beta_max"),
        (lambda: VP(0.0, 0.0), "beta_max"),
        (lambda: VP(0.0, math.inf), "beta_max"),
        (lambda: VE(1.0), "sigma"),
        (lambda: VE(math.nan), "sigma"),
        (lambda: VP.from_sigma(0.0), "sigma"),
        (lambda: VP.from_sigma(math.nan), "sigma"),
        (lambda: VP.from_sigma(10.0, 1.5), "ratio"),
        (lambda: VP.from_sigma(10.0, math.nan), "ratio"),
        (lambda: SubVP(-0.1), "beta_min"),
        (lambda: SubVP(0.1, math.inf), "beta_max"),
        (lambda: CosineVP(0.0), "s"),
        (lambda: CosineVP(math.inf), "s"),
        (lambda: CosineVP(0.008, 0.0), "alpha_bar_min"),
        (lambda: CosineVP(0.008, math.nan), "alpha_bar_min"),
        (lambda: EDM(0.0), "sigma_max"),
        (lambda: EDM(math.inf), "sigma_max"),
        (lambda: DiscreteVP([0.5]), "alphas_cumprod"),
        (lambda: DiscreteVP([[0.5, 0.4]]), "alphas_cumprod"),
        (lambda: DiscreteVP([0.5, 0.6]), "alphas_cumprod"),
        (lambda: DiscreteVP([0.5, 0.5]), "alphas_cumprod"),
        (lambda: DiscreteVP([1.0, 0.5]), "alphas_cumprod"),
        (lambda: DiscreteVP([0.5, 0.0]), "alphas_cumprod"),
        (lambda: DiscreteVP([0.5, math.nan]), "alphas_cumprod"),
        (lambda: DiscreteVP("linear"), "alphas_cumprod"),
        (lambda: Flow(cosine_of), "a, b"),
        (lambda: Flow("cos", sine_of), "a"),
        (lambda: Flow(cosine_of, lambda t: 0.5), "b"),
        (lambda: Flow(cosine_of, lambda t: t.sum()), "b"),
        (lambda: Flow(sine_of, sine_of), "a"),
        (lambda: Flow(cosine_of, cosine_of), "b"),
        (lambda: Flow(cosine_of, lambda t: -t), "b"),
        (lambda: Flow(cosine_of, lambda t: t.detach()), "b"),
        (lambda: Flow(t_end=1.0), "a"),
        (lambda: Flow(t_end=0.0), "t_end"),
        (lambda: Flow(t_end=math.nan), "t_end"),
        (lambda: Flow(torch.ones_like, lambda t: t * (1.0 - t), t_end=0.9), "a, b"),
        (lambda: EDM().grid(10, 80.0), "t_eps"),
        (lambda: VP().grid(0), "n_steps"),
        (lambda: VP().grid(2.5), "n_steps"),
        (lambda: VP().grid(True), "n_steps"),
        (lambda: VP().grid(10, 0.0), "t_eps"),
        (lambda: VP().grid(10, 1.0), "t_eps"),
        (lambda: VP().grid(10, math.nan), "t_eps"),
        (lambda: VP().grid(10, 1e-3, "log"), "spacing"),
        (lambda: step_table(VP(), VP().grid(3), "strato"), "scheme"),
        (lambda: step_table(VP(), VP().grid(3), "sampler", chain="ddim"), "chain"),
        (lambda: step_table(VP(), VP().grid(3), "ito", chain="ddpm"), "chain"),
        (
            lambda: step_table(PLATEAU, torch.tensor([1.25, 1.75]), "sampler", chain="ddpm"),
            "times",
        ),
        (lambda: step_table(VP(), torch.tensor([0.5]), "ito"), "times"),
        (lambda: step_table(VP(), torch.tensor([0.5, 0.4]), "ito"), "times"),
        (lambda: step_table(VP(), torch.tensor([0.5, 0.5]), "ito"), "times"),
        (lambda: step_table(VP(), torch.tensor([0.5, math.nan]), "ito"), "times"),
        (lambda: step_table(VP(), torch.zeros(2, 2), "ito"), "times"),
    ],
)
def test_errors_name_the_argument(call, name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{name}: expected"):
        call()
