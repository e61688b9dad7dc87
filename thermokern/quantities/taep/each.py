"""Several models against one reference in one pass, in which the reference is evaluated once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from thermokern.models import ScoreLike, ScoreModel
from thermokern.ops.checks import checked_integer
from thermokern.quantities.engine.starts import StoredPoints, is_stored
from thermokern.quantities.taep.concatenate import concatenate
from thermokern.quantities.taep.result import TAEP

_BLOCK = 64  # paths whose outputs of the reference are kept at once
_MOST = 2**30  # bytes of these


def taep_of_each(
    one: Callable[..., TAEP], models: Sequence[ScoreLike], reference: ScoreLike, given: Mapping[str, Any]
) -> list[TAEP]:
    """The TAEP of each model, block by block of paths: `one` computes that of one model from options as `given`.

    Forward paths do not depend on the model, so that all meet the reference at the same points: its outputs on a block
    are kept until the last model has seen them. Cost: an evaluation of each model, and one of the reference, for each
    path and node. Memory: what the reference says of a block, up to 1 GiB, beyond which it is evaluated again.
    """
    if not models:
        raise ValueError("model: expected a score or a sequence of them, got none")
    for name, plain in (("direction", "forward"), ("group", None), ("gradient", False), ("resolve", ())):
        if given[name] != plain:
            raise ValueError(f"{name}: several models are for {plain!r} alone; call taep for each of them")
    points, n_paths = given["x0"], given["n_paths"]
    stored = StoredPoints("x0", points) if is_stored(points) else None
    n = checked_integer("n_paths", n_paths, 0) if points is None else len(points)
    block = checked_integer("block", given["block"] or _BLOCK, 1)
    parts: list[list[TAEP]] = [[] for _ in models]
    for low in range(0, max(n, 1), block):
        high = min(low + block, n)
        own = {"path_offset": given["path_offset"] + low, "block": block}
        if stored is not None:
            own["x0"] = stored[low:high].reshape(high - low, *stored.point)
        else:
            own |= {"n_paths": high - low} if points is None else {"x0": points[low:high]}
        seen = remembering(reference)
        for number, (model, found) in enumerate(zip(models, parts, strict=True)):
            if given["checkpoint"] is not None:
                own["checkpoint"] = Path(given["checkpoint"]) / f"model-{number}" / f"paths-{low:08d}"
            found.append(one(**{**given, **own, "model": model, "reference": seen}))
    return [concatenate(found) for found in parts]


def remembering(score: ScoreLike) -> ScoreLike:
    """A model whose network keeps what it said of points that come again; other scores as they are."""
    if not isinstance(score, ScoreModel) or not isinstance(score.network, nn.Module):
        return score
    return ScoreModel(Remembering(score.network), score.process, score.predicts, score.shape, score.origin)


class Remembering(nn.Module):
    """A network that keeps its outputs, up to a number of bytes, and gives them again for the same points and times."""

    def __init__(self, network: nn.Module, most: int = _MOST) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.casts_itself = getattr(network, "casts_itself", False)
        self.training = network.training
        self._kept: dict[bytes, Tensor] = {}
        self._bytes = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Output (n, …) at points x (n, …) and times t (n,)."""
        numbers = [part.detach().cpu().contiguous().flatten().numpy().tobytes() for part in (x, t)]
        key = hashlib.sha256(b"".join(numbers)).digest()
        if key not in self._kept:
            out: Tensor = self.network(x, t)
            if self._bytes + out.nbytes > self.most or out.requires_grad:
                return out
            self._bytes += out.nbytes
            self._kept[key] = out
        return self._kept[key]
