"""Networks on another device than the points, on a machine that has none: under PyTorch's fake tensors.

They hold no numbers, but each has a device, and an operation that mixes two is an error as it is on hardware. The
device is registered for the whole process, so tests/test_devices.py runs this file in one of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from importlib import import_module

import pytest
import torch
from diffusers_cases import unet
from test_diffusers import diffusers, images
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import thermokern as tk
from thermokern import ops
from thermokern.models.jacobian import Jacobian
from thermokern.processes import step_table
from thermokern.quantities.engine.batching import Batches
from thermokern.quantities.engine.node_scores import NodeDivergence, NodeScores
from thermokern.quantities.engine.streamed import StreamedPaths, Streaming, _start
from thermokern.targets import law_score_at

SCHEDULERS = (
    diffusers.DDPMScheduler(clip_sample=True),
    diffusers.DDIMScheduler(clip_sample=False),
    diffusers.EDMEulerScheduler(),
    diffusers.EDMEulerScheduler(prediction_type="v_prediction"),
    diffusers.FlowMatchEulerDiscreteScheduler(),
)


@cache
def elsewhere() -> torch.device:
    """A device that no machine has."""
    _setup_privateuseone_for_python_backend("elsewhere")
    return torch.device("elsewhere", 0)


class Fake:
    """Where tensors hold no numbers."""

    def __init__(self) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)

    def network(self, make: Callable[[], nn.Module]) -> nn.Module:
        """One whose parameters are elsewhere."""
        with self.mode, elsewhere():
            return make().requires_grad_(False)

    def assert_scores_are_at_home(self, model: tk.ScoreModel, x: Tensor) -> None:
        t = torch.linspace(0.2, 0.8, len(x), dtype=torch.float64) * model.process.t_end
        with self.mode, torch.no_grad():
            x, t = self.mode.from_tensor(x), self.mode.from_tensor(t)
            score = model.at(x, t)
            assert (score.device, score.dtype, score.shape) == (x.device, x.dtype, x.shape)


@pytest.fixture
def fake() -> Fake:
    unet()  # the library loads its parts when first asked, which takes numbers
    return Fake()


def perceptron() -> nn.Module:
    return tk.ScoreMLP(3, width=8, depth=1)


def test_devices_do_not_mix(fake: Fake) -> None:
    """The witness itself."""
    network = fake.network(lambda: nn.Linear(2, 2))
    with fake.mode:
        with pytest.raises(RuntimeError, match="same device"):
            network(torch.ones(3, 2))
        assert network(torch.ones(3, 2, device=elsewhere())).device == elsewhere()


@pytest.mark.parametrize("predicts", ["score", "epsilon", "x0", "v", "entropy", "flow", "control"])
def test_any_prediction(fake: Fake, predicts: str) -> None:
    model = tk.ScoreModel(fake.network(perceptron), tk.VP(), predicts=predicts)
    fake.assert_scores_are_at_home(model, torch.ones(4, 3))


def test_half_precision(fake: Fake) -> None:
    class Timeless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3, dtype=torch.bfloat16)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            assert (x.device, t.device) == (elsewhere(), elsewhere())
            return self.layer(x)

    fake.assert_scores_are_at_home(tk.ScoreModel(fake.network(Timeless), tk.VP()), torch.ones(4, 3))


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda one: f"{type(one).__name__}-{len(str(one))}")
def test_networks_of_diffusers(fake: Fake, scheduler: object) -> None:
    fake.assert_scores_are_at_home(tk.from_diffusers(fake.network(unet), scheduler), images())


def test_conditions_given_at_home(fake: Fake) -> None:
    network = fake.network(lambda: unet(class_embed_type="identity"))
    with fake.mode:
        label = torch.ones(1, 32)
    model = tk.from_diffusers(network, SCHEDULERS[0], class_labels=label)
    fake.assert_scores_are_at_home(model, images())


def test_guidance_by_networks_on_two_devices(fake: Fake) -> None:
    models = [tk.ScoreModel(one, tk.VP(), predicts="epsilon") for one in (perceptron(), fake.network(perceptron))]
    fake.assert_scores_are_at_home(tk.guided(*models, weight=1.5), torch.ones(4, 3))


def test_loss_where_the_data_are(fake: Fake) -> None:
    model = tk.ScoreModel(fake.network(perceptron), tk.VP(), predicts="epsilon")
    with fake.mode:
        loss = tk.score_matching_loss(model, torch.ones(4, 3, device=elsewhere()), allow_nonfinite=True)
        assert loss.device == elsewhere()


LAWS = {
    "mixture": tk.GaussianMixture.ring(),
    "mixture in 20 dimensions": tk.GaussianMixture(torch.ones(3, 20), std=1.0),
    "full covariance": tk.Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]),
    "empirical": tk.Empirical(torch.ones(50, 20)),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
def test_laws_where_the_points_are(fake: Fake, law: tk.Distribution) -> None:
    """A reference of images that is a law: nothing crosses to the processor, at one time or at each point's own."""
    table = step_table(tk.VP(), tk.VP().grid(9), "ito")
    own = fake.mode.from_tensor(torch.linspace(0.1, 0.9, 5, dtype=torch.float64))
    law = copy(law)
    for name, value in vars(law).items():
        if isinstance(value, Tensor):
            setattr(law, name, fake.mode.from_tensor(value))
    scores = NodeScores(law, tk.VP(), table, (law.dim,), "auto", 2, 0)
    with fake.mode:
        x = torch.ones(5, law.dim, device=elsewhere())
        score, pair = scores.at(x[None], range(1), 0, Batches(20))
        assert pair is not None
        assert getattr(law, "_there", x).device == elsewhere()  # data cross once
        assert {part.device for part in (score, *pair, law_score_at(law, x, own, tk.VP()))} == {elsewhere()}


# ---- paths elsewhere


@pytest.fixture
def kernels_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ops take the device for one that has kernels; their fakes then say where outputs are."""
    for name in ("trajectory_block", "trajectory_step", "hutchinson"):
        monkeypatch.setattr(import_module(f"thermokern.ops.{name}"), "has_kernels", lambda _: True)
    monkeypatch.setattr(import_module("thermokern.ops.normals"), "checked_device", torch.device)


@pytest.mark.usefixtures("kernels_elsewhere")
@pytest.mark.parametrize("direction", ops.DIRECTIONS)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_streams_stay_where_their_paths_are(fake: Fake, scheme: str, direction: str) -> None:
    """Through a network that is there, whose divergence comes from probes, and one that is at home."""
    table = step_table(tk.VP(), tk.VP().grid(9), scheme, direction)
    scores = []
    for network in (fake.network(perceptron), perceptron()):
        model = tk.ScoreModel(network, tk.VP(), predicts="epsilon")
        scores.append(NodeScores(model, tk.VP(), table, (3,), "hutchinson", 2, 0))
        if table.divergence_weight:
            scores[-1].divergence = NodeDivergence("hutchinson", Jacobian("forward", True))
    paths = StreamedPaths(table, *scores, Streaming())
    paths.batches = Batches(20)
    with fake.mode, torch.no_grad():
        state = paths._block(_start(torch.ones(7, 3, device=elsewhere()), table.coarse), range(5), 0, 0)
        state = paths._block(state, range(5, 10), 0, 0)
    assert {(name, part.device) for name, part in state._asdict().items()} == {(n, elsewhere()) for n in state._fields}
