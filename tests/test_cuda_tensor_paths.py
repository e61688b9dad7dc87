"""Trajectories of perceptrons whose products tensor cores make, emulated, against the CPU's float32 and float64."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from cuda_emulation import emulated
from test_cuda_emulated import DEVICE, ORDERS, Backend
from test_ops import Case, perceptron, source
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.ops import registry
from thermokern.processes import VP, step_table

pytestmark = pytest.mark.timeout(900)  # the first test that needs the emulated module builds it

TENSOR = ops.PRODUCTS[1:]


def network(
    table: ops.StepTable, dim: int, widths: tuple[int, ...], products: str, key: str = "model"
) -> ops.MlpSource:
    nodes = len(table.times)
    weights, biases = perceptron(dim, widths, key, nodes)
    slope = torch.linspace(0.5, 1.5, nodes)
    return ops.MlpSource(weights, biases, "silu", slope, -0.3 * slope, products)


def paths_case(products: str, dim: int, widths: tuple[int, ...], scheme: str = "ito", pair: str = "mixture") -> Case:
    """A network with a mixture, the same the other way round, or two networks of which one is narrower."""
    table = step_table(VP(), VP().grid(5, 1e-2, "log-snr"), scheme)
    model: ops.Source = network(table, dim, widths, products)
    other: ops.Source = source("diagonal", table, dim, "reference")
    if pair == "networks":
        other = network(table, dim, (24, 9), products, "reference")
    elif pair == "turned":
        model, other = other, model

    def call(x: Tensor, offset: int) -> tuple[Tensor, ...]:
        return ops.trajectory(x, table, model, other, seed=11, path_offset=offset)

    return Case(f"{products}-{dim}-{widths}-{scheme}-{pair}", dim, call, call)


# Widths that fill no tile and no step, that take one warp and all eight along a column, and no product at all.
SHAPES = [
    (2, (16, 13, 8), "ito", "mixture"),
    (1, (9,), "stratonovich", "networks"),
    (7, (24, 40), "backward-ito", "turned"),
    (3, (65, 33, 72), "ito", "networks"),
    (16, (5, 256), "ito", "mixture"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_three_products_are_as_good_as_float32(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path by the rounding yardstick: the CPU's float32 for the plain numbers, its float64 for the exact ones."""
    case = paths_case("tf32x3", *shape)
    x = case.x(70)
    for name, nearest in (("random", False), ("forward", True), *([(DEVICE, False)] if DEVICE else [])):
        emulated().set_device(nearest=nearest)
        actual = Backend(monkeypatch, name)(case, x, 2**33 - 5)
        plain, exact = case.fast(x, 2**33 - 5), case.fast(x.double(), 2**33 - 5)
        for field, a, b, c in zip(ops.TrajectorySums._fields, actual, plain, exact, strict=True):
            assert_rounding(a, b, c, what=f"{case.name}.{field}, {name}")


@pytest.mark.parametrize(("products", "least", "most"), [("tf32", 1e-5, 2e-3), ("bf16", 1e-4, 2e-2)])
def test_single_products_err_as_stated(
    products: str, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the RMS of Δs: far above float32's rounding, so that the switch is known to be on, and below what docs say."""
    for shape in (SHAPES[0], SHAPES[3]):
        case = paths_case(products, *shape)
        x = case.x(70)
        exact = case.fast(x.double(), 5)[0]
        for name in ("reverse", *([DEVICE] if DEVICE else [])):
            actual = Backend(monkeypatch, name)(case, x, 5)[0]
            assert least < rms(actual - exact) / rms(exact) < most, f"{case.name}, {name}"


@pytest.mark.parametrize("products", TENSOR)
def test_same_bits_for_any_grid_order_and_chunks(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = paths_case(products, 2, (24, 40), "ito", "networks")
    x = case.x(257)
    whole = Backend(monkeypatch, "forward")(case, x, 1000)
    for multiprocessors, order in zip((1, 3, 108), ORDERS, strict=True):
        emulated().set_device(multiprocessors)
        assert_exact(Backend(monkeypatch, order)(case, x, 1000), whole)
        assert emulated().blocks() == min(multiprocessors, 7)  # tiles, of 42 paths
    for begin, end in ((0, 100), (100, 101), (101, 257)):
        part = Backend(monkeypatch, "forward")(case, x[begin:end], 1000 + begin)
        assert_exact(part, tuple(rows[begin:end] for rows in whole))


@pytest.fixture(autouse=True)
def _device() -> None:
    emulated().set_device()


# ---- the switch


def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = step_table(VP(), VP().grid(2), "ito")
    assert network(table, 1, (3,), "tf32").kind == "mlp:silu:tf32"
    case = paths_case("tf16", 2, (16, 8))
    with pytest.raises(ValueError, match=r"^model.products: expected one of \('fp32', 'tf32x3', 'tf32', 'bf16'\)"):
        case.fast(case.x(3), 0)
    x, first, second = torch.zeros(3, 1), network(table, 1, (3,), "tf32"), network(table, 1, (3,), "bf16")
    mixed = Case("mixed", 1, lambda x, _: ops.trajectory(x, table, first, second), lambda x, _: ())
    with pytest.raises(ValueError, match="^products: expected the same of model and reference"):
        Backend(monkeypatch, "forward")(mixed, x, 0)
    emulated().set_device(ptx_version=75)
    with pytest.raises(RuntimeError, match='^cuda: products: .* compute capability 8.0 on; choose products="fp32"'):
        Backend(monkeypatch, "forward")(replace(mixed, fast=lambda x, _: ops.trajectory(x, table, first, first)), x, 0)


def test_the_environment_chooses_and_the_rest_ignores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64, and the CPU: bits as ever."""
    plain, other = paths_case("fp32", 2, (16, 13, 8)), paths_case("bf16", 2, (16, 13, 8))
    x = plain.x(33)
    assert_exact(tuple(other.fast(x, 0)), tuple(plain.fast(x, 0)))
    emulator = Backend(monkeypatch, "forward")
    assert_exact(emulator(other, x.double(), 0), emulator(plain, x.double(), 0))
    numbers = [torch.zeros(1, 1)] * 2, torch.zeros(1, 2), "silu", torch.ones(1), torch.ones(1)
    assert ops.MlpSource(*numbers).products == "fp32"
    monkeypatch.setenv("THERMOKERN_PRODUCTS", "tf32x3")
    assert ops.MlpSource(*numbers).products == "tf32x3"
    monkeypatch.setenv("THERMOKERN_PRODUCTS", "fp16")
    with pytest.raises(ValueError, match="^products: expected one of .* got 'fp16'"):
        ops.MlpSource(*numbers).check(1, 1)


# ---- what it does to results


def trained() -> tuple[tk.ScoreModel, tk.GaussianMixture]:
    """A small perceptron after a thousand steps on a ring of eight modes, and the ring."""
    torch.manual_seed(3)
    ring, network = tk.GaussianMixture.ring(), tk.ScoreMLP(dim=2, width=32, depth=3)
    model = tk.ScoreModel(network, VP(), predicts="epsilon")
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(1000):
        loss = tk.score_matching_loss(model, ring.sample(256, seed=step).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), ring


# Of each way: the RMS error of Δs of a path against float64, and how far mean and variance may move, in nats.
MOVES = {"fp32": (1e-5, 3e-6), "tf32x3": (1e-5, 3e-6), "tf32": (5e-3, 5e-4), "bf16": (5e-2, 1e-2)}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")
def test_what_the_products_do_to_taep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of docs/cuda.md: the same paths in float64 on the CPU, and in each way in the emulator."""
    model, ring = trained()
    exact = tk.taep(copy.deepcopy(model).double(), ring, n_paths=1000, n_steps=50, dtype=torch.float64)
    for products, (of_path, of_moments) in MOVES.items():
        monkeypatch.setenv("THERMOKERN_PRODUCTS", products)
        with monkeypatch.context() as patch:
            patch.setattr(registry, "backend", lambda _: (emulated(), 0))
            result = tk.taep(model, ring, n_paths=1000, n_steps=50)
        error = result.values.double() - exact.values
        mean, variance = error.mean().item(), (result.values.double().var() - exact.values.var()).item()
        with capsys.disabled():
            print(f"\n{products:7} RMS {rms(error):.2e}  mean {mean:+.2e}  variance {variance:+.2e}")
        assert of_path / 10.0 < rms(error) < of_path, products
        assert max(abs(mean), abs(variance)) < of_moments, products
