"""Networks that are no function of one point, or whose derivative PyTorch does not see: named before they are asked."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_exact
from torch import Tensor, nn

import thermokern as tk
from thermokern.models.trial import examine

F64 = torch.float64
PROCESS = tk.VP()
GENERATOR_KEY = 4


def points(n: int = 6, dim: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(GENERATOR_KEY), dtype=dtype)


class Net(nn.Module):
    """A small network that no kernel knows, with a layer between."""

    def __init__(self, *between: nn.Module, dim: int = 2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(dim + 1, 8), nn.Linear(8, dim)
        self.between = nn.Sequential(*between)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(self.between(torch.sin(self.first(torch.cat([x, t[:, None]], 1)))))


class Under(Net):
    """Its forward runs under a context of PyTorch's."""

    def __init__(self, context: Callable[[], object]) -> None:
        super().__init__()
        self.context = context

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        with self.context():
            return super().forward(x, t)


class ThroughNumPy(Net):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(x.detach().numpy()), t)


class HalfDetached(Net):
    """Some of what depends on x is cut off."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x.detach(), t) - 0.5 * x


LOST = {
    "no_grad": lambda: Under(torch.no_grad),
    "inference_mode": lambda: Under(torch.inference_mode),
    "NumPy": ThroughNumPy,
    "detach": HalfDetached,
}
QUANTITIES: dict[str, Callable[[tk.ScoreModel], object]] = {
    "divergence": lambda model: tk.divergence(model, points(), 0.7),
    "hutchinson": lambda model: tk.divergence(model, points(), 0.7, method="hutchinson"),
    "taep": lambda model: tk.taep(model, tk.Gaussian([0.0, 0.0]), n_paths=6, n_steps=8),
    "taep, probes": lambda model: tk.taep(
        model, tk.Gaussian([0.0, 0.0]), n_paths=6, n_steps=8, divergence="hutchinson"
    ),
    "taep, reference": lambda model: tk.taep(
        model, tk.Gaussian([0.0, 0.0]), n_paths=6, n_steps=8, backend="reference", scheme="ito"
    ),
    "log_likelihood": lambda model: tk.log_likelihood(model, points(2), rtol=1e-2, atol=1e-2),
    "log_likelihood, probes": lambda model: tk.log_likelihood(
        model, points(2), rtol=1e-2, atol=1e-2, divergence="hutchinson"
    ),
    "entropy_rates": lambda model: tk.entropy_rates(model, points(), n_steps=8),
}


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("kind", LOST)
def test_a_derivative_that_is_lost_is_right_or_an_error(kind: str, quantity: str) -> None:
    """Never a zero in its place: an error that names the network, or, where forward mode has it, the number."""
    model = tk.ScoreModel(LOST[kind]().requires_grad_(False), PROCESS)
    if kind == "no_grad" and (quantity in ("divergence", "hutchinson") or quantity in ("taep", "taep, probes")):
        right = QUANTITIES[quantity](tk.ScoreModel(Net().requires_grad_(False), PROCESS))
        found = QUANTITIES[quantity](model)
        assert (found.values - right.values).abs().max().item() < 1e-5 * right.values.abs().max().item()
        return
    with pytest.raises(ValueError, match=r"^(field|model): PyTorch does not see how its values change with x"):
        QUANTITIES[quantity](model)


@pytest.mark.parametrize("way", ["taep", "divergence", "log_likelihood", "entropy_rates"])
def test_a_constant_field_has_no_derivative(way: str) -> None:
    """No graph is right where nothing changes."""
    constant = lambda x, t: torch.full_like(x, 0.5)  # noqa: E731
    match way:
        case "divergence":
            assert_exact(tk.divergence(lambda x: torch.ones_like(x), points()).values, torch.zeros(6))
        case "taep":
            options = {"n_paths": 6, "n_steps": 8, "backend": "reference"}
            assert bool(tk.taep(constant, tk.Gaussian([0.0, 0.0]), PROCESS, **options).values.isfinite().all())
        case "log_likelihood":
            tk.log_likelihood(constant, points(), PROCESS)
        case "entropy_rates":
            rates = tk.entropy_rates(constant, points(), PROCESS, n_steps=8)
            assert_exact(rates.divergence.values, torch.zeros(9, dtype=F64))


def test_steps_kinks_and_coarse_numbers_are_no_lost_derivatives() -> None:
    """Where differences cannot be trusted they accuse nobody: kinks at zeros, bfloat16, networks of large slope."""
    for seed in range(20):
        torch.manual_seed(seed)
        relu = nn.Sequential(nn.Linear(2, 16, bias=False), nn.ReLU(), nn.Linear(16, 2))
        assert tk.divergence(relu, torch.zeros(4, 2)).mode == "forward"
        assert tk.divergence(relu, points()).mode == "forward"
        steep = lambda x: torch.sin(300.0 * x)  # noqa: E731
        tk.divergence(steep, points())
        half = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)).bfloat16()
        tk.divergence(tk.ScoreModel(Timeless(half), PROCESS), points(4, 1), 0.5)
        tk.divergence(lambda x: 1e-3 * x + 100.0, points())


class Timeless(nn.Module):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(x)


# ---- functions of one point


class Noisy(Net):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x, t) + 0.1 * torch.randn(x.shape)


class InPlace(Net):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out = super().forward(x, t)
        with torch.no_grad():
            x.mul_(0.5)
        return out


class Centred(Net):
    """It subtracts what the batch has on average."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x - x.mean(0), t)


class Counting(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x, t)


WRONG = {
    "dropout": (lambda: Net(nn.Dropout(0.3)), r"training mode .*between\.0: Dropout\(p=0\.3.*\.eval\(\)"),
    "batch norm": (lambda: Net(nn.BatchNorm1d(8)), r"training mode .*between\.0: BatchNorm1d.*\.eval\(\)"),
    "random": (Noisy, "two calls at the same points differ by .* random numbers"),
    "in place": (InPlace, "changes x in place"),
    "centred": (Centred, "changes by .* with the other points of the batch"),
    "counting": (Counting, "changes the network's buffers calls"),
}
ASKED = {
    **QUANTITIES,
    "elbo": lambda model: tk.elbo(model, points()),
    "elbo of a chain": lambda model: tk.elbo(model, points(), method="ddpm", n_steps=8),
    "sample": lambda model: tk.sample(model, n=4, n_steps=8, shape=(2,)),
    "limits": lambda model: tk.limits(model, points(), n_steps=8, n_paths=6, rtol=1e-2, atol=1e-2),
    "taep as reference": lambda model: tk.taep(lambda x, t: -x, model, x0=points(), n_steps=8),
}


@pytest.mark.parametrize("quantity", ASKED)
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_function_of_one_point_is_named(kind: str, quantity: str) -> None:
    """And what it keeps is as it was."""
    make, words = WRONG[kind]
    network = make().requires_grad_(False)
    modes = [module.training for module in network.modules()]
    before = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"^(field|model|reference): .*{words}"):
        ASKED[quantity](tk.ScoreModel(network, PROCESS))
    assert [module.training for module in network.modules()] == modes
    for name, value in network.state_dict().items():
        assert_exact(value, before[name], name)
    if kind != "random":
        assert_exact(torch.get_rng_state(), random)


def test_information_names_networks_in_training_mode() -> None:
    model = tk.ScoreModel(Net(nn.Dropout(0.3)), PROCESS)
    conditional = tk.ConditionalModel(Net(nn.Dropout(0.3)), PROCESS)
    for ask in (
        lambda: tk.neural_entropy(model, points(), evaluations=64),
        lambda: tk.mutual_information(conditional, model, points(), points(), evaluations=64),
    ):
        with pytest.raises(ValueError, match=r"^(model|conditional): its modules in training mode .*\.eval\(\)"):
            ask()


def test_modes_that_change_nothing_are_taken() -> None:
    """Training mode itself is no fault: dropout of nothing, layer norm, and all of it in eval mode."""
    for layer in (nn.Dropout(0.0), nn.LayerNorm(8), nn.Dropout(0.5).eval(), nn.BatchNorm1d(8).eval()):
        model = tk.ScoreModel(Net(layer).requires_grad_(False), PROCESS)
        first, second = (tk.taep(model, tk.Gaussian([0.0, 0.0]), n_paths=4, n_steps=8) for _ in range(2))
        assert_exact(first.values, second.values)


def test_buffers_come_back_after_an_exception() -> None:
    network = Counting()

    def fails(x: Tensor) -> Tensor:
        network(x, x[:, 0])
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="^no$"):
        examine("field", fails, points(), network)
    assert network.calls.item() == 0.0


# ---- under the caller's contexts: see test_contexts.py too


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_inference_mode_changes_no_number(quantity: str) -> None:
    model = tk.ScoreModel(Net().requires_grad_(False), PROCESS)
    expected = _values(QUANTITIES[quantity](model))
    with torch.inference_mode():
        found = _values(QUANTITIES[quantity](model))
    assert_exact(found.clone(), expected)


def _values(result: object) -> Tensor:
    return result.divergence.values if isinstance(result, tk.EntropyRates) else result.values  # type: ignore[attr-defined]


def test_a_network_made_under_inference_mode_is_named() -> None:
    with torch.inference_mode():
        model = tk.ScoreModel(Net(), PROCESS)
    for name in ("divergence", "taep", "log_likelihood"):
        with pytest.raises(
            ValueError, match=r"^(field|model): its parameters were made under torch\.inference_mode\(\)"
        ):
            QUANTITIES[name](model)


def test_gradients_that_are_off_are_named() -> None:
    model = tk.ScoreModel(Net(), PROCESS)
    with torch.no_grad(), pytest.raises(ValueError, match="^gradient: expected gradients enabled"):
        tk.taep(model, tk.Gaussian([0.0, 0.0]), n_paths=4, n_steps=4, gradient=True)


# ---- precisions, times, copies


@pytest.mark.parametrize(("network", "paths"), [(torch.float32, F64), (F64, torch.float32), (torch.bfloat16, F64)])
def test_precisions_of_network_and_paths_may_differ(network: torch.dtype, paths: torch.dtype) -> None:
    """Streamed, reference, samples, likelihoods: the network in its own, all else as asked."""
    model = tk.ScoreModel(Net().to(network).requires_grad_(False), PROCESS)
    if network == torch.bfloat16:  # its concatenation would mix x and t
        model = tk.ScoreModel(Timeless(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))).to(network), PROCESS)
    law = tk.Gaussian([0.0, 0.0])
    streamed, plain = (
        tk.taep(model, law, n_paths=8, n_steps=8, dtype=paths, backend=b) for b in ("streamed", "reference")
    )
    assert streamed.values.dtype == plain.values.dtype == paths
    size = plain.values.abs().max().item()
    assert (streamed.values - plain.values).abs().max().item() < (1e-4 if network != torch.bfloat16 else 0.1) * size
    assert tk.sample(model, n=3, n_steps=8, shape=(2,), dtype=paths).dtype == paths
    assert bool(tk.log_likelihood(model, points(2), dtype=paths, rtol=1e-1, atol=1e-1).values.isfinite().all())


def test_a_model_takes_a_time_for_each_point() -> None:
    model = tk.ScoreModel(tk.ScoreMLP(2).requires_grad_(False), PROCESS, "epsilon")
    x, t = points(), torch.linspace(0.1, 0.9, 6)
    expected = torch.cat([model(x[i : i + 1], t[i].item()) for i in range(6)])
    assert (model(x, t) - expected).abs().max().item() < 1e-5 * expected.abs().max().item()
    assert_exact(model(x, t), model.at(x, t.double()))
    with pytest.raises(ValueError, match=r"^t: expected a number or \(6,\) to match the points of x, got \(5,\)"):
        model(x, t[:5])
    for time in (-1.0, float("nan"), 2.0):
        with pytest.raises(ValueError, match=r"^t: expected a finite number in \[0, 1\]"):
            model(x, time)


def models() -> dict[str, tk.ScoreModel]:
    first, second = (tk.ScoreModel(Net().requires_grad_(False), PROCESS, "epsilon") for _ in range(2))
    return {
        "guided": tk.guided(first, second, 0.5),
        "under": first.under(tk.CosineVP()),
        "guided under": tk.guided(first, second, 0.5).under(tk.CosineVP()),
    }


@pytest.mark.parametrize("kind", models())
def test_copies_are_copies(kind: str) -> None:
    assert_copies_are_copies(models()[kind], points(3))


def assert_copies_are_copies(model: tk.ScoreModel, x: Tensor, t: float = 0.5) -> None:
    """Deep copies, pickles and averaged models evaluate their own parameters, and all of them are found."""
    t *= model.process.t_end
    before = model(x, t)
    assert list(model.network.parameters())
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_exact(made(x, t), before)
        with torch.no_grad():
            for parameter in made.network.parameters():
                parameter.mul_(0.5)
        assert_exact(model(x, t), before)
        assert (made(x, t) - before).abs().max().item() > 1e-3 * before.abs().max().item()
    average = torch.optim.swa_utils.AveragedModel(model.network)
    averaged = tk.ScoreModel(average.module, model.process, model.predicts)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(0.5)
    assert_exact(averaged(x, t), before)
    average.update_parameters(model.network)
    assert_exact(averaged(x, t), model(x, t))


# ---- numbers that are none


class Bad(Net):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.where(t[:, None] > 0.3, torch.nan, super().forward(x, t))


def test_nan_is_never_without_a_word() -> None:
    model = tk.ScoreModel(Bad().requires_grad_(False), PROCESS)
    for name, ask in ASKED.items():
        if name in ("elbo of a chain",):
            continue
        with pytest.raises(FloatingPointError, match="finite"):
            ask(model)
    with pytest.raises(FloatingPointError, match="^the loss is nan, not finite at [1-6] of 6 points"):
        tk.score_matching_loss(model, points(), generator=torch.Generator().manual_seed(0))
    assert tk.score_matching_loss(model, points(), allow_nonfinite=True).isnan()
    assert bool(tk.sample(model, n=2, n_steps=8, shape=(2,), allow_nonfinite=True).isnan().all())
    assert bool(tk.divergence(model, points(), 0.7, allow_nonfinite=True).values.isnan().all())


def test_times_outside_of_the_process_are_named() -> None:
    law, box = tk.Gaussian([0.0, 0.0]), tk.UniformBox([0.0, 0.0], [1.0, 1.0])
    for t in (-1.0, float("nan"), 1.5):
        for each in (law, box, tk.Empirical(points())):
            for what in (each.log_prob, each.score, each.divergence, each.evaluate):
                with pytest.raises(ValueError, match=r"^t: expected a finite number in \[0, 1\]"):
                    what(points(), t, PROCESS)
    for t_eps in (float("nan"), 5.0, 0.0):
        with pytest.raises(ValueError, match="^t_eps: expected a finite number"):
            tk.score_matching_loss(tk.ScoreModel(Net(), PROCESS), points(), t_eps=t_eps)


def test_points_too_far_for_float32_are_named() -> None:
    means, variances, weights = torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1)
    far = torch.full((1, 2), 3e19)
    with pytest.raises(ValueError, match=r"^x: lies too far from the means for torch.float32"):
        tk.ops.mixture_score(far, means, variances, weights)
    assert bool(tk.ops.mixture_score(far.double(), means, variances, weights).log_density.isfinite().all())
    assert bool(tk.ops.mixture_score(1e-2 * far, means, variances, weights).log_density.isfinite().all())


def test_full_covariances_under_autocast_are_float32() -> None:
    law = tk.Gaussian([0.3, -0.2, 0.1], torch.eye(3) + 0.5)
    x = points(8, 3)
    expected = law.evaluate(x, 0.4, PROCESS)
    with torch.autocast("cpu", torch.bfloat16):
        found = law.evaluate(x, 0.4, PROCESS)
    for one, other in zip(found, expected, strict=True):
        assert_exact(one, other)
