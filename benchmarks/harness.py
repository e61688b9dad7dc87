"""Timing of contestants in turn, rows of results, the table on the terminal and the check against stored rows."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from problems import Contestant, Problem, Run

TOLERANCE = 0.15  # a ratio may fall by this fraction before --check fails


class OutOfTimeError(BaseException):
    """Work was stopped at its time limit. No Exception: what a peer raises is caught, and this must not be."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs under it after so many seconds, where the system has interval timers. Limits may be nested."""
    if math.isinf(seconds) or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"stopped at its limit of {seconds:.0f} s")

    handler, started = signal.signal(signal.SIGALRM, stop), time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # and again, where a destructor swallowed the first
    try:
        yield
    finally:
        left = max(outer - (time.monotonic() - started), 1e-3) if outer else 0.0
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, 1.0)


@dataclass
class Entry:
    """A contestant that runs: its fastest tuning, its error, and its rate in every round."""

    contestant: Contestant
    tuning: str
    run: Run
    error: float
    rates: list[float] = field(default_factory=list)  # path·steps/s

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


class Tunings:
    """Which tuning of a contestant was the fastest, in a file, by CPU, versions, size and the tunings there were."""

    def __init__(self, path: Path | None, common: dict[str, Any]) -> None:
        self.path = path
        self.where = [common["machine"], common["versions"], common["threads"]]
        self.known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}

    def get(self, *of: object) -> Any:
        return self.known.get(self._key(of))

    def put(self, value: object, *of: object) -> None:
        self.known[self._key(of)] = value
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.known, indent=1) + "\n", encoding="utf-8")

    def _key(self, of: tuple[object, ...]) -> str:
        return json.dumps([*of, *self.where], sort_keys=True)


def enter(problem: Problem, contestant: Contestant, tunings: Tunings) -> Entry | str:
    """Build every tuning, or the one known to be the fastest; keep the fastest of two runs, check it; or why none."""
    best: tuple[float, str, Run] | None = None
    reasons = []
    candidates = contestant.candidates
    asked = (problem.name, contestant.name, contestant.n, problem.steps, list(candidates))
    known = tunings.get(*asked) if len(candidates) > 1 else None
    for label, build in ({known: candidates[known]} if known else candidates).items():
        try:
            run = build()
            run(contestant.timed_steps, None)
            seconds = min(_seconds(run, contestant.timed_steps) for _ in range(2))
        except Exception as error:  # a peer that fails here is a fact about this machine, to be told
            if contestant.kind != "peer":
                raise
            reasons.append(f"{label}: {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}")
            continue
        if best is None or seconds < best[0]:
            best = (seconds, label, run)
        print(f"    {contestant.name} [{label}]: {seconds:.3g} s", flush=True)
    if best is None:
        return "; ".join(reasons)
    for reason in reasons:
        print(f"    {contestant.name}: tuning failed: {reason}")
    _, label, run = best
    if len(candidates) > 1 and known is None and not reasons:
        tunings.put(label, *asked)
    return Entry(contestant, label, run, problem.error(run(problem.steps, problem.noise)))


def race(entries: list[Entry], limits: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Time every contestant once in each round, in turn; medians of the limits, measured in the same rounds."""
    measured: dict[str, list[float]] = {name: [] for name in limits}
    for _ in range(rounds):
        for entry in entries:
            seconds = _seconds(entry.run, entry.contestant.timed_steps)
            entry.rates.append(entry.contestant.n * entry.contestant.timed_steps / seconds)
        for name, measure in limits.items():
            measured[name].append(measure())
    return {name: statistics.median(values) for name, values in measured.items()}


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of the second of two runs of each, all taking turns in every round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(entry: Entry, other: Entry | None) -> float | None:
    """Median over rounds of the rate over another's in the same round."""
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(entry.rates, other.rates, strict=True))


def results(
    problem: Problem, entries: list[Entry], best: Entry | None, limits: dict[str, float], common: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row for each contestant; `best` is the one that ratios refer to."""
    rows = []
    for entry in entries:
        c = entry.contestant
        seconds = sorted(c.n * c.timed_steps / rate for rate in entry.rates)
        low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
        gflops = 1e-9 * problem.flops * entry.median
        rows.append(
            {
                "row": f"{problem.name}/{c.name}",
                "kind": c.kind,
                "tuning": entry.tuning,
                "sizes": {"paths": c.n, "steps": problem.steps, "timed_steps": c.timed_steps},
                "seconds_median": middle,
                "seconds_quartiles": [low, high],
                "path_steps_per_second": entry.median,
                "gflops_nominal": gflops,
                "fraction_of_fma": gflops / limits["fma_gflops"] if "fma_gflops" in limits else None,
                "error_rms_nats": entry.error,
                "ratio": ratio(entry, best),
                "ratio_to": None if best is None else best.contestant.name,
                **limits,
                **common,
            }
        )
    return rows


def environment(threads: int, rounds: int, instruction_set: str) -> dict[str, Any]:
    """Where and with what this runs."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count()},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "instruction_set": instruction_set,
        "threads": threads,
        "rounds": rounds,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("thermokern", "torch", "jax", "numpy")},
    }


def show(title: str, rows: list[dict[str, Any]], absent: dict[str, str]) -> None:
    """The table of one variant."""
    print(f"\n{title}")
    heads = f"{'M path·steps/s':>15} {'quartiles':>17} {'GFLOP/s':>8} {'of FMA':>7} {'RMS error':>10} {'ratio':>6}"
    print(f"  {'contestant':34} {heads}")
    for row in rows:
        scale = 1e-6 * row["sizes"]["paths"] * row["sizes"]["timed_steps"]
        low, high = (scale / seconds for seconds in reversed(row["seconds_quartiles"]))
        peak = "?" if row["fraction_of_fma"] is None else f"{row['fraction_of_fma']:.0%}"
        against = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(
            f"  {row['row'].split('/', 2)[2]:34} {1e-6 * row['path_steps_per_second']:15.4g} {low:8.4g}–{high:<8.4g}"
            f" {row['gflops_nominal']:8.3g} {peak:>7} {row['error_rms_nats']:10.2g} {against:>6}"
        )
    if rows:
        fma = f"{rows[0]['fma_gflops']:.0f} GFLOP/s" if "fma_gflops" in rows[0] else "not measured"
        limits = f"FMA {fma}, sgemm {rows[0]['sgemm_gflops']:.0f} GFLOP/s, copy {rows[0]['copy_gb_per_s']:.1f} GB/s"
        print(f"  ratios to {rows[0]['ratio_to']}; limits of one core: {limits}")
    for name, reason in absent.items():
        print(f"  NOT RUN {name}: {reason}")


def fallen(rows: list[dict[str, Any]], stored: Path) -> tuple[dict[str, str], list[str]]:
    """Thermokern's rows whose ratio fell by more than the tolerance against the last stored line like them.

    And the names of those that no stored line is like: of the same CPU, instruction set, threads and sizes.
    """
    last: dict[str, float] = {}
    if stored.exists():
        for line in stored.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["ratio"] is not None:
                last[_identity(row)] = row["ratio"]
    out, unknown = {}, []
    for row in rows:
        before = last.get(_identity(row))
        if row["kind"] != "thermokern":
            continue
        if before is None:
            unknown.append(row["row"])
        elif row["ratio"] is None:
            out[row["row"]] = f"{row['row']}: no peer ran, stored ratio {before:.2f}"
        elif row["ratio"] < (1.0 - TOLERANCE) * before:
            out[row["row"]] = f"{row['row']}: ratio {row['ratio']:.2f}, stored {before:.2f}"
    return out, unknown


def store(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _identity(row: dict[str, Any]) -> str:
    of = [row["machine"]["cpu"], *(row[key] for key in ("row", "instruction_set", "threads", "sizes"))]
    return json.dumps(of, sort_keys=True)


def _seconds(run: Run, steps: int) -> float:
    start = time.perf_counter()
    run(steps, None)
    return time.perf_counter() - start


def _commit() -> str:
    """The commit, with '-dirty' where the working tree differs from it."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        out = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return out.stdout.strip()


def _cpu() -> str:
    """The CPU's name, with family and model where the system gives them: clouds name many CPUs alike."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = fields.get("model name", platform.machine())
    return f"{name}, family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}"
