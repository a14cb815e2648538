"""Finds and reads the text documents of a digest: in a fixed order, within limits, with clear errors.

Only references (path, hash, size) leave this module for a graph's state; the text is read again by
the node that summarises it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

from holdfast.errors import InvalidInputError
from holdfast.graphs.examples import plaintext

SUFFIXES = (".md", ".rst", ".txt", ".py")
MAX_DOCUMENTS = 200
MAX_BYTES = 512 * 1024
"""Largest document, in bytes."""
_NOT_ENTERED = {"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"}


class Document(TypedDict):
    """One text, by reference."""

    path: str
    title: str
    sha256: str
    size: int


class Skipped(TypedDict):
    """A file of a folder that is not taken, and why."""

    path: str
    why: str


class _UnfitError(Exception):
    """Why a file is no document."""


def collect(paths: Sequence[str]) -> tuple[list[Document], list[Skipped]]:
    """The documents that the paths name, folders walked in order of names, no text twice.

    A file of a folder that cannot be used is skipped; one that is named itself is an error, and so
    are a missing path, a folder without documents and more than MAX_DOCUMENTS. Raises
    InvalidInputError with ``field="input.paths.<n>"``. Relative paths start at the worker's folder.
    """
    found: dict[str, Document] = {}
    skipped: list[Skipped] = []
    for index, given in enumerate(paths):
        field = f"input.paths.{index}"
        root = Path(given).expanduser().absolute()
        if root.is_dir():
            for file in _walk(root, field):
                try:
                    document = refer(file)
                except (_UnfitError, OSError) as error:
                    skipped.append(Skipped(path=str(file), why=_why(error)))
                else:
                    found.setdefault(document["sha256"], document)
        else:
            try:
                document = refer(root)
            except (_UnfitError, OSError) as error:
                raise InvalidInputError(
                    f"{field}: {given!r} cannot be read: {_why(error)}.", field=field
                ) from error
            found.setdefault(document["sha256"], document)
        if len(found) > MAX_DOCUMENTS:
            raise InvalidInputError(
                f"{field}: more than {MAX_DOCUMENTS} documents; name fewer or smaller folders.", field=field
            )
    if not found:
        raise InvalidInputError(
            f"input.paths: no documents ({', '.join(SUFFIXES)}) in {', '.join(map(repr, paths)) or 'no paths'}.",
            field="input.paths",
        )
    return list(found.values()), skipped


def refer(path: Path) -> Document:
    """A document by reference. Raises OSError, or an error that says why it is none."""
    size = path.stat().st_size
    if path.suffix.lower() not in SUFFIXES:
        raise _UnfitError(f"not one of {', '.join(SUFFIXES)}")
    if size > MAX_BYTES:
        raise _UnfitError(f"{size} bytes, more than {MAX_BYTES}")
    raw = path.read_bytes()
    text = _decoded(raw)
    heading = plaintext.title(text, path.suffix) if path.suffix in (".md", ".rst") else None
    return Document(
        path=str(path), title=heading or path.name, sha256=hashlib.sha256(raw).hexdigest(), size=len(raw)
    )


def read(document: Document) -> str:
    """The text, if it is still the one that was collected. Raises InvalidInputError."""
    try:
        raw = Path(document["path"]).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{document['path']} was there when the digest began and cannot be read now: {_why(error)}. "
            "Workers on several machines need the documents on each.",
            field="input.paths",
        ) from error
    if hashlib.sha256(raw).hexdigest() != document["sha256"]:
        raise InvalidInputError(
            f"{document['path']} has changed since the digest began; start a new run.", field="input.paths"
        )
    return _decoded(raw)


def _walk(root: Path, field: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InvalidInputError(
            f"{field}: {error.filename!r} cannot be read: {_why(error)}.", field=field
        ) from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if name[0] not in "._" and name not in _NOT_ENTERED)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)


def _decoded(raw: bytes) -> str:
    if b"\0" in raw:
        raise _UnfitError("binary")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnfitError("not UTF-8") from error
    if not text.strip():
        raise _UnfitError("empty")
    return text


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
