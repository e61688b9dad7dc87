"""``thermokern taep CONFIG | show FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

import thermokern
from thermokern.cli.config import run_config
from thermokern.cli.options import Parsers, footer, list_files
from thermokern.report import write_taep


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add these commands to the parser."""
    taep = commands.add_parser("taep", parents=[common, output], help="the TAEP that a YAML file describes")
    taep.add_argument("config", type=Path)
    taep.set_defaults(run=_taep)
    show = commands.add_parser("show", parents=[common], help="a result that taep --out saved, result.safetensors")
    show.add_argument("file", type=Path)
    show.add_argument("--out", type=Path, help="folder for the figure, result.json and report.html")
    show.set_defaults(run=_show)


def _taep(options: argparse.Namespace) -> None:
    result = run_config(options.config, seed=options.seed, progress=not options.quiet)
    print(result.summary())
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        saved = options.out / "result.safetensors"
        result.save(saved)
        list_files([saved, *write_taep(result, options.out, footer())])


def _show(options: argparse.Namespace) -> None:
    result = thermokern.load(options.file)
    if not isinstance(result, thermokern.TAEP):
        raise TypeError(f"file: expected a TAEP, got {options.file.name}, which is an {type(result).__name__}")
    print(result.summary())
    if options.out is not None:
        list_files(write_taep(result, options.out, footer()))
