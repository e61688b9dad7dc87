"""The command line, ``thermokern COMMAND``; each file beside this one brings some of the commands."""

from __future__ import annotations

import argparse
import sys
import warnings
from contextlib import nullcontext

import torch

import thermokern
from thermokern.cli import entropy, information, init, limits, reproduce, schedule, show, taep, tools, world
from thermokern.cli.options import common_options, output_options, telling_of_long_work
from thermokern.cli.provenance import begin
from thermokern.quantities.engine import OtherRankFailed

COMMANDS = (reproduce, init, taep, show, limits, schedule, entropy, information, tools)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = command_parser().parse_args(arguments)
    if options.threads is not None:
        if options.threads < 1:
            print(f"error: --threads: expected at least 1, got {options.threads}", file=sys.stderr)
            return 2
        torch.set_num_threads(options.threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", thermokern.FewPathsWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            if world.ranks() > 1 and not getattr(options, "shared", False):
                raise ValueError(
                    "torchrun: this command is for one process; taep, limits and information share their work"
                )
            begin(sys.argv[1:] if arguments is None else arguments, options)
            with telling_of_long_work() if world.speaks() else nullcontext():
                options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, FloatingPointError, OtherRankFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def command_parser() -> argparse.ArgumentParser:
    """The parser of every command and experiment."""
    common, output = common_options(), output_options()
    parser = argparse.ArgumentParser(prog="thermokern", description=thermokern.__doc__)
    parser.add_argument("--version", action="version", version=f"thermokern {thermokern.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands, common, output)
    return parser


if __name__ == "__main__":
    sys.exit(main())
