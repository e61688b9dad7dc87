"""Every public function and op with arguments that nobody should pass: a right answer, or an error that names one.

`make test` makes 50 calls of each, `make test-long` 300. `python tests/test_fuzz.py 300` counts what they come to.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz_cases import CASES, ENDLESS, F64, METHODS, OPS, UNKNOWN, VALUES, parameters_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thermokern as tk
from thermokern import ops

FEW, MANY = 50, 300  # calls of each, by `make test` and by `make test-long`
NAMED = (ValueError, TypeError, FloatingPointError, OSError, ImportError)  # of files and packages that are not there

SCALARS: dict[type, Callable[[Any], Any]] = {bool: np.bool_, int: np.int64, float: np.float64}
# Another form of the same argument, which gives the same bits where it is taken.
FORMS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda value: value,
    "NumPy": lambda value: {bool: np.bool_, int: np.int64, float: np.float64}.get(type(value), lambda same: same)(
        value
    ),
    "zero-dimensional": lambda value: torch.tensor(value, dtype=F64) if type(value) is float else value,
    "strided": lambda value: value.repeat_interleave(2, 0)[::2] if is_plain(value) else value,
    "reversed": lambda value: value.flip(0).numpy()[::-1] if is_plain(value) else value,
}


def is_plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and not value.requires_grad


def numbers(value: object, path: str = "") -> Iterator[tuple[str, str, bool]]:
    """Where the numbers of a result stand, what they are, and whether one is NaN."""
    if isinstance(value, np.ndarray):
        known = {"f": F64, "i": torch.int64, "u": torch.int64, "b": torch.bool}.get(value.dtype.kind)
        value = value.tolist() if known is None else torch.tensor(np.asarray(value).tolist(), dtype=known)
    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.layout != torch.strided:
            return
        found = value.detach().to(F64) if value.is_floating_point() else value
        yield path, repr(found.tolist()), found.is_floating_point() and bool(found.isnan().any())
    elif isinstance(value, float):
        yield path, repr(value), math.isnan(value)
    elif isinstance(value, dict | list | tuple):
        names = value if isinstance(value, dict) else getattr(value, "_fields", range(len(value)))
        for name in names:
            part = value[name] if isinstance(value, dict | list) or isinstance(name, int) else getattr(value, name)
            yield from numbers(part, f"{path}.{name}")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.name != "settings":
                yield from numbers(getattr(value, field.name), f"{path}.{field.name}")


def silent_nan(result: object, expected: object) -> set[str]:
    """Values of a result that are NaN where they were numbers. Errors and biases may be: nobody knows them."""
    before = {path for path, _, is_nan in numbers(expected) if is_nan}
    after = {path for path, _, is_nan in numbers(result) if is_nan and "stderr" not in path and "bias" not in path}
    return after - before - {".null"}  # what a model is told to take for no condition


def outcome(name: str, changes: dict[str, str], expected: object) -> str:
    """What a call with some arguments changed comes to; an AssertionError where it is neither right nor an error."""
    case, parameters = CASES[name], parameters_of(CASES[name].function)
    arguments = case.good()
    for argument, value in changes.items():
        arguments[argument] = FORMS[value](arguments.get(argument)) if value in FORMS else VALUES[value]()
    error, result = None, None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result = case.function(**arguments)
        except Exception as raised:
            error = raised
    if error is not None:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)[1:]]
        functions = any(callable(arguments[argument]) for argument in arguments)
        if any(frame.endswith("fuzz_cases.py") for frame in frames) or (functions and is_of_a_call(error)):
            return "an error of the caller's own function"
        kind = type(error).__name__
        assert isinstance(error, NAMED), f"{kind}: {error}"
        assert is_named(str(error), parameters), f"names no argument: {kind}: {error}"
        return next(parent.__name__ for parent in NAMED if isinstance(error, parent))
    for warning in warned:
        own = warning.category.__module__.startswith("thermokern")
        assert own or is_named(str(warning.message), parameters), f"a warning: {warning.message}"
    arithmetic = name in METHODS or name.startswith("ops.")  # which gives NaN for NaN
    may = arithmetic and any(has_nonfinite(value) for value in arguments.values())
    may = may or name.endswith("_reference") or any((name, *change) in UNKNOWN for change in changes.items())
    if not may and arguments.get("allow_nonfinite") is not True:
        assert not silent_nan(result, expected), f"silently NaN: {silent_nan(result, expected)}"
    if all(value in FORMS for value in changes.values()) and set(changes) <= set(case.good()):
        assert [n[:2] for n in numbers(result)] == [n[:2] for n in numbers(expected)], "another answer"
        return "the same bits"
    return "a warning" if warned else "a result"


def has_nonfinite(value: object) -> bool:
    """Whether an argument brings NaN or infinity itself, or numbers whose squares are infinite."""
    return any(is_nan or re.search(r"inf|nan|e\+(300|30|29)\b", words) for _, words, is_nan in numbers(value))


def is_of_a_call(error: Exception) -> bool:
    """Whether a function that was given takes other arguments than those it is called with."""
    return isinstance(error, TypeError) and "positional argument" in str(error)


def is_named(words: str, parameters: list[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) for name in parameters)


def fuzz(name: str, calls: int) -> Counter[str]:
    """Calls of a function by kinds of outcome."""
    case, parameters, counts = CASES[name], parameters_of(CASES[name].function), Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = case.function(**case.good())
    values = st.sampled_from([*VALUES, *FORMS])
    changes = (
        st.dictionaries(st.sampled_from(parameters), values, min_size=1, max_size=2) if parameters else st.builds(dict)
    )

    @settings(
        max_examples=calls, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(changes)
    def call(changes: dict[str, str]) -> None:
        if not any((name, *change) in ENDLESS for change in changes.items()):
            counts[outcome(name, changes, expected)] += 1

    call()
    while counts.total() < calls:  # of functions that take nothing, and in the place of calls without an end
        counts[outcome(name, {}, expected)] += 1
    return counts


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_right_or_names_an_argument(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # of files that are written where a path is expected
    assert fuzz(name, FEW).total() >= FEW


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_many_calls_are_right_or_name_an_argument(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fuzz(name, MANY).total() >= MANY


def is_result(value: object) -> bool:
    """What functions return or warn of; nobody passes arguments to those."""
    return isinstance(value, type) and (
        issubclass(value, Exception)
        or hasattr(value, "_fields")
        or value.__module__.startswith("thermokern.quantities.")
    )


def test_every_public_name_is_called() -> None:
    """A function that is added is fuzzed, or this fails."""
    given_to = {"LinearForce", "TrainingMonitor"}  # classes of the quantities that are no results
    public = {name for name in tk.__all__ if callable(getattr(tk, name))}
    wanted = {name for name in public if not is_result(getattr(tk, name)) or name in given_to}
    assert wanted <= set(CASES), sorted(wanted - set(CASES))
    sources = {
        "MixtureSource",
        "MlpSource",
        "StepTable",
        "RateTable",
        "FlowTable",
        "PartTable",
        "KDTree",
    }  # made of checked parts
    functions = {name for name in ops.__all__ if callable(getattr(ops, name)) and not is_result(getattr(ops, name))}
    types = {"FlowField", "NodeScore", "Source"}
    assert functions - sources - types == set(OPS), sorted((functions - sources - types) ^ set(OPS))


if __name__ == "__main__":
    calls, start, total = int(sys.argv[1]), time.perf_counter(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in CASES:
            total += fuzz(name, calls)
    print(f"{total.total()} calls of {len(CASES)} functions in {time.perf_counter() - start:.0f} s")
    for kind, count in total.most_common():
        print(f"{count:6d} {kind}")
