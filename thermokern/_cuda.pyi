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
def trajectory_averages_float32(
    x: Any,
    steps: Any,
    rates: Any,
    model_kind: str,
    model: list[Any],
    reference_kind: str,
    reference: list[Any],
    seed: int,
    path_offset: int,
    mean: Any,
    m2: Any,
    integrals: Any,
    x_last: Any,
    stream: int,
) -> None: ...
def flow_float32(
    x: Any,
    table: Any,
    levels: int,
    kind: str,
    tensors: list[Any],
    rtol: float,
    atol: float,
    x_last: Any,
    divergence: Any,
    evaluations: Any,
    status: Any,
    stream: int,
) -> None: ...
def langevin_float32(
    x: Any,
    drift: Any,
    noise: Any,
    circulation: Any,
    steps: Any,
    seed: int,
    path_offset: int,
    x_last: Any,
    work: Any,
    stream: int,
) -> None: ...
def trajectory_step_float32(
    x: Any,
    model: Any,
    reference: Any,
    node: Any,
    drawn: Any,
    carried: Any,
    previous: Any,
    draw: bool,
    draw_carried: bool,
    sampler: bool,
    reverse: bool,
    seed: int,
    path_offset: int,
    first: int,
    value: Any,
    mismatch: Any,
    next: Any,
    noise: Any,
    stream: int,
) -> None: ...
def trajectory_block_float32(
    x: Any,
    model: Any,
    reference: Any,
    nodes: Any,
    noise: Any,
    previous: Any,
    sampler: bool,
    value: Any,
    mismatch: Any,
    stream: int,
) -> None: ...
def hutchinson_float32(
    products: Any, kind: int, seed: int, path_offset: int, first: int, out: Any, stream: int
) -> None: ...
def trajectory_averages_float64(
    x: Any,
    steps: Any,
    rates: Any,
    model_kind: str,
    model: list[Any],
    reference_kind: str,
    reference: list[Any],
    seed: int,
    path_offset: int,
    mean: Any,
    m2: Any,
    integrals: Any,
    x_last: Any,
    stream: int,
) -> None: ...
def flow_float64(
    x: Any,
    table: Any,
    levels: int,
    kind: str,
    tensors: list[Any],
    rtol: float,
    atol: float,
    x_last: Any,
    divergence: Any,
    evaluations: Any,
    status: Any,
    stream: int,
) -> None: ...
def langevin_float64(
    x: Any,
    drift: Any,
    noise: Any,
    circulation: Any,
    steps: Any,
    seed: int,
    path_offset: int,
    x_last: Any,
    work: Any,
    stream: int,
) -> None: ...
def trajectory_step_float64(
    x: Any,
    model: Any,
    reference: Any,
    node: Any,
    drawn: Any,
    carried: Any,
    previous: Any,
    draw: bool,
    draw_carried: bool,
    sampler: bool,
    reverse: bool,
    seed: int,
    path_offset: int,
    first: int,
    value: Any,
    mismatch: Any,
    next: Any,
    noise: Any,
    stream: int,
) -> None: ...
def trajectory_block_float64(
    x: Any,
    model: Any,
    reference: Any,
    nodes: Any,
    noise: Any,
    previous: Any,
    sampler: bool,
    value: Any,
    mismatch: Any,
    stream: int,
) -> None: ...
def hutchinson_float64(
    products: Any, kind: int, seed: int, path_offset: int, first: int, out: Any, stream: int
) -> None: ...
def neighbours_build_float32(x: Any, scale: float, points: Any, order: Any, bounds: Any, stream: int) -> None: ...
def neighbours_search_float32(
    points: Any,
    order: Any,
    bounds: Any,
    query_points: Any,
    query_order: Any,
    query_bounds: Any,
    own: bool,
    max_norm: bool,
    scale: float,
    upper: float,
    distances: Any,
    indices: Any,
    pairs: Any,
    stream: int,
) -> None: ...
def neighbours_count_float32(
    points: Any,
    order: Any,
    bounds: Any,
    query_points: Any,
    query_order: Any,
    query_bounds: Any,
    max_norm: bool,
    strict: bool,
    scale: float,
    radius: Any,
    counts: Any,
    stream: int,
) -> None: ...
def neighbours_build_float64(x: Any, scale: float, points: Any, order: Any, bounds: Any, stream: int) -> None: ...
def neighbours_search_float64(
    points: Any,
    order: Any,
    bounds: Any,
    query_points: Any,
    query_order: Any,
    query_bounds: Any,
    own: bool,
    max_norm: bool,
    scale: float,
    upper: float,
    distances: Any,
    indices: Any,
    pairs: Any,
    stream: int,
) -> None: ...
def neighbours_count_float64(
    points: Any,
    order: Any,
    bounds: Any,
    query_points: Any,
    query_order: Any,
    query_bounds: Any,
    max_norm: bool,
    strict: bool,
    scale: float,
    radius: Any,
    counts: Any,
    stream: int,
) -> None: ...
