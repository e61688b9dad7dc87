"""Commands whose work the processes of ``torchrun`` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

_LONGEST = timedelta(hours=1)  # that ranks may arrive apart at the collectives in which results meet


def ranks() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def speaks() -> bool:
    """Whether this process is the one that speaks."""
    return ranks() == 1 or os.environ["RANK"] == "0"


@contextmanager
def world() -> Iterator[tuple[str | None, bool]]:
    """The group to share with, and whether this process is the one that speaks and writes."""
    if ranks() == 1:
        yield None, True
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_LONGEST)
    try:
        yield "world", dist.get_rank() == 0
        dist.barrier()  # the rendezvous store is in one of the processes: none leaves early
    finally:
        dist.destroy_process_group()
