"""Contexts of PyTorch that a caller may have set, left where numbers or derivatives would depend on them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

_ONE_AT_A_TIME = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not inherit the lock of a thread that it has not
    os.register_at_fork(
        before=_ONE_AT_A_TIME.acquire,
        after_in_parent=_ONE_AT_A_TIME.release,
        after_in_child=_ONE_AT_A_TIME.release,
    )


@contextlib.contextmanager
def plain_precision() -> Iterator[None]:
    """Outside of the caller's ``torch.autocast``: a quantity has the precision that its settings say."""
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextlib.contextmanager
def tangents() -> Iterator[None]:
    """Where forward mode works: outside of the caller's ``torch.inference_mode``, and one thread at a time.

    PyTorch numbers the levels of forward mode for all threads together: one ends a level that another is in.
    """
    with _ONE_AT_A_TIME, _no_inference():
        yield


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Where reverse mode works, under the caller's ``no_grad``, ``inference_mode`` or ``autocast`` too."""
    with _no_inference(), torch.enable_grad(), plain_precision():  # backward passes know autocast as well
        yield


@contextlib.contextmanager
def _no_inference() -> Iterator[None]:
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def usable(x: Tensor) -> Tensor:
    """`x`, or a copy where it was made under ``torch.inference_mode``, through which nothing is differentiated."""
    return x.clone() if x.is_inference() else x
