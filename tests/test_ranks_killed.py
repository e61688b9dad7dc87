"""Ranks that are killed, and blocks that are found again."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import worlds
from rank_cases import PROCESS, RING, Counted, streamed
from tolerances import assert_exact

import thermokern as tk

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.StepTooLongWarning")


def kept_run(checkpoint: Path, delay: float = 0.0, group: object = None) -> tuple[tk.TAEP, int]:
    """A run in six blocks, and how often it called its network."""
    network = Counted(delay)
    model = tk.ScoreModel(network, PROCESS, "epsilon")
    options = {"memory_budget": 40_000, "checkpoint": checkpoint, "group": group}
    return tk.taep(model, RING, n_paths=24, **streamed(block=4), **options), network.calls


def blocks_done(checkpoint: Path) -> int:
    return len(list(checkpoint.glob("block-*.safetensors")))


def kill_and_resume(folder: Path, draw: random.Random) -> None:
    """One rank of two is killed at a random block, and the other with it, as torchrun does; then one, then three."""
    expected, _ = kept_run(folder / "whole")
    overhead = kept_run(folder / "whole")[1]
    (folder / "whole" / "block-00000002.safetensors").unlink()
    of_a_block = kept_run(folder / "whole")[1] - overhead
    assert of_a_block > 1

    def write(rank: Path, checkpoint: Path, delay: float = 0.0) -> None:
        result, calls = kept_run(checkpoint, delay, "world")
        result.save(rank / "result")
        (rank / "calls").write_text(str(calls))

    for size in (1, 3):
        checkpoint = folder / f"run {size}"
        processes = worlds.start(2, partial(write, checkpoint=checkpoint, delay=0.03), folder / f"killed {size}")
        least = draw.randrange(1, 5)
        while blocks_done(checkpoint) < least:
            time.sleep(0.002)
        for process in draw.sample(processes, 2):
            os.kill(process, signal.SIGKILL)
        assert worlds.finish(processes) == [-signal.SIGKILL] * 2
        done = blocks_done(checkpoint)
        assert least <= done < 6
        again = folder / f"again {size}"
        worlds.run(size, partial(write, checkpoint=checkpoint), again)
        calls = [int((again / str(rank) / "calls").read_text()) for rank in range(size)]
        expected_calls = size * (overhead + (size > 1)) + (6 - done) * of_a_block  # ranks compare scores, too
        assert sum(calls) == expected_calls, "a block that was done was done again"
        for rank in range(size):
            result = tk.load(again / str(rank) / "result")
            for name in ("values", "x_start", "x_end"):
                assert_exact(getattr(result, name), getattr(expected, name), name)
            assert result.to_json() == expected.to_json()


def test_a_killed_world_goes_on_with_one_rank_and_with_three(tmp_path: Path, seed: int) -> None:
    kill_and_resume(tmp_path, random.Random(seed))


@pytest.mark.long
def test_ten_killed_worlds_go_on(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed + 1)
    for life in range(10):
        kill_and_resume(tmp_path / str(life), draw)


def test_a_block_of_another_run_is_refused(tmp_path: Path) -> None:
    kept_run(tmp_path)
    model = tk.ScoreModel(Counted(), PROCESS, "epsilon")
    options = {"memory_budget": 40_000, "checkpoint": tmp_path}
    with pytest.raises(ValueError, match="^checkpoint: .* belongs to a run in blocks of 4 paths, not 3"):
        tk.taep(model, RING, n_paths=24, **streamed(block=3), **options)
    (tmp_path / "state.safetensors").unlink()
    with pytest.raises(ValueError, match="another calculation .other blocks: 4 paths"):
        tk.taep(model, RING, n_paths=24, **streamed(block=3), **options)
    with pytest.raises(ValueError, match="another calculation .other starting points, seed"):
        tk.taep(model, RING, n_paths=24, seed=1, **streamed(block=4), **options)
    path = tmp_path / "block-00000001.safetensors"
    (tmp_path / "state.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(tk.DamagedFile, match=path.name):
        kept_run(tmp_path)
