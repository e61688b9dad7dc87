"""``thermokern reproduce limits | capacity | entropy-penalty``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thermokern.cli.options import Parsers, footer, list_files
from thermokern.papers.kodama2025 import (
    PENALTY_PROFILES,
    PROFILES,
    capacity_sweep,
    limits_sweep,
    penalty_sweep,
    shipped_capacity,
    shipped_limits,
    shipped_penalty,
)
from thermokern.report import write_capacity, write_limits_sweep, write_penalty

_PROFILE_HELP = (
    "quick: under a quarter of an hour on two cores; reduced: 20,000 training steps, 3 runs; full: the paper's "
    "settings; shipped: the results that come with the package, nothing trained (default: quick)"
)


def add_experiment(experiments: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the experiments to ``reproduce``."""
    for name, run, text in (
        ("limits", _limits, "likelihood and its lower bound: Kodama and Hinczewski, Fig. 1"),
        ("capacity", _capacity, "model size, entropy bound, dissipation: Kodama and Hinczewski, Fig. 2 and 3"),
    ):
        parser = experiments.add_parser(
            name, parents=[common, output], help=f"{text}; stopped, it goes on where it was"
        )
        parser.add_argument("--profile", choices=("shipped", *PROFILES), default="quick", help=_PROFILE_HELP)
        parser.add_argument("--full", dest="profile", action="store_const", const="full", help="same as --profile full")
        parser.set_defaults(run=run, out=Path(f"out/{name}"))
    parser = experiments.add_parser(
        "entropy-penalty", parents=[common, output], help="training with the entropy-rate integral as a penalty"
    )
    parser.add_argument("--profile", choices=("shipped", *PENALTY_PROFILES), default="quick", help="default: quick")
    parser.set_defaults(run=_penalty, out=Path("out/entropy-penalty"))


def _limits(options: argparse.Namespace) -> None:
    _run(options, PROFILES, shipped_limits, limits_sweep, write_limits_sweep)


def _capacity(options: argparse.Namespace) -> None:
    _run(options, PROFILES, shipped_capacity, capacity_sweep, write_capacity)


def _penalty(options: argparse.Namespace) -> None:
    _run(options, PENALTY_PROFILES, shipped_penalty, penalty_sweep, write_penalty)


def _run(
    options: argparse.Namespace,
    profiles: Mapping[str, Any],
    shipped: Callable[[], Any],
    sweep: Callable[..., Any],
    write: Callable[..., list[Path]],
) -> None:
    start = time.perf_counter()
    if options.profile == "shipped":
        result = shipped()
    else:
        profile = profiles[options.profile]
        result = sweep(profile, options.out, seed=options.seed or 0, progress=not options.quiet)
    print(result.table())
    print(f"in {time.perf_counter() - start:.0f} s")
    list_files(write(result, options.out, footer()))
