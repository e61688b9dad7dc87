"""Anybody's network at the door: flows of either direction of time, whole steps, and models as modules."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import thermokern as tk
from thermokern.models.loss import score_matching_loss
from thermokern.ops import normals
from thermokern.targets.own_times import law_score_at

LAW = tk.GaussianMixture([[-1.0, 0.5], [2.0, 0.0]], weights=[0.3, 0.7], std=0.3)


def velocity_of(law: tk.GaussianMixture, data_at: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The exact velocity of straight paths between a law and noise, on the clock whose data are at `data_at`."""
    flow = tk.Flow()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        own = (1.0 - t if data_at else t).double().clamp(1e-6, flow.t_end)
        score = law_score_at(law, x.double(), own, flow)
        out = (flow.f(own)[:, None] * x - 0.5 * flow.g2(own)[:, None] * score).to(x)
        return -out if data_at else out

    return velocity


@pytest.mark.parametrize("data_at", [0, 1])
def test_a_flow_is_the_score_of_its_law_on_either_clock(data_at: int) -> None:
    model = tk.from_flow(velocity_of(LAW, data_at), data_at=data_at, shape=(2,))
    x = normals(64, 2, seed=3, purpose="noise", dtype=torch.float64)
    for t in (0.05, 0.4, 0.9):
        exact = LAW.score(x, t, tk.Flow())
        error = (model(x, t) - exact).abs().max().item()
        assert error < 1e-11 * exact.abs().max().item(), (t, error)
    wrong = tk.from_flow(velocity_of(LAW, data_at), data_at=1 - data_at, shape=(2,))
    assert (wrong(x, 0.4) - LAW.score(x, 0.4, tk.Flow())).abs().max() > 1.0


def test_data_tell_the_direction_of_time() -> None:
    data = LAW.sample(400, seed=5)
    for data_at in (0, 1):
        velocity = velocity_of(LAW, data_at)
        found = tk.from_flow(velocity, data_at=None, data=data)
        assert found.origin["data_at"] == data_at
        assert found.shape == (2,)
        assert tk.from_flow(velocity, data_at=data_at, data=data).origin["data_at"] == data_at
        with pytest.raises(ValueError, match=rf"^data_at: .*; give data_at={data_at}$"):
            tk.from_flow(velocity, data_at=1 - data_at, data=data)
    noise = tk.GaussianMixture([[0.0, 0.0]], std=1.0)  # data alike to noise tell nothing
    assert tk.from_flow(velocity_of(noise, 1), data_at=0, data=noise.sample(400)).origin["data_at"] == 0
    with pytest.raises(ValueError, match="^data_at: the data do not tell"):
        tk.from_flow(velocity_of(noise, 1), data_at=None, data=noise.sample(400))
    with pytest.raises(ValueError, match="^data_at: expected 1 or 0, or data"):
        tk.from_flow(velocity_of(LAW, 1), data_at=None)


def test_time_may_come_first() -> None:
    velocity = velocity_of(LAW, 1)

    class TimeFirst(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return velocity(x, t)

    x = LAW.sample(8, seed=1)
    same = tk.from_flow(velocity)(x, 0.3)
    for turned in (TimeFirst(), lambda t, x: velocity(x, t)):
        assert torch.equal(tk.from_flow(turned)(x, 0.3), same)
    assert torch.equal(tk.from_flow(lambda x, t: velocity(x, t))(x, 0.3), same)


def network_of(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, t: layer(x)


class Whole(nn.Module):
    """A network of the DDPM kind, whose time is a row of an embedding."""

    def __init__(self, steps: int, law: tk.GaussianMixture, process: tk.DiscreteVP) -> None:
        super().__init__()
        self.embedding = nn.Embedding(steps, 1)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(1.0, steps + 1.0)[:, None])
        self.law, self.process = law, process

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        times = self.embedding(k)[:, 0].double()
        score = law_score_at(self.law, x.double(), times, self.process)
        return (-self.process.variance(times).sqrt()[:, None] * score).to(x)


BETAS = torch.linspace(1e-3, 0.2, 40, dtype=torch.float64)


def test_ddpm_is_the_process_of_either_table() -> None:
    table = torch.cumprod(1.0 - BETAS, 0)
    assert tk.DDPM(betas=BETAS) == tk.DDPM(table) == tk.DiscreteVP(table)
    times = tk.DDPM(betas=BETAS).grid(39)
    assert torch.equal(times, torch.arange(1.0, 41.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="^alphas_cumprod, betas: expected exactly one"):
        tk.DDPM()
    with pytest.raises(ValueError, match="^betas: expected numbers in"):
        tk.DDPM(betas=[0.1, 1.0])


@pytest.mark.parametrize("first_step", [0, 1])
def test_a_network_of_whole_steps_is_the_score_at_whole_times(first_step: int) -> None:
    process = tk.DDPM(betas=BETAS)
    network = Whole(40 + first_step, LAW, process)
    with torch.no_grad():
        network.embedding.weight.sub_(float(first_step))
    model = tk.from_ddpm(network, betas=BETAS, shape=(2,), first_step=first_step)
    x = LAW.sample(6, seed=2).float()
    for t in (1.0, 17.0, 40.0):
        exact = LAW.score(x.double(), t, process)
        assert (model(x, t).double() - exact).abs().max() < 1e-5 * exact.abs().max()
    low, high = (model.raw(x, torch.full((6,), t)) for t in (17.0, 18.0))
    between = model.raw(x, torch.full((6,), 17.25))
    assert (between - (0.75 * low + 0.25 * high)).abs().max() < 1e-6 * high.abs().max()


def test_what_a_newcomer_types_first_is_told_what_to_type() -> None:
    """A network of whole steps without its door, points in the place of a law, a law in the place of points."""
    bare = tk.ScoreModel(Whole(40, LAW, tk.DDPM(betas=BETAS)), tk.DDPM(betas=BETAS), "epsilon", (2,))
    with pytest.raises(ValueError, match=r"^model: it looks times up in a table.* from_ddpm\(network, betas=…\)"):
        tk.taep(bare, LAW, n_paths=4)
    for points in (LAW.sample(4), LAW.sample(4).numpy()):
        with pytest.raises(TypeError, match=r"^reference: .*; points become a law by GaussianMixture\(points, std=…\)"):
            tk.taep(tk.ScoreMLP(2), points, tk.VP(), n_paths=4)
    for call in (tk.log_likelihood, tk.elbo):
        with pytest.raises(TypeError, match=r"^x: expected points .* GaussianMixture; give points of it"):
            call(tk.ScoreModel(tk.ScoreMLP(2), tk.VP()), LAW)


def test_whole_times_need_no_word_and_agree_with_the_law() -> None:
    model = tk.from_ddpm(Whole(40, LAW, tk.DDPM(betas=BETAS)), betas=BETAS, shape=(2,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", tk.TimesBetweenWarning)
        result = tk.taep(model, LAW, n_paths=20)
    assert result.settings["n_steps"] == 39
    assert abs(result.mean) < 1e-3  # rounding of float32


@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")
def test_a_field_that_jumps_in_time_is_told() -> None:
    process = tk.DDPM(betas=BETAS)
    network = Whole(40, LAW, process)
    x = LAW.sample(2, seed=4).float()
    rounded = tk.ScoreModel(lambda x, t: network(x, (t - 1.0).round().long()), process, "epsilon")
    with pytest.warns(tk.JumpingFieldWarning, match=r"^model: its output jumps .*from_ddpm"):
        tk.log_likelihood(rounded, x, t_eps=30.0, rtol=0.1, atol=0.1)
    pair = tk.JointGaussian([[1.0, 0.3], [0.3, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 0.5)
    calls: dict[str, Callable[[tk.ScoreModel], object]] = {
        "sample": lambda model: tk.sample(model, n=2, n_steps=60, spacing="uniform", shape=(2,)),
        "elbo": lambda model: tk.elbo(model, x, n_times=2),
        "entropy_rates": lambda model: tk.entropy_rates(model, LAW, n_paths=4, n_steps=60, spacing="uniform"),
        "neural_entropy": lambda model: tk.neural_entropy(model, LAW, evaluations=256),
        "total_correlation": lambda model: tk.total_correlation(model, data=LAW, evaluations=256),
        "mutual_information": lambda model: tk.mutual_information(pair, model, evaluations=256),
    }
    for call in calls.values():
        with pytest.warns(tk.JumpingFieldWarning, match=r"^(model|unconditional): .* answers for a whole time nearby"):
            call(rounded)
    smooth = tk.from_ddpm(network, betas=BETAS, shape=(2,))
    free_of_time = tk.ScoreModel(lambda x, t: -x, process)
    with warnings.catch_warnings():
        warnings.simplefilter("error", tk.JumpingFieldWarning)
        for model in (smooth, free_of_time):
            tk.log_likelihood(model, x, t_eps=30.0, rtol=0.1, atol=0.1)
            for call in calls.values():
                call(model)
        tk.sample(rounded, n=2, shape=(2,))  # whole times alone


# --- models are modules ----------------------------------------------------------------------------------------------


@pytest.fixture
def model() -> tk.ScoreModel:
    torch.manual_seed(0)
    return tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=2), tk.VP(), "epsilon")


def test_a_model_is_a_module(model: tk.ScoreModel) -> None:
    assert isinstance(model, nn.Module)
    assert [*model.state_dict()] == [f"network.{name}" for name in model.network.state_dict()]
    assert len([*model.parameters()]) == len([*model.network.parameters()])
    assert model.training
    assert not model.eval().network.training
    other = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=2), tk.VP(), "epsilon")
    other.load_state_dict(model.state_dict())
    x = torch.randn(3, 2)
    assert torch.equal(other(x, 0.3), model(x, 0.3))
    model.double()
    assert next(model.network.parameters()).dtype == torch.float64
    assert not tk.ScoreModel(model.network, tk.VP()).training


def test_copies_pickles_and_equality(model: tk.ScoreModel) -> None:
    same = tk.ScoreModel(model.network, tk.VP(), "epsilon")
    assert same == model
    assert hash(same) == hash(model)
    assert tk.ScoreModel(model.network, tk.VP(), "score") != model
    assert tk.ScoreModel(model.network, tk.SubVP(), "epsilon") != model
    assert copy.copy(model) == model
    x = torch.randn(3, 2)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.network is not model.network
        assert (twin.process, twin.predicts, twin.shape) == (model.process, model.predicts, model.shape)
        assert torch.equal(twin(x, 0.5), model(x, 0.5))
        assert torch.equal(twin.under(tk.SubVP())(x, 0.5), model.under(tk.SubVP())(x, 0.5))


def test_an_average_of_weights_is_a_model(model: tk.ScoreModel) -> None:
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    average.update_parameters(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update_parameters(model)
    for one, other in zip(average.module.parameters(), model.parameters(), strict=True):
        assert (other - one - 0.5).abs().max() < 1e-6
    assert tk.sample(average.module, n=3, n_steps=2).shape == (3, 2)
    with pytest.raises(ValueError, match=r"^process: none of the models has one; pass model\.module"):
        tk.sample(average, n=3, n_steps=2)


def test_a_checkpoint_knows_the_shape_of_its_samples(tmp_path: Path, model: tk.ScoreModel) -> None:
    tk.save_checkpoint(tmp_path / "net.safetensors", model)
    loaded = tk.load_checkpoint(tmp_path / "net.safetensors")
    assert tk.sample(loaded, n=5, n_steps=3).shape == (5, 2)


def test_float64_data_meet_a_float32_network(model: tk.ScoreModel) -> None:
    data = LAW.sample(16)
    network = model.network
    hidden = tk.ScoreModel(lambda x, t: network(x, t), tk.VP(), "epsilon")
    losses = [
        score_matching_loss(each, data, generator=torch.Generator().manual_seed(0)).item() for each in (model, hidden)
    ]
    assert abs(losses[0] - losses[1]) < 1e-6 * losses[0]
    one, other = (tk.log_likelihood(each, data[:3].float(), rtol=1e-3, atol=1e-3) for each in (model, hidden))
    assert (one.values - other.values).abs().max() < 0.05
    assert tk.divergence(hidden, data, 0.5).values.shape == (16,)
    images = nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(ValueError, match=r"^model: it cannot take points .*; is their shape"):
        tk.sample(tk.ScoreModel(network_of(images), tk.VP(), shape=(2, 4, 4)), n=2, n_steps=2)


def test_the_way_of_samples(model: tk.ScoreModel) -> None:
    for method in ("euler-maruyama", "ddpm", "heun", "probability-flow"):
        options = {"n": 5, "method": method, "times": [0.01, 0.2, 0.6, 1.0], "batch_size": 2, "seed": 3}
        path = tk.sample(model, return_path=True, **options)
        assert path.times.tolist() == [1.0, 0.6, 0.2, 0.01]
        assert path.points.shape == (4, 5, 2)
        alone = tk.sample(model, **options)  # by the kernels, where the method draws noise
        assert (path.points[-1] - alone).abs().max() < 1e-6 * alone.abs().max()
        start = tk.VP().prior(2).stddev.float() * normals(5, 2, seed=3, purpose="start")
        assert (path.points[0] - start).abs().max() < 1e-6
        rest = tk.sample(model, **{**options, "times": [0.2, 0.6, 1.0]})
        assert (path.points[-2] - rest).abs().max() < 1e-5 or method == "ddpm", method
