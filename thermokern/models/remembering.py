"""A network that keeps what it said of points which come again."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor, nn

REMEMBERED = 2**28  # bytes


class Remembering(nn.Module):
    """A network that answers from memory where it is asked again at the same points, as a reference on fixed paths is.

    It forgets when a parameter of the network has changed in place.

    Parameters
    ----------
    network : module or callable
        Of (x, t).
    ask : callable, optional
        ``(x, t)`` to what is kept, where the network itself is not to be called.
    most : int
        Bytes that it keeps.
    """

    casts_itself = True

    def __init__(self, network: nn.Module | Any, ask: Any = None, most: int = REMEMBERED) -> None:
        super().__init__()
        self.network, self.most = network, most
        self._ask = network if ask is None else ask
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0
        self._versions = self._now()

    def _now(self) -> list[int]:
        tensors = [*self.network.parameters(), *self.network.buffers()] if isinstance(self.network, nn.Module) else []
        return [tensor._version for tensor in tensors]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if (versions := self._now()) != self._versions:
            self._kept.clear()
            self._bytes, self._versions = 0, versions
        digest = hashlib.sha256()
        for part in (x, t):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        key = digest.digest()
        if key not in self._kept:
            out: Tensor = self._ask(x, t)
            if self._bytes + out.nbytes > self.most:
                return out
            self._bytes += out.nbytes
            self._kept[key] = out
        return self._kept[key]
