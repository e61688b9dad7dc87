"""Processes against their differential equations, and their time grids."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_cases import (
    DDPM,
    PLATEAU,
    PROCESSES,
    ROUGH,
    close,
    cosine_of,
    processes,
    sine_of,
)
from torch import Tensor

from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, LinearProcess, SubVP, step_table
from thermokern.processes import PROCESSES as KINDS


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
        own = None if isinstance(process, DiscreteVP) else process.default_spacing  # a table's own grid has whole times
        assert torch.equal(process.grid(10), process.grid(10, process.default_t_eps, own))
    assert {kind.__name__: kind.default_t_eps for kind in KINDS.values() if kind.default_t_eps != 1e-3} == {
        "EDM": 0.002,
        "DiscreteVP": 1.0,
    }
    assert {kind.__name__ for kind in KINDS.values() if kind.default_spacing != "mixed"} == {"EDM"}


def test_grid_of_edm_is_geometric() -> None:
    times = EDM().grid(100)
    assert (times[0].item(), times[-1].item()) == (0.002, 80.0)
    ratio = 40_000.0**0.01
    close(times[1:] / times[:-1], torch.full((100,), ratio, dtype=torch.float64), 1e-13)


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
