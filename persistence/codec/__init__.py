"""The strict serializer: what is stored is on the allow list, and what is read is built from it only (P12).

The bytes are those of LangGraph's own ``JsonPlusSerializer`` (ormsgpack with extension types), so
that a stock saver reads what this one wrote, and the other way round. The difference is in what is
refused. A stock serializer in strict mode stores a type that it will not load again and then
returns a plain dict in its place; this one refuses the value when it is written, with the place
where it stands, and raises when it meets such bytes. It never unpickles and never imports a module
whose type is not on the list.

On the list: LangGraph's ``SAFE_MSGPACK_TYPES`` (messages, documents, ``Send``, ``Interrupt``,
``Command``, dates, UUIDs, sets, …), the types of a graph's own schema (``with_msgpack_allowlist``),
and ``HOLDFAST["SERIALIZABLE"]``. Exceptions are stored as their ``repr``, as LangGraph does.

Where ``HOLDFAST["ENCRYPTION"]`` has an active key, what it gives is sealed, and it opens what is; whoever
passes the value's place (``encryption.places``) on both ways has it bound to that place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from holdfast.conf import settings
from holdfast.errors import ConfigurationError
from holdfast.persistence.codec.safe import Key
from holdfast.persistence.codec.serializer import Codec, imported
from holdfast.persistence.encryption import Keyring, Place, keyring

__all__ = [
    "Codec",
    "codec",
    "dumps",
    "encoded",
    "let_graphs_allow",
    "loads",
    "sealed",
    "types_of",
]


@lru_cache(maxsize=4)
def _default(serializable: tuple[str, ...], ring: Keyring) -> Codec:
    keys: list[Key] = []
    for dotted in serializable:
        module, _, name = dotted.rpartition(".")
        try:
            kind = imported(module, name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f'HOLDFAST["SERIALIZABLE"] names {dotted!r}, which cannot be imported: {error}.',
                setting="SERIALIZABLE",
            ) from None
        # A type that is imported from elsewhere is stored under its own module.
        keys += [(module, name), (kind.__module__, kind.__name__)]
    return Codec(keys, ring)


def codec(extra: Iterable[Key | type] = ()) -> Codec:
    """The codec of the settings in force, with these (module, name) pairs too. Raises ConfigurationError."""
    return _with(_default(settings().SERIALIZABLE, keyring()), frozenset(extra))


@lru_cache(maxsize=256)  # making one takes longer than what most inputs are encoded in
def _with(base: Codec, extra: frozenset[Key | type]) -> Codec:
    return base.with_msgpack_allowlist(extra)


def dumps(
    value: Any, *, field: str, extra: Iterable[Key | type] = (), place: Place = ()
) -> tuple[str, bytes | None]:
    """What to store in a type column and a bytea column; None is ("null", None), encrypted or not.

    ``field`` is what an error calls the value, ``extra`` the types allowed besides, ``place`` where it is
    stored. Raises NotSerializableError.
    """
    return sealed(encoded(value, field=field, extra=extra), place)


def encoded(value: Any, *, field: str, extra: Iterable[Key | type] = ()) -> tuple[str, bytes | None]:
    """As ``dumps``, but never encrypted: to compare and hash, and then for ``sealed``."""
    return ("null", None) if value is None else codec(extra).encode(value, field=field)


def sealed(typed: tuple[str, bytes | None], place: Place) -> tuple[str, bytes | None]:
    """What ``encoded`` gave, as it is to be stored at that place."""
    tag, data = typed
    return (tag, None) if data is None else keyring().seal(tag, data, place)


def loads(
    type_: str | None,
    data: bytes | memoryview | None,
    *,
    extra: Iterable[Key | type] = (),
    place: Place = (),
) -> Any:
    """The value that ``dumps`` stored; None where there is none. Raises TypeNotAllowedError, DecryptionError."""
    if type_ is None or type_ == "null":
        return None
    return codec(extra).loads_typed((type_, bytes(data or b"")), place)


TypesOf = Callable[[str, str], Iterable[Key]]
_types_of: TypesOf | None = None


def let_graphs_allow(types_of: TypesOf) -> None:
    """Say who knows which types a graph of some name and version declares; called by whoever knows graphs."""
    global _types_of
    _types_of = types_of


def types_of(graph: str, version: str) -> Iterable[Key]:
    """The types that the values of a graph's runs may have besides; none if nobody knows the graph."""
    return () if _types_of is None else _types_of(graph, version)
