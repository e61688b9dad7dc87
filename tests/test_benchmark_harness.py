"""The benchmarks' check against stored rows, and their time limits."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import harness

CPU = "a CPU, family 1, model 2"


def row(ratio: float | None, **changed: Any) -> dict[str, Any]:
    machine = {"cpu": changed.pop("cpu", CPU), "cores": changed.pop("cores", 2)}
    known = {"row": "A/shared", "kind": "thermokern", "instruction_set": "avx512", "threads": 1, "sizes": {"paths": 8}}
    return {**known, "machine": machine, "ratio": ratio, **changed}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (row(2.6), None),
        (row(2.6, cores=64), None),
        (row(2.5), "A/shared: ratio 2.50, stored 3.00"),
        (row(None), "A/shared: no peer ran, stored ratio 3.00"),
        (row(1.0, kind="peer"), None),
    ],
)
def test_the_check_says_what_fell(tmp_path: Path, now: dict[str, Any], said: str | None) -> None:
    """Against the last row of the same CPU, not against an older one."""
    stored = tmp_path / "results.jsonl"
    harness.store([row(9.0), row(3.0), row(9.0, cpu="another"), row(9.0, sizes={"paths": 9})], stored)
    fell, unknown = harness.fallen([now], stored)
    assert list(fell.values()) == ([said] if said else [])
    assert unknown == []
    assert len(stored.read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize("changed", [{"cpu": "another"}, {"instruction_set": "avx2"}, {"threads": 2}, {"row": "B"}])
def test_the_check_names_what_no_stored_row_is_like(tmp_path: Path, changed: dict[str, Any]) -> None:
    stored = tmp_path / "results.jsonl"
    assert harness.fallen([row(1.0)], stored) == ({}, ["A/shared"])
    stored.write_text(json.dumps(row(9.0)) + "\n", encoding="utf-8")
    assert harness.fallen([row(1.0, **changed)], stored) == ({}, [changed.get("row", "A/shared")])


def test_time_limits_may_be_nested() -> None:
    """The inner one ends its own work, the outer one what follows; after both nothing is stopped."""
    stopped = []
    try:
        with harness.time_limit(0.3):
            try:
                with harness.time_limit(0.05):
                    time.sleep(5)
            except harness.OutOfTimeError:
                stopped.append("inner")
            with harness.time_limit(60.0):
                pass
            time.sleep(5)
    except harness.OutOfTimeError:
        stopped.append("outer")
    with harness.time_limit(float("inf")):
        time.sleep(0.01)
    assert stopped == ["inner", "outer"]
