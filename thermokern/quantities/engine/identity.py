"""What a calculation's numbers depend on, in words and digests: what other calls are told apart by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thermokern import ops
from thermokern._info import VERSION, instruction_set, special_products
from thermokern.models import ConditionalModel, ScoreModel
from thermokern.models.evaluate import score_of
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.starts import Points, in_parts
from thermokern.targets import ConditionalLaw, Distribution


def digest(*tensors: Points) -> str:
    """SHA-256 of tensors, their shapes and dtypes included; points that are stored are read in parts."""
    out = hashlib.sha256()
    for tensor in tensors:
        out.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        if isinstance(tensor, Tensor):
            out.update(bytes_of(tensor))
        else:
            for low, high in in_parts(tensor):
                out.update(bytes_of(tensor[low:high]))
    return out.hexdigest()


def bytes_of(tensor: Tensor) -> bytes:
    """The bytes of a tensor's numbers."""
    return bytes(flat_bytes(tensor).numpy())


def flat_bytes(tensor: Tensor) -> Tensor:
    """The same as a tensor, uint8."""
    numbers = torch.empty(tensor.numel(), dtype=tensor.dtype, device="cpu")
    return numbers.copy_(tensor.detach().flatten()).view(torch.uint8)  # a single number may have any stride


def versions() -> dict[str, str]:
    """What runs."""
    return {
        "version of thermokern": VERSION,
        "version of torch": torch.__version__,
        "instruction set": instruction_set(),
        **special_products(),
    }


def parts_of_call(
    scores: Mapping[str, object],
    process: LinearProcess | None,
    shape: torch.Size,
    tensors: Mapping[str, Points | None],
    words: Mapping[str, object],
) -> dict[str, str]:
    """All that the numbers of a call depend on, by the name under which another one is refused.

    Parameters
    ----------
    scores : mapping of str to scores
        Their settings and parameters count, and of those that need no condition the values at a few fixed points.
    process : LinearProcess or None
    shape : torch.Size
        Of one point.
    tensors : mapping of str to Tensor, stored points or None
        Data.
    words : mapping of str to object
        All other arguments.
    """
    parts = versions() | {"threads": str(torch.get_num_threads()), "process": repr(process)}
    parts |= {name: "none" if tensor is None else digest(tensor) for name, tensor in tensors.items()}
    for name, score in scores.items():
        network = getattr(score, "network", score)
        state = network.state_dict() if isinstance(network, nn.Module) else {}
        settings: list[object] = [type(score).__name__]
        if isinstance(score, Distribution | ConditionalLaw) and hasattr(score, "settings"):
            settings.append(score.settings())
        elif isinstance(score, ScoreModel | ConditionalModel):
            settings += [repr(score.process), score.predicts]
        parts |= {
            f"settings of the {name}": json.dumps(settings, default=str),
            f"parameters of the {name}": f"{', '.join(state)} {digest(*state.values())}",
        }
        if process is not None and callable(score) and not isinstance(score, ConditionalModel | ConditionalLaw):
            parts[f"scores of the {name} at fixed points"] = _at_fixed_points(score, process, shape, network)
    return parts | {name: json.dumps(word, default=str) for name, word in words.items()}


def _at_fixed_points(score: object, process: LinearProcess, shape: torch.Size, network: object) -> str:
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    dtype = parameter.dtype if parameter is not None and parameter.dtype.is_floating_point else torch.float64
    x = ops.normals(2, shape.numel(), seed=0, dtype=torch.float64).to(dtype)
    with torch.no_grad():
        values = [score_of(score, process, x, share * process.t_end, shape) for share in (0.25, 0.75)]  # type: ignore[arg-type]
    return digest(*values)
