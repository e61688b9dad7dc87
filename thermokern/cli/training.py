"""``thermokern reproduce training``."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from thermokern.cli.options import Parsers, footer, list_files
from thermokern.papers.ding2026 import (
    DATA,
    PAPER,
    PAPER_MNIST,
    QUICK,
    load_images,
    shipped_course,
    train_unet,
    training_course,
)
from thermokern.report import write_training


def add_experiment(experiments: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add the experiment to ``reproduce``."""
    parser = experiments.add_parser(
        "training", parents=[common, output], help="TAEP and coverage along training: Ding, Quan and Tu, Fig. 3"
    )
    parser.add_argument("--data", choices=DATA, default="digits", help="digits: a small profile; others: the paper's")
    parser.add_argument("--root", type=Path, help="folder of the files of mnist (IDX) or cifar10 (binary version)")
    parser.add_argument("--shipped", action="store_true", help="show the result for digits that comes with the package")
    parser.set_defaults(run=_run, out=Path("out/training"))


def _run(options: argparse.Namespace) -> None:
    start, progress = time.perf_counter(), not options.quiet
    if options.shipped:
        course = shipped_course()
    else:
        profile = {"digits": QUICK, "mnist": PAPER_MNIST, "cifar10": PAPER}[options.data]
        profile = replace(profile, seed=options.seed or 0)
        images = load_images(options.data, options.root)
        checkpoints = train_unet(profile, images, options.out / "checkpoints", progress=progress)
        print(f"trained after {time.perf_counter() - start:.0f} s")
        resume = None if options.data == "digits" else options.out / "states"
        course = training_course(profile, images, checkpoints, resume=resume, progress=progress)
    print(course.table())
    print(f"finished after {time.perf_counter() - start:.0f} s on {torch.get_num_threads()} thread(s)")
    options.out.mkdir(parents=True, exist_ok=True)
    saved = options.out / "result.safetensors"
    course.save(saved)
    list_files([saved, *write_training(course, options.out, footer())])
