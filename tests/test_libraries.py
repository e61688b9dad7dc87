"""Networks as six families of libraries have them, each at the door in at most three lines, between the marks."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers_cases import unet
from torch import Tensor, nn

import thermokern as tk
from thermokern.targets.own_times import law_score_at

LAW = tk.GaussianMixture([[-1.0, 0.5], [2.0, 0.0]], weights=[0.3, 0.7], std=0.4)


@pytest.fixture(autouse=True)
def foreign_warnings() -> Iterator[None]:
    """Libraries deprecate things of their own."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        yield


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"NOT RUN: {name} is not installed")


def exact(result: tk.TAEP) -> None:
    """The network is the law's own score, so that nothing is left but rounding."""
    assert abs(result.mean) < 2e-3, result
    assert abs(result.fluctuation_theorem.value - 1.0) < 2e-3


def test_glue_is_short() -> None:
    """At most three lines between the marks of each case."""
    found = 0
    for name, function in list(globals().items()):
        if not name.startswith("test_case"):
            continue
        for block in re.findall(r"# glue\n(.*?)\n\s*# end", inspect.getsource(function), re.DOTALL):
            found += 1
            assert len(block.splitlines()) <= 3, name
    assert found == 10  # two of the cases are two, and one is three


def test_case_a_a_perceptron_of_ddpm_with_whole_steps() -> None:
    betas = torch.linspace(1e-3, 0.2, 40)

    class Perceptron(nn.Module):
        """Predicts the noise of step k of the table, which it looks up."""

        def __init__(self) -> None:
            super().__init__()
            self.steps = nn.Embedding(40, 2)
            table = torch.cumprod(1.0 - betas.double(), 0)
            with torch.no_grad():
                self.steps.weight.copy_(torch.stack([table.sqrt(), 1.0 - table], 1))

        def forward(self, x: Tensor, k: Tensor) -> Tensor:
            m, v = self.steps(k).unbind(1)
            squares = (x[:, None] - m[:, None, None] * LAW.means.float()).square().sum(2)
            variance = 0.16 * m.square() + v
            share = torch.softmax(LAW.weights.float().log() - 0.5 * squares / variance[:, None], 1)
            pull = (share[:, :, None] * (m[:, None, None] * LAW.means.float() - x[:, None])).sum(1)
            return -v.sqrt()[:, None] * pull / variance[:, None]

    network = Perceptron()
    # glue
    model = tk.from_ddpm(network, betas=betas, shape=(2,))
    result = tk.taep(model, LAW, n_paths=200)
    # end
    assert result.settings["n_steps"] == 39
    exact(result)


def test_case_b_a_unet_and_its_scheduler_alone_and_with_labels() -> None:
    diffusers = library("diffusers")
    network, scheduler = unet(), diffusers.DDPMScheduler(num_train_timesteps=20, clip_sample=False)
    images = torch.rand(8, 1, 8, 8) * 2.0 - 1.0
    # glue
    model = tk.from_diffusers(network, scheduler)
    result = tk.taep(model, tk.Gaussian(torch.zeros(64)), x0=images, n_steps=3)
    # end
    assert result.x_start.shape == images.shape
    assert result.values.isfinite().all()
    network = unet(num_class_embeds=3)
    labels = torch.arange(8) % 3
    # glue
    conditional = tk.from_diffusers(network, scheduler, condition="class_labels", null=2)
    scores = conditional.at(images, torch.full((8,), 5.0, dtype=torch.float64), labels)
    guided = conditional.guided(1.5)
    # end
    assert scores.shape == images.shape
    assert not torch.equal(scores, guided.at(images, torch.full((8,), 5.0, dtype=torch.float64), labels))


def test_case_c_flow_matching() -> None:
    library("flow_matching")
    from flow_matching.path import AffineProbPath
    from flow_matching.path.scheduler import CondOTScheduler
    from flow_matching.utils import ModelWrapper

    flow = tk.Flow()

    class Velocity(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            own = (1.0 - t).double().clamp(1e-4, flow.t_end)
            score = law_score_at(LAW, x.double(), own, flow)
            return -(flow.f(own)[:, None] * x - 0.5 * flow.g2(own)[:, None] * score).to(x)

    velocity = ModelWrapper(Velocity())
    data = LAW.sample(2000).float()
    noise, t = torch.randn(2000, 2), 0.1 + 0.8 * torch.rand(2000)
    path = AffineProbPath(scheduler=CondOTScheduler()).sample(x_0=noise, x_1=data, t=t)
    # On the library's own clock the velocity is the mean of its targets: no function of x is correlated with the rest.
    rest = path.dx_t - velocity(path.x_t, t)
    moment = (rest * path.x_t).sum(1)
    assert abs(moment.mean().item()) < 4.0 * moment.std().item() / 2000**0.5
    # glue
    model = tk.from_flow(velocity, data_at=1, data=data)
    result = tk.taep(model, LAW, n_paths=300)
    # end
    exact(result)
    with pytest.raises(ValueError, match="give data_at=1"):
        tk.from_flow(velocity, data_at=0, data=data)


def test_case_c_torchcfm_has_time_first() -> None:
    """As torchcfm's UNets do: forward(t, x, y=None)."""
    velocity = nn.Module()

    class TimeFirst(nn.Module):
        def forward(self, t: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
            own = (1.0 - t).double().clamp(1e-4, 0.999)
            score = law_score_at(LAW, x.double(), own, tk.Flow())
            return -(tk.Flow().f(own)[:, None] * x - 0.5 * tk.Flow().g2(own)[:, None] * score).to(x)

    velocity = TimeFirst()
    # glue
    result = tk.taep(tk.from_flow(velocity, data_at=1, shape=(2,)), LAW, n_paths=300)
    # end
    exact(result)


def test_case_d_a_denoiser_of_edm() -> None:
    edm = tk.EDM(sigma_max=20.0)

    class Denoiser(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            score = law_score_at(LAW, x.double(), sigma.double(), edm)
            return (x + sigma.double().square()[:, None] * score).to(x)

    denoiser = Denoiser()
    # glue
    model = tk.ScoreModel(denoiser, edm, predicts="x0", shape=(2,))
    result = tk.taep(model, LAW, n_paths=200, n_steps=100, dtype=torch.float64)
    # end
    exact(result)


def test_case_e_a_folder_as_pipelines_are_saved(tmp_path: Path) -> None:
    diffusers = library("diffusers")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=20, clip_sample=False)
    folder = tmp_path / "pipe"
    diffusers.DDPMPipeline(unet(), scheduler).save_pretrained(folder)
    # glue
    model = tk.from_diffusers(folder)
    images = tk.sample(model, n=2, n_steps=3)
    # end
    assert images.shape == (2, 1, 8, 8)


def test_case_f_a_callback_of_lightning(tmp_path: Path) -> None:
    library("lightning")
    library("torchmetrics")
    import lightning

    from thermokern.metrics import TAEPMetric

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=2), tk.VP(), "epsilon")
            self.metric = TAEPMetric(self.model, LAW, n_steps=20)

        def training_step(self, batch: Any, index: int) -> Tensor:
            return tk.score_matching_loss(self.model, batch[0])

        def validation_step(self, batch: Any, index: int) -> None:
            self.metric.update(batch[0])

        def on_validation_epoch_end(self) -> None:
            # glue
            result = tk.taep(self.model, LAW, n_paths=32, n_steps=20)
            self.log_dict(result.to_dict())
            # end
            self.log_dict({f"metric_{name}": value for name, value in self.metric.compute().items()})
            self.metric.reset()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.model.parameters(), 1e-3)

    module = Training()
    assert [name for name in module.state_dict() if "metric" in name] == []
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(LAW.sample(64).float()), batch_size=32)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data, data)
    logged = trainer.callback_metrics
    assert logged["mean"] > 0.1
    assert logged["metric_taep"] > 0.1
    assert logged["metric_taep_stderr"] > 0.0
    assert module.model.training


def test_case_f_a_loop_of_accelerate() -> None:
    accelerate = library("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=2), tk.VP(), "epsilon")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    for _ in range(3):
        loss = tk.score_matching_loss(accelerator.unwrap_model(prepared), LAW.sample(64).float())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    # glue
    result = tk.taep(accelerator.unwrap_model(prepared).eval(), LAW, n_paths=50, n_steps=20)
    numbers = result.to_dict()
    # end
    assert numbers["mean"] == result.mean.value
    assert numbers["mean"] > 0.1


def test_case_f_the_trainer_of_hugging_face(tmp_path: Path) -> None:
    transformers = library("transformers")
    library("accelerate")

    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=2), tk.VP(), "epsilon")

        def forward(self, points: Tensor) -> dict[str, Tensor]:
            return {"loss": tk.score_matching_loss(self.model, points)}

    module, rows = Training(), [{"points": row} for row in LAW.sample(64).float()]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=16, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    # glue
    monitor = tk.TrainingMonitor(LAW, every=2, n_paths=16, n_steps=10, as_model=lambda module: module.model)
    trainer = transformers.Trainer(module, arguments, train_dataset=rows, callbacks=[monitor.trainer()])
    # end
    trainer.train()
    assert [each.step for each in monitor.result.measurements] == [2, 4]
    logged = {row["step"]: row["taep/mean"] for row in trainer.state.log_history if "taep/mean" in row}
    assert logged == {each.step: each.mean.value for each in monitor.result.measurements}


# --- metrics of torchmetrics -----------------------------------------------------------------------------------------


def test_the_metric_is_the_mean_over_all_batches() -> None:
    library("torchmetrics")
    from thermokern.metrics import TAEPMetric

    model = tk.Gaussian([0.4, 0.0])
    x = LAW.sample(300).float()
    metric = TAEPMetric(model, LAW, tk.VP(), n_steps=30, seed=2)
    for low in range(0, 300, 100):
        metric.update(x[low : low + 100])
    found = metric.compute()
    whole = tk.taep(model, LAW, tk.VP(), x0=x, n_steps=30, seed=2)
    assert abs(found["taep"].item() - whole.mean.value) < 1e-9
    assert abs(found["taep_stderr"].item() / whole.mean.stderr - 1.0) < 1e-9
    assert abs(found["taep_variance"].item() / whole.variance.value - 1.0) < 1e-9
    average = whole.fluctuation_theorem
    assert abs(found["exp_average"].item() / average.value - 1.0) < 1e-9
    assert abs(found["exp_average_stderr"].item() / average.stderr - 1.0) < 1e-9
    metric.reset()
    assert metric.compute()["taep"].isnan()


def test_coverage_as_a_metric() -> None:
    library("torchmetrics")
    from thermokern.metrics import CoverageMetric

    real, generated = LAW.sample(200), LAW.sample(150, seed=3)
    metric = CoverageMetric(k=4)
    for part in real.chunk(3):
        metric.update(part, real=True)
    for part in generated.chunk(2):
        metric.update(part, real=False)
    whole = tk.coverage(real, generated, k=4).named()
    assert {name: value.item() for name, value in metric.compute().items()} == {
        name: estimate.value for name, estimate in whole.items()
    }


def test_without_torchmetrics_an_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "thermokern.metrics", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'thermokern\[torchmetrics\]'"):
        importlib.import_module("thermokern.metrics")
