"""``thermokern limits CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

from thermokern.cli.config import run_limits
from thermokern.cli.options import Parsers, hand_over, shows_bars
from thermokern.cli.world import world


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "limits", parents=[common, output], help="likelihoods of a model and the bounds between them, from a YAML file"
    )
    parser.add_argument("config", type=Path)
    parser.set_defaults(run=_limits, shared=True)


def _limits(options: argparse.Namespace) -> None:
    with world() as (group, speaks):
        result = run_limits(options.config, seed=options.seed, group=group, progress=speaks and shows_bars(options))
        if speaks:
            hand_over(result, options.out)
