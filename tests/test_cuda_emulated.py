"""The CUDA kernels against the CPU's: under the emulator always, on a device where there is one.

Under the emulator the sources of csrc/cuda run on the CPU, compiled for the oldest instruction set; against the CPU
kernels of that set they must agree to the bit, against the others within rounding.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from cuda_emulation import emulated, passed_on_the_oldest_instruction_set, planted_bugs
from test_ops import (
    FEW,
    MIXTURES,
    MLPS,
    NORMALS,
    PAIRS,
    TRAJECTORIES,
    Case,
    each,
    mixture_case,
    mlp_case,
    normals_case,
    trajectory_case,
)
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

import thermokern
from thermokern import _core, ops
from thermokern._info import cuda_absence
from thermokern.ops import registry
from thermokern.processes import VE, VP

pytestmark = pytest.mark.timeout(900)  # the first test that needs the emulated module builds it

SIZES = (0, 1, 31, 32, 33, 257, 4099)
DIMS = (1, 2, 3, 4, 7, 16)
ORDERS = {"forward": 0, "reverse": 1, "random": 2}
DTYPES = (torch.float32, torch.float64)
DEVICE = "" if cuda_absence() else "cuda"
EXACT = _core.instruction_set == "baseline" and not DEVICE


def test_says_when_there_is_no_device(capsys: pytest.CaptureFixture[str]) -> None:
    if DEVICE:
        return
    assert os.environ.get("THERMOKERN_REQUIRE_CUDA") != "1", f"THERMOKERN_REQUIRE_CUDA=1, but {cuda_absence()}"
    with capsys.disabled():
        print(f"\ncuda: NOT RUN (no device): {cuda_absence()}")
    assert thermokern.info()["cuda"] == f"not available: {cuda_absence()}"
    with pytest.raises(ValueError, match="^device: expected a tensor on cpu, got cuda, where no kernel runs: "):
        ops.normals(1, 1, device="cuda")


# ---- against the CPU


class Backend:
    """Where the kernels under test run: the emulator, in an order of threads, or the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.patch, self.name = monkeypatch, name

    def __call__(self, case: Case, x: Tensor, offset: int) -> tuple[Tensor, ...]:
        if self.name == "cuda":
            return tuple(out.cpu() for out in case.fast(x.cuda(), offset))
        with self.patch.context() as patch:
            patch.setattr(registry, "backend", lambda _: (emulated(), 0))
            emulated().set_order(ORDERS[self.name], 5)
            return tuple(case.fast(x, offset))


@pytest.fixture(params=[*ORDERS, *([DEVICE] if DEVICE else [])])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    return Backend(monkeypatch, request.param)


def assert_agrees(actual: tuple[Tensor, ...], case: Case, x: Tensor, offset: int) -> None:
    """Equal bits where the CPU kernels have no fused multiply-adds either.

    Otherwise paths by the rounding yardstick, against the CPU's float64 and with the CPU's float32 for the plain
    numbers; all else within 64 eps of the scale. A mixture's divergence is the small difference of |s|² and another
    number of its size, as in the ops' battery.
    """
    expected, what = case.fast(x, offset), case.name
    if isinstance(expected, ops.TrajectorySums) and x.dtype == torch.float32 and not EXACT:
        exact = case.fast(x.double(), offset)
        for name, a, b, c in zip(expected._fields, actual, expected, exact, strict=True):
            assert_rounding(a, b, c, what=f"{what}.{name}")
        return
    names = getattr(expected, "_fields", range(len(expected)))
    for name, a, b in zip(names, actual, expected, strict=True):
        if EXACT:
            assert_exact(a, b, what)
        elif b.numel():
            assert a.shape == b.shape, what
            size = rms(expected.score.square().sum(1)) if name == "divergence" else rms(b)
            bound = 64 * torch.finfo(b.dtype).eps * max(1.0, size)
            assert rms(a.double() - b.double()) <= bound, f"{what}.{name}"


def many(case: Case, n: int, dtype: torch.dtype) -> Tensor:
    rows = case.x(257)
    return rows.repeat(n // 257 + 1, 1)[:n].to(dtype)


def cases_of(dim: int) -> list[Case]:
    return [
        normals_case(dim, "reverse", 3),
        mixture_case(dim, 9, "isotropic"),
        mixture_case(dim, 20, "diagonal"),
        *(mlp_case(dim, (16, 13, 8), activation) for activation in ("silu", "relu")),
        *(trajectory_case(dim, VP(), "ito", *pair) for pair in PAIRS[:5]),
    ]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size by every dimension, in one order of threads each."""
    run = Backend(monkeypatch, list(ORDERS)[(n + dim) % 3])
    for case in cases_of(dim):
        x = many(case, n, torch.float32)
        if n == 1 and not EXACT:  # one path is no sample for a yardstick; it has the bits of the first of 31
            first = tuple(rows[:1] for rows in run(case, many(case, 31, torch.float32), 2**33 - 5))
            assert_exact(run(case, x, 2**33 - 5), first, case.name)
            continue
        assert_agrees(run(case, x, 2**33 - 5), case, x, 2**33 - 5)


@pytest.mark.parametrize("group", [NORMALS, MIXTURES, MLPS, TRAJECTORIES], ids=["normals", "mixtures", "mlps", "paths"])
def test_the_battery(group: list[Case], backend: Backend) -> None:
    """All cases of the ops' own battery, path by path."""
    for case in group:
        x = case.x(70)
        assert_agrees(backend(case, x, 5), case, x, 5)


def float64_cases() -> list[Case]:
    scores = [mixture_case(d, 9, kind) for d in (2, 7) for kind in ("isotropic", "diagonal")]
    return scores + [trajectory_case(d, VE(), "sampler", *pair) for d in (2, 7) for pair in PAIRS]


def test_float64(backend: Backend) -> None:
    for case in float64_cases():
        x = case.x(70).double()
        assert_agrees(backend(case, x, 5), case, x, 5)


@each(FEW)
def test_same_bits_for_any_order_and_chunks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    x = case.x(257)
    whole = Backend(monkeypatch, "forward")(case, x, 1000)
    for order in ("reverse", "random"):
        assert_exact(Backend(monkeypatch, order)(case, x, 1000), whole)
    for begin, end in ((0, 100), (100, 101), (101, 257)):
        part = Backend(monkeypatch, "forward")(case, x[begin:end], 1000 + begin)
        assert_exact(part, tuple(rows[begin:end] for rows in whole))


def test_wide_network(backend: Backend) -> None:
    """The widest layers that the kernels take, in the most dimensions: the tile that fills shared memory."""
    for dim, widths in ((16, (256, 7)), (1, (9,)), (3, (256, 256))):
        case = mlp_case(dim, widths, "tanh")
        assert_agrees(backend(case, case.x(40), 0), case, case.x(40), 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", ORDERS)
def test_statistics_have_the_bits_of_the_cpu(order: str, dtype: torch.dtype) -> None:
    emulated().set_order(ORDERS[order], 5)
    for n in (*SIZES, 2, 3, 4, 5, 1000, 1024, 1025, 100_003):
        values = torch.randn(n, dtype=dtype, generator=torch.Generator().manual_seed(n))
        for name, arguments in {"moments": (), "exponential_sums": (-1.3,)}.items():
            expected = getattr(_core, name)(values, *arguments, 1)
            assert_exact(getattr(emulated(), name)(values, *arguments, 0), expected, f"{name} of {n}")
            if DEVICE:
                on = getattr(ops, name)(values.cuda(), *arguments)
                for a, b in zip(on, expected, strict=True):
                    assert abs(a - b) <= 1e-13 * max(1.0, abs(b)), f"{name} of {n} on the device"


def test_same_bits_as_the_oldest_instruction_set() -> None:
    """The battery once more, in a process whose CPU kernels have no fused multiply-adds: there bits must be equal."""
    if _core.instruction_set == "baseline":
        return
    chosen = "sizes or battery and forward or test_float64 and forward"
    last = passed_on_the_oldest_instruction_set(str(Path(__file__)), chosen)
    assert f"{len(SIZES) * len(DIMS) + 5} passed" in last, last


def test_strided_inputs_follow_the_rule_of_the_cpu() -> None:
    """The native functions refuse them; the ops have made them contiguous before."""
    points = torch.zeros(6, 4)[:, ::2]
    numbers = [torch.zeros(1, 2).double(), torch.ones(1, 2).double(), *[torch.ones(1).double()] * 3]
    out = torch.empty(6, 2), torch.empty(6), torch.empty(6)
    for module, last in ((_core, 1), (emulated(), 0)):
        with pytest.raises(ValueError, match=r"^x: expected \(\*, \*\) float32 on cpu, got .* not contiguous$"):
            module.score("mixture", numbers, points, *out, last)
        with pytest.raises(ValueError, match=r"^divergence: expected \(6,\) float32"):
            module.score("mixture", numbers, points.contiguous(), out[0], out[1][:5], out[2], last)


# ---- the emulator itself


def report(name: str, order: str, sanitizer: str = "") -> tuple[str, str]:
    """What a kernel of planted_bugs.cpp prints, and what the sanitizer says."""
    command = ["setarch", "-R", planted_bugs(sanitizer)] if sanitizer == "thread" else [planted_bugs(sanitizer)]
    options = {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [*map(str, command), name, order], env={**os.environ, **options}, capture_output=True, text=True, check=False
    )
    return done.stdout.strip(), done.stderr


CLEAN = ("sum", "reverse", "count", "rounds")
REPORTED = {
    "divergent-barrier": r"divergent barrier: 224 threads returned before the one at planted_bugs.cpp:\d+",
    "barrier-in-two-branches": r"divergent barrier: thread 0 is at planted_bugs.cpp:\d+, thread 32 at planted_bugs",
    "full-mask-with-8-lanes": r"deadlock: 8 at the warp collective planted_bugs.cpp:\d+, 248 threads returned",
    "lane-outside-its-mask": r"a thread calls a warp collective that its mask leaves out, thread \d+ at planted_bugs",
    "shared-write-past-the-end": r"shared memory written past the end of partial, byte 32 of 32",
    "early-return-before-a-barrier": r"deadlock: 160 at the barrier planted_bugs.cpp:\d+, 28 at the warp collective",
}


@pytest.mark.parametrize("sanitizer", ["", "address", "thread"])
@pytest.mark.parametrize("name", CLEAN)
def test_clean_kernels_report_nothing(name: str, sanitizer: str) -> None:
    for order in ORDERS:
        assert report(name, order, sanitizer) == ("right", "")


@pytest.mark.parametrize("name", REPORTED)
def test_planted_bugs_are_reported(name: str) -> None:
    for order in ORDERS:
        out, _ = report(name, order)
        assert re.match(REPORTED[name], out), out


@pytest.mark.parametrize("name", ["barrier-forgotten", "syncwarp-forgotten", "barrier-between-rounds-forgotten"])
def test_forgotten_barriers_show(name: str) -> None:
    """In the result for some order of threads, since shared memory begins as NaN; as a race under ThreadSanitizer.

    The last needs a warp that goes on while the others have yet to read, collectives behind it: the random order.
    """
    assert "wrong" in {report(name, order)[0] for order in ORDERS}
    for order in ORDERS:
        error = report(name, order, "thread")[1]
        assert "ThreadSanitizer: data race" in error
        assert "planted_bugs.cpp" in error


@pytest.mark.parametrize("name", ["shared-write-past-the-end", "global-write-past-the-end"])
def test_writes_past_the_end_show_under_address_sanitizer(name: str) -> None:
    for order in ORDERS:
        error = report(name, order, "address")[1]
        assert "ERROR: AddressSanitizer" in error
        assert "planted_bugs.cpp" in error
