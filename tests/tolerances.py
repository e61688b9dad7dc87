"""The kinds of tolerance that the tests name: exact and rounding; a z-score for sampling.

There is no `allclose` here: it broadcasts, and its defaults are wider than the effects these tests guard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}


def assert_exact(actual: object, expected: object, what: str = "value") -> None:
    """Every bit is equal, in tensors, in numbers and in tuples of them; shapes and dtypes are too."""
    if isinstance(expected, tuple | list):
        assert isinstance(actual, tuple | list), f"{what}: {type(actual).__name__} for {type(expected).__name__}"
        assert len(actual) == len(expected), f"{what}: {len(actual)} items for {len(expected)}"
        names = getattr(expected, "_fields", range(len(expected)))
        for name, one, other in zip(names, actual, expected, strict=True):
            assert_exact(one, other, f"{what}.{name}")
        return
    if isinstance(expected, Tensor):
        assert_same_layout(actual, expected, what)
        words = _WORDS.get(expected.dtype)
        a, b = (
            t.detach().contiguous() if words is None else t.detach().contiguous().view(words)
            for t in (actual, expected)
        )
        different = int((a != b).sum())
        assert not different, f"{what}: {different} of {expected.numel()} numbers differ, first at {_first(a != b)}"
        return
    assert type(actual) is type(expected), f"{what}: {type(actual).__name__} for {type(expected).__name__}"
    if isinstance(expected, float):
        assert actual.hex() == expected.hex(), f"{what}: {actual!r} is not {expected!r}"
    else:
        assert actual == expected, f"{what}: {actual!r} is not {expected!r}"


def assert_same_layout(actual: Tensor, expected: Tensor, what: str = "value") -> None:
    """Same shape and dtype."""
    assert isinstance(actual, Tensor), f"{what}: {type(actual).__name__} is not a tensor"
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"


def rms(values: Tensor) -> float:
    """Root of the mean square, in float64."""
    return values.to(torch.float64).square().mean().sqrt().item()


def assert_rounding(
    fast: Tensor, plain32: Tensor, exact64: Tensor, scale: float | None = None, what: str = "value"
) -> None:
    """RMS error of `fast` against `exact64` is at most twice that of `plain32` plus 4 eps of the scale.

    `plain32` is what plain PyTorch makes in float32. The scale is the RMS of `exact64`, or `scale` where the value is a
    small difference of numbers of that size.
    """
    assert exact64.dtype == torch.float64, f"{what}: the exact value is {exact64.dtype}, not float64"
    for name, tensor in {"fast": fast, "plain32": plain32}.items():
        assert isinstance(tensor, Tensor), f"{what}, {name}: {type(tensor).__name__} is not a tensor"
        assert tensor.dtype == torch.float32, f"{what}, {name}: dtype {tensor.dtype}, expected float32"
        assert tensor.shape == exact64.shape, f"{what}, {name}: {tuple(tensor.shape)} for {tuple(exact64.shape)}"
        assert bool(torch.isfinite(tensor).all()), f"{what}, {name}: NaN or infinity"
    assert bool(torch.isfinite(exact64).all()), f"{what}: the exact value has NaN or infinity"
    if not exact64.numel():
        return
    scale = rms(exact64) if scale is None else scale
    error, plain_error = rms(fast - exact64), rms(plain32 - exact64)
    bound = 2.0 * plain_error + 4.0 * torch.finfo(torch.float32).eps * scale
    assert error <= bound, f"{what}: RMS error {error:.3g}, bound {bound:.3g} (plain PyTorch {plain_error:.3g})"


def assert_z(z: float | Sequence[float], bound: float, what: str) -> None:
    """Sampling: standard scores, each at most `bound` in size."""
    for score in [z] if isinstance(z, float) else z:
        assert math.isfinite(score), f"{what}: z = {score}"
        assert abs(score) <= bound, f"{what}: z = {score:.2f}, bound {bound}"


def _first(different: Tensor) -> tuple[int, ...]:
    return tuple(different.nonzero()[0].tolist())
