"""What the compiler made of each CUDA kernel, on every architecture, and the limit that a roofline gives it.

Needs nvcc, cuobjdump and c++filt, and no GPU. `python benchmarks/cuda_resources.py` writes cuda_resources.json beside
it; `--check` compiles again and compares with what is written, all but the instructions where there is no cuobjdump;
`--architectures 90` and `--sources normals` compile fewer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".json")
SOURCES = sorted(path.stem for path in (ROOT / "csrc" / "cuda").glob("*.cu") if path.stem != "device")
# Registers and threads of a multiprocessor, its most blocks, and its shared memory in KiB (CUDA C programming guide,
# table of technical specifications by compute capability).
MULTIPROCESSOR = {
    "75": (65536, 1024, 16, 64),
    "80": (65536, 2048, 32, 164),
    "90": (65536, 2048, 32, 228),
    "100": (65536, 2048, 32, 228),
    "120": (65536, 1536, 24, 100),
}
# Threads of a block, where not 256; those of a search are a leaf's points, of which there are more in many dimensions.
THREADS = {
    r"mixture|langevin|gaussian_gap|(averages|parts)_kernel<.*, 128>$": 128,
    r"(search|count)_kernel<\w+, \w+, 0\b": 192,
    r"search|count|node_box": 64,
}
ARITHMETIC = ("HMMA", "FFMA", "FMUL", "FADD", "DFMA", "DMUL", "DADD", "MUFU")
COUNTED = (*ARITHMETIC, "LDG", "LDG.E.128", "LDS", "LDS.128", "LDL", "STL")
FLAGS = ["-std=c++20", "-Werror=all-warnings", "-Xptxas=-v"]


def has_tool(name: str) -> str | None:
    """Path of a program of the CUDA toolkit, if it is here."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def tool(name: str) -> str:
    """The same, which has to be here."""
    found = has_tool(name)
    if not found:
        raise SystemExit(f"{name} is not here: install the CUDA toolkit, or nvidia-cuda-{name} from PyPI")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout + done.stderr


def readable(symbols: list[str]) -> dict[str, str]:
    """Kernels' names without their parameter lists, by symbol."""
    text = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    names = [re.sub(r"\(.*", "", line).replace("void ", "").replace("tk::cuda::", "") for line in text.splitlines()]
    names = [re.sub(r"CUB_\d+_SM_\d+::", "", name) for name in names]  # its version and the architecture
    return {symbol: name.replace("tk::", "") for symbol, name in zip(symbols, names, strict=True)}


def occupancy(architecture: str, name: str, registers: int) -> float:
    """Share of a multiprocessor's threads that fit, by registers alone: shared memory depends on the problem."""
    total, most_threads, most_blocks, _ = MULTIPROCESSOR[architecture]
    threads = next((count for pattern, count in THREADS.items() if re.match(pattern, name)), 256)
    warps = threads // 32
    of_block = warps * (-(-registers * 32 // 256) * 256)  # registers are given out by 256 to a warp
    return min(total // of_block, most_blocks, most_threads // threads) * threads / most_threads


def instructions(cubin: Path) -> dict[str, dict[str, int]]:
    """Counts of the instructions that matter, by symbol."""
    counts: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in run(tool("cuobjdump"), "--dump-sass", str(cubin)).splitlines():
        if match := re.search(r"Function : (\S+)", line):
            current = counts.setdefault(match[1], Counter())
        elif match := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)", line):
            opcode = match[1]
            current["all"] += 1
            for name in COUNTED:
                if opcode == name or opcode.startswith(f"{name}."):
                    current[name] += 1
            if re.match(r"(LDG|LDS)\..*128", opcode):
                current["LDG.E.128" if opcode.startswith("LDG") else "LDS.128"] += 1
    return {symbol: dict(sorted(count.items())) for symbol, count in counts.items()}


def compiled(source: str, architecture: str, count: bool) -> list[dict[str, Any]]:
    """One row for each kernel of a source, with its instructions counted or without."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernels.cubin"
        path = str(ROOT / "csrc" / "cuda" / f"{source}.cu")
        log = run(tool("nvcc"), *FLAGS, f"-arch=sm_{architecture}", "-cubin", "-o", str(cubin), path)
        sass = instructions(cubin) if count else {}
    pattern = (
        r"Compiling entry function '(\S+)' "
        r".*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers(?:[^\n]*?, (\d+) bytes smem)?"
    )
    found = re.findall(pattern, log, flags=re.DOTALL)
    names = readable([symbol for symbol, *_ in found])
    return [
        {
            "kernel": names[symbol],
            "architecture": architecture,
            "registers": int(registers),
            "stack_bytes": int(stack),
            "spill_bytes": int(stores) + int(loads),
            "static_shared_bytes": int(shared or 0),
            "occupancy": round(occupancy(architecture, names[symbol], int(registers)), 3),
            **({"instructions": sass.get(symbol, {})} if count else {}),
        }
        for symbol, stack, stores, loads, registers, shared in found
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    parser.add_argument("--architectures", nargs="+", default=list(MULTIPROCESSOR), choices=list(MULTIPROCESSOR))
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=SOURCES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at once")
    arguments = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    written = json.loads(TABLE.read_text()) if TABLE.is_file() else {"kernels": []}
    everything = (arguments.architectures, arguments.sources) == (list(MULTIPROCESSOR), SOURCES)
    for row in written["kernels"]:
        if arguments.check or not everything:  # what no longer exists goes when all is compiled again
            rows[row["kernel"], row["architecture"]] = row
    different = 0
    count = not arguments.check or has_tool("cuobjdump") is not None
    if not count:
        print("instructions: NOT RUN (no cuobjdump)")
    work = list(itertools.product(arguments.architectures, arguments.sources))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for made in pool.map(lambda one: compiled(one[1], one[0], count), work):
            for row in made:
                key = row["kernel"], row["architecture"]
                there = {name: value for name, value in rows.get(key, {}).items() if count or name != "instructions"}
                if there != row:
                    different += 1
                    print(f"{key}: {row} instead of {there}" if arguments.check else f"{key}: written")
                rows[key] = row
            if not arguments.check:
                write(rows)
    return int(arguments.check and different > 0)


def write(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The table, one line a row."""
    nvcc = next(line for line in run(tool("nvcc"), "--version").splitlines() if "release" in line)
    lines = ",\n".join(json.dumps(rows[key]) for key in sorted(rows))
    TABLE.write_text(f'{{"nvcc": {json.dumps(nvcc)}, "kernels": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    sys.exit(main())
