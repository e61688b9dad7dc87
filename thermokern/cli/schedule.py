"""``thermokern schedule CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

from thermokern.cli.config import run_schedule
from thermokern.cli.options import Parsers, hand_over, shows_bars


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "schedule", parents=[common, output], help="the best times for a sampler of few steps, from a YAML file"
    )
    parser.add_argument("config", type=Path)
    parser.set_defaults(run=_schedule)


def _schedule(options: argparse.Namespace) -> None:
    result = run_schedule(options.config, seed=options.seed, progress=shows_bars(options))
    hand_over(result, options.out)
    for n in result.n_steps:
        print(f"{n} steps, t from the end: {' '.join(f'{time:.6g}' for time in result.times(n).flip(0).tolist())}")
