"""Streamed paths: the numbers of fused and reference paths, whatever the batches; probes; gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tolerances import assert_rounding, assert_z, rms
from torch import Tensor, nn

import thermokern as tk
from thermokern import ops
from thermokern.models.jacobian import choose_mode
from thermokern.processes import step_table
from thermokern.quantities.engine.batching import Batches, peak_bytes, points_within
from thermokern.quantities.engine.node_scores import NodeScores
from thermokern.quantities.engine.streamed import StreamedPaths, Streaming

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning")

F64 = torch.float64
PROCESS = tk.VP()
RING = tk.GaussianMixture.ring()
CASES = list(itertools.product(ops.SCHEMES, ops.DIRECTIONS))


def perceptron(dtype: torch.dtype = torch.float32) -> tk.ScoreModel:
    """A small network whose score is not far from the ring's, so that reverse paths stay finite."""
    torch.manual_seed(3)
    network = tk.ScoreMLP(2, width=24, depth=2).to(dtype).requires_grad_(False)
    return tk.ScoreModel(network, PROCESS, "epsilon")


@pytest.mark.parametrize(("scheme", "direction"), CASES)
def test_streamed_is_fused_and_reference_path_by_path(scheme: str, direction: str) -> None:
    options = {"n_paths": 60, "n_steps": 40, "scheme": scheme, "direction": direction, "seed": 5, "path_offset": 3}
    exact = tk.taep(perceptron(F64), RING, backend="reference", dtype=F64, **options)
    in_float64 = tk.taep(perceptron(F64), RING, backend="streamed", dtype=F64, **options)
    scale = rms(exact.values)
    assert rms(in_float64.values - exact.values) < 1e-11 * scale
    assert rms(in_float64.x_start - exact.x_start) < 1e-11 * (1.0 + rms(exact.x_start))
    assert_z((in_float64.score_matching.value - exact.score_matching.value) / (1e-11 * scale), 1.0, "mismatch")
    plain = tk.taep(perceptron(), RING, backend="reference", **options)
    streamed = tk.taep(perceptron(), RING, backend="streamed", **options)
    assert_rounding(streamed.values, plain.values, exact.values)
    fused = tk.taep(perceptron(), RING, backend="fused", **options)
    assert rms(fused.values - streamed.values) <= 4.0 * rms(plain.values - exact.values) + 1e-6 * scale


@pytest.mark.parametrize(
    ("scheme", "direction"), [("stratonovich", "forward"), ("sampler", "forward"), ("ito", "reverse")]
)
def test_batches_change_nothing_but_rounding(scheme: str, direction: str) -> None:
    options = {"n_paths": 37, "n_steps": 12, "scheme": scheme, "direction": direction, "dtype": F64}
    whole = tk.taep(perceptron(F64), RING, backend="streamed", **options)
    sizes = set()
    for budget in (1, 100_000, 400_000):
        part = tk.taep(perceptron(F64), RING, backend="streamed", memory_budget=budget, **options)
        sizes.add(part.settings["points_in_a_batch"])
        assert rms(part.values - whole.values) <= 1e-12 * rms(whole.values), budget
    assert len(sizes) == 3
    assert min(sizes) == 1


@pytest.mark.parametrize("backend", ["fused", "streamed", "reference"])
def test_paths_in_two_runs_are_the_paths_of_one(backend: str) -> None:
    options = {"n_steps": 10, "backend": backend, "dtype": F64, "scheme": "ito", "seed": 4}
    whole = tk.taep(perceptron(F64), RING, n_paths=20, **options)
    parts = [tk.taep(perceptron(F64), RING, n_paths=10, path_offset=offset, **options) for offset in (0, 10)]
    assert rms(torch.cat([part.values for part in parts]) - whole.values) < 1e-12 * rms(whole.values)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_paths_in_blocks_are_the_paths_of_one_run(backend: str) -> None:
    """Both backends take long runs a block of paths at a time."""
    options = {"n_paths": 20, "n_steps": 10, "backend": backend, "dtype": F64, "scheme": "sampler", "path_offset": 6}
    whole = tk.taep(perceptron(F64), RING, **options)
    parts = tk.taep(perceptron(F64), RING, block=9, **options)
    assert rms(parts.x_end - whole.x_end) < 1e-12
    assert rms(parts.values - whole.values) < 1e-12 * rms(whole.values)


def test_auto_takes_streams_for_what_the_kernels_do_not_know() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.layer(x) / (1.0 + t.view(-1, 1, 1))

    torch.manual_seed(0)
    model, other = (tk.ScoreModel(Wide().requires_grad_(False), PROCESS, "epsilon") for _ in range(2))
    x0 = torch.randn(9, 1, 20)
    result = tk.taep(model, other, x0=x0, n_steps=6)
    assert result.backend == "streamed"
    assert "20" in result.backend_reason
    assert result.settings["scheme"] == "backward-ito"
    assert result.x_start.shape == result.x_end.shape == (9, 1, 20)
    again = tk.taep(model, other, x0=x0, n_steps=6, backend="reference")
    assert rms(result.values - again.values) < 1e-5 * rms(again.values)
    assert tk.taep(RING, RING, PROCESS, n_paths=3, n_steps=3, backend="reference").backend == "reference"


def test_a_network_that_reads_one_time_for_all_gets_one_time() -> None:
    """It would be wrong without a word in a batch of several times: found out, and said."""

    def one_time(x: Tensor, t: Tensor) -> Tensor:
        return RING.score(x, t[0].item() if len(t) else 0.5, PROCESS)

    model = tk.ScoreModel(one_time, PROCESS)
    result = tk.taep(model, RING, n_paths=20, n_steps=8, backend="streamed", scheme="backward-ito", dtype=F64)
    assert result.settings["one_time_in_a_batch"]
    assert result.values.abs().max().item() < 1e-12


def test_callables_and_laws_are_streamed_too() -> None:
    rare = tk.GaussianMixture.ring(weights=[0.3] + [0.1] * 7)
    options = {"n_paths": 30, "n_steps": 10, "scheme": "stratonovich", "dtype": F64}
    expected = tk.taep(rare, RING, PROCESS, backend="reference", **options)
    field = tk.taep(lambda x, t: rare.score(x, t, PROCESS), RING, PROCESS, backend="streamed", **options)
    assert rms(field.values - expected.values) < 1e-9
    laws = tk.taep(rare, RING, PROCESS, backend="streamed", **options)
    assert rms(laws.values - expected.values) < 1e-11


# ---- memory


def test_peak_of_memory_is_measured() -> None:
    """Two tensors of 4000 bytes live at once, a third after one is gone."""

    def work() -> None:
        one = torch.ones(1000)
        two = one + 1.0
        del one
        three = two * 2.0
        del two, three

    assert peak_bytes(work) == 8000
    assert points_within(1_000_000, lambda n: torch.ones(n, 250) + torch.ones(1, 250), 100) in range(400, 501)
    # Of a million bytes 800,000 do not grow with the points, each of which takes 1000 more.
    assert points_within(1_000_000, lambda n: (torch.ones(200_000), torch.ones(n, 250)), 100) == 200


def test_batches_halve_where_memory_runs_out() -> None:
    calls = []

    def evaluate(low: int, high: int) -> int:
        calls.append(high - low)
        if high - low > 5:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: not enough memory: you tried")
        return high - low

    batches = Batches(32)
    assert sum(batches.run(40, evaluate)) == 40
    assert (batches.size, batches.halved) == (4, 3)
    assert calls[:4] == [32, 16, 8, 4]
    with pytest.raises(RuntimeError, match="shape"):
        batches.run(4, lambda low, high: (_ for _ in ()).throw(RuntimeError("shape")))

    class Hungry(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            if len(x) > 7:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return -x

    result = tk.taep(tk.ScoreModel(Hungry(), PROCESS), RING, n_paths=20, n_steps=4, scheme="backward-ito")
    assert result.settings["halved_for_memory"] > 0
    assert result.backend == "streamed"


# ---- probes


class Linear(nn.Module):
    """The score of N(0, Σ) diffused, as a network: −(m² Σ + v)⁻¹ x."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        values, vectors = torch.linalg.eigh(covariance)
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        m, v = (f(t.double()).to(x)[:, None] for f in (PROCESS.mean_scale, PROCESS.variance))
        return -((x @ self.vectors) / (m * m * self.values + v)) @ self.vectors.T


def pair(dim: int = 64) -> tuple[Tensor, Tensor]:
    """Two covariances, full and of different axes."""
    g = torch.Generator().manual_seed(11)
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, dtype=F64, generator=g))
    first = (basis * torch.linspace(0.5, 2.0, dim, dtype=F64)) @ basis.T
    noise = torch.randn(dim, dim, dtype=F64, generator=g)
    root = torch.linalg.cholesky(first)
    second = root @ torch.linalg.matrix_exp(0.018 * 0.5 * (noise + noise.T) * 2.0**0.5) @ root.T
    return first, 0.5 * (second + second.T)


def exact_variance(p: Tensor, q: Tensor, t: float) -> float:
    """Of log p_t/q_t over p_t, Gaussians without mean: ½ tr[(1 − q⁻¹p)²]."""
    m, v = PROCESS.mean_scale(t), PROCESS.variance(t)
    identity = torch.eye(len(p), dtype=F64)
    a, b = (m * m * c + v * identity for c in (p, q))
    return 0.5 * torch.trace(torch.linalg.matrix_power(identity - torch.linalg.solve(b, a), 2)).item()


def probe_variance(q: Tensor, scheme: str, n_steps: int) -> float:
    """What a mean of two Rademacher probes adds, node by node: ½ (c a)² 2 Σ_{i≠j} J_ij², J = −(m² Σ + v)⁻¹."""
    nodes = step_table(PROCESS, PROCESS.grid(n_steps), scheme)
    total = 0.0
    for m, v, weight in zip(nodes.mean_scale, nodes.variance, nodes.column("energy"), strict=True):
        jacobian = torch.linalg.inv(m * m * q + v * torch.eye(len(q), dtype=F64))
        spread = 2.0 * (jacobian.square().sum() - jacobian.diagonal().square().sum())
        total += 0.5 * (weight * nodes.divergence_weight).item() ** 2 * spread.item()
    return total


def test_fresh_probes_and_one_probe_kept_along_the_path() -> None:
    """The variance with fresh probes, corrected, is the exact one; one probe kept breaks the fluctuation theorem."""
    p, q = pair()
    truth = exact_variance(p, q, 1e-3)
    law, other = tk.Gaussian([0.0] * 64, p), tk.ScoreModel(Linear(q), PROCESS)
    options = {"n_paths": 1000, "n_steps": 100, "scheme": "stratonovich", "dtype": F64, "seed": 2}
    options |= {"extrapolate": False}  # of which probe_variance speaks
    fresh = tk.taep(other, law, divergence="hutchinson", **options)
    assert fresh.probe_noise is not None
    noise = fresh.probe_noise
    assert_z(noise.corrected_variance.z(truth), 3.5, "corrected variance")
    assert noise.contribution.value > 5.0 * noise.contribution.stderr
    assert abs(noise.corrected_variance.value + noise.contribution.value - fresh.variance.value) < 1e-9
    assert "from the probes" in fresh.summary()
    assert noise.contribution.value < 0.2 * truth
    expected = probe_variance(q, "stratonovich", 100)
    assert_z(noise.contribution.z(expected), 4.0, "contribution of the probes")
    exact = tk.taep(tk.Gaussian([0.0] * 64, q), law, PROCESS, **options)
    assert_z(exact.variance.z(truth), 3.5, "exact variance")
    assert_z(exact.fluctuation_theorem.z(1.0), 3.5, "theorem with the exact divergence")

    steps = step_table(PROCESS, PROCESS.grid(100), "stratonovich")
    v = ops.probes(1000, 64, dtype=F64)
    net = Linear(q)

    def kept(x: Tensor, node: int) -> tuple[Tensor, Tensor]:
        t = steps.times[node].expand(len(x))
        return net(x, t), (v * net(v, t)).sum(1)  # a linear score: J v = s(v)

    def true(x: Tensor, node: int) -> tuple[Tensor, Tensor]:
        out = law.evaluate(x, steps.times[node].item(), PROCESS)
        return out.score, out.divergence

    value = ops.trajectory_reference(fresh.x_start, steps, kept, true, seed=2).value
    weights = torch.exp(-value)
    z = (weights.mean() - 1.0) / (weights.std() / math.sqrt(1000))
    inflated = value.var().item() / truth
    assert z.item() > 5.0
    assert inflated > 2.0


def test_probe_sets_are_fresh_at_every_node_and_independent() -> None:
    steps = step_table(PROCESS, PROCESS.grid(5), "ito")
    scores = NodeScores(tk.ScoreModel(Linear(pair(4)[1]), PROCESS), PROCESS, steps, (4,), "hutchinson", 3, 1)
    v = scores._probes(range(6), 50, 0, torch.zeros(1, 4, dtype=F64))
    assert v is not None
    rows = v.reshape(6, 6, 50 * 4)  # probes, nodes
    flat = rows.reshape(36, 200)
    assert len({tuple(row.tolist()) for row in flat}) == 36


def test_more_probes_add_less_variance() -> None:
    p, q = pair(20)
    law, model = tk.Gaussian([0.0] * 20, p), tk.ScoreModel(Linear(q), PROCESS)
    options = {"n_paths": 400, "n_steps": 20, "scheme": "ito", "divergence": "hutchinson", "dtype": F64}
    options |= {"extrapolate": False}  # of which probe_variance speaks
    one, four = (tk.taep(model, law, probes=probes, **options).probe_noise for probes in (1, 4))
    ratio = one.contribution.value / four.contribution.value
    error = ratio * math.hypot(*(n.contribution.stderr / n.contribution.value for n in (one, four)))
    assert_z((ratio - 4.0) / error, 3.5, "contribution of one probe over that of four")
    assert_z(one.contribution.z(probe_variance(q, "ito", 20)), 4.0, "contribution of one")


# ---- gradients


@pytest.mark.parametrize("direction", ops.DIRECTIONS)
@pytest.mark.parametrize("scheme", ["stratonovich", "backward-ito"])
def test_gradient_of_taep(scheme: str, direction: str) -> None:
    """d⟨Δs⟩/dθ by streamed and reference paths, and by differences."""
    model = perceptron(F64)
    parameters = [p.requires_grad_() for p in model.network.parameters()]
    options = {"n_paths": 6, "n_steps": 5, "scheme": scheme, "direction": direction, "dtype": F64, "seed": 1}
    grads = []
    for backend in ("streamed", "reference"):
        values = tk.taep(model, RING, backend=backend, gradient=True, **options).values
        grads.append(torch.autograd.grad(values.mean(), parameters))
    for one, other in zip(*grads, strict=True):
        assert rms(one - other) < 1e-10 * (1.0 + rms(other))
    assert not tk.taep(model, RING, backend="streamed", **options).values.requires_grad
    weight = parameters[0]
    step = 1e-6 * torch.randn(weight.shape, dtype=F64, generator=torch.Generator().manual_seed(0))
    ends = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight += sign * step
            ends.append(tk.taep(model, RING, backend="streamed", **options).mean.value)
            weight -= sign * step
    numeric, analytic = 0.5 * (ends[0] - ends[1]), (grads[0][0] * step).sum().item()
    assert abs(numeric - analytic) < 1e-5 * abs(analytic) + 1e-12


def test_taep_can_be_a_loss() -> None:
    """A few steps of gradient descent on ⟨Δs⟩ lower it."""
    torch.manual_seed(0)
    model = tk.ScoreModel(tk.ScoreMLP(2, width=16, depth=1), PROCESS, "epsilon")
    optimiser = torch.optim.Adam(model.network.parameters(), lr=1e-2)
    means = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = tk.taep(model, RING, n_paths=64, n_steps=10, scheme="backward-ito", gradient=True).values.mean()
        loss.backward()
        optimiser.step()
        means.append(loss.item())
    assert means[-1] < 0.8 * means[0]


# ---- bad inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divergence": "exactly"}, "^divergence: expected one of"),
        ({"probes": 0}, "^probes: expected an integer of at least 1, got 0"),
        ({"memory_budget": -5}, "^memory_budget: expected an integer"),
        ({"backend": "stream"}, "^backend: expected one of"),
        (
            {"backend": "fused", "divergence": "hutchinson"},
            '^backend: "fused" cannot run this: divergence="hutchinson"',
        ),
        ({"backend": "reference", "divergence": "hutchinson"}, '^backend: "reference" cannot run this'),
        ({"backend": "fused", "gradient": True}, "^backend: .* no gradient"),
        ({"gradient": True, "checkpoint": "x"}, "^checkpoint: a run with gradients"),
    ],
)
def test_bad_options(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tk.taep(perceptron(), RING, **{"n_paths": 2, "n_steps": 2, **change})


def test_no_paths() -> None:
    result = tk.taep(perceptron(), RING, n_paths=0, n_steps=3, backend="streamed")
    assert result.values.shape == (0,)
    assert math.isnan(result.mean.value)
    steps = step_table(PROCESS, PROCESS.grid(3), "ito")
    scores = [NodeScores(perceptron(), PROCESS, steps, (2,), "auto", 1, 0) for _ in range(2)]
    assert StreamedPaths(steps, *scores, Streaming())(torch.zeros(0, 2), 0, 0).x_last.shape == (0, 2)
    assert choose_mode(lambda x, t: x, torch.zeros(0, 2), None).mode == "reverse"
