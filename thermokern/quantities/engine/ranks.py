"""Several processes that share one calculation, through torch.distributed."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeAlias, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from thermokern.ops.checks import checked_choice
from thermokern.quantities.engine.identity import flat_bytes

Group: TypeAlias = "str | dist.ProcessGroup | None"
Value = TypeVar("Value")

GATHER = ("all", "rank0")
_PATIENCE = 1800.0  # seconds that ranks may arrive apart, as in torch.distributed
_PAUSES = (0.001, 0.1)  # seconds between two looks at the store: the first, and the longest

_calls: dict[str, int] = {}  # how many calculations a group has shared


class Ranks:
    """The processes of a calculation: this one alone, or the ranks of a group.

    Work is dealt by a counter in the group's rendezvous store, so that a slow rank holds nobody up, and results meet
    once, in collectives that begin when all ranks are done. A rank that fails says so in the store: the others raise.

    Parameters
    ----------
    group : None, "world" or ProcessGroup
    gather : {"all", "rank0"}
        Who has the rows in the end.
    """

    def __init__(self, group: Group = None, gather: str = "all") -> None:
        self.gather = checked_choice("gather", gather, GATHER)
        self.rank, self.size, self.rounds = 0, 1, 0
        self._store: Any = None
        if group is None:
            return
        if not dist.is_available() or not dist.is_initialized():
            raise ValueError(
                "group: torch.distributed is not initialised; call torch.distributed.init_process_group() first, or "
                "leave group out for this process alone"
            )
        if isinstance(group, str):
            if group != "world":
                raise ValueError(f'group: expected None, "world" or a ProcessGroup, got {group!r}')
            group = dist.group.WORLD
        if not isinstance(group, dist.ProcessGroup):
            raise TypeError(f'group: expected None, "world" or a ProcessGroup, got {type(group).__name__}')
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        if self.size > 1:
            name = group.group_name
            _calls[name] = _calls.get(name, 0) + 1
            store = dist.distributed_c10d._get_process_group_store(group)
            self._store = dist.distributed_c10d.PrefixStore(f"thermokern/{name}/{_calls[name]}", store)

    @property
    def alone(self) -> bool:
        """Whether there is nobody to share with."""
        return self._store is None

    @property
    def holds_rows(self) -> bool:
        """Whether this rank has the rows when they are gathered."""
        return self.alone or self.gather == "all" or self.rank == 0

    def agree(self, parts: Callable[[], Mapping[str, str]]) -> None:
        """Raise a ValueError on every rank unless all make the same call; `parts` names all that it depends on."""
        if self._store is None:
            return
        store = self._store
        with self.guarded():
            store.set(f"call/{self.rounds}/{self.rank}", json.dumps(dict(parts())))
            keys = [f"call/{self.rounds}/{rank}" for rank in range(self.size)]
            self._await(lambda: store.check(keys), lambda: self._missing(keys))
            calls = [json.loads(store.get(key)) for key in keys]
        names = dict.fromkeys(name for call in calls for name in call)
        others = [", ".join(name for name in names if call.get(name) != calls[0].get(name)) for call in calls]
        differ = [f"rank {rank} has other {other} than rank 0" for rank, other in enumerate(others) if other]
        if differ:
            raise ValueError(f"group: the ranks make different calls: {'; '.join(differ)}")

    def first(self, value: Callable[[], Value]) -> Value:
        """What rank 0 finds, on every rank."""
        if self._store is None:
            return value()
        store, key = self._store, f"first/{self.rounds}"
        with self.guarded():
            if self.rank == 0:
                store.set(key, json.dumps(value()))
            self._await(lambda: store.check([key]))
            found: Value = json.loads(store.get(key))
        return found

    def object_of_first(self, make: Callable[[], Value]) -> Value:
        """What rank 0 makes, a network say, pickled for the others."""
        if self._store is None:
            return make()
        store = self._store
        with self.guarded():
            if self.rank == 0:
                made = make()
                store.set("made", "1")
            self._await(lambda: store.check(["made"]))
            held = [made if self.rank == 0 else None]
            dist.broadcast_object_list(held, dist.get_global_rank(self.group, 0), group=self.group)
        found: Any = held[0]
        return found  # type: ignore[no-any-return]

    def deal(self, count: int) -> Iterator[int]:
        """Numbers of 0 … count that are this rank's to do; each is dealt to one rank."""
        self.rounds += 1
        if self._store is None:
            yield from range(count)
            return
        while (index := self._store.add(f"next/{self.rounds}", 1) - 1) < count:
            self._raise_of_others()
            yield index

    def gathered(self, found: Mapping[int, Sequence[Tensor]], count: int) -> list[tuple[Tensor, ...]]:
        """The tensors of all numbers, in their order, bit for bit; nothing on ranks that do not hold rows."""
        if self._store is None:
            return [tuple(found[index]) for index in range(count)]
        store, done = self._store, f"done/{self.rounds}"
        with self.guarded():
            store.add(done, 1)
            self._await(lambda: store.add(done, 0) == self.size)
        specs: list[Any] = [None] * self.size
        own = {index: [(tuple(part.shape), part.dtype) for part in parts] for index, parts in found.items()}
        dist.all_gather_object(specs, own, group=self.group)
        spec = {index: parts for own in specs for index, parts in own.items()}
        columns = [
            self._joined(
                {index: parts[column] for index, parts in found.items()}, [spec[i][column] for i in range(count)]
            )
            for column in range(len(spec[0]))
        ]
        return list(zip(*columns, strict=True)) if self.holds_rows else []

    def exchanged(self, own: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """What every rank gives, in order of ranks, on all of them; as many tensors each."""
        self.rounds += 1
        return self.gathered({self.rank: own}, self.size)

    def once(self, build: Callable[[], Value], n: int) -> Value:
        """The result that `build` makes of the rows: on ranks without rows that of rank 0, less its tensors (n, …)."""
        if self._store is None or self.gather == "all":
            return build()
        store = self._store
        with self.guarded():
            if self.rank == 0:
                result = build()
                store.set("result", pickle.dumps(_without_rows(result, n)))
                return result
            self._await(lambda: store.check(["result"]))
            shared: Value = pickle.loads(store.get("result"))
        return shared

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Tell the other ranks of what fails inside."""
        try:
            yield
        except BaseException as error:
            if self._store is not None and not isinstance(error, OtherRankFailed):
                self._store.set("failed", f"rank {self.rank} failed: {type(error).__name__}: {error}")
            raise

    def _joined(self, own: Mapping[int, Tensor], spec: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> list[Tensor]:
        """One column of every number: a sum over ranks of its bytes, zeros where they are another's."""
        sizes = [torch.Size(shape).numel() * dtype.itemsize for shape, dtype in spec]
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + size)
        words = torch.zeros(-(-starts[-1] // 8), dtype=torch.int64, device="cpu")
        flat = words.view(torch.uint8)
        for index, part in own.items():
            if sizes[index]:
                flat[starts[index] : starts[index + 1]] = flat_bytes(part)
        place = torch.device("cuda") if dist.get_backend(self.group) == "nccl" else words.device
        there = words.to(place)
        if self.gather == "rank0":
            dist.reduce(there, dist.get_global_rank(self.group, 0), group=self.group)
        else:
            dist.all_reduce(there, group=self.group)
        flat = there.cpu().view(torch.uint8)
        return [
            flat[start : start + size].clone().view(dtype).reshape(shape)
            for start, size, (shape, dtype) in zip(starts, sizes, spec, strict=False)
        ]

    def _missing(self, keys: Sequence[str]) -> str:
        assert self._store is not None
        return "rank " + ", ".join(str(rank) for rank, key in enumerate(keys) if not self._store.check([key]))

    def _await(self, ready: Callable[[], bool], missing: Callable[[], str] | None = None) -> None:
        """Wait for others: as long as they compute, or, with `missing` to name them, until one should be there."""
        pause, longest = _PAUSES
        end = time.monotonic() + _PATIENCE
        while not ready():
            self._raise_of_others()
            if missing is not None and time.monotonic() > end:
                raise TimeoutError(f"group: {missing()} did not make this call within {_PATIENCE:g} s")
            time.sleep(pause)
            pause = min(2.0 * pause, longest)

    def _raise_of_others(self) -> None:
        if self._store is not None and self._store.check(["failed"]):
            raise OtherRankFailed(f"group: {self._store.get('failed').decode()}")


class OtherRankFailed(RuntimeError):
    """Another rank of the group failed; its own message is here."""


def _without_rows(result: Value, n: int) -> Value:
    if not is_dataclass(result) or isinstance(result, type):
        return result
    rows = {
        field.name: value[:0].clone()
        for field in fields(result)
        if isinstance(value := getattr(result, field.name), Tensor) and len(value) == n
    }
    return replace(result, **rows)
