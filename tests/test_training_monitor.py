"""The monitor of training: it measures what taep measures, disturbs nothing, and works in other libraries' loops."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerances import assert_exact
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.learning import TrainingLog, TrainingMonitor, monitor

PROCESS = tk.VP()
RING = tk.GaussianMixture.ring(3)
LOPSIDED = tk.GaussianMixture.ring(3, weights=[0.2, 0.3, 0.5])
SMALL: dict[str, Any] = {"n_paths": 16, "n_steps": 4}


def network(seed: int = 0) -> tk.ScoreMLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tk.ScoreMLP(2, width=8, depth=1)


def score(net: nn.Module) -> tk.ScoreModel:
    return tk.ScoreModel(net, PROCESS, "epsilon")


def data() -> Tensor:
    return RING.sample(64, seed=1).float()


def trained(watch: TrainingMonitor | None, steps: int = 6) -> tuple[nn.Module, Tensor]:
    """A training with dropout, which takes PyTorch's random numbers as it goes; and those that come after."""
    net = nn.ModuleDict({"net": network(), "drop": nn.Dropout(0.2)})

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.inner["drop"](self.inner["net"](x, t))
            return out

    model = Dropping().train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for step in range(1, steps + 1):
            optimiser.zero_grad()
            tk.score_matching_loss(score(model), data()).backward()
            optimiser.step()
            if watch is not None:
                watch(step, score(model))
        after = torch.randn(3)
    assert all(module.training for module in model.modules())
    return model, after


def test_training_goes_on_as_if_nobody_looked() -> None:
    """Exact: parameters, their gradients and the random numbers that follow, with and without a monitor."""
    watch = TrainingMonitor(data(), score(network(1)), every=2, n_generated=8, generation_steps=2, **SMALL)
    one, two = trained(watch), trained(None)
    assert [each.step for each in watch.measurements] == [2, 4, 6]
    assert_exact(one[1], two[1])
    for first, second in zip(one[0].parameters(), two[0].parameters(), strict=True):
        assert_exact(first.detach(), second.detach())
        assert first.grad is not None
        assert second.grad is not None
        assert_exact(first.grad, second.grad)


def test_a_visit_is_a_taep_and_a_coverage() -> None:
    """Exact: the same numbers as the functions give, at every visit the same."""
    model = tk.ScoreModel(lambda x, t: LOPSIDED.score(x, t[0].item(), PROCESS), PROCESS)
    watch = TrainingMonitor(RING, every=1, n_generated=20, generation_steps=4, seed=5, **SMALL)
    first, again = watch(1, model), watch(2, model)
    assert first is not None
    assert again is not None
    assert_exact(first.values, again.values)
    found = tk.taep(model, RING, scheme="backward-ito", seed=5, **SMALL)
    assert_exact(first.values, found.values)
    assert (first.mean, first.variance, first.score_matching) == (found.mean, found.variance, found.score_matching)
    assert first.half_variance_ratio == found.half_variance_ratio
    drawn = tk.sample(model, n=20, n_steps=4, method="probability-flow", denoise=True, seed=5, shape=(2,))
    hits = tk.coverage(RING.sample(2000, 6), drawn, k=5, stderr=False).hits
    share = (hits > 0).double().mean().item()
    assert first.coverage is not None
    assert 0.001 < share < 0.999
    assert abs(first.coverage.value - share) < 1e-12
    assert abs(first.coverage.stderr - math.sqrt(share * (1.0 - share) / 1999)) < 1e-12
    other = watch(3, score(network(1)))
    assert other is not None
    assert not torch.equal(other.values, first.values)


def test_a_frozen_reference_is_asked_once_and_an_average_as_it_stands() -> None:
    calls = 0

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(1)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            out: Tensor = self.inner(x, t)
            return out

    reference, model = Counted(), score(network())
    watch = TrainingMonitor(data(), score(reference), every=1, **SMALL)
    first = watch(1, model)
    before = calls
    again = watch(2, model)
    assert 0 < before == calls
    with torch.no_grad():
        for average, parameter in zip(reference.parameters(), network(2).parameters(), strict=True):
            average.lerp_(parameter, 0.5)
    moved = watch(3, model)
    assert calls > before + 4
    assert first is not None
    assert again is not None
    assert moved is not None
    assert_exact(first.values, again.values)
    assert not torch.equal(first.values, moved.values)
    direct = tk.taep(model, score(reference), x0=watch.starts, scheme="backward-ito", n_steps=4)
    assert (moved.values - direct.values).abs().max().item() < 1e-4 * direct.values.abs().max().item()  # rounding


def test_the_average_of_a_network_is_at_no_distance_from_itself() -> None:
    """A law: Δs of a network against itself is zero on every path."""
    net = network()
    found = TrainingMonitor(data(), score(copy.deepcopy(net)), every=1, **SMALL)(1, score(net))
    assert found is not None
    assert found.values.abs().max().item() < 1e-5


def test_it_comes_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = score(network())
    watch = TrainingMonitor(RING, every=(2, 5), **SMALL)
    assert [step for step in range(8) if watch(step, model)] == [2, 5]
    assert watch(6, model) is None
    assert watch(6, model, force=True) is not None
    now = 0.0
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now)
    watch = TrainingMonitor(RING, every=1, share=0.1, **SMALL)
    measure = watch._measure

    def slow(*args: Any) -> Any:
        nonlocal now
        now += 5.0
        return measure(*args)

    monkeypatch.setattr(watch, "_measure", slow)
    came = []
    for step in range(1, 200):
        now += 1.0
        came += [step] if watch(step, model) else []
    assert came[0] == 1
    assert len(came) == 4  # of 5 s each in about 200 s
    assert abs(watch.result.share - 20.0 / 218.0) < 0.01


def test_lines_are_read_back_and_drawn(tmp_path: Path) -> None:
    """Rounding of the lines: six digits of the values; all else as it was. Of a step written twice the later."""
    file = tmp_path / "log.jsonl"
    watch = TrainingMonitor(RING, every=1, n_generated=8, generation_steps=2, log=file, **SMALL)
    for step in (1, 2, 3):
        watch(step, score(network(step)))
    watch(2, score(network(7)))
    read = TrainingLog.read(file)
    assert [each.step for each in read.measurements] == [1, 2, 3]
    last = watch.measurements[-1]
    assert read.measurements[1].mean == last.mean
    assert repr(read.measurements[1].coverage) == repr(last.coverage)
    assert (read.measurements[1].values - last.values).abs().max().item() < 1e-5 * last.values.abs().max().item()
    spread, *others = read.plot().axes
    assert len(others) == 3
    for line, each in zip(spread.lines, read.measurements, strict=True):  # the share of paths below each value
        assert line.get_xdata()[1:].tolist() == sorted(each.values.double().tolist())
        assert line.get_ydata()[-1] == 1.0
    assert json.loads(file.read_text().splitlines()[0])["step"] == 1
    assert "coverage" in read.columns()
    assert math.isnan(read.share)
    assert "the monitor took" in watch.result.summary()
    file.write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="^path: .*no log of a TrainingMonitor"):
        TrainingLog.read(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="^path: .*no line"):
        TrainingLog.read(file)


def test_errors_name_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    model = score(network())
    with pytest.raises(TypeError, match="^reference: .*beside data points"):
        TrainingMonitor(data())
    with pytest.raises(TypeError, match="^reference: expected a ScoreModel or a law, got ScoreMLP"):
        TrainingMonitor(data(), network())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^every: "):
        TrainingMonitor(RING, every=0)
    with pytest.raises(ValueError, match="^share: "):
        TrainingMonitor(RING, share=2.0)
    with pytest.raises(TypeError, match="^model: expected a ScoreModel, or as_model="):
        TrainingMonitor(RING, every=1, **SMALL)(1, network())
    for name in ("lightning", "transformers"):
        for module in (f"{name}.pytorch.callbacks", name, "pytorch_lightning.callbacks", "pytorch_lightning"):
            monkeypatch.setitem(sys.modules, module, None)
    watch = TrainingMonitor(RING, every=1, **SMALL)
    with pytest.raises(ImportError, match=r"thermokern\[lightning\]"):
        watch.lightning()
    with pytest.raises(ImportError, match=r"thermokern\[transformers\]"):
        watch.trainer()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"thermokern\[tensorboard\]"):
        TrainingMonitor(RING, tensorboard="x")
    assert model.network is not None


# --- in other libraries' loops ----------------------------------------------------------------------------------------

IGNORED = pytest.mark.filterwarnings("ignore")  # of the other libraries'


class Loss(nn.Module):
    """What Hugging Face's Trainer trains: a forward that returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.score_network = network()

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        return {"loss": tk.score_matching_loss(score(self.score_network), points)}


@pytest.fixture
def batches() -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data()), batch_size=16)


@IGNORED
def test_lightning(tmp_path: Path, batches: Any) -> None:
    """The real package: at the steps asked for, numbers in its logger, and the same training as without."""
    lightning = pytest.importorskip("lightning", reason="lightning is not installed: its Trainer was not tried")
    from lightning.pytorch.loggers import CSVLogger

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.score_network = network()

        def training_step(self, batch: Any, _: int) -> Tensor:
            return tk.score_matching_loss(score(self.score_network), batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    def run(callbacks: list[Any], folder: Path) -> Any:
        module = Module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trainer = lightning.Trainer(
                max_epochs=2,
                accelerator="cpu",
                logger=CSVLogger(folder),
                callbacks=callbacks,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
                log_every_n_steps=1,
            )
            trainer.fit(module, batches)
            trainer.loggers[0].save()
        return module

    watch = TrainingMonitor(RING, every=4, as_model=lambda module: score(module.score_network), **SMALL)
    with_it = run([watch.lightning()], tmp_path / "one")
    without = run([], tmp_path / "two")
    assert [each.step for each in watch.measurements] == [4, 8]
    for one, two in zip(with_it.parameters(), without.parameters(), strict=True):
        assert_exact(one.detach(), two.detach())
    (table,) = (tmp_path / "one").rglob("metrics.csv")
    assert "taep/mean" in table.read_text().splitlines()[0]
    assert "taep/half_variance_ratio" in table.read_text().splitlines()[0]


@IGNORED
def test_trainer_of_transformers(tmp_path: Path) -> None:
    """The real package: at the steps asked for, numbers in the history that it keeps."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: not tried")
    pytest.importorskip("accelerate", reason="accelerate is not installed, which transformers' Trainer needs")
    watch = TrainingMonitor(RING, every=2, as_model=lambda model: score(model.score_network), **SMALL)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=16,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    points = [{"points": row} for row in data()]
    trainer = transformers.Trainer(Loss(), arguments, train_dataset=points, callbacks=[watch.trainer()])
    trainer.train()
    assert [each.step for each in watch.measurements] == [2, 4]
    assert [row["step"] for row in trainer.state.log_history if "taep/mean" in row] == [2, 4]


@IGNORED
def test_accelerate(batches: Any) -> None:
    """The real package: the prepared model is unwrapped, and trackers get the numbers."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: its loop was not tried")
    from accelerate.tracking import GeneralTracker

    seen: list[tuple[int, dict[str, float]]] = []

    class Tracker(GeneralTracker):  # type: ignore[misc]
        name = "kept"
        requires_logging_directory = False

        def __init__(self) -> None:
            super().__init__()

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict[str, Any]) -> None: ...

        def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
            assert step is not None
            seen.append((step, values))

    accelerator = accelerate.Accelerator(cpu=True, log_with=Tracker())
    accelerator.init_trackers("digits")
    net = network()
    model, optimiser, loader = accelerator.prepare(net, torch.optim.Adam(net.parameters(), 1e-2), batches)
    watch = TrainingMonitor(RING, every=2, as_model=score, **SMALL)
    visit = watch.accelerate(accelerator)
    for step, (points,) in enumerate(loader, 1):
        optimiser.zero_grad()
        accelerator.backward(tk.score_matching_loss(score(model), points))
        optimiser.step()
        visit(step, model)
    assert [step for step, _ in seen] == [2, 4]
    assert seen[0][1]["taep/mean"] == watch.measurements[0].mean.value


@IGNORED
def test_tensorboard(tmp_path: Path) -> None:
    """The real package: what its reader finds in the folder."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: no file of it was written")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch = TrainingMonitor(RING, every=1, tensorboard=tmp_path, **SMALL)
    for step in (1, 2):
        watch(step, score(network(step)))
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    events = found.Scalars("taep/variance")
    assert [event.step for event in events] == [1, 2]
    assert abs(events[0].value / watch.measurements[0].variance.value - 1.0) < 1e-6
