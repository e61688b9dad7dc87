"""Structured subsets of a network's parameters: small enough for whole Hessians, large enough to stand for a layer."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thermokern.models import ScoreModel
from thermokern.ops.checks import MOST, checked_integer, checked_seed
from thermokern.quantities.results.storage import stored

KINDS = ("linear", "attention", "convolution", "normalisation")
PLACES = ("encoder", "bottleneck", "decoder")
# Parts of module names that tell where in a U-Net a layer is.
_PLACES = {
    "encoder": ("down", "conv_in", "encoder", "input_blocks"),
    "bottleneck": ("mid", "middle", "bottleneck"),
    "decoder": ("up", "conv_out", "decoder", "output_blocks"),
}
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


@stored("parameter-subset")
@dataclass(frozen=True, eq=False)
class ParameterSubset:
    """Some of the parameters of one layer.

    Attributes
    ----------
    name : str
        Of the layer, as :meth:`torch.nn.Module.named_modules` has it.
    kind : {"linear", "attention", "convolution", "normalisation"}
    place : {"encoder", "bottleneck", "decoder", ""}
        Read off the name; empty where it does not tell.
    indices : dict
        For each parameter, by its name in the network, the numbers chosen: int64 indices into it as it lies flat.
    """

    name: str
    kind: str
    place: str
    indices: dict[str, Tensor]

    def __len__(self) -> int:
        return sum(len(index) for index in self.indices.values())


def parameter_subset(network: nn.Module | ScoreModel, name: str, n: int = 1000, seed: int = 0) -> ParameterSubset:
    """About n parameters of the layer `name`, chosen so that they belong together.

    Linear layers and convolutions: all connections between some inputs and some outputs, whole kernels, and the biases
    of these outputs. Attention: the same channels of the query, key and value projections. Normalisations: scale and
    shift of some channels.

    Parameters
    ----------
    network : module or ScoreModel
    name : str
        Of a Linear, a convolution, a normalisation, a ``MultiheadAttention`` or an attention module with the
        projections ``to_q``, ``to_k``, ``to_v``, as diffusers has them.
    n : int
        No more than these; fewer where the layer has fewer.
    seed : int
        Of the choice.

    Raises
    ------
    ValueError
        For a layer that is not there or of another kind; with the names that would do.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Methods 2.5.
    """
    module = _module(network)
    n = checked_integer("n", n, 1, MOST)
    (seed, _) = checked_seed(seed, 0)
    layers = _layers(module)
    if not isinstance(name, str) or name not in layers:
        some = ", ".join(list(layers)[:8])
        raise ValueError(f"name: expected a layer with parameters, such as {some}; got {name!r}")
    return _choose(name, *layers[name], n, seed)


def parameter_subsets(network: nn.Module | ScoreModel, n: int = 1000, seed: int = 0) -> tuple[ParameterSubset, ...]:
    """A subset of every layer, in the network's order; see :func:`parameter_subset`."""
    module = _module(network)
    n = checked_integer("n", n, 1, MOST)
    (seed, _) = checked_seed(seed, 0)
    return tuple(_choose(name, *layer, n, seed) for name, layer in _layers(module).items())


def place_of(name: str) -> str:
    """Where in a U-Net a layer of this name is; empty where the name does not tell."""
    first = name.split(".")[0] if "." in name else name
    for place, marks in _PLACES.items():
        if any(first.startswith(mark) or f".{mark}" in f".{name}" for mark in marks):
            return place
    return ""


def _module(network: nn.Module | ScoreModel) -> nn.Module:
    module = network.network if isinstance(network, ScoreModel) else network
    if not isinstance(module, nn.Module):
        raise TypeError(f"network: expected a module or a ScoreModel of one, got {type(module).__name__}")
    return module


def _layers(network: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Every layer with parameters of a known kind; projections of an attention stand in it alone."""
    out: dict[str, tuple[str, nn.Module]] = {}
    inside: set[str] = set()
    for name, module in network.named_modules():
        projections = [getattr(module, part, None) for part in ("to_q", "to_k", "to_v")]
        kind = None
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            kind = "attention"
        elif all(isinstance(part, nn.Linear) for part in projections):
            kind = "attention"
            inside |= {f"{name}.{part}" if name else part for part in ("to_q", "to_k", "to_v")}
        elif isinstance(module, nn.modules.conv._ConvNd):
            kind = "convolution"
        elif isinstance(module, nn.Linear):
            kind = "linear"
        elif isinstance(module, _NORMS) and module.weight is not None:
            kind = "normalisation"
        if kind is not None and name not in inside:
            out[name] = kind, module
    return out


def _choose(name: str, kind: str, module: nn.Module, n: int, seed: int) -> ParameterSubset:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def some(available: int, count: int) -> Tensor:
        return torch.randperm(available, generator=generator, device="cpu")[:count].sort().values

    prefix = f"{name}." if name else ""
    indices: dict[str, Tensor] = {}
    if kind == "normalisation":
        shifted = getattr(module, "bias", None) is not None
        scale = module.weight
        assert isinstance(scale, Tensor)
        channels = some(scale.numel(), max(1, n // (2 if shifted else 1)))
        indices = {f"{prefix}weight": channels, **({f"{prefix}bias": channels} if shifted else {})}
        return ParameterSubset(name, kind, place_of(name), indices)
    if kind == "attention" and isinstance(module, nn.MultiheadAttention):
        width = module.embed_dim
        n_out, n_in = _sizes(n, width, width, 3, 3)
        rows, columns = some(width, n_out), some(width, n_in)
        rows = torch.cat([rows + i * width for i in range(3)])
        indices[f"{prefix}in_proj_weight"] = _block(rows, columns, width, 1)
        if module.in_proj_bias is not None:
            indices[f"{prefix}in_proj_bias"] = rows
        return ParameterSubset(name, kind, place_of(name), indices)
    parts = [module] if kind != "attention" else [getattr(module, part) for part in ("to_q", "to_k", "to_v")]
    names = [prefix] if kind != "attention" else [f"{prefix}{part}." for part in ("to_q", "to_k", "to_v")]
    shapes = [_shape(part) for part in parts]
    kernel = math.prod(shapes[0][2:])
    transposed = bool(getattr(parts[0], "transposed", False))
    biased = [getattr(part, "bias", None) is not None and not transposed for part in parts]
    sizes = min(shape[0] for shape in shapes), min(shape[1] for shape in shapes)
    n_out, n_in = _sizes(n, *sizes, kernel * len(parts), sum(biased))
    rows, columns = some(sizes[0], n_out), some(sizes[1], n_in)
    for part, shape, bias in zip(names, shapes, biased, strict=True):
        indices[f"{part}weight"] = _block(rows, columns, shape[1], kernel)
        if bias:
            indices[f"{part}bias"] = rows
    return ParameterSubset(name, kind, place_of(name), indices)


def _shape(module: nn.Module) -> tuple[int, ...]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return tuple(weight.shape)


def _sizes(n: int, rows: int, columns: int, of_pair: int, of_row: int) -> tuple[int, int]:
    """How many rows and columns, about as many of each, have no more than n numbers together."""
    n_columns = min(columns, max(1, round(math.sqrt(n / of_pair))))
    n_rows = min(rows, max(1, n // (n_columns * of_pair + of_row)))
    if n_rows == rows:
        n_columns = min(columns, max(1, (n // n_rows - of_row) // of_pair))
    return n_rows, n_columns


def _block(rows: Tensor, columns: Tensor, width: int, kernel: int) -> Tensor:
    """Flat indices of the entries of (out, in, …) in these rows and columns."""
    pairs = (rows[:, None] * width + columns[None]).flatten()
    return (pairs[:, None] * kernel + torch.arange(kernel, device="cpu")[None]).flatten()
