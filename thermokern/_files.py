"""Files that say of themselves whether they are whole: safetensors and JSON with a SHA-256 of all their bytes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

_KEY, _OPEN = "sha256", "0" * 64
_ABANDONED = 3600.0  # seconds after which nobody writes a part any more


class DamagedFile(ValueError):
    """A file whose bytes are not those that were written, or that is not of the kind that was asked for."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that is there is replaced in one step."""
    part = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:  # not save_file, whose files only their owner may read
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what killed processes left half written beside `path`; what a living one may be writing is left alone."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        host, process, *_ = (*part.name.removesuffix(".part").rpartition(".")[2].split("-"), "")
        try:
            if host == _host() and process.isdigit():
                dead = not _lives(int(process))
            else:  # of another machine, or of an older version: by its age
                dead = time.time() - part.stat().st_mtime > _ABANDONED
            if dead:
                part.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file whose metadata hold the SHA-256 of the file, its own 64 digits taken for zeros."""
    content = serialize(dict(tensors), {**metadata, _KEY: _OPEN})
    return _with_digest(content, _header_end(content))


def unsealed(content: bytes, before: Collection[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, once its SHA-256 is known to be right.

    Parameters
    ----------
    content : bytes
    before : collection of str
        Metadata of our files from before there was a checksum. A file with some of these and others needs one.

    Raises
    ------
    DamagedFile
    """
    try:
        tensors = deserialize(content)
        end = _header_end(content)
        metadata: dict[str, str] = dict(json.loads(content[8:end]).get("__metadata__") or {})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"not a whole safetensors file ({error})") from None
    digest = metadata.pop(_KEY, None)
    _check(content, digest, end, metadata, before)
    return tensors, metadata


def sealed_text(values: Mapping[str, Any]) -> str:
    """JSON whose first entry is the SHA-256 of the text, its own 64 digits taken for zeros."""
    content = json.dumps({_KEY: _OPEN, **values}, indent=1, allow_nan=False).encode()
    return _with_digest(content, len(content)).decode()


def unsealed_text(content: bytes, before: Collection[str]) -> dict[str, Any]:
    """The entries of a JSON file, once its SHA-256 is known to be right; `before` as in :func:`unsealed`."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"not whole JSON ({error})") from None
    if not isinstance(values, dict):
        raise DamagedFile(f"a {type(values).__name__}, not entries by name")
    _check(content, values.pop(_KEY, None), len(content), values, before)
    return values


def _header_end(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _with_digest(content: bytes, end: int) -> bytes:
    at = content.index(f'"{_KEY}":'.encode(), 0, end)
    at = content.index(_OPEN.encode(), at, end)
    return content[:at] + hashlib.sha256(content).hexdigest().encode() + content[at + len(_OPEN) :]


def _check(content: bytes, digest: object, end: int, found: Collection[str], before: Collection[str]) -> None:
    if digest is None:
        ours, unknown = set(found) & set(before), set(found) - set(before)
        if ours and unknown:  # today's file with its checksum's name damaged
            raise DamagedFile(f"it has no checksum, and {', '.join(sorted(unknown))}, which older files do not have")
        return
    at = content.find(str(digest).encode(), 0, end)
    same = len(str(digest)) == len(_OPEN) and at >= 0
    if not same or hashlib.sha256(content[:at] + _OPEN.encode() + content[at + len(_OPEN) :]).hexdigest() != digest:
        raise DamagedFile("its bytes are not those that were written (SHA-256): it was damaged or edited")
