"""TAEP against closed forms: end-point ratios, orders of convergence, fluctuation theorem, calibrated errors."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from quadrature import RingMixture, taep_moments
from scipy import stats

import thermokern as tk
from thermokern.processes import CHAINS, LinearProcess, step_table

RARE = [0.02] + [0.14] * 7
EQUAL = [0.125] * 8
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
PROCESSES = {
    "VP": tk.VP(),
    "VE": tk.VE(),
    "SubVP": tk.SubVP(),
    "CosineVP": tk.CosineVP(),
    "EDM": tk.EDM(),
    "DiscreteVP": tk.DiscreteVP((1.0 - BETAS).cumprod(0)),
    "Flow": tk.Flow(),
}
TARGET = tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=RARE)


def rms(x: torch.Tensor) -> float:
    return x.double().square().mean().sqrt().item()


@pytest.fixture(params=PROCESSES.values(), ids=PROCESSES.keys())
def process(request: pytest.FixtureRequest) -> LinearProcess:
    return request.param


@pytest.mark.parametrize(("scheme", "bound"), [("stratonovich", 0.01), ("ito", 0.08), ("backward-ito", 0.08)])
def test_each_path_against_its_end_points(process: LinearProcess, scheme: str, bound: float) -> None:
    """Δs = log(p/q)(x_start) − log(p/q)(x_end); Ding, Quan and Tu, Eq. 36. A wrong factor of ∇·s fails by far."""
    result = tk.taep(MODEL, TARGET, process, n_paths=4000, scheme=scheme, extrapolate=False)
    assert result.backend == "fused"
    assert result.endpoint_log_ratio is not None
    error = rms(result.values - result.endpoint_log_ratio)
    assert error < bound
    assert result.endpoint_log_ratio.std().item() > 5 * bound


def test_edm_s_own_grid_serves_the_ring() -> None:
    """1000 steps uniform in log t; uniform in t the same number leaves an error of a tenth of the signal."""
    own, uniform = (
        tk.taep(MODEL, TARGET, tk.EDM(), n_paths=4000, scheme="stratonovich", spacing=spacing)
        for spacing in (None, "uniform")
    )
    assert (own.settings["spacing"], own.settings["t_eps"]) == ("log-snr", 0.002)
    assert rms(own.values - own.endpoint_log_ratio) < 0.02
    assert rms(uniform.values - uniform.endpoint_log_ratio) > 0.04


def test_end_point_ratio_is_that_of_an_independent_density() -> None:
    process = tk.VP()
    result = tk.taep(MODEL, TARGET, process, n_paths=500)
    p, q = RingMixture(EQUAL), RingMixture(RARE)
    expected = 0.0
    for x, t, sign in ((result.x_start, 1e-3, 1.0), (result.x_end, 1.0, -1.0)):
        m, v = process.mean_scale(t), process.variance(t)
        points = x.double().numpy()
        expected = expected + sign * (p.log_density(points, m, v) - q.log_density(points, m, v))
    assert np.abs(result.endpoint_log_ratio.numpy() - expected).max() < 2e-4


@pytest.mark.parametrize(("scheme", "order"), [("ito", 0.5), ("backward-ito", 0.5), ("stratonovich", 1.0)])
def test_order_of_convergence(process: LinearProcess, scheme: str, order: float) -> None:
    """Slope of the per-path error against the step over five halvings, float64, within 0.1 of theory.

    Two Gaussians whose score difference is smooth, so that the asymptotic regime begins early; both mean and variance
    differ, so that the divergence counts.
    """
    p, q = tk.Gaussian([0.3, -0.2], 0.9), tk.Gaussian([0.0, 0.1], 1.3)
    steps = [256, 512, 1024, 2048, 4096, 8192]
    t_eps = 0.05 if isinstance(process, tk.EDM) else 0.05 * process.t_end
    errors = []
    for n_steps in steps:
        options = {"n_steps": n_steps, "t_eps": t_eps, "scheme": scheme, "dtype": torch.float64}
        result = tk.taep(q, p, process, n_paths=1500, extrapolate=False, **options)
        errors.append(rms(result.values - result.endpoint_log_ratio))
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.1, f"errors {errors}"


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("n_steps", [200, 1000])
def test_sampler_scheme_obeys_the_fluctuation_theorem_at_any_number_of_steps(n_steps: int, chain: str) -> None:
    result = tk.taep(MODEL, TARGET, tk.VP(), n_paths=100_000, n_steps=n_steps, scheme="sampler", chain=chain)
    average = result.fluctuation_theorem
    assert abs(average.z(1.0)) < 3.0
    assert average.stderr < 0.02
    assert result.settings["chain"] == chain


def options_of(chain: str) -> dict[str, str]:
    """The chain's options; ``euler-maruyama`` means forward steps of that name, too."""
    if chain == "euler-maruyama":
        return {"chain": chain, "forward": chain}
    return {} if chain == "exact forward steps" else {"chain": chain}


def gaussian_chain(process: LinearProcess, t: float, after: float, variance: float, chain: str) -> tuple[float, ...]:
    """For data N(0, `variance`) and its own score: forward ``F, G²`` and reverse ``a, C``, x_k ~ N(a x_{k+1}, C).

    DDPM's by the textbook: ``q(x_k | x_{k+1}, x_0)`` at ``x_0 = E[x_0 | x_{k+1}] = m σ²/(m² σ² + v) x_{k+1}``.
    """
    (m, v), (m_after, v_after) = ((process.mean_scale(s), process.variance(s)) for s in (t, after))
    law = m_after**2 * variance + v_after
    if chain == "euler-maruyama":
        h, push = after - t, process.g2(after) * (after - t)
        return 1.0 + process.f(t) * h, process.g2(t) * h, 1.0 - process.f(after) * h - push / law, push
    forward = m_after / m
    added = v_after - forward**2 * v
    if chain == "exact forward steps":
        return forward, added, *gaussian_chain(process, t, after, variance, "euler-maruyama")[2:]
    a = forward * v / v_after + m * added / v_after * m_after * variance / law
    return forward, added, a, added * (v / v_after if chain == "ddpm" else 1.0)


@pytest.mark.parametrize("chain", [*CHAINS, "exact forward steps"])
@pytest.mark.parametrize("n_steps", [50, 400])
@pytest.mark.parametrize("name", ["VP", "EDM"])
def test_sampler_mean_is_the_exact_price_of_the_steps(name: str, n_steps: int, chain: str) -> None:
    """A Gaussian and its own score: the chains are linear, and KL(forward ‖ reverse) follows from second moments.

    With S_k the variance of x_k: E|x_k − a x_{k+1}|² of the reverse step is (1 − a F)² S_k + a² G².
    """
    variance, process = 0.3, PROCESSES[name]
    target = tk.Gaussian([0.0], variance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        result = tk.taep(
            target, target, process, n_paths=100_000, n_steps=n_steps, scheme="sampler", **options_of(chain)
        )
    times = process.grid(n_steps).tolist()
    first, last = (process.mean_scale(t) ** 2 * variance + process.variance(t) for t in (times[0], times[-1]))
    step = first
    kl = -0.5 * np.log(2 * np.pi * first) - 0.5
    for t, after in itertools.pairwise(times):
        forward, noise, a, reverse_noise = gaussian_chain(process, t, after, variance, chain)
        residual = (1.0 - a * forward) ** 2 * step + a**2 * noise
        kl += 0.5 * np.log(reverse_noise / noise) - 0.5 + 0.5 * residual / reverse_noise
        step = forward**2 * step + noise
    kl -= -0.5 * np.log(2 * np.pi * last) - 0.5 * step / last
    assert abs(result.mean.z(kl)) < 3.0, (result.mean, kl)
    assert kl > 5.0 * result.mean.stderr


def test_ddpm_s_variances_are_each_exact_for_one_law(process: LinearProcess) -> None:
    """β̃ for a single point, under any process; β for N(0, I), where that law stays what it is. No step costs anything.

    Rounding in float64, where Δ is a difference of log densities of either chain.
    """
    options = {"n_paths": 200, "n_steps": 20, "spacing": "uniform", "scheme": "sampler", "dtype": torch.float64}
    point = tk.Gaussian([0.7, -0.2], 1e-18)
    assert tk.taep(point, point, process, chain="ddpm", **options).values.abs().max().item() < 1e-6
    if isinstance(process, tk.VP | tk.CosineVP | tk.DiscreteVP):
        normal = tk.Gaussian([0.0, 0.0])
        assert tk.taep(normal, normal, process, chain="ddpm-large", **options).values.abs().max().item() < 1e-9


def test_price_of_fifty_steps_by_chain() -> None:
    """DDPM's larger variance is cheapest; β̃ is dear where steps are long against t, so less on log-SNR grids."""
    price = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        for chain, spacing in itertools.product(CHAINS, ("uniform", "log-snr")):
            options = {"n_paths": 20_000, "n_steps": 50, "scheme": "sampler", "spacing": spacing, **options_of(chain)}
            price[chain, spacing] = tk.taep(TARGET, TARGET, tk.VP(), **options).mean.value
    expected = {"euler-maruyama": (1.75, 0.96), "ddpm": (50.1, 1.62), "ddpm-large": (0.31, 0.41)}
    for chain, values in expected.items():
        for spacing, value in zip(("uniform", "log-snr"), values, strict=True):
            assert abs(price[chain, spacing] / value - 1.0) < 0.06, (chain, spacing, price)


def test_too_few_steps_warn_that_few_paths_carry_the_average() -> None:
    options = {"spacing": "uniform", "scheme": "sampler", "forward": "euler-maruyama"}
    with pytest.warns(tk.FewPathsWarning, match=r"about .* of 100000 paths carry it.*infinite"):
        result = tk.taep(MODEL, TARGET, tk.VP(), n_paths=100_000, n_steps=50, **options)
    assert result.fluctuation_theorem.effective_sample_size < 0.01 * 100_000


def test_standard_errors_are_calibrated() -> None:
    """200 seeds: z-scores of mean, variance and ⟨e^{−Δs}⟩ against quadrature are standard normal."""
    process = tk.VP()
    times = [(process.mean_scale(t), process.variance(t)) for t in (1e-3, 1.0)]
    truth = taep_moments(RingMixture(EQUAL), RingMixture(RARE), *times)
    scores: dict[str, list[float]] = {"mean": [], "variance": [], "fluctuation_theorem": []}
    for seed in range(200):
        result = tk.taep(MODEL, TARGET, process, n_paths=2000, seed=seed)
        scores["mean"].append(result.mean.z(truth["mean"]))
        scores["variance"].append(result.variance.z(truth["variance"]))
        scores["fluctuation_theorem"].append(result.fluctuation_theorem.z(1.0))
    for name, z in scores.items():
        p_value = stats.kstest(z, "norm").pvalue
        assert p_value > 0.01, f"{name}: KS p = {p_value:.2g}, mean z {np.mean(z):.2f}, std z {np.std(z):.2f}"


def test_mean_is_the_score_matching_integral(process: LinearProcess) -> None:
    """⟨Δs⟩ = ∫ D ⟨|δ|²⟩ dt, Eq. 33, path by path paired: the difference has a martingale's mean."""
    result = tk.taep(MODEL, TARGET, process, n_paths=100_000)
    assert abs(result.mean.value - result.score_matching.value) < 3.0 * result.mean.stderr
    assert result.score_matching.stderr < result.mean.stderr
    assert result.score_matching.value > 20.0 * result.mean.stderr


def test_equal_scores_give_exactly_zero(process: LinearProcess) -> None:
    for scheme in ("stratonovich", "ito", "backward-ito"):
        result = tk.taep(TARGET, TARGET, process, n_paths=100, n_steps=50, scheme=scheme)
        assert torch.equal(result.values, torch.zeros(100))
        assert result.score_matching.value == 0.0


def test_paths_do_not_depend_on_threads_chunks_or_offset() -> None:
    whole = tk.taep(MODEL, TARGET, tk.VP(), n_paths=2500, n_steps=100, seed=3)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            again = tk.taep(MODEL, TARGET, tk.VP(), n_paths=2500, n_steps=100, seed=3)
            assert torch.equal(again.values, whole.values)
            for name in ("mean", "variance", "fluctuation_theorem", "score_matching"):
                assert getattr(again, name) == getattr(whole, name)
    finally:
        torch.set_num_threads(threads)
    part = tk.taep(MODEL, TARGET, tk.VP(), n_paths=501, n_steps=100, seed=3, path_offset=1000)
    assert torch.equal(part.values, whole.values[1000:1501])
    assert torch.equal(part.x_end, whole.x_end[1000:1501])


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
def test_own_points_start_where_they_are_put() -> None:
    points = TARGET.sample(300, seed=9)
    result = tk.taep(MODEL, TARGET, tk.VP(), x0=points.numpy(), n_steps=20)
    assert not result.reference_is_exact
    m, v = tk.VP().mean_scale(1e-3), tk.VP().variance(1e-3)
    z = (result.x_start.double() - m * points) / v**0.5
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3


def test_no_paths_give_empty_results_and_nan_estimates() -> None:
    result = tk.taep(MODEL, TARGET, tk.VP(), n_paths=0, n_steps=5)
    assert result.values.shape == (0,)
    assert result.x_end.shape == (0, 2)
    for estimate in (result.mean, result.variance, result.fluctuation_theorem, result.score_matching):
        assert np.isnan(estimate.value)
        assert np.isnan(estimate.stderr)
    assert "TAEP of 0 forward paths" in result.summary()


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
def test_reference_backend_agrees_with_the_fused_one_path_by_path() -> None:
    for scheme in step_schemes():
        fused = tk.taep(MODEL, TARGET, tk.VE(), n_paths=200, n_steps=250, scheme=scheme)
        options = {"scheme": scheme, "backend": "reference", "dtype": torch.float64}
        exact = tk.taep(MODEL, TARGET, tk.VE(), n_paths=200, n_steps=250, **options)
        assert exact.backend == "reference"
        assert (fused.values - exact.values).abs().max().item() < 5e-5 * exact.values.std().item()


def step_schemes() -> tuple[str, ...]:
    return tk.ops.SCHEMES


def test_every_scheme_has_a_table() -> None:
    for scheme in step_schemes():
        assert step_table(tk.VP(), tk.VP().grid(3), scheme).scheme == scheme


BAD = [
    ({"n_paths": None}, "n_paths, x0"),
    ({"n_paths": -1}, "n_paths"),
    ({"n_paths": 2.5}, "n_paths"),
    ({"n_steps": 0}, "n_steps"),
    ({"t_eps": 1.0}, "t_eps"),
    ({"t_eps": 0.0}, "t_eps"),
    ({"t_eps": float("nan")}, "t_eps"),
    ({"spacing": "log"}, "spacing"),
    ({"scheme": "euler"}, "scheme"),
    ({"chain": "ddpm"}, "chain"),
    ({"chain": "ddim", "scheme": "sampler"}, "chain"),
    ({"backend": "cuda"}, "backend"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"path_offset": -2}, "path_offset"),
    ({"dtype": torch.float16}, "dtype"),
    ({"n_paths": None, "x0": torch.full((3, 2), float("nan"))}, "x0"),
    ({"n_paths": None, "x0": torch.zeros(3)}, "x0"),
    ({"n_paths": None, "x0": torch.zeros(3, 1)}, "model"),
    ({"n_paths": None, "x0": torch.zeros(3, 2, requires_grad=True)}, "x0"),
]


@pytest.mark.parametrize(("change", "name"), BAD, ids=[f"{name}-{i}" for i, (_, name) in enumerate(BAD)])
def test_bad_arguments_are_named(change: dict[str, object], name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        tk.taep(MODEL, TARGET, tk.VP(), **{"n_paths": 4, **change})


def test_processes_that_differ_or_are_missing_are_errors() -> None:
    with pytest.raises(ValueError, match="^process"):
        tk.taep(MODEL, TARGET, n_paths=1)
    network = tk.ScoreModel(lambda x, t: -x, tk.VE())
    with pytest.raises(ValueError, match="^process"):
        tk.taep(network, TARGET, tk.VP(), n_paths=1)
    with pytest.raises(TypeError, match="^reference"):
        tk.taep(TARGET, lambda x, t: -x, tk.VP(), x0=torch.zeros(1, 2), scheme="sampler")
    with pytest.raises(TypeError, match="^n_paths"):
        tk.taep(TARGET, lambda x, t: -x, tk.VP(), n_paths=1)


# ---- where paths run


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
@pytest.mark.parametrize(
    ("backend", "divergence"), [("fused", "auto"), ("streamed", "auto"), ("streamed", "hutchinson")]
)
def test_device_runs_the_paths(backend: str, divergence: str, device: str) -> None:
    """The same paths: on a CUDA device within rounding, on the CPU to the bit."""
    model = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=1).double().to(device), tk.VP(), predicts="epsilon")
    settings = {"n_paths": 300, "n_steps": 50, "seed": 3, "dtype": torch.float64}
    settings |= {"backend": backend, "divergence": divergence}
    ring = tk.GaussianMixture.ring()
    here, there = (tk.taep(model, ring, device=place, **settings) for place in ("cpu", device))
    assert there.values.device.type == "cpu"
    assert there.backend == backend
    for name in ("values", "x_start", "x_end"):
        difference = (getattr(there, name) - getattr(here, name)).abs().max().item()
        assert difference <= (0.0 if device == "cpu" else 1e-9), name


def test_device_that_cannot_run_them(monkeypatch: pytest.MonkeyPatch) -> None:
    law = tk.GaussianMixture.ring()
    with pytest.raises(ValueError, match=r"^device: expected one of \('cpu', 'cuda'\), got meta"):
        tk.taep(law, law, tk.VP(), n_paths=3, device="meta")
    monkeypatch.setattr("thermokern.ops.checks.cuda_absence", lambda: "none is there")
    with pytest.raises(ValueError, match="^device: expected a tensor on cpu, got cuda, where no kernel runs: none is"):
        tk.taep(law, law, tk.VP(), n_paths=3, device="cuda")
    monkeypatch.setattr("thermokern.ops.checks.cuda_absence", lambda: "")
    with pytest.raises(ValueError, match='^device: backend="reference" runs on the CPU, not on cuda'):
        tk.taep(law, law, tk.VP(), n_paths=3, device="cuda", backend="reference")
