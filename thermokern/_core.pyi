"""CPU kernels of thermokern. Outputs are allocated by the caller."""

from collections.abc import Sequence
from typing import Any

instruction_set: str
best_instruction_set: str
lanes: int

def normals(seed: int, purpose: int, path_offset: int, first: int, out: Any, threads: int) -> None: ...
def score(
    kind: str, tensors: list[Any], x: Any, score: Any, divergence: Any, log_density: Any, threads: int
) -> None: ...
def trajectory(
    x: Any,
    steps: Any,
    model_kind: str,
    model: list[Any],
    reference_kind: str,
    reference: list[Any],
    divergence_weight: float,
    sampler: bool,
    reverse: bool,
    seed: int,
    path_offset: int,
    value: Any,
    mismatch: Any,
    x_last: Any,
    threads: int,
) -> None: ...
def moments_float32(values: Any) -> tuple[float, float, float, float, float]: ...
def moments_float64(values: Any) -> tuple[float, float, float, float, float]: ...
def exponential_sums_float32(values: Any, scale: float) -> tuple[float, float, float]: ...
def exponential_sums_float64(values: Any, scale: float) -> tuple[float, float, float]: ...
def philox(counter: Sequence[int], seed: int) -> list[int]: ...
def evaluate(function: str, x: Any, out: Any) -> None: ...
