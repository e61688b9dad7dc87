"""Operations without a second derivative, from elementary ones that have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, attention and group normalisation are elementary operations, of which every derivative exists.

    PyTorch's flash attention has no second derivative, and its group normalisation none in batches and none after
    attention, whose output lies in another order. Values change by rounding.
    """
    with sdpa_kernel(SDPBackend.MATH), _Elementary():
        yield


class _Elementary(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        replacement = _REPLACEMENTS.get(func, func)
        return replacement(*args, **(kwargs or {}))


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    grouped = input.reshape(input.shape[0], num_groups, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    out = (centred * (centred.square().mean(2, keepdim=True) + eps).rsqrt()).reshape(input.shape)
    shape = (1, -1) + (1,) * (input.dim() - 2)
    if weight is not None:
        out = out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if dropout_p > 0.0:
        raise ValueError("model: its attention drops out at random; call .eval() on the network first")
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    weights = scale * (query @ key.transpose(-2, -1))
    if is_causal:
        seen = torch.ones(weights.shape[-2:], dtype=torch.bool, device=query.device).tril()
        weights = torch.where(seen, weights, -torch.inf)
    if attn_mask is not None:
        weights = torch.where(attn_mask, weights, -torch.inf) if attn_mask.dtype == torch.bool else weights + attn_mask
    return weights.softmax(-1) @ value


_REPLACEMENTS = {
    torch.nn.functional.group_norm: _group_norm,
    torch.nn.functional.scaled_dot_product_attention: _attention,
}
