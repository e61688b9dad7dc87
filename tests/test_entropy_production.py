"""Classical entropy production: known answers, fluctuation theorems, both backends on the same noise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tolerances import assert_exact, assert_rounding, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.quantities.dissipation.systems import as_diffusion

F64 = torch.float64
Z = 3.5  # bound on standard scores
# The non-normal drift of the physics: Σ = [[2.5, −0.5], [−0.5, 0.5]], entropy production 3 per unit time.
FIXTURE = tk.LinearForce([[1.0, 3.0], [0.0, 2.0]])
SIGMA = [[2.5, -0.5], [-0.5, 0.5]]


def spd(dim: int, key: int) -> Tensor:
    root = torch.randn(dim, dim, dtype=F64, generator=torch.Generator().manual_seed(key)) / dim**0.5
    product = root @ root.T + 0.4 * torch.eye(dim, dtype=F64)
    return 0.5 * (product + product.T)


def generic(dim: int) -> tuple[tk.LinearForce, Tensor, tk.Gaussian]:
    """Non-normal A, anisotropic 𝐃, and a Gaussian start whose covariance is not the stationary one."""
    g = torch.Generator().manual_seed(dim)
    a = torch.eye(dim, dtype=F64) + 0.6 * torch.randn(dim, dim, dtype=F64, generator=g) / dim**0.5
    center = torch.randn(dim, dtype=F64, generator=g)
    return tk.LinearForce(a, center), spd(dim, 10 + dim), tk.Gaussian(center, spd(dim, 20 + dim))


def trace_rate(a: Tensor, b: Tensor, d: Tensor, c: Tensor) -> float:
    """``tr[(A − B)ᵀ 𝐃⁻¹ (A − B) C]``: the mean of |velocity|² in units of 𝐃."""
    gap = a - b
    return torch.trace(gap.T @ torch.linalg.solve(d, gap) @ c).item()


# ---- linear systems, closed forms


def test_the_fixture_s_covariance_and_rate() -> None:
    sigma = FIXTURE.stationary_covariance(torch.eye(2, dtype=F64))
    assert (sigma - torch.tensor(SIGMA, dtype=F64)).abs().max().item() < 1e-14
    heat = torch.trace(FIXTURE.matrix.T @ FIXTURE.matrix @ sigma) - torch.trace(FIXTURE.matrix)
    assert abs(heat.item() - 3.0) < 1e-14


def test_the_fixture_produces_three_nats_per_unit_time() -> None:
    """At stationarity total, bath and housekeeping are 3 t on average; system and excess are 0."""
    out = tk.entropy_production(FIXTURE, 1.0, tk.Gaussian([0.0, 0.0], SIGMA), n_paths=60_000, t_end=0.5, n_steps=500)
    assert out.backend == "fused"
    # the chain's own stationary law is off by O(h): 1e-3 of 1.5 is below the standard error 0.007
    for name in ("total", "bath", "housekeeping"):
        assert_z(out.parts()[name].mean.z(1.5), Z, name)
    for name in ("system", "excess", "nonadiabatic"):
        assert_z(out.parts()[name].mean.z(0.0), Z, name)
    for name in ("total", "housekeeping"):
        average = out.parts()[name].fluctuation_theorem
        assert average is not None
        assert_z(average.z(1.0), Z, name)


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_a_linear_system_far_from_stationarity(dim: int, seed: int) -> None:
    """The instantaneous rates of total, housekeeping and non-adiabatic entropy, over a short time from C ≠ Σ."""
    force, d, start = generic(dim)
    assert force.is_stable()
    c, sigma = start.covariances[0], force.stationary_covariance(d)
    duration = 0.02
    middle = force.moments(start.means[0], c, d, 0.5 * duration)[1]  # the midpoint rule: error O(duration³)
    inverse, precision = torch.linalg.inv(middle), torch.linalg.inv(sigma)
    expected = {
        "total": trace_rate(force.matrix, d @ inverse, d, middle),
        "housekeeping": trace_rate(force.matrix, d @ precision, d, middle),
        "nonadiabatic": trace_rate(d @ precision, d @ inverse, d, middle),
    }
    assert abs(expected["total"] - expected["housekeeping"] - expected["nonadiabatic"]) < 1e-9 * expected["total"]
    out = tk.entropy_production(force, d, start, n_paths=60_000, t_end=duration, n_steps=40, seed=seed)
    if dim == 1:  # one axis has no circulation
        assert out.housekeeping is not None
        assert_exact(out.housekeeping.values, torch.zeros(60_000))
        assert abs(expected.pop("housekeeping")) < 1e-12
    for name, rate in expected.items():
        part = out.parts()[name]
        bias = 2e-3 * rate * duration  # of a chain of 40 steps
        assert_z((part.mean.value - rate * duration) / (part.mean.stderr + bias), Z, name)
        assert part.fluctuation_theorem is not None
        if part.fluctuation_theorem.effective_sample_size > 3000:
            assert_z(part.fluctuation_theorem.z(1.0), Z, name)


def test_moments_agree_with_a_fine_integration() -> None:
    """Closed form with a stationary law, Van Loan without one, against Runge–Kutta of dC/dt = 2𝐃 − AC − CAᵀ."""
    unstable = tk.LinearForce([[-0.3, 1.0], [0.4, 0.5]], [1.0, -2.0])
    for force in (FIXTURE, unstable):
        d, mean, c = spd(2, 3), torch.tensor([0.5, 2.0], dtype=F64), spd(2, 4)
        a, steps, t = force.matrix, 400, 0.8
        m, cov, h = mean - force.center, c.clone(), t / 400

        def slope(m: Tensor, cov: Tensor, a: Tensor = a, d: Tensor = d) -> tuple[Tensor, Tensor]:
            return -a @ m, 2.0 * d - a @ cov - cov @ a.T

        for _ in range(steps):
            k1 = slope(m, cov)
            k2 = slope(m + 0.5 * h * k1[0], cov + 0.5 * h * k1[1])
            k3 = slope(m + 0.5 * h * k2[0], cov + 0.5 * h * k2[1])
            k4 = slope(m + h * k3[0], cov + h * k3[1])
            m, cov = (
                y + h / 6.0 * (p + 2 * q + 2 * r + s) for y, p, q, r, s in zip((m, cov), k1, k2, k3, k4, strict=True)
            )
        got_mean, got = force.moments(mean, c, d, t)
        assert (got_mean - force.center - m).abs().max().item() < 1e-10
        assert (got - cov).abs().max().item() < 1e-10
    assert not unstable.is_stable()
    with pytest.raises(ValueError, match="^matrix: there is no stationary law"):
        unstable.stationary_covariance(spd(2, 3))


def test_detailed_balance_costs_nothing_to_keep() -> None:
    """A symmetric, 𝐃 ∝ I: housekeeping is exactly zero on every path, in both backends and precisions."""
    symmetric = spd(3, 1)
    for backend, dtype in (("fused", torch.float32), ("reference", torch.float32), ("reference", F64)):
        out = tk.entropy_production(
            tk.LinearForce(symmetric), 0.7, tk.Gaussian([1.0, 0.0, -1.0], spd(3, 2)), n_paths=300, n_steps=50,
            backend=backend, dtype=dtype,
        )  # fmt: skip
        assert out.housekeeping is not None
        assert out.total is not None
        assert out.nonadiabatic is not None
        assert_exact(out.housekeeping.values, torch.zeros(300, dtype=dtype))
        gap = (out.total.values - out.nonadiabatic.values).abs().max().item()
        assert gap < 64 * torch.finfo(dtype).eps * out.total.values.abs().max().item()


def test_not_detailed_balance_when_only_the_product_is_asymmetric() -> None:
    """A symmetric drift in an anisotropic bath breaks detailed balance: A 𝐃 is not symmetric."""
    force, d = tk.LinearForce(spd(2, 1)), torch.diag(torch.tensor([0.2, 3.0], dtype=F64))
    sigma = force.stationary_covariance(d)
    rate = trace_rate(force.matrix, d @ torch.linalg.inv(sigma), d, sigma)
    assert rate > 0.05
    out = tk.entropy_production(force, d, tk.Gaussian([0.0, 0.0], sigma), n_paths=40_000, t_end=1.0, n_steps=500)
    assert out.housekeeping is not None
    assert_z((out.housekeeping.mean.value - rate) / (out.housekeeping.mean.stderr + 2e-3 * rate), Z, "rate")


# ---- the backends


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 16])
def test_both_backends_path_by_path(dim: int) -> None:
    """The fused sums are those of the reference, to the rounding that plain PyTorch makes."""
    force, d, start = generic(dim)
    x = start.sample(257, 5)

    def run(backend: str, dtype: torch.dtype) -> tk.EntropyProduction:
        return tk.entropy_production(force, d, x.to(dtype), t_end=0.7, n_steps=60, seed=3, backend=backend, dtype=dtype)

    fast, plain, exact = run("fused", torch.float32), run("reference", torch.float32), run("reference", F64)
    fast64 = run("fused", F64)
    assert fast.parts().keys() == exact.parts().keys() == {"bath", "housekeeping", "excess"}
    scale = exact.bath.values.square().mean().sqrt().item()
    for name in exact.parts():
        a, b, c = (out.parts()[name].values for out in (fast, plain, exact))
        assert_rounding(a, b, c, scale, name)
        assert (fast64.parts()[name].values - c).abs().max().item() < 1e-11 * scale, name
    assert_rounding(fast.x_end, plain.x_end, exact.x_end)


def test_a_path_depends_on_its_seed_and_index_alone() -> None:
    force, d, start = generic(3)
    whole = tk.entropy_production(force, d, start, n_paths=100, n_steps=20, seed=4)
    part = tk.entropy_production(force, d, start, n_paths=30, n_steps=20, seed=4, path_offset=50)
    assert whole.total is not None
    assert part.total is not None
    assert_exact(part.total.values, whole.total.values[50:80])
    assert_exact(part.x_end, whole.x_end[50:80])


def test_the_reference_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from thermokern.quantities.dissipation import paths as dissipation_paths

    def run() -> tk.EntropyProduction:
        x = torch.linspace(-1.0, 1.0, 50, dtype=F64)[:, None]
        return tk.entropy_production(lambda x, t: x - x**3, 0.5, x, n_steps=20, dtype=F64)

    whole = run()
    monkeypatch.setattr(dissipation_paths, "_CHUNK", 17)
    assert_exact(run().bath.values, whole.bath.values)


# ---- the discrete chain


@pytest.mark.parametrize("n_steps", [1, 2, 5, 20])
def test_the_discrete_chain_s_theorem_holds_at_any_step(n_steps: int, seed: int) -> None:
    """Log of the ratio of path densities: ⟨e^{−total}⟩ = 1 with one step as with many, and is not without the term."""
    force, d = tk.LinearForce([[1.5, 0.45], [-0.45, 1.2]]), torch.tensor([[1.0, 0.3], [0.3, 0.8]], dtype=F64)
    start = tk.Gaussian([0.1, 0.0], 1.3 * force.stationary_covariance(d))
    out = tk.entropy_production(
        force, d, start, n_paths=200_000, t_end=0.4, n_steps=n_steps, scheme="discrete", seed=seed
    )
    assert out.total is not None
    assert out.total.fluctuation_theorem is not None
    assert_z(out.total.fluctuation_theorem.z(1.0), Z, "discrete")
    assert out.nonadiabatic is not None
    assert out.housekeeping is not None
    assert out.excess is not None
    for whole, part in ((out.total, out.nonadiabatic), (out.bath, out.excess)):
        gap = (whole.values - part.values - out.housekeeping.values).abs().max().item()
        assert gap < 64 * torch.finfo(torch.float32).eps * (1.0 + whole.values.abs().max().item())
    if n_steps == 1:
        plain = tk.entropy_production(force, d, start, n_paths=200_000, t_end=0.4, n_steps=1, seed=seed)
        assert plain.total is not None
        assert plain.total.fluctuation_theorem is not None
        assert abs(plain.total.fluctuation_theorem.z(1.0)) > 10.0


def test_the_discrete_total_is_the_log_ratio_of_the_chain_s_densities() -> None:
    """Path by path, against transition densities written out, with a force that depends on time."""
    d, h, steps = torch.tensor([[1.0, 0.3], [0.3, 0.8]], dtype=F64), 0.1, 4
    chain = torch.distributions.MultivariateNormal

    def force(x: Tensor, t: float) -> Tensor:
        return torch.stack([-(1.0 + t) * x[:, 0] + x[:, 1] ** 2, -x[:, 1] + math.sin(3.0 * t)], dim=1)

    def log_density(x: Tensor, t: float) -> Tensor:
        return -(1.0 + t) * x.square().sum(1)

    x0 = torch.randn(50, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    out = tk.entropy_production(
        force, d, x0, t_end=h * steps, n_steps=steps, log_density=log_density, scheme="discrete", seed=8, dtype=F64
    )
    x, expected = x0, log_density(x0, 0.0)
    z = tk.ops.normals_reference(50, 2 * steps, seed=8)
    factor = torch.linalg.cholesky(2.0 * d)
    for k in range(steps):
        t, later = k * h, (k + 1) * h
        y = x + h * force(x, t) + math.sqrt(h) * z[:, 2 * k : 2 * k + 2] @ factor.T
        expected = expected + chain(x + h * force(x, t), 2.0 * h * d).log_prob(y)
        expected = expected - chain(y + h * force(y, later), 2.0 * h * d).log_prob(x)
        x = y
    expected = expected - log_density(x, h * steps)
    assert out.total is not None
    assert (out.total.values - expected).abs().max().item() < 1e-12 * (1.0 + expected.abs().max().item())


# ---- results


def test_a_result_is_a_value(tmp_path: Path) -> None:
    force, d, start = generic(2)
    out = tk.entropy_production(force, d, start, n_paths=400, n_steps=20)
    assert [*out.parts()] == ["system", "bath", "total", "nonadiabatic", "housekeeping", "excess"]
    for left, right in (("system", "bath"), ("nonadiabatic", "housekeeping")):
        gap = out.parts()[left].values + out.parts()[right].values - out.parts()["total"].values
        assert gap.abs().max().item() < 64 * torch.finfo(torch.float32).eps * 10.0
    assert "fused" in out.summary()
    json.dumps(out.to_json(), allow_nan=False)
    out.save(tmp_path / "out.safetensors")
    back = tk.load(tmp_path / "out.safetensors")
    assert back.summary() == out.summary()
    assert_exact(back.total.values, out.total.values)
    assert len(out.plot().axes) == 3
    unknown = tk.entropy_production(lambda x, t: -x, 1.0, torch.zeros(3, 2), n_steps=2)
    assert [*unknown.parts()] == ["bath"]
    assert "not known: system, total" in unknown.summary()
    assert unknown.backend_reason == "the kernel takes a LinearForce alone"
    assert len(unknown.plot().axes) == 1
    empty = tk.entropy_production(force, d, start, n_paths=0, n_steps=2)
    assert len(empty.bath.values) == 0
    empty.plot()


LINE = {"force": lambda x, t: -x, "diffusion": 1.0, "x0": torch.zeros(4, 2)}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"force": 3.0}, "force"),
        ({"force": tk.LinearForce(1.0, [0.0])}, "force"),
        ({"force": lambda x, t: x[:, :1]}, "force"),
        ({"force": lambda x, t: x.double()}, "force"),
        ({"diffusion": -1.0}, "diffusion"),
        ({"diffusion": [1.0, 2.0, 3.0]}, "diffusion"),
        ({"diffusion": [[1.0, 0.5], [0.4, 1.0]]}, "diffusion"),
        ({"diffusion": lambda x, t: x[:2]}, "diffusion"),
        ({"x0": torch.zeros(4)}, "x0"),
        ({"x0": torch.full((4, 2), math.nan)}, "x0"),
        ({"x0": tk.Gaussian([0.0, 0.0])}, "n_paths"),
        ({"n_paths": 3}, "n_paths"),
        ({"t_end": 0.0}, "t_end"),
        ({"t_start": math.inf}, "t_start"),
        ({"n_steps": 0}, "n_steps"),
        ({"scheme": "ito"}, "scheme"),
        ({"scheme": "discrete", "diffusion": lambda x, t: x.square().sum(1) + 1.0}, "scheme"),
        ({"backend": "fast"}, "backend"),
        ({"backend": "fused"}, "backend"),
        ({"dtype": torch.float16}, "dtype"),
        ({"seed": -1}, "seed"),
        ({"log_density": 2.0}, "log_density"),
        ({"log_density": lambda x, t: x}, "log_density"),
        ({"stationary": "flat"}, "stationary"),
        ({"stationary": lambda x, t: x}, "stationary"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        tk.entropy_production(**{"n_steps": 3, **LINE, **change})


@pytest.mark.parametrize("arguments", [([[1.0, 2.0]],), ([[1.0]], [0.0, 0.0]), (math.nan, [0.0]), (2.0,)])
def test_bad_forces_are_named(arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"^(matrix|center)"):
        tk.LinearForce(*arguments)


def test_paths_that_run_away_are_an_error() -> None:
    with pytest.raises(FloatingPointError, match="stopped being finite"):
        tk.entropy_production(lambda x, t: x**3, 1.0, torch.full((4, 1), 5.0), n_steps=20)


def test_constant_diffusions() -> None:
    for given in (2.0, [2.0, 2.0], [[2.0, 0.0], [0.0, 2.0]]):
        d = as_diffusion(given, 2)
        assert torch.equal(d.matrix, 2.0 * torch.eye(2, dtype=F64))
        assert torch.equal(d.factor, 2.0 * torch.eye(2, dtype=F64))
