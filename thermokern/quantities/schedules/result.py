"""The best schedules of a model and a sampler, and what their bounds are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.ops.checks import checked_array, checked_choice, checked_integer
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored
from thermokern.quantities.schedules.pairs import Nodes, Pairs, cheapest, pairs_of
from thermokern.quantities.schedules.standards import STANDARDS, nearest, standard_nodes

FLOW = "probability-flow"
_TOLD = 3.0  # standard errors from which a difference is no chance
_NO_BOUND = (
    "no bound on the likelihood or on KL exists for the probability flow from the cost of its steps: the law of one of "
    "its paths is singular, so its log ratio to the reverse SDE's is infinite; step_costs are those of a surrogate. "
    'The samplers "ddpm-optimal", "ddpm", "ddpm-large" and "euler-maruyama" are SDE samplers and have a bound'
)


@stored("schedule-comparison")
@dataclass(frozen=True, eq=False)
class Comparison:
    """Another schedule beside the best one of as many steps, on the same held-out samples.

    Attributes
    ----------
    name : str
    times : Tensor
        (n + 1,) the nodes next to that schedule's times, where both are compared.
    variances : Tensor
        (n,) of the sampler's reverse steps between them, in order of time.
    bound : Estimate
    excess : Estimate
        Its bound less that of the best schedule, paired over the samples.
    """

    name: str
    times: Tensor
    variances: Tensor
    bound: Estimate
    excess: Estimate


@stored("schedules")
@dataclass(frozen=True, eq=False)
class Schedules(Result):
    """For every number of steps the schedule of least cost of one sampler, from :func:`thermokern.optimal_schedule`.

    Attributes
    ----------
    sampler, objective : str
        ``own`` where the objective is the sampler's own bound.
    kind : {"KL", "NLL", "surrogate"}
        What :meth:`bound` bounds, nats: ``KL(p ‖ samples)`` of the laws at t_eps; or the negative log-likelihood of the
        data, where their density is not known; or nothing.
    dim : int
    nodes : Nodes
        The times that schedules choose from.
    cost, stderr : Tensor
        (M, M) of the step from node t (column) down to s (row), without the entropies ``h(t) − h(s)``, which telescope;
        infinite where s ≥ t. The standard error is that of each cost by itself; NaN where it is not known.
    n_steps : tuple of int
        Numbers of steps that :meth:`summary` and the figure show. Any number up to M − 1 may be asked for.
    data_std : float
        Standard deviation of a component of the data.
    length : float or None
        Thermodynamic length of the way from t_eps to t_end; None for Euler–Maruyama and surrogates.
    whole_times : bool
        Whether times count the steps of a table (DiscreteVP).
    moments : Tensor or None
        (M, c) means that the costs come from.
    held_out, ends : Tensor or None
        (n, M, c) and (n,): the same of each held-out sample, and the part of its bound that no schedule changes.
    settings : dict
    """

    title: ClassVar[str] = "Schedules"

    sampler: str
    objective: str
    kind: str
    dim: int
    nodes: Nodes
    cost: Tensor
    stderr: Tensor
    n_steps: tuple[int, ...]
    data_std: float
    length: float | None
    whole_times: bool
    moments: Tensor | None
    held_out: Tensor | None
    ends: Tensor | None
    settings: dict[str, Any]

    def times(self, n: int) -> Tensor:
        """The times (n + 1,) float64 of the best schedule of n steps, increasing: ``times=`` of :func:`sample`."""
        return self.nodes.times[self._best(n)]

    def sigmas(self, n: int) -> Tensor:
        """``√v/m`` (n + 1,) falling, where its steps begin and then 0: ``sigmas=`` of diffusers' Euler schedulers.

        The last step goes to the data, and t_eps is left out.
        """
        begins = self.nodes.sigma[self._best(n)[1:]].flip(0)
        return torch.cat([begins, begins.new_zeros(1)])

    def timesteps(self, n: int) -> list[int]:
        """The table's steps (n,) where its steps begin, falling: ``timesteps=`` of diffusers' schedulers.

        Checkpoints count steps from 0, so these are times less 1. Their schedulers go on from the last to the data, and
        t_eps is left out.
        """
        if not self.whole_times:
            raise ValueError("timesteps: only a process with a table of steps (DiscreteVP) has them; use sigmas")
        return [round(time) - 1 for time in self.nodes.times[self._best(n)[1:]].flip(0).tolist()]

    def variances(self, n: int) -> Tensor:
        """Variances (n,) of the sampler's reverse steps in order of time: ``variance=`` of :func:`sample`."""
        index = self._best(n)
        return self._pairs().variance[index[:-1], index[1:]]

    def bound(self, n: int) -> Estimate:
        """The bound of the best schedule of n steps, on held-out samples, nats; see `kind`.

        Raises
        ------
        ValueError
            For the probability flow, which has none.
        """
        return mean_estimate(self._values(self._best(n)))

    def step_costs(self, n: int) -> Tensor:
        """Cost (n,) of each step of the best schedule in order of time, from the table."""
        index = self._best(n)
        return self.cost[index[:-1], index[1:]]

    def predicted(self, n: int) -> float:
        """``ℓ²/2n``: what n steps cost above a continuum of them, where n is large, nats."""
        if self.length is None:
            raise ValueError(f"predicted: the length is not known of {self.sampler} with objective {self.objective}")
        return 0.5 * self.length**2 / checked_integer("n", n, 1)

    def compare(self, n: int, others: Sequence[str | Tensor] = tuple(STANDARDS)) -> tuple[Comparison, ...]:
        """Bounds of other schedules of n steps, with paired errors of their differences from the best one's.

        Parameters
        ----------
        n : int
        others : sequence
            Names (uniform, log-snr, quadratic, cosine, karras, tan) or times (n + 1,), each taken at the nearest nodes.

        Raises
        ------
        ValueError
            For the probability flow, which has no bound.
        """
        own, variance = self._values(self._best(n)), self._pairs().variance
        out = []
        for other in others:
            name = other if isinstance(other, str) else "given"
            index = self._index_of(other, n)
            values = self._values(index)
            parts = self.nodes.times[index], variance[index[:-1], index[1:]]
            out.append(Comparison(name, *parts, mean_estimate(values), mean_estimate(values - own)))
        return tuple(out)

    def summary(self) -> str:
        """The bounds, and what they do not say."""
        s = self.settings
        lines = [
            f"best schedules of {self.sampler}, {s['process']}, {len(self.nodes.times)} nodes from t = "
            f"{self.nodes.times[0].item():g}, objective: {self.objective}"
        ]
        if self.kind == "surrogate":
            lines += [f"  {n:4d} steps   surrogate {self.step_costs(n).sum().item():.4g}" for n in self.n_steps]
            lines.append("  These numbers bound nothing: for the probability flow no bound on KL exists.")
            return "\n".join([*lines, *self.closing()])
        for n in self.n_steps:
            best = min(self.compare(n), key=lambda other: other.bound.value)
            known = "" if self.length is None else f", ℓ²/2n = {self.predicted(n):.4g}"
            lines.append(
                f"  {n:4d} steps   {self.kind} ≤ {self.bound(n)} nats; {best.name} {best.bound}, more by {best.excess}"
                f"{known}"
            )
        law = "KL(data ‖ samples)" if self.kind == "KL" else "the negative log-likelihood of the data"
        lines += [
            f"  Bounds {law} at t = {self.nodes.times[0].item():g} for this sampler with these steps and variances, on "
            f"{len(self._held()[1])} held-out samples.",
            "  Nothing is said of a last denoising step, of guidance or of other samplers; and likelihood is not image "
            "quality.",
        ]
        return "\n".join([*lines, *self.closing()])

    def law(self) -> str:
        """The law of the data, and that of the samples."""
        first, sampler = f"t = {self.nodes.times[0].item():.3g}", f"samples by {self.sampler}"
        if self.kind == "surrogate":
            return f"no law: costs of {self.objective} along {sampler}, from {first}"
        return f"the data's law at {first}, against that of {sampler} with these steps"

    def conclusion(self) -> list[str]:
        """What the best schedule gains over those in common use, and whether that can be told from chance."""
        few, many = min(self.n_steps), max(self.n_steps)
        if self.kind == "surrogate":
            return [
                "Of the probability flow nothing is bounded: compare samples of these times with samples of others "
                "before you use them."
            ]
        said = []
        for n in dict.fromkeys((few, many)):
            other, bound = min(self.compare(n), key=lambda each: each.bound.value), self.bound(n)
            gain = (
                f"{other.name}, the best in common use, gives up {other.excess} nats more"
                if other.excess.value > _TOLD * other.excess.stderr
                else f"{other.name}, the best in common use, is as good within the error"
            )
            said.append(
                f"With {n} steps the bound is {bound} nats, {bound.value / self.dim:.3g} per dimension; {gain}."
            )
        return [*said, "The bounds come from samples that the schedules were not chosen on."]

    def numbers(self) -> dict[str, object]:
        """Times, bounds and predictions for each of `n_steps`."""
        return {
            "sampler": self.sampler,
            "objective": self.objective,
            "kind": self.kind,
            "schedules": [
                {
                    "n_steps": n,
                    "times": self.times(n),
                    "bound": None if self.kind == "surrogate" else self.bound(n),
                    "surrogate": self.step_costs(n).sum().item() if self.kind == "surrogate" else None,
                }
                for n in self.n_steps
            ],
            "length": self.length,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor | Sequence[object]]:
        """A row for each node of each schedule."""
        times = [self.times(n) for n in self.n_steps]
        return {
            "n_steps": [n for n in self.n_steps for _ in range(n + 1)],
            "time": torch.cat(times),
            "sigma": torch.cat([self.nodes.sigma[self._best(n)] for n in self.n_steps]),
        }

    def _best(self, n: int) -> Tensor:
        return cheapest(self.cost, checked_integer("n", n, 1, len(self.nodes.times)))

    def _index_of(self, other: str | Tensor, n: int) -> Tensor:
        """The nodes of another schedule."""
        if isinstance(other, str):
            checked_choice("others", other, tuple(STANDARDS))
            return standard_nodes(other, self.nodes.times, self.nodes.sigma, n, self.data_std)
        times = checked_array("others", other)
        if times.shape != (n + 1,) or not bool((times.diff() > 0.0).all()):
            raise ValueError(f"others: expected names or increasing times ({n + 1},), got {tuple(times.shape)}")
        return nearest(self.nodes.times, times)

    def _held(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.moments is None or self.held_out is None or self.ends is None:
            raise ValueError(f"bound: {_NO_BOUND}")
        return self.held_out, self.ends, self.moments

    def _pairs(self) -> Pairs:
        return pairs_of(self.sampler, self.nodes, self.dim, self._held()[2])

    def _values(self, index: Tensor) -> Tensor:
        """The bound of each held-out sample, (n,), for the schedule of these nodes."""
        held_out, ends, _ = self._held()
        pairs = self._pairs()
        low, high = index[:-1], index[1:]
        steps = (pairs.weights[low, high] * held_out[:, high]).sum((1, 2))
        return ends + pairs.constant[low, high].sum() + steps
