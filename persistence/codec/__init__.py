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

import json
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from langchain_core.load.load import Reviver
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from holdfast.conf import settings
from holdfast.errors import ConfigurationError, NotSerializableError, TypeNotAllowedError
from holdfast.persistence.codec.extensions import Checker, Key, Reader, not_allowed
from holdfast.persistence.codec.flattened import find_flattened
from holdfast.persistence.codec.offender import find_offender
from holdfast.persistence.encryption import NO_KEYS, Keyring, Place, inline, keyring


class Codec(JsonPlusSerializer):
    """The serializer of Holdfast's saver, results, inputs, effects and cache. Immutable, thread-safe."""

    def __init__(self, extra: Iterable[Key | type] = (), ring: Keyring = NO_KEYS) -> None:
        """``extra``: types, or (module, name) pairs, that may be stored besides LangGraph's safe ones."""
        keys = frozenset(_key(each) for each in extra)
        super().__init__(allowed_msgpack_modules=tuple(keys) or None)
        self._extra = keys
        self.ring = ring

    @property
    def encrypts(self) -> bool:
        """Whether what it gives is encrypted. Then nothing that it could encode may be stored around it."""
        return self.ring.encrypts

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Key | type]) -> Codec:
        """The same serializer with these types allowed too; itself when they already are."""
        wider = Codec((*self._extra, *extra_allowlist), self.ring)
        return self if wider._extra == self._extra else wider

    def allows(self, module: str, name: str) -> bool:
        """Whether the type of that module and name may be stored."""
        return (module, name) in self._extra or (module, name) in SAFE_MSGPACK_TYPES

    def resolve(self, module: str, name: str) -> Callable[..., Any]:
        """The type of that name, imported only if it is allowed. Raises TypeNotAllowedError."""
        if not self.allows(module, name):
            raise not_allowed(module, name)
        try:
            return _imported(module, name)
        except (ImportError, AttributeError) as error:
            raise TypeNotAllowedError(
                f"{module}.{name} may be stored, but cannot be imported under that name ({error}). "
                "A type has to stand at the top level of its module and keep its name.",
                type=f"{module}.{name}",
                setting="SERIALIZABLE",
            ) from None

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The type tag and the bytes. Raises NotSerializableError."""
        return self.dump_field(obj, field="value")

    def dump_field(self, value: Any, *, field: str, place: Place = ()) -> tuple[str, bytes]:
        """As ``dumps_typed``; ``field`` is what the error calls the value. Raises NotSerializableError.

        ``place``: where it is stored (``encryption.places``); encrypted, it opens nowhere else.
        """
        return self.ring.seal(*self.encode(value, field=field), place)

    def encode(self, value: Any, *, field: str) -> tuple[str, bytes]:
        """As ``dump_field``, but never encrypted: to compare, or to seal later. Raises NotSerializableError."""
        try:
            return self._checked(value, field)
        except _Flattened as error:
            raise self._refused(error.path, error.culprit, field) from None
        except (TypeError, ValueError, RecursionError, TypeNotAllowedError) as error:
            raise self._refusal(value, field, error) from None

    def loads_typed(self, data: tuple[str, bytes], place: Place = ()) -> Any:
        """The value. Raises TypeNotAllowedError for a type, or a way of storing, that is not allowed.

        Raises DecryptionError for a key that is missing or another, and for a value that was altered or,
        where ``place`` says where it was read, moved.
        """
        tag, raw = data if "+" not in data[0] else self.ring.open(data[0], bytes(data[1]), place)
        if tag == "null":
            return None
        if tag == "bytes":
            return bytes(raw)
        if tag == "bytearray":
            return bytearray(raw)
        if tag == "msgpack":
            return Reader(self.resolve).unpack(raw)
        if tag == "json":  # as LangGraph stored until 2024
            return json.loads(raw, object_hook=self._revive_json)
        raise TypeNotAllowedError(
            f"Values stored as {tag!r} are not loaded: only null, bytes, bytearray, msgpack and json are. "
            "Nothing is ever unpickled.",
            type=tag,
            setting="SERIALIZABLE",
        )

    def seal_json(self, value: Any, place: Place) -> Any:
        """The JSON value to store as JSON: sealed where it encrypts, else as it is. Raises NotSerializableError."""
        return inline.seal_json(value, place, self.ring)

    def open_json(self, value: Any, place: Place = ()) -> Any:
        """What ``seal_json`` was given; a value that is not sealed, as it is. Raises DecryptionError."""
        return inline.open_json(value, place, self.ring)

    def _checked(self, value: Any, field: str = "value") -> tuple[str, bytes]:
        tag, data = super().dumps_typed(value)
        if tag == "msgpack":
            # Reading the types back costs some 60 µs for 100 KB, and it sees what stands inside
            # of messages and models too, which a walk over the value would not.
            checker = Checker(self.resolve)
            checker.unpack(data)
            if checker.models and (lost := find_flattened(value, field, self._again)):
                raise _Flattened(*lost)
        return tag, data

    def _again(self, value: Any) -> Any:
        tag, data = super().dumps_typed(value)
        return self.loads_typed((tag, data))

    def _refusal(self, value: Any, field: str, error: Exception) -> NotSerializableError:
        path, culprit = find_offender(value, field, self._storable, self.allows)
        return self._refused(path, culprit, field, str(error) or type(error).__name__)

    def _refused(self, path: str, culprit: Any, field: str, reason: str = "") -> NotSerializableError:
        kind = type(culprit)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not reason:
            advice = (
                "The model around it would give back a plain dict: declare the type in the model's field."
            )
        elif self.allows(kind.__module__, kind.__name__) or kind.__module__ == "builtins":
            advice = reason
        else:
            advice = (
                f'Add "{name}" to HOLDFAST["SERIALIZABLE"], or store plain data. '
                "(In a run, the types that the graph's own schema names are allowed.)"
            )
        return NotSerializableError(
            f"{path}: a {name} cannot be stored. {advice}",
            field=field,
            path=path,
            type=name,
            setting="SERIALIZABLE",
        )

    def _storable(self, value: Any) -> bool:
        try:
            self._checked(value)
        except (TypeError, ValueError, RecursionError, TypeNotAllowedError):
            return False
        return True

    def _revive_json(self, value: dict[str, Any]) -> Any:
        form = value.get("lc")
        if form not in (1, 2) or "type" not in value or not isinstance(value.get("id"), list):
            return value
        path = [str(part) for part in value["id"]]
        module, name = ".".join(path[:-1]), path[-1]
        if value["type"] != "constructor":
            raise not_allowed(module, name)
        if form == 2:
            return self.resolve(module, name)(*(value.get("args") or ()), **(value.get("kwargs") or {}))
        try:
            return _messages_only()(value)
        except ValueError:
            raise not_allowed(module, name) from None


class _Flattened(ValueError):
    """An object inside of a model would come back as a plain dict."""

    def __init__(self, path: str, culprit: Any) -> None:
        super().__init__(path)
        self.path = path
        self.culprit = culprit


def _key(each: Key | type) -> Key:
    return (each.__module__, each.__name__) if isinstance(each, type) else tuple(each)


@lru_cache(maxsize=1024)
def _imported(module: str, name: str) -> Callable[..., Any]:
    if module == "pathlib._local":  # where Python 3.13 keeps what stands in pathlib elsewhere
        module = "pathlib"
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


@cache
def _messages_only() -> Reviver:
    return Reviver(allowed_objects="messages")


@lru_cache(maxsize=4)
def _default(serializable: tuple[str, ...], ring: Keyring) -> Codec:
    keys: list[Key] = []
    for dotted in serializable:
        module, _, name = dotted.rpartition(".")
        try:
            kind = _imported(module, name)
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
