"""Differences of the scores of two Gaussians in the kernel: PyTorch, scores of laws, closed forms, bits, bad inputs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from information_cases import CASES, case_b, case_d
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.quantities.information.gaussian import FusedRates
from thermokern.quantities.information.integral import Batch, Data
from thermokern.quantities.information.integrands import information_rates, product_rates, reference_rates

F32, F64 = torch.float32, torch.float64
DIMS = (1, 2, 3, 5, 8, 13, 25, 33, 64)
VP = tk.VP()


def problem(dim: int, n: int, levels: int, key: int = 0) -> dict[str, Tensor]:
    """Two Gaussians of unlike axes, points about both, levels from clean to noise or, for 0, one of all; float64."""
    generator = torch.Generator().manual_seed(1000 * dim + n + key)

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=F64)

    v = torch.linspace(1e-4, 1.0 - 1e-4, max(levels, 2), dtype=F64)[-levels:]
    return {
        "from_first": randn(dim, n),
        "from_second": 1.0 + randn(dim, n),
        "rotation": torch.linalg.qr(randn(dim, dim)).Q.contiguous(),
        "first": 0.05 + randn(dim).square(),
        "second": 0.05 + randn(dim).square(),
        "centre": randn(dim),
        "mean_scale": (1.0 - v).sqrt() if levels else (1.0 - v).sqrt()[-1],
        "root": v.sqrt() if levels else v.sqrt()[-1],
    }


def cast(given: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) for name, tensor in given.items()}


@pytest.mark.parametrize("dim", DIMS)
def test_against_pytorch(dim: int) -> None:
    """Sizes about those of registers, tiles and stretches of tiles, levels shared or not, noise given or drawn."""
    for n, shared, drawn in itertools.product((1, 47, 48, 437), (False, True), (False, True)):
        given = problem(dim, n, 0 if shared else n)
        if not drawn:
            given["noise"] = ops.normals(n, dim, seed=5, dtype=F64).T.contiguous()
        options = {"reference": 0.7, "seed": 3, "path_offset": 11}
        best = ops.gaussian_gap_reference(**given, **options)
        found = ops.gaussian_gap(**given, **options)
        what = f"n = {n}, shared {shared}, drawn {drawn}"
        assert found.shape == (3, n)
        scale = max(rms(best), 1.0)
        assert rms(found - best) <= 64 * torch.finfo(F64).eps * scale, what
        single = cast(given, F32)
        plain = ops.gaussian_gap_reference(**single, **options)
        assert_rounding(ops.gaussian_gap(**single, **options), plain, best, scale, what)


@pytest.mark.parametrize("name", ["B", "C(1e-3)", "D(.25)", "E"])
def test_against_the_scores_of_laws(name: str) -> None:
    """The same point, level and noise by the laws' own scores, in the axes of the data."""
    law = CASES[name]()
    n = 60
    x, y = law.sample(n, 1)
    t = VP.times_at(torch.linspace(-6.0, 9.0, n, dtype=F64))
    m, root = VP.mean_scale(t), VP.variance(t).sqrt()
    whole = tk.Gaussian(law.x.means[0] + 0.3, torch.diag(law.x.covariances[0].diagonal()) + 0.1)
    axes = [[axis] for axis in range(law.dim)]
    marginals = [tk.Gaussian(whole.means[0, axis], whole.covariances[0][axis][:, axis]) for axis in axes]
    shape = torch.Size([law.dim])
    noise = ops.normals(n, law.dim, seed=4, dtype=F64)
    integrands = {
        "information": information_rates(law, whole, VP, shape, 0.8),
        "entropy of a condition": reference_rates(law, VP, shape, 0.8, whole),
        "entropy": reference_rates(law.x, VP, shape, 0.8, whole),
        "correlation": product_rates(law.x, marginals, axes, VP, shape),
    }
    for what, rates in integrands.items():
        assert isinstance(rates, FusedRates), what
        found = rates.fused(Data(x, noise, y, m, root, t))
        plain = rates(Batch(m[:, None] * x + root[:, None] * noise, t, noise, root[:, None], y))
        assert found.shape == plain.shape, what
        assert found.dtype == F64, what
        error = (found - plain).abs().amax(0) / plain.abs().amax(0)
        assert bool((error < 1e-10).all()), (what, error)


@pytest.mark.parametrize("name", CASES)
def test_information_by_quadrature(name: str) -> None:
    """``∫ E r dλ`` over Gauss–Legendre nodes is I(X_ε;Y) − I(X_T;Y), with the noise and the law at sigma points."""
    law = CASES[name]()
    low, high = VP.log_snr(1.0), VP.log_snr(1e-5)
    place, weight = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(96))
    t = VP.times_at(0.5 * (low + high) + 0.5 * (high - low) * place)
    given = law.given(law.y.means[0])
    axes = torch.eye(law.dim, dtype=F64) if given.eigenvectors is None else given.eigenvectors[0]
    signal = law.x.covariances[0] - law.conditional_covariance
    values, vectors = torch.linalg.eigh(0.5 * (signal + signal.T))
    roots = axes.T @ vectors * values.clamp_min(0.0).sqrt()
    d = law.dim
    # Columns: the centre, then each direction of the residual, of the signal and of the noise, both ways.
    zero = torch.zeros(d, d, dtype=F64)
    rest = torch.cat([torch.diag(given.eigenvalues[0].sqrt()), zero, zero], 1)
    apart = torch.cat([zero, roots, zero], 1)
    noise = torch.cat([zero, zero, torch.eye(d, dtype=F64)], 1)
    parts = [torch.cat([torch.zeros(d, 1, dtype=F64), part, -part], 1) for part in (rest, apart, noise)]
    other = torch.eye(d, dtype=F64) if law.x.eigenvectors is None else law.x.eigenvectors[0]
    integral = torch.zeros(3, dtype=F64)
    for time, share in zip(t.tolist(), weight.tolist(), strict=True):
        m, v = (torch.tensor(part, dtype=F64) for part in (VP.mean_scale(time), VP.variance(time)))
        out = ops.gaussian_gap(
            parts[0],
            parts[0] + parts[1],
            other.T @ axes,
            given.eigenvalues[0],
            law.x.eigenvalues[0],
            axes.T @ law.mean,
            m,
            v.sqrt(),
            noise=parts[2],
        )
        integral += 0.5 * (high - low) * share * (out[:, 0] + 0.5 * (out[:, 1:] - out[:, :1]).sum(1))
    truth = law.mutual_information(high) - law.mutual_information(low)
    assert bool(((integral - truth).abs() < 1e-6).all()), (integral, truth)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("dim", [1, 7, 25, 64])
def test_bits(dim: int, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    """Threads, chunks and offsets change no bit, in company of any size."""
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    for shared in (False, True):
        n = 1301
        given = cast(problem(dim, n, 0 if shared else n), dtype)
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(ops.gaussian_gap(**given, seed=1, path_offset=2**32 - 50))
        assert_exact(found[1], found[0], "threads")
        parts = []
        for low, high in ((0, 1), (1, 50), (50, 180), (180, 565), (565, n)):
            names = ("from_first", "from_second") if shared else ("from_first", "from_second", "mean_scale", "root")
            part = {**given, **{name: given[name][..., low:high] for name in names}}
            parts.append(ops.gaussian_gap(**part, seed=1, path_offset=2**32 - 50 + low))
        assert_exact(torch.cat(parts, dim=1), found[0], "chunks")
        noise = ops.normals(n, dim, seed=1, path_offset=2**32 - 50, dtype=dtype).T.contiguous()
        assert_exact(ops.gaussian_gap(**given, noise=noise), found[0], "noise given")


@pytest.mark.parametrize("dtype", [F32, F64])
def test_far_tails_and_sharp_laws(dtype: torch.dtype) -> None:
    """Points a million widths away, variances over twelve decades: each rate to the rounding of its own size."""
    given = problem(6, 90, 90)
    given["first"] = torch.logspace(-12, 0, 6, dtype=F64)
    given["second"] = torch.logspace(0, -12, 6, dtype=F64)
    given["from_first"] = 1e6 * given["from_first"]
    best = ops.gaussian_gap_reference(**given)
    found = ops.gaussian_gap(**cast(given, dtype)).double()
    size = best.abs().amax(0)
    assert bool(((found - best).abs() <= 200 * torch.finfo(dtype).eps * size).all())


def test_equal_gaussians_differ_by_nothing() -> None:
    """One law twice, its axes reversed: no rate is left but rounding."""
    given = problem(9, 64, 64)
    given["rotation"] = torch.eye(9, dtype=F64).flip(0).contiguous()
    given["second"] = given["first"].flip(0)
    given["from_second"] = given["from_first"]
    assert ops.gaussian_gap(**given).abs().max().item() < 1e-12


def test_rates_of_laws_are_those_of_the_kernel_or_not() -> None:
    """What the kernel does not take is left to PyTorch: classes, several components, more axes, another dimension."""
    law, shape = case_b(), torch.Size([3])
    wide = tk.Gaussian(torch.zeros(ops.MAX_GAP_DIM + 1, dtype=F64), 1.0)
    plain = {
        "two components": information_rates(law, tk.GaussianMixture([[0.0] * 3, [1.0] * 3], std=1.0), VP, shape),
        "another dimension": information_rates(law, law.x, VP, torch.Size([1])),
        "too wide": reference_rates(wide, VP, torch.Size([wide.dim]), 1.0),
        "two conditions": reference_rates(law, VP, shape, 1.0, case_b()),
        "a function": information_rates(law, lambda x, t: -x, VP, shape),
    }
    for what, rates in plain.items():
        assert not isinstance(rates, FusedRates), what
    assert isinstance(information_rates(law, law.x, VP, shape), FusedRates)


def test_estimates_through_the_kernel_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Evaluation by evaluation, and near the truth."""
    law = case_d(1.0)

    def estimate() -> tuple[tk.MutualInformation, tk.NeuralEntropy, tk.TotalCorrelation]:
        options = {"process": VP, "evaluations": 2048, "seed": seed}
        return (
            tk.mutual_information(law, **options),
            tk.neural_entropy(law.x, law, **options),
            tk.total_correlation(case_b().x, **options),
        )

    fused = estimate()
    monkeypatch.setattr("thermokern.quantities.information.integrands.with_kernels", lambda plain, *_: plain)
    plain = estimate()
    for one, other in zip(fused, plain, strict=True):
        assert (one.settings["scores"], other.settings["scores"]) == ("kernel", "PyTorch")
        assert rms(one.values - other.values) < 1e-9 * rms(other.values)
    assert abs(fused[0].value.z(law.mutual_information())) < 4.0
    assert fused[0].value.stderr < 0.25


def test_pointwise_information_through_the_kernel_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pairs, and of points with candidates, to rounding."""
    law = case_b()
    x, y = law.sample(6, 2)

    def estimate() -> tuple[Tensor, Tensor]:
        options = {"process": VP, "evaluations": 32}
        pairs = tk.pointwise_mutual_information(law, None, x, y, **options)
        tried = tk.pointwise_mutual_information(law, None, x, candidates=y[:3], **options)
        return pairs.values, tried.values

    calls = []
    kernel = ops.gaussian_gap
    monkeypatch.setattr(ops, "gaussian_gap", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    fused = estimate()
    used = len(calls)
    monkeypatch.setattr("thermokern.quantities.information.growth.with_kernels", lambda plain, *_, **__: plain)
    plain = estimate()
    assert used >= 6
    assert len(calls) == used
    for one, other in zip(fused, plain, strict=True):
        assert one.shape == other.shape
        assert rms(one - other) < 1e-9 * rms(other)


def test_points_drawn_together_are_those_drawn_apart() -> None:
    """To rounding, for full covariances and others."""
    classes = tk.GaussianMixture.ring(3)
    for law in (case_d(1.0).joint, tk.Gaussian([1.0, 2.0], [0.1, 3.0]), classes):
        apart, together = law.sample(300, 5, 2**33), law.sample_together(300, 5, 2**33)
        assert (together - apart).abs().max().item() < 1e-13 * apart.abs().max().item()
    for apart, together in zip(case_b().sample(300, 5), case_b().sample_together(300, 5), strict=True):
        assert (together - apart).abs().max().item() < 1e-13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from_second": torch.zeros(3, 4)}, r"from_second: expected \(3, 5\)"),
        ({"rotation": torch.zeros(3, 2)}, r"rotation: expected \(3, 3\)"),
        ({"first": torch.tensor([1.0, 0.0, 1.0])}, "first: expected positive variances, got 0"),
        ({"second": torch.tensor([1.0, torch.nan, 1.0])}, "second"),
        ({"mean_scale": torch.ones(4)}, r"mean_scale: expected \(5,\)"),
        ({"root": torch.tensor(1.0)}, r"root: expected \(5,\)"),
        ({"noise": torch.zeros(5, 3)}, r"noise: expected \(3, 5\)"),
        ({"reference": 0.0}, "reference: expected a finite number above 0"),
        ({"seed": -1}, "seed"),
        ({"from_first": torch.zeros(65, 5)}, "from_first: expected 1 to 64 axes, got 65"),
        ({"from_first": torch.zeros(3, 5, dtype=torch.int64)}, "from_first"),
        ({"centre": torch.zeros(3, requires_grad=True)}, "centre requires a gradient"),
    ],
)
def test_bad_inputs(change: dict[str, Any], message: str) -> None:
    given = {**cast(problem(3, 5, 5), F32), **change}
    with pytest.raises((ValueError, TypeError), match=message):
        ops.gaussian_gap(**given)


def test_gradients_are_the_references() -> None:
    given = problem(2, 3, 3)
    names = ("from_first", "from_second", "first", "second", "centre")
    tensors = [given[name].requires_grad_() for name in names]

    def call(*values: Tensor) -> Tensor:
        return ops.gaussian_gap_reference(**{**given, **dict(zip(names, values, strict=True))}, seed=2)

    assert torch.autograd.gradcheck(call, tensors)


@pytest.mark.filterwarnings("ignore")  # torch's own, about its tracing machinery
@pytest.mark.parametrize("drawn", [True, False])
def test_opcheck(drawn: bool) -> None:
    given = list(problem(3, 9, 9).values())
    noise = None if drawn else torch.zeros(3, 9, dtype=F64)
    torch.library.opcheck(torch.ops.thermokern.gaussian_gap.default, (*given, False, 1.0, noise, 1, 2))
