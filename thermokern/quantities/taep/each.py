"""Several models against one reference in one pass, in which the reference is evaluated once."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thermokern.models import ScoreLike, ScoreModel, one_process
from thermokern.ops.checks import array_of, checked_integer
from thermokern.quantities.engine.blocks import Rows, run_blocks
from thermokern.quantities.engine.identity import parts_of_call
from thermokern.quantities.engine.ranks import Ranks
from thermokern.quantities.engine.starts import StoredPoints, is_stored
from thermokern.quantities.taep.concatenate import concatenate
from thermokern.quantities.taep.result import TAEP
from thermokern.targets import Distribution

_BLOCK = 64  # paths whose outputs of the reference are kept at once
_MOST = 2**30  # bytes of these
_NO_WORDS = ("model", "reference", "process", "x0", "group", "progress", "checkpoint")  # of a call


def taep_of_each(
    one: Callable[..., TAEP], models: Sequence[ScoreLike], reference: ScoreLike, given: Mapping[str, Any]
) -> list[TAEP]:
    """The TAEP of each model, block by block of paths: `one` computes that of one model from options as `given`.

    Forward paths do not depend on the model, so that all meet the reference at the same points: its outputs on a block
    are kept until the last model has seen them. Cost: an evaluation of each model, and one of the reference, for each
    path and node. Memory: what the reference says of a block, up to 1 GiB, beyond which it is evaluated again. A group
    shares the blocks, each of which one rank runs for all models.
    """
    if not models:
        raise ValueError("model: expected a score or a sequence of them, got none")
    for name, plain in (("direction", "forward"), ("gather", "all"), ("gradient", False), ("resolve", ())):
        if given[name] != plain:
            raise ValueError(f"{name}: several models are for {plain!r} alone; call taep for each of them")
    points, n_paths = given["x0"], given["n_paths"]
    stored = StoredPoints("x0", points) if is_stored(points) else None
    n = checked_integer("n_paths", n_paths, 0) if points is None else len(points)
    block = checked_integer("block", given["block"] or _BLOCK, 1)
    ranks = Ranks(given["group"])
    ranks.agree(lambda: _parts(models, reference, given, stored))

    def compute(_: int, low: int, high: int) -> Rows:
        """What each model's result is on a block of paths, as the bytes that ranks hand to each other."""
        own = {"path_offset": given["path_offset"] + low, "block": block, "group": None}
        if stored is not None:
            own["x0"] = stored[low:high].reshape(high - low, *stored.point)
        else:
            own |= {"n_paths": high - low} if points is None else {"x0": points[low:high]}
        seen = remembering(reference)
        found = []
        for number, model in enumerate(models):
            if given["checkpoint"] is not None:
                own["checkpoint"] = Path(given["checkpoint"]) / f"model-{number}" / f"paths-{low:08d}"
            found.append(one(**{**given, **own, "model": model, "reference": seen}))
        return tuple(torch.frombuffer(bytearray(pickle.dumps(part)), dtype=torch.uint8) for part in found)

    blocks = run_blocks(n, block, ranks, compute)
    return [
        concatenate([pickle.loads(part.numpy().tobytes()) for part in parts]) for parts in zip(*blocks, strict=True)
    ]


def _parts(
    models: Sequence[ScoreLike], reference: ScoreLike, given: Mapping[str, Any], stored: StoredPoints | None
) -> dict[str, str]:
    """All that the results depend on, by which ranks see that they make the same call."""
    process = one_process(given["process"], model=models[0], reference=reference)
    points = given["x0"]
    data = stored if stored is not None or points is None else array_of("x0", points)
    if isinstance(data, StoredPoints):
        shape = data.point
    else:
        shape = torch.Size([reference.dim]) if isinstance(reference, Distribution) else torch.Size([])
        shape = shape if data is None else data.shape[1:]
    scores = {f"model {number}": model for number, model in enumerate(models)} | {"reference": reference}
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor) and name != "x0"}
    words = {name: value for name, value in given.items() if name not in {*tensors, *_NO_WORDS}}
    return parts_of_call(scores, process, shape, {"x0": data, **tensors}, {**words, "quantity": "taep of each"})


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
