"""Whether what a file holds is what the fields of a result are."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_types(cls: type[Any], items: Mapping[str, object]) -> None:
    """Raise TypeError naming the field whose value is not of the type that the dataclass gives it."""
    hints = get_type_hints(cls)
    for name, value in items.items():
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(f"{name}: expected {hints[name]}, got {type(value).__name__}")


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is ...:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(item, arguments[1]) for item in value.values())
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    kind = origin or hint
    return not isinstance(kind, type) or isinstance(value, kind)
