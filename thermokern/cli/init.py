"""``thermokern init COMMAND``: a commented configuration file, or its schema for an editor."""

from __future__ import annotations

import argparse
import inspect
import json
import textwrap
from pathlib import Path

import yaml

from thermokern.cli.config import CALLS, NEEDED, SECTIONS, keys_for
from thermokern.cli.keys import Key
from thermokern.cli.networks import LAWS, NETWORKS
from thermokern.cli.options import Parsers

_WIDTH = 100
_ABOUT = {
    "model": """\
# The network, or a law whose score is known. One of:
#   checkpoint: net.safetensors       a network that tk.save_checkpoint wrote
#   diffusers: folder                 a pipeline as save_pretrained wrote it
#   {factory: "module:function", weights: file.safetensors, predicts: epsilon, shape: [3, 32, 32]}
#   ring: {}, mixture:, gaussian:, box:, swiss-roll:, empirical: {points: file}
model:
  ring: {weights: [0.02, 0.14, 0.14, 0.14, 0.14, 0.14, 0.14, 0.14]}
""",
    "reference": """\
# What the model is compared with, named in the same ways: exact where it is the law of the data.
reference:
  ring: {}
""",
    "process": """\
# The process that the network was trained for: VP, VP.from_sigma, VE, SubVP, CosineVP, EDM, DDPM, DiscreteVP, Flow.
# A checkpoint, a pipeline or a ScoreModel has its own: then leave this out.
process: {kind: VP, beta_min: 0.1, beta_max: 20}
""",
    "data": """\
# Points to start paths from, in the place of n_paths: a .npy, .npz, .csv or .pt file, or a folder of images.
# data: {file: points.npz, key: x}
n_paths: 2000
""",
}
_LAW = """\
# The data: a law, or a .npy, .npz, .csv or .pt file of points, or a folder of images.
data:
  ring: {}
"""


def add(commands: Parsers, common: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser("init", help="a commented configuration file to begin with")
    parser.add_argument("command", choices=tuple(CALLS), help="whose file")
    parser.add_argument("file", type=Path, nargs="?", help="where to write it; printed when left out")
    parser.add_argument("--schema", action="store_true", help="the JSON Schema of such files, for editors")
    parser.set_defaults(run=_init, threads=None)


def _init(options: argparse.Namespace) -> None:
    text = json.dumps(schema(options.command), indent=2) + "\n" if options.schema else template(options.command)
    if options.file is None:
        print(text, end="")
        return
    if options.file.exists():
        raise FileExistsError(f"file: {options.file} is there already")
    options.file.write_text(text, encoding="utf-8")
    print(f"wrote {options.file}; run it by: thermokern {options.command} {options.file} --out out")


def template(command: str) -> str:
    """A file that runs as it is, with every other option below, commented out."""
    parts = [
        f"# For `thermokern {command} FILE`. Every key of the Python call thermokern.{CALLS[command].__name__} is one"
        " here.\n"
    ]
    for section in SECTIONS[command]:
        parts.append(_LAW if section == "data" and command != "taep" else _ABOUT[section])
    parts.append("# Options and their defaults:\n")
    parts += [_option(key) for key in keys_for(command).values() if key.name != "n_paths" or command != "taep"]
    return "\n".join(parts)


def _option(key: Key) -> str:
    words = textwrap.wrap(key.help or "See the documentation.", _WIDTH, initial_indent="#   ", subsequent_indent="#   ")
    default = None if key.default is inspect.Parameter.empty else key.default
    value = yaml.safe_dump(
        list(default) if isinstance(default, tuple) else default, default_flow_style=True, width=_WIDTH
    )
    value = value.removesuffix("\n").removesuffix("\n...")
    choices = f"   # {', '.join(key.choices)}" if key.choices else ""
    return "\n".join([f"# {key.name}: {value}{choices}", *words]) + "\n"


def schema(command: str) -> dict[str, object]:
    """The JSON Schema of a command's files."""
    network = {
        "type": "object",
        "description": "a network or a law",
        "anyOf": [{"required": [name]} for name in (*NETWORKS, *LAWS)],
    }
    points = {"type": ["string", "object"], "description": "a file of points, a folder of images, or a law"}
    process = {"type": ["string", "object"], "description": "the process, by its name, or kind and arguments"}
    sections = {"model": network, "reference": network, "process": process, "data": points}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"thermokern {command}",
        "type": "object",
        "properties": {name: sections[name] for name in SECTIONS[command]}
        | {name: key.schema() for name, key in keys_for(command).items()},
        "required": list(NEEDED[command]),
        "additionalProperties": False,
    }
