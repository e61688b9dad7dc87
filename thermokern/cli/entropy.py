"""``thermokern entropy FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from thermokern.cli.options import Parsers, hand_over, shows_bars
from thermokern.cli.points import read_points
from thermokern.quantities import entropy_table
from thermokern.quantities.samples.entropy_table import KS
from thermokern.quantities.samples.figures import table_figure
from thermokern.report.results import ENTROPY_MAP


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "entropy", parents=[common, output], help="differential entropy of the points in a file, estimated several ways"
    )
    parser.add_argument(
        "file", type=Path, help=".npy, .npz, .csv or .pt (tensors only) with points (n, d), or a folder of images"
    )
    parser.add_argument("--key", help="which array of a .npz or .pt file")
    parser.add_argument("--k", type=int, default=3, help="neighbours of the main estimate")
    parser.add_argument("--ks", type=int, nargs="+", default=list(KS), help="neighbours of the table")
    parser.add_argument("--bins", help="of the histogram: a number, or knuth, scott, freedman-diaconis")
    parser.add_argument("--jitter", type=float, help="spread points by this step, for data that were rounded to it")
    parser.set_defaults(run=_entropy)


def _entropy(options: argparse.Namespace) -> None:
    points = read_points(options.file, options.key)
    points = points.flatten(1) if options.file.is_dir() else points
    bins = int(options.bins) if options.bins is not None and options.bins.isdigit() else options.bins
    table = entropy_table(
        points,
        k=options.k,
        ks=options.ks,
        bins=bins,
        jitter=options.jitter,
        seed=options.seed or 0,
        progress=shows_bars(options),
    )
    lead = f"{options.file.name}: {table.n:,} points in {table.dim} dimension{'s' * (table.dim > 1)}."
    # The points themselves are in no result: the map of them is drawn here.
    drawn = options.out is not None and table.dim == 2
    hand_over(table, options.out, lead, table_figure(table, points) if drawn else None, ENTROPY_MAP * drawn)
