"""Exact log-likelihoods at equal accuracy: thermokern's fused steppers against the solvers that people use.

``L1`` is a mixture of eight Gaussians in the plane, ``L2`` the trained perceptron 3 × 128 of the demo (VP, exact
divergence in both). Every contestant is given the loosest tolerance of a ladder at which the RMS error of its log p,
against thermokern in float64 at a tolerance far below (for L1 held to the closed form), is at most the target. Peers
choose the better of two variables: process time, and the log signal-to-noise ratio that thermokern integrates in.
Contestants are timed in turn; a ratio is the median over rounds of the peer's time over thermokern's, so above 1 means
thermokern is faster.

    python benchmarks/likelihood.py [--only L1,L2] [--rounds 5] [--out FILE]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from harness import Tunings
    from torch import Tensor

HERE = Path(__file__).resolve().parent
T_EPS = {"L1": 1e-4, "L2": 1e-2}
SIZES = {"L1": 2000, "L2": 200}
TRUTH = {"L1": 1e-10, "L2": 1e-7}  # tolerance
TARGET = {"L1": 1e-4, "L2": 1e-3}  # RMS, nats
LADDER = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 1e-8)


Solve = Callable[[float], "Tensor"]


@dataclass
class Solver:
    """A contestant: log p of all points at a tolerance."""

    name: str
    kind: str
    run: Solve
    tolerance: float = math.nan
    error: float = math.nan
    seconds: list[float] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="L1,L2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl", help="file that results are appended to")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    import run

    run._confine(1)  # before torch is imported
    import harness
    import torch

    from thermokern import _core

    torch.set_num_threads(1)
    common = harness.environment(1, options.rounds, _core.instruction_set)
    common["versions"] |= {name: harness.version(name) for name in ("torchdiffeq", "scipy")}
    print(f"{common['machine']['cpu']}, load {common['load']}, commit {common['commit']}, {common['versions']}")
    rows, _ = measure(options.only.split(","), False, options.rounds, common, harness.Tunings(None, common))
    harness.store(rows, options.out)
    return 0


def measure(
    only: Sequence[str], quick: bool, rounds: int, common: dict[str, Any], tunings: Tunings
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, and what was not run; `quick`: a quarter of the points."""
    rows: list[dict[str, Any]] = []
    absent: list[str] = []
    for name in only:
        points = SIZES[name] // 4 if quick else SIZES[name]
        solvers, truth, missing = contestants(name, points)
        ready = []
        for solver in solvers:
            try:
                if tune(name, solver, truth, tunings):
                    ready.append(solver)
            except Exception as error:  # a peer that fails here is a fact about this machine, to be told
                if solver.kind != "peer":
                    raise
                missing.append(f"{name}, {solver.name}: {type(error).__name__}: {str(error)[:120]}")
        for _ in range(rounds):
            for solver in ready:
                start = time.perf_counter()
                solver.run(solver.tolerance)
                solver.seconds.append(time.perf_counter() - start)
        rows += table(name, points, ready, missing, common)
        absent += missing
    return rows, absent


def tune(name: str, solver: Solver, truth: Tensor, tunings: Tunings) -> bool:
    """Give the solver the loosest tolerance that meets the target."""
    asked = (name, solver.name, len(truth), TARGET[name])
    known = tunings.get(*asked) if solver.kind == "peer" else None
    for tolerance in LADDER if known is None else (known, *LADDER):
        values = solver.run(tolerance)
        solver.tolerance, solver.error = tolerance, (values.double() - truth).square().mean().sqrt().item()
        if solver.error <= TARGET[name]:
            tunings.put(tolerance, *asked)
            print(f"    {solver.name}: tolerance {tolerance:g}, error {solver.error:.2g}", flush=True)
            return True
    print(f"    {solver.name}: MISSES the target, error {solver.error:.2g} at {solver.tolerance:g}", flush=True)
    return False


def contestants(name: str, points: int) -> tuple[list[Solver], Tensor, list[str]]:
    """The solvers of a work, its true values, and who is absent."""
    import torch

    import thermokern as tk

    law = tk.GaussianMixture.ring()
    t_eps, process = T_EPS[name], tk.VP()
    checkpoint = files("thermokern.papers.ding2026") / "checkpoints" / "m1_eps0.01.safetensors"
    model = law if name == "L1" else tk.load_checkpoint(str(checkpoint))
    x = law.sample(points, seed=1)

    def fused(dtype: torch.dtype) -> Solve:
        return lambda tolerance: (
            tk.log_likelihood(
                model, x, process, rtol=tolerance, atol=tolerance, t_eps=t_eps, dtype=dtype, backend="fused"
            ).values
        )

    truth = fused(torch.float64)(TRUTH[name])
    if name == "L1":
        out = tk.log_likelihood(law, x, process, rtol=TRUTH[name], atol=TRUTH[name], t_eps=t_eps)
        m = process.mean_scale(t_eps)
        closed = law.log_prob(m * x, t_eps, process) + 2.0 * math.log(m) - out.prior_mismatch
        assert float((closed - truth).abs().max()) < 1e-7
    solvers = [Solver("thermokern fused, float64", "thermokern", fused(torch.float64))]
    if name == "L2":
        solvers.append(Solver("thermokern fused, float32", "thermokern", fused(torch.float32)))
    missing = []
    for variable in ("t", "log-snr"):
        try:
            solver = batch_solver(name, model, x, variable)
            solvers.append(Solver(f"torchdiffeq dopri5, batch, {variable}", "peer", solver))
        except ImportError as error:
            missing.append(f"torchdiffeq: not installed ({error})")
    if name == "L1":
        solvers.append(Solver("SciPy RK45, batch as one system, log-snr", "peer", scipy_solver(model, x, name)))
    return solvers, truth, missing


def slopes(
    name: str, model: object, variable: str
) -> tuple[Callable[[float, object], tuple[object, object]], float, float]:
    """``(variable, x) -> dx, d log p`` in PyTorch, and the ends of the variable."""
    import torch

    import thermokern as tk

    process = tk.VP()
    first, last = process.log_snr(T_EPS[name]), process.log_snr(1.0)

    def slope(u: float, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t, scale = u, 1.0
        if variable == "log-snr":
            budget = math.log1p(math.exp(u))  # ∫β of VP at log-SNR −u; the time follows in closed form
            growth = process.beta_max - process.beta_min
            t = (math.sqrt(process.beta_min**2 + 2.0 * growth * budget) - process.beta_min) / growth
            t = min(t, 1.0)  # a solver's first guess of a step may look past the end of time
            scale = process.variance(t) / process.g2(t)
        drift, push = scale * process.f(t), -0.5 * scale * process.g2(t)
        if isinstance(model, tk.GaussianMixture):
            out = model.evaluate(x, t, process)
            score, divergence = out.score, out.divergence
        else:
            assert isinstance(model, tk.ScoreModel)
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(True)
                score = model(leaf, t)
                rows = [torch.autograd.grad(score[:, i].sum(), leaf, retain_graph=i == 0)[0][:, i] for i in range(2)]
            score, divergence = score.detach(), rows[0] + rows[1]
        return drift * x + push * score, 2.0 * drift + push * divergence

    return slope, *((T_EPS[name], 1.0) if variable == "t" else (-first, -last))


def batch_solver(name: str, model: object, x: object, variable: str) -> Solve:
    """The batch as one system: a step for all, by the norm over all."""
    import torch
    from torchdiffeq import odeint

    import thermokern as tk

    assert isinstance(x, torch.Tensor)
    slope, first, last = slopes(name, model, variable)
    dtype = torch.float64 if name == "L1" else torch.float32
    process = tk.VP()
    m = process.mean_scale(T_EPS[name])
    start = (m * x).to(dtype), torch.zeros(len(x), dtype=dtype)
    ends = torch.tensor([first, last], dtype=torch.float64)

    def run(tolerance: float) -> torch.Tensor:
        with torch.no_grad():
            end, gathered = odeint(
                lambda u, state: slope(u.item(), state[0]),
                start,
                ends,
                rtol=tolerance,
                atol=tolerance,
                method="dopri5",
                options={"step_t": ends[1:]},  # else its last step looks past the end of time
            )
        prior = -0.5 * end[-1].double().square().sum(1) - math.log(2.0 * math.pi)
        return prior + gathered[-1].double() + 2.0 * math.log(m)

    return run


def scipy_solver(model: object, x: object, name: str) -> Solve:
    import numpy as np
    import torch
    from scipy.integrate import solve_ivp

    import thermokern as tk

    assert isinstance(x, torch.Tensor)
    slope, first, last = slopes(name, model, "log-snr")
    m, n = tk.VP().mean_scale(T_EPS[name]), len(x)

    def run(tolerance: float) -> torch.Tensor:
        def flat(u: float, state: np.ndarray) -> np.ndarray:
            dx, dl = slope(u, torch.from_numpy(state[: 2 * n].reshape(n, 2).copy()))
            return np.concatenate([dx.numpy().ravel(), dl.numpy()])

        start = np.concatenate([(m * x).numpy().ravel(), np.zeros(n)])
        end = torch.from_numpy(solve_ivp(flat, (first, last), start, rtol=tolerance, atol=tolerance).y[:, -1].copy())
        at_end = end[: 2 * n].reshape(n, 2)
        return -0.5 * at_end.square().sum(1) - math.log(2.0 * math.pi) + end[2 * n :] + 2.0 * math.log(m)

    return run


def table(
    name: str, points: int, solvers: list[Solver], missing: list[str], common: dict[str, Any]
) -> list[dict[str, Any]]:
    """Print the work's table; its rows."""
    ours, peers = solvers[0], [solver for solver in solvers if solver.kind == "peer"]
    best = min(peers, key=lambda solver: statistics.median(solver.seconds), default=None)
    print(f"\n{name}: {points} points, RMS error at most {TARGET[name]:g} nats")
    rows: list[dict[str, Any]] = []
    for solver in solvers:
        low, middle, high = statistics.quantiles(solver.seconds, n=4, method="inclusive")
        against = None
        if best is not None:
            against = statistics.median(b / a for a, b in zip(solver.seconds, best.seconds, strict=True))
        shown = "" if against is None else f"{against:.2f}"
        times = f"{middle:9.4f} s {low:9.4f}–{high:<9.4f}"
        print(f"  {solver.name:44} {times} tolerance {solver.tolerance:<7g} error {solver.error:<8.2g} {shown}")
        rows.append(
            {
                "row": f"{name}/likelihood/{solver.name}",
                "kind": solver.kind,
                "sizes": {"points": points, "target_rms_nats": TARGET[name]},
                "tolerance": solver.tolerance,
                "seconds_median": middle,
                "seconds_quartiles": [low, high],
                "error_rms_nats": solver.error,
                "ratio": against,
                "ratio_to": None if best is None else best.name,
                **common,
            }
        )
    print(f"  ratios: the time of {None if best is None else best.name} over each; {ours.name} leads if above 1")
    for reason in missing:
        print(f"  NOT RUN {reason}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
