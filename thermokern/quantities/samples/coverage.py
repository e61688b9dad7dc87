"""Coverage, density, precision and recall of generated samples, by the nearest-neighbour balls of real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.ops.checks import check_flags, checked_seed
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.pace import Pace
from thermokern.quantities.engine.ranks import Group, Ranks
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.samples.balls import balls, of_one_scale, sharded_balls, shared_balls
from thermokern.quantities.samples.errors_by_parts import block_errors, rows_of_errors, sharded_errors
from thermokern.quantities.samples.inputs import SampleLike, checked_neighbours, checked_sample, scaled, search_device

NAMES = ("coverage", "density", "precision", "recall")


@stored("coverage")
@dataclass(frozen=True, eq=False)
class Coverage(Result):
    """How generated points and real ones cover each other. Ball i: all that is nearer to real point i than its k-th
    nearest other real point.

    Attributes
    ----------
    coverage : Estimate
        Share of real points whose ball holds a generated point.
    density : Estimate
        Balls that a generated point lies in, over k; 1 for two samples of one law, up to order 1/n.
    precision : Estimate
        Share of generated points that lie in some ball.
    recall : Estimate
        Share of real points that lie in some ball of the generated points.
    expected_coverage : float
        What the coverage of two samples of one law is on average, exactly, whatever the law.
    hits : Tensor
        (n,) int64, generated points in each real point's ball.
    precise : Tensor
        (m,) bool, whether a generated point lies in some ball.
    recalled : Tensor
        (n,) bool, whether a real point lies in some ball of the generated points.
    settings : dict
    """

    title: ClassVar[str] = "Coverage of one sample by another"

    coverage: Estimate
    density: Estimate
    precision: Estimate
    recall: Estimate
    expected_coverage: float
    hits: Tensor
    precise: Tensor
    recalled: Tensor
    settings: dict[str, Any]

    def summary(self) -> str:
        """A table of the estimates, for people."""
        s = self.settings
        return "\n".join(
            [
                f"{s['m']:,} generated points against {s['n']:,} real ones, k = {s['k']}",
                f"  coverage                {self.coverage}   (two samples of one law: {self.expected_coverage:.4f})",
                f"  density                 {self.density}   (of one law: 1)",
                f"  precision               {self.precision}",
                f"  recall                  {self.recall}",
                *self.closing(),
            ]
        )

    def law(self) -> str:
        """The laws that are compared."""
        return "the laws of the two samples, at the scale of the distance to the k-th neighbour"

    def conclusion(self) -> list[str]:
        """Whether the generated points reach all real ones, beside what two samples of one law would do."""
        short = self.expected_coverage - self.coverage.value
        known = math.isfinite(self.coverage.stderr)
        if not known:
            first = (
                "The samples are too small to tell errors (they come from parts of them): give some hundreds of points."
            )
        elif short > 3.0 * self.coverage.stderr:
            first = (
                f"Part of the real points is not reached: coverage is {self.coverage}, where two samples of one law "
                f"have {self.expected_coverage:.3f}, so about {short / self.expected_coverage:.0%} is missing."
            )
        else:
            first = "No real region is seen to be missing: coverage is what two samples of one law have."
        wrong = 1.0 - self.precision.value
        return [first, f"{wrong:.1%} of the generated points lie where no real point is near."]

    def named(self) -> dict[str, Estimate]:
        """The four estimates by name."""
        return {name: getattr(self, name) for name in NAMES}

    def numbers(self) -> dict[str, object]:
        """The four estimates."""
        return {**self.named(), "expected_coverage": self.expected_coverage, "settings": self.settings}

    def columns(self) -> dict[str, list[object]]:
        """A row for each of the four estimates."""
        return {"name": [*NAMES], "estimate": [*self.named().values()]}


def coverage(
    real: SampleLike,
    generated: SampleLike,
    k: int = 5,
    *,
    stderr: bool = True,
    seed: int = 0,
    group: Group = None,
    sharded: bool = False,
    progress: bool = False,
) -> Coverage:
    """Coverage, density, precision and recall of `generated` with respect to `real`.

    With ``r_i`` the distance of real point i to its k-th nearest other, ``B_i = {y: |y − x_i| < r_i}``:

        coverage = (1/n) Σ_i 1[some y_j in B_i],   density = 1/(k m) Σ_j Σ_i 1[y_j in B_i].

    Parameters
    ----------
    real, generated : Tensor or array
        (n, d) and (m, d): points, or features of images. Neighbours are sought on the device of `real`.
    k : int
        Neighbours, less than n and m.
    stderr : bool
        Whether to work out the standard errors, which takes about five times as long in all. They are NaN where the
        smaller sample has fewer than eight parts of ``max(80, 10 k)`` points: fewer than 640 points at k ≤ 8.
    seed : int
        Of the partitions that the errors come from.
    group : None, "world" or ProcessGroup
        The processes that share the searches, see :func:`thermokern.taep`; each has all points, unless they are
        `sharded`.
    sharded : bool
        Each rank of `group` gives rows of its own of both samples, at least one, where all points are too many for one
        machine; `hits` and the others are in order of the ranks. To the bits of one process that has all rows in this
        order. Standard errors bring a 32nd of all points to a rank at a time.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Coverage

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Notes
    -----
    Two samples of one law have ``E[coverage] = 1 − Π_{i=1..k} (n − i)/(n + m − i)``: among the n − 1 other real and the
    m generated points, all equally likely to be the nearest, the next, …, the first k are then real. Coinciding points
    are allowed; a real point that coincides with k others has an empty ball.

    The standard errors are from disjoint parts of both samples, see
    :mod:`thermokern.quantities.samples.errors_by_parts`. Of a share p, the parts give how many times the binomial
    variance p(1 − p)/n its variance is, since p itself moves with n. In five dimensions and more parts have more of an
    edge than the whole, and errors are too large: by a third for the density. Errors of precision and recall are rough:
    right for two samples of one law, a third too small for Gaussians one standard deviation apart, where a few balls at
    the edge decide (``benchmarks/calibration.py``). Cost: neighbour searches and counts.

    References
    ----------
    Naeem, Oh, Uh, Choi and Yoo, *Reliable fidelity and diversity metrics for generative models*, 2020.
    Kynkäänniemi, Karras, Laine, Lehtinen and Aila, *Improved precision and recall metric for assessing generative
    models*, 2019, for precision and recall.
    """
    check_flags(sharded=sharded, stderr=stderr, progress=progress)
    least = 1 if sharded else 2
    first, second = checked_sample("real", real, least), checked_sample("generated", generated, least)
    seed, _ = checked_seed(seed)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"generated: expected (m, {first.shape[1]}) to match real, got {tuple(second.shape)}")
    if first.dtype != second.dtype:
        first, second = first.double(), second.double()
    ranks = Ranks(group)
    device = search_device(real)
    words = {"k": k, "seed": seed, "stderr": stderr, "sharded": sharded, "quantity": "coverage"}
    errors, inside = [math.nan] * len(NAMES), [math.nan] * len(NAMES)

    def of_parts(parts: list[Tensor]) -> list[float]:
        return _shares(*balls(parts[0].to(device), parts[1].to(device), k), k)

    if sharded:
        words |= {"dtype": first.dtype, "dim": first.shape[1]}
        ranks.agree(lambda: parts_of_call({}, None, torch.Size([]), {}, words))
        shards = ranks.exchanged((torch.tensor([len(first), len(second)], device="cpu"),))
        held = torch.stack([own for (own,) in shards])
        n, m = held.sum(0).tolist()
        k = checked_neighbours("k", k, min(n, m))
        with ranks.guarded():
            first, second = of_one_scale(first, second, ranks)
            hits, precise, recalled = sharded_balls(first, second, k, ranks)
            if stderr:
                known = sharded_errors([first, second], held, of_parts, k=k, seed=seed, ranks=ranks)
                errors, inside = known or (errors, inside)
    else:
        n, m = len(first), len(second)
        k = checked_neighbours("k", k, min(n, m))
        both, _ = scaled(torch.cat([first, second]), None)
        first, second = both[:n], both[n:]
        ranks.agree(lambda: parts_of_call({}, None, torch.Size([]), {"real": first, "generated": second}, words))
        parted = rows_of_errors([first, second], k) if stderr else 0
        pace = Pace(3 * n + 2 * m + parted, "point", "coverage", progress)
        run = balls if ranks.alone and not pace.asked else partial(shared_balls, ranks=ranks, pace=pace)
        with pace.bar():
            try:
                hits, precise, recalled = run(first.to(device), second.to(device), k)
            except ValueError as error:
                raise ValueError(f"real, generated: {error}") from None
            if stderr:
                errors, inside = block_errors(
                    [first, second],
                    of_parts,
                    k=k,
                    seed=seed,
                    ranks=ranks,
                    pace=pace,
                )
    values = _shares(hits, precise, recalled, k)
    if stderr:
        sizes = {"coverage": n, "precision": m, "recall": n}
        errors = [
            _rescaled(error, value, part, sizes[name]) if name in sizes else error
            for name, error, value, part in zip(NAMES, errors, values, inside, strict=True)
        ]
    home = real.device if isinstance(real, Tensor) else "cpu"
    estimates = {name: Estimate(v, e, "") for name, v, e in zip(NAMES, values, errors, strict=True)}
    return Coverage(
        **estimates,
        expected_coverage=expected_coverage(n, m, k),
        hits=hits.to(home),
        precise=precise.to(home),
        recalled=recalled.to(home),
        settings={"k": k, "n": n, "m": m, "dim": first.shape[1], "seed": seed},
    )


def expected_coverage(n: int, m: int, k: int) -> float:
    """``1 − Π_{i=1..k} (n − i)/(n + m − i)``: mean coverage of n real points by m generated ones of the same law."""
    return -math.expm1(math.fsum(math.log((n - i) / (n + m - i)) for i in range(1, k + 1)))


def _rescaled(error: float, share: float, share_of_parts: float, n: int) -> float:
    """The error of a share that differs in parts and in the whole of n: both over their binomial spread."""

    def spread(p: float) -> float:
        p = (n * p + 1.0) / (n + 2.0)  # off 0 and 1, where the binomial spread would say that nothing can change
        return math.sqrt(p * (1.0 - p))

    return error * spread(share) / spread(share_of_parts)


def _shares(hits: Tensor, precise: Tensor, recalled: Tensor, k: int) -> list[float]:
    return [
        (hits > 0).double().mean().item(),
        hits.sum().item() / (k * len(precise)),
        precise.double().mean().item(),
        recalled.double().mean().item(),
    ]
