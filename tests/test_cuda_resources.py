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
IN_REGISTERS = re.compile(
    r"^(normals_kernel|reduce_kernel|merge_kernel|mixture_rows_kernel)<|^mixture_(score|trajectory)_kernel<.*, [123]>$"
)

ROWS_SPILL = ("mixture_rows_kernel", "100")  # two registers


def test_every_kernel_on_every_architecture() -> None:
    kernels = {row["kernel"] for row in ROWS}
    assert len(kernels) > 40
    assert len(ROWS) == len(kernels) * len(ARCHITECTURES)


def test_spills_are_those_that_are_known() -> None:
    """Networks in float64 on two architectures, and on one the rows of a mixture, which are filled once a node."""
    spilled = {(row["kernel"].split("<")[0], row["architecture"]) for row in ROWS if row["spill_bytes"]}
    assert spilled == {("network_trajectory_kernel", "75"), ("network_trajectory_kernel", "80"), ROWS_SPILL}
    for row in ROWS:
        if row["spill_bytes"]:
            assert "<double" in row["kernel"] or row["spill_bytes"] <= 16, row


def test_small_dimensions_stay_in_registers() -> None:
    rows = [row for row in ROWS if IN_REGISTERS.match(row["kernel"])]
    assert len(rows) >= 25 * len(ARCHITECTURES)
    for row in rows:
        if (row["kernel"].split("<")[0], row["architecture"]) == ROWS_SPILL:
            continue
        assert row["stack_bytes"] == 0, row
        assert not {"LDL", "STL"} & row["instructions"].keys(), row


def test_networks_read_shared_memory_by_sixteen_bytes() -> None:
    for row in ROWS:
        if row["kernel"].startswith("network"):
            assert row["instructions"]["LDS.128"] >= 3, row


def test_the_table_is_that_of_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    """Random numbers compiled again; `benchmarks/cuda_resources.py --check` compiles all, which takes minutes."""
    if not (shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")):
        with capsys.disabled():
            print("\ncuda resources: NOT RUN (no nvcc)")
        return
    command = [BENCHMARKS / "cuda_resources.py", "--check", "--sources", "elementary", "--architectures", "90"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "NOT RUN" in done.stdout:
        with capsys.disabled():
            print(f"\ncuda resources: {done.stdout.strip()}")
