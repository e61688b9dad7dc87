"""What the native modules do with the memory that they are handed, and with the interpreter's lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tolerances import assert_exact

from thermokern import _core

N = 7


def statement(call: Callable[..., object], *arguments: object) -> str:
    """The words of the ValueError that a call raises."""
    with pytest.raises(ValueError, match="^[a-z_]+: ") as raised:
        call(*arguments)
    return str(raised.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_immutable_memory_is_read_and_never_written(dtype: type) -> None:
    """An array over `bytes` is an input as any other is, and no output."""
    given = np.linspace(-1, 1, N).astype(dtype)
    immutable, out, expected = np.frombuffer(given.tobytes(), dtype), np.empty(N, dtype), np.empty(N, dtype)
    _core.evaluate("silu", immutable, out)
    _core.evaluate("silu", given, expected)
    assert_exact(torch.from_numpy(out), torch.from_numpy(expected))
    assert statement(_core.evaluate, "silu", out, immutable).endswith("read-only: the result cannot be written there")
    assert immutable.tobytes() == given.tobytes()


class OldExporter:
    """An array whose library knows DLPack without versions."""

    dtype = np.dtype(np.float64)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, stream: object = None) -> object:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_older_exporters_are_read() -> None:
    given, out = np.linspace(-1, 1, N), np.empty(N)
    expected = np.empty(N)
    _core.evaluate("silu", OldExporter(given), OldExporter(out))
    _core.evaluate("silu", given, expected)
    assert out.tobytes() == expected.tobytes()
    given.flags.writeable = False
    assert statement(_core.evaluate, "silu", OldExporter(given), out).startswith("x: ")


def test_tensors_that_cannot_be_lent_are_named() -> None:
    x, wanted = torch.zeros(N), torch.zeros(N, requires_grad=True)
    assert statement(_core.evaluate, "silu", wanted, x).startswith("x: Can't export tensors that require gradient")
    assert statement(_core.evaluate, "silu", x, wanted).startswith("out: Can't export tensors that require gradient")


@pytest.mark.parametrize("shift", [0, 1, N - 1, 1 - N])
def test_a_result_has_memory_of_its_own(shift: int) -> None:
    """Kernels read while they write: what overlaps is undefined, what only touches is not."""
    memory = torch.linspace(-1, 1, 3 * N)
    x, out = memory[N : 2 * N], memory[N + shift : 2 * N + shift]
    before = memory.clone()
    assert "out: expected memory of its own for the result, got that of x" in statement(_core.evaluate, "silu", x, out)
    assert_exact(memory, before)
    _core.evaluate("silu", x, memory[2 * N :])
    _core.evaluate("silu", x, memory[:N])
    assert_exact(memory[:N], memory[2 * N :])


def test_two_results_and_networks_have_memory_of_their_own() -> None:
    points, rows, numbers = torch.ones(4, 2), torch.empty(4, 2), torch.empty(4)
    one = torch.ones(1, dtype=torch.float64)
    mixture = [torch.zeros(1, 2).double(), torch.ones(1, 2).double(), one, one, one]
    _core.score("mixture", mixture, points, rows, numbers, torch.empty(4), 1)  # inputs may share theirs
    assert "expected memory of its own for the result, got that of divergence" in statement(
        _core.score, "mixture", mixture, points, rows, numbers, numbers, 1
    )
    weights = [torch.ones(2, 2), torch.ones(2, 2), torch.zeros(1, 4), torch.ones(1), torch.zeros(1)]
    assert "score: expected memory of its own for the result, got that of score.weights[1]" in statement(
        _core.score, "mlp:silu", weights, points[:2], weights[1], torch.empty(2), torch.empty(2), 1
    )


LONG = torch.linspace(-1, 1, 20_000_000)


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.moments(LONG, 1),
        lambda: _core.exponential_sums(LONG, 1.0, 1),
        lambda: _core.evaluate("silu", LONG, torch.empty_like(LONG)),
        lambda: _core.normals(0, 0, 0, 0, LONG.new_empty(200_000, 100), 1),
    ],
    ids=["moments", "exponential_sums", "evaluate", "normals"],
)
def test_long_calls_leave_the_interpreter_to_others(call: Callable[[], object]) -> None:
    """A thread that looks at the clock again and again does so during the call: its longest pause is a part of it."""
    times, done = [time.perf_counter()], threading.Event()

    def look() -> None:
        while not done.is_set():
            times.append(time.perf_counter())
            time.sleep(1e-4)

    other = threading.Thread(target=look)
    other.start()
    time.sleep(0.01)
    start = time.perf_counter()
    call()
    end = time.perf_counter()
    done.set()
    other.join()
    assert sum(start < moment < end for moment in times) >= 5, f"none looked in {end - start:.3f} s"
