"""Sweeps over data, processes and networks that can be stopped at any time and go on where they were.

One safetensors file for each trained network, with its record, in ``networks``; one JSON file for each evaluated one,
in ``evaluations``. Each is written whole or not at all, and what is there is not computed again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from thermokern.models import ScoreModel, load_checkpoint, read_record, save_checkpoint
from thermokern.papers.kodama2025.ensemble import EnsembleRecipe, Member, state_belongs, train_ensemble
from thermokern.processes import VE, VP, LinearProcess
from thermokern.targets import Distribution, Gaussian, SwissRoll, UniformBox

SIGMAS = (10.0, 15.0, 20.0, 25.0, 30.0)
PROCESSES = ("VE", "VP")
WIDTHS = (4, 8, 16, 32, 64, 128, 256)
PIXELS = 16  # of an image of 4 × 4; the paper does not print the size of its images
PIXEL_WIDTH = 64  # nor the network that it trains on them


@dataclass(frozen=True)
class Run:
    """One trained network of a sweep.

    Attributes
    ----------
    data : {"gaussian", "uniform", "swiss-roll"}
        N(0, I) and uniform pixels of 4 × 4 images; the noisy Swiss roll in the plane.
    process : {"VE", "VP"}
    sigma : float or None
        The noise parameter; None is VP with β from 0.1 to 20, which App. G.2 has for the Swiss roll.
    width : int
    replicate : int
        Which of the runs with these settings.
    """

    data: str
    process: str
    sigma: float | None
    width: int
    replicate: int

    @property
    def name(self) -> str:
        sigma = "reference" if self.sigma is None else f"sigma{self.sigma:g}"
        return f"{self.data}_{self.process}_{sigma}_w{self.width}_r{self.replicate}"

    @property
    def law(self) -> Distribution:
        return _law(self.data)

    @property
    def diffusion(self) -> LinearProcess:
        if self.sigma is None:
            return VP(0.1, 20.0)
        return VE(self.sigma) if self.process == "VE" else VP.from_sigma(self.sigma)

    @property
    def stream(self) -> int:
        """Which random numbers are this run's: different for every run of both sweeps."""
        case = 0 if self.sigma is None else 1 + PROCESSES.index(self.process) * len(SIGMAS) + SIGMAS.index(self.sigma)
        data = ("gaussian", "uniform", "swiss-roll").index(self.data)
        return ((case * 3 + data) * len(WIDTHS) + WIDTHS.index(self.width)) * 100 + self.replicate

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Profile:
    """How much of a sweep is done.

    Attributes
    ----------
    name : str
    n_steps : int
        Training steps of each network; the paper has 100,000.
    replicates : int
        Runs for each noise parameter (paper: 10).
    seeds : int
        Replicates for each width of the capacity sweep (paper: 5).
    swiss_widths : tuple of int
        Model sizes of the Swiss roll in Fig. 1, one run each.
    points : int
        Data points of the Swiss roll that exact likelihoods are averaged over; a quarter as many images.
    paths : int
        Paths that entropy rates are averaged over; a quarter as many of images.
    """

    name: str
    n_steps: int
    replicates: int
    seeds: int
    swiss_widths: tuple[int, ...]
    points: int
    paths: int

    def settings(self) -> dict[str, Any]:
        return asdict(self)


PROFILES = {
    "quick": Profile("quick", 2000, 2, 1, (16, 64), 500, 2000),
    "reduced": Profile("reduced", 20_000, 3, 3, (8, 32, 128), 4000, 8000),
    "full": Profile("full", 100_000, 10, 5, WIDTHS, 10_000, 100_000),
}


def limits_runs(profile: Profile) -> list[Run]:
    """The networks of Fig. 1 (left): Gaussian, uniform pixels and the Swiss roll, each σ, VE and VP."""
    runs = []
    for process in PROCESSES:
        for sigma in SIGMAS:
            for data in ("gaussian", "uniform"):
                runs += [Run(data, process, sigma, PIXEL_WIDTH, r) for r in range(profile.replicates)]
            runs += [Run("swiss-roll", process, sigma, width, 0) for width in profile.swiss_widths]
    return runs


def capacity_runs(profile: Profile) -> list[Run]:
    """The networks of Fig. 2 and 3: the Swiss roll, widths 4 to 256."""
    return [Run("swiss-roll", "VP", None, width, r) for width in WIDTHS for r in range(profile.seeds)]


def train_sweep(runs: Sequence[Run], profile: Profile, out: Path, *, seed: int = 0, progress: bool = True) -> None:
    """Train what is not there yet, networks of one data set and width together, into ``out/networks``.

    Stopped at any time and called again it goes on with what is left: finished networks are kept, and a group under way
    is taken up where it last wrote its state, at most a thousand steps before.
    """
    folder = out / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.data, run.width), []).append(run)
    for (data, width), group in groups.items():
        missing = [run for run in group if not _is_trained(folder, run, profile, seed)]
        if not missing:
            continue
        recipe = EnsembleRecipe(n_steps=profile.n_steps, width=width, seed=seed)
        members = [Member(run.law, run.diffusion, run.stream) for run in missing]
        state = folder / f".{data}_w{width}.state"
        if state.is_file() and not state_belongs(state, members, recipe):
            state.unlink()
        label = f"{data}, width {width}, {len(missing)} networks"
        # The last of the steps comes before the state file is removed: nothing is lost in between.
        for _, models, losses in train_ensemble(members, recipe, state=state, description=label, progress=progress):
            for run, model, loss in zip(missing, models, losses, strict=True):
                record = {**_record(run, profile, seed), "loss": loss, "torch": torch.__version__}
                replace_file(folder / f"{run.name}.safetensors", partial(_save, model, record))


def evaluate_sweep(
    runs: Sequence[Run],
    out: Path,
    evaluate: Callable[[Run, ScoreModel], dict[str, Any]],
    key: dict[str, Any],
    *,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """``evaluate(run, model)`` of every network, kept in ``out/evaluations``.

    `key` says how it is evaluated: a file with another key, or of a network that was trained anew, is made again.
    """
    folder = out / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for run in tqdm(runs, desc="evaluating", unit="network", disable=not progress):
        network = out / "networks" / f"{run.name}.safetensors"
        record, path = read_record(network), folder / f"{run.name}.json"
        wanted = json.loads(json.dumps({"key": key, "training": record}))
        row = json.loads(path.read_text()) if path.is_file() else {}
        if {name: row.get(name) for name in wanted} != wanted:
            row = {**run.to_json(), "name": run.name, **wanted, **evaluate(run, load_checkpoint(network))}
            replace_file(path, write_text(json.dumps(row, indent=1)))
        rows.append(row)
    return rows


def _record(run: Run, profile: Profile, seed: int) -> dict[str, Any]:
    return {"run": run.to_json(), "n_steps": profile.n_steps, "seed": seed, "optimiser": "Adam, last iterate"}


def _is_trained(folder: Path, run: Run, profile: Profile, seed: int) -> bool:
    path = folder / f"{run.name}.safetensors"
    if not path.is_file():
        return False
    wanted = _record(run, profile, seed)
    record = read_record(path)
    return {name: record.get(name) for name in wanted} == wanted


def _save(model: ScoreModel, record: dict[str, Any], path: Path) -> None:
    save_checkpoint(path, model, record)


def write_text(text: str) -> Callable[[Path], None]:
    """What :func:`replace_file` takes to write `text`."""

    def write(path: Path) -> None:
        path.write_text(text)

    return write


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """`write` a file beside `path` and put it in its place in one step."""
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@cache
def _law(data: str) -> Distribution:
    if data == "gaussian":
        return Gaussian([0.0] * PIXELS)
    return UniformBox([0.0] * PIXELS, [1.0] * PIXELS) if data == "uniform" else SwissRoll()
