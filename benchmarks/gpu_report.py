"""Gathers what gpu.sh has so far, `python benchmarks/gpu_report.py FOLDER`: prints a table and writes gpu.json.

Reads `parts.tsv` (part, state, seconds, limit), the parts' logs and `rows.jsonl`, whose lines gpu_kernels.py writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def last_line(log: Path) -> str:
    """What a part said at last: pytest's counts, a sanitizer's summary, an error."""
    lines = [line.strip(" =") for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def gather(folder: Path) -> dict[str, Any]:
    parts = []
    for line in (folder / "parts.tsv").read_text(encoding="utf-8").splitlines():
        name, state, seconds, limit = line.split("\t")
        said = last_line(folder / f"{name}.log")
        parts.append({"part": name, "state": state, "seconds": int(seconds), "limit": int(limit), "said": said})
    rows = folder / "rows.jsonl"
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    return {"parts": parts, "rows": [json.loads(line) for line in lines]}


def table(found: dict[str, Any]) -> list[str]:
    out = [f"{'part':12} {'state':12} {'seconds':>7}  said"]
    for part in found["parts"]:
        out.append(f"{part['part']:12} {part['state']:12} {part['seconds']:7d}  {part['said'][:90]}")
    if found["rows"]:
        out += ["", f"{'row':34} {'seconds':>10} {'items/s':>10} {'of roofline':>11} {'times slower':>12}"]
    for row in found["rows"]:
        share, slower = row.get("fraction_of_roofline"), row.get("times_slower_than_fused")
        out.append(
            f"{row['row']:34} {row['seconds_median']:10.4g} {row['items_per_second']:10.3g}"
            f" {'' if share is None else f'{share:.0%}':>11} {'' if slower is None else f'{slower:.2f}':>12}"
        )
    return out


def main() -> None:
    folder = Path(sys.argv[1])
    found = gather(folder)
    (folder / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
