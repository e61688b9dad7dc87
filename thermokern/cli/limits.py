"""``thermokern limits CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thermokern.cli import config as files
from thermokern.cli.options import Parsers, hand_over
from thermokern.cli.world import world
from thermokern.quantities import Limits, limits
from thermokern.quantities.engine import Group

_OPTIONS = (
    "data_entropy",
    "n_paths",
    "n_likelihood",
    "n_steps",
    "t_eps",
    "divergence",
    "probes",
    "rtol",
    "atol",
    "seed",
    "block",
)


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "limits", parents=[common, output], help="likelihoods of a model and the bounds between them, from a YAML file"
    )
    parser.add_argument("config", type=Path)
    parser.set_defaults(run=_limits, shared=True)


def _limits(options: argparse.Namespace) -> None:
    with world() as (group, speaks):
        result = run_limits(options.config, seed=options.seed, group=group, progress=speaks and not options.quiet)
        if speaks:
            hand_over(result, options.out)


def run_limits(path: Path, *, seed: int | None = None, group: Group = None, progress: bool = True) -> Limits:
    """The limits that a configuration file describes; paths in it are relative to the file.

    Keys: ``model`` and ``process`` as :func:`thermokern.cli.config.run_config` has them; ``data``, a law as ``model``
    may be one, or a .npy file of points (n, d); and the options of :func:`thermokern.limits`.
    """
    config = files.read_config(path, {"model", "data", "process", *_OPTIONS}, required=("model", "data"))
    process = files.read_process(config.get("process"))
    arguments: dict[str, Any] = {name: config[name] for name in _OPTIONS if name in config}
    if seed is not None:
        arguments["seed"] = seed
    model = files.read_score("model", config["model"], path.parent, process)
    data = files.read_data(config["data"], path.parent, process)
    return limits(model, data, process, group=group, progress=progress, **arguments)
