"""``thermokern reproduce table1``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from thermokern.cli.options import Parsers, footer, list_files
from thermokern.papers.kodama2025 import read_capacity, shipped_capacity
from thermokern.papers.kodama2025.table1 import FULL, QUICK, table1
from thermokern.report import write_table1


def add_experiment(experiments: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the experiment to ``reproduce``."""
    parser = experiments.add_parser(
        "table1", parents=[common, output], help="entropy of the Swiss roll: Kodama and Hinczewski, Table 1"
    )
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} points in place of {QUICK:,}")
    parser.add_argument("--points", type=int, help="any other number of points")
    parser.add_argument(
        "--capacity",
        type=Path,
        metavar="DIR",
        help="where `reproduce capacity` left its networks' bounds (default: the results that come with the package)",
    )
    parser.set_defaults(run=_reproduce, out=Path("out/table1"))


def _reproduce(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    n = options.points if options.points is not None else FULL if options.full else QUICK
    if n < 100:
        raise ValueError(f"--points: expected at least 100, got {n}")
    sweep = shipped_capacity() if options.capacity is None else read_capacity(options.capacity)
    result = table1(n=n, seed=options.seed or 0, progress=not options.quiet, **sweep.for_table1())
    print(result.summary())
    print(f"estimated in {time.perf_counter() - start:.1f} s on {torch.get_num_threads()} thread(s)")
    list_files(write_table1(result, options.out, footer()))
