"""The ops of both native modules; csrc/stubs.py writes this file."""

from typing import Any

def exponential_sums(values: Any, scale: float, run_on: int) -> tuple[float, ...]: ...
def gaussian_gap(
    from_first: Any,
    from_second: Any,
    rotation: Any,
    first: Any,
    second: Any,
    centre: Any,
    mean_scale: Any,
    root: Any,
    shared: bool,
    reference: float,
    noise: Any,
    seed: int,
    path_offset: int,
    out: Any,
    run_on: int,
) -> None: ...
def hutchinson(products: Any, kind: int, seed: int, path_offset: int, first: int, out: Any, run_on: int) -> None: ...
def langevin(
    x: Any,
    drift: Any,
    noise: Any,
    circulation: Any,
    steps: Any,
    seed: int,
    path_offset: int,
    x_last: Any,
    work: Any,
    run_on: int,
) -> None: ...
def moments(values: Any, run_on: int) -> tuple[float, ...]: ...
def neighbours_build(x: Any, scale: float, points: Any, order: Any, bounds: Any, run_on: int) -> None: ...
def neighbours_count(
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
    run_on: int,
) -> None: ...
def neighbours_search(
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
    run_on: int,
) -> None: ...
def normals(seed: int, purpose: int, path_offset: int, first: int, out: Any, run_on: int) -> None: ...
def probability_flow(
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
    run_on: int,
) -> None: ...
def score(
    kind: str, tensors: list[Any], x: Any, score: Any, divergence: Any, log_density: Any, run_on: int
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
    coarse: Any,
    run_on: int,
) -> None: ...
def trajectory_averages(
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
    run_on: int,
) -> None: ...
def trajectory_block(
    x: Any,
    model: Any,
    reference: Any,
    nodes: Any,
    noise: Any,
    previous: Any,
    sampler: bool,
    value: Any,
    mismatch: Any,
    run_on: int,
) -> None: ...
def trajectory_step(
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
    run_on: int,
) -> None: ...
