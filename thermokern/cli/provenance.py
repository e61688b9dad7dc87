"""What made a page: the command and its configuration, when, where, with which versions, and how long it took."""

from __future__ import annotations

import argparse
import platform
import shlex
import time
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np

import thermokern


class Run(NamedTuple):
    """A command as it was given, and when."""

    command: str
    config: Path | None
    started: float


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def begin(arguments: list[str], options: argparse.Namespace) -> None:
    """Remember the command that runs."""
    config = getattr(options, "config", None)
    _RUN.set(Run(shlex.join(["thermokern", *arguments]), config, time.perf_counter()))


def made() -> dict[str, str]:
    """What made a page, by name."""
    about, run = thermokern.info(), _RUN.get()
    facts = {}
    if run is not None:
        facts["Command"] = run.command
        if run.config is not None and run.config.is_file():
            facts[f"Configuration, {run.config.name}"] = run.config.read_text(encoding="utf-8").rstrip("\n") + "\n"
        facts["Run time"] = f"{time.perf_counter() - run.started:.1f} s on {about['threads']} thread(s)"
    return facts | {
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "Host": f"{platform.node() or 'unnamed'}, {platform.system()} {platform.machine()}",
        "Versions": (
            f"thermokern {about['thermokern']}, PyTorch {about['torch']}, NumPy {np.__version__}, "
            f"Python {platform.python_version()}"
        ),
        "Instruction set": str(about["instruction set"]),
    }
