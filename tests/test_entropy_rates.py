"""Entropy rates: closed forms of Gaussians, entropies by quadrature, and honest errors."""

from __future__ import annotations

import math

import pytest
import torch
from rate_cases import GAUSSIANS, checkpoint, closed_forms
from tolerances import assert_exact, assert_z
from torch import Tensor

import thermokern as tk
from thermokern.models.evaluate import rademacher
from thermokern.quantities.likelihood import rate_averages
from thermokern.quantities.likelihood.rate_averages import quadrature

PROCESSES = [tk.VP(), tk.VE(10.0), tk.SubVP(), tk.EDM()]


def entropy_of_gaussian(law: tk.Gaussian, process: tk.VP, t: float) -> float:
    m, v = (process.mean_scale(t), process.variance(t)) if t else (1.0, 0.0)
    return 0.5 * (2.0 * math.pi * math.e * (m * m * law.eigenvalues + v)).log().sum().item()


def entropy_on_a_line(law: tk.UniformBox, process: tk.VP, t: float) -> float:
    """Of a one-dimensional law at t, by the trapezoid rule."""
    m, v = process.mean_scale(t), process.variance(t)
    reach = 8.0 * math.sqrt(m * m + v) + 2.0
    x = torch.linspace(-reach, reach, 400_001, dtype=torch.float64)
    log_p = law.log_prob(x[:, None], t, process)
    return -torch.trapezoid(log_p.exp() * log_p, x).item()


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("law", GAUSSIANS, ids=lambda law: f"d{law.dim}")
def test_gaussian_rates(law: tk.Gaussian, process: tk.VP, seed: int) -> None:
    """Every rate at every time, and every integral, within its standard error of the closed form."""
    out = tk.entropy_rates(law, law, process, n_paths=4000, n_steps=32, seed=seed)
    for name, truth in closed_forms(law, process, out.t).items():
        rate = getattr(out, name)
        if name == "exchange" and type(process) in (tk.VE, tk.EDM):
            assert not bool(rate.values.any())
            continue
        z = (rate.values - truth) / rate.stderr
        assert_z(z.tolist(), 4.5, f"{name} over time")
        weights, half = quadrature(process, out.t)
        assert_z(rate.integral.z((weights * truth).sum().item()), 4.0, name)
        by_doubling = abs(((weights - half) * rate.values).sum().item()) / 3.0
        assert abs(rate.quadrature_error - by_doubling) < 1e-9 * (1.0 + by_doubling), name
    assert out.settings["t_eps"] == out.t[0].item() == (0.002 if type(process) is tk.EDM else 1e-5)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_quadrature_converges_to_the_entropy(process: tk.VP) -> None:
    """Order: the trapezoid rule in log-SNR, second order, from the closed form alone; the default grid below 1e-5."""
    law, t_eps = GAUSSIANS[1], 1e-3
    truth = entropy_of_gaussian(law, process, process.t_end) - entropy_of_gaussian(law, process, t_eps)
    errors = []
    for n_steps in (8, 16, 32, 64, 128, 256):
        t = process.grid(n_steps, t_eps, "log-snr")
        weights, half = quadrature(process, t)
        rate = closed_forms(law, process, t)["system"]
        errors.append(abs((weights * rate).sum().item() - truth))
        estimated = abs(((weights - half) * rate).sum().item() / 3.0)
        if n_steps >= 64:
            assert 0.8 * errors[-1] < estimated < 1.25 * errors[-1], "grid doubling reads the error"
    assert errors[-1] < 1e-5
    slope = math.log2(errors[3] / errors[5]) / 2.0
    assert abs(slope - 2.0) < 0.1, f"errors {errors}"


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    ("law", "relative"),
    [(tk.Gaussian([0.0], 0.5), 0.02), (tk.UniformBox([-1.0], [1.0]), 0.06)],
    ids=("gaussian", "box"),
)
def test_the_piece_below_the_first_time(law: tk.Gaussian, relative: float, process: tk.VP) -> None:
    """A box has ``√v`` where a smooth density has v: the exponent is read off, not assumed."""
    t_eps = process.time_at(6.5)  # v/m² = 0.0015
    out = tk.entropy_rates(law, law, process, n_paths=40_000, n_steps=64, t_eps=t_eps, seed=1)
    truth = entropy_on_a_line(law, process, t_eps) - law.entropy()
    below = out.system.below
    assert abs(below.value - truth) < relative * abs(truth) + 4.0 * below.stderr, f"{below}, truth {truth}"
    assert below.stderr < 0.3 * abs(truth)


def test_an_integral_that_diverges_is_said_to() -> None:
    """Sub-VP's D vanishes with t, and the intrinsic rate goes as 1/t."""
    out = tk.entropy_rates(GAUSSIANS[1], GAUSSIANS[1], tk.SubVP(), n_paths=1000, n_steps=32)
    assert out.intrinsic.below.value == math.inf
    assert out.exchange.below.value == -math.inf
    assert math.isfinite(out.system.below.value)


@pytest.mark.parametrize("process", [tk.VP(), tk.VE(10.0)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    "law",
    [tk.UniformBox([-1.0], [1.0]), tk.GaussianMixture([[-1.0], [1.0]], std=0.3, weights=[0.3, 0.7])],
    ids=lambda law: type(law).__name__,
)
def test_the_system_rate_integrates_to_the_entropy(law: tk.UniformBox, process: tk.VP, seed: int) -> None:
    """Both forms, of a box and a mixture, against entropies by quadrature; from t = 0 with the piece below."""
    out = tk.entropy_rates(law, law, process, n_paths=5000, n_steps=64, t_eps=1e-3, seed=seed)
    last = entropy_on_a_line(law, process, process.t_end)
    truth = last - entropy_on_a_line(law, process, 1e-3)
    for rate in (out.system, out.system_sum):
        error = rate.integral.value - truth
        assert abs(error) < 4.0 * rate.integral.stderr + 3.0 * rate.quadrature_error
    whole = out.system_sum.integral.value + out.system_sum.below.value
    assert abs(whole - (last - law.entropy())) < 4.0 * out.system_sum.integral.stderr + 0.01


# --- errors and plumbing --------------------------------------------------------------------------------------------


def test_integrals_know_their_errors() -> None:
    """Times along a path are correlated: the spread of independent batches is what each says it is."""
    law, process = GAUSSIANS[1], tk.VP()
    runs = [tk.entropy_rates(law, law, process, n_paths=300, n_steps=16, seed=s) for s in range(40)]
    for name in ("intrinsic", "exchange", "system"):
        integrals = [getattr(run, name).integral for run in runs]
        spread = torch.tensor([integral.value for integral in integrals]).std().item()
        said = sum(integral.stderr for integral in integrals) / len(integrals)
        assert 0.7 < spread / said < 1.4, f"{name}: spread {spread:.3g}, standard error {said:.3g}"
    # Over time an error is stated that is too large, if anything, where a rate is a sum of two averages. Those of a
    # narrow law differ much in size.
    narrow = tk.Gaussian([0.3, -0.2], [0.01, 0.02])
    runs = [tk.entropy_rates(narrow, narrow, process, n_paths=300, n_steps=16, seed=s) for s in range(40)]
    for name, least in (("intrinsic", 0.6), ("system_sum", 0.1)):
        rates = [getattr(run, name) for run in runs]
        ratio = torch.stack([rate.values for rate in rates]).std(0) / torch.stack([rate.stderr for rate in rates]).mean(
            0
        )
        assert least < float(ratio.min()) <= float(ratio.max()) < 1.5, f"{name}: {ratio.tolist()}"


def test_paths_depend_on_seed_and_index_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    law, process = GAUSSIANS[1], tk.VP()
    options = dict(n_steps=16, dtype=torch.float64, backend="reference")
    whole = tk.entropy_rates(law, law, process, n_paths=300, **options)
    halves = [tk.entropy_rates(law, law, process, n_paths=150, path_offset=low, **options) for low in (0, 150)]
    mean = 0.5 * (halves[0].intrinsic.values + halves[1].intrinsic.values)
    assert float(((mean - whole.intrinsic.values) / whole.intrinsic.values).abs().max()) < 1e-12
    monkeypatch.setattr(rate_averages, "_CHUNK", 2 * 64)
    pieces = tk.entropy_rates(law, law, process, n_paths=300, **options)
    for name, rate in pieces.named().items():
        other = getattr(whole, name)
        assert float((rate.values - other.values).abs().max()) < 1e-10 * (1.0 + float(other.values.abs().max()))
        assert abs(rate.integral.stderr - other.integral.stderr) < 1e-10
        assert float((rate.stderr - other.stderr).abs().max()) < 1e-10 * (1.0 + float(other.stderr.max()))


def test_the_kernels_give_the_rates_of_pytorch() -> None:
    """Path by path on the same noise, mixtures and a network; what the kernels do not know is said."""
    law, process = tk.GaussianMixture.ring(), tk.VP()
    model = checkpoint()
    double = tk.ScoreModel(model.network.double(), model.process, model.predicts)
    options = dict(n_paths=300, n_steps=16, t_eps=1e-3, dtype=torch.float64, seed=3)
    for score in (law, double):
        fused = tk.entropy_rates(score, law, process, backend="fused", **options)
        slow = tk.entropy_rates(score, law, process, backend="reference", **options)
        assert (fused.backend, slow.backend) == ("fused", "reference")
        for name, rate in fused.named().items():
            other = getattr(slow, name)
            size = 1e-9 * (1.0 + float(slow.score_energy.values.max()))
            assert float((rate.values - other.values).abs().max()) < size, name
            assert float((rate.stderr - other.stderr).abs().max()) < size, name
            assert abs(rate.integral.value - other.integral.value) < 1e-9 * (1.0 + abs(other.integral.value)), name
            assert abs(rate.integral.stderr - other.integral.stderr) < 1e-9 * (1.0 + abs(other.integral.stderr)), name
    points = tk.entropy_rates(double, law.sample(50), process, n_steps=16, t_eps=1e-3, dtype=torch.float64)
    assert (points.backend, points.cross, points.mismatch) == ("fused", None, None)
    box = tk.UniformBox([-1.0, 0.0], [1.0, 1.0])
    out = tk.entropy_rates(law, box, process, n_paths=10, n_steps=16)
    assert (out.backend, "UniformBox" in out.backend_reason) == ("reference", True)
    with pytest.raises(ValueError, match="UniformBox"):
        tk.entropy_rates(law, box, process, n_paths=10, n_steps=16, backend="fused")


def test_full_covariances_run_fused_in_their_axes(seed: int) -> None:
    """Closed forms by matrices; the ends come back unrotated; the model's own axes where the data are points."""
    sigma = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.5, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
    mean = torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)
    law, process = tk.Gaussian(mean, sigma), tk.VP()
    options = dict(n_paths=4000, n_steps=16, seed=seed)
    out = tk.entropy_rates(law, law, process, **options)
    assert out.backend == "fused"
    m, v, f, d = (g(out.t)[:, None, None] for g in (process.mean_scale, process.variance, process.f, process.g2))
    inverse = torch.linalg.inv(m.square() * sigma + v * torch.eye(3, dtype=torch.float64))
    heat = 0.5 * (d * inverse).diagonal(dim1=1, dim2=2).sum(1)
    z = (out.system.values - 3.0 * f[:, 0, 0] - heat) / out.system.stderr
    assert_z(z.tolist(), 4.5, "system rate over time")
    slow = tk.entropy_rates(law, law, process, backend="reference", dtype=torch.float64, **options)
    fast = tk.entropy_rates(law, law, process, backend="fused", dtype=torch.float64, **options)
    assert float(((fast.intrinsic.values - slow.intrinsic.values) / slow.intrinsic.values).abs().max()) < 1e-12
    whole = rate_averages.rate_averages(
        law, law, process, out.t, law.sample(4000, seed), shape=torch.Size([3]), probes=0, seed=seed, path_offset=0,
        backend="auto", dtype=torch.float64, progress=False,
    )  # fmt: skip
    for k, x in ((0, whole.x_start), (-1, whole.x_end)):
        centred = x - m[k].item() * mean
        squares = (centred @ torch.linalg.cholesky(inverse[k])).square()  # χ² of one degree each
        assert_z(((squares.mean(0) - 1.0) / math.sqrt(2.0 / 4000)).tolist(), 4.0, f"covariance at {k}")
        assert_z((centred.mean(0) / (centred.std(0) / math.sqrt(4000))).tolist(), 4.0, f"mean at {k}")
    points = tk.entropy_rates(law, law.sample(300, seed), process, n_steps=16)
    assert (points.backend, points.cross) == ("fused", None)
    model = tk.GaussianMixture(torch.zeros(2, 3), covariances=torch.stack([sigma, torch.diag(sigma.diagonal())]))
    assert tk.entropy_rates(model, law, process, n_paths=20, n_steps=4).backend == "reference"


def test_points_in_place_of_a_law(seed: int) -> None:
    law, process = GAUSSIANS[1], tk.VP()
    points = law.sample(3000, seed=seed)
    out = tk.entropy_rates(law, points, process, n_steps=16, seed=seed)
    assert (out.n_paths, out.cross, out.mismatch) == (3000, None, None)
    assert_z(
        out.intrinsic.integral.z(
            (quadrature(process, out.t)[0] * closed_forms(law, process, out.t)["intrinsic"]).sum().item()
        ),
        4.0,
        "intrinsic",
    )
    assert tk.entropy_rates(law, points, process, n_steps=16, n_paths=10).n_paths == 10
    assert tk.entropy_rates(law, points[:4], process, n_steps=16, n_paths=10).n_paths == 10


def test_networks_of_many_dimensions_use_probes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process = tk.VE(10.0)
    law = tk.Gaussian(torch.zeros(20), torch.linspace(0.5, 2.0, 20))

    def model(x: Tensor, t: float) -> Tensor:
        return law.score(x, t, process)

    firsts = []

    def spy(*args: object, first: int = 0) -> Tensor:
        firsts.append(first)
        return rademacher(*args, first=first)

    monkeypatch.setattr(rate_averages, "rademacher", spy)
    out = tk.entropy_rates(model, law, process, n_paths=400, n_steps=16, seed=seed)
    assert firsts == [20 * node for node in range(17)], "fresh at every time"
    assert out.settings["divergence"] == "hutchinson"
    truth = -(quadrature(process, out.t)[0] * closed_forms(law, process, out.t)["system"]).sum().item()
    assert abs(out.divergence.integral.value - truth) < 4.0 * out.divergence.integral.stderr + 1e-3 * abs(truth)


def test_it_is_stored_and_drawn(tmp_path) -> None:
    law = GAUSSIANS[1]
    out = tk.entropy_rates(law, law, tk.VP(), n_paths=200, n_steps=16)
    out.save(tmp_path / "r.safetensors")
    again = tk.load(tmp_path / "r.safetensors")
    assert_exact(again.intrinsic.values, out.intrinsic.values)
    assert again.summary() == out.summary()
    assert out.to_json()["intrinsic"]["integral"]["value"] == out.intrinsic.integral.value
    out.plot().savefig(tmp_path / "r.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(direction="up"), "direction: expected"),
        (dict(n_steps=7), "n_steps: expected"),
        (dict(n_paths=-1), "n_paths: expected"),
        (dict(divergence="no"), "divergence: expected"),
        (dict(probes=0), "probes: expected"),
        (dict(backend="gpu"), "backend: expected"),
        (dict(dtype=torch.float16), "dtype: expected"),
        (dict(t_eps=-1.0), "t_eps: expected"),
        (dict(data=torch.zeros(0, 2)), "data: expected"),
        (dict(data=torch.zeros(5, 3)), "model: expected dimension 3"),
        (dict(seed=-1), "seed: expected"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    law = GAUSSIANS[1]
    arguments = {"data": law, "n_paths": 10, **change}
    with pytest.raises(ValueError, match=message):
        tk.entropy_rates(law, arguments.pop("data"), tk.VP(), **arguments)
    with pytest.raises(TypeError, match="data: expected"):
        tk.entropy_rates(law, checkpoint(), tk.VP())
