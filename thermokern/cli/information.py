"""``thermokern information CONFIG | FILE``."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermokern.cli import config as files
from thermokern.cli.networks import read_process
from thermokern.cli.options import Parsers, hand_over, shows_bars
from thermokern.cli.points import read_points
from thermokern.cli.world import world
from thermokern.models import ConditionalMLP, ConditionalModel, fit_scores
from thermokern.ops.checks import check_flags, checked_choice
from thermokern.processes import VP, LinearProcess
from thermokern.quantities import MutualInformation, SampleEstimate, ksg_mutual_information, mutual_information
from thermokern.quantities.engine import Group, Ranks
from thermokern.quantities.information.integral import Options
from thermokern.quantities.information.mutual_information import ESTIMATORS

_FIT = ("width", "depth", "steps", "batch_size", "learning_rate", "null_share", "validation")
_ESTIMATE = ("estimator", "evaluations", "sampling", "ends", "growth")
_KSG_POINTS = 20_000  # of the estimate by nearest neighbours, which stands beside


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "information",
        parents=[common, output],
        help="mutual information of x and y: trains scores, and says how far they are to be trusted",
    )
    parser.add_argument("file", type=Path, help=".npz or .pt with arrays x and y, or a YAML file that names them")
    parser.add_argument("--x", default="x", help="name of the data in the file")
    parser.add_argument("--y", default="y", help="name of the conditions; integers are labels")
    parser.add_argument("--steps", type=int, help="of training")
    parser.add_argument("--evaluations", type=int, help="of the pair of scores")
    parser.set_defaults(run=_information, shared=True)


def _information(options: argparse.Namespace) -> None:
    with world() as (group, speaks):
        result, neighbours, lead = run_information(
            options.file,
            names=(options.x, options.y),
            steps=options.steps,
            evaluations=options.evaluations,
            seed=options.seed,
            group=group,
            progress=speaks and shows_bars(options),
        )
        if not speaks:
            return
        if neighbours is not None:
            line = f"nearest neighbours (Kraskov, Stögbauer and Grassberger): {neighbours} nats"
            print(line)
            lead += f" Beside it, {line}, whose bias is not in its error."
        hand_over(result, options.out, lead)


def run_information(
    path: Path,
    *,
    names: tuple[str, str] = ("x", "y"),
    steps: int | None = None,
    evaluations: int | None = None,
    seed: int | None = None,
    group: Group = None,
    progress: bool = True,
) -> tuple[MutualInformation, SampleEstimate | None, str]:
    """What the file's y tells about its x, the estimate by nearest neighbours beside it, and a line about both.

    A YAML file has the keys ``x`` and ``y`` (.npy files, by their place from the file), or ``data`` (a .npz or .pt file
    with arrays of these names), and may have ``process``, ``seed``, ``t_eps`` and the options of
    :func:`thermokern.fit_scores` and :func:`thermokern.mutual_information`. The information is estimated on the points
    that training held out. Nearest neighbours take numbers alone, no labels. Ranks of a group share the estimate; rank
    0 trains, and the others have its networks.
    """
    config: dict[str, Any] = {}
    if path.suffix in (".yaml", ".yml"):
        known = {"x", "y", "data", "process", "seed", "t_eps", *_FIT, *_ESTIMATE}
        config = files.read_config(path, known, required=())
        x, y = _arrays(path, config, names)
    else:
        x, y = _named(path, names)
    given = {"steps": steps, "evaluations": evaluations, "seed": seed}
    config |= {name: value for name, value in given.items() if value is not None}
    shared = {name: config[name] for name in ("seed", "t_eps") if name in config}
    process = read_process(config.get("process"))
    x = x[:, None] if x.dim() == 1 else x
    _warn_of_labels(y)
    fit = {name: config[name] for name in _FIT if name in config}
    how = {name: config[name] for name in _ESTIMATE if name in config}
    _check_estimate(how | {str(name): value for name, value in shared.items()}, process)
    ranks = Ranks(group)
    model = ranks.object_of_first(lambda: fit_scores(x, y, process=process, progress=progress, **fit, **shared))
    assert isinstance(model, ConditionalModel)
    assert isinstance(model.network, ConditionalMLP)
    assert model.network.history is not None
    history = model.network.history
    rows = history.held_out
    result = mutual_information(model, None, x[rows], y[rows], group=group, progress=progress, **how, **shared)
    neighbours = None
    if y.is_floating_point():
        first = min(len(x), _KSG_POINTS)
        neighbours = ksg_mutual_information(x[:first].double(), y[:first].double(), seed=shared.get("seed", 0))
    lead = (
        f"{path.name}: {len(x):,} pairs, {len(rows):,} of them held out for the estimate. Validation loss "
        f"{history.validation[-1]:.4f} with the condition, {history.validation_null[-1]:.4f} without."
    )
    return result, neighbours, lead


def _check_estimate(given: dict[str, Any], process: LinearProcess | None) -> None:
    """Raise what the estimate would raise after the training."""
    checked_choice("estimator", given.get("estimator", "both"), ESTIMATORS)
    check_flags(ends=given.get("ends", True), growth=given.get("growth", True))
    options = {name: value for name, value in given.items() if name not in ("estimator", "growth")}
    Options(**options).checked(VP() if process is None else process)


def _named(path: Path, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    x, y = (read_points(path, name, option) for name, option in zip(names, ("--x", "--y"), strict=True))
    return x, y


def _warn_of_labels(y: Tensor) -> None:
    """Where numbers look like labels: few whole ones, each often."""
    if y.shape[1:].numel() != 1 or (y.dim() == 1 and not y.is_floating_point()):
        return
    different = torch.unique(y)
    if 1 < len(different) <= len(y) // 16 and bool((different == different.round()).all()):
        warnings.warn(
            f"y: its {len(different)} different whole numbers are taken as numbers; store integers (n,) where they are "
            "labels, which then have bounds and verdicts",
            UserWarning,
            stacklevel=3,
        )


def _arrays(path: Path, config: dict[str, Any], names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    if "data" in config:
        if {"x", "y"} & set(config):
            raise ValueError(f"config {path.name}: expected either data, or x and y")
        return _named(path.parent / config["data"], names)
    for name in ("x", "y"):
        if name not in config:
            raise ValueError(f"config {path.name}: {name} is missing, or data, a file with both")
    x, y = (read_points(path.parent / config[name]) for name in ("x", "y"))
    return x, y
