"""Configuration files: every option of the Python call, any network, data of every kind, and files to begin with."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import thermokern as tk
from thermokern.cli import main
from thermokern.cli.config import CALLS, keys_for, run_config, run_limits
from thermokern.cli.init import schema, template
from thermokern.cli.points import read_points

BASE = "model: {ring: {std: 0.3}}\nreference: {ring: {}}\nprocess: vp\nn_steps: 5\nbackend: reference\n"
FACTORY = """
import torch
import thermokern as tk


def network(width):
    return tk.ScoreMLP(2, width=width, depth=2)


def model():
    return tk.from_flow(lambda x, t: x, shape=(2,))


def nothing():
    return 3
"""


def written(folder: Path, text: str, name: str = "run.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("command", CALLS)
def test_every_option_of_the_call_is_a_key(command: str) -> None:
    parameters = inspect.signature(CALLS[command]).parameters.values()
    options = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    keys = keys_for(command)
    assert options - set(keys) <= {"progress", "gradient", "prior", "x0", "group"}
    assert all(key.help for key in keys.values()), [name for name, key in keys.items() if not key.help]


def test_options_reach_the_call(tmp_path: Path) -> None:
    x, labels = tk.GaussianMixture.ring().sample(40), torch.arange(40) % 2
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=labels.numpy())
    options = (
        "data: {file: data.npz, key: x}\nlabels: {file: data.npz, key: y}\nresolve: [time]\nseed: 1e1\n"
        "scheme: backward-ito\ndtype: float64\ndevice: cpu\nextrapolate: false\nbackend: streamed\nmemory_budget: 1e6\n"
    )
    text = BASE.replace("backend: reference\n", "") + options
    result = run_config(written(tmp_path, text), progress=False)
    direct = tk.taep(
        tk.GaussianMixture.ring(std=0.3),
        tk.GaussianMixture.ring(),
        tk.VP(),
        x0=x,
        labels=labels,
        resolve=["time"],
        seed=10,
        n_steps=5,
        scheme="backward-ito",
        dtype=torch.float64,
        extrapolate=False,
        backend="streamed",
    )
    assert torch.equal(result.values, direct.values)
    assert result.values.dtype == torch.float64
    assert [part.label for part in result.by_label] == [0, 1]
    assert run_config(written(tmp_path, text), seed=3, progress=False).settings["seed"] == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n_paths: ten", "n_paths: expected a whole number, got 'ten'"),
        ("n_paths: 1.5", "n_paths: expected a whole number, got 1.5"),
        ("n_paths: true", "n_paths: expected a whole number, got True"),
        ("n_paths: 10\nt_eps: small", "t_eps: expected a number"),
        ("n_paths: 10\nscheme: backwards-ito", "did you mean backward-ito?"),
        ("n_paths: 10\nfrom_prior: 1", "from_prior: expected true or false, got 1"),
        ("n_paths: 10\nn_step: 5", "did you mean n_steps for n_step?"),
        ("n_paths: 10\ndtype: half", "dtype: expected float32 or float64"),
        ("n_paths: 10\ntimes: 3", "times: expected a list, got 3"),
        ("data: [1, 2]", "data: expected a file"),
        ("data: {file: a.npy, name: x}", "data: expected the keys file and key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    file = written(tmp_path, BASE + line + "\n")
    assert main(["taep", str(file), "--quiet"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_network_from_a_factory(tmp_path: Path, suffix: str) -> None:
    written(tmp_path, FACTORY, f"nets_{suffix}.py")
    network = tk.ScoreMLP(2, width=8, depth=2)
    file = tmp_path / f"weights.{suffix}"
    save_file(network.state_dict(), file) if suffix == "safetensors" else torch.save(network.state_dict(), file)
    text = (
        BASE.replace(
            "{ring: {std: 0.3}}",
            f'{{factory: "nets_{suffix}:network", arguments: {{width: 8}}, weights: '
            f"weights.{suffix}, predicts: epsilon}}",
        )
        + "n_paths: 30\n"
    )
    with pytest.warns(tk.FewPathsWarning):  # an untrained network
        result = run_config(written(tmp_path, text), progress=False)
    model = tk.ScoreModel(network.eval(), tk.VP(), "epsilon")
    with pytest.warns(tk.FewPathsWarning):
        direct = tk.taep(model, tk.GaussianMixture.ring(), n_paths=30, n_steps=5, backend="reference")
    assert torch.equal(result.values, direct.values)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            '{factory: "nets_w:network", arguments: {width: 9}, weights: weights.safetensors}',
            "does not fit the network",
        ),
        ('{factory: "nets_w:network", arguments: {width: 8}, weights: none.pt}', "no such file"),
        ('{factory: "nets_w:network"}', "missing 1 required positional argument: 'width'"),
        ('{factory: "nets_w:absent"}', "cannot be imported"),
        ('{factory: "nets_w"}', 'expected "module:function"'),
        ('{factory: "nets_w:nothing"}', "expected a network, a ScoreModel or a law, got int"),
        ('{factory: "nets_w:model", wieghts: a}', "unknown wieghts"),
        ('{factory: "nets_w:model"}', "has Flow(t_end=0.999), not VP"),
        ("{checkpont: a}", "did you mean checkpoint?"),
        ("{diffusers: nowhere}", "expected the folder of a pipeline"),
    ],
)
def test_networks_that_cannot_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, message: str
) -> None:
    written(tmp_path, FACTORY, "nets_w.py")
    save_file(tk.ScoreMLP(2, width=8, depth=2).state_dict(), tmp_path / "weights.safetensors")
    file = written(tmp_path, BASE.replace("{ring: {std: 0.3}}", entry) + "n_paths: 5\n")
    assert main(["taep", str(file), "--quiet"]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: diffusers is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(num_train_timesteps=20)).save_pretrained(tmp_path / "pipe")
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    text = "model: {diffusers: pipe}\nreference: {diffusers: pipe}\ndata: images\nn_steps: 3\n"
    result = run_config(written(tmp_path, text), progress=False)
    assert result.x_start.shape == (3, 1, 8, 8)
    assert result.mean.value == 0.0


def test_data_of_every_kind(tmp_path: Path) -> None:
    x = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)).double()
    np.save(tmp_path / "x.npy", x.numpy())
    np.savez(tmp_path / "x.npz", x=x.numpy())
    np.savetxt(tmp_path / "x.csv", x.numpy(), delimiter=",", header="a,b,c", comments="")
    torch.save({"x": x}, tmp_path / "x.pt")
    for name in ("x.npy", "{file: x.npz, key: x}", "x.csv", "{file: x.pt}"):
        text = f"model: {{gaussian: {{mean: [0, 0, 0]}}}}\nreference: {{empirical: {{points: {name}}}}}\n"
        text += f"process: VP\ndata: {name}\nn_steps: 3\n"
        result = run_config(written(tmp_path, text), progress=False)
        assert len(result.values) == 7
        data = f"model: {{gaussian: {{mean: [0, 0, 0]}}}}\ndata: {name}\nprocess: VP\nn_steps: 4\nn_likelihood: 2\n"
        assert run_limits(written(tmp_path, data), progress=False).dim == 3


def test_images_are_read_as_models_have_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    for i in range(2):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.png")
    images = read_points(tmp_path)
    assert images.shape == (2, 3, 4, 5)
    assert (images.permute(0, 2, 3, 1) - (torch.from_numpy(pixels) / 127.5 - 1.0)).abs().max() == 0.0
    Image.fromarray(pixels[0, :2]).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"expected images of one size .*small\.png"):
        read_points(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="found none"):
        read_points(tmp_path / "none")


@pytest.mark.parametrize("command", CALLS)
def test_a_file_to_begin_with_runs_and_its_comments_are_keys(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = template(command)
    config = yaml.safe_load(text)
    about = schema(command)
    assert set(config) <= set(about["properties"])
    assert set(about["required"]) <= set(config)
    keys = keys_for(command)
    for name, key in keys.items():
        line = next((line for line in text.splitlines() if line.startswith(f"# {name}: ")), None)
        if name in config:
            continue
        assert line is not None, name
        default = yaml.safe_load(line[2:].split("   #")[0])[name]
        assert default is None or key.checked(default) is not None or default == []
    json.dumps(about)
    if command == "taep":
        file = tmp_path / "first.yaml"
        assert main(["init", "taep", str(file)]) == 0
        assert "run it by: thermokern taep" in capsys.readouterr().out
        assert main(["init", "taep", str(file)]) == 2
        assert "is there already" in capsys.readouterr().err
        file.write_text(file.read_text().replace("n_paths: 2000", "n_paths: 100\nn_steps: 20"))
        assert main(["taep", str(file), "--quiet"]) == 0
        assert "TAEP of 100 forward paths, 20 steps" in capsys.readouterr().out
        assert main(["init", "taep", "--schema"]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(about))
        assert about["properties"]["n_steps"]["type"] == ["integer", "null"]
        assert about["properties"]["scheme"]["enum"][:2] == ["auto", "stratonovich"]
        assert about["additionalProperties"] is False
