"""Entropy production of systems with known answers: a driven ring, a breathing trap, a double well, noise in space."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk

F64 = torch.float64
Z = 3.5  # bound on standard scores
GRID = torch.linspace(0.0, 2.0 * math.pi, 20_001, dtype=F64)


def theorems(out: tk.EntropyProduction, names: tuple[str, ...] = ("total", "nonadiabatic", "housekeeping")) -> None:
    """Every fluctuation theorem that is known, within its standard error."""
    for name in names:
        average = out.parts()[name].fluctuation_theorem
        assert average is not None
        assert average.effective_sample_size > 0.02 * average.n, name
        assert_z(average.z(1.0), Z, name)


# ---- a driven ring: one angle, a constant force over a periodic potential


def ring(drive: float, height: float) -> tuple[Callable[[Tensor, float], Tensor], Tensor, float]:
    """Force, stationary density on GRID, and entropy production rate ``drive · velocity`` at D = 1, by quadrature.

    The current is constant around the ring; with U(θ) = height cos θ − drive θ the density is
    ``e^{−U(θ)} ∫_θ^{θ+2π} e^{U}`` normalised, and the current (1 − e^{−2π drive})/norm.
    """

    def force(x: Tensor, t: float) -> Tensor:
        return drive + height * x.sin()

    step = 2.0 * math.pi / 20_000
    u = height * GRID.cos() - drive * GRID
    cumulative = torch.cumulative_trapezoid(u.exp(), dx=step)
    cumulative = torch.cat([cumulative.new_zeros(1), cumulative])
    turn = math.exp(-2.0 * math.pi * drive)  # e^{U} after one turn
    whole = (cumulative[-1] - cumulative) + turn * cumulative
    density = (-u).exp() * whole
    norm = torch.trapezoid(density, dx=step)
    current = (1.0 - turn) / norm
    return force, density / norm, (drive * 2.0 * math.pi * current).item()


@pytest.mark.parametrize(("drive", "height"), [(1.2, 0.0), (0.8, 1.0)])
def test_a_driven_ring(drive: float, height: float, seed: int) -> None:
    """A stationary state without potential for its force: all of the entropy production is housekeeping."""
    force, density, rate = ring(drive, height)
    if height == 0.0:
        assert abs(rate - drive**2) < 1e-6
    cumulative = torch.cat([density.new_zeros(1), torch.cumulative_trapezoid(density, GRID)])
    n = 40_000
    uniform = torch.special.ndtr(tk.ops.normals(n, 1, seed=seed, purpose="start")[:, 0].double())
    place = torch.searchsorted(cumulative / cumulative[-1], uniform).clamp(1, 20_000)
    x0 = GRID[place][:, None]
    slope = torch.gradient(density.log(), spacing=(2.0 * math.pi / 20_000,))[0]

    def at(values: Tensor, x: Tensor) -> Tensor:
        """Linear interpolation on the circle."""
        position = torch.remainder(x.double(), 2.0 * math.pi) / (2.0 * math.pi) * 20_000
        low = position.floor().long().clamp_max(19_999)
        share = position - low
        return ((1.0 - share) * values[low] + share * values[low + 1]).to(x)

    class Stationary:
        def __call__(self, x: Tensor, t: float) -> Tensor:
            return at(density.log(), x[:, 0])

        def score(self, x: Tensor, t: float) -> Tensor:
            return at(slope, x)

    law = Stationary()
    out = tk.entropy_production(
        force, 1.0, x0, t_end=1.5, n_steps=150, log_density=law, stationary=law, seed=seed, dtype=F64
    )
    for name in ("total", "housekeeping", "bath"):
        part = out.parts()[name]
        assert_z((part.mean.value - 1.5 * rate) / (part.mean.stderr + 2e-3 * rate), Z, name)
    for name in ("nonadiabatic", "system", "excess"):
        part = out.parts()[name]
        assert abs(part.mean.value) < Z * part.mean.stderr + 2e-3
    theorems(out, ("total", "housekeeping"))
    if height == 0.0:
        assert out.nonadiabatic is not None
        assert out.nonadiabatic.values.abs().max().item() < 1e-9


# ---- a trap that breathes: F = −k(t) x, always in detailed balance with the trap of the moment


def trap(t: float) -> float:
    return 1.0 + 0.6 * math.sin(2.0 * math.pi * t)


def trap_variance(t_end: float, start: float) -> float:
    """``dv/dt = 2 − 2 k(t) v`` at D = 1, by Runge–Kutta."""
    v, h = start, t_end / 4000
    for i in range(4000):
        t = i * h
        k1 = 2.0 - 2.0 * trap(t) * v
        k2 = 2.0 - 2.0 * trap(t + 0.5 * h) * (v + 0.5 * h * k1)
        k3 = 2.0 - 2.0 * trap(t + 0.5 * h) * (v + 0.5 * h * k2)
        k4 = 2.0 - 2.0 * trap(t + h) * (v + h * k3)
        v += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return v


def breathing(n: int, n_steps: int, seed: int, t_end: float = 0.75, **settings: object) -> tk.EntropyProduction:
    x0 = tk.Gaussian([0.0], 1.0).sample(n, seed)
    variances = {0.0: 1.0, t_end: trap_variance(t_end, 1.0)}

    def log_density(x: Tensor, t: float) -> Tensor:
        v = variances[t]
        return -0.5 * x[:, 0].square() / v - 0.5 * math.log(2.0 * math.pi * v)

    return tk.entropy_production(
        lambda x, t: -trap(t) * x, 1.0, x0, t_end=t_end, n_steps=n_steps, log_density=log_density,
        stationary=lambda x, t: -0.5 * trap(t) * x[:, 0].square(), seed=seed, **settings,
    )  # fmt: skip


def test_a_breathing_trap(seed: int) -> None:
    """No housekeeping; total entropy ``∫ (k v − 1)²/v dt`` from the variance of the law, of ``|velocity|²/D``."""
    t_end, steps, v, expected = 0.75, 20_000, 1.0, 0.0
    h = t_end / steps
    for i in range(steps):
        k = trap((i + 0.5) * h)
        middle = v + 0.5 * h * (2.0 - 2.0 * k * v)
        expected += h * (k * middle - 1.0) ** 2 / middle
        v += h * (2.0 - 2.0 * k * middle)
    assert expected > 0.05
    out = breathing(60_000, 300, seed)
    assert out.total is not None
    assert_z((out.total.mean.value - expected) / (out.total.mean.stderr + 3e-3 * expected), Z, "total")
    assert out.housekeeping is not None
    assert out.housekeeping.values.abs().max().item() < 1e-4  # rounding: −k x by hand, and as a gradient
    theorems(out, ("total", "nonadiabatic"))
    wrong = breathing(60_000, 300, seed, scheme="discrete")
    assert wrong.total is not None
    theorems(wrong, ("total",))


def test_the_excess_entropy_of_a_moving_law() -> None:
    """``Δ log p_st − ∫ ∂_t log p_st dt`` along each path, log p_st with its normalisation, as the step goes to 0."""
    n_steps = 4000
    out = breathing(200, n_steps, 1, dtype=F64)
    z = tk.ops.normals_reference(200, n_steps, seed=1)
    x, h = tk.Gaussian([0.0], 1.0).sample(200, 1)[:, 0], 0.75 / n_steps

    def log_law(x: Tensor, t: float) -> Tensor:
        return -0.5 * trap(t) * x.square() + 0.5 * math.log(trap(t))

    explicit = torch.zeros_like(x)
    first = log_law(x, 0.0)
    for k in range(n_steps):
        slope = 1.2 * math.pi * math.cos(2.0 * math.pi * (k + 0.5) * h)
        y = x - h * trap(k * h) * x + math.sqrt(2.0 * h) * z[:, k]
        average = 0.5 * (x.square() + y.square())
        explicit += h * slope * (-0.5 * average + 0.5 / trap((k + 0.5) * h))
        x = y
    assert out.excess is not None
    assert (x - out.x_end[:, 0]).abs().max().item() < 1e-12
    gap = out.excess.values - (log_law(x, 0.75) - first - explicit)
    assert gap.abs().max().item() < 1e-4


# ---- a double well, and noise that depends on position


class Well:
    """``log p_st = −U/D``, U = x⁴/4 − x²/2 in each axis, with its score written as the force over D."""

    def __init__(self, d: float) -> None:
        self.d = d

    def force(self, x: Tensor, t: float) -> Tensor:
        return x - x**3

    def __call__(self, x: Tensor, t: float) -> Tensor:
        return -(0.25 * x**4 - 0.5 * x**2).sum(1) / self.d

    def score(self, x: Tensor, t: float) -> Tensor:
        return self.force(x, t) / self.d


def test_a_double_well_keeps_its_balance() -> None:
    """Housekeeping exactly zero where the score is the force over D; to rounding where autograd takes it."""
    well, x0 = Well(0.5), torch.randn(500, 2, dtype=F64, generator=torch.Generator().manual_seed(1)).clamp(-1.5, 1.5)
    out = tk.entropy_production(well.force, 0.5, x0, n_steps=100, stationary=well, dtype=F64)
    assert out.housekeeping is not None
    assert out.excess is not None
    assert_exact(out.housekeeping.values, torch.zeros(500, dtype=F64))
    assert_exact(out.bath.values, out.excess.values)
    plain = tk.entropy_production(well.force, 0.5, x0, n_steps=100, stationary=lambda x, t: well(x, t), dtype=F64)
    assert plain.housekeeping is not None
    assert plain.housekeeping.values.abs().max().item() < 1e-12
    between = well(out.x_end, 1.0) - well(x0, 0.0)  # the heat of a potential force depends on the ends alone
    assert (out.bath.values - between).square().mean().sqrt().item() < 0.1


def test_a_driven_double_well(seed: int) -> None:
    """A circulating force added to the potential one, ``D J∇log p_st`` with J antisymmetric, keeps p_st stationary."""
    d, n = 0.6, 40_000
    well = Well(d)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=F64)

    def force(x: Tensor, t: float) -> Tensor:
        return well.force(x, t) + 0.5 * well.force(x, t) @ turn.to(x)

    grid = torch.linspace(-4.0, 4.0, 8001, dtype=F64)
    weight = (-(0.25 * grid**4 - 0.5 * grid**2) / d).exp()
    weight = weight / weight.sum()
    mean_square = (weight * (grid - grid**3).square()).sum().item()
    rate = 0.25 * 2.0 * mean_square / d
    uniform = torch.special.ndtr(tk.ops.normals(n, 2, seed=seed, purpose="start").double())
    x0 = grid[torch.searchsorted(weight.cumsum(0), uniform).clamp_max(8000)]
    x0 = x0 + 1e-3 * (torch.rand(n, 2, dtype=F64, generator=torch.Generator().manual_seed(0)) - 0.5)
    out = tk.entropy_production(
        force, d, x0, t_end=0.3, n_steps=150, stationary=well, log_density=well, seed=seed, dtype=F64
    )
    for name in ("housekeeping", "total"):
        part = out.parts()[name]
        assert_z((part.mean.value - 0.3 * rate) / (part.mean.stderr + 5e-3 * rate), Z, name)
    theorems(out)


def test_noise_that_depends_on_position(seed: int) -> None:
    """F = D∇log p + ∇·D is in balance with p: nothing to keep, and the theorems hold from a law that is not p."""

    def diffusion(x: Tensor, t: float) -> Tensor:
        return torch.stack([0.6 + 0.3 * x[:, 0].sin(), 0.8 + 0.2 * x[:, 1].cos()], dim=1)

    def force(x: Tensor, t: float) -> Tensor:
        slope = torch.stack([0.3 * x[:, 0].cos(), -0.2 * x[:, 1].sin()], dim=1)
        return -diffusion(x, t) * x + slope

    def normal(x: Tensor, t: float) -> Tensor:
        return -0.5 * x.square().sum(1)

    x0 = tk.Gaussian([0.0, 0.0]).sample(40_000, seed)
    out = tk.entropy_production(
        force, diffusion, x0, t_end=0.5, n_steps=100, stationary=normal, log_density=normal, seed=seed, dtype=F64
    )
    assert out.housekeeping is not None
    assert out.total is not None
    assert out.housekeeping.values.abs().max().item() < 1e-12
    assert abs(out.total.mean.value) < Z * out.total.mean.stderr + 5e-3
    assert out.total.values.std().item() < 0.2  # 0 in continuous time, O(√h) on a path
    scalar = tk.entropy_production(
        lambda x, t: x - x**3, lambda x, t: 0.5 + 0.0 * x[:, 0], x0[:50], n_steps=20, dtype=F64
    )
    constant = tk.entropy_production(lambda x, t: x - x**3, 0.5, x0[:50], n_steps=20, dtype=F64)
    assert (scalar.bath.values - constant.bath.values).abs().max().item() < 1e-12


# ---- orders of the integrator


def _errors(run: Callable[[int], Tensor], levels: list[int]) -> list[float]:
    finest = run(levels[-1] * 8)
    return [(run(level) - finest).square().mean().sqrt().item() for level in levels]


def _slope(levels: list[int], errors: list[float]) -> float:
    x, y = torch.tensor(levels, dtype=F64).log2(), torch.tensor(errors, dtype=F64).log2()
    x, y = x - x.mean(), y - y.mean()
    return -((x * y).sum() / x.square().sum()).item()


ORDERS = {  # of paths and of their entropy; the work of a circulation needs the areas that paths sweep within steps
    "gradient": (lambda x, t: -(x**3) / (1.0 + x.square()) + math.sin(2.0 * t), 1.0),
    "circulating": (lambda x, t: 0.3 * x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=F64), 0.5),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_strong_orders(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Additive noise, one Brownian motion at every step length, five halvings: paths converge with order 1, the bath's
    entropy with order 1 where the force is a gradient and ½ where it circulates.
    """
    force, order = ORDERS[kind]
    levels, finest, n = [8, 16, 32, 64, 128, 256], 4096, 400
    increments = tk.ops.normals_reference(n, 2 * finest, seed=2).reshape(n, finest, 2) / math.sqrt(finest)
    x0 = torch.randn(n, 2, dtype=F64, generator=torch.Generator().manual_seed(3))

    def run(steps: int) -> tuple[Tensor, Tensor]:
        z = increments.reshape(n, steps, finest // steps, 2).sum(2).reshape(n, -1) * math.sqrt(steps)
        monkeypatch.setattr(tk.ops, "normals_reference", lambda n, count, first, **_: z[:, first : first + count])
        out = tk.entropy_production(force, 0.7, x0, n_steps=steps, dtype=F64)
        return out.x_end, out.bath.values

    limit, *coarser = (run(steps) for steps in (finest, *levels))
    for part, expected in ((0, 1.0), (1, order)):
        errors = [(out[part] - limit[part]).square().mean().sqrt().item() for out in coarser]
        assert abs(slope_of(levels, errors) - expected) < 0.1, (kind, part, errors)


def slope_of(levels: list[int], errors: list[float]) -> float:
    """Order of convergence in the step: the fitted slope of log error against log(1/steps)."""
    x, y = torch.tensor(levels, dtype=F64).log2(), torch.tensor(errors, dtype=F64).log2()
    x, y = x - x.mean(), y - y.mean()
    return -((x * y).sum() / x.square().sum()).item()


def chain_heat(a: Tensor, sigma: Tensor, steps: int) -> float:
    """Mean heat over unit time of the Euler–Maruyama chain itself at 𝐃 = I, from covariance `sigma`."""
    identity, h, c, total = torch.eye(2, dtype=F64), 1.0 / steps, sigma, 0.0
    for _ in range(steps):  # E[−½ (y + y')ᵀ Aᵀ (y' − y)] of a step
        m = identity - h * a
        after, cross = m @ c @ m.T + 2.0 * h * identity, m @ c  # E[y' y'ᵀ], E[y' yᵀ]
        total -= 0.5 * (torch.trace(a @ (after - c)) + torch.trace(a.T @ (cross - cross.T))).item()
        c = after
    return total


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")  # of the theorem, over so long a time
def test_weak_order_one_of_the_mean_heat() -> None:
    """A non-normal drift from far away: the chain's own mean in closed form, and paths that meet it at 4 steps."""
    a = torch.tensor([[1.0, 3.0], [0.0, 2.0]], dtype=F64)
    start = torch.diag(torch.tensor([1.0, 2.0], dtype=F64))
    limit = chain_heat(a, start, 2**15)
    levels = [16, 32, 64, 128, 256, 512]
    errors = [abs(chain_heat(a, start, steps) - limit) for steps in levels]
    assert abs(slope_of(levels, errors) - 1.0) < 0.1, errors
    law = tk.Gaussian([0.0, 0.0], start)
    measured = tk.entropy_production(tk.LinearForce(a), 1.0, law, n_paths=100_000, n_steps=4).bath.mean
    assert_z(measured.z(chain_heat(a, start, 4)), Z, "4 steps")
    assert abs(measured.z(limit)) > 5.0
