"""Results that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from thermokern.papers.experiment import ExperimentResult
from thermokern.quantities.results.storage import load

Kind = TypeVar("Kind", bound=ExperimentResult)


def shipped(name: str, kind: type[Kind]) -> Kind:
    """The result ``results/NAME.safetensors``, of the given kind."""
    found = load(Path(str(files("thermokern.papers.premkumar2025") / "results" / f"{name}.safetensors")))
    if not isinstance(found, kind):
        raise TypeError(f"{name}: expected a {kind.__name__}, got a {type(found).__name__}")
    return found
