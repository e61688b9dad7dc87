"""Parts of a calculation: blocks, job arrays, sums that merge."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rank_cases import RING, perceptron, streamed
from tolerances import assert_exact

import thermokern as tk
from thermokern import ops
from thermokern.quantities.engine.blocks import launch_block, streamed_block
from thermokern.quantities.engine.identity import digest

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.StepTooLongWarning")


def test_blocks_follow_from_the_problem() -> None:
    """No batch of the network gets smaller; small problems stay whole; large ones have something to share."""
    assert streamed_block(24, 31, 10**5, False) == 24
    assert streamed_block(777, 201, 16_310, False) == 777, "small networks pay for each node of a block"
    assert streamed_block(1000, 1001, 300, False) == 75
    assert streamed_block(1000, 11, 2000, False) == 500
    assert streamed_block(1000, 1001, 16, False) == 16, "no more paths than fit"
    assert streamed_block(10**6, 1001, 2**17, False) == 62_500
    assert streamed_block(10_000, 1001, 2**17, True) == 4096, "the network sees one node of a block at a time"
    assert launch_block(4000, 1000, True, "cpu") == 4096
    assert launch_block(10**6, 1000, True, "cpu") == 20_000
    assert launch_block(10**4, 10, True, "cpu") == 200_000, "short paths are launched together"
    assert launch_block(10**4, 1000, True, "cuda") == 2**16
    assert launch_block(10**4, 1000, False, "cpu") == 2000


def test_parts_of_a_job_array_are_the_whole() -> None:
    """Each computed by itself, saved or not, in any order; networks where parts begin at multiples of a block."""
    for options in (
        {"n_steps": 8},
        {"n_steps": 8, "scheme": "sampler"},
        streamed(block=8, divergence="hutchinson"),
        {"n_steps": 8, "direction": "reverse", "from_prior": True},
    ):
        whole = tk.taep(perceptron(), RING, n_paths=40, **options)
        parts = [tk.taep(perceptron(), RING, n_paths=m, path_offset=k, **options) for k, m in ((16, 24), (0, 16))]
        joined = tk.concatenate(parts)
        for name in ("values", "x_start", "x_end", "start_component", "mismatch", "coarser", "probe_difference"):
            assert_exact(getattr(joined, name), getattr(whole, name), name)
        expected, found = whole.to_json(), joined.to_json()
        pooled, entropy = found.pop("data_entropy"), expected.pop("data_entropy")  # of parts' estimates, to rounding
        if entropy is not None:
            assert all(abs(pooled[name] - entropy[name]) < 1e-12 * entropy[name] for name in ("value", "stderr"))
        for numbers in (expected, found):
            numbers["settings"].pop("block")
            numbers["settings"].pop("points_in_a_batch", None)
        assert found == expected


def test_parts_that_do_not_belong_together_are_refused() -> None:
    def part(n: int, offset: int, **options: object) -> tk.TAEP:
        return tk.taep(perceptron(), RING, n_paths=n, path_offset=offset, **{"n_steps": 8, **options})

    one = part(5, 0)
    for other, error in (
        (part(5, 6), "a gap: one ends before path 5, the next begins with path 6"),
        (part(5, 4), "an overlap: one ends before path 5, the next begins with path 4"),
        (part(5, 5, seed=1), "seed differs: 0 and 1"),
        (part(5, 5, n_steps=9), "n_steps differs"),
        (part(5, 5, scheme="ito"), "scheme differs"),
        (part(5, 5, backend="streamed"), "ran differently|divergence differs|differs"),
        (replace(part(5, 5), mismatch=None), "older version"),
    ):
        with pytest.raises(ValueError, match=f"^parts: .*({error})"):
            tk.concatenate([one, other])
    resolved = part(5, 0, resolve=("time",), backend="streamed")
    with pytest.raises(ValueError, match="an attribution cannot"):
        tk.concatenate([resolved])
    with pytest.raises(TypeError, match="^parts: "):
        tk.concatenate([])


def test_a_single_number_has_bytes_whatever_its_stride() -> None:
    column = torch.tensor([[1.5, 2.5]])[:, 0]  # contiguous to PyTorch, of stride 2
    assert digest(column) == digest(column.clone().reshape(1))
    assert digest(column) != digest(column + 1.0)


def test_moments_and_exponential_sums_merge() -> None:
    """Against those of all numbers at once, to rounding; nothing is neutral."""
    x = torch.randn(1001, generator=torch.Generator().manual_seed(4), dtype=torch.float64) ** 3 + 2.0
    none, half, rest, whole = (ops.moments(part) for part in (x[:0], x[:300], x[300:], x))
    for found in (half.merge(rest), rest.merge(half)):
        for name, one, other in zip(whole._fields, found, whole, strict=True):
            assert abs(one - other) <= 1e-13 * max(abs(other), whole.m2), name
    assert none.merge(half) == half == half.merge(none)
    none, half, rest, whole = (ops.exponential_sums(part) for part in (x[:0], x[:300], x[300:], x))
    for found in (half.merge(rest), rest.merge(half)):
        for name, one, other in zip(whole._fields, found, whole, strict=True):
            assert abs(one - other) <= 1e-14 * abs(other), name
    assert none.merge(half) == half == half.merge(none)
