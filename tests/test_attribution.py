"""Where Δs arises: sums that add up, means that are exact, labels, memory, figures."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from tolerances import assert_exact, assert_z, rms
from torch import Tensor

import thermokern as tk
from thermokern.quantities.engine.batching import peak_bytes
from thermokern.report import write_result

F64 = torch.float64
VP, RING = tk.VP(), tk.GaussianMixture.ring()
MODEL = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
BOTH = ("time", "component")
WIDE = tk.GaussianMixture(torch.linspace(-1.5, 1.5, 80, dtype=F64).reshape(2, 40).sin() * 2.0, std=0.6)
WIDE_MODEL = tk.GaussianMixture(0.9 * WIDE.means, std=0.66)


def taep(*arguments: object, **options: object) -> tk.TAEP:
    """Without warnings of few paths and of long steps, which these tests take on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewPathsWarning)
        warnings.simplefilter("ignore", tk.StepTooLongWarning)
        return tk.taep(*arguments, **{"dtype": F64, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["fused", "reference", "streamed"])
@pytest.mark.parametrize("scheme", ["ito", "stratonovich", "backward-ito", "sampler"])
@pytest.mark.parametrize("integrator", ["exact", "euler-maruyama"])
def test_the_scheme_s_terms_add_up_to_every_path(backend: str, scheme: str, integrator: str) -> None:
    """Over time, over components and over their table; the remainder of the sampler scheme is its end points' term."""
    component = scheme in ("backward-ito", "sampler")
    options = {"scheme": scheme, "backend": backend, "n_steps": 30, "n_paths": 300}
    if scheme != "sampler":
        options |= {"integrator": integrator, "extrapolate": False}
    plain = taep(MODEL, RING, VP, **options)
    result = taep(MODEL, RING, VP, resolve=BOTH if component else ("time",), **options)
    assert rms(result.values - plain.values) < 1e-12 * rms(plain.values)
    found = result.attribution
    assert found is not None
    sampler = scheme == "sampler"
    ends = 0.0
    if sampler:
        ratio = RING.log_prob(result.x_start, result.settings["t_eps"], VP) - RING.log_prob(result.x_end, 1.0, VP)
        ends = ratio.mean().item()
    scale = result.values.abs().mean().item()
    assert abs(found.remainder.value - ends) < 1e-9 * scale
    assert sampler or found.remainder.stderr < 1e-9 * scale  # path by path
    total = result.mean.value - ends
    assert abs(found.scheme.nodes.sum().item() - total) < 1e-9 * scale
    assert abs(found.scheme.total.value - total) < 1e-9 * scale
    for split in (found.scheme, found.chain, found.squared):
        if split is None:
            assert integrator == "euler-maruyama"
            continue
        assert abs(split.nodes.sum().item() - split.total.value) < 1e-9 * scale
        if component:
            assert split.map is not None
            assert split.table is not None
            assert abs(split.map.sum().item() - split.total.value) < 1e-9 * scale
            assert rms(split.table.sum(0) - split.map) < 1e-9 * scale
            assert split.table.shape == (10, 2)


@pytest.mark.parametrize("resolve", [("time",), ("component",), BOTH])
@pytest.mark.parametrize("law", ["mixture", "perceptron"])
def test_fused_is_the_reference(law: str, resolve: tuple[str, ...]) -> None:
    """Everything that is said, in float64; `auto` takes the fused kernels."""
    torch.manual_seed(0)
    model = MODEL if law == "mixture" else tk.ScoreModel(tk.ScoreMLP(2, width=8, depth=2).double(), VP)
    options = {"n_paths": 300, "n_steps": 20, "resolve": resolve, "labels": RING.component(300), "time_bins": 6}
    fused, slow = (taep(model, RING, VP, **options, **more) for more in ({}, {"backend": "reference"}))
    assert (fused.backend, slow.backend) == ("fused", "reference")
    found, expected = fused.attribution, slow.attribution
    assert found is not None
    assert expected is not None
    for name in ("scheme", "chain", "squared", "difference"):
        a, b = getattr(found, name), getattr(expected, name)
        assert abs(a.total.value - b.total.value) < 1e-9 * b.total.stderr
        assert abs(a.total.stderr / b.total.stderr - 1.0) < 1e-9
        for part in ("nodes", "nodes_stderr", "map", "map_stderr", "table", "map_share", "time_share"):
            one, other = getattr(a, part), getattr(b, part)
            assert (one is None) == (other is None)
            if one is not None:
                assert one.shape == other.shape
                assert rms(one - other) < 1e-8 * rms(other), (name, part)
    assert abs(found.remainder.value - expected.remainder.value) < 1e-9 * fused.mean.value
    for one, other in zip(fused.by_label, slow.by_label, strict=True):
        assert (one.label, one.n_paths) == (other.label, other.n_paths)
        assert abs(one.mean.value - other.mean.value) < 1e-9 * fused.mean.value
    shares = fused.variance_shares.time if "time" in resolve else fused.variance_shares.components
    assert shares is not None
    assert abs(shares.sum().item() - 1.0) < 1e-9
    blocks = taep(model, RING, VP, **options, block=70)  # of which each is summed by itself
    assert blocks.attribution is not None
    assert rms(blocks.attribution.chain.nodes - found.chain.nodes) < 1e-12 * rms(found.chain.nodes)


def test_bits_do_not_depend_on_threads() -> None:
    options = {"n_paths": 2000, "n_steps": 12, "resolve": BOTH, "dtype": torch.float32}
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(taep(MODEL, RING, VP, **options))
    one, two = (result.attribution for result in results)
    for name in ("scheme", "chain", "squared", "difference"):
        for part in ("nodes", "nodes_stderr", "map", "map_stderr", "table", "map_share", "time_share"):
            assert_exact(getattr(getattr(one, name), part), getattr(getattr(two, name), part), f"{name}.{part}")


def test_the_chain_form_is_a_log_ratio_of_chains() -> None:
    """Path by path: the sampler scheme of ``ddpm-large`` for the model less that for the reference."""
    options = {"n_paths": 200, "n_steps": 20, "seed": 3}
    one, other = (
        taep(model, WIDE, VP, scheme="sampler", chain="ddpm-large", **options).values for model in (WIDE_MODEL, WIDE)
    )
    found = taep(WIDE_MODEL, WIDE, VP, resolve=("time",), scheme="backward-ito", **options).attribution
    assert found is not None
    assert found.chain is not None
    expected = tk.quantities.results.estimate.mean_estimate(one - other)
    assert abs(found.chain.total.value - expected.value) < 1e-9 * abs(expected.value)
    assert abs(found.chain.total.stderr / expected.stderr - 1.0) < 1e-9


@pytest.mark.parametrize("n_steps", [12, 80])
def test_squared_differences_have_the_chain_s_mean(n_steps: int, seed: int) -> None:
    """At any number of steps, node by node and component by component: z-scores of A − κ δ² are standard normal."""
    result = taep(WIDE_MODEL, WIDE, VP, n_paths=3000, n_steps=n_steps, resolve=BOTH, spacing="log-snr", seed=seed)
    found = result.attribution
    assert found is not None
    split = found.difference
    assert split is not None
    assert split.map is not None
    assert split.map_stderr is not None
    assert_z(split.total.z(0.0), 3.5, "total")
    for what, z in (
        ("components", split.map / split.map_stderr),
        ("nodes", (split.nodes / split.nodes_stderr)[1:]),
    ):
        slack = 3.0 / math.sqrt(2.0 * len(z))  # of the standard deviation of so many
        assert max(0.8 - slack, 0.0) < z.std().item() < 1.2 + slack, (what, z.std())
        assert_z(z.tolist(), 4.5, what)
    assert found.squared is not None
    assert found.squared.map is not None
    assert bool((found.squared.map > 0.0).all())
    assert bool((found.squared.nodes >= 0.0).all())


def test_standard_errors_are_calibrated() -> None:
    """Of a node, a component and the total, over 60 seeds."""
    maps, nodes, stated = [], [], []
    for seed in range(60):
        found = taep(WIDE_MODEL, WIDE, VP, n_paths=60, n_steps=6, resolve=BOTH, seed=seed, backend="reference")
        chain = found.attribution.chain  # type: ignore[union-attr]
        maps.append(chain.map)
        nodes.append(chain.nodes[1:])
        stated.append(torch.cat([chain.map_stderr, chain.nodes_stderr[1:]]))
    spread = torch.cat([torch.stack(maps).std(0), torch.stack(nodes).std(0)])
    ratio = spread / torch.stack(stated).square().mean(0).sqrt()
    assert 0.9 < ratio[:40].mean().item() < 1.1
    assert 0.85 < ratio[40:].mean().item() < 1.15


def test_labels_add_up_to_the_mean() -> None:
    labels = RING.component(500)
    result = taep(MODEL, RING, VP, n_paths=500, n_steps=40, resolve=("time",), labels=labels)
    assert [part.label for part in result.by_label] == list(range(8))
    total = sum(part.n_paths / 500 * part.mean.value for part in result.by_label)
    assert result.attribution is not None
    assert result.attribution.chain is not None
    assert abs(total - result.attribution.chain.total.value) < 1e-12
    squared = sum(part.n_paths / 500 * part.squared.value for part in result.by_label if part.squared)
    assert result.attribution.squared is not None
    assert abs(squared - result.attribution.squared.total.value) < 1e-12
    assert result.by_label[0].mean.value == max(part.mean.value for part in result.by_label)  # the rare mode


def test_memory_does_not_grow_with_steps() -> None:
    """Twice the steps: the tensors alive at once grow by less than those of two nodes of the paths."""
    n, dim = 200, 40

    def peak(n_steps: int) -> int:
        options = {"n_paths": n, "n_steps": n_steps, "scheme": "backward-ito", "backend": "reference"}
        return peak_bytes(lambda: taep(WIDE_MODEL, WIDE, VP, resolve=BOTH, **options))

    few, many = peak(70), peak(140)  # the reference draws the noise of 32 steps at once, twice in both
    assert many - few < 2 * n * dim * 8, (few, many)


def network(x: Tensor, t: Tensor) -> Tensor:
    return -x / (1.0 + t.reshape(-1, 1, 1, 1))


def images() -> Tensor:
    return torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64).tanh()


def test_networks_and_images(tmp_path: Path) -> None:
    """Streamed, in the shape of the images; saved, drawn and reported."""
    model, x0 = tk.ScoreModel(network, VP), images()
    reference = tk.Empirical(x0.flatten(1))
    options = {"x0": x0, "n_steps": 40, "t_eps": 0.02, "resolve": BOTH, "labels": torch.arange(24) % 3, "time_bins": 7}
    result = taep(model, reference, VP, **options)
    assert result.backend == "streamed"
    slow = taep(model, reference, VP, backend="reference", **options)
    assert result.map.values.shape == (1, 4, 4)
    assert result.table.values.shape == (7, 1, 4, 4)
    assert result.table.edges.shape == (8,)
    assert rms(result.map.values - slow.map.values) < 1e-9 * rms(slow.map.values)
    assert rms(result.rate.values - slow.rate.values) < 1e-9 * rms(slow.rate.values)
    width = -VP.log_snr(result.attribution.times).diff()  # type: ignore[union-attr]
    assert abs((result.rate.values * width).sum().item() - result.map.values.sum().item()) < 1e-9 * result.mean.value
    small = taep(model, reference, VP, memory_budget=4_000, **options)
    assert small.settings["points_in_a_batch"] < 24  # several chunks of paths
    assert rms(small.map.stderr - result.map.stderr) < 1e-9 * rms(result.map.stderr)

    result.save(tmp_path / "result.safetensors")
    again = tk.load(tmp_path / "result.safetensors")
    assert_exact(again.map.values, result.map.values)
    assert "κ δ²" in result.summary()
    assert result.to_json()["attribution"]["by_label"][0]["n_paths"] == 8
    assert len(result.attribution.plot().axes) > 7  # type: ignore[union-attr]
    write_result(result, tmp_path, "")
    assert "Where it arises" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("resolve", [("time",), ("component",), BOTH])
def test_points_are_drawn(resolve: tuple[str, ...]) -> None:
    result = taep(MODEL, RING, VP, n_paths=50, n_steps=10, resolve=resolve, labels=RING.component(50))
    found = result.attribution
    assert found is not None
    assert found.plot().axes
    with pytest.raises(ValueError, match="^ax: "):
        found.plot(ax=found.plot().axes[0])
    assert len(found.columns()["chain"]) == 11
    for name in set(BOTH) - set(resolve):
        with pytest.raises(ValueError, match="^(rate|map): expected resolve"):
            _ = result.rate if name == "time" else result.map
    if resolve != BOTH:
        with pytest.raises(ValueError, match="^table: expected resolve"):
            _ = result.table


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    options = {"n_paths": 4, "n_steps": 5}
    for change, message in (
        ({"resolve": ("space",)}, "^resolve: expected names out of"),
        ({"resolve": BOTH, "scheme": "stratonovich"}, "^resolve: the scheme .* has a divergence"),
        ({"resolve": ("time",), "direction": "reverse"}, '^resolve: expected direction="forward"'),
        ({"resolve": ("time",), "checkpoint": tmp_path}, "^resolve: expected no checkpoint"),
        ({"resolve": ("time",), "gradient": True}, "^resolve: expected gradient=False"),
        ({"labels": [0, 1, 2, 3]}, "^labels: expected with resolve"),
        ({"resolve": ("time",), "labels": [0, 1]}, r"^labels: expected \(4,\) integers"),
        ({"resolve": ("time",), "labels": [0.5] * 4}, r"^labels: expected \(4,\) integers"),
        ({"resolve": BOTH, "time_bins": 0}, "^time_bins: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            taep(MODEL, RING, VP, **{**options, **change})
    with pytest.raises(ValueError, match="^attribution: this TAEP was not resolved"):
        _ = taep(MODEL, RING, VP, **options).map


@pytest.mark.parametrize("backend", ["reference", "streamed"])
def test_shares_of_the_variance_add_up_to_one(backend: str, seed: int) -> None:
    """Over components and over stretches of time; one stretch has all of it; against the paths' own terms."""
    options = {"n_paths": 400, "n_steps": 24, "scheme": "backward-ito", "extrapolate": False, "seed": seed}
    result = taep(WIDE_MODEL, WIDE, VP, resolve=BOTH, backend=backend, memory_budget=None, **options)
    found = result.attribution
    assert found is not None
    for split in (found.scheme, found.chain, found.squared):
        assert split is not None
        assert split.map_share is not None
        assert split.time_share is not None
        assert split.map_share.shape == (40,)
        assert split.time_share.shape == (10,)
        assert abs(split.map_share.sum().item() - 1.0) < 1e-9
        assert abs(split.time_share.sum().item() - 1.0) < 1e-9
    whole = taep(WIDE_MODEL, WIDE, VP, resolve=("time",), time_bins=1, backend=backend, **options).variance_shares
    assert whole.time is not None
    assert abs(whole.time.item() - 1.0) < 1e-9
    assert whole.components is None
    # The scheme's own terms of the first stretch are the values of paths that end where it ends.
    edge = int((found.log_snr > found.edges[1]).sum())  # the first node of the second stretch
    short = taep(WIDE_MODEL, WIDE, VP, backend="reference", **{**options, "times": found.times[:edge], "n_steps": None})
    values, part = result.values, short.values
    share = ((part - part.mean()) * (values - values.mean())).mean() / (values - values.mean()).square().mean()
    assert abs(found.scheme.time_share[0].item() - share.item()) < 1e-9
    assert result.variance_shares.time is found.chain.time_share
