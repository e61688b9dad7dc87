"""Networks of the diffusers library as scores: which process, which prediction, which time they were trained for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from thermokern.models.conditional import ConditionalModel
from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import check_flags, check_labels, described
from thermokern.processes import EDM, VP, DiscreteVP, Flow, LinearProcess

_PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
_TIMES = ("timestep", "timesteps", "t", "time", "sigma", "noise_labels")  # what networks call their time
_OWN_TIMES = ("Flux", "AuraFlow", "Lumina", "HunyuanVideo")  # families whose pipelines rescale the scheduler's times
_TABLES = ("DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler")


@overload
def from_diffusers(
    unet: Any, scheduler: Any = None, *, clip_sample: bool | None = None, condition: None = None, **conditions: Any
) -> ScoreModel: ...


@overload
def from_diffusers(
    unet: Any,
    scheduler: Any = None,
    *,
    clip_sample: bool | None = None,
    condition: str,
    null: Any = None,
    **conditions: Any,
) -> ConditionalModel: ...


def from_diffusers(
    unet: Any,
    scheduler: Any = None,
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
    unet : module, pipeline or path
        ``UNet2DModel``, ``UNet2DConditionModel``, a transformer such as ``SD3Transformer2DModel``, ``DiT`` or
        ``PixArtTransformer2DModel``, or another network that is called with x, its time and conditions by keyword and
        returns ``.sample``. In half precision, its scores still are float32. A pipeline has both network and scheduler;
        so has its folder, as ``save_pretrained`` wrote it, of which these two are read, from safetensors alone. The
        score is that of what the network sees: of latents, where a pipeline encodes images.
    scheduler : SchedulerMixin, optional
        An instance; its configuration is read, its state of sampling is not. With a pipeline or its folder: in the
        place of its own.
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
        Passed to the network by keyword: ``class_labels`` (a number or (1,)), ``encoder_hidden_states`` (1, …),
        ``added_cond_kwargs`` (a dictionary of such) and so on; one condition for all samples.

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
    check_flags(clip_sample=False if clip_sample is None else clip_sample)
    unet, scheduler = _parts(unet, scheduler)
    kind = type(scheduler).__name__
    config = getattr(scheduler, "config", None)
    if config is None:
        raise TypeError(f"scheduler: expected a scheduler of diffusers, got {kind}")
    settings = dict(config)
    if settings.get("thresholding"):
        raise ValueError(
            "scheduler: dynamic thresholding is not supported, since its bound changes with each sample; expected False"
        )
    clip = settings.get("clip_sample", False) if clip_sample is None else clip_sample
    limit = float(settings.get("clip_sample_range", 1.0)) if clip else None
    process, predicts, network = _adapted(kind, scheduler, settings, unet, conditions)
    if limit is not None:
        network, predicts = _Clipped(network, process, predicts, limit), "x0"
    origin: dict[str, object] = {"network": type(unet).__name__, "scheduler": kind, "clip_sample": limit}
    if condition is None:
        if null is not None:
            raise ValueError("null: pass condition= too, the name of the network's argument that null is a value of")
        return ScoreModel(network, process, predicts, _sample_shape(unet), origin)
    if not isinstance(condition, str):
        raise TypeError(f"condition: expected the name of an argument of the network, got {described(condition)}")
    if condition in conditions:
        raise ValueError(f"condition: {condition} is given for all samples already")
    _check_names(unet, (condition,))
    return ConditionalModel(_ByCondition(network, condition), process, predicts, null, _sample_shape(unet), origin)


def _parts(unet: Any, scheduler: Any) -> tuple[nn.Module, Any]:
    """The network and the scheduler that were given, in a pipeline or in a folder too."""
    if isinstance(unet, str | Path):
        folder = Path(unet)
        index = folder / "model_index.json"
        if not index.is_file():
            raise ValueError(f"unet: expected the folder of a pipeline, as save_pretrained writes it, got {folder}")
        import diffusers

        classes = {name: about[1] for name, about in json.loads(index.read_text()).items() if isinstance(about, list)}
        name = next((name for name in ("unet", "transformer") if classes.get(name)), None)
        if name is None:
            raise ValueError(f"unet: the pipeline in {folder} has neither a unet nor a transformer")
        try:  # pickles are refused, since reading one can run code
            network = getattr(diffusers, classes[name]).from_pretrained(folder / name, use_safetensors=True)
        except (OSError, AttributeError) as error:
            raise ValueError(f"unet: {folder / name} is no network of diffusers in safetensors: {error}") from None
        if scheduler is None:
            scheduler = getattr(diffusers, classes["scheduler"]).from_pretrained(folder / "scheduler")
        return network.eval().requires_grad_(False), scheduler
    if not isinstance(unet, nn.Module) and hasattr(unet, "scheduler"):
        scheduler = unet.scheduler if scheduler is None else scheduler
        unet = getattr(unet, "unet", None) or getattr(unet, "transformer", None)
    if not isinstance(unet, nn.Module):
        raise TypeError(f"unet: expected a module, a pipeline or its folder, got {type(unet).__name__}")
    if scheduler is None:
        raise TypeError("scheduler: a network without its pipeline needs the scheduler that it was trained with")
    return unet, scheduler


def _adapted(
    kind: str, scheduler: Any, settings: dict[str, Any], unet: nn.Module, conditions: dict[str, Any]
) -> tuple[LinearProcess, str, nn.Module]:
    """Process, prediction and network in process time."""
    call = partial(_Network, unet, conditions)
    prediction = settings.get("prediction_type", "epsilon")
    if kind in _TABLES:
        if prediction not in _PREDICTIONS:
            raise ValueError(f"scheduler: expected prediction_type in {tuple(_PREDICTIONS)}, got {prediction!r}")
        try:
            table = DiscreteVP(scheduler.alphas_cumprod)
        except ValueError as error:
            raise ValueError(f"scheduler: its table of ᾱ serves no score (zero terminal SNR?): {error}") from None
        return table, _PREDICTIONS[prediction], call(shift=-1.0)
    if kind == "ScoreSdeVpScheduler":
        return VP(settings["beta_min"], settings["beta_max"]), "epsilon", call()
    if kind == "ScoreSdeVeScheduler":
        return EDM(settings["sigma_max"]), "score", call()
    if kind == "EDMEulerScheduler":
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"scheduler: expected prediction_type 'epsilon' or 'v_prediction', got {prediction!r}")
        return EDM(settings["sigma_max"]), "x0", _Preconditioned(call(), settings["sigma_data"], prediction)
    if kind == "FlowMatchEulerDiscreteScheduler":
        steps = float(settings["num_train_timesteps"])
        if settings.get("invert_sigmas"):
            raise ValueError("scheduler: invert_sigmas=True reverses time, which is not supported; use the default")
        if type(unet).__name__.startswith(_OWN_TIMES):
            raise ValueError(f"unet: {type(unet).__name__} takes other times than its scheduler's; use a ScoreModel")
        return Flow(), "flow", call(scale=steps)
    raise ValueError(
        f"scheduler: {kind} is not one of {', '.join(_TABLES)}, ScoreSdeVpScheduler, ScoreSdeVeScheduler, "
        "EDMEulerScheduler, FlowMatchEulerDiscreteScheduler; those that share DDPM's training convert: "
        "DDIMScheduler.from_config(scheduler.config)"
    )


class _Network(nn.Module):
    """The library's network as a function of x and process time, called in the library's way.

    Conditions of each sample, (n, …), may be given by keyword beside those for all samples.
    """

    casts_itself = True

    def __init__(self, unet: nn.Module, conditions: dict[str, Any], scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.unet = unet
        self.conditions = {name: _condition(name, value) for name, value in conditions.items()}
        self.scale, self.shift = scale, shift
        self.learned_times = dict(getattr(unet, "config", {})).get("time_embedding_type") == "learned"
        self.time_name = next((name for name in _TIMES if name in _check_names(unet, conditions)), None)

    def forward(self, x: Tensor, t: Tensor, **own: Tensor) -> Tensor:
        t = t * self.scale + self.shift
        if self.learned_times:
            whole = t.round()
            if bool(((t - whole).abs() > 1e-3).any()):
                raise ValueError("unet: its time embedding takes whole times only; use a grid of whole steps")
            t = whole.long()
        home = x
        if (like := next((p for p in self.unet.parameters() if p.is_floating_point()), None)) is not None:
            # Times stay as precise as they are: the library rounds after embedding.
            x, t = x.to(like), t.to(like.device)
        given = {name: _for_all(value, x) for name, value in {**self.conditions, **own}.items()}
        out = self.unet(x, t, **given) if self.time_name is None else self.unet(x, **{self.time_name: t}, **given)
        sample: Tensor = out.sample if hasattr(out, "sample") else out[0] if isinstance(out, tuple) else out
        channels = x.shape[1]
        sample = sample[:, :channels] if sample.shape[1] == 2 * channels else sample
        return sample.to(home)


class _ByCondition(nn.Module):
    """A network of x, t and a condition of each sample, which goes to the argument `name` of the library's."""

    casts_itself = True

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.network(x, t, **{self.name: y})
        return out

    def check_conditions(self, y: Tensor) -> None:
        """Raise a ValueError where labels (n,) are not in the network's table of them."""
        tables = [getattr(module, "class_embedding", None) for module in self.network.modules()]
        count = next((table.num_embeddings for table in tables if isinstance(table, nn.Embedding)), None)
        if self.name == "class_labels" and count is not None:
            check_labels("y", y, count)


def _check_names(unet: nn.Module, conditions: Iterable[str]) -> Mapping[str, inspect.Parameter]:
    """What a network's forward takes, once it is known to take these conditions."""
    known = inspect.signature(getattr(unet, "_orig_mod", unet).forward).parameters
    for name in conditions:
        if name not in known and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
            raise TypeError(f"{name}: {type(unet).__name__} takes no such condition, but {', '.join(known)}")
    return known


def _condition(name: str, value: Any) -> Any:
    """A condition with its numbers as tensors (1, …); dictionaries and lists of such, too."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {key: _condition(f"{name}[{key!r}]", each) for key, each in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        return [_condition(f"{name}[{i}]", each) for i, each in enumerate(value)]
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected numbers, got {type(value).__name__}") from None
    tensor = tensor[None] if tensor.dim() == 0 else tensor
    if tensor.shape[0] != 1:
        raise ValueError(f"{name}: expected one condition for all samples, (1, …), got {tuple(tensor.shape)}")
    return tensor


def _for_all(value: Any, x: Tensor) -> Any:
    """A condition beside each of the samples `x`, where they are and in their precision."""
    if isinstance(value, dict):
        return {key: _for_all(each, x) for key, each in value.items()}
    if isinstance(value, list):
        return [_for_all(each, x) for each in value]
    if not isinstance(value, Tensor):
        return value
    return value.to(x.device, x.dtype if value.is_floating_point() else value.dtype).expand(len(x), *value.shape[1:])


class _Preconditioned(nn.Module):
    """EDM's denoiser ``c_skip x + c_out F(c_in x, ¼ ln σ)``; with v-prediction ``c_out`` has the other sign."""

    casts_itself = True

    def __init__(self, network: nn.Module, sigma_data: float, prediction: str) -> None:
        super().__init__()
        self.network, self.sigma_data = network, float(sigma_data)
        self.sign = 1.0 if prediction == "epsilon" else -1.0

    def forward(self, x: Tensor, t: Tensor, **own: Tensor) -> Tensor:
        sigma = t.view(-1, *(1,) * (x.dim() - 1))
        square = sigma.square() + self.sigma_data**2
        out = self.network(x / square.sqrt(), 0.25 * t.log(), **own)
        denoised: Tensor = self.sigma_data**2 / square * x + self.sign * sigma * self.sigma_data / square.sqrt() * out
        return denoised


class _Clipped(nn.Module):
    """The data that a model predicts, clipped."""

    casts_itself = True

    def __init__(self, network: nn.Module, process: LinearProcess, predicts: str, limit: float) -> None:
        super().__init__()
        self.network, self.process, self.predicts, self.limit = network, process, predicts, limit

    def forward(self, x: Tensor, t: Tensor, **own: Tensor) -> Tensor:
        time, shape = t.double(), (-1, *(1,) * (x.dim() - 1))
        m, v = (values.to(t).view(shape) for values in (self.process.mean_scale(time), self.process.variance(time)))
        score = ScoreModel(partial(self.network, **own), self.process, self.predicts).at(x, time)
        return ((x + v * score) / m).clamp(-self.limit, self.limit)


def _sample_shape(unet: nn.Module) -> tuple[int, ...] | None:
    config = dict(getattr(unet, "config", {}))
    size, channels = config.get("sample_size"), config.get("in_channels")
    if size is None or channels is None:
        return None
    return (channels, size, size) if isinstance(size, int) else (channels, *size)
