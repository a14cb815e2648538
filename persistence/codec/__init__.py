"""What is stored as bytes, and what is built from bytes: the face of the strict serializer (P12).

LangGraph, which the serializer is made of, takes seconds to import. It is imported with the first value, so that
a ``migrate``, or a web process that never enqueues, does without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from holdfast.conf import settings
from holdfast.persistence.encryption import Binding, keyring

if TYPE_CHECKING:
    from holdfast.persistence.codec.strict import Codec

Key = tuple[str, ...]
"""Module and name of a type."""


def codec(extra: Iterable[Key | type] = ()) -> Codec:
    """The codec of the settings in force, with these (module, name) pairs too. Raises ConfigurationError."""
    from holdfast.persistence.codec import strict

    return strict.wider(strict.default(settings().SERIALIZABLE, keyring()), frozenset(extra))


def dumps(
    value: Any, *, field: str, extra: Iterable[Key | type] = (), binding: Binding = ()
) -> tuple[str, bytes | None]:
    """What to store in a type column and a bytea column; None is ("null", None), encrypted or not.

    ``field`` is what an error calls the value, ``extra`` the types allowed besides, ``binding`` where it is
    stored. Raises NotSerializableError.
    """
    return sealed(encoded(value, field=field, extra=extra), binding)


def encoded(value: Any, *, field: str, extra: Iterable[Key | type] = ()) -> tuple[str, bytes | None]:
    """As ``dumps``, but never encrypted: to compare and hash, and then for ``sealed``."""
    return ("null", None) if value is None else codec(extra).encode(value, field=field)


def sealed(typed: tuple[str, bytes | None], binding: Binding) -> tuple[str, bytes | None]:
    """What ``encoded`` gave, as it is to be stored at that place."""
    tag, data = typed
    return (tag, None) if data is None else keyring().seal(tag, data, binding)


def loads(
    type_: str | None,
    data: bytes | memoryview | None,
    *,
    extra: Iterable[Key | type] = (),
    binding: Binding = (),
) -> Any:
    """The value that ``dumps`` stored; None where there is none. Raises TypeNotAllowedError, DecryptionError."""
    if type_ is None or type_ == "null":
        return None
    return codec(extra).loads_typed((type_, bytes(data or b"")), binding)


TypesOf = Callable[[str, str], Iterable[Key]]
_types_of: TypesOf | None = None


def let_graphs_allow(types_of: TypesOf) -> None:
    """Say who knows which types a graph of some name and version declares; called by whoever knows graphs."""
    global _types_of
    _types_of = types_of


def types_of(graph: str, version: str) -> Iterable[Key]:
    """The types that the values of a graph's runs may have besides; none if nobody knows the graph."""
    return () if _types_of is None else _types_of(graph, version)
