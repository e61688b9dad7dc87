"""The command line: ``thermokern demo | info | taep CONFIG | show FILE | reproduce mode-collapse | bench``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch

import thermokern
from thermokern.cli.config import run_config
from thermokern.experiments import COLLAPSES, TrainingRecipe, mode_collapse
from thermokern.experiments.mode_collapse import train
from thermokern.report import write_mode_collapse, write_taep


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads is not None:
        if options.threads < 1:
            print(f"error: --threads: expected at least 1, got {options.threads}", file=sys.stderr)
            return 2
        torch.set_num_threads(options.threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", thermokern.FewPathsWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, help="threads of the kernels and of PyTorch")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--out", type=Path, help="folder for the figures, numbers and report.html")
    output.add_argument("--seed", type=int, help="seed of every random number")
    output.add_argument("--quiet", action="store_true", help="no progress bars")

    parser = argparse.ArgumentParser(prog="thermokern", description=thermokern.__doc__)
    parser.add_argument("--version", action="version", version=f"thermokern {thermokern.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", parents=[common, output], help="trained networks to their TAEP, in a minute")
    demo.set_defaults(run=_demo, out=Path("out/demo"))
    info = commands.add_parser("info", parents=[common], help="which backends and instruction sets are there, and why")
    info.set_defaults(run=_info)
    taep = commands.add_parser("taep", parents=[common, output], help="the TAEP that a YAML file describes")
    taep.add_argument("config", type=Path)
    taep.set_defaults(run=_taep)
    show = commands.add_parser("show", parents=[common], help="a result that taep --out saved, result.safetensors")
    show.add_argument("file", type=Path)
    show.add_argument("--out", type=Path, help="folder for the figure, result.json and report.html")
    show.set_defaults(run=_show)
    reproduce = commands.add_parser("reproduce", parents=[common, output], help="a paper's figure")
    reproduce.add_argument("experiment", choices=["mode-collapse"])
    reproduce.add_argument("--full", action="store_true", help="train every network first, with the paper's settings")
    reproduce.add_argument("--steps", type=int, help="with --full: training steps in place of the paper's 50000")
    reproduce.set_defaults(run=_reproduce, out=Path("out/mode-collapse"))
    bench = commands.add_parser("bench", help="the benchmarks, in a source checkout")
    bench.add_argument("rest", nargs=argparse.REMAINDER, help="options of benchmarks/run.py")
    bench.set_defaults(run=_bench, threads=None)
    return parser


def _demo(options: argparse.Namespace) -> None:
    _show_mode_collapse(options, None)


def _reproduce(options: argparse.Namespace) -> None:
    if not options.full:
        return _show_mode_collapse(options, None)
    recipe = TrainingRecipe(seed=options.seed or 0)
    if options.steps is not None:
        if options.steps < 1:
            raise ValueError(f"--steps: expected at least 1, got {options.steps}")
        recipe = TrainingRecipe(seed=options.seed or 0, n_steps=options.steps)
    folder = options.out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for collapse in COLLAPSES:
        train(collapse, folder / f"{collapse.name}.safetensors", recipe, progress=not options.quiet)
    return _show_mode_collapse(options, folder)


def _show_mode_collapse(options: argparse.Namespace, checkpoints: Path | None) -> None:
    start = time.perf_counter()
    result = mode_collapse(checkpoints=checkpoints, seed=options.seed or 0, progress=not options.quiet)
    print(result.table())
    print(f"evaluated in {time.perf_counter() - start:.1f} s on {torch.get_num_threads()} thread(s)")
    _list_files(write_mode_collapse(result, options.out, _footer()))


def _taep(options: argparse.Namespace) -> None:
    result = run_config(options.config, seed=options.seed, progress=not options.quiet)
    print(result.summary())
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        saved = options.out / "result.safetensors"
        result.save(saved)
        _list_files([saved, *write_taep(result, options.out, _footer())])


def _show(options: argparse.Namespace) -> None:
    result = thermokern.load(options.file)
    if not isinstance(result, thermokern.TAEP):
        raise TypeError(f"file: expected a TAEP, got {options.file.name}, which is an {type(result).__name__}")
    print(result.summary())
    if options.out is not None:
        _list_files(write_taep(result, options.out, _footer()))


def _info(options: argparse.Namespace) -> None:
    for name, value in thermokern.info().items():
        print(f"{name:<24}{value}")


def _bench(options: argparse.Namespace) -> None:
    script = Path(thermokern.__file__).resolve().parents[1] / "benchmarks" / "run.py"
    if not script.is_file():
        raise FileNotFoundError(
            "bench: the benchmarks live in the source tree; clone it and install with pip -e '.[bench]'"
        )
    status = subprocess.run([sys.executable, str(script), *options.rest], check=False).returncode
    if status:
        raise OSError(f"bench: benchmarks/run.py ended with status {status}")


def _list_files(paths: list[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")


def _footer() -> str:
    about = thermokern.info()
    return (
        f"thermokern {about['thermokern']}, PyTorch {about['torch']}, instruction set {about['instruction set']}, "
        f"{about['threads']} thread(s)."
    )


if __name__ == "__main__":
    sys.exit(main())
