"""Time thermokern against its PyTorch reference and against its peers: `python benchmarks/run.py --help`.

Work A is whole trajectories between two Gaussian mixtures, work B the same with a perceptron for the model; see
problems.py for what exactly is integrated and how its operations are counted. Works with files of their own are C,
neighbour search; E, the step of a stream; L, likelihoods; N, normals; V, Langevin paths. All contestants of a variant
run in one process on one core, one after another in every round. Timed: from the starting points to Δs of every path,
normals included, each contestant drawing them as its user would; compilation and tuning are not. Errors are on noise
that is the same for all, against the float64 reference, over the whole grid.

Ratios are the result: each is the median over rounds of the rate over the best peer's (or, in a run with several
threads, over thermokern's on one thread). Times on a shared machine are not.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Tunings
    from problems import Contestant, Problem

HERE = Path(__file__).resolve().parent
WORKS = ("A", "B", "C", "E", "L", "N", "V")
QUICK_LIMIT, QUICK_TOTAL = 110.0, 540.0  # seconds of a row and of all of them
PEERS_SHARE = 0.4  # of a row's seconds that one contestant may take to be compiled and tuned
STARTED = time.monotonic()

Rows = tuple[list[dict[str, Any]], list[str]]  # and what was not run


def main() -> int:
    arguments = _parse()
    _confine(arguments.threads)  # before torch and JAX are imported: both read it once
    sys.path.insert(0, str(HERE))
    import harness
    import limits
    import torch

    from thermokern import _core

    torch.set_num_threads(1)
    torch._inductor.config.autotune_num_choices_displayed = 0
    torch._dynamo.config.recompile_limit = 64  # a peer's tunings share their source, but not what is compiled of it
    wanted = [name.strip().upper() for name in arguments.only.split(",")]
    if unknown := set(wanted) - set(WORKS):
        raise SystemExit(f"--only: expected some of {', '.join(WORKS)}, got {', '.join(sorted(unknown))}")
    if arguments.threads > 1:
        wanted = [name for name in wanted if name in ("A", "B", "C")]  # the others have one thread
    rounds = arguments.rounds or (3 if arguments.quick else 9)
    common = harness.environment(arguments.threads, rounds, _core.instruction_set)
    machine = common["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {_core.instruction_set}, load {common['load']}")
    print(f"commit {common['commit']}; versions {common['versions']}; {rounds} rounds; threads {arguments.threads}")
    tunings = harness.Tunings(arguments.tunings, common)
    meters = {"sgemm_gflops": limits.sgemm(), "copy_gb_per_s": limits.copy()}
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    if callable(fma := limits.fma()):
        meters["fma_gflops"] = fma
    else:
        missing.append(f"FMA peak: {fma}")
    for name, piece in _pieces(wanted, arguments, rounds, common, tunings, meters):
        begun = time.monotonic()
        left = arguments.total - (begun - STARTED)
        if left < 1.0:
            missing.append(f"{name}: no time left of {arguments.total:.0f} s")
            continue
        torch.compiler.reset()
        try:
            with harness.time_limit(min(arguments.limit, left)):
                new, absences = piece()
        except harness.OutOfTimeError as error:
            new, absences = [], [f"{name}: {error}"]
        rows += new
        missing += absences
        print(f"[{name}: {time.monotonic() - begun:.0f} s]", flush=True)
    failures, unknown = harness.fallen(rows, arguments.out) if arguments.check else ({}, [])
    # What fell is not stored, or the next check would compare with it and pass.
    harness.store([row for row in rows if row["row"] not in failures], arguments.out)
    print(f"\n{len(rows)} rows in {time.monotonic() - STARTED:.0f} s")
    if missing:
        print(f"NOT RUN: {'; '.join(dict.fromkeys(missing))}")
    if unknown:
        print(f"NOT CHECKED, no row is stored for {machine['cpu']}, {_core.instruction_set}: {'; '.join(unknown)}")
    for line in failures.values():
        print(f"FELL {line}")
    return 1 if failures else 0


def _pieces(
    wanted: list[str],
    arguments: argparse.Namespace,
    rounds: int,
    common: dict[str, Any],
    tunings: Tunings,
    meters: dict[str, Callable[[], float]],
) -> Iterator[tuple[str, Callable[[], Rows]]]:
    """What is timed, each with a time limit of its own: its name, and what gives its rows and names who did not run."""
    import langevin
    import likelihood
    import neighbours
    import normals
    import problems
    import streams

    quick = arguments.quick
    for name in wanted:
        if name in ("A", "B"):
            for problem in (problems.work_a if name == "A" else problems.work_b)(quick):
                yield problem.name, lambda p=problem: _trajectories(p, arguments, rounds, common, tunings, meters)
        elif name == "C":
            for n, dim in neighbours.QUICK if quick else neighbours.SIZES:
                yield f"C/{n}x{dim}", lambda n=n, d=dim: neighbours.run(n, d, arguments.threads, rounds, common)
        elif name == "E":
            for part in streams.PARTS:
                yield f"E/{part}", lambda p=part: streams.run(rounds, common, (p,), quick)
        elif name == "L":
            for work in likelihood.SIZES:
                yield work, lambda w=work: likelihood.measure((w,), quick, rounds, common, tunings)
        elif name == "N":
            yield "N", lambda: normals.run(rounds, common)
        else:
            for dim in langevin.DIMENSIONS:
                yield f"V/{dim}", lambda d=dim: (langevin.run(d, 5000 if quick else 20_000, 200, rounds, common), [])


def _trajectories(
    problem: Problem,
    arguments: argparse.Namespace,
    rounds: int,
    common: dict[str, Any],
    tunings: Tunings,
    meters: dict[str, Callable[[], float]],
) -> Rows:
    """Rows of a variant of work A or B."""
    import harness
    import problems

    title = f"{problem.name}: {problem.n} paths, {problem.steps} steps"
    print(f"\n{title}", flush=True)
    absent: dict[str, str] = {}
    if arguments.threads > 1:
        contestants = [problems.fused(problem, count) for count in (1, arguments.threads)]
    else:
        contestants, absent = _contestants(problem, arguments.quick)
    entries: list[harness.Entry] = []
    for contestant in contestants:
        try:
            with harness.time_limit(PEERS_SHARE * arguments.limit):
                entry = harness.enter(problem, contestant, tunings)
        except harness.OutOfTimeError as error:
            entry = str(error)
        if isinstance(entry, harness.Entry):
            entries.append(entry)
        else:
            absent[contestant.name] = entry
    measured = harness.race(entries, meters, rounds)
    peers = [entry for entry in entries if entry.contestant.kind == "peer"]
    peers = entries[:1] if arguments.threads > 1 else peers
    best = max(peers, key=lambda entry: entry.median, default=None)
    rows = harness.results(problem, entries, best, measured, common)
    harness.show(f"{title}, d = 2", rows, absent)
    return rows, [f"{problem.name}: {name}: {reason}" for name, reason in absent.items()]


def _contestants(problem: Problem, quick: bool) -> tuple[list[Contestant], dict[str, str]]:
    """All that run on a problem, and why the others do not."""
    import peers_torch
    import problems

    out = [problems.fused(problem), problems.reference(problem)]
    absent: dict[str, str] = {}
    network = problem.name.startswith("B")
    if network:
        out += peers_torch.peers_b(problem, quick)
    else:
        out += [problems.fused(problem, flush=True)]  # README's row must not depend on what the caller sets
        out += [peers_torch.eager_a(problem), peers_torch.compiled_a(problem, quick)]
    try:
        import peers_jax
    except ImportError as error:
        absent["JAX"] = f"not installed ({error}); pip install 'thermokern[bench]'"
    else:
        out.append(peers_jax.scan_b(problem, quick) if network else peers_jax.scan_a(problem, quick))
    return out, absent


def _confine(threads: int) -> None:
    """One core for every contestant, or as many as threads are asked for."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < threads:
            raise SystemExit(f"--threads: {threads} asked for, {len(cores)} cores allowed to this process")
        os.sched_setaffinity(0, cores[-threads:])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time thermokern against its reference and its peers.")
    parser.add_argument("--only", default=",".join(WORKS), help=f"works to time, of {', '.join(WORKS)}, with commas")
    parser.add_argument("--quick", action="store_true", help="small sizes and few tunings of the peers")
    parser.add_argument(
        "--threads", type=int, default=1, help="above 1: thermokern alone, against itself on one thread"
    )
    parser.add_argument("--rounds", type=int, help="times that every contestant is timed (9, or 3 with --quick)")
    parser.add_argument("--check", action="store_true", help="fail if a ratio fell by more than 15 %% against --out")
    parser.add_argument("--limit", type=float, help="seconds for each row and its peers (110 with --quick)")
    parser.add_argument("--total", type=float, help="seconds for all rows (540 with --quick)")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl", help="file that results are appended to")
    parser.add_argument(
        "--tunings",
        type=Path,
        default=HERE.parent / "build" / "tunings.json",
        help="file that keeps the fastest tunings of the peers; without it all are tried",
    )
    arguments = parser.parse_args()
    if arguments.threads < 1 or (arguments.rounds is not None and arguments.rounds < 2):
        parser.error("--threads must be at least 1 and --rounds at least 2")
    for name, seconds in (("limit", QUICK_LIMIT), ("total", QUICK_TOTAL)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, seconds if arguments.quick else math.inf)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
