"""Differences of the scores that one perceptron has under several conditions, of which information is made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thermokern import _core
from thermokern.ops.checks import check_flags, check_tensor, checked_number, checked_seed, refuse_gradient
from thermokern.ops.contexts import plain_precision
from thermokern.ops.gaussian_gap import MAX_GAP_DIM
from thermokern.ops.mlp_score_divergence import ACTIVATIONS, MAX_WIDTH, check_matrices
from thermokern.ops.normals import normals_reference
from thermokern.ops.registry import register, run_kernel

MAX_GAP_CONDITIONS, MAX_GAP_FEATURES = _core.MAX_GAP_CONDITIONS, _core.MAX_GAP_FEATURES


def network_output(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    context: Sequence[Tensor],
    features: Tensor,
    residual: bool = False,
) -> Tensor:
    """F of :func:`mlp_gap` at `x` (d, n) with features (…, features, n), in the dtype of `x`: (…, d, n)."""
    before, kept = x, None
    for layer, (weight, bias, seen) in enumerate(zip(weights, biases, context, strict=True)):
        value = before if layer == 0 else ACTIVATIONS[activation](before)
        after = weight.to(x) @ value + bias.to(x)[:, None]
        if seen.shape[1]:
            after = after + seen.to(x) @ features
        if residual and layer % 2 == 0:
            after = after if kept is None else after + kept
            kept = after
        before = after
    return before


@plain_precision()
def mlp_gap_reference(
    from_centre: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    context: Sequence[Tensor],
    level: Tensor,
    condition: Tensor,
    enter: Tensor,
    scale: Tensor,
    skip: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    *,
    residual: bool = False,
    reference: float = 1.0,
    noise: Tensor | None = None,
    seed: int = 0,
    path_offset: int = 0,
) -> Tensor:
    """:func:`mlp_gap` in PyTorch, in the dtype of `from_centre`: the specification. Differentiable."""
    parts = (enter, scale, skip, centre, mean_scale, root)
    _check(from_centre, weights, biases, activation, context, level, condition, *parts, noise, residual)
    reference = checked_number("reference", reference, above=0.0)
    dim, n = from_centre.shape
    if noise is None:
        z = normals_reference(n, dim, seed=seed, path_offset=path_offset, dtype=from_centre.dtype).T.to(from_centre)
    else:
        z = noise
    m, r = mean_scale.to(from_centre), root.to(from_centre)
    apart = m * from_centre + r * z  # (d, n), x minus m times the centre
    rest = -r * (apart + m * centre.to(from_centre)[:, None]) / (m.square() * reference + r.square())
    features = torch.cat([level.expand(len(condition), -1, -1), condition], dim=1).to(from_centre)  # (conditions, ·, n)
    output = network_output(enter * apart, weights, biases, activation, context, features, residual)
    scores = (scale * output + skip * apart).expand(len(condition), -1, -1)  # (conditions, d, n), pushed
    first, second = (scores, rest) if len(scores) == 1 else (scores[:-1], scores[-1])
    gap, both = first - second, first + second
    columns = gap.square(), -gap * (both + 2.0 * z), gap * (both - 2.0 * rest)
    return 0.5 * torch.stack([column.sum(1) for column in columns])


def mlp_gap(
    from_centre: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    context: Sequence[Tensor],
    level: Tensor,
    condition: Tensor,
    enter: Tensor,
    scale: Tensor,
    skip: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    *,
    residual: bool = False,
    reference: float = 1.0,
    noise: Tensor | None = None,
    seed: int = 0,
    path_offset: int = 0,
) -> Tensor:
    """``½ v |s_c − s_u|²`` of a perceptron's scores under conditions at ``x = m x_0 + √v z``, and two differences.

    ``√v s = scale F(enter (x − m centre)) + skip (x − m centre)``, axis by axis, with the network F of

        a_0 = W_0 · + V_0 f + b_0,   a_l = W_l σ(a_{l−1}) + V_l f + b_l,   F = a_L;

    a residual network adds ``a_{l−2}`` to ``a_l`` of every even l ≥ 2. The features f are those of a point's noise
    level and, behind them, those of a condition. The last condition is u; τ = −z/√v, and s_r is the score of ``N(0, σ²
    1)`` diffused alike.

    Parameters
    ----------
    from_centre : Tensor
        (d, n) float32 or float64, on the CPU or a CUDA device: ``x_0 − centre``, one row an axis. 1 ≤ d ≤ 64.
    weights : sequence of Tensor
        Matrices (out, in), hidden layers first; at least two, hidden widths at most 256. Residual ones are even in
        number, and the layers of even l have one width.
    biases : sequence of Tensor
        (out,) of each layer.
    activation : {"silu", "tanh", "relu", "gelu-tanh"}
    context : sequence of Tensor
        Matrices V of each layer, (out, F + G), or (out, 0) of a layer that sees neither level nor condition.
    level : Tensor
        (F, n), features of each point's noise level.
    condition : Tensor
        (C, G, n), features of each condition at each point; 1 ≤ C ≤ 16, F + G ≤ 256. F and G may be 0.
    enter, scale, skip : Tensor
        (d, n).
    centre : Tensor
        (d,).
    mean_scale, root : Tensor
        (n,), m and √v > 0.
    residual : bool
    reference : float
        σ².
    noise : Tensor, optional
        (d, n), z. Left out: drawn in the kernel, number i of path ``path_offset + k`` for axis i of point k, that of
        :func:`normals`.
    seed, path_offset : int

    Returns
    -------
    Tensor
        (3, C − 1, n): ``½ v |s_c − s_u|²``, ``½ v (|s_u − τ|² − |s_c − τ|²)``, ``½ v (|s_c − s_r|² − |s_u − s_r|²)``:
        rates per unit of ln(m²/v), nats, of every condition but the last. With C = 1 (3, 1, n), and s_r for s_u.

    Notes
    -----
    Every point is bit-identical, on one instruction set, for any number of threads, any chunking and any
    `path_offset`. Cost: 2 C Σ out (in + G) + 2 Σ out F operations a point, where the first matrix counts once; memory
    for the output alone. No gradient: see :func:`mlp_gap_reference`.

    References
    ----------
    Premkumar, *Diffusion models are Kelly gamblers*, Eq. 13 and App. D; Kong, Brekelmans and Ver Steeg,
    *Information-theoretic diffusion*, 2023, Eq. 9.
    """
    parts = (level, condition, enter, scale, skip, centre, mean_scale, root)
    _check(from_centre, weights, biases, activation, context, *parts, noise, residual)
    names = ("level", "condition", "enter", "scale", "skip", "centre", "mean_scale", "root")
    given: dict[str, Tensor] = {"from_centre": from_centre, **dict(zip(names, parts, strict=True))}
    if noise is not None:
        given["noise"] = noise
    for name, tensors in {"weights": weights, "biases": biases, "context": context}.items():
        given |= {f"{name}[{k}]": tensor for k, tensor in enumerate(tensors)}
    refuse_gradient(**given)
    variance = checked_number("reference", reference, above=0.0)
    seed, path_offset = checked_seed(seed, path_offset)

    def cast(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor.detach().to(from_centre).contiguous() for tensor in tensors]

    (points,) = cast([from_centre])
    drawn = None if noise is None else cast([noise])[0]
    lists = cast(weights), cast(biases), cast(context)
    seen, rest = cast(parts[:2]), cast(parts[2:])
    out: Tensor = torch.ops.thermokern.mlp_gap(
        points, activation, *lists, *seen, residual, *rest, variance, drawn, seed, path_offset
    )
    return out


def _check(
    from_centre: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    context: Sequence[Tensor],
    level: Tensor,
    condition: Tensor,
    enter: Tensor,
    scale: Tensor,
    skip: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    noise: Tensor | None,
    residual: bool,
) -> None:
    """Raise unless the arguments fit together."""
    check_flags(residual=residual)
    check_tensor("from_centre", from_centre, "d", "n")
    dim, n = from_centre.shape
    if not 1 <= dim <= MAX_GAP_DIM:
        raise ValueError(f"from_centre: expected 1 to {MAX_GAP_DIM} axes, got {dim}")
    check_matrices(weights, activation, dim, MAX_WIDTH)
    if residual and (len(weights) % 2 or len({len(weight) for weight in weights[:-1:2]}) > 1):
        raise ValueError(
            "weights: expected an even number of matrices of a residual network, every second from the first on with "
            f"as many rows as the first, got rows {[len(weight) for weight in weights]}"
        )
    for name, tensors in {"biases": biases, "context": context}.items():
        if not isinstance(tensors, Sequence) or len(tensors) != len(weights):
            raise ValueError(f"{name}: expected one tensor for each of {len(weights)} layers")
    check_tensor("level", level, "features", n)
    check_tensor("condition", condition, "conditions", "features", n)
    conditions, features = len(condition), len(level) + condition.shape[1]
    if not 1 <= conditions <= MAX_GAP_CONDITIONS:
        raise ValueError(f"condition: expected 1 to {MAX_GAP_CONDITIONS} conditions, got {conditions}")
    if features > MAX_GAP_FEATURES:
        raise ValueError(f"level and condition: expected at most {MAX_GAP_FEATURES} features together, got {features}")
    for layer, (weight, bias, seen) in enumerate(zip(weights, biases, context, strict=True)):
        check_tensor(f"biases[{layer}]", bias, len(weight))
        check_tensor(f"context[{layer}]", seen, len(weight), "features")
        if seen.shape[1] not in (0, features):
            raise ValueError(f"context[{layer}]: expected {features} columns, or none, got {seen.shape[1]}")
    for name, tensor in {"enter": enter, "scale": scale, "skip": skip}.items():
        check_tensor(name, tensor, dim, n)
    check_tensor("centre", centre, dim)
    for name, tensor in {"mean_scale": mean_scale, "root": root}.items():
        check_tensor(name, tensor, n)
    if noise is not None:
        check_tensor("noise", noise, dim, n)


def _mlp_gap(
    from_centre: Tensor,
    activation: str,
    weights: list[Tensor],
    biases: list[Tensor],
    context: list[Tensor],
    level: Tensor,
    condition: Tensor,
    residual: bool,
    enter: Tensor,
    scale: Tensor,
    skip: Tensor,
    centre: Tensor,
    mean_scale: Tensor,
    root: Tensor,
    reference: float,
    noise: Tensor | None,
    seed: int,
    path_offset: int,
) -> Tensor:
    network = (from_centre, activation, weights, biases, context, level, condition, residual)
    out = _mlp_gap_fake(*network)
    axes = (enter, scale, skip, centre, mean_scale, root)
    run_kernel("mlp_gap", out, *network, *axes, reference, noise, seed, path_offset, out)
    return out


def _mlp_gap_fake(
    from_centre: Tensor,
    _: str,
    __: list[Tensor],
    ___: list[Tensor],
    ____: list[Tensor],
    level: Tensor,
    condition: Tensor,
    *_____: object,
) -> Tensor:
    return from_centre.new_empty(3, max(condition.shape[0] - 1, 1), from_centre.shape[1])


register(
    "mlp_gap(Tensor from_centre, str activation, Tensor[] weights, Tensor[] biases, Tensor[] context, Tensor level,"
    " Tensor condition, bool residual, Tensor enter, Tensor scale, Tensor skip, Tensor centre, Tensor mean_scale,"
    " Tensor root, float reference, Tensor? noise, int seed, int path_offset) -> Tensor",
    _mlp_gap,
    _mlp_gap_fake,
)
