"""``thermokern demo | reproduce mode-collapse``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from thermokern.cli.options import Parsers, footer, list_files
from thermokern.papers.ding2026 import COLLAPSES, TrainingRecipe, mode_collapse
from thermokern.papers.ding2026.mode_collapse import train
from thermokern.report import write_mode_collapse


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the demo to the parser."""
    demo = commands.add_parser("demo", parents=[common, output], help="trained networks to their TAEP, in a minute")
    demo.set_defaults(run=lambda options: _show(options, None), out=Path("out/demo"))


def add_experiment(experiments: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the experiment to ``reproduce``."""
    parser = experiments.add_parser(
        "mode-collapse", parents=[common, output], help="eight Gaussians: Ding, Quan and Tu, Fig. 2"
    )
    parser.add_argument("--full", action="store_true", help="train every network first, with the paper's settings")
    parser.add_argument("--steps", type=int, help="with --full: training steps in place of the paper's 50000")
    parser.set_defaults(run=_reproduce, out=Path("out/mode-collapse"))


def _reproduce(options: argparse.Namespace) -> None:
    if not options.full:
        return _show(options, None)
    recipe = TrainingRecipe(seed=options.seed or 0)
    if options.steps is not None:
        if options.steps < 1:
            raise ValueError(f"--steps: expected at least 1, got {options.steps}")
        recipe = TrainingRecipe(seed=options.seed or 0, n_steps=options.steps)
    folder = options.out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for collapse in COLLAPSES:
        train(collapse, folder / f"{collapse.name}.safetensors", recipe, progress=not options.quiet)
    return _show(options, folder)


def _show(options: argparse.Namespace, checkpoints: Path | None) -> None:
    start = time.perf_counter()
    result = mode_collapse(checkpoints=checkpoints, seed=options.seed or 0, progress=not options.quiet)
    print(result.table())
    print(f"evaluated in {time.perf_counter() - start:.1f} s on {torch.get_num_threads()} thread(s)")
    list_files(write_mode_collapse(result, options.out, footer()))
