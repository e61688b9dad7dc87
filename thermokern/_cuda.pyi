"""CUDA kernels of thermokern. Outputs are allocated by the caller."""

from typing import Any

def absence() -> str: ...
def normals_float32(seed: int, purpose: int, path_offset: int, first: int, out: Any, stream: int) -> None: ...
def score_float32(
    kind: str, tensors: list[Any], x: Any, score: Any, divergence: Any, log_density: Any, stream: int
) -> None: ...
def trajectory_float32(
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
    stream: int,
) -> None: ...
def moments_float32(values: Any, stream: int) -> tuple[float, float, float, float, float]: ...
def exponential_sums_float32(values: Any, scale: float, stream: int) -> tuple[float, float, float]: ...
def normals_float64(seed: int, purpose: int, path_offset: int, first: int, out: Any, stream: int) -> None: ...
def score_float64(
    kind: str, tensors: list[Any], x: Any, score: Any, divergence: Any, log_density: Any, stream: int
) -> None: ...
def trajectory_float64(
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
    stream: int,
) -> None: ...
def moments_float64(values: Any, stream: int) -> tuple[float, float, float, float, float]: ...
def exponential_sums_float64(values: Any, scale: float, stream: int) -> tuple[float, float, float]: ...
