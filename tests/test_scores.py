"""Distributions against autograd and integrals, and score models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import thermokern as tk
from thermokern.models import exact_divergence
from thermokern.models.score_model import PREDICTIONS

TIMES = tk.VP().grid(4)


@given(
    dim=st.integers(1, 6),
    components=st.integers(1, 9),
    t=st.floats(1e-3, 1.0),
    seed=st.integers(0, 2**31),
    explode=st.booleans(),
)
def test_mixture_score_and_divergence_are_derivatives_of_its_density(
    dim: int, components: int, t: float, seed: int, explode: bool
) -> None:
    """Float64 autograd of log p; unequal weights and covariances."""
    generator = torch.Generator().manual_seed(seed)
    process = tk.VE(5.0) if explode else tk.VP()
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.01
    law = tk.GaussianMixture(
        torch.randn(components, dim, generator=generator, dtype=torch.float64),
        std=0.3 + torch.rand(components, dim, generator=generator, dtype=torch.float64),
        weights=weights / weights.sum(),
    )
    x = (2.0 * torch.randn(5, dim, generator=generator, dtype=torch.float64)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(law.log_prob(x, t, process).sum(), x, create_graph=True)
    trace = sum(torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(dim))
    scale = 1.0 + gradient.abs().max().item() ** 2 + abs(trace).max().item()
    assert (law.score(x, t, process) - gradient).abs().max().item() < 1e-12 * scale
    assert (law.divergence(x, t, process) - trace).abs().max().item() < 1e-12 * scale


def test_mixture_density_integrates_to_one_and_diffuses_by_the_heat_equation() -> None:
    """Chapman–Kolmogorov by quadrature: p_t is p_0 through the transition kernel."""
    law, process, t = tk.GaussianMixture([[-1.0], [2.0]], std=[0.3, 0.5], weights=[0.3, 0.7]), tk.VP(), 0.2
    y = torch.linspace(-15, 15, 6001, dtype=torch.float64)[:, None]
    width = (y[1] - y[0]).item()
    p_0 = law.log_prob(y, 0.0, process).exp()
    assert abs(p_0.sum().item() * width - 1.0) < 1e-12
    m, v = process.mean_scale(t), process.variance(t)
    x = torch.tensor([[0.5], [-0.8]], dtype=torch.float64)
    kernel = (-((x - m * y.T) ** 2) / (2 * v)).exp() / math.sqrt(2 * math.pi * v)
    assert ((kernel @ p_0 * width).log() - law.log_prob(x, t, process)).abs().max().item() < 1e-10


def test_samples_have_the_law_s_moments() -> None:
    law = tk.GaussianMixture([[-1.0, 0.0], [2.0, 1.0]], variances=[[0.1, 0.2], [0.5, 0.3]], weights=[0.25, 0.75])
    n = 200_000
    x, component = law.sample(n, seed=5), law.component(n, seed=5)
    share = (component == 0).double().mean().item()
    assert abs(share - 0.25) < 4.0 * math.sqrt(0.25 * 0.75 / n)
    for c in (0, 1):
        own = x[component == c]
        z_mean = (own.mean(0) - law.means[c]) / (law.variances[c] / len(own)).sqrt()
        z_variance = (own.var(0) / law.variances[c] - 1.0) / math.sqrt(2.0 / len(own))
        assert z_mean.abs().max().item() < 4.0
        assert z_variance.abs().max().item() < 4.0
    assert torch.equal(law.sample(100, seed=5, path_offset=1000), x[1000:1100])
    rare = tk.GaussianMixture([[0.0], [9.0]], std=1.0, weights=[1.0, 0.0])
    assert int(rare.component(1000).sum()) == 0


@pytest.mark.parametrize(
    "law", [tk.Gaussian([0.0], [[1.0]]), tk.UniformBox([0.0], [1.0]), tk.SwissRoll()], ids=["gaussian", "box", "roll"]
)
def test_sampled_points_do_not_coincide(law: tk.scores.Distribution) -> None:
    """Normals made in float32 would leave some 10⁷ different numbers: thousands of equal ones among 200,000 points."""
    points = law.sample(200_000, seed=1)[:, 0]
    assert len(points.unique()) == len(points)


def test_gaussian_entropy() -> None:
    assert abs(tk.Gaussian([0.0, 1.0], [2.0, 0.5]).entropy() - math.log(2 * math.pi * math.e)) < 1e-14


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tk.GaussianMixture([0.0], std=1.0), "means"),
        (lambda: tk.GaussianMixture([[math.nan]], std=1.0), "means"),
        (lambda: tk.GaussianMixture([[0.0]]), "std, variances"),
        (lambda: tk.GaussianMixture([[0.0]], std=-1.0), "std"),
        (lambda: tk.GaussianMixture([[0.0]], std=[1.0, 2.0]), "std"),
        (lambda: tk.GaussianMixture([[0.0], [1.0]], std=1.0, weights=[0.5, 0.6]), "weights"),
        (lambda: tk.GaussianMixture([[0.0], [1.0]], std=1.0, weights=[1.5, -0.5]), "weights"),
        (lambda: tk.GaussianMixture.ring(0), "n_modes"),
        (lambda: tk.Gaussian([[0.0]]), "mean"),
        (lambda: tk.Gaussian([0.0, 1.0], [1.0, 1.0, 1.0]), "covariance"),
        (lambda: tk.ScoreMLP(2, activation="elu"), "activation"),
        (lambda: tk.ScoreMLP(0), "dim"),
        (lambda: tk.ScoreModel(nn.Identity(), tk.VP(), "x"), "predicts"),
        (lambda: tk.ScoreModel(3, tk.VP()), "network"),
    ],
)
def test_bad_arguments_are_named(make, name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        make()


def test_an_epsilon_network_s_score() -> None:
    """The noise that takes x_0 to x_t gives the transition's own score, −(x_t − m x_0)/v."""
    process, t = tk.VP(), 0.3
    x_0, epsilon = torch.randn(4, 3), torch.randn(4, 3)
    m, v = process.mean_scale(t), process.variance(t)
    x_t = m * x_0 + v**0.5 * epsilon
    model = tk.ScoreModel(lambda x, time: epsilon, process, "epsilon")
    assert (model(x_t, t) + (x_t - m * x_0) / v).abs().max().item() < 1e-5


PROCESSES = {
    "VP": tk.VP(),
    "VE": tk.VE(5.0),
    "SubVP": tk.SubVP(),
    "CosineVP": tk.CosineVP(),
    "EDM": tk.EDM(20.0),
    "DiscreteVP": tk.DiscreteVP([0.99, 0.8, 0.5, 0.45, 0.1]),
    "Flow": tk.Flow(),
    "curved flow": tk.Flow(lambda t: torch.exp(-2.0 * t), lambda t: t * (1.0 + t), t_end=1.5),
}
LAW = tk.GaussianMixture(
    [[1.0, -2.0], [0.5, 1.0], [-1.0, 0.0]], variances=[[0.5, 0.2], [0.1, 1.0], [0.3, 0.3]], weights=[0.5, 0.2, 0.3]
)


def ideal_output(predicts: str, x: Tensor, t: float, process: tk.processes.LinearProcess) -> Tensor:
    """What a perfect network of each kind says, from the posterior of x_0 given x and not from a score."""
    time = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    m, std = process.mean_scale(time), process.variance(time).sqrt()
    slopes = [torch.autograd.grad(y, time, allow_unused=True)[0] if y.requires_grad else None for y in (m, std)]
    m_slope, std_slope = (0.0 if slope is None else slope.item() for slope in slopes)
    m, std = m.item(), std.item()
    spread = m * m * LAW.variances + std * std  # (K, d)
    offset = x[:, None, :] - m * LAW.means  # (n, K, d)
    log_share = LAW.weights.log() - 0.5 * (offset.square() / spread + spread.log()).sum(-1)
    share = log_share.softmax(1)[:, :, None]
    data = (share * (LAW.means + m * LAW.variances / spread * offset)).sum(1)  # E[x_0 | x]
    noise = (share * (std / spread * offset)).sum(1)  # E[ε | x]
    return {
        "score": -noise / std,
        "epsilon": noise,
        "x0": data,
        "v": m * noise - std * data,
        "entropy": -noise / std - 2.0 * process.f(t) / process.g2(t) * x,
        "flow": m_slope * data + std_slope * noise,
        "control": -(process.g2(t) ** 0.5) * noise / std,
    }[predicts]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_every_kind_of_network_gives_the_same_score(predicts: str, process: tk.processes.LinearProcess) -> None:
    """Rounding in float64, of the sum ``output_scale · out + skip · x``, which may cancel."""
    x = 2.0 * torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for share in (1e-3, 0.03, 0.31, 0.77, 1.0):
        t = share * process.t_end
        out = ideal_output(predicts, x, t, process)
        model = tk.ScoreModel(lambda y, time, out=out: out, process, predicts)
        scale, skip = (part(torch.tensor(t, dtype=torch.float64)).item() for part in (model.output_scale, model.skip))
        terms = (scale * out).abs() + (skip * x).abs() + x.abs() / process.variance(t)
        assert bool(((model(x, t) - LAW.score(x, t, process)).abs() <= 1e-13 * (1.0 + terms)).all())


def test_a_rectified_flow_s_score() -> None:
    """−(x + (1 − t) u)/t; and with a, b in general (a u − a' x)/(b (a' b − a b'))."""
    x, u, t = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64), 0.3
    model = tk.ScoreModel(lambda y, time: u, tk.Flow(), "flow")
    assert (model(x, t) + (x + (1.0 - t) * u) / t).abs().max().item() < 1e-14
    a, b = math.exp(-2.0 * t), t * (1.0 + t)
    a_slope, b_slope = -2.0 * a, 1.0 + 2.0 * t
    expected = (a * u - a_slope * x) / (b * (a_slope * b - a * b_slope))
    model = tk.ScoreModel(lambda y, time: u, PROCESSES["curved flow"], "flow")
    assert (model(x, t) - expected).abs().max().item() < 1e-14 * (1.0 + expected.abs().max().item())


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
@pytest.mark.parametrize("own", ["Flow", "VP", "EDM"])
def test_a_network_under_another_process(own: str, process: tk.processes.LinearProcess) -> None:
    """s(x, t) = c s_own(c x, t*) at equal signal-to-noise ratio is the law's score under the other process."""
    trained_for = {"Flow": tk.Flow(t_end=1.0 - 1e-5), "VP": tk.VP(), "EDM": tk.EDM(1e4)}[own]
    predicts = "flow" if own == "Flow" else "epsilon"

    def network(y: Tensor, time: Tensor) -> Tensor:
        return ideal_output(predicts, y, time[0].item(), trained_for)

    moved = tk.ScoreModel(network, trained_for, predicts).under(process)
    assert moved.process == process
    x = 2.0 * torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for share in (1e-2, 0.31, 0.77):
        t = share * process.t_end
        expected = LAW.score(x, t, process)
        bound = 1e-11 * (1.0 + expected.abs().max().item() + (x / process.variance(t)).abs().max().item())
        assert (moved(x, t) - expected).abs().max().item() < bound


def test_a_network_under_a_process_that_is_noisier_than_its_own_is_an_error() -> None:
    moved = tk.ScoreModel(lambda x, t: x, tk.Flow(t_end=0.9), "flow").under(tk.VP())
    with pytest.raises(ValueError, match="^process: expected log signal-to-noise ratios of at least"):
        moved(torch.zeros(3, 2), 1.0)
    own = tk.ScoreModel(lambda x, t: x, tk.Flow(), "flow")
    x = torch.ones(3, 2)  # float32, whose last time lies above 0.999
    assert (own.under(tk.Flow())(x, 0.999) / own(x, 0.999) - 1.0).abs().max().item() < 1e-4
    assert own.under(tk.VP())(torch.zeros(0, 2), 0.5).shape == (0, 2)


def test_a_flow_runs_in_taep_under_its_own_process_and_under_another() -> None:
    """δ is that of a smaller weight, whatever the parameterisation: Δs agree path by path with those of the law."""
    law, rare = tk.GaussianMixture.ring(), tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
    flow = tk.Flow()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        time = t[0].double().item()
        return flow.f(time) * x - 0.5 * flow.g2(time) * rare.score(x, time, flow)

    model = tk.ScoreModel(velocity, flow, "flow")
    for process, score in ((flow, model), (tk.VP(), model.under(tk.VP()))):
        options = {"n_paths": 50, "n_steps": 100, "scheme": "backward-ito", "dtype": torch.float64}
        got, expected = (tk.taep(one, law, process, **options) for one in (score, rare))
        assert (got.values - expected.values).abs().max().item() < 1e-9


def test_network_with_a_wrong_output_is_an_error() -> None:
    with pytest.raises(ValueError, match="^network: expected an output of the shape"):
        tk.ScoreModel(lambda x, t: x[:, :1], tk.VP())(torch.zeros(3, 2), 0.5)
    target = tk.Gaussian([0.0, 0.0])
    bad = tk.ScoreModel(lambda x, t: x / 0.0, tk.VP())
    with pytest.raises(FloatingPointError, match="8 of 8 paths"):
        tk.taep(bad, target, n_paths=8, n_steps=3)
    result = tk.taep(bad, target, n_paths=8, n_steps=3, allow_nonfinite=True)
    assert not bool(result.values.isfinite().any())
    assert math.isnan(result.mean.value)


def test_exact_divergence_of_a_known_field() -> None:
    x = torch.randn(6, 3, dtype=torch.float64)
    value, divergence = exact_divergence(lambda y: torch.stack([y[:, 0] ** 2, y[:, 0] * y[:, 1], y[:, 2].sin()], 1), x)
    assert torch.equal(value[:, 0], x[:, 0] ** 2)
    assert (divergence - (3 * x[:, 0] + x[:, 2].cos())).abs().max().item() < 1e-14
    assert torch.equal(exact_divergence(torch.ones_like, x)[1], torch.zeros(6, dtype=torch.float64))


def test_numbers_given_as_lists_keep_float64() -> None:
    """0.1 in a list is 0.1, not its float32 neighbour 1.5e-9 away."""
    law = tk.GaussianMixture([[0.1], [0.2]], std=[0.3, 0.7], weights=[0.1, 0.9])
    assert law.weights.tolist() == [0.1, 0.9]
    assert law.means.tolist() == [[0.1], [0.2]]
    assert law.variances.tolist() == [[0.3**2], [0.7**2]]
    assert tk.GaussianMixture.ring(std=0.1).variances[0, 0].item() == 0.1**2
    assert tk.Gaussian([0.1], 0.3).variances.item() == 0.3
