"""Consecutive nodes in one call: the steps one by one, their reference, derivatives, bad inputs."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_exact, assert_rounding, rms
from torch import Tensor

import thermokern as tk
from thermokern import ops
from thermokern.processes import step_table

F64 = torch.float64
PROCESS = tk.VP()


def table(scheme: str, direction: str = "forward") -> ops.StepTable:
    return step_table(PROCESS, PROCESS.grid(6), scheme, direction)


def block(
    scheme: str, dtype: torch.dtype, first: int, count: int, n: int = 21, dim: int = 7
) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    """x, both scores of `count` nodes, and what goes with them."""
    g = torch.Generator().manual_seed(count + 10 * first)
    x, model, reference = (torch.randn(count, n, dim, dtype=F64, generator=g).to(dtype) for _ in range(3))
    noise = torch.randn(count + 1, n, dim, dtype=F64, generator=g).to(dtype)
    divergence = torch.randn(count, n, dtype=F64, generator=g).to(dtype)
    previous = torch.randn(n, dim, dtype=F64, generator=g).to(dtype) if scheme == "sampler" and first else None
    if not first:
        noise[0] = 0.0  # no step leads to the first node
    if first + count == 7:
        noise[-1] = 0.0
    return [x, model, reference], {"noise": noise, "divergence": divergence, "previous": previous}


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize(("first", "count"), [(0, 7), (0, 1), (2, 3), (6, 1)])
def test_block_is_its_steps_and_agrees_with_its_reference(scheme: str, first: int, count: int) -> None:
    """The bits of the steps one by one; and the reference's numbers, to rounding."""
    steps = table(scheme)
    exact, exact_kept = block(scheme, F64, first, count)
    truth = ops.trajectory_block_reference(*exact, steps, first, **exact_kept)
    for dtype in (F64, torch.float32):
        given, kept = block(scheme, dtype, first, count)
        got = ops.trajectory_block(*given, steps, first, **kept)
        for i in range(count):
            alone = ops.trajectory_step(
                *(tensor[i] for tensor in given),
                *(steps, first + i),
                divergence=kept["divergence"][i],
                noise=kept["noise"][i + 1],
                carried=kept["noise"][i],
                previous=given[0][i - 1] if i else kept["previous"],
                advance=False,
            )
            assert_exact((got.value[i], got.mismatch[i]), alone[:2], f"node {first + i}")
        plain = ops.trajectory_block_reference(*given, steps, first, **kept)
        for name, one, other, best in zip(got._fields, got, plain, truth, strict=True):
            if dtype == F64:
                assert rms(one - best) <= 1e-12 * (1.0 + rms(best)), name
            else:
                assert_rounding(one, other, best, what=name)


def test_block_of_many_numbers_on_two_threads_and_of_none() -> None:
    """More numbers than one thread is given alone; no paths; derivatives, which are those of the steps."""
    steps = table("sampler")
    given, kept = block("sampler", torch.float32, 2, 3, 67, 300)
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(ops.trajectory_block(*given, steps, 2, **kept))
    assert_exact(runs[1], runs[0])
    empty, kept = block("sampler", torch.float32, 2, 3, 0)
    assert ops.trajectory_block(*empty, steps, 2, **kept).value.shape == (3, 0)
    small, kept = block("sampler", F64, 2, 3, 2, 3)
    small[1].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: tuple(ops.trajectory_block(small[0], s, small[2], steps, 2, **kept)), small[1]
    )
    doubled = torch.func.vmap(lambda s: ops.trajectory_block(small[0], s, small[2], steps, 2, **kept).value)(
        torch.stack([small[1].detach(), small[2]])
    )
    assert rms(doubled[0] - ops.trajectory_block(*small, steps, 2, **kept).value.detach()) < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 2)}, r"^x: expected \(K, n, d\) float32 or float64, got \(3, 2\) float32"),
        ({"table": table("ito", "reverse")}, "^table: expected one of forward paths"),
        ({"first": 6}, r"^first: expected an integer in \[0, 6\), got 6"),
        ({"noise": torch.zeros(2, 3, 2)}, r"^noise: expected \(3, 3, 2\) float32 as x is, got \(2, 3, 2\)"),
        ({"model": torch.zeros(2, 3, 2, dtype=F64)}, "^model: expected .* got .* float64"),
        ({"divergence": None}, "^divergence: the scheme 'ito' needs it"),
        ({"table": table("sampler")}, "^previous: the sampler scheme needs x"),
    ],
)
def test_bad_inputs_of_a_block(change: dict[str, object], message: str) -> None:
    x = torch.zeros(2, 3, 2)
    given = {"x": x, "model": x, "reference": x, "table": table("ito"), "first": 2}
    given |= {"noise": torch.zeros(3, 3, 2), "divergence": x[..., 0]}
    with pytest.raises(ValueError, match=message):
        ops.trajectory_block(**{**given, **change})


def test_block_passes_opcheck() -> None:
    x = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
    nodes = table("sampler").columns[1:6].float()
    op = torch.ops.thermokern
    torch.library.opcheck(op.trajectory_block.default, (*3 * [x[:5]], nodes, x, x[0], True))
    torch.library.opcheck(op.trajectory_block.default, (*3 * [x[:5]], nodes, x, None, False))
