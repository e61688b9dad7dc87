"""The result of tk.optimal_schedule in use: diffusers, files and figures, bad arguments, the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from schedule_cases import F64, RING, VP
from tolerances import assert_exact, rms

import thermokern as tk
from thermokern.cli import main
from thermokern.papers.ding2026.images import load_images
from thermokern.papers.schedules import digits, experiment, toy
from thermokern.processes import LinearProcess
from thermokern.quantities.schedules import STANDARDS, standard_times
from thermokern.quantities.schedules.moments import isotonic
from thermokern.quantities.schedules.pairs import Nodes


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
def test_diffusers_run_the_schedule() -> None:
    """``EulerDiscreteScheduler`` with our timesteps or sigmas goes where our probability flow does."""
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        add_attention=False,
    ).eval()
    model = tk.from_diffusers(unet.requires_grad_(False), diffusers.DDPMScheduler(clip_sample=False))
    data = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)).tanh()
    result = tk.optimal_schedule(model, data, sampler="probability-flow", n_times=24, n_steps=(10,), n_paths=8)
    assert result.whole_times
    assert all(time == round(time) for time in result.nodes.times.tolist())
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    times = result.times(10)
    ours = tk.sample(model, n=2, method="probability-flow", times=times[1:], x_end=start, denoise=True)
    for given in ({"timesteps": result.timesteps(10)}, {"sigmas": result.sigmas(10).tolist()}):
        scheduler = diffusers.EulerDiscreteScheduler()
        scheduler.set_timesteps(**given)
        assert len(scheduler.timesteps) == 10
        # x of their scale, in which v is σ², at the first of their steps
        x = start / model.process.mean_scale(times[-1].item())
        for t in scheduler.timesteps:
            out = unet(scheduler.scale_model_input(x, t), t).sample
            x = scheduler.step(out, t, x).prev_sample
        assert rms(x - ours) < 1e-4 * rms(ours), given
    for kind in ("DDPMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"):
        getattr(diffusers, kind)().set_timesteps(timesteps=result.timesteps(10))
    with pytest.raises(ValueError, match=r"^bound: no bound .* probability flow .* SDE samplers"):
        result.bound(10)
    with pytest.raises(ValueError, match="^bound"):
        result.compare(10)
    assert "bound nothing" in result.summary()


def test_the_result_is_kept_and_drawn(tmp_path: Path) -> None:
    result = tk.optimal_schedule(RING, RING, VP, n_paths=200, n_times=40, n_steps=(3, 5))
    result.save(tmp_path / "result.safetensors")
    again = tk.load(tmp_path / "result.safetensors")
    assert_exact(again.times(5), result.times(5))
    assert again.bound(5) == result.bound(5)
    assert [len(axes.get_lines()) > 1 for axes in result.plot().axes] == [True, True]
    assert [len(column) for column in result.columns().values()] == [10, 10, 10]
    assert result.to_json()["schedules"][1]["bound"]["value"] == result.bound(5).value
    assert "not image quality" in " ".join(result.summary().split())
    assert result.sigmas(5)[-1].item() == 0.0
    surrogate = tk.optimal_schedule(RING, RING, VP, sampler="probability-flow", n_paths=20, n_times=20, n_steps=(3, 5))
    assert surrogate.to_json()["schedules"][0]["bound"] is None
    assert surrogate.plot().axes


def test_isotonic_regression_pools_violators() -> None:
    found = isotonic(torch.tensor([1.0, 3.0, 2.0, 2.0, 5.0, 4.0], dtype=F64))
    expected = [1.0, 7.0 / 3.0, 7.0 / 3.0, 7.0 / 3.0, 4.5, 4.5]
    assert (found - torch.tensor(expected, dtype=F64)).abs().max().item() < 1e-12


@pytest.mark.parametrize(
    "process", [VP, tk.EDM(), tk.DiscreteVP((1.0 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0))], ids=repr
)
@pytest.mark.parametrize("name", STANDARDS)
def test_standard_schedules_are_even_in_their_measure(name: str, process: LinearProcess) -> None:
    times = standard_times(name, process, 12, data_std=0.5)
    assert times[0].item() == process.default_t_eps
    assert times[-1].item() == process.t_end
    assert bool((times.diff() > 0.0).all())
    if not isinstance(process, tk.DiscreteVP):
        steps = STANDARDS[name](times, Nodes.of(process, times).sigma, 0.5).diff()
        assert ((steps / steps.mean() - 1.0).abs() < 1e-6).all()


def test_bad_arguments_are_named() -> None:
    options = {"n_paths": 20, "n_times": 8, "n_steps": (3,)}
    for change, message in (
        ({"sampler": "ancestral"}, "^sampler: expected one of"),
        ({"objective": "ays"}, "^objective: expected one of"),
        ({"sampler": "probability-flow", "objective": "own"}, "^objective: the probability flow has no bound"),
        ({"n_steps": (8,)}, "^n_steps: expected"),
        ({"holdout": 1.0}, "^holdout: expected"),
        ({"n_paths": 3}, "^n_paths: expected at least two"),
        ({"times": [0.1, 0.2], "t_eps": 0.1}, "^times: expected either"),
        ({"n_times": 1}, "^n_times: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            tk.optimal_schedule(RING, RING, VP, **{**options, **change})
    with pytest.raises(ValueError, match="^data: expected at least one point"):
        tk.optimal_schedule(RING, torch.zeros(0, 2), VP)
    result = tk.optimal_schedule(RING, RING, VP, **options)
    with pytest.raises(ValueError, match="^timesteps: only a process with a table"):
        result.timesteps(3)
    with pytest.raises(ValueError, match="^others: expected one of"):
        result.compare(3, ["linear"])
    with pytest.raises(ValueError, match=r"^others: expected names or increasing times \(4,\)"):
        result.compare(3, [torch.tensor([1.0, 0.5])])
    positive = r"^variance: expected \(3,\) positive"
    for variance, message in ((None, "^variance: the chain"), ([1.0], positive), ([1.0, 1.0, -1.0], positive)):
        with pytest.raises(ValueError, match=message):
            tk.sample(RING, VP, 1, method="ddpm-optimal", n_steps=3, variance=variance)
    for method, message in (("ddpm", "^variance: expected none with the chain"), ("heun", "^variance: .*no noise")):
        with pytest.raises(ValueError, match=message):
            tk.sample(RING, VP, 1, method=method, n_steps=3, variance=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="^variance: expected none with the scheme"):
        tk.taep(RING, RING, VP, n_paths=2, n_steps=3, variance=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="^times, variance: expected neither"):
        tk.elbo(RING, RING.sample(2), VP, times=[0.1, 1.0])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``thermokern schedule CONFIG``: bounds, times and a page; ``show`` opens what it saved."""
    config = tmp_path / "schedule.yaml"
    config.write_text("model: {ring: {}}\ndata: {ring: {}}\nprocess: VP\nn_paths: 60\nn_times: 20\nn_steps: [3]\n")
    assert main(["schedule", str(config), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "KL ≤" in printed
    assert "3 steps, t from the end: 1 " in printed
    assert "not image quality" in (tmp_path / "out" / "report.html").read_text()
    assert main(["show", str(tmp_path / "out" / "result.safetensors")]) == 0
    config.write_text("model: {ring: {}}\ndata: {checkpoint: x}\n")
    assert main(["schedule", str(config), "--quiet"]) == 2
    assert "data: expected a law" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::thermokern.BiasWarning")
def test_the_experiment_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part once; the page has the figures, and what it saved is read again."""
    for module in ("diffusers", "sklearn"):
        pytest.importorskip(module, reason=f"NOT RUN: {module} is not installed")
    small = experiment.Profile(
        *(200, 300, (3,)), training=2, digits_table=8, digits_times=8, digits_samples=60, digits_steps=4, paths=4
    )
    monkeypatch.setitem(experiment.PROFILES, "quick", small)
    images = load_images("digits")[:100]
    monkeypatch.setattr(digits, "load_images", lambda data: images)
    for module in (toy, digits):
        monkeypatch.setattr(module, "SAMPLERS", ("ddpm-optimal", "probability-flow"))
    result = experiment.run("quick", tmp_path, seed=0, progress=False)
    assert {row.law for row in result.rows} == {"ring", "network m1_eps0.09", "digits"}
    assert all((row.bound is None) == (row.sampler == "probability-flow") for row in result.rows)
    assert len(result.rows) == 2 * (7 + 9) + 7 + 8
    result.save(tmp_path / "result.safetensors")
    again = tk.load(tmp_path / "result.safetensors")
    written = again.write(tmp_path, "")
    assert {path.name for path in written} == {"schedules.png", "result.json", "report.html", "attribution.png"}
    assert "rank correlation" in (tmp_path / "report.html").read_text()
