"""Any network as a score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from thermokern.ops.checks import checked_choice, checked_number, checked_shape, described
from thermokern.processes import LinearProcess
from thermokern.targets import Distribution

PREDICTIONS = ("score", "epsilon", "x0", "v", "entropy", "flow", "control")
# What PyTorch says of a product of numbers in two precisions.
_DTYPES_DIFFER = ("same dtype", "expected scalar type", "Input type", "dtype mismatch", "do not match", "but got ")
_LOG_SNR_SLACK = 1e-3  # what rounding a last time to float32 may cost


class ScoreModel(nn.Module):
    """A network ``network(x, t)`` read as a score: ``s = output_scale(t) · network(x, t) + skip(t) · x``.

    A module itself, whose one child is the network: it moves with ``.to``, has its ``state_dict``, follows ``train``
    and ``eval``, and an average of weights, ``torch.optim.swa_utils.AveragedModel(model)``, holds another in
    ``.module``. Two are equal that have the same network, process, prediction and shape.

    With ``x = m x_0 + √v ε`` and ``dx = f x dt + g dw``, what the network predicts and the score that follows:

    - ``score``: the score itself
    - ``epsilon``: the noise ε, ``s = −out/√v``
    - ``x0``: the data x_0 (a denoiser), ``s = (m out − x)/v``
    - ``v``: ``m ε − √v x_0``, ``s = −(√v x + m out)/(√v (m² + v))``
    - ``entropy``: the score without that of the law which drift and noise leave alone, ``s = out + 2 f x/g²``
    - ``flow``: the velocity of the probability-flow equation, ``u = f x − ½ g² s``, which is ``m' x_0 + (√v)' ε`` on
      average; ``s = 2 (f x − out)/g²``, for a rectified flow ``−(x + (1 − t) out)/t``
    - ``control``: ``g s``, what drives the reverse process per unit of its noise, ``s = out/g``

    Parameters
    ----------
    network : module or callable
        Receives x (n, …) and t (n,), of x's dtype, in process time; returns a tensor of x's shape. A module receives
        both on its own device and in the dtype of its parameters, but t in float32 where that is float16 or bfloat16;
        what it returns becomes a score in the dtype and on the device of the points.
    process : LinearProcess
        The process that the network was trained for.
    predicts : {"score", "epsilon", "x0", "v", "entropy", "flow", "control"}
    shape : tuple of int, optional
        Of one sample, where it is known: what :func:`thermokern.sample` draws without being told. A network that has
        an attribute `sample_shape`, as :class:`ScoreMLP` has, need not be told.
    origin : dict, optional
        What else results say of the model in their settings, as :func:`thermokern.from_diffusers` does.

    References
    ----------
    Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, Eq. 13 (flow) and
    App. B (epsilon); Salimans and Ho, *Progressive distillation for fast sampling of diffusion models*, 2022, App. D
    (x0, v); Premkumar, *Neural entropy*, arXiv 2409.03817 (entropy); Lipman et al., *Flow matching for generative
    modeling*, 2023, Eq. 10–15 (flow); Huang, Lim and Courville, *A variational perspective on diffusion-based
    generative models and score matching*, 2021 (control).
    """

    network: nn.Module | Callable[[Tensor, Tensor], Tensor]

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor, Tensor], Tensor],
        process: LinearProcess,
        predicts: str = "score",
        shape: tuple[int, ...] | None = None,
        origin: dict[str, object] | None = None,
    ) -> None:
        super().__init__()
        check_model(network, process, predicts, "(x, t) -> tensor")
        self.network, self.process, self.predicts = network, process, predicts
        known = getattr(network, "sample_shape", None) if shape is None else shape
        self.shape: tuple[int, ...] | None = checked_shape(known)
        self.origin: dict[str, object] = {} if origin is None else origin
        self.training = getattr(network, "training", False)
        self._coarse = False  # whether the function turned out to take float32 alone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreModel) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        return (self.network, self.process, self.predicts, self.shape)

    def __repr__(self) -> str:
        return described_model(self, self.predicts, self.shape)

    def output_scale(self, t: Tensor) -> Tensor:
        """Factor of the network's output at times `t`, same shape."""
        process = self.process
        match self.predicts:
            case "epsilon":
                return -1.0 / process.variance(t).sqrt()
            case "x0":
                return process.mean_scale(t) / process.variance(t)
            case "v":
                m, v = process.mean_scale(t), process.variance(t)
                return -m / (v.sqrt() * (m.square() + v))
            case "flow":
                return -2.0 / process.g2(t)
            case "control":
                return process.g2(t).rsqrt()
        return torch.ones_like(t)

    def skip(self, t: Tensor) -> Tensor:
        """Factor of ``x`` at times `t`, same shape."""
        process = self.process
        match self.predicts:
            case "x0":
                return -1.0 / process.variance(t)
            case "v":
                return -1.0 / (process.mean_scale(t).square() + process.variance(t))
            case "entropy" | "flow":
                return 2.0 * process.f(t) / process.g2(t)
        return torch.zeros_like(t)

    def under(self, process: LinearProcess) -> ScoreModel:
        """The same network as a score under another process, such as a flow's under VP.

        All linear processes pass through the same laws, up to a change of scale and of time. With ``t*`` where the
        network's own process has the signal-to-noise ratio that `process` has at t, and ``c = m_own(t*)/m(t)``, the
        score is ``s(x, t) = c s_own(c x, t*)``.

        Parameters
        ----------
        process : LinearProcess
            Its signal-to-noise ratios must not fall below the least of the network's own process; where they do, the
            call is an error.

        Returns
        -------
        ScoreModel
            It predicts the score under `process`, in PyTorch alone: the fused kernels do not take it.
        """
        return ScoreModel(_Moved(self, process), process, shape=self.shape, origin=self.origin)

    @property
    def one_time(self) -> bool:
        """Whether the network takes one time for all points, as that of :meth:`under` does."""
        return isinstance(self.network, _Moved)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Score at one time for all points, or (n,) at a time of its own for each; (n, …) as `x`."""
        if not isinstance(x, Tensor) or not x.dim() or not x.is_floating_point() or x.device.type == "meta":
            raise TypeError(f"x: expected a tensor of points (n, …), got {described(x)}")
        check_shape("x", self.network, x)
        if isinstance(t, Tensor) and t.dim():
            if t.shape != x.shape[:1]:
                raise ValueError(f"t: expected a number or ({len(x)},) to match the points of x, got {tuple(t.shape)}")
            return self.at(x, t.to("cpu", torch.float64))
        t = checked_number("t", t, least=0.0, most=self.process.t_end)
        time = torch.tensor(t, dtype=torch.float64, device="cpu")
        out = self._output(x, torch.full((x.shape[0],), t, dtype=x.dtype, device=x.device))
        return self.output_scale(time).item() * out + self.skip(time).item() * x

    def at(self, x: Tensor, t: Tensor) -> Tensor:
        """Score of each point at a time of its own, (n, …) as `x`; `t` (n,) float64."""
        shape = (-1,) + (1,) * (x.dim() - 1)
        scale, skip = (factor.to(x).view(shape) for factor in (self.output_scale(t), self.skip(t)))
        return scale * self._output(x, t.to(x)) + skip * x

    def raw(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network predicts, (n, …) in x's dtype and on x's device, at times `t` (n,) of the points.

        Wherever and in whatever precision the network runs.
        """
        return self._output(x, t.to(x))

    def _output(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's output in x's dtype and on x's device, wherever and in whatever precision the network runs."""
        given = x
        if (like := _first_parameter(self.network)) is not None:
            given = x.to(like)
            t = t.to(like.device, torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype)
        elif self._coarse:
            given, t = x.float(), t.float()
        try:
            out = self.network(given, t)
        except RuntimeError as error:
            if given.dtype != torch.float64 or not any(words in str(error) for words in _DTYPES_DIFFER):
                raise
            given = x.float()  # a function around a network in float32
            out = self.network(given, t.float())
            self._coarse = True
        return checked_output("network", out, given).to(x)


def check_model(network: object, process: object, predicts: str, call: str) -> None:
    """Raise unless these are what a model is made of."""
    if not callable(network):
        raise TypeError(f"network: expected a callable {call}, got {type(network).__name__}")
    if not isinstance(process, LinearProcess):
        raise TypeError(f"process: expected a process such as VP(), got {type(process).__name__}")
    checked_choice("predicts", predicts, PREDICTIONS)


def described_model(model: nn.Module, predicts: str, shape: tuple[int, ...] | None) -> str:
    """A model in one line."""
    network, count = model.network, sum(each.numel() for each in model.parameters())
    name = getattr(network, "__name__", type(network).__name__)
    size = f", {count:,} parameters" if count else ""
    return f"{type(model).__name__}({name}{size}, {model.process}, {predicts!r}{f', {shape}' if shape else ''})"


def check_shape(name: str, network: object, x: Tensor) -> None:
    """Raise where a network knows the shape of a point, and those of x are others."""
    known = getattr(network, "sample_shape", None)
    if known is not None and tuple(x.shape[1:]) != tuple(known):
        raise ValueError(f"{name}: expected points (n, {', '.join(map(str, known))}), got {tuple(x.shape)}")


def checked_output(name: str, out: object, x: Tensor) -> Tensor:
    """`out`, once it is known to have the shape and the dtype of `x`, of which it is a function."""
    if not isinstance(out, Tensor) or out.shape != x.shape:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"{name}: expected an output of the shape of x, {tuple(x.shape)}, got {got}")
    if out.dtype != x.dtype:
        cast = torch.is_autocast_enabled(x.device.type)
        remedy = "; torch.autocast is on: call it outside, or let the network return the dtype of x" if cast else ""
        raise ValueError(f"{name}: expected an output of the dtype of x, {x.dtype}, got {out.dtype}{remedy}")
    return out


ScoreLike = Distribution | ScoreModel | Callable[[Tensor, float], Tensor]


def one_process(process: LinearProcess | None, **scores: ScoreLike) -> LinearProcess:
    """The process that is given or that the models carry, once it is known to be one and the same.

    Raises a TypeError that names whichever of `scores` is none.
    """
    found = [] if process is None else [process]
    for name, score in scores.items():
        if not callable(score) and not isinstance(score, Distribution):
            points = isinstance(score, Tensor | np.ndarray)
            remedy = "; points become a law by GaussianMixture(points, std=…) or Empirical(points)" if points else ""
            raise TypeError(
                f"{name}: expected a distribution, a ScoreModel or a callable (x, t) -> score, "
                f"got {type(score).__name__}{remedy}"
            )
        found += [score.process] if isinstance(score, ScoreModel) else []
    if not found:
        inside = [name for name, score in scores.items() if isinstance(getattr(score, "module", None), ScoreModel)]
        remedy = f"pass {inside[0]}.module, which is a ScoreModel" if inside else "pass one, such as VP()"
        raise ValueError(f"process: none of the models has one; {remedy}")
    for other in found:
        if not isinstance(other, LinearProcess):
            raise TypeError(f"process: expected a process such as VP(), got {type(other).__name__}")
        if other != found[0]:
            raise ValueError(f"process: {found[0]} and {other} differ")
    return found[0]


class _Moved(nn.Module):
    """The score of `own` under another process, see :meth:`ScoreModel.under`."""

    casts_itself = True

    def __init__(self, own: ScoreModel, process: LinearProcess) -> None:
        super().__init__()
        self.own, self.process = own, process

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if not len(t):
            return torch.zeros_like(x)
        if bool((t != t[0]).any()):  # one time after the other
            rows = [(t == time).nonzero()[:, 0] for time in torch.unique(t)]
            parts = torch.cat([self(x[where], t[where]) for where in rows])
            return parts[torch.cat(rows).argsort()]
        time, own = t[0].item(), self.own.process
        log_snr, least = self.process.log_snr(time), own.log_snr(own.t_end)
        if log_snr < least - _LOG_SNR_SLACK:
            raise ValueError(
                f"process: expected log signal-to-noise ratios of at least {least:.3g}, where the network's own {own} "
                f"ends, got {log_snr:.3g} for {self.process} at t = {time:g}"
            )
        own_time = own.time_at(log_snr)
        scale = own.mean_scale(own_time) / self.process.mean_scale(time)
        out: Tensor = scale * self.own(scale * x, own_time)
        return out


def _first_parameter(network: nn.Module | Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    """A floating-point parameter of a module, which tells its dtype and device; None where it minds them itself."""
    if not isinstance(network, nn.Module) or getattr(network, "casts_itself", False):
        return None
    return next((parameter for parameter in network.parameters() if parameter.is_floating_point()), None)
