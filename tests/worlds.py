"""Worlds of a few ranks for tests: forked processes that meet over gloo on the loopback device."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open

Work = Callable[[Path], None]


def start(size: int, work: Work, folder: Path) -> list[int]:
    """Process numbers of a world in which each rank runs ``work(folder / rank)``; what it prints is in ``log``."""
    meeting = folder / "meeting"
    folder.mkdir(parents=True, exist_ok=True)
    processes = []
    for rank in range(size):
        process = os.fork()
        if process == 0:
            status = 1
            try:
                _be(rank, size, meeting, work, folder / str(rank))
                status = 0
            except BaseException:
                (folder / str(rank) / "error").write_text(traceback.format_exc())
            finally:
                sys.stdout.flush()
                os._exit(status)
        processes.append(process)
    return processes


def _be(rank: int, size: int, meeting: Path, work: Work, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", timedelta(seconds=250), rank=rank, world_size=size)
    work(folder)
    dist.barrier()
    dist.destroy_process_group()


def finish(processes: list[int], seconds: float = 250.0) -> list[int]:
    """Exit status of each process, negative where a signal ended it; they are killed when they take too long."""
    end = time.monotonic() + seconds
    statuses: dict[int, int] = {}
    while len(statuses) < len(processes):
        for process in processes:
            if process not in statuses:
                done, status = os.waitpid(process, os.WNOHANG)
                if done:
                    statuses[process] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            for process in set(processes) - set(statuses):
                os.kill(process, signal.SIGKILL)
            end = float("inf")
        time.sleep(0.005)
    return [statuses[process] for process in processes]


def run(size: int, work: Work, folder: Path) -> None:
    """A world that must end well."""
    statuses = finish(start(size, work, folder))
    errors = [path.read_text() for path in sorted(folder.glob("*/error"))]
    assert statuses == [0] * size, "\n".join(errors) or f"exit statuses {statuses}"


def contents(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, bytes]]]:
    """What every result in the folder of a rank holds: the texts of its file, and the bytes of its tensors."""
    found = {}
    for path in sorted(folder.iterdir()):
        with safe_open(str(path), framework="pt") as file:
            texts = {key: text for key, text in file.metadata().items() if key != "sha256"}
            found[path.name] = texts, {key: file.get_tensor(key).numpy().tobytes() for key in file.keys()}  # noqa: SIM118
    return found
