"""One-dimensional text[], bytea[], int[] and bigint[] parameters in PostgreSQL's binary form.

psycopg dumps lists in Python, looking at each element's type first; the saver sends some eight
lists a step and knows their types, so that it joins the bytes itself (4 µs instead of 20 a put).
Format: https://www.postgresql.org/docs/current/protocol-overview.html, array_send in the server.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg.abc import Buffer
from psycopg.pq import Format

_TEXT, _BYTEA, _INT4, _INT8 = 25, 17, 23, 20
_HEAD: Final = struct.Struct("!iiIii")  # dimensions, has nulls, element oid, length, lower bound
_SIZE: Final = struct.Struct("!i")
_INT: Final = struct.Struct("!ii")
_EIGHT: Final = _SIZE.pack(8)
_EMPTY: Final = struct.Struct("!iiI")


class TextArray(bytes):
    """A text[] in binary form."""


class BytesArray(bytes):
    """A bytea[] in binary form."""


class IntArray(bytes):
    """An int[] in binary form."""


class BigIntArray(bytes):
    """A bigint[] in binary form."""


def texts(values: Sequence[str]) -> TextArray:
    """``text[]``. The texts hold no NUL, else the server refuses the statement."""
    return TextArray(_joined(_TEXT, [value.encode() for value in values]))


def blobs(values: Sequence[bytes]) -> BytesArray:
    """``bytea[]``."""
    return BytesArray(_joined(_BYTEA, values))


def ints(values: Sequence[int]) -> IntArray:
    """``int[]``; each from -2**31 to 2**31 - 1."""
    return IntArray(_head(_INT4, len(values)) + b"".join(_INT.pack(4, value) for value in values))


def bigints(values: Sequence[bytes]) -> BigIntArray:
    """``bigint[]``; each as its eight bytes, signed, the highest first."""
    return BigIntArray(_head(_INT8, len(values)) + _EIGHT.join([b"", *values]))


def _joined(oid: int, values: Sequence[bytes]) -> bytes:
    parts = [_head(oid, len(values))]
    for value in values:
        parts += (_SIZE.pack(len(value)), value)
    return b"".join(parts)


def _head(oid: int, length: int) -> bytes:
    return _HEAD.pack(1, 0, oid, length, 1) if length else _EMPTY.pack(0, 0, oid)


class _Dumper(psycopg.adapt.Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> Buffer:
        return obj


class _TextDumper(_Dumper):
    oid = 1009


class _BytesDumper(_Dumper):
    oid = 1001


class _IntDumper(_Dumper):
    oid = 1007


class _BigIntDumper(_Dumper):
    oid = 1016


def register(context: psycopg.abc.AdaptContext) -> None:
    """Teach a connection the four types. Done for each connection that the saver uses."""
    context.adapters.register_dumper(TextArray, _TextDumper)
    context.adapters.register_dumper(BytesArray, _BytesDumper)
    context.adapters.register_dumper(IntArray, _IntDumper)
    context.adapters.register_dumper(BigIntArray, _BigIntDumper)
