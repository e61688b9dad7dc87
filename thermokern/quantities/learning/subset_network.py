"""A network as a function of some of its parameters, which itself stays as it is."""

from __future__ import annotations

import hashlib
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thermokern.models import ScoreModel
from thermokern.models.trial import examine
from thermokern.quantities.engine.identity import bytes_of
from thermokern.quantities.learning.subsets import ParameterSubset


class SubsetNetwork:
    """``network(θ, …)``: the network with the numbers of a subset replaced by those of θ (p,).

    Attributes
    ----------
    theta : Tensor
        (p,) the network's own numbers, which require no gradient.
    """

    def __init__(self, network: nn.Module, subset: ParameterSubset) -> None:
        known = {name: parameter.detach() for name, parameter in network.named_parameters()}
        prefix = _prefix(known, subset)
        self.network, self.known = network, known
        self.indices = {prefix + name: index.to(known[prefix + name].device) for name, index in subset.indices.items()}
        self.sizes = [len(index) for index in self.indices.values()]
        for name, index in self.indices.items():
            size = known[name].numel()
            if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
                raise ValueError(f"subset: expected indices below {size} into {name}: it is of another network")
        parts = [known[name].flatten()[index] for name, index in self.indices.items()]
        kinds = {(part.dtype, part.device) for part in parts}
        if len(kinds) != 1 or not parts[0].is_floating_point():
            raise ValueError(f"subset: expected parameters of one floating dtype on one device, got {kinds}")
        self.theta = torch.cat(parts)

    def __call__(self, theta: Tensor, *args: Tensor) -> Tensor:
        """The network's output."""
        changed = {}
        parts = torch.split(theta, self.sizes)
        for (name, index), part in zip(self.indices.items(), parts, strict=True):
            whole = self.known[name]
            changed[name] = whole.flatten().index_copy(0, index, part).view(whole.shape)
        out = functional_call(self.network, {**self.known, **changed}, args)
        if not isinstance(out, Tensor):
            raise TypeError(f"model: expected a tensor from its network, got {type(out).__name__}")
        return out

    def at(self, theta: Tensor) -> partial[Tensor]:
        """The network with these numbers."""
        return partial(self.__call__, theta)

    def digest(self) -> str:
        """Of all its parameters and buffers, and of which of them are in the subset."""
        out = hashlib.sha256()
        for name, tensor in [*self.network.state_dict().items(), *self.indices.items()]:
            if isinstance(tensor, Tensor):
                out.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                out.update(bytes_of(tensor))
        return out.hexdigest()


def checked_network(model: ScoreModel | nn.Module) -> nn.Module:
    """The network of a model whose loss can be differentiated twice."""
    network = model.network if isinstance(model, ScoreModel) else model
    if not isinstance(network, nn.Module):
        raise TypeError(f"model: expected a ScoreModel of a module, got {type(model).__name__}")
    limit = model.origin.get("clip_sample") if isinstance(model, ScoreModel) else None
    if limit is not None:
        raise ValueError(
            f"model: the data that it predicts are clipped to ±{limit:g}, which has no derivative; give "
            "from_diffusers(…, clip_sample=False), the score that the network was trained for"
        )
    return network


def try_network(network: nn.Module, x: Tensor, t: Tensor) -> None:
    """Refuse a network that is no function of each point alone: training noise, changing buffers, random numbers."""
    time = t[:1]
    examine("model", lambda points: network(points, time.expand(len(points))), x, network)


def _prefix(known: dict[str, Tensor], subset: ParameterSubset) -> str:
    """What stands before the subset's names in a network that wraps the one it was chosen from."""
    names = list(subset.indices)
    if not names:
        raise ValueError("subset: expected some parameters, got none")
    found = {name[: len(name) - len(names[0])] for name in known if name.endswith(names[0])}
    found = {prefix for prefix in found if all(prefix + name in known for name in names)}
    found = {prefix for prefix in found if not prefix or prefix.endswith(".")}
    if "" in found:
        return ""
    if len(found) != 1:
        raise ValueError(f"subset: expected the parameters {', '.join(names)} in the model's network")
    return found.pop()
