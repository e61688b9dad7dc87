"""Likelihoods of stiff and noisy fields: a limit, an early word, a bar; and the words and numbers of results."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_exact
from torch import Tensor

import thermokern as tk
from thermokern import _core
from thermokern.cli.config import read_config, run_config

PROCESS = tk.VP()
X = torch.tensor([[0.3, -0.2], [1.0, 0.4]], dtype=torch.float64)
FLAT = {"backend": "reference", "process": PROCESS}


def stiff(x: Tensor, t: float) -> Tensor:
    """As of a network that was never trained near the data: a needle's score, of width 10^−5, at every time."""
    return -1e5 * x + 30.0 * torch.sin(300.0 * x)


def ordinary(x: Tensor, t: float) -> Tensor:
    return -x


def test_what_needs_more_than_the_limit_is_given_up() -> None:
    with pytest.raises(FloatingPointError, match="2 of 2 points .*2 of them took more than max_evaluations=500"):
        tk.log_likelihood(stiff, X, max_evaluations=500, **FLAT)
    given_up = tk.log_likelihood(stiff, X, max_evaluations=500, allow_nonfinite=True, **FLAT)
    assert bool(given_up.values.isnan().all())
    assert int(given_up.nfe.max()) < 510
    free = tk.log_likelihood(ordinary, X, **FLAT)
    assert_exact(tk.log_likelihood(ordinary, X, max_evaluations=500, **FLAT).values, free.values)
    with pytest.raises(ValueError, match="^max_evaluations: expected an integer of at least 1"):
        tk.log_likelihood(ordinary, X, max_evaluations=0, **FLAT)


def test_kernels_keep_the_limit_too() -> None:
    sharp = tk.GaussianMixture([[0.0, 0.0], [1.0, 0.0]], std=0.05)
    whole = tk.log_likelihood(sharp, X, PROCESS, rtol=1e-9, atol=1e-9, backend="fused")
    with pytest.raises(FloatingPointError, match="took more than max_evaluations=30"):
        tk.log_likelihood(sharp, X, PROCESS, rtol=1e-9, atol=1e-9, backend="fused", max_evaluations=30)
    enough = int(whole.nfe.max())
    again = tk.log_likelihood(sharp, X, PROCESS, rtol=1e-9, atol=1e-9, backend="fused", max_evaluations=enough)
    assert_exact(again.values, whole.values)


def test_a_long_likelihood_says_so_early() -> None:
    calls = 0

    class Enough(Exception):
        pass

    def counted(x: Tensor, t: float) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 40_000:
            raise Enough
        return -1e4 * x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(tk.SlowFlowWarning, match="stiff or noisy: after .* Remedies: .*max_evaluations="):
            tk.log_likelihood(counted, X[:1], **FLAT)
    assert calls < 8000


def test_a_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    tk.log_likelihood(ordinary, X, **FLAT)
    assert capsys.readouterr().err == ""
    tk.log_likelihood(ordinary, X, progress=True, **FLAT)
    assert "log-likelihood: 100%" in capsys.readouterr().err


# ---- words and numbers


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (tk.Estimate(1.26e-20, 3e-22), "1.260e-20 ± 3.0e-22"),
        (tk.Estimate(-4e15, 2e12), "-4.0000e+15 ± 2.0e+12"),
        (tk.Estimate(1e-9, 2e-7), "1.0e-09 ± 2.0e-07"),
        (tk.Estimate(12345.678, 0.02), "12345.678 ± 0.020"),
        (tk.Estimate(0.00123, 3e-5), "0.001230 ± 0.000030"),
        (tk.Estimate(1e-9, 2e-3), "0.0000 ± 0.0020"),
        (tk.Estimate(0.0, 0.0), "0 ± 0"),
    ],
)
def test_small_and_large_estimates_have_exponents(estimate: tk.Estimate, words: str) -> None:
    assert str(estimate) == words


@pytest.mark.parametrize("base", [2, 3, math.e, 10, 1.5])
def test_bits_per_dimension_at_every_base(base: float) -> None:
    """A KeyError at base 3."""
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, nats = (tk.kozachenko_leonenko(x, base=b, bias=False) for b in (base, None))
    expected = nats.value / (2.0 * math.log(2.0))
    assert abs(found.bits_per_dim.value - expected) <= 4.0 * np.finfo(float).eps * abs(expected)
    assert "bits per dimension" in found.summary()
    with pytest.raises(ValueError, match="^base: expected a number above 1, got 0.5"):
        tk.kozachenko_leonenko(x, base=0.5)


def test_what_the_exchange_ratio_is() -> None:
    """``∫E[∇·b]dt`` over the intrinsic production, and nothing else, where there is drift."""
    rates = tk.entropy_rates(tk.Gaussian([0.0], [[4.0]]), tk.Gaussian([0.0], [[4.0]]), PROCESS, n_paths=200, n_steps=50)
    t, force = rates.t, torch.tensor([PROCESS.f(float(t)) for t in rates.t], dtype=torch.float64)
    spread = 2.0 * torch.as_tensor(rates.divergence.values) - force * rates.dim
    ratio = spread / torch.as_tensor(rates.intrinsic.values)
    assert float((ratio - rates.exchange_ratio_values).abs().max()) <= 1e-9 * float(ratio.abs().max()) * len(t)
    assert "exchange ratio" not in rates.summary()
    assert "∫E[∇·b]dt / intrinsic" in rates.summary()


def test_results_name_the_instruction_set() -> None:
    assert tk.log_likelihood(ordinary, X, **FLAT).settings["instruction_set"] == _core.instruction_set


def test_the_information_error_is_that_of_one_thread() -> None:
    """Its last bit changed from six threads on."""
    draw = np.random.default_rng(2).normal(size=(3000, 2))
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 6, 8):
            torch.set_num_threads(n)
            found.append(tk.ksg_mutual_information(draw[:, 0], draw[:, 1], bias=False).stderr)
    finally:
        torch.set_num_threads(threads)
    assert len(set(found)) == 1


def test_coverage_of_few_points_has_no_error_and_says_so() -> None:
    draw = np.random.default_rng(3)
    few = tk.coverage(draw.normal(size=(639, 2)), draw.normal(size=(640, 2)))
    assert math.isnan(few.coverage.stderr)
    assert math.isfinite(tk.coverage(draw.normal(size=(640, 2)), draw.normal(size=(640, 2))).coverage.stderr)
    assert "fewer than 640 points" in (tk.coverage.__doc__ or "")


# ---- arrays


def others(x: np.ndarray) -> dict[str, np.ndarray]:
    frozen = x.copy()
    frozen.setflags(write=False)
    return {
        "backwards": x[::-1].copy()[::-1],
        "big-endian": x.astype(x.dtype.newbyteorder(">")),
        "long double": x.astype(np.longdouble),
        "read-only": frozen,
        "unmasked": np.ma.array(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "Fortran": np.asfortranarray(x),
    }


DRAWN = np.random.default_rng(5).normal(size=(200, 2))
QUANTITIES = {
    "entropy": lambda x: tk.kozachenko_leonenko(x, bias=False).value,
    "information": lambda x: tk.ksg_mutual_information(x[:, 0], x[:, 1], bias=False).value,
    "divergence": lambda x: tk.knn_divergence(x, DRAWN + 1.0, bias=False).value,
    "coverage": lambda x: tk.coverage(x, DRAWN + 0.5).coverage.value,
    "histogram": lambda x: tk.histogram_entropy(x, 4).value,
    "likelihood": lambda x: tk.log_likelihood(tk.GaussianMixture.ring(), x, PROCESS).values,
    "taep": lambda x: tk.taep(tk.GaussianMixture.ring(), tk.GaussianMixture.ring(2), PROCESS, x0=x, n_steps=4).values,
    "rates": lambda x: tk.entropy_rates(tk.GaussianMixture.ring(), x, PROCESS, n_steps=4).intrinsic.values,
    "neighbours": lambda x: torch.as_tensor(tk.KDTree(x).neighbours(2)),
    "empirical": lambda x: tk.Empirical(x).score(torch.zeros(1, 2, dtype=torch.float64), 0.5, PROCESS),
}


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.BiasWarning")
def test_arrays_of_every_kind_give_the_same_bits(quantity: str) -> None:
    ask = QUANTITIES[quantity]
    expected = ask(DRAWN)
    for array in others(DRAWN).values():
        assert_exact(ask(array), expected)
    for wrong in (np.ma.masked_less(DRAWN, -1.0), DRAWN + 0j, DRAWN.astype(str)):
        with pytest.raises((TypeError, ValueError), match=r"^\w+: expected (real )?numbers, got"):
            ask(wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    k, seed = np.int32(2), np.uint8(3)
    assert tk.kozachenko_leonenko(DRAWN, k, seed=seed, bias=False).value == (
        tk.kozachenko_leonenko(DRAWN, 2, seed=3, bias=False).value
    )
    for steps in (np.int64(4), np.array(4), torch.tensor(4)):
        assert len(PROCESS.grid(steps)) == 5
    with pytest.raises(ValueError, match="^batch_size: expected an integer of at least 1, got 0"):
        tk.sample(tk.GaussianMixture.ring(), PROCESS, 3, batch_size=0)


# ---- configurations


CONFIG = "model: {ring: {}}\nreference: {ring: {n_modes: 2}}\nprocess: VP\nn_paths: 5\nn_steps: 4\n"


@pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")
def test_yaml_says_what_people_mean(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG + "t_eps: 1e-3\n")
    assert run_config(path, progress=False).settings["t_eps"] == 1e-3
    known = {"t_eps", "n_paths", "model", "reference", "process", "n_steps"}
    for text, value in (("1e-3", 1e-3), ("-2E5", -2e5), (".5e1", 5.0), ("1e", "1e"), ("12", 12), ("1.5", 1.5)):
        path.write_text(CONFIG + f"t_eps: {text}\n")
        assert read_config(path, known, ())["t_eps"] == value
    path.write_text(CONFIG + 'from_prior: "no"\n')
    with pytest.raises(ValueError, match="^from_prior: expected true or false, got 'no'"):
        run_config(path, progress=False)
    for doubled in ("n_paths: 6\n", "data: {n_modes: 1, n_modes: 2}\n"):
        path.write_text(CONFIG + doubled)
        with pytest.raises(ValueError, match=r"^config run\.yaml: not YAML: the key 'n_\w+' comes twice"):
            run_config(path, progress=False)
