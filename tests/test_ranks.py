"""Many ranks: the bits of one process for any number of them, one error on all, and what was done is not done twice."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import worlds
from rank_cases import PROCESS, RING, Counted, perceptron, streamed
from safetensors.torch import save_file
from tolerances import assert_exact
from torch import Tensor

import thermokern as tk
from thermokern.cli import main
from thermokern.cli.config import run_config
from thermokern.cli.information import run_information

pytestmark = pytest.mark.filterwarnings("ignore::thermokern.FewPathsWarning", "ignore::thermokern.StepTooLongWarning")


TURNED = tk.GaussianMixture([[0.0, 1.0], [1.5, 0.0]], covariances=[[[1.0, 0.4], [0.4, 0.5]]] * 2)


def unet() -> tk.ScoreModel:
    """With attention: a row's rounding depends on its company."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(5)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=50, clip_sample=False)
    return tk.from_diffusers(network.eval().requires_grad_(False), scheduler)


def every_taep(group: object) -> dict[str, tk.TAEP]:
    """Each backend and direction; numbers of paths that are no multiple of the block, and fewer than ranks."""
    model, network, images = perceptron(), unet(), torch.randn(22, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    call = partial(tk.taep, group=group)
    return {
        "fused": call(model, RING, n_paths=5001, n_steps=8, seed=3),
        "fused-sampler": call(RING, TURNED, PROCESS, n_paths=50, n_steps=8, scheme="sampler", block=16),
        "fused-few": call(model, RING, n_paths=2, n_steps=8, block=1),
        "fused-none": call(model, RING, n_paths=0, n_steps=8),
        "streamed": call(model, RING, n_paths=301, **streamed(block=64)),
        "streamed-by-itself": call(model, RING, n_paths=301, **streamed()),
        "streamed-few": call(model, RING, n_paths=2, **streamed(block=5)),
        "reverse": call(model, RING, n_paths=50, direction="reverse", **streamed(block=16)),
        "probes": call(model, RING, n_paths=50, divergence="hutchinson", **streamed(block=16)),
        "resolved": call(model, RING, n_paths=50, resolve=("time", "component"), **streamed(block=16)),
        "resolved-reference": call(
            model, RING, n_paths=50, resolve=("time",), n_steps=8, block=16, backend="reference"
        ),
        "reference": call(lambda x, t: -x, RING, PROCESS, n_paths=50, n_steps=8, block=16, backend="reference"),
        "unet": call(network, lambda x, t: -x, x0=images, n_steps=4, block=4),
        **dict(zip(("each-unet", "each-law"), several(group), strict=True)),
    }


def several(group: object) -> list[tk.TAEP]:
    """Two models against one network, in blocks that do not divide the paths."""
    network, images = unet(), 0.3 * torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    models = [tk.ScoreModel(network.network, network.process, "score", network.shape), tk.Gaussian([0.0] * 64)]
    return tk.taep(models, network, x0=images, n_steps=4, block=3, group=group)


def every_other(group: object) -> dict[str, tk.Result | Tensor]:
    """The other quantities, by kernels and in PyTorch."""
    model, network = perceptron(), unet()
    plain = tk.ScoreModel(Counted(), PROCESS, "epsilon")  # as a network that no kernel knows
    points, images = RING.sample(50, seed=2), 0.3 * torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    loose = {"rtol": 1e-2, "atol": 1e-2}
    labelled = tk.Labelled([tk.Gaussian([-1.0, 0.0], 0.5), tk.Gaussian([1.0, 0.5], 0.7)])
    twins = torch.cat([points[:20], points[:20], points])
    return {
        "likelihood": tk.log_likelihood(model, RING.sample(600, seed=1), group=group),
        "likelihood-plain": tk.log_likelihood(plain, points, block=16, group=group, **loose),
        "likelihood-unet": tk.log_likelihood(
            network, images[:3], block=2, t_eps=5.0, dequantize=0.1, group=group, rtol=0.1, atol=0.1
        ),
        "likelihood-few": tk.log_likelihood(plain, points[:2], block=1, group=group, **loose),
        "rates": tk.entropy_rates(model, RING, n_paths=500, n_steps=8, block=64, group=group),
        "rates-whole": tk.entropy_rates(model, RING, n_paths=500, n_steps=8, group=group),
        "rates-plain": tk.entropy_rates(plain, RING, n_paths=50, n_steps=8, block=16, group=group),
        "rates-unet": tk.entropy_rates(network, images, n_steps=4, block=2, group=group),
        "limits": tk.limits(plain, RING, n_paths=50, n_steps=8, block=16, group=group, **loose),
        "samples": tk.sample(model, n=50, n_steps=8, batch_size=16, shape=(2,), group=group),
        "samples-unet": tk.sample(network, n=5, n_steps=4, batch_size=2, group=group),
        "coverage": tk.coverage(RING.sample(900, seed=4), RING.sample(1100, seed=5), group=group),
        "coverage-ties": tk.coverage(twins, points, k=3, group=group),
        "information": tk.mutual_information(labelled, process=PROCESS, evaluations=2500, group=group),
    }


def save_all(results: dict[str, tk.Result | Tensor], folder: Path) -> None:
    for name, result in results.items():
        if isinstance(result, Tensor):
            save_file({"values": result}, folder / name, {"kind": "tensor"})
        else:
            result.save(folder / name)


@pytest.mark.parametrize("quantities", [every_taep, every_other], ids=lambda function: function.__name__)
def test_any_number_of_ranks_gives_the_bits_of_one_process(quantities: object, tmp_path: Path) -> None:
    """Of a result's file: every tensor and every number, on every rank."""
    alone = tmp_path / "alone"
    alone.mkdir()
    save_all(quantities(None), alone)
    expected = worlds.contents(alone)
    for size in (1, 2, 3):
        worlds.run(size, lambda folder: save_all(quantities("world"), folder), tmp_path / f"of {size}")
        for rank in range(size):
            found = worlds.contents(tmp_path / f"of {size}" / str(rank))
            differ = [name for name in expected if found[name] != expected[name]]
            assert not differ, f"rank {rank} of {size}"


def test_large_results_stay_on_one_rank(tmp_path: Path) -> None:
    """The others have all numbers, and no rows; ends of images are kept on none if so asked."""

    def work(folder: Path) -> None:
        tk.taep(perceptron(), RING, n_paths=40, **streamed(block=8), group="world", gather="rank0").save(
            folder / "rows"
        )
        x0 = torch.ones(5, 1, 8, 8)
        ends = tk.taep(unet(), lambda x, t: -x, x0=x0, n_steps=4, block=2, group="world", keep_ends=False)
        ends.save(folder / "ends")

    worlds.run(2, work, tmp_path)
    whole = tk.taep(perceptron(), RING, n_paths=40, **streamed(block=8))
    first, other = (tk.load(tmp_path / str(rank) / "rows") for rank in range(2))
    assert_exact(first.values, whole.values)
    assert_exact(first.x_end, whole.x_end)
    assert other.to_json() == {**whole.to_json(), "n_paths": 0}
    assert len(other.values) == len(other.x_start) == len(other.x_end) == 0
    ends = tk.load(tmp_path / "1" / "ends")
    assert (len(ends.values), ends.x_start.shape, ends.x_end.shape) == (5, (0, 1, 8, 8), (0, 1, 8, 8))
    with pytest.raises(ValueError, match="^keep_ends: "):
        tk.taep(RING, RING, PROCESS, n_paths=4, n_steps=4, keep_ends=False)


DIFFERENT = {
    "starting points, seed": lambda rank: {"seed": rank},
    "parameters of the model, scores of the model at fixed points": lambda rank: {"model": perceptron(0.1 * rank)},
    "settings of the model, scores of the model at fixed points, model": lambda rank: {
        "model": perceptron(predicts=("epsilon", "v")[rank == 1])
    },
    "block": lambda rank: {"block": 3 + rank},
    "starting points": lambda rank: {"n_paths": None, "x0": torch.full((9, 2), 1.0 + rank)},
    "version of torch": lambda rank: {},
}


SHARDS = {2: (0.3, 1.0), 3: (0.002, 0.5, 1.0)}  # where each rank's rows end


@pytest.mark.parametrize("size", [1, 2, 3])
def test_coverage_of_points_that_are_on_different_ranks(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits of one process that has all rows: ties between shards, fewer than k points in one, wide ranges."""
    monkeypatch.setattr("thermokern.quantities.samples.balls._SENT", 100)  # more than one piece
    points = RING.sample(500, seed=4)
    twins = torch.cat([points[:200], points[:200], points])
    draw = torch.Generator().manual_seed(6)
    cases = {
        "plane": (RING.sample(900, seed=4), RING.sample(1100, seed=5)),
        "ties": (twins, torch.cat([points[:150], points[:150]])),
        "five": (torch.randn(700, 5, generator=draw), 1.1 * torch.randn(650, 5, generator=draw)),
        "wide": (1e25 * points.float(), 1.1e25 * points.flip(0).float()),
    }

    def work(folder: Path) -> None:
        rank, ends = dist.get_rank(), SHARDS.get(size, (1.0,))
        for name, pair in cases.items():
            cuts = [[0, *(round(share * len(x)) for share in ends)] for x in pair]
            own = [x[cut[rank] : cut[rank + 1]] for x, cut in zip(pair, cuts, strict=True)]
            tk.coverage(*own, k=3, sharded=True, group="world").save(folder / name)
        with pytest.raises(ValueError, match="^k: expected fewer neighbours than points, got 500 of 500"):
            tk.coverage(points[rank::size], points[rank::size], 500, stderr=False, sharded=True, group="world")

    alone = tmp_path / "alone"
    alone.mkdir()
    for name, pair in cases.items():
        found = tk.coverage(*pair, k=3)
        assert len(found.hits.unique()) > 1
        assert math.isfinite(found.coverage.stderr) == (name in ("plane", "five"))
        found.save(alone / name)
    worlds.run(size, work, tmp_path / "world")
    for rank in range(size):
        assert worlds.contents(tmp_path / "world" / str(rank)) == worlds.contents(alone), f"rank {rank} of {size}"


def test_another_call_on_one_rank_is_one_error_on_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(folder: Path) -> None:
        rank = dist.get_rank()
        for other, options in DIFFERENT.items():
            if other == "version of torch":
                monkeypatch.setattr(torch, "__version__", f"2.{rank}")
            with pytest.raises(
                ValueError, match=f"^group: the ranks make different calls: rank 1 has other {other} than"
            ):
                tk.taep(
                    **{"model": perceptron(), "reference": RING, "n_paths": 9, "n_steps": 4, "group": "world"}
                    | options(rank)
                )
        monkeypatch.undo()
        pair = [perceptron(), perceptron(0.1 * rank)]
        with pytest.raises(ValueError, match="rank 1 has other parameters of the model 1, scores of the model 1 at"):
            tk.taep(pair, perceptron(), PROCESS, x0=torch.ones(5, 2), n_steps=4, group="world")
        whole = tk.taep(perceptron(), RING, n_paths=9, n_steps=4, group="world", block=2)
        assert len(whole.values) == 9, "the group is of use afterwards"

    start = time.monotonic()
    worlds.run(2, work, tmp_path)
    assert time.monotonic() - start < 60.0


def test_a_rank_that_fails_tells_the_others(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        broken = dist.get_rank() == 1

        def score(x: Tensor, t: float) -> Tensor:
            if broken and len(x) == 5:  # a block, not a trial
                raise ArithmeticError("its own trouble")
            return -x

        with pytest.raises((RuntimeError, ArithmeticError), match="its own trouble"):
            tk.taep(score, RING, PROCESS, n_paths=200, **streamed(block=5, memory_budget=1 << 30), group="world")

    worlds.run(2, work, tmp_path)


def test_a_group_must_be_one() -> None:
    for group, error in (("world", "not initialised"), ("all", "not initialised")):
        with pytest.raises(ValueError, match=f"^group: .*{error}"):
            tk.taep(RING, RING, PROCESS, n_paths=4, n_steps=4, group=group)
    with pytest.raises(ValueError, match="^gather: "):
        tk.taep(RING, RING, PROCESS, n_paths=4, n_steps=4, gather="some")


CONFIG = """
model: {ring: {n_modes: 3}}
reference: {ring: {}}
process: VP
n_paths: 9
n_steps: 8
block: 2
"""


def test_the_command_line_shares_under_torchrun(tmp_path: Path) -> None:
    """One rank prints and writes; the file is that of one process. Commands for one process say so."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-endpoint", "localhost:0", "-m", "thermokern"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["taep", str(tmp_path / "c.yaml"), "--quiet", "--threads", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run([*torchrun, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("TAEP of 9 forward paths") == 1
    whole = run_config(tmp_path / "c.yaml", progress=False)
    found = tk.load(tmp_path / "out" / "result.safetensors")
    assert_exact(found.values, whole.values)
    assert found.to_json() == whole.to_json()


def test_the_information_of_a_file_is_shared(tmp_path: Path) -> None:
    """Rank 0 trains, all estimate: the bits of one process."""
    x, y = torch.randn(2, 300, 2, generator=torch.Generator().manual_seed(1)).double()
    np.savez(tmp_path / "pairs.npz", x=(x + y).numpy(), y=y.numpy())

    def found(group: object) -> tk.MutualInformation:
        result, _, _ = run_information(tmp_path / "pairs.npz", steps=20, evaluations=2500, group=group, progress=False)
        return result

    def work(folder: Path) -> None:
        found("world").save(folder / "information")

    (tmp_path / "alone").mkdir()
    found(None).save(tmp_path / "alone" / "information")
    worlds.run(2, work, tmp_path / "world")
    for rank in ("0", "1"):
        assert worlds.contents(tmp_path / "world" / rank) == worlds.contents(tmp_path / "alone")


def test_commands_for_one_process_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["info"]) == 2
    assert "torchrun: this command is for one process" in capsys.readouterr().err
