"""Networks of the diffusers library as scores: which process, which prediction, which time they were trained for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

from thermokern.models.conditional import ConditionalModel
from thermokern.models.score_model import ScoreModel
from thermokern.processes import EDM, VP, DiscreteVP, Flow, LinearProcess

_PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
_TABLES = ("DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler")


@overload
def from_diffusers(
    unet: nn.Module, scheduler: Any, *, clip_sample: bool | None = None, condition: None = None, **conditions: Any
) -> ScoreModel: ...


@overload
def from_diffusers(
    unet: nn.Module,
    scheduler: Any,
    *,
    clip_sample: bool | None = None,
    condition: str,
    null: Any = None,
    **conditions: Any,
) -> ConditionalModel: ...


def from_diffusers(
    unet: nn.Module,
    scheduler: Any,
    *,
    clip_sample: bool | None = None,
    condition: str | None = None,
    null: Any = None,
    **conditions: Any,
) -> ScoreModel | ConditionalModel:
    """A network of the diffusers library, with the scheduler it was trained or is sampled with, as a score.

    - ``DDPMScheduler``, ``DDIMScheduler``: the scheduler's own table of ᾱ; the network gets the step ``k = t − 1``.
      Predictions ``epsilon``, ``sample`` and ``v_prediction``.
    - ``ScoreSdeVpScheduler``: VP of its β; the network predicts noise and gets t itself.
    - ``ScoreSdeVeScheduler``: variance t², time the noise level; the network predicts the score.
    - ``EDMEulerScheduler``: EDM's process; its preconditioning, with noise levels, is applied.
    - ``FlowMatchEulerDiscreteScheduler``: rectified flow; the network gets ``t · num_train_timesteps``.

    Parameters
    ----------
    unet : module
        ``UNet2DModel``, ``UNet2DConditionModel`` or another that is called ``unet(x, timesteps, …).sample``. In half
        precision, its scores still are float32.
    scheduler : SchedulerMixin
        An instance; its configuration is read, its state of sampling is not.
    clip_sample : bool, optional
        Whether the predicted data are clipped to the scheduler's ``clip_sample_range``, as its ``step`` does; its
        configuration says when left out. A clipped score is what the sampler uses, not what the network was trained
        for, and is not differentiable where it is clipped.
    condition : str, optional
        The name of an argument of the network that is to differ from sample to sample: ``class_labels``,
        ``encoder_hidden_states`` and such. The result then is a :class:`ConditionalModel`, whose y is that argument.
    null : number or Tensor, optional
        The value of it that stands for no condition, of one sample: a label, or the embedding of the empty text.
    conditions
        Passed to the network: ``class_labels`` (a number or (1,)), ``encoder_hidden_states`` (1, …) and such; one
        condition for all samples.

    Returns
    -------
    ScoreModel, or ConditionalModel with `condition`
        With the shape of a sample where the network's configuration has it. A learned variance (twice the channels) is
        cut off: it is no part of the score.

    Raises
    ------
    ValueError
        For schedulers and settings that are not those above, with the reason and what to do.

    References
    ----------
    Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020; Song et al., *Score-based generative modeling
    through stochastic differential equations*, 2021; Karras et al., *Elucidating the design space of diffusion-based
    generative models*, 2022, Eq. 7; Lipman et al., *Flow matching for generative modeling*, 2023.
    """
    if not isinstance(unet, nn.Module):
        raise TypeError(f"unet: expected a module, got {type(unet).__name__}")
    kind = type(scheduler).__name__
    config = getattr(scheduler, "config", None)
    if config is None:
        raise TypeError(f"scheduler: expected a scheduler of diffusers, got {kind}")
    settings = dict(config)
    if settings.get("thresholding"):
        raise ValueError("scheduler: dynamic thresholding makes a sample depend on the whole of it, which is no score")
    clip = settings.get("clip_sample", False) if clip_sample is None else clip_sample
    limit = float(settings.get("clip_sample_range", 1.0)) if clip else None
    fixed = {name: _one(name, value) for name, value in conditions.items()}

    def adapted(own: dict[str, Tensor]) -> tuple[LinearProcess, str, Callable[[Tensor, Tensor], Tensor]]:
        process, predicts, network = _adapted(kind, scheduler, settings, _Call(unet, {**fixed, **own}))
        if limit is not None:
            network, predicts = _Clipped(ScoreModel(network, process, predicts), limit), "x0"
        return process, predicts, network

    process, predicts, network = adapted({})
    if condition is None:
        if null is not None:
            raise ValueError("null: expected it beside condition, the name of the argument that it is a value of")
        return ScoreModel(_Network(unet, network), process, predicts, _sample_shape(unet))
    if condition in fixed:
        raise ValueError(f"condition: {condition} is given for all samples already")
    by_condition = _Network(unet, lambda x, t, y: adapted({condition: y})[2](x, t))
    return ConditionalModel(by_condition, process, predicts, null, _sample_shape(unet))


def _adapted(
    kind: str, scheduler: Any, settings: dict[str, Any], call: _Call
) -> tuple[LinearProcess, str, Callable[[Tensor, Tensor], Tensor]]:
    """Process, prediction and network in process time."""
    prediction = settings.get("prediction_type", "epsilon")
    if kind in _TABLES:
        if prediction not in _PREDICTIONS:
            raise ValueError(f"scheduler: expected prediction_type in {tuple(_PREDICTIONS)}, got {prediction!r}")
        try:
            table = DiscreteVP(scheduler.alphas_cumprod)
        except ValueError as error:
            raise ValueError(f"scheduler: its table of ᾱ serves no score (zero terminal SNR?): {error}") from None
        return table, _PREDICTIONS[prediction], lambda x, t: call(x, t - 1.0)
    if kind == "ScoreSdeVpScheduler":
        return VP(settings["beta_min"], settings["beta_max"]), "epsilon", call
    if kind == "ScoreSdeVeScheduler":
        return EDM(settings["sigma_max"]), "score", call
    if kind == "EDMEulerScheduler":
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"scheduler: expected prediction_type 'epsilon' or 'v_prediction', got {prediction!r}")
        return EDM(settings["sigma_max"]), "x0", _Preconditioned(call, settings["sigma_data"], prediction)
    if kind == "FlowMatchEulerDiscreteScheduler":
        steps = float(settings["num_train_timesteps"])
        if settings.get("invert_sigmas"):
            raise ValueError("scheduler: invert_sigmas turns its time round; expected the default")
        return Flow(), "flow", lambda x, t: call(x, t * steps)
    raise ValueError(
        f"scheduler: {kind} is not one of {', '.join(_TABLES)}, ScoreSdeVpScheduler, ScoreSdeVeScheduler, "
        "EDMEulerScheduler, FlowMatchEulerDiscreteScheduler; those that share DDPM's training convert: "
        "DDIMScheduler.from_config(scheduler.config)"
    )


class _Call:
    """The network as a function of x and its own time alone, in the library's way of calling."""

    def __init__(self, unet: nn.Module, conditions: dict[str, Tensor]) -> None:
        self.unet, self.conditions = unet, conditions
        config = dict(getattr(unet, "config", {}))
        self.learned_times = config.get("time_embedding_type") == "learned"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if self.learned_times:
            whole = t.round()
            if bool(((t - whole).abs() > 1e-3).any()):
                raise ValueError("unet: it has an embedding for whole times alone; use a grid of whole steps")
            t = whole.long()
        n, home = len(x), x
        if (like := next((p for p in self.unet.parameters() if p.is_floating_point()), None)) is not None:
            # Times stay as precise as they are: the library rounds after embedding.
            x, t = x.to(like), t.to(like.device)
        given = {name: value.to(x.device).expand(n, *value.shape[1:]) for name, value in self.conditions.items()}
        given = {name: value.to(x.dtype) if value.is_floating_point() else value for name, value in given.items()}
        out = self.unet(x, t, **given)
        sample: Tensor = out.sample if hasattr(out, "sample") else out[0] if isinstance(out, tuple) else out
        channels = x.shape[1]
        return (sample[:, :channels] if sample.shape[1] == 2 * channels else sample).to(home)


def _one(name: str, value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    tensor = tensor[None] if tensor.dim() == 0 else tensor
    if tensor.shape[0] != 1:
        raise ValueError(f"{name}: expected one condition for all samples, (1, …), got {tuple(tensor.shape)}")
    return tensor


class _Preconditioned:
    """EDM's denoiser ``c_skip x + c_out F(c_in x, ¼ ln σ)``; with v-prediction ``c_out`` has the other sign."""

    def __init__(self, call: _Call, sigma_data: float, prediction: str) -> None:
        self.call, self.sigma_data = call, float(sigma_data)
        self.sign = 1.0 if prediction == "epsilon" else -1.0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        sigma = t.view(-1, *(1,) * (x.dim() - 1))
        square = sigma.square() + self.sigma_data**2
        out = self.call(x / square.sqrt(), 0.25 * t.log())
        return self.sigma_data**2 / square * x + self.sign * sigma * self.sigma_data / square.sqrt() * out


class _Clipped:
    """The data that a model predicts, clipped."""

    def __init__(self, model: ScoreModel, limit: float) -> None:
        self.model, self.limit = model, limit

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        time, shape = t.double(), (-1, *(1,) * (x.dim() - 1))
        m, v = (
            values.to(t).view(shape)
            for values in (self.model.process.mean_scale(time), self.model.process.variance(time))
        )
        return ((x + v * self.model.at(x, time)) / m).clamp(-self.limit, self.limit)


class _Network(nn.Module):
    """The adapted function, with the library's network below it, so that its parameters are found."""

    casts_itself = True

    def __init__(self, unet: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.unet = unet
        self._function = (function,)  # not a submodule twice

    def forward(self, *given: Tensor) -> Tensor:
        return self._function[0](*given)


def _sample_shape(unet: nn.Module) -> tuple[int, ...] | None:
    config = dict(getattr(unet, "config", {}))
    size, channels = config.get("sample_size"), config.get("in_channels")
    if size is None or channels is None:
        return None
    return (channels, size, size) if isinstance(size, int) else (channels, *size)
