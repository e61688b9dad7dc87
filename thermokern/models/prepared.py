"""Networks made ready for long runs: another precision, compiled, in the layout that convolutions like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from thermokern.models.score_model import ScoreModel
from thermokern.ops.checks import checked_choice

ARITHMETIC = {"fp32": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-7}  # and the rounding of products, where that is coarser


class Prepared(nn.Module):
    """A network under autocast or with TF32 set, compiled, channels last; its outputs in the dtype of x."""

    casts_itself = True

    def __init__(self, network: nn.Module, precision: str | None, compile: bool, channels_last: bool) -> None:
        super().__init__()
        self.network, self.precision, self.channels_last = network, precision, channels_last
        self.rounding = ARITHMETIC.get(precision or "fp32", 0.0)
        self._call: Any = torch.compile(network) if compile else network
        self.training = network.training
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Output (n, …) at points x (n, …) and times t (n,)."""
        parameter = next(self.network.parameters(), x)
        x_in, t = x.to(parameter), t.to(parameter.device, torch.promote_types(parameter.dtype, torch.float32))
        if self.channels_last and x.dim() == 4:
            x_in = x_in.contiguous(memory_format=torch.channels_last)
        with _arithmetic(self.precision, x_in.device.type):
            out: Tensor = self._call(x_in, t)
        return out.to(x).contiguous()


def prepared(
    model: ScoreModel, precision: str | None, compile: bool = False, channels_last: bool = False
) -> ScoreModel:
    """The model with its network made ready, or itself where nothing is asked or its network is no module."""
    if precision is not None:
        checked_choice("precision", precision, ARITHMETIC)
    if (precision is None and not compile and not channels_last) or not isinstance(model.network, nn.Module):
        return model
    how = {"precision": precision, "compile": compile, "channels_last": channels_last}
    origin = {**model.origin, **{name: value for name, value in how.items() if value}}
    network = Prepared(model.network, precision, compile, channels_last)
    return ScoreModel(network, model.process, model.predicts, model.shape, origin)


@contextlib.contextmanager
def _arithmetic(precision: str | None, device: str) -> Iterator[None]:
    if precision == "bf16":
        with torch.autocast(device, torch.bfloat16):
            yield
        return
    if precision is None or device != "cuda":
        yield
        return
    flags: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = precision == "tf32"
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
