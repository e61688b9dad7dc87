"""What the fluctuation theorem says of curvature and gradient noise: closed form, Monte Carlo, two networks."""

from __future__ import annotations

import math

import pytest
import torch
from linear_gaussian_chain import (
    MEAN,
    PROCESS,
    TIMES,
    VARIANCE,
    LinearScore,
    derivatives,
    entropy_production,
    matrix,
    standard,
    weighted,
)
from tolerances import assert_z
from torch import Tensor

import thermokern as tk
from thermokern.ops import normals
from thermokern.quantities.learning import PathDerivatives

LAW = tk.Gaussian([MEAN], [[VARIANCE]])
DIRECTION = torch.tensor([0.6, 0.8], dtype=torch.float64)


def chain(theta: tuple[float, float], n_paths: int, seed: int = 0, **options: object) -> tuple[tk.TAEP, LinearScore]:
    network = LinearScore(theta)
    found = tk.taep(
        tk.ScoreModel(network, PROCESS),
        LAW,
        n_paths=n_paths,
        times=TIMES,
        scheme="sampler",
        gradient=True,
        backend="reference",
        dtype=torch.float64,
        seed=seed,
        **options,  # type: ignore[arg-type]
    )
    return found, network


def numbers_of(result: tk.TAEP, seed: int) -> Tensor:
    """ξ (n, K + 1) of the paths of a result: where they start, and the noise of each step."""
    m, v = PROCESS.mean_scale(TIMES), PROCESS.variance(TIMES)
    start = (result.x_start.double() - m[0] * MEAN) / (m[0] ** 2 * VARIANCE + v[0]).sqrt()
    noise = normals(len(result.values), len(TIMES) - 1, seed=seed, dtype=torch.float64)
    return torch.cat([start, noise], 1)


# --- closed form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [(0.0, 0.0), (0.0, 0.3), (0.2, -0.3)])
def test_the_exact_identities_hold_in_closed_form(theta: tuple[float, float]) -> None:
    """Exact, 1e-11: both identities, and the curvature without remainder, at and away from the optimum."""
    exact = derivatives(theta)
    normalisation, mu, sigma = weighted(exact.value)
    assert abs(normalisation - 1.0) < 1e-11
    for form in exact.first:
        assert abs(form.mean(mu, sigma).item()) < 1e-11
    squares = matrix(lambda i, j: exact.first[i].covariance(exact.first[j], mu, sigma))
    hessians = matrix(lambda i, j: exact.second[i][j].mean(mu, sigma))
    assert (squares - hessians).abs().max().item() < 1e-11


def test_the_curvature_is_that_of_moments() -> None:
    """Exact, 1e-10: the Hessian of the mean, from the marginal laws of neighbours on the path alone."""
    theta = torch.tensor((0.05, 0.1), dtype=torch.float64)
    m, v, h = PROCESS.mean_scale(TIMES), PROCESS.variance(TIMES), TIMES.diff()
    total = m.square() * VARIANCE + v
    f, g2 = PROCESS.f(TIMES)[1:], PROCESS.g2(TIMES)[1:]
    between = m[1:] / m[:-1] * total[:-1]  # Cov(x_k, x_{k+1})

    def mean(theta: Tensor) -> Tensor:  # what of ⟨Δs⟩ depends on θ
        back = 1.0 - f * h - g2 * h * theta[0].exp() / total[1:]
        variance = total[:-1] - 2.0 * back * between + back.square() * total[1:]
        offset = m[:-1] * MEAN - back * m[1:] * MEAN
        offset = offset - g2 * h * (theta[0].exp() * MEAN + theta[1]) * m[1:] / total[1:]
        return ((variance + offset.square()) / (2.0 * g2 * h)).sum()

    expected = torch.func.hessian(mean)(theta)
    found = torch.func.hessian(lambda t: entropy_production(t).mean(*standard(len(TIMES))))(theta)
    assert (found - expected).abs().max().item() < 1e-10


def test_the_printed_equation_misses_half() -> None:
    """At the optimum the two leading cumulants are close to the curvature, their halves are not."""
    exact = derivatives((0.0, 0.0))
    law = standard(len(TIMES))
    curvature = matrix(lambda i, j: exact.second[i][j].mean(*law))
    noise = matrix(lambda i, j: exact.first[i].covariance(exact.first[j], *law))
    coupling = matrix(lambda i, j: exact.value.covariance(exact.second[i][j], *law))
    share = (noise + coupling).diagonal() / curvature.diagonal()
    assert bool(((share - 1.0).abs() < 0.1).all())
    assert bool(((0.5 * share - 1.0).abs() > 0.45).all())


# --- thermokern against it --------------------------------------------------------------------------------------------


def test_values_and_derivatives_of_each_path_are_the_closed_form() -> None:
    """Rounding, 1e-10 relative to the largest: Δs, its slope and its curvature along a direction, path by path."""
    theta = (0.05, 0.1)
    result, network = chain(theta, 50, seed=3)
    found = tk.path_derivatives(result, network, DIRECTION)
    exact = derivatives(theta)
    xi = numbers_of(result, seed=3)
    first = sum(v * form.at(xi) for v, form in zip(DIRECTION, exact.first, strict=True))
    second = sum(DIRECTION[i] * DIRECTION[j] * exact.second[i][j].at(xi) for i in (0, 1) for j in (0, 1))
    for one, other in zip(found.parts(), (exact.value.at(xi), first, second), strict=True):
        assert isinstance(other, Tensor)
        assert (one - other).abs().max().item() < 1e-10 * other.abs().max().item()


def test_monte_carlo_agrees_and_rejects_the_printed_factor(seed: int) -> None:
    """Sampling, 4 standard errors, for the six numbers; the factor ½ is off by more than 20."""
    theta = (0.05, 0.1)
    result, network = chain(theta, 40_000, seed=seed)
    found = tk.bartlett(tk.path_derivatives(result, network, DIRECTION))
    exact = derivatives(theta)
    law, v = standard(len(TIMES)), DIRECTION
    curvature = v @ matrix(lambda i, j: exact.second[i][j].mean(*law)) @ v
    noise = v @ matrix(lambda i, j: exact.first[i].covariance(exact.first[j], *law)) @ v
    coupling = v @ matrix(lambda i, j: exact.value.covariance(exact.second[i][j], *law)) @ v
    pairs = [
        (found.normalisation, 1.0),
        (found.first, 0.0),
        (found.second, 0.0),
        (found.curvature, curvature.item()),
        (found.noise, noise.item()),
        (found.coupling, coupling.item()),
    ]
    assert_z([one.z(other) for one, other in pairs], 4.0, "six numbers")
    assert abs(found.printed.z(0.0)) > 20.0
    expected = (noise + coupling - curvature).item()
    assert_z(found.corrected.z(expected), 4.0, "corrected")
    assert "z = " in found.summary()


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_a_shifted_gaussian_has_curvature_equal_to_noise(shift: float, seed: int) -> None:
    """With p = N(0, 1), q_a = N(a, 1): Δs → a²/2 − a x, so that H = C = 1 and Var/(2 mean) = 1 for every a.

    In continuous time the second derivative is ``m(t_eps)² − m(T)²``, 0.9998; 400 steps make it 0.9996.
    """
    a = torch.nn.Parameter(torch.tensor(shift, dtype=torch.float64))

    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = a

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.a * PROCESS.mean_scale(t.double()).view(-1, 1) - x

    law = tk.Gaussian([0.0], [[1.0]])
    result = tk.taep(
        tk.ScoreModel(Shifted(), PROCESS),
        law,
        n_paths=1000,
        n_steps=400,
        gradient=True,
        backend="reference",
        dtype=torch.float64,
        seed=seed,
    )
    found = tk.bartlett(tk.path_derivatives(result, [a], [torch.ones((), dtype=torch.float64)]))
    assert abs(found.curvature.value - 1.0) < 1e-3
    assert_z(found.noise.z(1.0), 4.0, "noise")
    if shift:
        assert result.half_variance_ratio is not None
        assert_z(result.half_variance_ratio.z(1.0), 4.0, "Var/(2 mean)")


# --- two networks, both chains from the prior -------------------------------------------------------------------------


@pytest.mark.parametrize("chain_name", ["euler-maruyama", "ddpm", "ddpm-large"])
@pytest.mark.parametrize("backend", ["reference", "streamed"])
def test_two_samplers_are_compared_at_any_number_of_steps(chain_name: str, backend: str, seed: int) -> None:
    """Sampling: E e^{−Δ} = 1, both Bartlett identities, and the mean is the score mismatch, at 8 steps."""
    reference, network = LinearScore((0.0, 0.3)), LinearScore((0.1, 0.1))
    result = tk.taep(
        tk.ScoreModel(network, PROCESS, shape=(1,)),
        tk.ScoreModel(reference, PROCESS),
        n_paths=20_000,
        n_steps=8,
        spacing="log-snr",
        scheme="sampler",
        chain=chain_name,
        direction="reverse",
        driver="reference",
        gradient=True,
        backend=backend,
        dtype=torch.float64,
        seed=seed,
    )
    found = tk.bartlett(tk.path_derivatives(result, network, DIRECTION))
    assert result.consistency is not None
    assert_z(
        [found.normalisation.z(1.0), found.first.z(0.0), found.second.z(0.0), result.consistency.z(0.0)], 4.0, "laws"
    )
    assert result.mean.value > 10.0 * result.mean.stderr


def test_the_ratio_of_two_samplers_is_that_of_their_densities() -> None:
    """Rounding: path by path, from the steps' densities, in every backend."""
    times = PROCESS.grid(12, 0.01, "log-snr")
    process_f, process_g2, h = PROCESS.f(times)[1:], PROCESS.g2(times)[1:], times.diff()
    reference, network = LinearScore((0.0, 0.3)), LinearScore((0.1, 0.1))
    noise = normals(30, 12, seed=5, purpose="reverse", dtype=torch.float64)
    models = [tk.ScoreModel(net, PROCESS, shape=(1,)) for net in (network, reference)]
    results = [
        tk.taep(
            *models,
            n_paths=30,
            times=times,
            scheme="sampler",
            direction="reverse",
            driver="reference",
            backend=backend,
            dtype=torch.float64,
            seed=5,
        )
        for backend in ("reference", "streamed")
    ]
    x = results[0].x_end.double()
    expected = torch.zeros(30, dtype=torch.float64)
    with torch.no_grad():
        for j, k in enumerate(range(11, -1, -1)):
            variance = process_g2[k] * h[k]
            one, other = ((1.0 - process_f[k] * h[k]) * x + variance * s(x, times[k + 1].item()) for s in models[::-1])
            nearer = one + variance.sqrt() * noise[:, j : j + 1]
            expected += (((nearer - other) ** 2 - (nearer - one) ** 2) / (2.0 * variance))[:, 0]
            x = nearer
    for result in results:
        assert (result.values - expected).abs().max().item() < 1e-11
        assert (result.x_start - x).abs().max().item() < 1e-11


def test_the_fused_kernels_compare_two_samplers_too(seed: int) -> None:
    """Rounding: mixtures, whose paths start from the reference's law."""
    options = {"n_paths": 200, "n_steps": 20, "scheme": "sampler", "direction": "reverse", "driver": "reference"}
    model, reference = tk.GaussianMixture.ring(std=0.5), tk.GaussianMixture.ring(std=0.6)
    fused, plain = (
        tk.taep(model, reference, tk.VP(), backend=backend, dtype=torch.float64, seed=seed, **options)  # type: ignore[arg-type]
        for backend in ("fused", "reference")
    )
    assert (fused.values - plain.values).abs().max().item() < 1e-9
    assert fused.consistency is not None
    assert_z(fused.consistency.z(0.0), 4.0, "mean")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_errors_name_the_argument() -> None:
    network = LinearScore((0.0, 0.1))
    model = tk.ScoreModel(network, PROCESS, shape=(1,))
    options = {"n_paths": 4, "n_steps": 4, "scheme": "sampler", "direction": "reverse", "dtype": torch.float64}
    with pytest.raises(TypeError, match='^reference: .*driver="reference"'):
        tk.taep(model, model, **options)  # type: ignore[arg-type]
    plain = tk.taep(model, model, driver="reference", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^taep: .*gradient=True"):
        tk.path_derivatives(plain, network, DIRECTION)
    with pytest.raises(TypeError, match="^taep: "):
        tk.path_derivatives(torch.zeros(()), network, DIRECTION)
    result, own = chain((0.0, 0.1), 4)
    with pytest.raises(ValueError, match="^direction: expected 2 numbers"):
        tk.path_derivatives(result, own, torch.ones(3))
    with pytest.raises(ValueError, match="^direction: expected theta"):
        tk.path_derivatives(result, own, {"other": DIRECTION})
    with pytest.raises(ValueError, match="^parameters: .*requires no gradient"):
        tk.path_derivatives(result, [torch.zeros(2)], DIRECTION)
    with pytest.raises(ValueError, match="^parameters: the values .* do not depend"):
        tk.path_derivatives(result, LinearScore((0.0, 0.0)), DIRECTION)
    ones = torch.ones(3)
    with pytest.raises(ValueError, match="^derivatives: "):
        tk.bartlett(PathDerivatives(ones, ones[:2], ones))
    with pytest.raises(ValueError, match="value"):
        tk.bartlett(PathDerivatives(ones * math.nan, ones, ones))
