"""``thermokern show FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

import thermokern
from thermokern.cli.options import Parsers, list_files
from thermokern.cli.provenance import made
from thermokern.papers.experiment import ExperimentResult
from thermokern.quantities import Result
from thermokern.report import write_result


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add this command to the parser."""
    show = commands.add_parser("show", parents=[common], help="a saved result of any kind, such as result.safetensors")
    show.add_argument("file", type=Path)
    show.add_argument("--out", type=Path, help="folder for the figure, result.json and report.html")
    show.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> None:
    result = thermokern.load(options.file)
    if not isinstance(result, Result):
        raise TypeError(f"file: expected a result, got {options.file.name}, which is an {type(result).__name__}")
    print(result.summary())
    if options.out is not None:
        if isinstance(result, ExperimentResult):
            list_files(result.write(options.out, made()))
        else:
            list_files(write_result(result, options.out, made()))
