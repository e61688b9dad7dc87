"""Conditional and unconditional scores of data in one network, trained."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from thermokern._bars import Bar
from thermokern.models.conditional import ConditionalModel
from thermokern.models.conditional_mlp import ConditionalMLP, FitHistory
from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import MOST, array_of, check_flags, check_kind, checked_integer, checked_number, checked_seed
from thermokern.processes import VP, LinearProcess

_EMA = 0.999
_CLIP = 1.0  # of the gradient's norm
_CHECKS = 20  # validation losses along the way
_CHECKED = 4096  # held-out points at most
_TABLE = 2049  # levels of the sampling density
_SPREAD = 2.5  # of its logistic half, in λ


def fit_scores(
    x: Tensor | np.ndarray,
    y: Tensor | np.ndarray | None = None,
    *,
    process: LinearProcess | None = None,
    width: int = 128,
    depth: int = 3,
    steps: int = 3000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    null_share: float = 0.5,
    validation: float = 0.2,
    t_eps: float = 1e-5,
    seed: int = 0,
    progress: bool = False,
) -> ScoreModel | ConditionalModel:
    """Train a small perceptron on data, and where there are conditions on data under them and without, in turn.

    Parameters
    ----------
    x : Tensor or array
        (n, d), at least 16 points.
    y : Tensor or array, optional
        (n,) integers 0 … K − 1 are labels, anything else numbers (n,) or (n, d_y).
    process : LinearProcess, optional
        ``VP()``.
    width, depth : int
        Of the network: units, and residual blocks.
    steps, batch_size, learning_rate
        Of Adam, whose rate falls to zero as a cosine; gradients are clipped, and the weights that are returned are a
        moving average.
    null_share : float
        How often the condition is replaced by none, in (0, 1).
    validation : float
        Share of the points that is held out, in (0, 1).
    t_eps : float
        The first time.
    seed : int
        Of weights, batches, levels and noise.
    progress : bool

    Returns
    -------
    ConditionalModel, or ScoreModel without `y`
        On the CPU, in float32, for evaluation; ``model.network.history`` is a :class:`FitHistory`, with the rows that
        were held out.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    Each batch takes one noise level from each stratum of λ = ln(m²/v), half of them evenly over [t_eps, t_end] and half
    around the data's own scale; the loss is that of the predicted noise. Cost: about 6 (d + (2 depth + 1) width) width
    operations for each of steps · batch_size points. Meant for some thousand points in up to some ten dimensions; for
    images take a network of your own.

    References
    ----------
    Ho and Salimans, *Classifier-free diffusion guidance*, 2021, Algorithm 1; Karras et al., *Elucidating the design
    space of diffusion-based generative models*, 2022, Eq. 7 (preconditioning).
    """
    check_flags(progress=progress)
    process = VP() if process is None else process
    check_kind("process", process, LinearProcess)
    points = _points(x)
    steps, batch_size = checked_integer("steps", steps, 1, MOST), checked_integer("batch_size", batch_size, 2, MOST)
    width, depth = checked_integer("width", width, 1, 2**15), checked_integer("depth", depth, 1, 2**10)
    null_share = checked_number("null_share", null_share, above=0.0, below=1.0)
    validation = checked_number("validation", validation, above=0.0, below=1.0)
    learning_rate = checked_number("learning_rate", learning_rate, above=0.0, most=1e6)
    t_eps = checked_number("t_eps", t_eps, above=0.0, below=process.t_end)
    seed, _ = checked_seed(seed)
    given, labels, null = _conditions(y, len(points))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points), generator=generator, device="cpu")
    held_out, used = order[: max(1, round(validation * len(points)))], order[max(1, round(validation * len(points))) :]
    scale = None
    if given is not None and not labels:
        scale = given[used].mean(0), given[used].std(0).clamp_min(1e-12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, std = points[used].mean(0), points[used].std(0)
        network = ConditionalMLP(process, mean, std, labels=labels, condition=scale, width=width, depth=depth)
    average = copy.deepcopy(network)
    table = _levels(process, t_eps, float(std.square().mean()))
    batch = _Batches(points.float(), given, null, process, table)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 0.5 * (1.0 + math.cos(math.pi * k / steps)))
    every, rows, sums = max(1, steps // _CHECKS), [], torch.zeros(2, dtype=torch.float64, device="cpu")
    with Bar(total=steps, progress=progress, unit="step", desc="scores") as bar:
        for step in range(1, steps + 1):
            which = used[torch.randint(len(used), (batch_size,), generator=generator, device="cpu")]
            absent = (
                torch.rand(batch_size, generator=generator, device="cpu") < null_share if given is not None else None
            )
            loss = batch.loss(network, which, absent, generator)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimiser.step()
            schedule.step()
            _follow(average, network, min(_EMA, (1.0 + step) / (10.0 + step)))
            sums += torch.tensor([loss.item(), 1.0], dtype=torch.float64, device="cpu")
            if step % every == 0 or step == steps:
                losses = batch.validation(average, held_out[:_CHECKED], seed)
                rows.append((float(step), (sums[0] / sums[1]).item(), *losses))
                sums.zero_()
                bar.set_postfix(validation=f"{losses[0]:.4f}")
            bar.update(1)
    if not all(math.isfinite(value) for row in rows for value in row):
        raise FloatingPointError("fit_scores: the loss became NaN or infinite; a smaller learning_rate may help")
    history = torch.tensor(rows, dtype=torch.float64, device="cpu")
    average.eval().requires_grad_(False)
    average.history = FitHistory(
        step=history[:, 0].long(),
        training=history[:, 1].clone(),
        validation=history[:, 2].clone(),
        validation_null=history[:, 3].clone(),
        held_out=held_out.sort().values,
    )
    shape = (points.shape[1],)
    if given is None:
        return ScoreModel(average, process, "epsilon", shape)
    return ConditionalModel(average, process, "epsilon", null, shape)


class _Batches:
    """Noisy points and the loss of a network on them."""

    def __init__(
        self, x: Tensor, y: Tensor | None, null: Tensor | int | None, process: LinearProcess, levels: Tensor
    ) -> None:
        self.x, self.y, self.null, self.process, self.levels = x, y, null, process, levels

    def loss(self, network: nn.Module, which: Tensor, absent: Tensor | None, generator: torch.Generator) -> Tensor:
        """``E|ε̂ − ε|²/d`` of rows `which`, one noise level from each stratum; `absent` (n,) have no condition."""
        n = len(which)
        share = (
            torch.randperm(n, generator=generator, device="cpu") + torch.rand(n, generator=generator, device="cpu")
        ) / n
        t = self.levels[(share * len(self.levels)).long().clamp_max(len(self.levels) - 1)]
        noise = torch.randn(n, self.x.shape[1], generator=generator, device="cpu")
        m, root = self.process.mean_scale(t)[:, None].float(), self.process.variance(t).sqrt()[:, None].float()
        x = m * self.x[which] + root * noise
        if self.y is None or absent is None:
            out = network(x, t)
        else:
            y = self.y[which].clone()
            y[absent] = torch.as_tensor(self.null, device="cpu").to(y)
            out = network(x, t, y)
        mean: Tensor = (out - noise).square().mean()
        return mean

    def validation(self, network: nn.Module, which: Tensor, seed: int) -> tuple[float, float]:
        """Loss with conditions and without, on the same levels and noise at every call."""
        with torch.no_grad():
            losses = [
                self.loss(
                    network, which, torch.full((len(which),), absent, device="cpu"), torch.Generator().manual_seed(seed)
                ).item()
                for absent in (False, True)
            ]
        return losses[0], losses[1]


def _levels(process: LinearProcess, t_eps: float, variance: float) -> Tensor:
    """Times (_TABLE,) whose λ are quantiles of half an even density, half a logistic one around the data's scale."""
    if not 0.0 < t_eps < process.t_end:
        raise ValueError(f"t_eps: expected a time in (0, {process.t_end}), got {t_eps!r}")
    low, high = process.log_snr(process.t_end), process.log_snr(t_eps)
    grid = torch.linspace(low, high, 8193, dtype=torch.float64, device="cpu")
    bump = torch.sigmoid((grid + math.log(max(variance, 1e-300))) / _SPREAD)
    bump = (bump - bump[0]) / (bump[-1] - bump[0]).clamp_min(1e-12)
    below = 0.5 * (grid - low) / (high - low) + 0.5 * bump
    share = (torch.arange(_TABLE, dtype=torch.float64, device="cpu") + 0.5) / _TABLE
    above = torch.searchsorted(below, share).clamp(1, len(grid) - 1)
    inside = (share - below[above - 1]) / (below[above] - below[above - 1])
    return process.times_at(torch.lerp(grid[above - 1], grid[above], inside))


def _points(x: Tensor | np.ndarray) -> Tensor:
    points = array_of("x", x).detach().to("cpu", torch.float64)
    points = points[:, None] if points.dim() == 1 else points
    if points.dim() != 2 or len(points) < 16 or not points.shape[1]:
        raise ValueError(f"x: expected (n, d) with n at least 16, got {tuple(points.shape)}")
    if not bool(points.isfinite().all()):
        raise ValueError("x: expected finite numbers")
    return points


def _conditions(y: Tensor | np.ndarray | None, n: int) -> tuple[Tensor | None, int, Tensor | int | None]:
    """Conditions as the network takes them, the number of labels, and the null condition."""
    if y is None:
        return None, 0, None
    given = array_of("y", y).detach().to("cpu")
    if given.dim() not in (1, 2) or len(given) != n:
        raise ValueError(f"y: expected ({n},) or ({n}, d_y) to match the points of x, got {tuple(given.shape)}")
    if given.is_floating_point() or given.dim() == 2:
        given = (given[:, None] if given.dim() == 1 else given).float()
        if not bool(given.isfinite().all()):
            raise ValueError("y: expected finite numbers")
        return given, 0, torch.full((given.shape[1],), math.nan, device="cpu")
    if int(given.min()) < 0:
        raise ValueError(f"y: expected labels of at least 0, got {int(given.min())}")
    count = int(given.max()) + 1
    return given.long(), count, count


def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for one, other in zip(average.parameters(), network.parameters(), strict=True):
            one.lerp_(other, 1.0 - keep)
