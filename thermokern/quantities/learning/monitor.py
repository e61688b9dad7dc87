"""TAEP and coverage along any training, on the same paths at every visit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.models import ScoreLike, ScoreModel
from thermokern.models.remembering import Remembering
from thermokern.ops.checks import MOST, check_function, checked_integer, checked_number, checked_path, checked_seed
from thermokern.quantities.engine import sample
from thermokern.quantities.engine.problem import checked_data, describe
from thermokern.quantities.learning.callbacks import accelerate_hook, lightning_callback, trainer_callback
from thermokern.quantities.learning.training_log import TrainingLog, TrainingMeasurement
from thermokern.quantities.results.estimate import FewPathsWarning, mean_estimate
from thermokern.quantities.samples import coverage
from thermokern.quantities.taep import StepTooLongWarning, TimesBetweenWarning, taep
from thermokern.targets import Distribution

_REAL = 2000  # points of a law that coverage is of
_NEIGHBOURS = 5


class TrainingMonitor:
    """Measures TAEP, ``Var/(2 mean)`` and coverage while a score model is trained; call it after every step.

    Paths, noise and generated samples have the same random numbers at every visit, so that curves along training are
    smooth. Training goes on as if it were not there: the network's mode, its gradients and PyTorch's random numbers are
    left alone.

    Parameters
    ----------
    data : Distribution, Tensor or array
        A law, or points (n, …), from which paths start and which generated samples are to cover.
    reference : Distribution or ScoreModel, optional
        ``s_*``. A law's exact score; that of `data` where left out and `data` is a law. A frozen network, whose scores
        on the paths are computed once; or a moving average of the trained one, which is evaluated as it stands.
    every : int or sequence of int
        Visit at every multiple of this number of steps, or at these steps.
    share : float, optional
        The largest share of the time that visits may take: a visit that would exceed it is left out.
    n_paths, n_steps, spacing, times, scheme, t_eps
        Of the TAEP, see :func:`taep`.
    n_generated : int
        Samples for the coverage at each visit; 0 for none.
    generation_steps, method : int, str
        Of :func:`sample`.
    as_model : callable, optional
        Makes a ScoreModel of the network that is trained, where the loop has a network rather than a ScoreModel, as in
        callbacks: ``lambda network: tk.ScoreModel(network, process, "epsilon")``.
    log : path, optional
        A file to which each visit adds a line of JSON; :meth:`TrainingLog.read` reads it.
    tensorboard : path, optional
        A folder for TensorBoard, which comes with ``thermokern[tensorboard]``.
    seed : int

    Notes
    -----
    Cost of a visit: ``n_paths · (n_steps + 1)`` evaluations of the model, as many of a reference that changes, and
    ``n_generated · generation_steps`` for the coverage. `result` says what share of the time that was.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Fig. 3 and Eq. 41.
    """

    def __init__(
        self,
        data: Distribution | Tensor | np.ndarray,
        reference: ScoreLike | None = None,
        *,
        every: int | Sequence[int] = 500,
        share: float | None = None,
        n_paths: int = 128,
        n_steps: int | None = 50,
        spacing: str | None = None,
        times: Tensor | Sequence[float] | None = None,
        t_eps: float | None = None,
        scheme: str = "backward-ito",
        n_generated: int = 0,
        generation_steps: int = 20,
        method: str = "probability-flow",
        as_model: Callable[[Any], ScoreModel] | None = None,
        log: str | Path | None = None,
        tensorboard: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        self.n_paths = checked_integer("n_paths", n_paths, 2, MOST)
        self.n_generated = checked_integer("n_generated", n_generated, 0, MOST)
        (self.seed, _) = checked_seed(seed, 0)
        self.share = None if share is None else checked_number("share", share, above=0.0, most=1.0)
        if isinstance(every, Sequence) and not isinstance(every, str):
            self.every: int | set[int] = {checked_integer("every", step, 0) for step in every}
        else:
            self.every = checked_integer("every", every, 1)
        if reference is None:
            if not isinstance(data, Distribution):
                raise TypeError("reference: expected a ScoreModel or a law beside data points, got none")
            reference = data
        if not isinstance(reference, Distribution | ScoreModel):
            raise TypeError(f"reference: expected a ScoreModel or a law, got {type(reference).__name__}")
        self.reference = _remembering(reference)
        self.options: dict[str, Any] = {"scheme": scheme, "seed": self.seed}
        grid = {"n_steps": None if times is not None else n_steps, "spacing": spacing, "times": times, "t_eps": t_eps}
        self.options |= {name: value for name, value in grid.items() if value is not None}
        self.exact = isinstance(data, Distribution) and data is reference
        if isinstance(data, Distribution):
            self.starts = data.sample(self.n_paths, self.seed)
            self.real = data.sample(_REAL, self.seed + 1)
        else:
            flat, shape = checked_data("data", data)
            order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(self.seed), device="cpu")[
                : self.n_paths
            ]
            self.starts, self.real = flat[order].view(-1, *shape), flat
        self.generation: dict[str, Any] = {
            "n_steps": checked_integer("generation_steps", generation_steps, 1, MOST),
            "method": method,
        }
        if as_model is not None:
            check_function("as_model", as_model)
        self.as_model = as_model
        self.log = None if log is None else checked_path("log", log)
        self.writer = None if tensorboard is None else _writer(checked_path("tensorboard", tensorboard))
        self.measurements: list[TrainingMeasurement] = []
        self._began: float | None = None
        self._ended = self._spent = 0.0
        self._described: object = None

    def __call__(self, step: int, model: ScoreModel | nn.Module, *, force: bool = False) -> TrainingMeasurement | None:
        """Visit, if it is time to.

        Parameters
        ----------
        step : int
            Training steps that are done.
        model : ScoreModel, or what `as_model` makes one of
        force : bool
            Visit in any case.

        Returns
        -------
        TrainingMeasurement or None
        """
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        self._ended = now
        due = step in self.every if isinstance(self.every, set) else step % self.every == 0
        if not force and (not due or self._too_dear(now)):
            return None
        score = model if isinstance(model, ScoreModel) else None
        if score is None:
            if self.as_model is None:
                raise TypeError(
                    f"model: expected a ScoreModel, or as_model= of the monitor, got {type(model).__name__}"
                )
            score = self.as_model(model)
        with _at_rest(score), _quietly():
            found = self._measure(step, score, now)
        self.measurements.append(found)
        self._described = describe(score)
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(found.line() + "\n")
        if self.writer is not None:
            for name, value in found.scalars().items():
                self.writer.add_scalar(name, value, step)
            self.writer.flush()
        self._ended = time.monotonic()
        self._spent += self._ended - now
        return found

    @property
    def result(self) -> TrainingLog:
        """All visits so far."""
        settings = {
            "model": self._described,
            "reference": describe(self.reference),
            "every": sorted(self.every) if isinstance(self.every, set) else self.every,
            "n_paths": self.n_paths,
            "n_generated": self.n_generated,
            **{name: value for name, value in self.options.items() if name != "times"},
            "torch": str(torch.__version__),
        }
        elapsed = self._ended - self._began if self._began is not None else math.nan
        return TrainingLog(tuple(self.measurements), elapsed, settings)

    def lightning(self) -> Any:
        """A callback for Lightning's ``Trainer``; `as_model` gets the LightningModule. Its loggers get the numbers."""
        return lightning_callback(self)

    def trainer(self) -> Any:
        """A callback for Hugging Face's ``Trainer``; `as_model` gets the model that it trains."""
        return trainer_callback(self)

    def accelerate(self, accelerator: Any) -> Callable[[int, Any], TrainingMeasurement | None]:
        """A function of step and prepared model for a loop with accelerate, whose trackers get the numbers."""
        return accelerate_hook(self, accelerator)

    def _too_dear(self, now: float) -> bool:
        if self.share is None or not self.measurements or self._began is None:
            return False
        return self._spent + self.measurements[-1].seconds > self.share * (now - self._began)

    def _measure(self, step: int, model: ScoreModel, start: float) -> TrainingMeasurement:
        given: dict[str, Any] = {"n_paths": self.n_paths} if self.exact else {"x0": self.starts}
        found = taep(model, self.reference, **given, **self.options)
        covered = None
        if self.n_generated:
            shape = model.shape or tuple(self.starts.shape[1:])
            drawn = sample(model, n=self.n_generated, shape=shape, denoise=True, seed=self.seed, **self.generation)
            hits = coverage(self.real.flatten(1), drawn.flatten(1), k=_NEIGHBOURS, stderr=False).hits
            covered = mean_estimate((hits > 0).double(), "")
        return TrainingMeasurement(
            step=step,
            mean=found.mean,
            variance=found.variance,
            half_variance_ratio=found.half_variance_ratio,
            score_matching=found.score_matching,
            coverage=covered,
            seconds=time.monotonic() - start,
            values=found.values.float(),
        )


def _remembering(reference: Distribution | ScoreModel) -> Distribution | ScoreModel:
    """A network that is asked the same at every visit answers from memory until its parameters change."""
    if isinstance(reference, Distribution) or reference.one_time:
        return reference
    own = ScoreModel(reference.network, reference.process, reference.predicts)
    network = Remembering(reference.network, own.raw)
    return ScoreModel(network, reference.process, reference.predicts, reference.shape, reference.origin)


@contextmanager
def _at_rest(network: object) -> Iterator[None]:
    """The network in evaluation mode and without gradients; each of its modules goes back to the mode it was in."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def _quietly() -> Iterator[None]:
    """A visit says nothing of few paths and long steps, which it has by choice."""
    with warnings.catch_warnings():
        for category in (FewPathsWarning, StepTooLongWarning, TimesBetweenWarning):
            warnings.simplefilter("ignore", category)
        yield


def _writer(folder: str | Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("tensorboard: not installed: pip install 'thermokern[tensorboard]'") from None
    return SummaryWriter(str(folder))
