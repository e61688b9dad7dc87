"""One wording for each kind of argument, whichever public function is asked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import thermokern as tk
from thermokern import ops
from thermokern.ops.checks import checked_array, checked_device, checked_integer, checked_number

LAW = tk.Gaussian([0.5, -0.5], 0.8)
POINTS = torch.linspace(-1.0, 1.0, 24).reshape(12, 2).double().sin() + torch.eye(12, 2).double()
MODEL = tk.ScoreModel(lambda x, t: -x, tk.VP(), shape=(2,))


def taep(**change: Any) -> Any:
    return tk.taep(LAW, LAW, tk.VP(), **{"n_paths": 3, "n_steps": 4, **change})


def rates(**change: Any) -> Any:
    return tk.entropy_rates(LAW, change.pop("data", LAW), tk.VP(), **{"n_paths": 3, "n_steps": 4, **change})


def limits(**change: Any) -> Any:
    return tk.limits(LAW, change.pop("data", LAW), tk.VP(), **{"n_paths": 4, "n_steps": 4, **change})


def likelihood(**change: Any) -> Any:
    return tk.log_likelihood(LAW, change.pop("x", POINTS), tk.VP(), **change)


def elbo(**change: Any) -> Any:
    return tk.elbo(LAW, change.pop("x", POINTS), tk.VP(), **{"method": "ddpm", "n_steps": 4, **change})


def dissipation(**change: Any) -> Any:
    force = tk.LinearForce(torch.eye(2))
    return tk.entropy_production(force, 1.0, change.pop("x0", LAW), **{"n_paths": 3, "n_steps": 4, **change})


def samples(**change: Any) -> Any:
    return tk.sample(MODEL, **{"n": 3, "n_steps": 4, **change})


def divergence(**change: Any) -> Any:
    return tk.divergence(lambda x: -x, change.pop("x", POINTS), **{"method": "hutchinson", **change})


def normals(**change: Any) -> Any:
    return ops.normals(**{"n": 3, "count": 2, **change})


def hutchinson(**change: Any) -> Any:
    return ops.hutchinson(POINTS, **change)


def kozachenko_leonenko(**change: Any) -> Any:
    return tk.kozachenko_leonenko(POINTS, **{"bias": False, **change})


def information(**change: Any) -> Any:
    return tk.ksg_mutual_information(POINTS[:, :1], POINTS[:, 1:], **{"stderr": False, **change})


def kl_divergence(**change: Any) -> Any:
    return tk.knn_divergence(POINTS, 0.9 * POINTS + 0.01, **{"stderr": False, **change})


def coverage(**change: Any) -> Any:
    return tk.coverage(POINTS, POINTS + 0.1, **{"stderr": False, **change})


def histogram(**change: Any) -> Any:
    return tk.histogram_entropy(POINTS, **change)


def neighbours(**change: Any) -> Any:
    return tk.KDTree(POINTS).query(POINTS, **change)


def chain(**change: Any) -> Any:
    return ops.trajectory_step(POINTS, POINTS, POINTS, TABLE, 0, divergence=torch.zeros(12).double(), **change)


TABLE = tk.processes.step_table(tk.VP(), tk.VP().grid(4), "stratonovich")

# By argument: the functions that take it, and a good value.
SEEDED = [taep, rates, limits, likelihood, elbo, dissipation, samples, divergence, normals, hutchinson]
SEEDED += [kozachenko_leonenko, information, kl_divergence, coverage, chain]
OFFSET = [taep, rates, limits, likelihood, elbo, dissipation, samples, divergence, normals, hutchinson, chain]
INTEGERS: dict[str, tuple[list[Callable[..., Any]], int, int]] = {  # functions, a good value, the least
    "seed": (SEEDED, 7, 0),
    "path_offset": (OFFSET, 5, 0),
    "n_paths": ([taep, rates, limits, dissipation], 4, 0),
    "n_steps": ([taep, rates, limits, elbo, dissipation, samples], 6, 1),
    "probes": ([taep, rates, limits, likelihood, divergence], 2, 1),
    "repeats": ([likelihood, elbo], 2, 1),
    "n_times": ([elbo], 4, 2),
    "n_likelihood": ([limits], 2, 1),
    "memory_budget": ([taep, divergence], 2**20, 1),
    "batch_size": ([samples], 2, 1),
    "n": ([samples, normals], 3, 0),
    "count": ([normals], 3, 0),
    "first": ([normals, hutchinson], 8, 0),
    "k": ([kozachenko_leonenko, information, kl_divergence, coverage, neighbours], 2, 1),
    "variant": ([information], 2, 1),
    "bins": ([histogram], 3, 1),
    "workers": ([neighbours], 1, -1),
}
NUMBERS: dict[str, tuple[list[Callable[..., Any]], float]] = {
    "t_eps": ([taep, rates, limits, likelihood, elbo, samples], 0.25),
    "rtol": ([likelihood, limits], 0.25),
    "atol": ([likelihood, limits], 0.25),
    "dequantize": ([likelihood], 0.25),
    "t_end": ([dissipation], 0.25),
    "base": ([kozachenko_leonenko, information, kl_divergence, histogram], 2.0),
    "jitter": ([kozachenko_leonenko, information], 0.25),
}
CHOICES: dict[str, list[Callable[..., Any]]] = {
    "backend": [taep, rates, limits, likelihood, elbo, dissipation],
    "divergence": [taep, rates, limits, likelihood],
    "direction": [taep, rates],
    "scheme": [taep, dissipation],
    "spacing": [taep, rates, elbo, samples],
    "method": [elbo, samples, divergence],
    "kind": [divergence, hutchinson],
    "duplicates": [kozachenko_leonenko],
    "purpose": [normals],
}
DTYPES = [taep, rates, limits, likelihood, elbo, dissipation, samples, normals]


def pairs(table: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(f, name, id=f"{f.__name__}-{name}")
        for name, entry in table.items()
        for f in (entry[0] if isinstance(entry, tuple) else entry)
    ]


def numbers_of(result: Any) -> list[Any]:
    """What a result says in numbers, for a comparison bit by bit."""
    if isinstance(result, tuple | torch.Tensor):
        return [part.tolist() for part in (result if isinstance(result, tuple) else (result,))]
    names = ("values", "value", "local", "hits", "bath", "intrinsic", "nll_plugin")
    return [str(getattr(result, name)) for name in names if hasattr(result, name)]


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.BiasWarning")
@pytest.mark.parametrize(("function", "name"), pairs(INTEGERS))
def test_integers_of_any_library_are_integers(function: Callable[..., Any], name: str) -> None:
    _, good, _ = INTEGERS[name]
    plain = numbers_of(function(**{name: good}))
    for value in (np.int64(good), np.array(good, dtype=np.uint32 if good >= 0 else np.int32), torch.tensor(good)):
        assert str(numbers_of(function(**{name: value}))) == str(plain)


@pytest.mark.parametrize(("function", "name"), pairs(INTEGERS))
def test_what_is_no_integer_is_refused_in_one_wording(function: Callable[..., Any], name: str) -> None:
    least = INTEGERS[name][2]
    words = () if name == "bins" else ("3",)  # whose strings are rules
    for value in (True, np.True_, torch.tensor(True), 2.5, np.float64(2.0), *words, least - 1):
        with pytest.raises(ValueError, match=rf"^{name}: expected an (even )?integer( of at least| in \[)"):
            function(**{name: value})


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.BiasWarning")
@pytest.mark.parametrize(("function", "name"), pairs(NUMBERS))
def test_numbers_of_any_library_are_numbers(function: Callable[..., Any], name: str) -> None:
    _, good = NUMBERS[name]
    plain = numbers_of(function(**{name: good}))
    for value in (np.float32(good), np.array(good), torch.tensor(good)):  # powers of two: exact in float32
        assert str(numbers_of(function(**{name: value}))) == str(plain)


@pytest.mark.parametrize(("function", "name"), pairs(NUMBERS))
def test_what_is_no_number_is_refused_in_one_wording(function: Callable[..., Any], name: str) -> None:
    for value in (True, np.True_, "0.1", math.nan, math.inf, -1.0, torch.ones(2)):
        with pytest.raises(ValueError, match=rf"^{name}: expected a finite number( above| of at least| in )"):
            function(**{name: value})


@pytest.mark.parametrize(("function", "name"), pairs(CHOICES))
def test_choices_are_listed(function: Callable[..., Any], name: str) -> None:
    for value in ("nonsense", 3):
        with pytest.raises(ValueError, match=rf"^{name}: expected one of \('.*\), got {value!r}$"):
            function(**{name: value})


@pytest.mark.parametrize("function", DTYPES)
def test_dtypes_are_two(function: Callable[..., Any]) -> None:
    for value in (torch.float16, "float32"):
        with pytest.raises(ValueError, match=r"^dtype: expected torch\.float32 or torch\.float64, got "):
            function(dtype=value)


@pytest.mark.parametrize("function", [taep, normals])
def test_devices_are_two(function: Callable[..., Any]) -> None:
    for value in ("mars", "meta", 3.5):
        with pytest.raises(ValueError, match=rf"^device: expected one of \('cpu', 'cuda'\), got {value}"):
            function(device=value)


@pytest.mark.parametrize(
    ("function", "name"), [(taep, "x0"), (rates, "data"), (likelihood, "x"), (elbo, "x"), (dissipation, "x0")]
)
def test_points_are_refused_in_one_wording(function: Callable[..., Any], name: str) -> None:
    shown = r"expected points \(n, …\), got "
    bad: list[tuple[Any, str]] = [
        ("abc", f"{shown}str"),
        (torch.zeros(3), rf"{shown}\(3,\)"),
        (torch.zeros(3, 0), rf"{shown}\(3, 0\)"),
        (torch.zeros(3, 2, device="meta"), "expected real numbers on cpu or cuda, got torch.float32 on meta"),
        (torch.zeros(3, 2, requires_grad=True), "requires a gradient"),
        (torch.tensor([[math.nan, 0.0]]), "expected finite numbers, got 1 of 2 NaN or infinite"),
    ]
    for value, words in bad:
        with pytest.raises((ValueError, TypeError), match=rf"^{name}: {words}"):
            function(**{name: value, **({"n_paths": None} if name in ("x0", "data") else {})})


@pytest.mark.parametrize(
    "call",
    [
        lambda model: tk.taep(model, LAW, tk.VP(), n_paths=1),
        lambda model: tk.entropy_rates(model, LAW, tk.VP(), n_paths=1),
        lambda model: tk.limits(model, LAW, tk.VP(), n_paths=1),
        lambda model: tk.log_likelihood(model, POINTS, tk.VP()),
        lambda model: tk.elbo(model, POINTS, tk.VP()),
        lambda model: tk.sample(model, tk.VP(), 1, shape=(2,)),
    ],
    ids=["taep", "entropy_rates", "limits", "log_likelihood", "elbo", "sample"],
)
def test_what_is_no_score_is_refused_and_processes_agree(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="^model: expected a distribution, a ScoreModel or a callable .* got NoneType"):
        call(None)
    with pytest.raises(ValueError, match=r"^process: VP\(.*\) and VE\(.*\) differ"):
        call(tk.ScoreModel(lambda x, t: -x, tk.VE()))


def test_targets_and_processes_name_their_arguments() -> None:
    for make, name in (
        (lambda: tk.VP(beta_min="0.1"), "beta_min"),
        (lambda: tk.VE(sigma=True), "sigma"),
        (lambda: tk.EDM(sigma_max=math.nan), "sigma_max"),
        (lambda: tk.Flow(t_end=-1.0), "t_end"),
        (lambda: tk.SwissRoll(noise="0.5"), "noise"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: expected a finite number"):
            make()
    for make, name in (
        (lambda: tk.GaussianMixture.ring(n_modes=2.5), "n_modes"),
        (lambda: tk.ScoreMLP(True), "dim"),
        (lambda: tk.ScoreMLP(2, width=0), "width"),
        (lambda: tk.ScoreMLP(2, time_features=7), "time_features"),
        (lambda: tk.Empirical([[0.0]], memory_budget=1.5e9), "memory_budget"),
        (lambda: tk.VP().grid(True), "n_steps"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: expected an (even )?integer"):
            make()
    for make, name in ((lambda: tk.Gaussian("mean"), "mean"), (lambda: tk.UniformBox([None], [1.0]), "low")):
        with pytest.raises(TypeError, match=rf"^{name}: expected numbers, got"):
            make()


def test_checks_say_their_limits() -> None:
    with pytest.raises(ValueError, match=r"^seed: expected an integer in \[0, 2\*\*63\), got -1$"):
        checked_integer("seed", -1, 0, 2**63)
    with pytest.raises(ValueError, match=r"^r: expected a finite number in \[0, 1\), got 1.0$"):
        checked_number("r", 1.0, least=0.0, below=1.0)
    with pytest.raises(ValueError, match="^a: expected finite numbers, got 1 of 2 NaN or infinite$"):
        checked_array("a", [0.0, math.inf])
    assert type(checked_integer("n", np.uint8(3))) is int
    assert type(checked_number("n", torch.tensor(3))) is float
    assert checked_array("a", 0.3).item() == 0.3
    assert checked_device("cpu") == torch.device("cpu")


# Names that several quantities take, in the order in which all of them do.
ORDER = [
    "n_paths",
    "x0",
    "n_likelihood",
    "method",
    "n_times",
    "t_start",
    "n_steps",
    "t_eps",
    "spacing",
    "times",
    "scheme",
    "chain",
    "variance",
    "prior",
    "divergence",
    "probes",
    "kind",
    "rtol",
    "atol",
    "direction",
    "from_prior",
    "dequantize",
    "repeats",
    "seed",
    "path_offset",
    "backend",
    "device",
    "dtype",
    "memory_budget",
    "checkpoint",
    "gradient",
    "batch_size",
    "allow_nonfinite",
    "progress",
]


@pytest.mark.parametrize(
    "function",
    [
        tk.taep,
        tk.entropy_rates,
        tk.limits,
        tk.log_likelihood,
        tk.elbo,
        tk.entropy_production,
        tk.sample,
        tk.divergence,
        tk.optimal_schedule,
    ],
)
def test_arguments_come_in_one_order(function: Callable[..., Any]) -> None:
    own = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    shared = [name for name in own if name in ORDER]
    assert shared == sorted(shared, key=ORDER.index)
    section = inspect.cleandoc(function.__doc__ or "").split("Parameters\n----------\n")[1].split("\n\n")[0]
    entries = [line.split(" : ")[0].split(", ")[0] for line in section.splitlines() if not line.startswith(" ")]
    documented = [name for name in entries if name in own]
    assert documented == sorted(documented, key=own.index)
