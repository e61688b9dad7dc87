"""A trial of a network on two points: is it a function of (x, t) of one point, and its derivative the true one?"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from thermokern.ops.contexts import differentiable, plain_precision, usable

_POINTS = 2
_REPEAT = 100.0  # roundings by which two calls at the same points may differ
_COMPANY = (1e-3, 32.0)  # what batches of another size may change, relative; and in roundings of the network
_STEP = 5e-3  # of a difference quotient, in units of the points: coarse enough for float32 within float64
_MATCH = 0.05  # of a derivative with the difference quotient, relative; and in units of the quotient's own error
_ERRORS = 10.0
# What PyTorch says where points have not the shape or the precision that a layer asks for.
_MISFITS = (
    *("cannot be multiplied", "got input of size", "size of tensor", "weight of size", "shape '["),
    *("same dtype", "expected scalar type", "Input type"),
)
_WHOLE = "for argument #1 'indices' to have one of the following scalar types"  # what an embedding says
_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)
_BATCH = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


@contextlib.contextmanager
def untouched(network: nn.Module | None) -> Iterator[Callable[[], list[str]]]:
    """Puts buffers back that a network's forward changes; gives a function that names them."""
    buffers = {} if network is None else dict(network.named_buffers())
    kept = {name: buffer.clone() for name, buffer in buffers.items()}

    def changed() -> list[str]:
        now = {} if network is None else dict(network.named_buffers())
        return [name for name, buffer in kept.items() if name in now and not _equal(buffer, now[name])]

    try:
        yield changed
    finally:
        with torch.no_grad():
            for name in changed():
                if network is not None:
                    network.get_buffer(name).copy_(kept[name])


def examine(
    name: str, function: Callable[[Tensor], Tensor], x: Tensor, network: object = None, *, derivative: bool = False
) -> None:
    """Raise, naming `name`, unless `function` is one: of each point of `x` (n, …) alone, and the same at every call.

    Parameters
    ----------
    function : callable
        Of points (n, …); `network` at one time, say.
    network : module, optional
        What it evaluates, where that is known: its modules and buffers are looked at.
    derivative : bool
        Try its derivative by reverse mode too, see :func:`check_derivative`.
    """
    if not len(x):
        return
    module = network if isinstance(network, nn.Module) else None
    if module is not None:
        check_modes(name, module)
    with plain_precision(), untouched(module) as changed, torch.no_grad():
        x = x[:_POINTS].detach().clone()
        if len(x) < _POINTS:  # company for a point that has none
            x = torch.cat([x, 0.9 * x + 0.1])
        given = x.clone()
        try:
            first = function(given)
        except RuntimeError as misfit:
            reason = str(misfit).strip()
            if _WHOLE in reason:
                raise ValueError(
                    f"{name}: it looks times up in a table, which has whole steps only: from_ddpm(network, betas=…) "
                    "makes a model of such a network"
                ) from misfit
            if not any(words in reason for words in _MISFITS):
                raise
            raise ValueError(
                f"{name}: it cannot take points {tuple(x.shape)} {x.dtype}: {reason.splitlines()[0][:200]}; is their "
                "shape that of its samples (ScoreModel(…, shape=), or data points of that shape)?"
            ) from misfit
        if not _equal(given, x):
            raise ValueError(
                f"{name}: its forward changes x in place, and with it the path; let it begin with x.clone()"
            )
        again = function(x.clone())
        alone = torch.cat([function(x[i : i + 1].clone()) for i in range(_POINTS)])
        training = module is not None and any(each.training for each in module.modules() if not [*each.children()])
        remedy = "; call .eval() first: the network is in training mode" if training else ""
        size, eps = first.detach().abs().max().item(), _eps(first, module)
        error = _distance(first, again)
        if error > _REPEAT * eps * size:
            raise ValueError(
                f"{name}: two calls at the same points differ by {error:.2g} (of {size:.2g}): it draws random numbers "
                f"or keeps a state, so that it is no function of x and t{remedy}"
            )
        error = _distance(first, alone)
        if error > max(_COMPANY[0], _COMPANY[1] * eps) * (1.0 + size):
            raise ValueError(
                f"{name}: its value at a point changes by {error:.2g} (of {size:.2g}) with the other points of the "
                f"batch: each point's must depend on that point alone{remedy}"
            )
        if names := changed():
            raise ValueError(f"{name}: its forward changes the network's buffers {', '.join(names)}{remedy}")
    if derivative:
        check_derivative(name, function, x, module)


def check_modes(name: str, network: nn.Module) -> None:
    """Name the modules that in training mode make of a network no function of one point."""
    wrong = []
    for path, module in network.named_modules():
        random = isinstance(module, _RANDOM) and getattr(module, "p", 1.0) > 0.0
        batch = isinstance(module, _BATCH) and (
            isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
        )
        if module.training and (random or batch):
            wrong.append(f"{path or 'itself'}: {module}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"{name}: its modules in training mode give another value at each call or for each batch "
            f"({'; '.join(wrong[:3])}{more}): call .eval() on the network first"
        )


# --- derivatives -----------------------------------------------------------------------------------------------------


class Quotient:
    """``J v`` of a function at two points by differences, with an error bar: knows what autograd may have lost.

    ``v`` is Gaussian, `function` one of any number of points. Three steps tell how far the quotient is to be trusted;
    where it is not, everything agrees.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, network: object = None) -> None:
        size = x.square().mean().sqrt().item() or 1.0
        step = max(_STEP, _eps(x, network) ** (1.0 / 3.0)) * size
        steps = (1.0, -1.0, 2.0, -2.0, 4.0, -4.0)
        with torch.no_grad():
            out = function(torch.cat([x + k * step * v for k in steps])).double().chunk(len(steps))
        quotients = [(out[i] - out[i + 1]) / (2.0 * steps[i] * step) for i in (0, 2, 4)]
        self.value = quotients[0].flatten(1)  # (2, d)
        self.error = torch.maximum(*(_norm(one - other) for one, other in itertools.pairwise(quotients)))

    def agrees(self, contracted: Tensor, w: Tensor) -> bool:
        """Whether ``w·J v`` (2,) may be right, at one of the points at least."""
        w = w.flatten(1).double()
        far = (contracted.double() - (self.value * w).sum(1)).abs()
        scale = _norm(self.value) * _norm(w)
        allowed = _MATCH * torch.maximum(scale, contracted.double().abs()) + _ERRORS * self.error * _norm(w)
        return not bool((far > allowed).all())


def trial_points(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At most two points beside those of `x`, off the kinks that zeros are, and Gaussian directions v and w."""
    generator = torch.Generator().manual_seed(1)
    x = usable(x[:_POINTS].detach())
    drawn = torch.randn(3, *x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x)
    size = x.square().mean().sqrt().item() or 1.0
    return x + 0.01 * size * drawn[2], drawn[0], drawn[1]


def check_derivative(name: str, function: Callable[[Tensor], Tensor], x: Tensor, network: object = None) -> None:
    """Raise, naming `name`, unless reverse mode differentiates `function` at two points as differences do.

    PyTorch takes a missing graph for a derivative of zero: what runs under ``no_grad`` or ``inference_mode``, or goes
    through NumPy or ``detach``, has none.
    """
    if not len(x):
        return
    check_parameters(name, network)
    x, v, w = trial_points(x)
    with plain_precision(), differentiable():
        leaf = x.clone().requires_grad_(True)
        value = function(leaf)
        row = None
        if value.requires_grad:
            (row,) = torch.autograd.grad(value, leaf, w.to(value), allow_unused=True)
        pulled = torch.zeros_like(x) if row is None else row
        if not Quotient(function, x, v, network).agrees((pulled * v).flatten(1).sum(1), w):
            raise ValueError(lost(name))


def check_constant(name: str, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Raise, naming `name`, if a function of which PyTorch has no graph changes with x all the same."""
    if len(x):
        x, v, _ = trial_points(x)
        quotient = Quotient(function, x, v)
        if not quotient.agrees(torch.zeros(len(x), device=x.device), quotient.value):
            raise ValueError(lost(name))


def check_parameters(name: str, network: object) -> None:
    """Raise if parameters of a network were made under ``torch.inference_mode``: no derivative passes through them."""
    if isinstance(network, nn.Module) and any(parameter.is_inference() for parameter in network.parameters()):
        raise ValueError(
            f"{name}: its parameters were made under torch.inference_mode(), which bars derivatives: make or load the "
            "network outside, or clone them"
        )


def lost(name: str) -> str:
    """That PyTorch loses a derivative, and why this happens."""
    return (
        f"{name}: PyTorch does not see how its values change with x, which they do: its forward runs under "
        "torch.no_grad() or torch.inference_mode(), or goes through NumPy, .detach() or another function without "
        "derivatives; take these out of the forward"
    )


def _norm(x: Tensor) -> Tensor:
    length: Tensor = x.flatten(1).norm(dim=1)
    return length


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest difference; NaN, where both have it, is none."""
    return (one - other).abs().nan_to_num(0.0).max().item()


def _eps(x: Tensor, network: object) -> float:
    """Rounding of the coarsest precision at work, where it is known."""
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    stated: float = getattr(network, "rounding", 0.0)  # of arithmetic coarser than what it is done on
    return max(stated, *(torch.finfo(each.dtype).eps for each in (x, *parameters) if each.is_floating_point()))
