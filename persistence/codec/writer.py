"""Writes LangGraph's msgpack form: plain data natively, everything else as an extension that names its type.

What would come back as something else is kept: tuples, keys of dicts that are no plain text or number, integers
over 64 bits. Subclasses of str, int, list and dict are stored as those, as LangGraph does, unless they are on
the allow list. It knows no allow list itself: ``resolve`` gives the type of a name, or raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ormsgpack

from holdfast.errors import TypeNotAllowedError
from holdfast.persistence.codec.form import Bare, Derived, Form, Pairs
from holdfast.persistence.codec.forms import form_of

Resolve = Callable[[str, str], Callable[..., Any]]

# Without OPT_NON_STR_KEYS, which turns enums, dates and UUIDs in keys into plain text: a dict with such keys
# is refused here, and written by the longer way.
_OPTIONS: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_REPLACE_SURROGATES
)
_ANY_KEYS: Final = _OPTIONS | ormsgpack.OPT_NON_STR_KEYS
_PLAIN_KEYS: Final = frozenset({str, float, bool, bytes, type(None)})

_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1
_NESTED: Final = frozenset({list, tuple, dict})


class Writer:
    """Encodes one value. ormsgpack swallows what its hook raises, so the first error is kept here."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.error: Exception | None = None
        self._known: set[Any] = set()

    def pack(self, value: Any) -> bytes:
        """The bytes. Raises TypeError, ValueError, RecursionError, TypeNotAllowedError."""
        try:
            return ormsgpack.packb(value, default=self._hook, option=_OPTIONS)
        except TypeError:
            if self.error is None:
                try:
                    return ormsgpack.packb(self._with_safe_keys(value), default=self._hook, option=_ANY_KEYS)
                except TypeError:
                    if self.error is None:
                        raise
            raise self.error from None

    def _hook(self, value: Any) -> Any:
        try:
            form = form_of(type(value))(value)
            if type(form) is Form:
                return self._extension(type(value), form)
            if type(form) is Bare:
                return ormsgpack.Ext(form.code, self.pack(form.payload))
            if type(form) is Derived:
                own = self._is_allowed(type(value), form.form)
                return self._extension(type(value), form.form) if own else self._with_safe_keys(form.plain)
            return form
        except Exception as error:  # kept and raised again, whatever it is
            self.error = self.error or error
            raise

    def _is_allowed(self, kind: Any, form: Form) -> bool:
        try:
            return self.resolve(form.module, form.name) is kind
        except TypeNotAllowedError:
            return False

    def _extension(self, kind: Any, form: Form) -> ormsgpack.Ext:
        if not form.trusted and kind not in self._known:
            if self.resolve(form.module, form.name) is not kind:
                raise TypeError(f"{form.module}.{form.name} is another type than the one of this value")
            self._known.add(kind)
        return ormsgpack.Ext(form.code, self.pack([form.module, form.name, form.argument, *form.rest]))

    def _with_safe_keys(self, value: Any) -> Any:
        """The same containers, with pairs in the place of dicts whose keys msgpack would turn into others."""
        kind = type(value)
        if kind is list or kind is tuple:
            return kind([self._with_safe_keys(part) if type(part) in _NESTED else part for part in value])
        if kind is not dict:
            return value
        parts = {
            key: self._with_safe_keys(part) if type(part) in _NESTED else part for key, part in value.items()
        }
        if _PLAIN_KEYS.issuperset(map(type, parts)):
            return parts
        parts = {self._key(key): part for key, part in parts.items()}
        return parts if all(map(_is_plain, parts)) else Pairs([[*pair] for pair in parts.items()])

    def _key(self, key: Any) -> Any:
        """The key, or the plain text or number that a subclass of those is stored as."""
        kind = type(key)
        if kind is int or kind in _PLAIN_KEYS or not isinstance(key, str | int):
            return key
        form = form_of(kind)(key)
        return form.plain if type(form) is Derived and not self._is_allowed(kind, form.form) else key


def _is_plain(key: Any) -> bool:
    kind = type(key)
    if kind is int:
        return bool(_LEAST <= key <= _MOST)
    return all(map(_is_plain, key)) if kind is tuple else kind in _PLAIN_KEYS
