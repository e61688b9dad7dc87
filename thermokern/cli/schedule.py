"""``thermokern schedule CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thermokern.cli import config as files
from thermokern.cli.options import Parsers, hand_over
from thermokern.quantities import Schedules, optimal_schedule

_OPTIONS = ("sampler", "objective", "n_steps", "n_times", "times", "n_paths", "holdout", "t_eps", "smooth", "seed")


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "schedule", parents=[common, output], help="the best times for a sampler of few steps, from a YAML file"
    )
    parser.add_argument("config", type=Path)
    parser.set_defaults(run=_schedule)


def _schedule(options: argparse.Namespace) -> None:
    result = run_schedule(options.config, seed=options.seed, progress=not options.quiet)
    hand_over(result, options.out)
    for n in result.n_steps:
        print(f"{n} steps, t from the end: {' '.join(f'{time:.6g}' for time in result.times(n).flip(0).tolist())}")


def run_schedule(path: Path, *, seed: int | None = None, progress: bool = True) -> Schedules:
    """The schedules that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``process`` as :func:`thermokern.cli.config.run_config` has them; ``data``, a law as ``model``
    may be one, or a .npy file of points (n, d); and the options of :func:`thermokern.optimal_schedule`.
    """
    config = files.read_config(path, {"model", "data", "process", *_OPTIONS}, required=("model", "data"))
    process = files.read_process(config.get("process"))
    arguments: dict[str, Any] = {name: config[name] for name in _OPTIONS if name in config}
    if isinstance(arguments.get("n_steps"), int):
        arguments["n_steps"] = [arguments["n_steps"]]
    if seed is not None:
        arguments["seed"] = seed
    model = files.read_score("model", config["model"], path.parent, process)
    data = files.read_data(config["data"], path.parent, process)
    return optimal_schedule(model, data, process, progress=progress, **arguments)
