"""Keys of a configuration file: every option of a Python call, with the types and words of its docstring."""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

import torch

# What a file says for what Python is given; anything else of a hint cannot be said in a file.
_KINDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    torch.dtype: "dtype",
    torch.device: "string",
}
_NOT_IN_FILES = {"progress", "gradient", "prior", "group", "x0"}
_SAID = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a word",
    "array": "a list",
    "dtype": "float32 or float64",
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Key:
    """One option.

    Attributes
    ----------
    name, help : str
    kinds : tuple of str
        ``boolean``, ``integer``, ``number``, ``string``, ``array`` or ``dtype``.
    default : object
        ``inspect.Parameter.empty`` where there is none.
    choices : tuple of str
        Empty where any will do.
    optional : bool
        Whether null stands for leaving it out.
    """

    name: str
    help: str
    kinds: tuple[str, ...]
    default: object
    choices: tuple[str, ...]
    optional: bool

    def checked(self, value: object) -> object:
        """The value as Python takes it; a ValueError says what was expected."""
        if value is None and self.optional:
            return None
        if isinstance(value, bool):
            if "boolean" in self.kinds:
                return value
        elif isinstance(value, int | float):
            if "integer" in self.kinds and float(value).is_integer():
                return int(value)  # 1e3 is a whole number
            if "number" in self.kinds:
                return float(value)
        elif isinstance(value, str):
            if "dtype" in self.kinds and value in _DTYPES:
                return _DTYPES[value]
            if "string" in self.kinds:
                return self._chosen(value)
        elif isinstance(value, list) and "array" in self.kinds:
            return value
        said = " or ".join(_SAID[kind] for kind in self.kinds)
        raise ValueError(f"{self.name}: expected {said}, got {value!r}")

    def _chosen(self, value: str) -> str:
        if self.choices and "array" not in self.kinds and value not in self.choices:
            close = difflib.get_close_matches(value, self.choices, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{self.name}: expected one of {', '.join(self.choices)}, got {value!r}{hint}")
        return value

    def schema(self) -> dict[str, object]:
        """As JSON Schema has it."""
        words = {"dtype": "string"}
        kinds = [words.get(kind, kind) for kind in self.kinds] + ["null"] * self.optional
        about: dict[str, object] = {"description": self.help, "type": kinds[0] if len(kinds) == 1 else kinds}
        if self.default is not inspect.Parameter.empty and self.default is not None:
            about["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        if self.choices and "array" not in self.kinds:
            about["enum"] = [*self.choices, *([None] if self.optional else [])]
        if "dtype" in self.kinds:
            about["enum"] = [*_DTYPES, None]
        return about


def keys_of(function: Callable[..., Any]) -> dict[str, Key]:
    """The options of a call that a file can give, in their order; those by keyword alone."""
    texts, names = described(function), inspect.unwrap(function).__globals__
    out = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in _NOT_IN_FILES:
            continue
        hint = parameter.annotation
        kinds, optional = _kinds(eval(hint, names) if isinstance(hint, str) else hint)  # our own source's words
        kind, text = texts.get(name, ("", ""))
        choices = tuple(re.findall(r'"([^"]+)"', kind)) if kind.startswith("{") else ()
        if kinds:
            out[name] = Key(name, text, kinds, parameter.default, choices, optional or parameter.default is None)
    return out


def _kinds(hint: Any) -> tuple[tuple[str, ...], bool]:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds: list[str] = []
    for option in options:
        origin = get_origin(option) or option
        if origin in _KINDS:
            kinds.append(_KINDS[origin])
        elif isinstance(origin, type) and issubclass(origin, Sequence | torch.Tensor) and origin is not str:
            kinds.append("array")
    return tuple(dict.fromkeys(kinds)), type(None) in options


def described(function: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Of each parameter of a numpydoc docstring, the line of its type and the text below."""
    text = inspect.getdoc(function) or ""
    match = re.search(r"Parameters\n-+\n(.*?)(?:\n\n?[A-Z]\w+\n-+\n|\Z)", text, re.DOTALL)
    found: dict[str, tuple[str, str]] = {}
    for block in re.split(r"\n(?=\S)", match[1] if match else ""):
        head, *rest = block.splitlines()
        names, _, kind = head.partition(" : ")
        words = re.sub(r":\w+:`[~.]?([^`]*)`|``?([^`]*)``?", r"\1\2", " ".join(" ".join(rest).split()))
        for name in names.split(","):
            found[name.strip()] = (kind, words)
    return found


def checked_options(config: Mapping[str, object], keys: Mapping[str, Key]) -> dict[str, object]:
    """The options in a file, each of its type."""
    return {name: keys[name].checked(value) for name, value in config.items() if name in keys}


def unknown(names: Sequence[str], known: Sequence[str]) -> str:
    """What to say of keys that nobody knows."""
    hints = {name: difflib.get_close_matches(name, known, 1) for name in names}
    close = "; ".join(f"did you mean {found[0]} for {name}?" for name, found in hints.items() if found)
    return f"unknown {', '.join(names)}; {close or 'known are ' + ', '.join(sorted(known))}"
