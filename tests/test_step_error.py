"""The exact clock, extrapolation on the same path, the error of the step and the witnesses of both."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from tolerances import assert_exact, assert_rounding, assert_z

import thermokern as tk
from thermokern.ops.step_table import COLUMNS
from thermokern.processes import LinearProcess, step_table
from thermokern.quantities.taep.step_error import StepTooLongWarning, extrapolated, half_variance_ratio, step_error
from thermokern.quantities.taep.warn import TimesBetweenWarning

F64 = torch.float64
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=F64)
DDPM = tk.DiscreteVP((1.0 - BETAS).cumprod(0))
PROCESSES = [tk.VP(), tk.VE(), tk.SubVP(), tk.CosineVP(), tk.EDM(), DDPM, tk.Flow()]
SCHEMES = ("ito", "stratonovich", "backward-ito")
TARGET = tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)


def narrow64(std: float) -> tk.GaussianMixture:
    """Ten narrow modes in 64 dimensions."""
    generator = torch.Generator().manual_seed(1)
    return tk.GaussianMixture(torch.randn(10, 64, generator=generator, dtype=F64), std=std)


def columns(process: LinearProcess, times: torch.Tensor, scheme: str) -> dict[str, torch.Tensor]:
    table = step_table(process, times, scheme, coarse=True)
    return {name: table.column(name) for name in COLUMNS}


def exact_means(process: LinearProcess, times: torch.Tensor, scheme: str, model: float, data: float) -> torch.Tensor:
    """Means of V_h, V_{2h}, V_{4h} for N(0, model) against N(0, data) in one dimension, from the table itself."""
    c = columns(process, times, scheme)
    weight = {"ito": 2.0, "stratonovich": 1.0}.get(scheme, 0.0)
    m, v = process.mean_scale(times), process.variance(times)
    inverse_model, law = 1.0 / (m * m * model + v), m * m * data + v
    gap = inverse_model - 1.0 / law  # δ = −gap x
    energy = law * (inverse_model.square() - law.reciprocal().square()) - weight * gap
    fine = (c["energy"] * energy).sum() - (c["work_carried"][1:] * gap[1:] * c["noise"][:-1]).sum()
    means = [fine]
    for level, stride in ((1, 2), (2, 4)):
        nodes = (c["level"] >= level).nonzero().squeeze(1)
        elapsed = torch.cat([torch.zeros(1, dtype=F64), c["spread"].square().cumsum(0)[:-1]])[nodes].diff()
        work = c["coarse_here"][nodes[1:]] * gap[nodes[1:]] * m[nodes[1:]] * elapsed  # E[x Σ dw] = m Σ dq
        means.append((c[f"energy_{stride}"] * energy).sum() - work.sum())
    return torch.stack(means)


def truth(process: LinearProcess, times: torch.Tensor, model: float, data: float) -> float:
    """KL at the first time less KL at the last."""
    m, v = process.mean_scale(times[[0, -1]]), process.variance(times[[0, -1]])
    ratio = (m * m * data + v) / (m * m * model + v)
    kl = 0.5 * (ratio - 1.0 - ratio.log())
    return (kl[0] - kl[1]).item()


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_order_of_the_extrapolated_mean(process: LinearProcess, scheme: str) -> None:
    """By exact moments, without sampling: plain sums have order 1 (Stratonovich's too, for a quadratic law), the
    extrapolated mean has order 2, within 0.2 over five halvings.
    """
    steps, errors = [128, 256, 512, 1024, 2048, 4096], []
    for n in steps:
        times = process.grid(n, spacing="log-snr")
        fine, double, fourfold = exact_means(process, times, scheme, 0.5, 1.0).tolist()
        target = truth(process, times, 0.5, 1.0)
        errors.append((abs(fine - target), abs(2.0 * fine - double - target), 2.0 * double - fourfold - target))
    logs = torch.tensor(steps, dtype=F64).log()

    def slope(column: int) -> float:
        y = torch.tensor([abs(row[column]) for row in errors], dtype=F64).log()
        x = logs - logs.mean()
        return -((x * y).sum() / x.square().sum()).item()

    assert abs(slope(0) - 1.0) < 0.2
    assert abs(slope(1) - 2.0) < 0.2


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5, 6, 7, 8, 11, 101])
def test_coarse_grids_reach_both_ends(n_steps: int) -> None:
    """Every grid takes the same clock time in all; an odd last interval is one step on every grid."""
    process = tk.VP()
    times = process.grid(n_steps)
    table = step_table(process, times, "stratonovich", coarse=True)
    level = table.column("level")
    assert level[0].item() == level[-1].item() == 2.0
    even = n_steps - n_steps % 2
    assert_exact((level > 0).nonzero().squeeze(1), torch.tensor(sorted({*range(0, even + 1, 2), n_steps})))
    m = process.mean_scale(times)
    for name in ("energy", "energy_2", "energy_4"):
        total = (table.column(name) / m.square()).sum()
        clock = process.variance(times) / m.square()
        assert abs(total.item() / (0.5 * (clock[-1] - clock[0])).item() - 1.0) < 1e-12


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_forward_paths_have_the_exact_law(process: LinearProcess) -> None:
    """Mean and variance along the clock's chain are m and v at every node, however far apart the nodes are."""
    table = step_table(process, process.grid(5), "stratonovich")
    m, v = table.mean_scale[0].item(), table.variance[0].item()
    for k in range(len(table.times) - 1):
        drift, noise = table.column("drift")[k].item(), table.column("noise")[k].item()
        m, v = drift * m, drift * drift * v + noise * noise
        assert abs(m / table.mean_scale[k + 1].item() - 1.0) < 1e-12
        assert abs(v / table.variance[k + 1].item() - 1.0) < 1e-12


@pytest.mark.parametrize("backend", ["fused", "streamed", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_backends_agree_path_by_path(backend: str, dtype: torch.dtype, direction: str, scheme: str) -> None:
    options = {"n_paths": 200, "n_steps": 23, "scheme": scheme, "direction": direction, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = tk.taep(MODEL, TARGET, tk.VP(), backend="reference", dtype=F64, **options)
        plain = tk.taep(MODEL, TARGET, tk.VP(), backend="reference", dtype=dtype, **options)
        result = tk.taep(MODEL, TARGET, tk.VP(), backend=backend, dtype=dtype, **options)
    if dtype == F64:
        assert (result.values - exact.values).abs().max().item() < 1e-10
    else:
        assert_rounding(result.values, plain.values, exact.values)
    for name in ("mean", "variance", "fluctuation_theorem"):
        found, expected = getattr(result.step_error, name), getattr(exact.step_error, name)
        assert abs(found.value - expected.value) < 1e-3 * (expected.stderr + 1e-3)


def test_values_are_extrapolated_plain_sums_by_choice() -> None:
    """``2 V_h − V_{2h}``, with V_{2h} of the same paths from a run of the reference on every second node."""
    process = tk.VP()
    times = process.grid(40)
    options = {"n_paths": 50, "times": times, "dtype": F64, "scheme": "stratonovich"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fine = tk.taep(MODEL, TARGET, process, extrapolate=False, backend="reference", **options)
        result = tk.taep(MODEL, TARGET, process, backend="reference", **options)
    assert fine.step_error is None
    assert fine.settings["extrapolate"] is False
    double = _by_hand(process, times[::2], fine, times)
    assert (result.values - (2.0 * fine.values - double)).abs().max().item() < 1e-11


def _by_hand(process: LinearProcess, coarse: torch.Tensor, fine: tk.TAEP, times: torch.Tensor) -> torch.Tensor:
    """V_{2h} of the paths of seed 0: formulas of the clock written out, independent of tables and kernels."""
    m = process.mean_scale(times)
    q = process.variance(times) / m.square()
    x, n = fine.x_start, len(fine.x_start)
    total = torch.zeros(n, dtype=F64)
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    moved, y = torch.zeros(n, 2, dtype=F64), x / m[0]
    for k, t in enumerate(times.tolist()):
        if k % 2 == 0:
            a, b = MODEL.evaluate(m[k] * y, t, process), TARGET.evaluate(m[k] * y, t, process)
            u = m[k] * (a.score - b.score)
            e = m[k] ** 2 * (a.score.square().sum(1) - b.score.square().sum(1) + a.divergence - b.divergence)
            if before is not None:
                total += 0.25 * (q[k] - q[k - 2]) * (before[0] + e) + 0.5 * ((before[1] + u) * moved).sum(1)
            before, moved = (e, u), torch.zeros(n, 2, dtype=F64)
        if k + 1 < len(times):
            step = (q[k + 1] - q[k]).sqrt() * tk.ops.normals(n, 2, seed=0, first=2 * k, dtype=F64)
            moved, y = moved + step, y + step
    assert len(coarse) == len(times) // 2 + 1
    return total


def test_narrow_modes_in_many_dimensions() -> None:
    """Where the plain sum is off by 1.1 nats at 100 steps the extrapolated mean is within 0.01 of the end points'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_paths": 600, "n_steps": 100, "spacing": "log-snr", "scheme": "stratonovich"}
        plain = tk.taep(narrow64(0.12), narrow64(0.1), tk.VP(), extrapolate=False, **options)
        result = tk.taep(narrow64(0.12), narrow64(0.1), tk.VP(), **options)
    assert plain.endpoint_error.mean.value < -1.0
    assert abs(result.endpoint_error.mean.value) < 0.01 + 3.0 * result.endpoint_error.mean.stderr
    assert result.endpoint_error.rms.value < 0.1


@pytest.mark.parametrize("n_steps", [999, 1000])
def test_ddpm_table_at_its_own_number_of_steps_and_one_more(n_steps: int) -> None:
    model, target = tk.Gaussian([0.3, 0.0], 1.2), tk.Gaussian([0.0, 0.0], 1.0)
    result = tk.taep(model, target, DDPM, n_paths=300, n_steps=n_steps)
    assert abs(result.endpoint_error.mean.value) < 0.01


def test_whole_times_of_a_table_are_dense_where_the_data_are() -> None:
    """A hundred evenly spread whole times, of which the first step is ten long, are 0.36 nats off for sharp modes."""
    model, target = tk.GaussianMixture.ring(std=0.024, weights=[0.02] + [0.14] * 7), tk.GaussianMixture.ring(std=0.02)
    options = {"n_paths": 400, "dtype": F64, "scheme": "stratonovich"}
    own = tk.taep(model, target, DDPM, n_steps=100, **options)
    even = tk.taep(model, target, DDPM, times=DDPM.even_grid(100), **options)
    assert even.endpoint_error.mean.value > 0.2
    assert abs(own.endpoint_error.mean.value) < 0.02
    assert own.endpoint_error.rms.value < 0.2 < 0.2 * even.endpoint_error.rms.value
    for n_steps in (1, 7, 111, 998, 999):
        grid = DDPM.grid(n_steps)
        assert_exact(grid, grid.round())
        assert bool((grid.diff() > 0.0).all())
        assert (grid[0].item(), grid[-1].item(), len(grid)) == (1.0, 1000.0, n_steps + 1)
        if n_steps <= 111:  # next to the mixed grid, where its times are not crowded
            mixed = DDPM.grid(n_steps, spacing="mixed")
            assert (grid - mixed)[mixed > 30.0].abs().max().item() <= 0.5
    assert DDPM.grid(4, 2.5)[0].item() == 3.0


def test_coefficients_on_a_table_come_from_inside_the_step() -> None:
    """β of the interval that begins at a knot, at a step's end there, puts the mean 0.2 nats off at 999 steps."""
    leave, reach = DDPM.coefficients(DDPM.grid(999))
    assert_exact(leave.g2, reach.g2)  # whole times: β is constant inside every step
    assert_exact(leave.f, reach.f)
    assert (leave.g2 + (1.0 - BETAS[1:]).log()).abs().max().item() < 1e-12  # β_k = −log(1 − β of the table)


def test_step_error_covers_the_mean(seed: int) -> None:
    """(mean − truth)/√(sampling² + step²) over seeds of small ensembles; the truth is the difference of two KLs."""
    process, model, data = tk.VP(), 1.6, 1.0
    times = process.grid(40)
    expected = 2.0 * truth(process, times, model, data)
    z = []
    for i in range(60):
        law, other = tk.Gaussian([0.0, 0.0], data), tk.Gaussian([0.0, 0.0], model)
        result = tk.taep(other, law, process, n_paths=400, times=times, seed=seed + i, backend="reference")
        z.append((result.mean.value - expected) / math.hypot(result.mean.stderr, result.step_error.mean.value))
    scores = torch.tensor(z)
    assert abs(scores.mean().item()) < 3.0 / math.sqrt(len(z))
    assert 0.75 < scores.std().item() < 1.25


@pytest.mark.parametrize(("scheme", "n_steps"), [("stratonovich", 100), ("backward-ito", 200), ("ito", 200)])
def test_step_error_of_the_variance_is_what_the_end_points_say(scheme: str, n_steps: int) -> None:
    """Against the variance of the paths' own end points. A path's error of order ½ leaves the variance one of order 1:
    a third of the difference would then be a third of it.
    """
    if scheme == "stratonovich":
        generator = torch.Generator().manual_seed(1)
        means = torch.randn(10, 8, generator=generator, dtype=F64)
        model, target, process = tk.GaussianMixture(means, std=0.12), tk.GaussianMixture(means, std=0.1), tk.VE()
    else:
        model, target, process = tk.GaussianMixture.ring(std=0.3, weights=[0.02] + [0.14] * 7), TARGET, tk.VP()
    result = tk.taep(model, target, process, n_paths=40_000, n_steps=n_steps, scheme=scheme, dtype=F64)
    off = result.variance.value - result.endpoint_log_ratio.var().item()
    assert 0.65 < -result.step_error.variance.value / off < 1.5


def test_witnesses_are_in_the_summary_and_hold() -> None:
    result = tk.taep(MODEL, TARGET, tk.VP(), n_paths=3000, n_steps=200)
    assert_z([result.endpoint_error.mean.z(0.0), result.consistency.z(0.0)], 4.0, "witnesses")
    text = result.summary()
    for words in ("step", "against the end points", "mean less that", "variance / (2 mean)", "Pareto shape"):
        assert words in text
    ratio = result.variance.value / (2.0 * result.mean.value)
    assert abs(result.half_variance_ratio.value - ratio) < 1e-9 * ratio


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_figure_has_the_step_s_error_and_half_the_variance(direction: str) -> None:
    result = tk.taep(MODEL, TARGET, tk.VP(), n_paths=500, n_steps=50, direction=direction)
    density, weights = result.plot().axes[:2]
    assert f"(step {result.step_error.mean.value:+.1g})" in density.get_title()
    assert f"(step {result.step_error.fluctuation_theorem.value:+.1g})" in weights.get_title()
    lines = {line.get_label(): line.get_xdata()[0] for line in density.get_lines()}
    half = 0.5 * result.variance.value if direction == "forward" else -0.5 * result.variance.value
    assert lines["mean"] == result.mean.value
    assert next(x for name, x in lines.items() if name.endswith("variance/2")) == half


def test_long_steps_are_told() -> None:
    points = tk.Empirical(TARGET.sample(64))
    with pytest.warns(StepTooLongWarning, match="narrowest scale"):
        tk.taep(MODEL, points, tk.VP(), n_paths=10, n_steps=30, spacing="uniform", scheme="backward-ito")


def test_missed_witness_is_told() -> None:
    """Plain Stratonovich sums of narrow modes are off by more than all that is stated."""
    options = {"n_paths": 400, "n_steps": 100, "spacing": "log-snr", "scheme": "stratonovich", "extrapolate": False}
    with pytest.warns(StepTooLongWarning, match="differs from the log density ratio of their ends"):
        tk.taep(narrow64(0.12), narrow64(0.1), tk.VP(), **options)


def test_times_between_the_steps_of_a_table_are_told() -> None:
    network = tk.ScoreModel(tk.ScoreMLP(dim=2), DDPM, predicts="epsilon")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        warnings.simplefilter("ignore", StepTooLongWarning)
        own = tk.taep(network, TARGET, n_paths=4, n_steps=50)
    assert own.settings["n_steps"] == 50
    with pytest.warns(UserWarning, match="between the steps of the network's table"):
        tk.taep(network, TARGET, n_paths=4, n_steps=50, spacing="uniform")
    assert_exact(DDPM.grid(999), torch.arange(1.0, 1001.0, dtype=F64))


def test_arguments_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="^times: expected either"):
        tk.taep(MODEL, TARGET, tk.VP(), n_paths=2, n_steps=5, times=tk.VP().grid(5))
    with pytest.raises(ValueError, match="^extrapolate: "):
        tk.taep(MODEL, TARGET, tk.VP(), n_paths=2, scheme="sampler", extrapolate=True)
    with pytest.raises(ValueError, match="^extrapolate: "):
        tk.taep(MODEL, TARGET, tk.VP(), n_paths=2, integrator="euler-maruyama", extrapolate=True)
    with pytest.raises(ValueError, match="^driver: "):
        tk.taep(MODEL, TARGET, tk.VP(), n_paths=2, driver="reference")
    with pytest.raises(ValueError, match="^forward: "):
        tk.taep(MODEL, TARGET, tk.VP(), n_paths=2, forward="euler-maruyama")


def test_paths_that_the_reference_drives_obey_the_identities(seed: int) -> None:
    """``⟨e^{−Δs}⟩ = 1`` and ``⟨Δs⟩ = ∫ D ⟨|δ|²⟩ dt`` for any two scores, networks too, at any number of steps."""
    torch.manual_seed(3)
    first = tk.ScoreModel(tk.ScoreMLP(dim=2, width=16, depth=1), tk.VP(0.1, 1.0), predicts="epsilon", shape=(2,))
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    for backend in ("fused", "streamed"):
        result = tk.taep(
            first,
            second,
            n_paths=4000,
            n_steps=160,
            direction="reverse",
            driver="reference",
            scheme="backward-ito",
            extrapolate=False,
            backend=backend,
            seed=seed,
        )
        average = result.fluctuation_theorem
        assert_z([average.z(1.0), result.consistency.z(0.0)], 4.0, "identities")
        assert result.mean.value > 5.0 * result.mean.stderr


def test_sampler_with_exact_forward_steps_has_the_tighter_bound() -> None:
    """The exact scores of the ring at 50 uniform steps: 1.03 nats for 1.76; the sampler itself is the same."""
    process = tk.VP()
    options = {"n_paths": 4000, "n_steps": 50, "spacing": "uniform", "scheme": "sampler"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = tk.taep(TARGET, TARGET, process, **options)
        chain = tk.taep(TARGET, TARGET, process, forward="euler-maruyama", **options)
    assert abs(exact.mean.value - 1.03) < 0.02 + 4.0 * exact.mean.stderr
    assert abs(chain.mean.value - 1.76) < 0.02 + 4.0 * chain.mean.stderr
    one, two = (
        step_table(process, process.grid(50), "sampler", "reverse", forward=forward)
        for forward in ("exact", "euler-maruyama")
    )
    for name in ("drift", "push", "noise"):
        assert_exact(one.column(name), two.column(name))


def test_extrapolation_of_three_sums() -> None:
    value, coarse = torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 0.0], [1.5, 3.0]])
    fine, double = extrapolated(value, coarse)
    assert_exact(fine, torch.tensor([1.5, 2.5]))
    assert_exact(double, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("scheme", "part"), [("stratonovich", 3.0), ("ito", 1.0), ("backward-ito", 1.0)])
def test_step_error_by_hand(scheme: str, part: float, sign: float) -> None:
    fine, double = torch.tensor([1.0, 2.0, 4.0], dtype=F64), torch.tensor([0.5, 2.5, 3.0], dtype=F64)
    found = step_error(fine, double, sign, scheme)
    weights = (sign * fine).exp() - (sign * double).exp()
    assert abs(found.mean.value - (7.0 / 3.0 - 2.0) / 3.0) < 1e-12
    assert abs(found.variance.value - (fine.var() - double.var()).item() / part) < 1e-12
    assert abs(found.fluctuation_theorem.value - weights.mean().item() / part) < 1e-12 * weights.abs().sum().item()
    assert abs(found.fluctuation_theorem.stderr - weights.std().item() / part / 3**0.5) < 1e-12 * weights.abs().sum()


def test_error_of_the_half_variance_ratio_is_the_jackknife_s() -> None:
    """Of skew values, whose mean and variance vary together."""
    values = tk.ops.normals(400, 1, seed=3, dtype=F64)[:, 0].mul(0.5).exp()
    rest = torch.stack([torch.cat([values[:i], values[i + 1 :]]) for i in range(400)])
    ratios = rest.var(1) / (2.0 * rest.mean(1))
    jackknife = (ratios - ratios.mean()).square().sum().mul(399.0 / 400.0).sqrt().item()
    assert abs(half_variance_ratio(values).stderr / jackknife - 1.0) < 0.03


def test_steps_are_long_or_short_on_the_clock() -> None:
    """Ten uniform steps move x by little and x/m by e² at the end, for a law of std 3."""
    with pytest.warns(StepTooLongWarning, match="narrowest scale"):
        tk.taep(tk.Gaussian([0.0], 8.0), tk.Gaussian([0.0], 9.0), tk.VP(), n_paths=2, n_steps=10, spacing="uniform")


def test_only_tables_have_times_between() -> None:
    network = tk.ScoreModel(tk.ScoreMLP(dim=2), tk.VP(), predicts="epsilon")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TimesBetweenWarning)
        tk.taep(network, TARGET, n_paths=2, n_steps=10)
