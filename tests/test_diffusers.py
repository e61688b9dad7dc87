"""Networks of the diffusers library: scores against the library's own schedulers, not against formulas retyped here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers_cases import unet
from test_trial import assert_copies_are_copies
from tolerances import assert_exact, rms
from torch import Tensor

import thermokern as tk

diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")

TOLERANCE = 1e-5  # relative, of scores; the library works in float32


@pytest.fixture
def network(tmp_path: Path) -> torch.nn.Module:
    """Saved and loaded as a checkpoint is."""
    unet().save_pretrained(tmp_path)
    return diffusers.UNet2DModel.from_pretrained(tmp_path).eval().requires_grad_(False)


def images(n: int = 3, channels: int = 1, key: int = 0) -> Tensor:
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(key))


def close(score: Tensor, expected: Tensor) -> None:
    assert score.shape == expected.shape
    assert rms(score - expected) < TOLERANCE * rms(expected)


def ddpm_score(scheduler: Any, out: Tensor, k: int, x: Tensor) -> Tensor:
    """From the mean that `step` makes: x_{k−1} = c_0 x̂_0 + c_x x, both coefficients read off `step` itself."""
    previous = scheduler.step(out, k, x, generator=torch.Generator().manual_seed(1))
    data = previous.pred_original_sample
    alpha_bar = scheduler.alphas_cumprod[k]
    return (alpha_bar.sqrt() * data - x) / (1.0 - alpha_bar)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_tables_agree_with_the_schedulers_step(
    network: torch.nn.Module, kind: str, prediction: str, clip: bool
) -> None:
    """The sample that `step` returns, not its parts: DDPM's posterior mean, DDIM's next point, from our score."""
    scheduler = getattr(diffusers, kind)(
        prediction_type=prediction, clip_sample=clip, beta_schedule="squaredcos_cap_v2"
    )
    model = tk.from_diffusers(network, scheduler)
    assert model.shape == (1, 8, 8)
    scheduler.set_timesteps(1000)
    for k in (40, 500, 930):
        x = images(key=k)
        out = network(x, k).sample
        score = model(x, k + 1.0)
        close(score, ddpm_score(scheduler, out, k, x))
        chain_times = torch.tensor([k, k + 1.0], dtype=torch.float64)
        if kind == "DDIMScheduler":
            process = model.process
            m, root = process.mean_scale(chain_times), process.variance(chain_times).sqrt()
            noise = -root[1] * score
            ours = m[0] * (x - root[1] * noise) / m[1] + root[0] * noise
            step = scheduler.step(out, k, x, eta=0.0, use_clipped_model_output=clip).prev_sample
        else:
            chain = tk.processes.CHAINS["ddpm"](model.process, chain_times)
            ours = chain.position * x + chain.score * score
            steps = [scheduler.step(out, k, x, generator=torch.Generator().manual_seed(s)).prev_sample for s in (1,)]
            drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
            ours, step = ours + chain.variance.sqrt() * drawn, steps[0]
        assert rms(ours - step) < TOLERANCE * rms(step)


def test_clipping_is_the_schedulers_unless_said_otherwise(network: torch.nn.Module) -> None:
    """Its range too; and `clip_sample` turns it on or off."""
    scheduler = diffusers.DDPMScheduler(clip_sample=True, clip_sample_range=0.4)
    plain = diffusers.DDPMScheduler(clip_sample=False, clip_sample_range=0.4)
    scheduler.set_timesteps(1000)
    x, k = images(), 500
    out = network(x, k).sample
    clipped, free = (ddpm_score(one, out, k, x) for one in (scheduler, plain))
    assert rms(clipped - free) > 1e-2 * rms(free)
    close(tk.from_diffusers(network, scheduler)(x, k + 1.0), clipped)
    close(tk.from_diffusers(network, scheduler, clip_sample=False)(x, k + 1.0), free)
    close(tk.from_diffusers(network, plain, clip_sample=True)(x, k + 1.0), clipped)


@pytest.mark.parametrize("betas", [(0.1, 20.0), (0.4, 12.0)])
def test_vp_agrees_with_the_schedulers_step(network: torch.nn.Module, betas: tuple[float, float]) -> None:
    from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler

    scheduler = ScoreSdeVpScheduler(beta_min=betas[0], beta_max=betas[1])
    scheduler.set_timesteps(1000)
    model = tk.from_diffusers(network, scheduler)
    x = images()
    for t in (0.05, 0.6):
        out = network(x, torch.full((3,), t)).sample
        _, mean = scheduler.step_pred(out, x, torch.tensor(t))
        process, h = model.process, 1.0 / 1000
        # The library's own step moves by −½ β x − β s, forward in its negative dt.
        ours = x - h * (process.f(t) * x - process.g2(t) * model(x, t))
        assert rms(ours - mean) < TOLERANCE * rms(mean)
        assert rms((ours - mean) / h) < 2e-3 * rms(process.g2(t) * model(x, t))


def test_ve_agrees_with_the_schedulers_step(network: torch.nn.Module) -> None:
    scheduler = diffusers.ScoreSdeVeScheduler(sigma_max=50.0)
    scheduler.set_timesteps(100)
    scheduler.set_sigmas(100)
    model = tk.from_diffusers(network, scheduler)
    x = images()
    index = 60
    sigma, before = (scheduler.discrete_sigmas[i].item() for i in (index, index - 1))
    out = network(x, torch.full((3,), sigma)).sample
    timestep = (index + 0.5) / 99
    step = scheduler.step_pred(out, timestep, x, generator=torch.Generator().manual_seed(1))
    close((step.prev_sample_mean - x) / (sigma**2 - before**2), model(x, sigma))
    assert abs(model.process.variance(sigma) - sigma**2) < 1e-9 * sigma**2


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_agrees_with_the_schedulers_step(network: torch.nn.Module, prediction: str) -> None:
    scheduler = diffusers.EDMEulerScheduler(prediction_type=prediction)
    scheduler.set_timesteps(10)
    model = tk.from_diffusers(network, scheduler)
    x = 5.0 * images()
    for index in (2, 6):
        sigma, following = (scheduler.sigmas[i].item() for i in (index, index + 1))
        t = scheduler.timesteps[index]
        out = network(scheduler.scale_model_input(x, t), t).sample
        scheduler._step_index = None
        step = scheduler.step(out, t, x).prev_sample
        ours = x - sigma * (following - sigma) * model(x, sigma)  # dx/dσ = −σ s
        assert rms(ours - step) < TOLERANCE * rms(step)
        score = (x - step) / (sigma * (following - sigma))
        assert rms(model(x, sigma) - score) < 1e-4 * rms(score)  # a difference of samples: float32 loses a digit
        scheduler._step_index = None
        scheduler.is_scale_input_called = False


def test_flow_matching_agrees_with_the_schedulers_step(network: torch.nn.Module) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(8)
    model = tk.from_diffusers(network, scheduler)
    x = images()
    for index in (1, 5):
        t, following = (scheduler.sigmas[i].item() for i in (index, index + 1))
        out = network(x, scheduler.timesteps[index]).sample
        scheduler._step_index = None
        step = scheduler.step(out, scheduler.timesteps[index], x).prev_sample
        process = model.process
        velocity = process.f(t) * x - 0.5 * process.g2(t) * model(x, t)  # of the probability flow
        ours = x + (following - t) * velocity
        assert rms(ours - step) < TOLERANCE * rms(step)
        close(velocity, out)


def test_samplers_are_the_schedulers(network: torch.nn.Module) -> None:
    """`tk.sample` from the same start: DDIM without noise over every step; EDM's schedule has no such twin here."""
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=20, beta_end=0.2, clip_sample=False, set_alpha_to_one=True)
    model = tk.from_diffusers(network, scheduler)
    scheduler.set_timesteps(20)
    x = start = images(2)
    for k in scheduler.timesteps:
        x = scheduler.step(network(x, k).sample, k, x).prev_sample
    ours = tk.sample(model, n=2, method="probability-flow", n_steps=19, x_end=start, denoise=True)
    assert rms(ours - x) < 1e-4 * rms(x)  # twenty steps of float32


def test_learned_variance_is_cut_off() -> None:
    network = unet(1, 2)
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False)
    model = tk.from_diffusers(network, scheduler)
    x = images()
    out = network(x, 300).sample
    data = scheduler.step(out, 300, x).pred_original_sample
    alpha_bar = scheduler.alphas_cumprod[300]
    close(model(x, 301.0), (alpha_bar.sqrt() * data - x) / (1.0 - alpha_bar))


def test_conditions_reach_the_network() -> None:
    network = unet(num_class_embeds=5)
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    x = images()
    models = [tk.from_diffusers(network, scheduler, class_labels=label) for label in (1, 4)]
    for label, model in zip((1, 4), models, strict=True):
        out = network(x, 99, class_labels=torch.full((3,), label)).sample
        close(model(x, 100.0), -out / (1.0 - scheduler.alphas_cumprod[99]).sqrt())
    mixed = tk.guided(models[0], models[1], 1.5)
    close(mixed(x, 100.0), 2.5 * models[0](x, 100.0) - 1.5 * models[1](x, 100.0))
    with pytest.raises(ValueError, match="^class_labels: expected one condition for all samples"):
        tk.from_diffusers(network, scheduler, class_labels=[1, 2])

    torch.manual_seed(0)
    conditional = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=6,
        norm_num_groups=4,
        attention_head_dim=4,
    ).requires_grad_(False)
    text = torch.randn(1, 3, 6)
    model = tk.from_diffusers(conditional.eval(), scheduler, encoder_hidden_states=text)
    out = conditional(x, 99, encoder_hidden_states=text.expand(3, 3, 6)).sample
    close(model(x, 100.0), -out / (1.0 - scheduler.alphas_cumprod[99]).sqrt())
    # Scaled-dot-product attention has no forward mode: found out, and said.
    found = tk.divergence(model, x, 100.0, method="hutchinson", probes=2)
    assert (found.mode, bool(found.reason)) == ("reverse", True)
    assert bool(found.values.isfinite().all())


def test_half_precision_scores_are_float32(network: torch.nn.Module) -> None:
    scheduler = diffusers.EDMEulerScheduler()
    exact = tk.from_diffusers(network, scheduler)
    x = 80.0 * images()
    expected = exact(x, 80.0)
    half = unet().to(torch.bfloat16)
    score = tk.from_diffusers(half, scheduler)(x, 80.0)
    assert score.dtype == torch.float32
    # The network's part of the denoiser is a thousandth of x here: in bfloat16 the whole would be off by 4e-3.
    assert rms(score - expected) < 1e-4 * rms(expected)


def test_taep_of_a_unet_and_its_time_grid(network: torch.nn.Module) -> None:
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    model = tk.from_diffusers(network, scheduler)
    same = tk.taep(model, model, x0=images(4), n_steps=9)
    assert same.backend == "streamed"
    assert not same.settings["one_time_in_a_batch"]
    assert_exact(same.values, torch.zeros(4))


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (lambda: diffusers.DPMSolverMultistepScheduler(), "^scheduler: DPMSolverMultistepScheduler is not one of"),
        (lambda: diffusers.DDPMScheduler(thresholding=True), "^scheduler: dynamic thresholding"),
        (lambda: diffusers.DDIMScheduler(rescale_betas_zero_snr=True), "^scheduler: its table of ᾱ"),
        (lambda: diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "^scheduler: invert_sigmas"),
    ],
)
def test_what_is_refused_says_why(scheduler: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tk.from_diffusers(unet(), scheduler())
    with pytest.raises(TypeError, match="^unet: expected a module"):
        tk.from_diffusers(lambda x, t: x, diffusers.DDPMScheduler())
    with pytest.raises(TypeError, match="^scheduler: a network without its pipeline needs the scheduler"):
        tk.from_diffusers(unet())
    with pytest.raises(TypeError, match="^class_label: UNet2DModel takes no such condition, but sample, timestep"):
        tk.from_diffusers(unet(), diffusers.DDPMScheduler(), class_label=3)


def test_embeddings_of_whole_times_refuse_others() -> None:
    network = unet(time_embedding_type="learned", num_train_timesteps=1000)
    model = tk.from_diffusers(network, diffusers.DDPMScheduler(clip_sample=False))
    assert model(images(), 7.0).shape == (3, 1, 8, 8)
    with pytest.raises(ValueError, match="^unet: its time embedding takes whole times only"):
        model(images(), 7.4)


SCHEDULERS = {
    "DDPM, clipped": lambda: diffusers.DDPMScheduler(clip_sample=True),
    "DDIM": lambda: diffusers.DDIMScheduler(clip_sample=False),
    "VP": lambda: __import__(
        "diffusers.schedulers.deprecated.scheduling_sde_vp", fromlist=["ScoreSdeVpScheduler"]
    ).ScoreSdeVpScheduler(),
    "VE": lambda: diffusers.ScoreSdeVeScheduler(),
    "EDM": lambda: diffusers.EDMEulerScheduler(),
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_copies_and_pickles_are_networks_of_their_own(kind: str) -> None:
    model = tk.from_diffusers(unet(), SCHEDULERS[kind]())
    # Early noise where data are clipped: later all that they predict lies beyond the range.
    assert_copies_are_copies(model, images(2), 0.01 if "clipped" in kind else 0.4)


def transformer(kind: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A small network of the library that takes its time by keyword, and its conditions."""
    torch.manual_seed(0)
    text = torch.randn(1, 3, 8)
    if kind == "SD3":
        options = {"sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 1}
        heads = {"attention_head_dim": 4, "num_attention_heads": 2, "joint_attention_dim": 8, "pos_embed_max_size": 8}
        network = diffusers.SD3Transformer2DModel(**options, **heads, caption_projection_dim=8, pooled_projection_dim=5)
        return network.eval(), {"encoder_hidden_states": text, "pooled_projections": torch.randn(1, 5)}
    options = {"sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 8, "num_layers": 1}
    heads = {"attention_head_dim": 4, "num_attention_heads": 3, "cross_attention_dim": 12, "caption_channels": 8}
    network = diffusers.PixArtTransformer2DModel(**options, **heads, use_additional_conditions=True)
    added = {"resolution": torch.tensor([[8.0, 8.0]]), "aspect_ratio": torch.tensor([[1.0]])}
    return network.eval(), {"encoder_hidden_states": text, "added_cond_kwargs": added}


@pytest.mark.parametrize("kind", ["SD3", "PixArt"])
def test_transformers_get_time_and_conditions_by_keyword(kind: str) -> None:
    network, conditions = transformer(kind)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    twice = {
        name: {key: each.expand(2, -1) for key, each in value.items()}
        if isinstance(value, dict)
        else value.expand(2, *value.shape[1:])
        for name, value in conditions.items()
    }
    if kind == "SD3":
        model = tk.from_diffusers(network, diffusers.FlowMatchEulerDiscreteScheduler(), **conditions)
        with torch.no_grad():
            velocity = network(x, timestep=torch.full((2,), 300.0), **twice).sample
            score = model(x, 0.3)
        process = model.process
        close(process.f(0.3) * x - 0.5 * process.g2(0.3) * score, velocity)
    else:
        scheduler = diffusers.DDIMScheduler(clip_sample=False)
        model = tk.from_diffusers(network, scheduler, **conditions)
        with torch.no_grad():
            noise = network(x, timestep=torch.full((2,), 300.0), **twice).sample[:, :4]
            close(model(x, 301.0), -noise / (1.0 - scheduler.alphas_cumprod[300]).sqrt())
    assert model.shape == (4, 8, 8)


def test_pipelines_and_their_folders_are_taken(tmp_path: Path) -> None:
    network = unet()
    pipeline = diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(clip_sample=False, beta_end=0.03))
    expected = tk.from_diffusers(network, pipeline.scheduler)(images(), 300.0)
    assert_exact(tk.from_diffusers(pipeline)(images(), 300.0), expected)
    pipeline.save_pretrained(tmp_path / "safe")
    read = tk.from_diffusers(tmp_path / "safe")
    assert_exact(read(images(), 300.0), expected)
    assert not read.network.unet.training
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    assert tk.from_diffusers(str(tmp_path / "safe"), flow).process == tk.Flow()
    pipeline.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(ValueError, match="^unet: .* is no network of diffusers in safetensors"):
        tk.from_diffusers(tmp_path / "pickled")
    with pytest.raises(ValueError, match="^unet: expected the folder of a pipeline"):
        tk.from_diffusers(tmp_path)


def test_results_say_that_a_score_is_clipped() -> None:
    """A stock scheduler's default, which is not what the network was trained for."""
    model = tk.from_diffusers(unet(), diffusers.DDPMScheduler())
    plain = tk.from_diffusers(unet(), diffusers.DDPMScheduler(), clip_sample=False)
    for ours, limit in ((model, 1.0), (plain, None)):
        results = [
            tk.taep(ours, plain, x0=images(2), n_steps=4),
            tk.elbo(ours, images(2), n_times=2),
            tk.entropy_rates(ours, images(2), n_steps=4, divergence="hutchinson"),
        ]
        for result in results:
            about = result.settings["model"]
            assert (about["network"], about["scheduler"], about["clip_sample"]) == (
                "UNet2DModel",
                "DDPMScheduler",
                limit,
            )
            assert ("clipped: the data that it predicts are held within ±1" in result.summary()) == (limit is not None)
