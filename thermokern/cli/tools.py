"""``thermokern info | bench``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import thermokern
from thermokern.cli.options import Parsers


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    info = commands.add_parser("info", parents=[common], help="which backends and instruction sets are there, and why")
    info.set_defaults(run=_info)
    bench = commands.add_parser("bench", help="the benchmarks, in a source checkout")
    bench.add_argument("rest", nargs=argparse.REMAINDER, help="options of benchmarks/run.py")
    bench.set_defaults(run=_bench, threads=None)


def _info(options: argparse.Namespace) -> None:
    for name, value in thermokern.info().items():
        print(f"{name:<24}{value}")


def _bench(options: argparse.Namespace) -> None:
    script = Path(thermokern.__file__).resolve().parents[1] / "benchmarks" / "run.py"
    if not script.is_file():
        raise FileNotFoundError(
            "bench: the benchmarks live in the source tree; clone it and install with pip -e '.[bench]'"
        )
    status = subprocess.run([sys.executable, str(script), *options.rest], check=False).returncode
    if status:
        raise OSError(f"bench: benchmarks/run.py ended with status {status}")
