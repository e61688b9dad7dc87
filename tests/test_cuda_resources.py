"""The table of what the compiler made of the CUDA kernels: no spills, small dimensions in registers, still true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ROWS = json.loads((BENCHMARKS / "cuda_resources.json").read_text())["kernels"]
ARCHITECTURES = {row["architecture"] for row in ROWS}
# All but networks, mixtures of more than four dimensions, and the flow, which holds the slopes of a step in an array.
SMALL = re.compile(
    r"^mixture_(score|trajectory)_kernel<.*, [1234]>$|^(averages|parts)_kernel<.*, [1234], 128>$"
    r"|^langevin_kernel<.*, [1234]>$"
    r"|^(normals|reduce|merge|merge_stretches|mixture_rows|rows|finish_rows|search|count)_kernel"
    r"|^(number|leaf_box|node_box|key|arrange)_kernel"
)
FLOW_STACK = 320  # bytes, at most, up to four dimensions


def test_every_kernel_on_every_architecture() -> None:
    kernels = {row["kernel"] for row in ROWS}
    assert len(kernels) > 180
    assert len(ARCHITECTURES) == 5
    assert len(ROWS) == len(kernels) * len(ARCHITECTURES)


def test_nothing_spills() -> None:
    assert [row for row in ROWS if row["spill_bytes"]] == []


def test_small_dimensions_stay_in_registers() -> None:
    rows = [row for row in ROWS if SMALL.match(row["kernel"])]
    assert len(rows) >= 130 * len(ARCHITECTURES)
    for row in rows:
        assert row["stack_bytes"] == 0, row
        assert not {"LDL", "STL"} & row["instructions"].keys(), row
    for row in ROWS:
        if re.match(r"^mixture_flow_kernel<.*, [1234]>$", row["kernel"]):
            assert 0 < row["stack_bytes"] <= FLOW_STACK, row


def test_networks_read_shared_memory_by_sixteen_bytes() -> None:
    for row in ROWS:
        if row["kernel"].startswith("network"):
            assert row["instructions"]["LDS.128"] >= 3, row


def test_tensor_cores_multiply_where_there_are_any() -> None:
    """Eight instructions for each of two ways, three times as many for the third, a network; none on sm_75."""
    rows = [row for row in ROWS if row["kernel"].startswith("tensor_trajectory")]
    assert len(rows) == 3 * len(ARCHITECTURES)
    for row in rows:
        networks = row["kernel"].count("TensorMlp")
        least = 0 if row["architecture"] == "75" else networks * 8 * (1 + 1 + 3)
        assert row["instructions"].get("HMMA", 0) >= least, row
        assert (row["architecture"] == "75") == ("HMMA" not in row["instructions"]), row
        assert row["registers"] <= 128, row


def test_the_table_is_that_of_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    """Random numbers compiled again; `benchmarks/cuda_resources.py --check` compiles all, which takes minutes."""
    if not (shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")):
        with capsys.disabled():
            print("\ncuda resources: NOT RUN (no nvcc)")
        return
    command = [BENCHMARKS / "cuda_resources.py", "--check", "--sources", "normals", "--architectures", "90"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "NOT RUN" in done.stdout:
        with capsys.disabled():
            print(f"\ncuda resources: {done.stdout.strip()}")
