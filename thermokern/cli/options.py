"""What the commands share: options, and how they say what they wrote."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from matplotlib.figure import Figure

from thermokern._bars import LOG
from thermokern.cli.provenance import made
from thermokern.quantities import Result
from thermokern.report import write_result

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def common_options() -> argparse.ArgumentParser:
    """Options of every command that computes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, help="threads of the kernels and of PyTorch")
    return parser


def output_options(default: Path | None = None) -> argparse.ArgumentParser:
    """Options of every command that writes results; `default` is the folder where ``--out`` names none.

    Commands share the actions of a parent parser, so ``set_defaults(out=...)`` of one would be the default of all.
    """
    parser = argparse.ArgumentParser(add_help=False)
    help_of_default = "" if default is None else f" (default: {default})"
    parser.add_argument(
        "--out", type=Path, default=default, help=f"folder for the figures, numbers and report.html{help_of_default}"
    )
    parser.add_argument("--seed", type=int, help="seed of every random number")
    parser.add_argument("--quiet", action="store_true", help="no progress bars; what takes long says so once")
    return parser


def shows_bars(options: argparse.Namespace) -> bool:
    """Whether to show progress bars: not where they were not wanted, nor in a file, where they leave debris."""
    return not options.quiet and sys.stderr.isatty()


@contextmanager
def telling_of_long_work() -> Iterator[None]:
    """In the place of a bar, a line on standard error says how long a calculation takes, if that is long."""
    handler, level = logging.StreamHandler(sys.stderr), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)


def list_files(paths: list[Path]) -> None:
    """Say what was written."""
    for path in paths:
        print(f"wrote {path}")


def hand_over(
    result: Result, out: Path | None, lead: str = "", picture: Figure | None = None, caption: str = ""
) -> None:
    """Print a result; where there is a folder, save it there beside its figure, numbers and page."""
    print(result.summary())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        saved = out / "result.safetensors"
        result.save(saved)
        list_files([saved, *write_result(result, out, made(), lead=lead, picture=picture, caption=caption)])
