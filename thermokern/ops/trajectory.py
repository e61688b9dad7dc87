"""Whole trajectories with both scores and every sum along the way, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from thermokern._info import products as default_products
from thermokern.ops.checks import (
    check_finite,
    check_function,
    check_kind,
    check_tensor,
    checked_choice,
    checked_points,
    checked_seed,
    described,
    refuse_gradient,
)
from thermokern.ops.coarse_sums import coarse_sums, no_coarse_sums
from thermokern.ops.mixture_score import check_mixture, mixture_score_reference
from thermokern.ops.mlp_score_divergence import PRODUCTS, check_mlp, mlp_score_divergence_reference
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.registry import register, run_kernel
from thermokern.ops.step_table import COLUMNS, StepTable

# (x (n, d), node) -> score (n, d), divergence (n,) or None where the scheme needs none.
NodeScore = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]

_NOISE_CHUNK = 32  # steps whose noise the reference draws at once


class TrajectorySums(NamedTuple):
    value: Tensor  # (n,) Δs, without the end terms of the sampler scheme
    mismatch: Tensor  # (n,) ∫ D |s_θ − s_*|² dt along the path
    x_last: Tensor  # (n, d), at the node that paths visit last
    coarse: Tensor  # (n, 2) Δs over every second and every fourth node; (n, 0) where the table has no columns for them


@dataclass(frozen=True)
class MixtureSource:
    """The score of a diagonal Gaussian mixture diffused to every node: N(m μ_c, m² σ²_c + v).

    Attributes
    ----------
    means, variances : Tensor
        (K, d), at data time.
    weights : Tensor
        (K,).
    mean_scale, variance : Tensor
        (n_nodes,), ``m`` and ``v``.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    mean_scale: Tensor
    variance: Tensor

    kind = "mixture"

    def check(self, dim: int, nodes: int) -> None:
        """Raise unless this is a mixture in `dim` dimensions at so many nodes."""
        check_mixture(self.means, self.variances, self.weights, dim)
        _check_rows(nodes, mean_scale=self.mean_scale, variance=self.variance)

    def parts(self) -> dict[str, Tensor]:
        """The tensors by name, in the order in which the kernel reads them."""
        names = ("means", "variances", "weights", "mean_scale", "variance")
        return {name: getattr(self, name) for name in names}

    def tensors(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> list[Tensor]:
        """The tensors as a kernel of this precision and device reads them: mixtures in float64 on the CPU always."""
        return [tensor.detach().to("cpu", torch.float64).contiguous() for tensor in self.parts().values()]

    def __call__(self, x: Tensor, node: int) -> tuple[Tensor, Tensor]:
        m, v = self.mean_scale[node], self.variance[node]
        out = mixture_score_reference(x, m * self.means, m * m * self.variances + v, self.weights)
        return out.score, out.divergence


@dataclass(frozen=True)
class MlpSource:
    """The score ``output_scale · network(x) + skip · x`` of a perceptron whose biases are given at every node.

    Attributes
    ----------
    weights : sequence of Tensor
        Matrices (out, in), hidden layers first.
    biases : Tensor
        (n_nodes, Σ widths + d).
    activation : {"silu", "tanh", "relu", "gelu-tanh"}
    output_scale, skip : Tensor
        (n_nodes,).
    products : {"fp32", "tf32x3", "tf32", "bf16"}
        How :func:`trajectory` multiplies the matrices between hidden layers of float32 paths on a CUDA device: by
        float32's own arithmetic, or by tensor cores, with operands in two parts of TF32 each (float32's accuracy), in
        TF32 (relative error 2⁻¹¹ each) or in bfloat16 (2⁻⁸). Everything else ignores it. Default: the environment's
        ``THERMOKERN_PRODUCTS``, or "fp32". docs/cuda.md has the errors; no GPU has run these products yet.
    """

    weights: Sequence[Tensor]
    biases: Tensor
    activation: str
    output_scale: Tensor
    skip: Tensor
    products: str = field(default_factory=default_products)

    @property
    def kind(self) -> str:
        return f"mlp:{self.activation}" if self.products == "fp32" else f"mlp:{self.activation}:{self.products}"

    def check(self, dim: int, nodes: int) -> None:
        """Raise unless this is a perceptron from `dim` to `dim` numbers at so many nodes."""
        check_mlp(self.weights, self.biases, self.activation, dim)
        checked_choice("products", self.products, PRODUCTS)
        check_tensor("biases", self.biases, nodes, self.biases.shape[1], any_float=True)
        _check_rows(nodes, output_scale=self.output_scale, skip=self.skip)

    def parts(self) -> dict[str, Tensor]:
        """The tensors by name, in the order in which the kernel reads them."""
        weights = {f"weights[{i}]": weight for i, weight in enumerate(self.weights)}
        return {**weights, "biases": self.biases, "output_scale": self.output_scale, "skip": self.skip}

    def tensors(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> list[Tensor]:
        """The tensors as a kernel of this precision and device reads them."""
        return [tensor.detach().to(device, dtype).contiguous() for tensor in self.parts().values()]

    def __call__(self, x: Tensor, node: int) -> tuple[Tensor, Tensor]:
        scale, skip = self.output_scale[node].to(x), self.skip[node].to(x)
        return mlp_score_divergence_reference(x, self.weights, self.biases[node], self.activation, scale, skip)


Source = MixtureSource | MlpSource


def _check_rows(nodes: int, **columns: Tensor) -> None:
    for name, column in columns.items():
        check_tensor(name, column, nodes, any_float=True)
    check_finite(**columns)


class Visit(NamedTuple):
    """A path's visit to a node: where it is, where it goes, the noise of the step between, and both scores."""

    x: Tensor  # (n, d)
    following: Tensor  # (n, d)
    noise: Tensor  # (n, d), of the forward process
    model_score: Tensor  # (n, d)
    model_divergence: Tensor | None  # (n,)
    reference_score: Tensor  # (n, d)
    reference_divergence: Tensor | None  # (n,)


def follow(
    x: Tensor, table: StepTable, model: NodeScore, reference: NodeScore, seed: int, path_offset: int
) -> Iterator[Visit]:
    """The paths of a step table, node by node, in PyTorch and in the dtype of `x`."""
    seed, path_offset = checked_seed(seed, path_offset)
    check_tensor("x", x, "n", "d", any_float=True)
    check_kind("table", table, StepTable)
    check_function("model", model)
    check_function("reference", reference)
    n, dim = x.shape
    reverse = table.direction == "reverse"
    purpose = "reverse" if reverse else "noise"
    draw = partial(normals_reference, dtype=x.dtype) if x.dtype == torch.float64 else normals
    drawn = x.new_zeros(n, 0)
    for k in range(len(table.times)):
        c = dict(zip(COLUMNS, table.columns[k].tolist(), strict=True))
        phase = k % _NOISE_CHUNK
        if phase == 0:
            count = min(_NOISE_CHUNK, len(table.times) - k) * dim
            drawn = draw(n, count, seed=seed, path_offset=path_offset, first=k * dim, purpose=purpose).to(x)
        z = drawn[:, phase * dim : (phase + 1) * dim]
        model_score, model_divergence = _scores("model", model, x, k)
        reference_score, reference_divergence = _scores("reference", reference, x, k)
        following = c["drift"] * x + c["noise"] * z
        if reverse:
            following = following + c["push"] * model_score
            z = c["seen_position"] * x + c["seen_score"] * model_score + c["seen_noise"] * z
        yield Visit(x, following, z, model_score, model_divergence, reference_score, reference_divergence)
        x = following


def _scores(name: str, score: NodeScore, x: Tensor, node: int) -> tuple[Tensor, Tensor | None]:
    """A score and its divergence at a node, once they are known to be that."""
    out = score(x, node)
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{name}: expected a score and its divergence or None, got {described(out)}")
    check_tensor(f"{name}: score", out[0], *x.shape, any_float=True)
    if out[1] is not None:
        check_tensor(f"{name}: divergence", out[1], len(x), any_float=True)
    return out


def trajectory_reference(
    x: Tensor,
    table: StepTable,
    model: NodeScore,
    reference: NodeScore,
    *,
    seed: int = 0,
    path_offset: int = 0,
    observe: Callable[[int, Visit, Tensor, Tensor], None] | None = None,
) -> TrajectorySums:
    """:func:`trajectory` in PyTorch, in the dtype of `x`, for any scores: the specification.

    `model` and `reference` are called as ``(x, node)`` and return the score (n, d) and its divergence (n,), which may
    be None for schemes without one. Differentiable as far as they are. `observe` is told of every node: its row, the
    visit, the noise that led there and where that step began.
    """
    check_tensor("x", x, "n", "d", any_float=True)
    check_kind("table", table, StepTable)
    if observe is not None:
        check_function("observe", observe)
    sampler, weight, reverse = table.scheme == "sampler", table.divergence_weight, table.direction == "reverse"
    value, mismatch = x.new_zeros(len(x)), x.new_zeros(len(x))
    carried, previous = torch.zeros_like(x), torch.zeros_like(x)
    coarse = no_coarse_sums(x) if table.coarse else None
    for k, visit in enumerate(follow(x, table, model, reference, seed, path_offset)):
        c = dict(zip(COLUMNS, table.columns[k].tolist(), strict=True))
        delta = visit.model_score - visit.reference_score  # (n, d)
        energy = (delta * (visit.model_score + visit.reference_score)).sum(1)
        divergence = None
        if weight:
            if visit.model_divergence is None or visit.reference_divergence is None:
                name = "model" if visit.model_divergence is None else "reference"
                raise ValueError(f"{name}: the scheme {table.scheme!r} needs the divergence of its score")
            divergence = visit.model_divergence - visit.reference_divergence
            energy = energy + weight * divergence
        work = (delta * (c["work_carried"] * carried + c["work_drawn"] * visit.noise)).sum(1)
        value = value + c["energy"] * energy + work
        mismatch = mismatch + c["mismatch"] * delta.square().sum(1)
        if sampler:
            earlier, noise = (visit.following, visit.noise) if reverse else (previous, carried)
            w = c["chain_position"] * earlier + c["chain_noise"] * noise + c["chain_score"] * visit.model_score
            value = value + (w * (noise + 0.5 * w)).sum(1)
        if coarse is not None:
            own = None if divergence is None else divergence[None]
            scores = visit.model_score[None], visit.reference_score[None]
            coarse = coarse_sums(coarse, table, k, *scores, own, visit.noise[None])
        if observe is not None:
            observe(k, visit, carried, previous)
        previous, carried, x = visit.x, visit.noise, visit.following
    return TrajectorySums(value, mismatch, x, x.new_empty(len(x), 0) if coarse is None else coarse.value.T.to(x))


def trajectory(
    x: Tensor, table: StepTable, model: Source, reference: Source, *, seed: int = 0, path_offset: int = 0
) -> TrajectorySums:
    """Forward paths, or reverse paths driven by the model, with the time-asymmetry sums of one scheme, fused.

    Parameters
    ----------
    x : Tensor
        (n, d) float32 or float64, on the CPU or a CUDA device, points at the node that paths visit first; 1 ≤ d ≤ 16.
    table : StepTable
        From :func:`thermokern.processes.step_table`: coefficients, scheme, direction, nodes.
    model, reference : MixtureSource or MlpSource
        ``s_θ`` and ``s_*`` at every node, in the order of the table.
    seed, path_offset : int
        Path ``i`` has the noise of global path ``path_offset + i`` of the seed.

    Returns
    -------
    value : Tensor
        (n,) nats: Δs along each path, model minus reference. In the sampler scheme without its end terms.
    mismatch : Tensor
        (n,) nats: ``∫ D |s_θ − s_*|² dt`` along each path, whose mean is that of Δs (Ding, Quan and Tu, Eq. 33).
    x_last : Tensor
        (n, d), at the node that paths visit last.
    coarse : Tensor
        (n, 2) nats: Δs over every second and every fourth node; (n, 0) where the table has no columns for them.

    Notes
    -----
    Every path is bit-identical, on one instruction set, for any number of threads, any chunking and any `path_offset`.
    Memory: the outputs and a table of the sources at the nodes, independent of the number of steps times paths. Ctrl-C
    stops it on the CPU; on CUDA it runs in torch's current stream and returns before the paths are done. No gradient:
    see :func:`trajectory_reference`.
    """
    x = start_of_paths(x, table, model, reference)
    seed, path_offset = checked_seed(seed, path_offset)
    out = torch.ops.thermokern.trajectory(
        x,
        table.columns.to(x.device, x.dtype).contiguous(),
        *kernel_sources(model, reference, x),
        table.divergence_weight,
        table.scheme == "sampler",
        table.direction == "reverse",
        table.coarse,
        seed,
        path_offset,
    )
    return TrajectorySums(*out)


def start_of_paths(
    x: Tensor, table: StepTable, model: Source, reference: Source, kind: type[StepTable] = StepTable
) -> Tensor:
    """`x` contiguous, once it, the table and the sources are known to be what the kernels take."""
    x = checked_points(x)
    check_kind("table", table, kind)
    for name, source in {"model": model, "reference": reference}.items():
        check_source(name, source, x.shape[1], len(table.times))
    return x


def check_source(name: str, source: Source, dim: int, nodes: int) -> None:
    """Raise unless this is a score in `dim` dimensions at so many nodes, without a gradient."""
    check_kind(name, source, MixtureSource, MlpSource)
    try:
        source.check(dim, nodes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}.{error}") from None
    refuse_gradient(**{f"{name}.{part}": tensor for part, tensor in source.parts().items()})


def kernel_sources(model: Source, reference: Source, x: Tensor) -> tuple[str, list[Tensor], str, list[Tensor]]:
    """Both sources as the kernels for `x` read them."""
    sources = (source.tensors(x.dtype, x.device) for source in (model, reference))
    return model.kind, next(sources), reference.kind, next(sources)


def _trajectory(
    x: Tensor,
    steps: Tensor,
    model_kind: str,
    model: list[Tensor],
    reference_kind: str,
    reference: list[Tensor],
    divergence_weight: float,
    sampler: bool,
    reverse: bool,
    coarse: bool,
    seed: int,
    path_offset: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    value, mismatch, x_last, sums = _outputs(x, coarse)
    run_kernel(
        "trajectory",
        x,
        x,
        steps,
        model_kind,
        model,
        reference_kind,
        reference,
        divergence_weight,
        sampler,
        reverse,
        seed,
        path_offset,
        value,
        mismatch,
        x_last,
        sums if coarse else None,
    )
    return value, mismatch, x_last, sums


def _outputs(x: Tensor, coarse: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n = x.shape[0]
    return x.new_empty(n), x.new_empty(n), torch.empty_like(x), x.new_empty(n, 2 if coarse else 0)


def _trajectory_fake(
    x: Tensor,
    steps: Tensor,
    model_kind: str,
    model: list[Tensor],
    reference_kind: str,
    reference: list[Tensor],
    divergence_weight: float,
    sampler: bool,
    reverse: bool,
    coarse: bool,
    seed: int,
    path_offset: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _outputs(x, coarse)


register(
    "trajectory(Tensor x, Tensor steps, str model_kind, Tensor[] model, str reference_kind, Tensor[] reference,"
    " float divergence_weight, bool sampler, bool reverse, bool coarse, int seed, int path_offset)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _trajectory,
    _trajectory_fake,
)
