"""The strict serializer: what is stored is on the allow list, and what is read is built from it only (P12).

The bytes are in the form of LangGraph's own ``JsonPlusSerializer`` (msgpack with extension types), so that a
stock saver reads what this one wrote, and the other way round. The difference is in what is refused, and in
what is kept (``forms``). A stock serializer in strict mode stores a type that it will not load again and then
returns a plain dict in its place; this one refuses the value when it is written, with the place where it
stands, and raises when it meets such bytes. It never unpickles and never imports a module whose type is not
on the list: ``safe.SAFE``, the types of a graph's own schema (``with_msgpack_allowlist``), and
``HOLDFAST["SERIALIZABLE"]``. Exceptions are stored as their ``repr``, as LangGraph does.

Where ``HOLDFAST["ENCRYPTION"]`` has an active key, what it gives is sealed, and it opens what is; whoever
passes the value's place (``encryption.bindings``) on both ways has it bound to that place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final

from langchain_core.load.load import Reviver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from holdfast.errors import ConfigurationError, NotSerializableError, TypeNotAllowedError
from holdfast.persistence.codec import Key
from holdfast.persistence.codec.extensions import Reader, not_allowed
from holdfast.persistence.codec.offender import find_offender
from holdfast.persistence.codec.safe import FRAMES, SAFE
from holdfast.persistence.codec.writer import Writer
from holdfast.persistence.encryption import NO_KEYS, Binding, Keyring, inline

_PICKLED: Final = (
    "Nothing is ever unpickled, since a pickle is a program. Let the serializer that wrote it "
    "(JsonPlusSerializer(pickle_fallback=True)) load it once, and store it again as something that has a form: "
    "docs/codec.md says how."
)


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
        return (module, name) in self._extra or (module, name) in SAFE

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

    def dump_field(self, value: Any, *, field: str, binding: Binding = ()) -> tuple[str, bytes]:
        """As ``dumps_typed``; ``field`` is what the error calls the value. Raises NotSerializableError.

        ``binding``: where it is stored (``encryption.bindings``); encrypted, it opens nowhere else.
        """
        return self.ring.seal(*self.encode(value, field=field), binding)

    def encode(self, value: Any, *, field: str) -> tuple[str, bytes]:
        """As ``dump_field``, but never encrypted: to compare, or to seal later. Raises NotSerializableError."""
        try:
            return self._packed(value)
        except (TypeError, ValueError, RecursionError, TypeNotAllowedError) as error:
            raise self._refusal(value, field, error) from None

    def loads_typed(self, data: tuple[str, bytes], binding: Binding = ()) -> Any:
        """The value. Raises TypeNotAllowedError for a type, or a way of storing, that is not allowed.

        Raises DecryptionError for a key that is missing or another, and for a value that was altered or,
        where ``binding`` says where it was read, moved.
        """
        tag, raw = data if "+" not in data[0] else self.ring.open(data[0], bytes(data[1]), binding)
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
            + (_PICKLED if tag == "pickle" else "Another serializer has stored it."),
            type=tag,
            setting="SERIALIZABLE",
        )

    def seal_json(self, value: Any, binding: Binding) -> Any:
        """The JSON value to store as JSON: sealed where it encrypts, else as it is. Raises NotSerializableError."""
        return inline.seal_json(value, binding, self.ring)

    def open_json(self, value: Any, binding: Binding = ()) -> Any:
        """What ``seal_json`` was given; a value that is not sealed, as it is. Raises DecryptionError."""
        return inline.open_json(value, binding, self.ring)

    def _packed(self, value: Any) -> tuple[str, bytes]:
        if value is None:
            return "null", b""
        if type(value) is bytes:
            return "bytes", value
        if type(value) is bytearray:
            return "bytearray", bytes(value)
        return "msgpack", Writer(self.resolve).pack(value)

    def _refusal(self, value: Any, field: str, error: Exception) -> NotSerializableError:
        path, culprit = find_offender(value, field, self._storable, self.allows)
        kind = type(culprit)
        name = f"{kind.__module__}.{kind.__qualname__}"
        why = self._why(culprit) or error
        if not isinstance(why, TypeNotAllowedError):
            advice = str(why) or type(why).__name__
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
            setting="SERIALIZABLE" if isinstance(why, TypeNotAllowedError) else None,
        )

    def _storable(self, value: Any) -> bool:
        return self._why(value) is None

    def _why(self, value: Any) -> Exception | None:
        """Why it cannot be stored: it is not allowed, or there is no form for it; None: it can."""
        try:
            self._packed(value)
        except (TypeError, ValueError, RecursionError, TypeNotAllowedError) as error:
            return error
        return None

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


def _key(each: Key | type) -> Key:
    return (each.__module__, each.__name__) if isinstance(each, type) else tuple(each)


@lru_cache(maxsize=1024)
def _imported(module: str, name: str) -> Callable[..., Any]:
    if module == "pandas" and name in FRAMES:
        builder: Callable[..., Any] = import_module("holdfast.persistence.codec.frames").BUILDERS[name]
        return builder
    if module == "pathlib._local":  # where Python 3.13 keeps what stands in pathlib elsewhere
        module = "pathlib"
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


@cache
def _messages_only() -> Reviver:
    return Reviver(allowed_objects="messages")


@lru_cache(maxsize=4)
def default(serializable: tuple[str, ...], ring: Keyring) -> Codec:
    """The codec that allows these dotted paths, besides what is safe. Raises ConfigurationError."""
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


@lru_cache(maxsize=256)  # making one takes longer than what most inputs are encoded in
def wider(base: Codec, extra: frozenset[Key | type]) -> Codec:
    """``base`` with these types, too."""
    return base.with_msgpack_allowlist(extra)
