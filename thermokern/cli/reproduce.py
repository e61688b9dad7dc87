"""``thermokern demo | reproduce NAME``: the experiments of the papers."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from thermokern.cli.options import Parsers, list_files, output_options, shows_bars
from thermokern.cli.provenance import made
from thermokern.papers.experiment import Experiment
from thermokern.papers.experiments import EXPERIMENTS

_OLD_FLAGS = ("full", "shipped")  # of the time before --profile


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add these commands to the parser; each experiment has its own default folder."""
    demo = commands.add_parser(
        "demo",
        parents=[common, output_options(Path("out/demo"))],
        help="ten trained networks to their TAEP, in three minutes of one core",
    )
    demo.set_defaults(run=_run, experiment=EXPERIMENTS[0], profile="shipped", old_flag=None)
    reproduce = commands.add_parser("reproduce", help="a paper's figure or table")
    experiments = reproduce.add_subparsers(required=True, metavar="experiment")
    for experiment in EXPERIMENTS:
        _add_experiment(experiments, common, experiment)


def _add_experiment(experiments: Parsers, common: argparse.ArgumentParser, experiment: Experiment) -> None:
    output = output_options(Path("out") / experiment.name)
    parser = experiments.add_parser(experiment.name, parents=[common, output], help=experiment.help)
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in experiment.profiles.items())
    parser.add_argument(
        "--profile",
        choices=tuple(experiment.profiles),
        default=experiment.default,
        help=meanings.replace("%", "%%") + (f" (default: {experiment.default})" if experiment.default else ""),
    )
    for name in _OLD_FLAGS:
        if name in experiment.profiles:
            text = f"deprecated: --profile {name}"
            parser.add_argument(f"--{name}", dest="old_flag", action="store_const", const=name, help=text)
    for option in experiment.options:
        parser.add_argument(option.flag, type=option.type, choices=option.choices, help=option.help)
    parser.set_defaults(run=_run, experiment=experiment, old_flag=None)


def _run(options: argparse.Namespace) -> None:
    experiment: Experiment = options.experiment
    out: Path = options.out
    profile = options.profile
    if options.old_flag is not None:
        profile = options.old_flag
        print(f"warning: --{profile} is deprecated; use --profile {profile}", file=sys.stderr)
    names = [option.flag.removeprefix("--") for option in experiment.options]
    own = {name: getattr(options, name, None) for name in names}
    start = time.perf_counter()
    result = experiment.run(profile, out, seed=options.seed or 0, progress=shows_bars(options), **own)
    print(result.summary())
    print(f"in {time.perf_counter() - start:.1f} s on {torch.get_num_threads()} thread(s)")
    written = result.write(out, made())
    if experiment.saved:
        result.save(out / "result.safetensors")
        written.append(out / "result.safetensors")
    list_files(written)
