"""Results on disk: one safetensors file, per-path tensors as they are and all else as JSON metadata.

A result is a frozen dataclass that :func:`stored` has given a name; its fields hold tensors, numbers, strings, None,
lists, tuples, dictionaries by string, and other such dataclasses. Nothing in a file is code.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from thermokern._files import DamagedFile, sealed, unsealed, write_whole
from thermokern._info import VERSION, instruction_set
from thermokern.ops.checks import checked_path
from thermokern.quantities.results.field_types import check_types

FORMAT = "thermokern.result"
# Raised when a file of today could be read wrongly by the code of yesterday; a new field with a default does not.
FORMAT_VERSION = 1
_METADATA = ("format", "format_version", "kind", "versions", "result")

_KINDS: dict[str, type[Any]] = {}
_NAMES: dict[type[Any], str] = {}
_ELSEWHERE: list[Callable[[], object]] = []

Class = TypeVar("Class", bound=type[Any])


def stored(kind: str) -> Callable[[Class], Class]:
    """Class decorator: the frozen dataclass may stand in a file, under the name `kind`, which is for ever."""

    def register(cls: Class) -> Class:
        if not is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise TypeError(f"{cls.__name__}: expected a frozen dataclass")
        if kind in _KINDS:
            raise ValueError(f"kind: {kind!r} is taken by {_KINDS[kind].__name__}")
        _KINDS[kind], _NAMES[cls] = cls, kind
        if cls.__repr__.__qualname__ == f"{cls.__qualname__}.__repr__":  # a dataclass's own: tensors would fill pages
            cls.__repr__ = _short_repr  # type: ignore[method-assign]
        return cls

    return register


def bring_kinds(bring: Callable[[], object]) -> None:
    """Have `bring` called, which imports further classes of results, when a file names a kind that is not known yet."""
    _ELSEWHERE.append(bring)


def _short_repr(part: Any) -> str:
    values = {each.name: getattr(part, each.name) for each in fields(part) if each.repr}
    shown = (f"{name}={_sized(value) if isinstance(value, Tensor) else repr(value)}" for name, value in values.items())
    return f"{type(part).__qualname__}({', '.join(shown)})"


def _sized(tensor: Tensor) -> str:
    return f"<{str(tensor.dtype)[6:]} {tuple(tensor.shape)}>"


def kind_of(result: object) -> str:
    """The name under which a result stands in files."""
    if type(result) not in _NAMES:
        raise TypeError(f"result: expected one of {', '.join(sorted(_KINDS))}, got {type(result).__name__}")
    return _NAMES[type(result)]


def save(result: Any, path: str | Path) -> None:
    """Write a result as one safetensors file, whole or not at all.

    Parameters
    ----------
    result : dataclass
        Of a kind that :func:`stored` knows, such as :class:`TAEP`.
    path : path
        Usually ends in ``.safetensors``; its folder must exist. A file that is there is replaced in one step.

    Raises
    ------
    TypeError
        Naming the field that cannot be stored.
    FileNotFoundError
        When the folder is missing.
    """
    path, kind = checked_path("path", path), kind_of(result)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: no such folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"path: expected a file, got the folder {path}")
    tensors: dict[str, Tensor] = {}
    body = _encode(result, "", tensors)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": kind,
        "versions": json.dumps(
            {"thermokern": VERSION, "torch": torch.__version__, "instruction_set": instruction_set()}
        ),
        "result": json.dumps(body, allow_nan=False),
    }
    write_whole(path, sealed(tensors, metadata))


def load(path: str | Path) -> Any:
    """Read a result that :func:`save` wrote: the same tensors and numbers, bit for bit.

    Parameters
    ----------
    path : path

    Returns
    -------
    TAEP or another result
        Of the class that was saved, its tensors on the CPU.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    DamagedFile, ValueError
        Naming the file: not safetensors (a pickle, say), truncated, changed since it was written, with fields of other
        types, not a result, or of a newer format.
    """
    path = checked_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no such file {path}")
    try:
        tensors, metadata = unsealed(path.read_bytes(), _METADATA)
    except DamagedFile as error:
        raise DamagedFile(
            f"path: expected a result that save() wrote, got {path.name}, which is {error}; "
            "pickles (.pt, .pkl) are refused, since reading one can run code"
        ) from None
    _check_format(path.name, metadata)
    try:
        result = _decode(json.loads(metadata["result"]), tensors)
        if type(result) is not _KINDS[metadata["kind"]]:
            raise TypeError(f"a {type(result).__name__} under the name {metadata['kind']}")
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, RecursionError) as error:
        raise DamagedFile(
            f"path: {path.name} is a result, but not a whole one ({type(error).__name__}: {error})"
        ) from None
    return result


def _check_format(name: str, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        hint = "; it is a network: load_checkpoint reads it" if "architecture" in metadata else ""
        raise ValueError(
            f"path: expected a result that save() wrote, got {name}, which holds something else "
            f"(format {metadata.get('format')!r}){hint}"
        )
    version = metadata.get("format_version", "")
    if not (version.isascii() and version.isdigit() and int(version) >= 1):
        raise ValueError(f"path: {name} has no valid format version (expected {FORMAT_VERSION}, got {version!r})")
    if int(version) > FORMAT_VERSION:
        raise ValueError(
            f"path: {name} has format version {version}, and thermokern {VERSION} reads up to {FORMAT_VERSION}: "
            "use a newer thermokern"
        )
    while metadata.get("kind") not in _KINDS and _ELSEWHERE:
        _ELSEWHERE.pop()()
    if metadata.get("kind") not in _KINDS:
        raise ValueError(
            f"path: {name} holds a {metadata.get('kind')!r}; thermokern {VERSION} knows {', '.join(sorted(_KINDS))}"
        )


def _encode(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go into `tensors` under their dotted names."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # The bits, where JSON has no word for the number; repr is exact for the others.
        return float(value) if math.isfinite(value) else {"$bits": struct.pack(">d", value).hex()}
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{where}: expected a dense tensor, got {value.layout}")
        tensors[where] = value.detach().cpu().contiguous().clone()  # two names of one storage become two
        return {"$tensor": where}
    if type(value) in _NAMES:
        prefix = f"{where}." if where else ""
        items = {f.name: _encode(getattr(value, f.name), prefix + f.name, tensors) for f in fields(value)}
        return {"$kind": _NAMES[type(value)], **items}
    if isinstance(value, list | tuple):
        parts = [_encode(item, f"{where}.{i}", tensors) for i, item in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{where}: expected keys that are strings without a leading $, got {key!r}")
        return {key: _encode(item, f"{where}.{key}", tensors) for key, item in value.items()}
    raise TypeError(f"{where}: expected a tensor, number, string or a stored result, got {type(value).__name__}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$bits" in value:
        return struct.unpack(">d", bytes.fromhex(value["$bits"]))[0]
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    items = {key: _decode(item, tensors) for key, item in value.items() if key != "$kind"}
    if "$kind" not in value:
        return items
    cls = _KINDS[value["$kind"]]
    check_types(cls, items)
    return cls(**items)
