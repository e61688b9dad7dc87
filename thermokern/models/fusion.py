"""Recognises perceptrons, whatever their time embedding, for the fused kernels.

The network itself is called, on an abstract x that notes what is done to it. What depends on time alone is evaluated
by PyTorch at every node of the time grid; what depends on ``x`` must stay affine in the last hidden layer:
``scale · (W h + b)``, with ``b`` and ``scale`` free to change from node to node. An elementwise activation closes a
layer and opens the next. Nothing of PyTorch is patched, as ``torch.fx`` does: other threads notice nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thermokern import ops
from thermokern.models.node_rows import NodeRows
from thermokern.models.score_model import ScoreModel
from thermokern.models.trial import untouched
from thermokern.ops.checks import MAX_DIM, PRECISIONS, NotFusable
from thermokern.ops.contexts import plain_precision
from thermokern.ops.mlp_score_divergence import MAX_WIDTH

_CONCATENATE = ("cat", "concat", "concatenate")
_ACTIVATIONS = ("silu", "tanh", "relu")
# What would turn a time into a number of Python, with which a network could choose its way.
_CHOICES = (
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__array__",
    "item",
    "tolist",
    "numpy",
    "equal",
    "allclose",
)


class _Times(Tensor):
    """Times and what follows from them: numbers, but of many nodes at once, so that none may choose a network's way."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _CHOICES:
            raise NotFusable("what it computes depends on the value of t in other ways than by arithmetic")
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class _Affine:
    """``scale · (W h + b)`` of hidden layer `layer`; layer 0 is ``x``. `x_scale` · x may be added at the output."""

    reader: _Reader
    layer: int
    weight: Tensor  # (out, width of the layer) float64
    bias: NodeRows
    scale: Tensor | None = None  # (nodes,) float64; None is 1
    x_scale: Tensor | None = None  # (nodes,) float64; None is 0

    def plain(self, what: str) -> _Affine:
        if self.scale is not None or self.x_scale is not None:
            raise NotFusable(f"{what} follows a factor that depends on time")
        return self

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.reader.times), len(self.bias.constant)))

    @property
    def dtype(self) -> torch.dtype:
        return self.reader.times.dtype

    @property
    def device(self) -> torch.device:
        return self.reader.times.device

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> _Affine:
        reader = next(leaf.reader for leaf in _leaves((args, kwargs)) if isinstance(leaf, _Affine))
        return reader.call(getattr(func, "__name__", str(func)), *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., _Affine]:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self.reader.call, name, self)

    def __add__(self, other: Any) -> _Affine:
        return self.reader.call("add", self, other)

    def __radd__(self, other: Any) -> _Affine:
        return self.reader.call("add", other, self)

    def __sub__(self, other: Any) -> _Affine:
        return self.reader.call("sub", self, other)

    def __rsub__(self, other: Any) -> _Affine:
        return self.reader.call("sub", other, self)

    def __mul__(self, other: Any) -> _Affine:
        return self.reader.call("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> _Affine:
        return self.reader.call("div", self, other)

    def __neg__(self) -> _Affine:
        return self.reader.call("neg", self)


@dataclass
class _Layers:
    weights: list[Tensor] = field(default_factory=list)
    biases: list[NodeRows] = field(default_factory=list)
    activation: str | None = None


def fuse(
    model: ScoreModel,
    times: Tensor,
    dim: int,
    dtype: torch.dtype = torch.float32,
    parts: Sequence[slice] = (slice(None),),
) -> ops.MlpSource:
    """The fused kernels' form of a model at the nodes `times` (n_nodes,), in the precision `dtype` of the paths.

    On the CPU, wherever the network is.

    The numbers of each of the `parts`, which make up `times`, do not depend on the others, to the last bit.

    Raises
    ------
    NotFusable
        With the reason, in words for the user.
    """
    network = model.network
    if not isinstance(network, nn.Module):
        raise NotFusable("the network is not a torch.nn.Module")
    if dim > MAX_DIM:
        raise NotFusable(f"the kernels take at most {MAX_DIM} dimensions, not {dim}")
    parameter = next(network.parameters(), torch.empty(0, device="cpu"))
    if parameter.dtype not in PRECISIONS or parameter.is_meta:
        raise NotFusable(f"the kernels take float32 or float64, the network is {parameter.dtype} on {parameter.device}")
    if parameter.dtype == torch.float64 and dtype != torch.float64:
        raise NotFusable("the network is in float64 and the paths are not: dtype=torch.float64 runs both in it")
    network = getattr(network, "_orig_mod", network)  # below torch.compile
    if any(module._compiled_call_impl is not None for module in network.modules()):
        raise NotFusable("parts of the network are compiled")
    if parameter.device.type != "cpu":  # its weights are read here and go to where the paths are
        network = copy.deepcopy(network).to("cpu")
    with torch.no_grad(), plain_precision(), untouched(network):
        graphs = [read_network(network, times[part].to(parameter.dtype), dim) for part in parts]
        layers, out = graphs[0]
        rows = [_rows_of(model, times[part], *graph) for part, graph in zip(parts, graphs, strict=True)]
        biases, output_scale, skip = (torch.cat(column).to(dtype) for column in zip(*rows, strict=True))
        source = ops.MlpSource(
            weights=[weight.to(dtype).contiguous() for weight in (*layers.weights, out.weight)],
            biases=biases,
            activation=layers.activation or "",
            output_scale=output_scale,
            skip=skip,
        )
        _verify(model, source, times, dim, parameter.dtype)
    return source


def read_network(network: nn.Module, times: Tensor, dim: int, *condition: Tensor) -> tuple[_Layers, _Affine]:
    """Hidden layers and output of ``network(x, t)`` at `times` (nodes,), or of ``network(x, t, y)`` under a condition.

    Raises
    ------
    NotFusable
        With the reason, in words for the user.
    """
    try:
        return _Reader(times, dim).read(network, *condition)
    except NotFusable:
        raise
    except Exception as error:  # whatever a user's forward raises
        raise NotFusable(f"its forward does not take an abstract x over a batch of times: {error}") from None


def _rows_of(model: ScoreModel, times: Tensor, layers: _Layers, out: _Affine) -> tuple[Tensor, Tensor, Tensor]:
    """Biases (n_nodes, units), output scale and skip (n_nodes,)."""
    ones = torch.ones_like(times)
    scale = ones if out.scale is None else out.scale
    x_scale = 0.0 * ones if out.x_scale is None else out.x_scale
    output_scale = model.output_scale(times)
    return (
        torch.cat([bias.values(len(times)) for bias in (*layers.biases, out.bias)], dim=1),
        output_scale * scale,
        output_scale * x_scale + model.skip(times),
    )


def _verify(model: ScoreModel, source: ops.MlpSource, times: Tensor, dim: int, dtype: torch.dtype) -> None:
    """Compare with the network itself, in case its forward chooses another way for an abstract x."""
    x = 2.0 * ops.normals(8, dim, purpose="probe", dtype=dtype)
    for node in {0, len(times) // 2, len(times) - 1}:
        expected = model(x, times[node].item())
        scale, skip = source.output_scale[node].item(), source.skip[node].item()
        got, _ = ops.mlp_score_divergence(
            x.to(source.biases.dtype), source.weights, source.biases[node], source.activation, scale, skip
        )
        error = (got - expected).abs().max().item()
        if not error <= 1e-3 * (1.0 + expected.abs().max().item()):
            raise NotFusable(f"what was read does not reproduce the network's output (off by {error:.2g})")


class _Reader:
    """What a network does to x at some times (nodes,), noted while it is called."""

    def __init__(self, times: Tensor, dim: int) -> None:
        self.times, self.dim = times, dim
        self.layers = _Layers()
        self._features: dict[
            object, tuple[Any, Tensor]
        ] = {}  # by the memory of what they copy, which is kept with them

    def read(self, network: nn.Module, *condition: Tensor) -> tuple[_Layers, _Affine]:
        identity = torch.eye(self.dim, dtype=torch.float64, device="cpu")
        x = _Affine(self, 0, identity, NodeRows.zeros(self.dim))
        out = network(x, self.times.as_subclass(_Times), *condition)
        if not isinstance(out, _Affine) or out.layer != len(self.layers.weights) or out.layer == 0:
            raise NotFusable("its output is not an affine function of a last hidden layer")
        if out.weight.shape[0] != self.dim:
            raise NotFusable(f"its output has {out.weight.shape[0]} numbers for {self.dim} dimensions")
        return self.layers, out

    def call(self, function: str, *args: Any, **kwargs: Any) -> _Affine:
        """The function of PyTorch that bears this name, with an abstract x among its arguments."""
        args = tuple(_plain(value) for value in args)
        kwargs = {name: _plain(value) for name, value in kwargs.items() if name != "inplace"}
        name = function.removeprefix("__").removesuffix("__")
        if name == "dropout" and not (kwargs.get("training", True) and kwargs.get("p")):
            return args[0]  # type: ignore[no-any-return]
        if name in ("to", "type_as"):
            cast: _Affine = self._like(args[0], args[1:], kwargs)
            return cast
        if name == "gelu" and kwargs.get("approximate") == "tanh":
            return self._activate(args[0], "gelu-tanh")
        if name == "linear" and not isinstance(args[1], _Affine):
            return _linear(*args, **kwargs)
        if name in _CONCATENATE:
            return self._concatenate(args[0], kwargs.get("dim", args[1] if len(args) > 1 else 0))
        if name in _ACTIVATIONS and not kwargs:
            return self._activate(args[0], name)
        if name in ("add", "radd") and not kwargs:
            return self._add(args[0], args[1], 1.0)
        if name == "sub" and not kwargs:
            return self._add(args[0], args[1], -1.0)
        if name in ("mul", "rmul"):
            return self._multiply(args[0], args[1])
        if name in ("div", "truediv") and not kwargs and not isinstance(args[1], _Affine):
            return self._multiply(args[0], 1.0 / torch.as_tensor(args[1], dtype=torch.float64, device="cpu"))
        if name == "neg":
            return self._multiply(args[0], -1.0)
        raise NotFusable(f"the kernels do not know the operation {function} on x")

    def _like(self, value: Any, kind: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A tensor in the precision of x, or x in what it is in already."""
        if not isinstance(value, _Affine):
            return value.to(self.times)
        asked = [*kind, *options.values()]
        if all(isinstance(each, _Affine) or each in (self.times.dtype, self.times.device) for each in asked):
            return value
        raise NotFusable("it casts x to another precision or device")

    def _activate(self, value: _Affine, name: str) -> _Affine:
        value.plain("an activation")
        if value.layer != len(self.layers.weights):
            raise NotFusable("one of its connections skips a layer")
        if self.layers.activation not in (None, name):
            raise NotFusable(f"it mixes the activations {self.layers.activation} and {name}")
        width = value.weight.shape[0]
        if width > MAX_WIDTH:
            raise NotFusable(f"the kernels take layers of at most {MAX_WIDTH} units, not {width}")
        self.layers.activation = name
        self.layers.weights.append(value.weight)
        self.layers.biases.append(value.bias)
        identity = torch.eye(width, dtype=torch.float64, device="cpu")
        return _Affine(self, value.layer + 1, identity, NodeRows.zeros(width))

    def _rows(self, value: Any, width: int | None = None) -> NodeRows:
        """What does not depend on x, as rows of that many numbers."""
        rows = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64, device="cpu")
        if rows.dim() > 2 or (rows.dim() == 2 and rows.shape[0] not in (1, len(self.times))):
            raise NotFusable(f"a term of shape {tuple(rows.shape)} meets x")
        width = rows.shape[-1] if width is None else width
        if rows.dim() < 2 or (rows.shape[0] == 1 and len(self.times) > 1):
            return NodeRows(rows.double().reshape(-1).expand(width))
        version = 0 if rows.is_inference() else rows._version  # which inference tensors do not count
        same = (rows.data_ptr(), rows.shape, rows.stride(), rows.dtype, version, width)
        if same not in self._features:
            self._features[same] = rows, rows.expand(-1, width).clone()
        return NodeRows.of(self._features[same][1])

    def _concatenate(self, parts: Any, dim: int) -> _Affine:
        if dim not in (1, -1):
            raise NotFusable(f"it concatenates along axis {dim}")
        affine = [part.plain("a concatenation") for part in parts if isinstance(part, _Affine)]
        layer, width = affine[0].layer, affine[0].weight.shape[1]
        if any(part.layer != layer for part in affine):
            raise NotFusable("one of its connections skips a layer")
        weights, biases = [], []
        for part in parts:
            biases.append(part.bias if isinstance(part, _Affine) else self._rows(part))
            blank = torch.zeros(len(biases[-1].constant), width, dtype=torch.float64, device="cpu")
            weights.append(part.weight if isinstance(part, _Affine) else blank)
        return _Affine(self, layer, torch.cat(weights), NodeRows.side_by_side(biases))

    def _add(self, left: Any, right: Any, sign: float) -> _Affine:
        if not isinstance(left, _Affine):
            left, right, sign = self._multiply(right, sign), left, 1.0
        out: _Affine = left
        if not isinstance(right, _Affine):
            out.plain("a sum")
            return replace(out, bias=out.bias.plus(self._rows(right, len(out.bias.constant)).times(sign)))
        other = self._multiply(right, sign)
        if out.layer < other.layer:
            out, other = other, out
        if out.layer > other.layer:
            return self._skip(out, other)
        out.plain("a sum")
        other.plain("a sum")
        return replace(out, weight=out.weight + other.weight, bias=out.bias.plus(other.bias))

    def _skip(self, out: _Affine, x: _Affine) -> _Affine:
        identity = torch.eye(self.dim, dtype=torch.float64, device="cpu")
        multiple = x.weight[0, 0] if x.weight.numel() else torch.tensor(0.0, device="cpu")
        if x.layer or not x.bias.is_zero or out.x_scale is not None or not torch.equal(x.weight, multiple * identity):
            raise NotFusable("one of its connections skips a layer")
        scale = torch.ones(len(self.times), dtype=torch.float64, device="cpu") if x.scale is None else x.scale
        return replace(out, x_scale=multiple * scale)

    def _multiply(self, left: Any, right: Any) -> _Affine:
        value: _Affine
        value, factor = (left, right) if isinstance(left, _Affine) else (right, left)
        if isinstance(factor, _Affine):
            raise NotFusable("it multiplies functions of x")
        factor = torch.as_tensor(factor, dtype=torch.float64, device="cpu")
        if factor.numel() == 1:
            x_scale = None if value.x_scale is None else factor.reshape(()) * value.x_scale
            scaled = replace(value, x_scale=x_scale)
            return replace(scaled, weight=factor.reshape(()) * value.weight, bias=value.bias.times(factor.reshape(())))
        if factor.shape != (len(self.times), 1):
            raise NotFusable(f"a factor of shape {tuple(factor.shape)} meets x")
        scale = factor[:, 0] if value.scale is None else factor[:, 0] * value.scale
        return replace(value, scale=scale, x_scale=None if value.x_scale is None else factor[:, 0] * value.x_scale)


def _linear(value: _Affine, weight: Tensor, bias: Tensor | None = None) -> _Affine:
    value.plain("a linear layer")
    weight = weight.to(torch.float64)
    shift = 0.0 if bias is None else bias.to(torch.float64)
    return replace(value, weight=weight @ value.weight, bias=value.bias.through(weight, shift))


def _plain(value: Any) -> Any:
    """An argument, with times as ordinary tensors."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.as_subclass(Tensor) if isinstance(value, _Times) else value


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    if isinstance(tree, tuple | list):
        return [leaf for value in tree for leaf in _leaves(value)]
    return [tree]
