"""Many small score networks trained side by side: one batched matrix product a layer for all of them.

A perceptron of a hundred units is too small to keep a core busy: calling its layers costs more than their arithmetic.
Networks of one architecture are stacked here, (networks, in, out), and trained by one optimiser. Adam acts element by
element and the loss is a sum over networks, so each is trained as it would be alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from thermokern import ops
from thermokern._files import DamagedFile, sealed, unsealed, write_whole
from thermokern.models import ScoreMLP, ScoreModel
from thermokern.processes import LinearProcess
from thermokern.targets import Distribution

BLOCK = 50  # iterations whose batches are drawn at once
_STREAM = 2**32  # points that one network may see


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes
    ----------
    law : Distribution
        Of the data.
    process : LinearProcess
    stream : int
        Which random numbers are this network's: with the recipe's seed they decide its first weights and every batch.
    penalty : float
        λ of ``λ ∫ D E|s_θ|² dt``, the part of the entropy-rate integral that depends on the network.
    """

    law: Distribution
    process: LinearProcess
    stream: int
    penalty: float = 0.0

    def settings(self) -> dict[str, Any]:
        process = {"kind": type(self.process).__name__, **self.process.settings()}
        return {"law": self.law.settings(), "process": process, "stream": self.stream, "penalty": self.penalty}


@dataclass(frozen=True)
class EnsembleRecipe:
    """How the networks are trained; the defaults are those of Kodama and Hinczewski, App. G.4.

    Adam with a constant learning rate, no moving average: the last iterate is the network.
    """

    n_steps: int = 100_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    width: int = 128
    depth: int = 3
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        return asdict(self)


def train_ensemble(
    members: Sequence[Member],
    recipe: EnsembleRecipe,
    *,
    state: Path | None = None,
    save_every: int = 1000,
    snapshots: Sequence[int] = (),
    description: str = "training",
    progress: bool = True,
) -> Iterator[tuple[int, list[ScoreModel], list[float]]]:
    """Train networks of one architecture together, by denoising score matching on the control ``a = g s``.

    The loss of each is ``½ E|a(x_t, t) √v/g + ε|²``, t uniform on [0, t_end], x_t = m x_0 + √v ε with fresh data at
    every step (App. G.4, Eq. 27), and with a `penalty` ``λ t_end E ½|a|² = λ ∫ D E|s_θ|² dt`` besides.

    Parameters
    ----------
    members : sequence of Member
    recipe : EnsembleRecipe
    state : path, optional
        A file that keeps weights, Adam's moments and the step: training that was stopped goes on from there to the same
        networks, bit for bit. It is removed at the end.
    save_every : int
        Steps between two writes of `state`, a multiple of 50.
    snapshots : sequence of int
        Steps after which the networks are wanted, multiples of 50; those before the step of `state` are not given
        again.

    Yields
    ------
    step, models, losses
        After each snapshot and at the end; the loss of each network is averaged over about a thousand steps.
    """
    if any(step % BLOCK for step in (save_every, recipe.n_steps, *snapshots)):
        raise ValueError(f"n_steps, save_every, snapshots: expected multiples of {BLOCK}")
    identity = _identity(members, recipe)
    parameters = _initial(members, recipe)
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    penalty = torch.tensor([m.penalty * m.process.t_end for m in members])[:, None, None]  # (E, 1, 1)
    penalised = bool((penalty != 0.0).any())
    recent = torch.zeros(len(members))
    first = _restore(state, identity, parameters, optimiser, recent)
    with tqdm(total=recipe.n_steps, initial=first, desc=description, unit="step", disable=not progress) as bar:
        for start in range(first, recipe.n_steps, BLOCK):
            x, epsilon, weight = _batches(members, recipe, start)
            for k in range(BLOCK):
                control = _forward(parameters, x[k])  # (E, B, d)
                squares = torch.addcmul(epsilon[k], control, weight[k]).square()
                if penalised:
                    squares = squares + penalty * control.square()
                losses = 0.5 * squares.sum((1, 2)) / recipe.batch_size  # (E,)
                optimiser.zero_grad(set_to_none=True)
                losses.sum().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                recent.lerp_(losses.detach(), max(1e-3, 1.0 / (start + k + 1)))
            done = start + BLOCK
            bar.update(BLOCK)
            if done in snapshots and done != recipe.n_steps:
                yield done, _models(members, recipe, parameters), recent.tolist()
            if state is not None and done % save_every == 0 and done != recipe.n_steps:
                _store(state, identity, done, parameters, optimiser, recent)
    yield recipe.n_steps, _models(members, recipe, parameters), recent.tolist()
    if state is not None:
        state.unlink(missing_ok=True)


def state_belongs(state: Path, members: Sequence[Member], recipe: EnsembleRecipe) -> bool:
    """Whether a state file is of these networks and this recipe."""
    return _read_state(state)[1]["identity"] == _identity(members, recipe)


def _identity(members: Sequence[Member], recipe: EnsembleRecipe) -> str:
    return json.dumps({"members": [m.settings() for m in members], "recipe": recipe.settings()}, sort_keys=True)


def _forward(parameters: list[Tensor], x: Tensor) -> Tensor:
    """All networks on their own batches: (E, B, d + 1) to (E, B, d)."""
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        x = functional.silu(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(parameters[-1], x, parameters[-2])


def _initial(members: Sequence[Member], recipe: EnsembleRecipe) -> list[Tensor]:
    """PyTorch's own first weights of each network, stacked: (E, in, out) and (E, 1, out) by turns."""
    if len({member.law.dim for member in members}) != 1:
        raise ValueError("members: expected laws of one dimension")
    stacks: list[list[Tensor]] = []
    with torch.random.fork_rng(devices=[]):
        for member in members:
            torch.manual_seed(recipe.seed * 1_000_003 + member.stream)
            stacks.append([p.detach().T if p.dim() == 2 else p.detach()[None] for p in _network(member, recipe)])
    return [torch.stack(parts).contiguous().requires_grad_() for parts in zip(*stacks, strict=True)]


def _network(member: Member, recipe: EnsembleRecipe) -> Iterator[Tensor]:
    return ScoreMLP(member.law.dim, recipe.width, recipe.depth, time_features=1).parameters()


def _batches(members: Sequence[Member], recipe: EnsembleRecipe, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Batches of steps `first` … `first + BLOCK`: (x_t, t) (K, E, B, d + 1), ε (K, E, B, d), √v/g (K, E, B, 1)."""
    batch, dim = recipe.batch_size, members[0].law.dim
    x = torch.empty(BLOCK, len(members), batch, dim + 1)
    epsilon, weight = torch.empty(BLOCK, len(members), batch, dim), torch.empty(BLOCK, len(members), batch, 1)
    for e, member in enumerate(members):
        process, offset = member.process, member.stream * _STREAM + first * batch
        count = BLOCK * batch
        data = member.law.sample(count, recipe.seed, offset).float().reshape(BLOCK, batch, dim)
        drawn = ops.normals(count, dim + 1, seed=recipe.seed, path_offset=offset, purpose="start")
        drawn = drawn.reshape(BLOCK, batch, dim + 1)
        t = process.t_end * torch.special.ndtr(drawn[..., -1:])  # (K, B, 1)
        std = process.variance(t).sqrt()
        epsilon[:, e] = drawn[..., :-1]
        x[:, e, :, :-1] = process.mean_scale(t) * data + std * drawn[..., :-1]
        x[:, e, :, -1:] = t
        weight[:, e] = std * process.g2(t).rsqrt()
    return x, epsilon, weight


def _models(members: Sequence[Member], recipe: EnsembleRecipe, parameters: list[Tensor]) -> list[ScoreModel]:
    models = []
    for e, member in enumerate(members):
        network = ScoreMLP(member.law.dim, recipe.width, recipe.depth, time_features=1)
        with torch.no_grad():
            for own, stacked in zip(network.parameters(), parameters, strict=True):
                own.copy_(stacked[e].T if own.dim() == 2 else stacked[e, 0])
        models.append(ScoreModel(network.eval().requires_grad_(False), member.process, "control"))
    return models


def _store(
    path: Path, identity: str, step: int, parameters: list[Tensor], optimiser: torch.optim.Adam, recent: Tensor
) -> None:
    tensors = {"recent": recent}
    for i, parameter in enumerate(parameters):
        moments = optimiser.state[parameter]
        tensors |= {f"{i}": parameter.detach(), f"{i}.1": moments["exp_avg"], f"{i}.2": moments["exp_avg_sq"]}
    write_whole(path, sealed(tensors, {"step": str(step), "identity": identity}))


def _restore(
    path: Path | None, identity: str, parameters: list[Tensor], optimiser: torch.optim.Adam, recent: Tensor
) -> int:
    """The step that `path` was written after, its contents put back; 0 where there is none."""
    if path is None or not path.is_file():
        return 0
    tensors, metadata = _read_state(path)
    if metadata["identity"] != identity:
        raise ValueError(f"state: {path.name} belongs to other networks or another recipe; remove it to start anew")
    step = int(metadata["step"])
    recent.copy_(tensors["recent"])
    for i, parameter in enumerate(parameters):
        with torch.no_grad():
            parameter.copy_(tensors[f"{i}"])
        optimiser.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"{i}.1"],
            "exp_avg_sq": tensors[f"{i}.2"],
        }
    return step


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors, metadata = unsealed(path.read_bytes(), ("step", "identity"))
        if not {"step", "identity"} <= set(metadata):
            raise DamagedFile("without a step or an identity")
    except DamagedFile as error:
        raise DamagedFile(f"state: {path} is not the state of a training: {error}; remove it to start anew") from None
    return tensors, metadata
