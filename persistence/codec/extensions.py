"""Reads LangGraph's msgpack form: builds the objects that a codec allows.

It knows no allow list: whoever uses it passes ``resolve``, which gives the type of a name or raises.
"""

from __future__ import annotations

from typing import Any

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_NUMPY_ARRAY,
)

from holdfast.errors import TypeNotAllowedError
from holdfast.persistence.codec.rebuild import Payload, rebuild, rebuild_array, rebuild_snapshot
from holdfast.persistence.codec.writer import Resolve

_UNPACK = ormsgpack.OPT_NON_STR_KEYS
_TUPLE = b"\x93" + ormsgpack.packb("builtins") + ormsgpack.packb("tuple")
"""How a tuple begins: three parts, of which its list is the last."""
_BEGUN = len(_TUPLE)


def not_allowed(module: str, name: str) -> TypeNotAllowedError:
    """The error for stored bytes that name this type."""
    dotted = f"{module}.{name}"
    return TypeNotAllowedError(
        f"The stored value names the type {dotted}, which is not on the allow list. If it is yours, add "
        f'"{dotted}" to HOLDFAST["SERIALIZABLE"].',
        type=dotted,
        setting="SERIALIZABLE",
    )


class Reader:
    """Decodes one value. ormsgpack swallows what its hook raises, so the first error is kept here."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.error: Exception | None = None

    def unpack(self, data: bytes) -> Any:
        try:
            return ormsgpack.unpackb(data, ext_hook=self._hook, option=_UNPACK)
        except ValueError:
            if self.error is not None:
                raise self.error from None
            raise

    def _hook(self, code: int, data: bytes) -> Any:
        try:
            # There may be thousands of tuples; calling data.startswith takes a third of one's time.
            if code == EXT_CONSTRUCTOR_SINGLE_ARG and data[:_BEGUN] == _TUPLE:
                return tuple(ormsgpack.unpackb(data[_BEGUN:], ext_hook=self._hook, option=_UNPACK))
            payload = ormsgpack.unpackb(data, ext_hook=self._hook, option=_UNPACK)
            return self.build(code, payload)
        except Exception as error:  # kept and raised again, whatever it is
            self.error = self.error or error
            raise

    def build(self, code: int, payload: Any) -> Any:
        if code == EXT_DELTA_SNAPSHOT:
            return rebuild_snapshot(payload)
        if code == EXT_NUMPY_ARRAY:
            return rebuild_array(payload)
        part = Payload.parse(code, payload)
        if (
            code == EXT_METHOD_SINGLE_ARG
            and (part.module, part.name, part.method) not in SAFE_MSGPACK_METHODS
        ):
            raise not_allowed(part.module, f"{part.name}.{part.method}")
        return rebuild(self.resolve(part.module, part.name), part)
