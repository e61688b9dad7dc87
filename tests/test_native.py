"""The native module: one namespace for each instruction set, their agreement, forks, Ctrl-C, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tolerances import rms
from torch import Tensor

from thermokern import _core, ops
from thermokern.ops.mlp_score_divergence import ACTIVATIONS
from thermokern.processes import VP, step_table

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = _core.instruction_sets[: _core.instruction_sets.index(_core.best_instruction_set) + 1]

# ---- symbols


def weak_code(symbols: str) -> list[str]:
    """Demangled names of the code that a linker may merge with another object's, from the output of `nm -C`."""
    found = re.findall(r"^[0-9a-f]+ ([WVu]) (.+)$", symbols, flags=re.MULTILINE)
    return [name for kind, name in found if not (kind == "V" and name.startswith("DW.ref."))]


def test_weak_code_is_recognised() -> None:
    symbols = (
        "0000000000000000 W float tk::avx2::exp2<float>(float)\n0000000000000010 T tk::avx2::table()\n"
        "                 w __gmon_start__\n                 U omp_get_thread_num\n"
        "0000000000000000 V DW.ref.__gxx_personality_v0\n0000000000000000 W std::vector<int>::size() const\n"
    )
    assert weak_code(symbols) == ["float tk::avx2::exp2<float>(float)", "std::vector<int>::size() const"]


def test_kernels_of_each_instruction_set_share_no_code() -> None:
    nm = shutil.which("nm")
    assert nm, "this test reads symbols with nm, of the package binutils"
    objects = sorted((ROOT / "build").glob("*/**/kernels_*.dir/**/*.o"))
    assert objects, f"no kernel objects under {ROOT.name}/build: install the package with `pip install -e .` first"
    sets = {re.search(r"kernels_(\w+)\.dir", str(path)).group(1) for path in objects}
    assert sets >= set(_core.instruction_sets), f"objects of {sorted(sets)} alone"
    for path in objects:
        namespace = re.search(r"kernels_(\w+)\.dir", str(path)).group(1)
        symbols = subprocess.run([nm, "-C", str(path)], capture_output=True, text=True, check=True).stdout
        assert f"tk::{namespace}::" in symbols, f"{path.relative_to(ROOT)} holds nothing of its instruction set"
        shared = [name for name in weak_code(symbols) if f"tk::{namespace}::" not in name]
        assert not shared, f"{path.relative_to(ROOT)}: the linker may merge {shared}"


def test_stubs_follow_the_signatures() -> None:
    command = [sys.executable, str(ROOT / "csrc" / "stubs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_counts_what_the_kernels_count() -> None:
    """Names that Python gives to columns, against their number in the kernels."""
    assert len(ops.step_table.COLUMNS) == _core.NODE_COLUMNS
    assert len(ops.flow_table.COLUMNS) == _core.FLOW_COLUMNS
    assert len(ops.OBSERVABLES) == _core.OBSERVABLES
    assert tuple(ACTIVATIONS) == _core.ACTIVATIONS


# ---- processes of their own


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(process: subprocess.Popen[str], timeout: float = 100.0) -> tuple[str, str]:
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.kill()


RING = """
import math, torch
from thermokern import _core, ops
from thermokern.processes import VP, step_table
table = step_table(VP(), VP().grid({steps}), "ito")
angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
means = 4 * torch.stack([angle.cos(), angle.sin()], 1)
def ring(weights):
    weights = torch.tensor(weights, dtype=torch.float64)
    variances = torch.full_like(means, 0.0625)
    return ops.MixtureSource(means, variances, weights / weights.sum(), table.mean_scale, table.variance)
model, target = ring([1, 7, 7, 7, 7, 7, 7, 7]), ring([1] * 8)
x = ops.normals({n}, 2, purpose="start")
"""


def test_instruction_sets_agree(tmp_path: Path) -> None:
    code = RING.format(steps=100, n=500) + (
        "out = ops.trajectory(x, table, model, target)\n"
        "torch.save([t.clone() for t in out], {path!r}); print(_core.instruction_set, _core.lanes)"
    )
    results = {}
    for name in SUPPORTED:
        path = tmp_path / name
        process = python(code.replace("{path!r}", repr(str(path))), THERMOKERN_ISA=name)
        out, error = finish(process)
        assert process.returncode == 0, error
        assert out.split() == [name, {"avx512": "16", "avx2": "8", "baseline": "4"}[name]]
        results[name] = torch.load(path)
    for name, tensors in results.items():
        for a, b in zip(tensors[:3], results["baseline"][:3], strict=True):  # the fourth, coarser sums, is empty here
            assert a.shape == b.shape
            assert rms(a - b) < 1e-5 * max(1.0, rms(b)), name


@pytest.mark.parametrize("name", ["sse9", "", "AVX2"])
def test_unknown_instruction_set(name: str) -> None:
    process = python("import thermokern", THERMOKERN_ISA=name)
    _, error = finish(process)
    assert process.returncode == 1
    assert f"ImportError: THERMOKERN_ISA: expected {' or '.join(_core.instruction_sets)}" in error.replace(", ", " or ")
    assert f"got '{name}'" in error


def test_kernels_run_in_a_forked_child() -> None:
    code = """
import os, signal, torch
from thermokern import _core, ops
torch.set_num_threads(2)
before = ops.normals(5000, 8)  # the parent has threads from here on
child = os.fork()
if child == 0:
    signal.alarm(20)  # a child that waits for threads it does not have would wait for ever
    out, points = torch.empty(5000, 8), torch.ones(300, 2)
    _core.normals(0, 0, 0, 0, out, 2)
    numbers = [torch.zeros(1, 2).double(), torch.ones(1, 2).double(), *[torch.ones(1).double()] * 3]
    _core.score("mixture", numbers, points, torch.empty(300, 2), torch.empty(300), torch.empty(300), 2)
    os._exit(0 if out.tolist() == before.tolist() else 3)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    out, error = finish(python(code))
    assert out.split() == ["0"], f"the child ended with {out.strip()} {error}"


NETWORK_CODE = """
def network(widths):
    sizes = [2, *widths, 2]
    weights = [torch.full((b, a), 0.1 / a) for a, b in zip(sizes, sizes[1:])]
    nodes = len(table.times)
    return ops.MlpSource(weights, torch.zeros(nodes, sum(sizes[1:])), "silu", torch.ones(nodes), torch.zeros(nodes))
"""
LONG_CALLS = {
    "mixtures": "ops.trajectory(x, table, model, target)",
    "network-128x128": "ops.trajectory(x, table, network([128, 128]), target)",
    "network-256": "ops.trajectory(x, table, network([256]), target)",
    "two-networks-8": "ops.trajectory(x, table, network([8]), network([8]))",
}


@pytest.mark.parametrize("name", LONG_CALLS)
def test_interrupt_ends_a_long_call(name: str) -> None:
    """Within a second of Ctrl-C. Both ends read the same monotonic clock."""
    code = (
        RING.format(steps=2000, n=400_000)
        + NETWORK_CODE
        + f"""
import signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have it ignored
threading.Timer(0.7, lambda: print("running", flush=True)).start()
try:
    {LONG_CALLS[name]}
    print("finished too early")
except KeyboardInterrupt:
    print("interrupted", time.monotonic(), flush=True)
"""
    )
    process = python(code)
    try:
        assert process.stdout.readline().strip() == "running"
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, error = finish(process, 20.0)
    except subprocess.TimeoutExpired:
        pytest.fail("still running 20 s after the signal")
    finally:
        process.kill()
    assert out.startswith("interrupted"), out + error
    assert float(out.split()[1]) - sent < 1.0
    assert process.returncode == 0


# ---- what no op accepts

F64 = torch.float64
X = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
MIXED = torch.eye(3, 2, dtype=F64), torch.ones(3, 2, dtype=F64), torch.tensor([0.5, 0.3, 0.2], dtype=F64)
NETWORK = [torch.ones(5, 2), torch.ones(2, 5)], torch.zeros(1, 7)
TABLE = step_table(VP(), VP().grid(4), "ito")
SOURCE = ops.MixtureSource(*MIXED, TABLE.mean_scale, TABLE.variance)
PERCEPTRON = ops.MlpSource(NETWORK[0], NETWORK[1].expand(5, 7), "silu", torch.ones(5), torch.zeros(5))
BAD = torch.tensor([[0.0, math.nan]])


def with_mixture(x: object = X, **changes: object) -> None:
    ops.mixture_score(x, **{**dict(zip(("means", "variances", "weights"), MIXED, strict=True)), **changes})


def with_network(x: object = X, **changes: object) -> None:
    given = {"weights": NETWORK[0], "biases": NETWORK[1][0], "activation": "silu"}
    ops.mlp_score_divergence(x, **{**given, **changes})


def with_trajectory(x: object = X, model: ops.Source = SOURCE, **changes: object) -> None:
    ops.trajectory(x, **{"table": TABLE, "model": model, "reference": SOURCE, **changes})


def changed(given: ops.Source, **changes: object) -> ops.Source:
    return dataclasses.replace(given, **changes)


REFUSED = {
    "normals": [
        ("n", lambda: ops.normals(-1, 1)),
        ("count", lambda: ops.normals(1, -1)),
        ("first", lambda: ops.normals(1, 1, first=-1)),
        ("seed", lambda: ops.normals(1, 1, seed=-1)),
        ("seed", lambda: ops.normals(1, 1, seed=2**63)),
        ("seed", lambda: ops.normals(1, 1, seed=1.5)),
        ("path_offset", lambda: ops.normals(1, 1, path_offset=-1)),
        ("purpose", lambda: ops.normals(1, 1, purpose="nothing")),
        ("first", lambda: ops.normals(1, 1, first=2**34)),  # past the last block: numbers would repeat
    ],
    "points": [
        (name, lambda op=op, x=x: op(x))
        for op in (with_mixture, with_network, with_trajectory)
        for name, x in [
            ("x", X.half()),
            ("x", X[0]),
            ("x", X[None]),
            ("x", X.int()),
            ("x", X.tolist()),
            ("x", BAD),
            ("x", torch.tensor([[math.inf, 0.0]])),
        ]
    ],
    "mixture": [
        ("means", lambda: with_mixture(means=MIXED[0][:, :1])),
        ("means", lambda: with_mixture(means=MIXED[0][0])),
        ("means", lambda: with_mixture(means=MIXED[0][:0])),
        ("means", lambda: with_mixture(means=MIXED[0] * math.nan)),
        ("variances", lambda: with_mixture(variances=MIXED[1][:2])),
        ("variances", lambda: with_mixture(variances=-MIXED[1])),
        ("variances", lambda: with_mixture(variances=0.0 * MIXED[1])),
        ("variances", lambda: with_mixture(variances=MIXED[1] / 0.0)),
        ("weights", lambda: with_mixture(weights=MIXED[2][:2])),
        ("weights", lambda: with_mixture(weights=torch.tensor([-0.5, 0.5, 1.0]))),
        ("weights", lambda: with_mixture(weights=torch.tensor([0.5, 0.5, 0.5]))),
        ("weights", lambda: with_mixture(weights=torch.tensor([math.nan, 0.5, 0.5]))),
        (
            "x",
            lambda: ops.mixture_score(torch.zeros(3, 17), torch.zeros(2, 17), torch.ones(2, 17), torch.full((2,), 0.5)),
        ),
    ],
    "network": [
        ("activation", lambda: with_network(activation="sine")),
        ("weights", lambda: with_network(weights=NETWORK[0][:1])),
        ("weights", lambda: with_network(weights=[torch.eye(2)] * 18, biases=torch.zeros(36))),
        ("weights[0]", lambda: with_network(weights=[NETWORK[0][0].T, NETWORK[0][1]])),
        (
            "weights[0]",
            lambda: with_network(weights=[torch.zeros(257, 2), torch.zeros(2, 257)], biases=torch.zeros(259)),
        ),
        ("weights[0]", lambda: with_network(weights=[NETWORK[0][0].to(F64), NETWORK[0][1]])),
        ("weights[1]", lambda: with_network(weights=[NETWORK[0][0], NETWORK[0][1] * math.nan])),
        ("biases", lambda: with_network(biases=NETWORK[1][0, :-1])),
        ("biases", lambda: with_network(biases=NETWORK[1][0] / 0.0)),
        ("output_scale", lambda: with_network(output_scale=math.nan)),
        ("skip", lambda: with_network(skip=math.inf)),
    ],
    "trajectory": [
        ("x", lambda: with_trajectory(torch.zeros(3, 17))),
        ("seed", lambda: with_trajectory(seed=-1)),
        ("path_offset", lambda: with_trajectory(path_offset=-1)),
        ("model.weights", lambda: with_trajectory(model=changed(SOURCE, weights=-SOURCE.weights))),
        ("model.means", lambda: with_trajectory(torch.zeros(3, 3))),
        ("model.mean_scale", lambda: with_trajectory(model=changed(SOURCE, mean_scale=SOURCE.mean_scale[1:]))),
        ("model.variance", lambda: with_trajectory(model=changed(SOURCE, variance=SOURCE.variance[1:]))),
        ("model.variance", lambda: with_trajectory(model=changed(SOURCE, variance=SOURCE.variance * math.nan))),
        ("reference.means", lambda: with_trajectory(reference=changed(SOURCE, means=SOURCE.means * math.nan))),
        ("model.biases", lambda: with_trajectory(model=changed(PERCEPTRON, biases=NETWORK[1]))),
    ],
}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        pytest.param(*item, id=f"{group}-{i}-{item[0]}")
        for group, items in REFUSED.items()
        for i, item in enumerate(items)
    ],
)
def test_bad_inputs_name_their_argument(name: str, call: Callable[[], None]) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^(score\.)?{re.escape(name)}: expected"):
        call()


def wanting(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_(True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: with_mixture(wanting(X)),
        *(
            lambda i=i, name=name: with_mixture(**{name: wanting(MIXED[i])})
            for i, name in enumerate(("means", "variances", "weights"))
        ),
        lambda: with_network(wanting(X)),
        lambda: with_network(weights=[NETWORK[0][0], wanting(NETWORK[0][1])]),
        lambda: with_network(biases=wanting(NETWORK[1][0])),
        lambda: with_trajectory(wanting(X)),
        lambda: with_trajectory(model=changed(SOURCE, means=wanting(SOURCE.means))),
        lambda: with_trajectory(reference=changed(SOURCE, variance=wanting(SOURCE.variance))),
        lambda: with_trajectory(model=changed(PERCEPTRON, skip=wanting(torch.zeros(5)))),
    ],
)
def test_wanted_gradients_are_refused(call: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match=r'requires a gradient.*use backend="reference"'):
        call()
    with torch.no_grad():
        call()
