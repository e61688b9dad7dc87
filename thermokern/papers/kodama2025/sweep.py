"""Sweeps over data, processes and networks that can be stopped at any time and go on where they were.

One safetensors file for each trained network, with its record, in ``networks``; one JSON file for each evaluated one,
in ``evaluations``. Each is written whole or not at all, and what is there is not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from thermokern._files import DamagedFile, sealed_text, unsealed_text, write_whole
from thermokern.models import ScoreModel, load_checkpoint, read_record, save_checkpoint
from thermokern.papers.kodama2025.ensemble import EnsembleRecipe, Member, state_belongs, train_ensemble
from thermokern.papers.kodama2025.evaluation import Likelihoods, evaluate_network, read_likelihoods
from thermokern.processes import VE, VP, LinearProcess
from thermokern.quantities.results import Estimate
from thermokern.quantities.results.result import encoded
from thermokern.quantities.results.storage import stored
from thermokern.targets import Distribution, Gaussian, SwissRoll, UniformBox

SIGMAS = (10.0, 15.0, 20.0, 25.0, 30.0)
PROCESSES = ("VE", "VP")
WIDTHS = (4, 8, 16, 32, 64, 128, 256)
PIXELS = 16  # of an image of 4 × 4; the paper does not print the size of its images
PIXEL_WIDTH = 64  # nor the network that it trains on them
CLEAR = 3.0  # standard errors beyond which an inequality counts as broken


@stored("sweep-run")
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


@stored("sweep-profile")
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


def read_profile(found: Mapping[str, Any]) -> Profile:
    """The profile that a JSON file names."""
    return Profile(**{**found, "swiss_widths": tuple(found["swiss_widths"])})


PROFILES = {
    "quick": Profile(name="quick", n_steps=2000, replicates=2, seeds=1, swiss_widths=(16, 64), points=500, paths=2000),
    "reduced": Profile(
        name="reduced", n_steps=20_000, replicates=3, seeds=3, swiss_widths=(8, 32, 128), points=4000, paths=8000
    ),
    "full": Profile(
        name="full", n_steps=100_000, replicates=10, seeds=5, swiss_widths=WIDTHS, points=10_000, paths=100_000
    ),
}
PROFILE_HELP = {
    "shipped": "the results that come with the package, nothing trained",
    "quick": "under a quarter of an hour on two cores",
    "reduced": "20,000 training steps, 3 runs",
    "full": "the paper's settings",
}


@stored("sweep-network")
@dataclass(frozen=True)
class Network:
    """A network of a sweep: which it is, the record of its training, what it was found to be."""

    run: Run
    training: dict[str, Any]
    found: Likelihoods

    @property
    def name(self) -> str:
        return self.run.name

    def row(self) -> dict[str, Any]:
        """All of it side by side, as JSON files have it."""
        return {**asdict(self.run), "name": self.name, "training": self.training, **vars(self.found)}


def read_network(row: Mapping[str, Any]) -> Network:
    """The network of a row of a JSON file."""
    run = Run(**{field.name: row[field.name] for field in fields(Run)})
    return Network(run, row["training"], read_likelihoods(row))


def below_zero(estimate: Estimate) -> bool:
    """Whether an estimate is negative by three standard errors."""
    return estimate.value < -CLEAR * estimate.stderr


def columns_of(networks: Sequence[Network]) -> dict[str, list[object]]:
    """Columns of a table with a row for each network."""
    rows = [network.row() for network in networks]
    return {name: [row[name] for row in rows] for name in rows[0] if name != "training"}


def shipped(name: str) -> dict[str, Any]:
    """The JSON of results that come with the package: ``limits``, ``capacity`` or ``penalty``."""
    found: dict[str, Any] = json.loads((files("thermokern.papers.kodama2025") / "results" / f"{name}.json").read_text())
    return found


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
                save_checkpoint(folder / f"{run.name}.safetensors", model, record)


def evaluate_sweep(
    runs: Sequence[Run],
    out: Path,
    evaluate: Callable[[Run, ScoreModel], Likelihoods],
    key: dict[str, int],
    *,
    progress: bool = True,
) -> tuple[Network, ...]:
    """``evaluate(run, model)`` of every network, kept in ``out/evaluations``.

    `key` says how it is evaluated: a file with another key, or of a network that was trained anew, is made again.
    """
    folder = out / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    networks = []
    for run in tqdm(runs, desc="evaluating", unit="network", disable=not progress):
        network = out / "networks" / f"{run.name}.safetensors"
        record, path = read_record(network), folder / f"{run.name}.json"
        wanted = json.loads(json.dumps({"key": key, "training": record}))
        row = read_entries(path, _ROW) if path.is_file() else {}
        if {name: row.get(name) for name in wanted} != wanted:
            found = Network(run, wanted["training"], evaluate(run, load_checkpoint(network)))
            row = {**encoded(found.row()), "key": key}
            write_entries(path, row)
        networks.append(read_network(row))
    return tuple(networks)


def evaluator(profile: Profile) -> Callable[[Run, ScoreModel], Likelihoods]:
    """What :func:`evaluate_sweep` calls for each network."""

    def evaluate(run: Run, model: ScoreModel) -> Likelihoods:
        share = 4 if run.law.dim == PIXELS else 1  # per dimension, an image's terms are averages over its pixels
        return evaluate_network(model, run.law, n_paths=profile.paths // share, n_likelihood=profile.points // share)

    return evaluate


def evaluation_key(profile: Profile) -> dict[str, int]:
    """What an evaluation depends on beside its network."""
    return {"paths": profile.paths, "points": profile.points}


def _record(run: Run, profile: Profile, seed: int) -> dict[str, Any]:
    return {"run": asdict(run), "n_steps": profile.n_steps, "seed": seed, "optimiser": "Adam, last iterate"}


def _is_trained(folder: Path, run: Run, profile: Profile, seed: int) -> bool:
    path = folder / f"{run.name}.safetensors"
    if not path.is_file():
        return False
    wanted = _record(run, profile, seed)
    record = read_record(path)
    return {name: record.get(name) for name in wanted} == wanted


def write_entries(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a JSON file with its checksum, whole or not at all."""
    write_whole(path, sealed_text(entries).encode())


def read_entries(path: Path, before: Collection[str]) -> dict[str, Any]:
    """Entries that :func:`write_entries` wrote, or with names of `before` in files from before there was a checksum."""
    try:
        found = unsealed_text(path.read_bytes(), before)
        if missing := set(before) - set(found):
            raise DamagedFile(f"without {', '.join(sorted(missing))}")
    except DamagedFile as error:
        raise DamagedFile(f"{path}: not a whole file of a sweep: {error}; remove it to compute it again") from None
    return found


# Entries of the file of an evaluation.
_ROW = (*(field.name for field in (*fields(Run), *fields(Likelihoods))), "name", "training", "key")


@cache
def _law(data: str) -> Distribution:
    if data == "gaussian":
        return Gaussian([0.0] * PIXELS)
    return UniformBox([0.0] * PIXELS, [1.0] * PIXELS) if data == "uniform" else SwissRoll()
