"""``thermokern taep CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

from thermokern.cli.config import run_config
from thermokern.cli.options import Parsers, hand_over, shows_bars
from thermokern.cli.world import world


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add this command to the parser."""
    taep = commands.add_parser("taep", parents=[common, output], help="the TAEP that a YAML file describes")
    taep.add_argument("config", type=Path)
    taep.set_defaults(run=_taep, shared=True)


def _taep(options: argparse.Namespace) -> None:
    with world() as (group, speaks):
        progress = speaks and shows_bars(options)
        result = run_config(options.config, seed=options.seed, group=group, progress=progress)
        if speaks:
            hand_over(result, options.out)
